//! The end of an extraction by several workers.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::output::Output;

/// What a merge found; its text is what the program says at the end.
#[derive(Debug)]
pub struct Merged {
    /// The directory.
    pub out: PathBuf,
    /// Images asked for.
    pub images: usize,
    /// Those of them that could not be read.
    pub failed: usize,
    /// Shards in the directory.
    pub shards: usize,
}

impl fmt::Display for Merged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { out, images, failed, shards } = self;
        write!(f, "{}: {} images in shards: {shards}, all whole", out.display(), images - failed)?;
        write!(f, "; failed: {failed}")?;
        match failed {
            0 => Ok(()),
            _ => write!(f, ", see {}", out.join("failed.jsonl").display()),
        }
    }
}

/// Checks that every shard of `out` is there, whole and of one plan, and writes what a run on its own ends with.
///
/// # Errors
/// Where no extraction was begun in `out`, somebody still writes there, or a shard is missing or damaged.
pub fn merge(out: &Path) -> Result<Merged> {
    let output = Output::begun(out)?;
    let faults = output.faults()?;
    if !faults.is_empty() {
        return Err(Error::Incomplete { out: out.to_owned(), faults });
    }
    let failed = output.finish()?;
    let (images, shards) = (output.plan().images, output.plan().shards());
    match failed.first() {
        Some((id, reason)) if failed.len() == images => {
            Err(Error::NothingRead { out: out.to_owned(), images, id: *id, reason: reason.clone() })
        }
        _ => Ok(Merged { out: out.to_owned(), images, failed: failed.len(), shards }),
    }
}
