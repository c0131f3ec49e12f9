//! What can go wrong with data on disk.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

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

    /// What kept `path` from being read: an I/O error where the system refused, however deep a reader has wrapped that,
    /// else [`Error::Data`] with `place`.
    pub(crate) fn reading(
        path: &Path,
        place: impl Display,
        error: impl std::error::Error + 'static,
    ) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(error) = cause {
            let io = error.downcast_ref::<io::Error>();
            if let Some(code) = io.and_then(io::Error::raw_os_error) {
                return nic_core::Error::io(path)(io::Error::from_raw_os_error(code)).into();
            }
            cause = match io.and_then(io::Error::get_ref) {
                Some(inner) => Some(inner), // which `source` would skip
                None => error.source(),
            };
        }
        Self::data(place, error)
    }

    /// 2 where the user's input is at fault, 1 otherwise: a program's exit status.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Core(error) => error.exit_code(),
            Self::Toml { .. } | Self::Data { .. } => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use parquet::errors::ParquetError;
    use zip::result::ZipError;

    use super::*;

    #[test]
    fn what_the_system_refuses_is_told_from_damage() {
        let path = Path::new("photos.zip");
        let broken_disk = || io::Error::from_raw_os_error(5);
        for error in [
            Error::reading(path, "a.jpg", broken_disk()),
            Error::reading(path, "a.jpg", io::Error::other(broken_disk())),
            Error::reading(path, "a.jpg", ZipError::Io(broken_disk())),
            Error::reading(path, "a.jpg", ParquetError::from(broken_disk())),
        ] {
            assert_eq!(error.exit_code(), 1);
            assert!(error.to_string().starts_with("photos.zip: "), "{error}");
        }
        let damage = || io::Error::new(io::ErrorKind::InvalidData, "bad checksum");
        for error in [
            Error::reading(path, "a.jpg", damage()),
            Error::reading(path, "a.jpg", ZipError::Io(damage())),
            Error::reading(path, "a.jpg", ParquetError::EOF("cut off".into())),
        ] {
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().starts_with("a.jpg: "), "{error}");
        }
    }
}
