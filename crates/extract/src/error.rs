//! What can go wrong, and the exit status it ends in.

use std::path::PathBuf;

use crate::Dtype;
use crate::worker::Worker;

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Weights, images, files.
    #[error(transparent)]
    Core(#[from] nic_core::Error),
    /// The dataset, the shards.
    #[error(transparent)]
    Data(#[from] nic_data::Error),
    /// `--out` is missing and the dataset's name cannot name a directory.
    #[error("the dataset's name {0:?} is not a directory's name; say where to write with --out")]
    Unnameable(String),
    /// The directory was begun with other settings.
    #[error(
        "{out}: begun with other settings, and features of the two cannot be mixed:\n{}\n\
         Repeat with the settings it was begun with, name another --out, or delete it to start again.",
        .differences.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
    )]
    Differs {
        /// The directory.
        out: PathBuf,
        /// A line each.
        differences: Vec<String>,
    },
    /// The directory holds features that have no plan beside them.
    #[error(
        "{out}: holds {found} but no extract.json, so it cannot be continued; \
         name another --out, or delete it"
    )]
    Foreign {
        /// The directory.
        out: PathBuf,
        /// A file in it.
        found: String,
    },
    /// Another process is at work in the directory.
    #[error("{0}: another extract is writing there")]
    Locked(PathBuf),
    /// Another process makes the same share.
    #[error("{out}: another extract is writing there as worker {worker}")]
    SameWorker {
        /// The directory.
        out: PathBuf,
        /// The share.
        worker: Worker,
    },
    /// A variable of the scheduler that says nothing usable.
    #[error("{variable} is {value:?}, expected {expected}; --worker I/N overrides it")]
    Variable {
        /// Its name.
        variable: &'static str,
        /// What it is.
        value: String,
        /// What it should be.
        expected: String,
    },
    /// A variable of the scheduler without the one that goes with it.
    #[error(
        "{given} is set but {missing} is not, so which share is meant is unknown; say --worker I/N"
    )]
    VariableMissing {
        /// What is there.
        given: &'static str,
        /// What is not.
        missing: &'static str,
    },
    /// Two schedulers state different shares.
    #[error("which share is meant is unclear: {first}, but {second}; say --worker I/N")]
    WorkersContradict {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// Which share, but not of how many.
    #[error(
        "{0} is set but nothing says of how many workers; say --worker /N, N being the job's `completions`, \
         or --worker 0/1 for everything"
    )]
    WorkersUncounted(&'static str),
    /// `--worker /N`, and no variable that says I.
    #[error(
        "--worker /{0}: none of SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX, OMPI_COMM_WORLD_RANK and PMI_RANK \
         says which worker this is"
    )]
    WorkerUnnumbered(usize),
    /// There is nothing that could be merged.
    #[error("{0}: holds no extract.json, which every extraction begins with")]
    NotBegun(PathBuf),
    /// Shards that are missing or damaged, before a merge.
    #[error(
        "{out}: not all shards are whole:\n{}\nRun their workers again, then merge again.",
        .faults.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
    )]
    Incomplete {
        /// The directory.
        out: PathBuf,
        /// A line each.
        faults: Vec<String>,
    },
    /// `--strict`, and an image could not be read.
    #[error("image {id}: {reason} (--strict stops at the first)")]
    Unreadable {
        /// The image.
        id: i64,
        /// Why.
        reason: String,
    },
    /// Not one image could be read.
    #[error("{out}: none of the {images} images could be read; the first, image {id}: {reason}")]
    NothingRead {
        /// The directory.
        out: PathBuf,
        /// How many there were.
        images: usize,
        /// The first.
        id: i64,
        /// Why it could not be read.
        reason: String,
    },
    /// A feature that the stored type has no number for.
    #[error("image {id}: feature {index} is {value}, which {dtype} cannot hold; {}",
        if .value.is_finite() { "use --dtype f32" } else { "are these the right weights?" })]
    Overflow {
        /// The image.
        id: i64,
        /// Which of its features.
        index: usize,
        /// What the encoder gave.
        value: f32,
        /// What it was to be stored as.
        dtype: Dtype,
    },
    /// The device has no memory for a batch, nor for its half.
    #[error(
        "the device has no memory for {images} {} at once: use a smaller --batch-size; \
         what was written is kept ({reason})",
        if *.images == 1 { "image" } else { "images" }
    )]
    DeviceMemory {
        /// How many images were tried last.
        images: usize,
        /// What the device said.
        reason: candle_core::Error,
    },
    /// The weights' file changed while the program ran.
    #[error("{0}: changed while it was read")]
    WeightsChanged(String),
    /// A stage ended without saying why.
    #[error("the {0} stage stopped early")]
    Stopped(&'static str),
    /// Ctrl-C.
    #[error("interrupted; whole shards are kept in {}: run the same command to continue", .0.display())]
    Interrupted(PathBuf),
    /// The system refused to pass on Ctrl-C.
    #[error("cannot listen for Ctrl-C: {0}")]
    Signals(#[from] ctrlc::Error),
}

impl Error {
    /// 130 for Ctrl-C, 2 where the user's input is at fault, 1 otherwise: the program's exit status.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Core(error) => error.exit_code(),
            Self::Data(error) => error.exit_code(),
            Self::Unnameable(_)
            | Self::Differs { .. }
            | Self::Foreign { .. }
            | Self::Variable { .. }
            | Self::VariableMissing { .. }
            | Self::WorkersContradict { .. }
            | Self::WorkersUncounted(_)
            | Self::WorkerUnnumbered(_)
            | Self::NotBegun(_) => 2,
            Self::Interrupted(_) => 130,
            _ => 1,
        }
    }
}
