//! What can go wrong with data on disk.

use std::fmt::Display;
use std::path::PathBuf;

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// As in nic-core: files, JSON, safetensors, mismatches.
    #[error(transparent)]
    Core(#[from] nic_core::Error),
    /// A TOML file that cannot be used; `reason` has line and column, and for an unknown key the nearest known one.
    #[error("{path}: {reason}")]
    Toml {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A caption file, archive or Parquet file that does not hold what it should.
    #[error("{place}: {reason}")]
    Data {
        /// The file; with the line, row or entry where there is one.
        place: String,
        /// What was found, and what was expected.
        reason: String,
    },
}

impl Error {
    /// [`Error::Data`].
    pub(crate) fn data(place: impl Display, reason: impl Display) -> Self {
        Self::Data { place: place.to_string(), reason: reason.to_string() }
    }

    /// 2 where the user's input is at fault, 1 otherwise: a program's exit status.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Core(error) => error.exit_code(),
            Self::Toml { .. } | Self::Data { .. } => 2,
        }
    }
}
