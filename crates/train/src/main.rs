//! `train CONFIG [--set table.key=value]... [--device auto|cpu|cuda[:N]]`

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use nic_core::DeviceChoice;
use train::config::{Metric, ScheduleKind};
use train::{Config, Error, Outcome, Result, Trainer, interrupt};

/// Train the caption decoder on cached features.
///
/// Run it again to continue where it stopped; Ctrl-C finishes the step, saves and exits.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The run's settings (configs/*.toml)
    config: PathBuf,
    /// Overrides a key of the settings; paths are then relative to the working directory
    #[arg(long, value_name = "TABLE.KEY=VALUE")]
    set: Vec<String>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(args: &Args) -> Result<ExitCode> {
    let config = Config::load(&args.config, &args.set)?;
    let (metric, schedule) = (config.eval.metric, config.train.schedule);
    let (device, which) = args.device.open()?;
    eprintln!("training on {which}");
    let stop = interrupt::watch()?;
    let mut trainer = Trainer::open(config, device, &|line| eprintln!("{line}"))?;
    let outcome = trainer.run(&stop)?;
    let progress = trainer.progress();
    match outcome {
        Outcome::Interrupted => {
            eprintln!("saved at step {}; the same command continues", progress.step);
            return Ok(ExitCode::from(130));
        }
        Outcome::AlreadyFinished => {
            let (epochs, more) = (progress.epoch, trainer.out_of_patience());
            let hint = match (more, schedule) {
                (true, _) => "; a higher eval.patience continues it",
                (false, ScheduleKind::Cosine) => "", // its rate has come to its end
                (false, _) => "; a higher train.epochs continues it",
            };
            eprintln!("nothing to do: the run has its {epochs} epochs{hint}");
        }
        Outcome::Finished => {}
    }
    let best = progress.best.unwrap_or(f64::NAN);
    let best = match metric {
        Metric::Loss => format!("perplexity {:.2}", best.exp()),
        Metric::CiderD => format!("CIDEr-D {best:.4}"),
    };
    let summary = writeln!(
        std::io::stdout().lock(),
        "best validation {best} (epoch {}): {}",
        progress.best_epoch,
        trainer.best().display()
    );
    match summary {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::from(nic_core::Error::io("standard output")(error)))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}
