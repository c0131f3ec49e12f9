//! Captions photographs and datasets with a trained decoder.

mod generate;
mod model;
mod photos;

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nic_data::Error;

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
}

/// Runs the program: results to stdout, everything else to stderr; 0 done, 1 failed, 2 bad usage or bad input.
pub fn run(args: &Args) -> ExitCode {
    let done = match &args.command {
        Some(Command::Generate(args)) => generate::run(args),
        None => photos::run(&args.photos),
    };
    match done {
        Ok(code) => code,
        // Whoever reads our output has seen enough.
        Err(Error::Core(nic_core::Error::Io { source, .. }))
            if source.kind() == ErrorKind::BrokenPipe =>
        {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
