//! Trains the caption decoder on cached features.

pub mod config;
pub mod corpus;
mod error;
mod evaluation;
pub mod gradients;
mod hash;
mod host;
pub mod interrupt;
pub mod metrics;
pub mod optimizer;
mod progress;
mod ranges;
pub mod saved;
pub mod schedule;
pub mod self_critical;
mod start;
mod streams;
pub mod trainer;

pub use config::Config;
pub use error::{Error, Result};
pub use trainer::{Outcome, Trainer};
