//! Where a file is: on this disk, or on the Hugging Face hub.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::Result;

/// A local path or `hf://...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A file or directory on this disk.
    Local(PathBuf),
    /// `hf://OWNER/NAME[/PATH]` or `hf://datasets/OWNER/NAME[/PATH]`.
    Hub {
        /// Of a dataset repository, not a model's.
        dataset: bool,
        /// `OWNER/NAME`.
        repo: String,
        /// The file inside it; empty where only the repository is named.
        path: String,
    },
}

impl Location {
    /// Reads `text`; a relative path is taken relative to `base`.
    pub fn parse(_text: &str, _base: &Path) -> Result<Self> {
        unimplemented!()
    }

    /// The file on this disk, fetched through the hub's usual cache where it is not here yet.
    pub fn fetch(&self) -> Result<PathBuf> {
        unimplemented!()
    }

    /// `self` with `name` below it: a file of a directory or repository.
    pub fn join(&self, _name: &str) -> Self {
        unimplemented!()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        unimplemented!()
    }
}
