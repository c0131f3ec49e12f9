//! What can end a run.

use std::path::PathBuf;

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Files, data and settings.
    #[error(transparent)]
    Data(#[from] nic_data::Error),
    /// The captions cannot be scored.
    #[error(transparent)]
    Scores(Box<caption_metrics::Error>),
    /// The loss or the gradients are no longer numbers.
    #[error(
        "{what} is {value} at step {step} (the last good checkpoint is {}); try a lower train.learning_rate or train.clip_norm",
        last.display()
    )]
    Diverged {
        /// `the loss`, `the gradient's norm`, `a word's score` or `the validation loss`.
        what: &'static str,
        /// NaN or infinite.
        value: f64,
        /// Counted from 1.
        step: u64,
        /// Where the last good weights are.
        last: PathBuf,
    },
    /// Another process trains there.
    #[error("{}: another process trains there; wait for it, or set output.dir to another directory", .0.display())]
    Locked(PathBuf),
    /// The output directory holds what a run left, but not what it would go on from.
    #[error(
        "{}: holds {found} of a run but not last, which it would go on from; set output.dir to another directory, or delete this one to start afresh",
        dir.display()
    )]
    NoLast {
        /// The output directory.
        dir: PathBuf,
        /// `best` or `metrics.jsonl`.
        found: &'static str,
    },
    /// The output directory holds a run with other settings or other data.
    #[error(
        "{dir}: holds a run that differs from this one:\n{}\nset output.dir to another directory, or delete this one to start afresh",
        differences.iter().map(|d| format!("  {d}")).collect::<Vec<_>>().join("\n")
    )]
    Differs {
        /// The output directory.
        dir: PathBuf,
        /// A line each.
        differences: Vec<String>,
    },
}

impl From<nic_core::Error> for Error {
    fn from(error: nic_core::Error) -> Self {
        Self::Data(error.into())
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        nic_core::Error::from(error).into()
    }
}

impl From<caption_metrics::Error> for Error {
    fn from(error: caption_metrics::Error) -> Self {
        Self::Scores(Box::new(error))
    }
}

impl Error {
    /// 2 where the user's input is at fault, 1 otherwise: the program's exit status.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Data(error) => error.exit_code(),
            Self::Scores(_) => 2,
            Self::Diverged { .. } => 1,
            Self::Locked(_) | Self::NoLast { .. } | Self::Differs { .. } => 2,
        }
    }
}
