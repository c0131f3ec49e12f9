//! `caption photo.jpg ...`, `caption generate ...` and `caption score ...`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    caption::run(&caption::Args::parse())
}
