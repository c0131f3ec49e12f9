//! What can go wrong.

use std::path::{Path, PathBuf};

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file whose content is not what it has to be.
    #[error("{path}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What was found, what was expected.
        reason: String,
    },
}

impl Error {
    pub(crate) fn file(path: &Path, source: impl Into<std::io::Error>) -> Self {
        Self::File { path: path.into(), source: source.into() }
    }

    pub(crate) fn content(path: &Path, reason: impl ToString) -> Self {
        Self::Content { path: path.into(), reason: reason.to_string() }
    }

    /// 2 where the user's input is at fault, 1 otherwise: a program's exit status.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound => 2,
            Self::File { .. } => 1,
            Self::Content { .. } => 2,
        }
    }
}
