//! `shapes`: draws the demo's dataset and judges captions of it.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shapes::dataset::{self, Split};
use shapes::scene::Kind;
use shapes::{picture, report};

/// A small world of coloured shapes: pictures, captions, and a judge of captions.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Draw a dataset: images.zip, dataset_shapes.json, scenes.json
    Generate {
        /// Where to
        #[arg(long)]
        out: PathBuf,
        /// The same seed gives the same bytes
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Only so many training scenes, none with a held-out pair: what the encoder learns from
        #[arg(long)]
        count: Option<u64>,
    },
    /// Tell how many captions are true of their scenes, and show some
    Report {
        /// The captions of the test split, in COCO's results format
        #[arg(long)]
        results: PathBuf,
        /// The folder that `generate` made
        #[arg(long, default_value = "datasets/shapes")]
        dataset: PathBuf,
        /// A PNG file to leave, of scenes with their captions
        #[arg(long)]
        picture: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match run(Args::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shapes: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(command: Command) -> shapes::Result<()> {
    match command {
        Command::Generate { out, seed, count } => {
            let entries = match count {
                Some(count) => dataset::sample(seed, &[(Split::Train, Kind::Seen, count)]),
                None => dataset::sample(seed, &dataset::PLAN),
            };
            dataset::write(&out, seed, &entries)
        }
        Command::Report { results, dataset, picture } => {
            let judged = report::judge(&results, &dataset)?;
            if let Some(picture) = &picture {
                picture::draw(&judged, &dataset, picture)?;
            }
            // whoever reads may have read enough
            let _ = std::io::stdout().lock().write_all(report::table(&judged).as_bytes());
            if let Some(picture) = &picture {
                eprintln!("{}", picture.display());
            }
            Ok(())
        }
    }
}
