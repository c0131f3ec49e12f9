//! One measurement of a card at a time, as one JSON object; `benches/peers/gpu.py` takes them all and judges.

mod beam;
mod card;
mod difference;
mod error;
mod photos;
mod pipeline;
mod sizes;
mod step;
mod training;
mod vgg;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use candle_core::Device;
use clap::{Parser, Subcommand};
use nic_core::DeviceChoice;

use crate::error::Result;
use crate::sizes::Sizes;

/// Measures nic on a CUDA device. Exits with 3 where none can be opened.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    what: What,
    /// cuda or cuda:N; cpu goes through the same code, to see that it runs
    #[arg(long, global = true, default_value = "cuda", value_parser = str::parse::<DeviceChoice>)]
    device: DeviceChoice,
    /// Small networks and few images: for cpu
    #[arg(long, global = true)]
    quick: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The card, its driver and the libraries
    Device,
    /// fc7 against the CPU's, in f32, f16 and bf16
    Fc7,
    /// Training steps: loss, gradients and weights against the CPU's
    Step,
    /// Beam search's captions a second, and their log probabilities against the CPU's
    Beam,
    /// VGG16's images a second
    Vgg,
    /// `extract` over JPEGs made on the spot, and what each stage cost
    Extract,
    /// `train CONFIG`, and its words a second in the last epoch
    Train {
        /// The run's settings
        config: PathBuf,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let (device, name) = match args.device.open() {
        Ok(opened) => opened,
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "gpu-check: {error}");
            return ExitCode::from(3);
        }
    };
    match run(&args, &device, name) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "gpu-check: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args, device: &Device, name: String) -> Result<()> {
    let sizes = if args.quick { Sizes::QUICK } else { Sizes::FULL };
    let mut result = match &args.what {
        What::Device => card::describe(device, name)?,
        What::Fc7 => vgg::fc7(&sizes, device)?,
        What::Step => step::compare(&sizes, device)?,
        What::Beam => beam::run(&sizes, device)?,
        What::Vgg => vgg::speed(&sizes, device)?,
        What::Extract => pipeline::run(&sizes, args.device)?,
        What::Train { config } => training::run(config, device)?,
    };
    result["memory"] = card::peak_memory(device)?.into();
    let _ = writeln!(std::io::stdout().lock(), "{result}");
    Ok(())
}
