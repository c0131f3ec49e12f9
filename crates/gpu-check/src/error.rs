//! Whatever goes wrong, with its own words.

/// The result of every measurement.
pub(crate) type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Core(#[from] nic_core::Error),
    #[error(transparent)]
    Data(#[from] nic_data::Error),
    #[error(transparent)]
    Extract(#[from] extract::Error),
    #[error(transparent)]
    Train(#[from] train::Error),
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    #[error("a temporary file: {0}")]
    Io(#[from] std::io::Error),
    #[error("a picture: {0}")]
    Image(#[from] image::ImageError),
    #[error("{0}")]
    Other(String),
}
