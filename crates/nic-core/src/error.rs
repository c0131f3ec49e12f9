//! What can go wrong, each naming the file, the key or tensor, what was found and what was expected.

use std::path::PathBuf;

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A JSON file does not hold what it should.
    #[error("{path}: {source}")]
    Json {
        /// The file.
        path: PathBuf,
        /// The reason, with line and column.
        source: serde_json::Error,
    },
    /// A safetensors file is cut off or damaged.
    #[error("{path}: not a whole safetensors file: {reason}")]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What the reader found.
        reason: String,
    },
    /// Something was found that does not fit.
    #[error("{place}: {what} is {found}, expected {expected}")]
    Mismatch {
        /// File, or file and table.
        place: String,
        /// The key, tensor or property.
        what: String,
        /// What is there.
        found: String,
        /// What should be there.
        expected: String,
    },
    /// Something that must be there is not.
    #[error("{place}: {what} is missing{hint}")]
    Missing {
        /// File, directory or table.
        place: String,
        /// The key, tensor or file.
        what: String,
        /// Empty, or what to do, beginning with a separator.
        hint: String,
    },
    /// An image that cannot be decoded.
    #[error("cannot read the image: {0}")]
    Image(String),
    /// A file on the hub could not be fetched.
    #[error("{url}: {reason}")]
    Hub {
        /// `hf://...`
        url: String,
        /// Why not.
        reason: String,
    },
    /// An object store that cannot be reached or refuses.
    #[error("{url}: {reason}")]
    Objects {
        /// `s3://...`
        url: String,
        /// Why not.
        reason: String,
    },
    /// A setting that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The decoder's scores of words are not numbers.
    #[error("the decoder's logits are not finite, so its weights or the features are not either")]
    NotFinite,
    /// The card has no memory left.
    #[error("the device has no memory left ({0})")]
    DeviceMemory(candle_core::Error),
    /// The tensor library failed otherwise.
    #[error(transparent)]
    Candle(candle_core::Error),
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        // the driver's, cuDNN's and cuBLAS's names for it, which candle passes on as text
        const NAMES: [&str; 3] = [
            "CUDA_ERROR_OUT_OF_MEMORY",
            "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
            "CUBLAS_STATUS_ALLOC_FAILED",
        ];
        let text = error.to_string();
        match NAMES.iter().any(|name| text.contains(name)) {
            true => Self::DeviceMemory(error),
            false => Self::Candle(error),
        }
    }
}

impl Error {
    /// [`Error::Io`] for `path`; for `map_err`.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// [`Error::Json`] for `path`; for `map_err`.
    pub fn json(path: impl Into<PathBuf>) -> impl FnOnce(serde_json::Error) -> Self {
        let path = path.into();
        move |source| Self::Json { path, source }
    }

    /// 2 where the user's input is at fault, 1 otherwise: a program's exit status.
    pub fn exit_code(&self) -> u8 {
        use std::io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
        match self {
            Self::Io { source, .. } => match source.kind() {
                NotFound | IsADirectory | NotADirectory => 2,
                _ => 1,
            },
            Self::Candle(_) | Self::DeviceMemory(_) | Self::Hub { .. } | Self::Objects { .. } => 1,
            _ => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_from_other_failures() {
        let error = |text: &str| Error::from(candle_core::Error::msg(text));
        let full = error("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")");
        assert!(matches!(full, Error::DeviceMemory(_)), "{full}");
        assert!(full.to_string().starts_with("the device has no memory left"), "{full}");
        assert!(matches!(error("CudnnError(CUDNN_STATUS_BAD_PARAM)"), Error::Candle(_)));
    }
}
