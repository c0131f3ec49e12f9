//! See `extract --help`.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = extract::Args::parse();
    let done = extract::interrupt::install().and_then(|()| extract::run(&args));
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
