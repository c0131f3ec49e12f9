//! Where shards go: a directory, or below a prefix of an object store.

use std::path::{Path, PathBuf};

use crate::directory::Directory;
use crate::error::Result;
#[cfg(feature = "object-store")]
use crate::prefix::Prefix;
use crate::worker::Worker;

/// Says what is to be made.
pub(crate) const PLAN: &str = "extract.json";
/// Lists the images that could not be read.
pub(crate) const FAILED: &str = "failed.jsonl";

/// A place that appears and changes by whole files alone.
#[derive(Debug)]
pub(crate) enum Place {
    Directory(Directory),
    #[cfg(feature = "object-store")]
    Prefix(Prefix),
}

/// A file to be read, of an object a copy that goes with this.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) path: PathBuf,
    pub(crate) copy: bool,
}

impl AsRef<Path> for Local {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if self.copy {
            let _ = std::fs::remove_file(&self.path); // else with its directory
        }
    }
}

/// Calls the method of what the place is.
macro_rules! each {
    ($self:ident, $place:ident => $call:expr) => {
        match $self {
            Self::Directory($place) => $call,
            #[cfg(feature = "object-store")]
            Self::Prefix($place) => $call,
        }
    };
}

impl Place {
    /// For this process alone, or for one of several workers.
    pub(crate) fn open(out: &Path, worker: Option<Worker>) -> Result<Self> {
        if is_url(out) {
            let url = out.to_string_lossy();
            #[cfg(feature = "object-store")]
            return Ok(Self::Prefix(Prefix::open(&url, worker)?));
            #[cfg(not(feature = "object-store"))]
            return Err(nic_core::Error::Objects {
                url: url.into(),
                reason: "this program was built without its feature `object-store`".to_owned(),
            }
            .into());
        }
        Ok(Self::Directory(match worker {
            None => Directory::alone(out)?,
            Some(worker) => Directory::shared(out, worker)?,
        }))
    }

    /// What is there, sorted.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        each!(self, place => place.names())
    }

    /// The content of a file that may not be there.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        each!(self, place => place.read(name))
    }

    /// A file that may not be there.
    pub(crate) fn local(&self, name: &str) -> Result<Option<Local>> {
        match self {
            Self::Directory(directory) => {
                let path = directory.path(name);
                // what the system refuses to look at may well be whole
                let there = path.try_exists().map_err(nic_core::Error::io(&path))?;
                Ok(there.then_some(Local { path, copy: false }))
            }
            #[cfg(feature = "object-store")]
            Self::Prefix(prefix) => prefix.local(name),
        }
    }

    /// Writes `name` unless somebody already has; of several who try, one does.
    pub(crate) fn create(&self, name: &str, content: &[u8]) -> Result<()> {
        each!(self, place => place.create(name, content))
    }

    /// Writes `name` in the place of what is there.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        each!(self, place => place.write(name, content))
    }

    /// Lets `write` make a whole file and gives it its name.
    pub(crate) fn publish(
        &self,
        name: &str,
        write: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        each!(self, place => place.publish(name, write))
    }

    /// Removes a file that may not be there.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        each!(self, place => place.remove(name))
    }

    /// The workers that have been here since the last merge.
    pub(crate) fn workers(&self) -> Result<Vec<Worker>> {
        Ok(self.names()?.iter().filter_map(|name| worker_of(name)).collect())
    }

    /// Removes what workers left for themselves; for a process that is alone.
    pub(crate) fn forget_workers(&self) -> Result<()> {
        each!(self, place => place.forget_workers())
    }
}

/// Whether `out` is a URL and no path.
pub(crate) fn is_url(out: &Path) -> bool {
    out.to_str().is_some_and(|out| out.contains("://"))
}

/// What a worker leaves so that a merge knows of it.
pub(crate) fn marker(worker: Worker) -> String {
    format!(".worker-{}-of-{}", worker.index(), worker.count())
}

/// The worker that left it.
pub(crate) fn worker_of(marker: &str) -> Option<Worker> {
    let (index, count) = marker.strip_prefix(".worker-")?.split_once("-of-")?;
    Worker::new(index.parse().ok()?, count.parse().ok()?)
}
