//! Captions photographs and datasets with a trained decoder.

mod error;
mod generate;
mod photos;
mod score;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args as ClapArgs, Parser, Subcommand};
use nic_core::{BeamSearch, Captioner, DeviceChoice, Generate};

use crate::error::{Error, Result};

/// Say in a sentence what a photograph shows.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    photos: photos::Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Caption a split of a dataset from its cached features; writes COCO's results format.
    Generate(generate::Args),
    /// Score results as coco-caption does: BLEU, ROUGE-L, CIDEr-D, CIDEr, METEOR; and how varied they are.
    Score(score::Args),
}

/// Which model, and how sentences are searched for.
#[derive(Debug, ClapArgs)]
struct Model {
    /// A checkpoint: a directory, or hf://OWNER/NAME.
    #[arg(long, default_value = "runs/coco/best")]
    checkpoint: PathBuf,
    /// How many unfinished sentences to keep at each step; 1 is greedy.
    #[arg(long, default_value_t = 3)]
    beam: usize,
    /// At most so many words.
    #[arg(long, default_value_t = 20)]
    max_len: usize,
    /// auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
}

impl Model {
    fn load(&self) -> nic_data::Result<Captioner> {
        let (device, _) = self.device.open()?;
        Ok(Captioner::load_on(&self.checkpoint, &device)?)
    }

    fn search(&self) -> impl Generate {
        BeamSearch { width: self.beam, max_len: self.max_len }
    }
}

/// Runs the program: results to stdout, everything else to stderr; 0 done, 1 failed, 2 bad usage or bad input.
pub fn run(args: &Args) -> ExitCode {
    let done: Result<ExitCode> = match &args.command {
        Some(Command::Generate(args)) => generate::run(args).map_err(Error::from),
        Some(Command::Score(args)) => score::run(args),
        None => photos::run(&args.photos).map_err(Error::from),
    };
    match done {
        Ok(code) => code,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
