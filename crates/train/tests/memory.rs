//! All of COCO's features: how much memory a run takes; prints how fast it is on few and on all. Ignored unless asked for,
//! for it writes 1 GB: `cargo test --release --package train --test memory -- --ignored --nocapture`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// Karpathy's training split of COCO.
const IMAGES: usize = 113_287;
const WIDTH: usize = 4096;
/// 2.5 GiB.
const LIMIT: u64 = 5 << 29;

#[test]
#[ignore = "writes 1 GB to the temporary directory and takes minutes"]
fn all_of_coco_fits() {
    let dir = tempfile::tempdir().unwrap();
    for (name, images) in [("small", 3_000), ("coco", IMAGES)] {
        write_shards(&dir.path().join(name), images);
        write_captions(dir.path(), name, images);
    }
    // A decoder so small, for a few hundred words, that the features take their share of the time; the last epoch's speed.
    let tiny = ["model.embed_dim=16", "model.hidden_dim=16", "output.save_steps=1000000"];
    let speed = |name: &str, images: usize| {
        // as many steps with the few as with all
        let (count, epochs) = (images / 60, IMAGES / images);
        let (count, epochs) = (format!("data.min_count={count}"), format!("train.epochs={epochs}"));
        let set = [&count, &epochs, tiny[0], tiny[1], tiny[2]];
        run(dir.path(), name, &set, false);
        let text =
            fs::read_to_string(dir.path().join(format!("run-{name}/metrics.jsonl"))).unwrap();
        let row: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        row["tokens_per_second"].as_f64().unwrap()
    };
    for (name, images) in [("small", 3_000), ("coco", IMAGES)] {
        eprintln!("{images} images: {:.0} words/s", speed(name, images));
    }

    // COCO's decoder for its first steps, and as if every feature had been read by then.
    fs::remove_dir_all(dir.path().join("run-coco")).unwrap();
    let set = ["data.min_count=1", "output.save_steps=20"];
    let own = run(dir.path(), "coco", &set, true);
    let features = (IMAGES * WIDTH * 2) as u64;
    eprintln!("{own} bytes of its own, {features} of features: {:.2} GiB", gib(own + features));
    assert!(own + features < LIMIT, "{:.2} GiB, expected below 2.5", gib(own + features));
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// f16 features that are no two alike, in shards of 10,000 rows, without holding them in memory.
fn write_shards(dir: &Path, images: usize) {
    fs::create_dir(dir).unwrap();
    let mut state = 1u32;
    for (shard, first) in (0..images).step_by(10_000).enumerate() {
        let rows = (images - first).min(10_000);
        let middle = rows * 8;
        let mut head = json!({
            "image_id": { "dtype": "I64", "shape": [rows], "data_offsets": [0, middle] },
            "features": {
                "dtype": "F16", "shape": [rows, WIDTH],
                "data_offsets": [middle, middle + rows * WIDTH * 2],
            },
        })
        .to_string()
        .into_bytes();
        head.resize(head.len().next_multiple_of(8), b' ');
        let path = dir.join(format!("features-{shard:05}.safetensors"));
        let mut file = BufWriter::new(File::create(path).unwrap());
        file.write_all(&(head.len() as u64).to_le_bytes()).unwrap();
        file.write_all(&head).unwrap();
        for id in first..first + rows {
            file.write_all(&(id as i64 + 1).to_le_bytes()).unwrap();
        }
        for _ in 0..rows * WIDTH {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // halves between 1 and 2
            file.write_all(&(0x3c00 | (state >> 22) as u16).to_le_bytes()).unwrap();
        }
        file.flush().unwrap();
    }
}

/// Five captions an image, of 8,192 words, the frequent far more frequent than the rare; the last ten images are there to
/// choose by.
fn write_captions(dir: &Path, name: &str, images: usize) {
    let mut state = 7u64;
    let mut below = |bound: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let images: Vec<Value> = (1..=images)
        .map(|id| {
            let sentences: Vec<Value> = (0..5)
                .map(|_| {
                    let words: Vec<String> = (0..8 + below(6))
                        .map(|_| {
                            let rarity = 1 + below(13);
                            format!("w{}", below(1 << rarity))
                        })
                        .collect();
                    json!({ "raw": words.join(" "), "tokens": [] })
                })
                .collect();
            let split = if id + 10 > images { "val" } else { "train" };
            json!({ "filename": format!("{id}.jpg"), "split": split, "sentences": sentences })
        })
        .collect();
    let captions = json!({ "images": images, "dataset": name }).to_string();
    fs::write(dir.join(format!("{name}.json")), captions).unwrap();
    let descriptor =
        format!("name = \"{name}\"\nformat = \"karpathy\"\ncaptions = [\"{name}.json\"]\n");
    fs::write(dir.join(format!("{name}.toml")), descriptor).unwrap();
    let config = format!(
        "[data]\ndataset = \"{name}.toml\"\nfeatures = \"{name}\"\n\
         [train]\nbatch_size = 128\nepochs = 1\n[output]\ndir = \"run-{name}\"\n"
    );
    fs::write(dir.join(format!("run-{name}.toml")), config).unwrap();
}

/// The most memory of its own that the program held, in bytes. `saved` ends it at the first save that has
/// steps behind it.
fn run(dir: &Path, name: &str, set: &[&str], saved: bool) -> u64 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_train"));
    command.current_dir(dir).args([&format!("run-{name}.toml"), "--device", "cpu"]);
    for set in set {
        command.args(["--set", set]);
    }
    let mut child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        peak = kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0).max(peak);
        let state = dir.join(format!("run-{name}/last/training/state.toml"));
        let state = fs::read_to_string(state).unwrap_or_default();
        if saved && state.lines().any(|line| line.starts_with("step = ") && line != "step = 0") {
            child.kill().unwrap();
            child.wait().unwrap();
            return peak * 1024;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(child.wait().unwrap().success());
    peak * 1024
}
