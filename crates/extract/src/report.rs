//! What a run did.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clocks;
use crate::worker::Worker;

/// What a run did; its text is what the program says at the end.
#[derive(Debug)]
pub struct Report {
    /// The directory.
    pub out: PathBuf,
    /// Whose share it was; none for a run on its own.
    pub worker: Option<Worker>,
    /// Images asked for.
    pub images: usize,
    /// Those of them that could not be read.
    pub failed: usize,
    /// Shards that are there now.
    pub shards: usize,
    /// Those of them that this run made.
    pub made: usize,
    /// From start to end.
    pub elapsed: Duration,
    /// While the stages ran: without the weights' hash and what else comes before the first image.
    pub running: Duration,
    /// What each stage cost.
    pub clocks: Arc<Clocks>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { out, worker, images, failed, shards, made, elapsed, clocks, .. } = self;
        write!(f, "{}: ", out.display())?;
        if let Some(worker) = worker {
            write!(f, "worker {worker}: ")?;
        }
        write!(f, "{} images in shards: {shards}", images - failed)?;
        match made {
            0 => write!(f, ", whole already, nothing to do")?,
            _ => write!(f, " ({made} new)\n{:.1} s: {clocks}", elapsed.as_secs_f64())?,
        }
        write!(f, "; failed: {failed}")?;
        match (worker, failed) {
            (Some(_), _) => {
                write!(f, "; once every worker is done: extract merge {}", out.display())
            }
            (None, 0) => Ok(()),
            (None, _) => write!(f, ", see {}", out.join("failed.jsonl").display()),
        }
    }
}
