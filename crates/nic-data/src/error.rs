//! What can go wrong with data on disk.

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
}

impl Error {
    /// 2 where the user's input is at fault, 1 otherwise: a program's exit status.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Core(error) => error.exit_code(),
            Self::Toml { .. } => 2,
        }
    }
}
