//! `caption photo.jpg ...` and `caption generate ...`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    caption::run(&caption::Args::parse())
}
