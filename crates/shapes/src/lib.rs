//! A small world of coloured shapes: pictures, captions, and a judge of captions.

pub mod check;
pub mod dataset;
mod draw;
mod error;
pub mod grammar;
pub mod picture;
pub mod report;
pub mod scene;

pub use error::{Error, Result};
