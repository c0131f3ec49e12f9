//! What a run did.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::Clocks;

/// What a run did; its text is what the program says at the end.
#[derive(Debug)]
pub struct Report {
    /// The directory.
    pub out: PathBuf,
    /// Images asked for.
    pub images: usize,
    /// Those of them that could not be read.
    pub failed: usize,
    /// Shards in the directory.
    pub shards: usize,
    /// Those of them that this run made.
    pub made: usize,
    /// What that cost.
    pub clocks: Arc<Clocks>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { out, images, failed, shards, made, clocks } = self;
        let read = images - failed;
        write!(f, "{}: features of {read} images in {shards} shards", out.display())?;
        match made {
            0 => write!(f, ", whole already: nothing to do")?,
            _ => write!(f, ", {made} of them new\n{clocks}")?,
        }
        match failed {
            0 => write!(f, "; no image failed"),
            _ => write!(f, "; {failed} images failed, see {}", out.join("failed.jsonl").display()),
        }
    }
}
