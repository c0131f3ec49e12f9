//! What can go wrong.

use std::io::ErrorKind;

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// An error of one of the libraries; each names what it is about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Data(#[from] nic_data::Error),
    #[error(transparent)]
    Metrics(#[from] caption_metrics::Error),
}

impl From<nic_core::Error> for Error {
    fn from(error: nic_core::Error) -> Self {
        Self::Data(error.into())
    }
}

impl Error {
    /// Whoever reads our output has seen enough.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Data(nic_data::Error::Core(nic_core::Error::Io { source, .. }))
            if source.kind() == ErrorKind::BrokenPipe)
    }

    /// 2 where the user's input is at fault, 1 otherwise.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Data(error) => error.exit_code(),
            Self::Metrics(caption_metrics::Error::Io { source, .. })
                if source.kind() != ErrorKind::NotFound =>
            {
                1
            }
            Self::Metrics(_) => 2,
        }
    }
}
