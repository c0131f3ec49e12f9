//! See `extract --help`.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use extract::{Cli, Command};

fn main() -> ExitCode {
    let Cli { command, args } = Cli::parse();
    let done = extract::interrupt::install().and_then(|()| {
        Ok(match command {
            None => extract::run(&args)?.to_string(),
            Some(Command::Merge { dir }) => extract::merge(&dir)?.to_string(),
        })
    });
    // a closed stdout or stderr is no reason to fail: the shards are on the disk
    match done {
        Ok(report) => {
            let _ = writeln!(std::io::stdout().lock(), "{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
