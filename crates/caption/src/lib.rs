//! Captions photographs and datasets with a trained decoder.

mod error;
mod generate;
mod model;
mod photos;
mod score;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
