//! The program `extract`: every image of a dataset through the encoder, once, into feature shards.
//!
//! Four stages run side by side, with bounded channels between them:
//! read (a thread) → decode (all cores) → encode (the device) → write (a thread).

mod args;
mod batch;
mod clock;
mod decoder;
mod directory;
mod encoder;
mod error;
pub mod interrupt;
mod merge;
mod output;
mod place;
mod plan;
#[cfg(feature = "object-store")]
mod prefix;
mod progress;
mod reader;
mod report;
mod run;
mod scheduler;
mod worker;
mod writer;

pub use args::{Args, Cli, Command, Dtype, Precision};
pub use clock::{Clock, Clocks};
pub use error::{Error, Result};
pub use merge::{Merged, merge};
pub use report::Report;
pub use run::run;
pub use worker::{Worker, WorkerChoice};
