//! How much memory a run takes, and that it does not grow with the images. Ignored unless asked for:
//! `cargo test --release --workspace --test memory -- --ignored --nocapture extract`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // as in tests themselves

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

mod common;
use common::{Fixture, jpeg, photographs};

/// 1.1 GiB in kB.
const LIMIT: u64 = 11 * 1024 * 1024 / 10;

/// The most memory of a run in kB.
fn peak(fixture: &Fixture, images: usize) -> u64 {
    let out = format!("out-{images}");
    let mut command = fixture.command(&out);
    command.args(["--batch-size", "16", "--limit", &images.to_string()]);
    let start = Instant::now();
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        peak = peak.max(number.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(10));
    }
    let took = start.elapsed();
    let stdout = child.stdout.take().unwrap();
    let last = BufReader::new(stdout).lines().last().unwrap().unwrap();
    assert!(child.wait().unwrap().success(), "{last}");
    let line = format!("{images} images: {:.2} GiB, {took:.1?}; {last}", peak as f64 / 1048576.0);
    eprintln!("{line}");
    peak
}

#[test]
#[ignore = "writes 553 MB to the temporary directory and takes a minute"]
fn extract_at_full_width_stays_small() {
    let fixture = Fixture::empty();
    fixture.full_weights("vgg.safetensors");
    fixture.repeat(&photographs(), 160);
    // with one image it is all start
    peak(&fixture, 1);
    let peak = peak(&fixture, 160);
    assert!(peak < LIMIT, "{peak} kB, expected below {LIMIT}");
}

#[test]
#[ignore = "takes minutes"]
fn extract_stays_as_small_over_50_000_images() {
    let fixture = Fixture::empty();
    fixture.weights("vgg.safetensors", 1);
    fixture.repeat(&[jpeg(64, 48)], 50_000);
    let few = peak(&fixture, 2_000);
    let many = peak(&fixture, 50_000);
    // an image's id and its row in the shard at hand, but no image
    assert!(many < few + 64 * 1024, "{many} kB, with 2,000 images {few}");
}
