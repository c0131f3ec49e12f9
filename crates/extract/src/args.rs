//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use candle_core::DType;
use clap::{Parser, Subcommand, ValueEnum};
use nic_core::{DeviceChoice, Preprocess};
use nic_data::Split;
use serde::{Deserialize, Serialize};

use crate::worker::WorkerChoice;

/// Reads every image of a dataset through VGG16 once and keeps fc7 in feature shards.
///
/// Run it again to continue where it stopped: whole shards are kept. Images that cannot be read are listed in
/// failed.jsonl; to try one again, delete its shard and index.json and run again.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// Without one: extract.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to extract, and how.
    #[command(flatten)]
    pub args: Args,
}

/// What else the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Checks every shard that workers made and lists them: writes failed.jsonl and index.json
    Merge {
        /// What --out was
        dir: PathBuf,
    },
}

/// What to extract, and how.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset's descriptor
    #[arg(long, value_name = "FILE", default_value = "datasets/coco.toml")]
    pub dataset: PathBuf,
    /// VGG16's weights: a safetensors file, a directory of them, or hf://OWNER/NAME
    #[arg(long, value_name = "FILE|DIR|hf://...", default_value = "hf://timm/vgg16.tv_in1k")]
    pub weights: String,
    /// Where the shards go [default: features/<the dataset's name>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// auto (CUDA where there is one), cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", value_parser = str::parse::<DeviceChoice>)]
    pub device: DeviceChoice,
    /// The stored features' type
    #[arg(long, default_value = "f16")]
    pub dtype: Dtype,
    /// What CUDA computes in: bf16 is several times as fast, f32 gives the CPU's features. The CPU computes in f32
    #[arg(long, default_value = "bf16")]
    pub precision: Precision,
    /// Images that the device encodes at once [default: 8 on the CPU, 128 on CUDA]
    #[arg(long, value_name = "N")]
    pub batch_size: Option<NonZeroUsize>,
    /// Images a shard: what an interruption can cost
    #[arg(long, value_name = "N", default_value = "4096")]
    pub shard_size: NonZeroUsize,
    /// Only the first N images
    #[arg(long, value_name = "N")]
    pub limit: Option<NonZeroUsize>,
    /// Only these splits [default: all]
    #[arg(long, value_name = "SPLIT,...", value_delimiter = ',')]
    pub split: Vec<Split>,
    /// Stop at the first image that cannot be read
    #[arg(long)]
    pub strict: bool,
    /// Make every Nth shard from number I on (I counts from 0), beside other workers with the same --out; /N takes I
    /// from the scheduler [default: from SLURM_ARRAY_TASK_*, OMPI_COMM_WORLD_* or PMI_*, else all shards]
    #[arg(long, value_name = "I/N", value_parser = str::parse::<WorkerChoice>)]
    pub worker: Option<WorkerChoice>,
    /// Turn images as their EXIF orientation says, which ImageNet's training did not
    #[arg(long)]
    pub exif_orientation: bool,
}

impl Args {
    /// What is done to an image.
    pub fn preprocess(&self) -> Preprocess {
        Preprocess { exif_orientation: self.exif_orientation, ..Preprocess::default() }
    }
}

/// What the network computes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Eight bits of each number and f32's range; sums in f32. Not f16: what overflows it could reach fc7 as a 0.
    Bf16,
    /// Single precision, without TF32; the CPU's.
    #[default]
    F32,
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
        })
    }
}

impl From<Precision> for DType {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::Bf16 => Self::BF16,
            Precision::F32 => Self::F32,
        }
    }
}

/// How features are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// Half precision, up to 65504.
    F16,
    /// Single precision.
    F32,
}

impl Dtype {
    /// Whether `value` has a finite number in this type.
    pub fn holds(self, value: f32) -> bool {
        match self {
            Self::F16 => half::f16::from_f32(value).is_finite(),
            Self::F32 => value.is_finite(),
        }
    }
}

impl From<Dtype> for DType {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F16 => Self::F16,
            Dtype::F32 => Self::F32,
        }
    }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F16 => "f16",
            Self::F32 => "f32",
        })
    }
}
