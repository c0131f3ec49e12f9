//! What an undisturbed run makes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // as in tests themselves

use std::collections::BTreeSet;

mod common;
use common::{DIM, Fixture, rows, stderr};

#[test]
fn every_image_has_its_row() {
    let fixture = Fixture::new(7, 4);
    let output = fixture.run("out", &["--shard-size", "4"]);
    assert!(output.status.success(), "{}", stderr(&output));

    let files = fixture.files("out");
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    let shards =
        ["features-00000.safetensors", "features-00001.safetensors", "features-00002.safetensors"];
    assert_eq!(names, [&["extract.json", "failed.jsonl"], &shards[..], &["index.json"]].concat());
    let ids: Vec<Vec<i64>> =
        shards.iter().map(|name| rows(&files[*name]).iter().map(|row| row.0).collect()).collect();
    assert_eq!(ids, [vec![100, 107, 114, 121], vec![128, 135, 142, 149], vec![156, 163, 170]]);
    let distinct: BTreeSet<_> = fixture
        .features("out")
        .values()
        .map(|row| row.iter().map(|v| v.to_bits()).collect::<Vec<_>>())
        .collect();
    assert_eq!(distinct.len(), 11);
    assert!(distinct.iter().all(|row| row.len() == DIM));
    assert_eq!(files["failed.jsonl"], b"");

    let index: serde_json::Value = serde_json::from_slice(&files["index.json"]).unwrap();
    assert_eq!(index["rows"], 11);
    assert_eq!(index["encoder"]["weights"], "../vgg.safetensors");
    assert_eq!(index["shards"][2]["rows"], 3);

    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    let last = stdout.lines().last().unwrap();
    for part in ["read ", "decode ", "encode ", "write ", "images/s", "slowest: ", "failed: 0"] {
        assert!(last.contains(part), "{part:?} is not in {last:?}");
    }
    let log = stderr(&output);
    assert!(log.contains("encoding on the CPU, 2 threads, "), "{log}");
    assert!(!log.contains(['\r', '\x1b']), "a bar without a terminal: {log:?}");
}

#[test]
fn neither_batch_size_nor_threads_nor_another_run_changes_a_byte() {
    let fixture = Fixture::new(17, 2);
    let run = |out: &str, size: &str, threads: &str| {
        let mut command = fixture.command(out);
        command.args(["--shard-size", "17", "--batch-size", size, "--dtype", "f32"]);
        let output = command.env("RAYON_NUM_THREADS", threads).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    };
    run("first", "1", "1");
    for (size, threads) in
        [("1", "1"), ("2", "1"), ("7", "2"), ("16", "1"), ("16", "3"), ("64", "2"), ("64", "2")]
    {
        let out = format!("{size}-{threads}");
        let _ = std::fs::remove_dir_all(fixture.path(&out));
        run(&out, size, threads);
        let same = fixture.files(&out) == fixture.files("first");
        assert!(same, "batches of {size} on {threads} threads");
    }
}

#[test]
fn limit_and_split_choose() {
    let fixture = Fixture::new(3, 3);
    let ids = |out: &str| fixture.features(out).into_keys().collect::<BTreeSet<_>>();
    fixture.ok("limit", &["--limit", "4"]);
    assert_eq!(ids("limit"), BTreeSet::from([100, 107, 114, 121]));
    fixture.ok("val", &["--split", "val"]);
    assert_eq!(ids("val"), BTreeSet::from([121, 128, 135]));
    fixture.ok("both", &["--split", "val,train", "--limit", "5"]);
    assert_eq!(ids("both"), BTreeSet::from([100, 107, 114, 121, 128]));
}

#[test]
fn f16_is_f32_rounded() {
    let fixture = Fixture::new(2, 1);
    fixture.ok("half", &[]);
    fixture.ok("single", &["--dtype", "f32"]);
    let (half, single) = (fixture.features("half"), fixture.features("single"));
    for (id, row) in single {
        let rounded: Vec<f32> = row.iter().map(|v| half::f16::from_f32(*v).to_f32()).collect();
        assert_eq!(half[&id], rounded);
        assert_ne!(half[&id], row);
    }
}

#[test]
fn exif_orientation_is_a_choice() {
    let fixture = Fixture::new(2, 0);
    let path = fixture.path("images/000000000100.jpg");
    let jpeg = std::fs::read(&path).unwrap();
    // APP1 with one IFD entry: orientation (0x112) is 6, "turn by 90 degrees"
    let tiff = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let length = (tiff.len() as u16 + 2).to_be_bytes();
    std::fs::write(&path, [&jpeg[..2], &[0xff, 0xe1], &length, tiff, &jpeg[2..]].concat()).unwrap();
    fixture.ok("plain", &[]);
    fixture.ok("turned", &["--exif-orientation"]);
    let (plain, turned) = (fixture.features("plain"), fixture.features("turned"));
    assert_ne!(plain[&100], turned[&100]);
    assert_eq!(plain[&107], turned[&107]);
}

#[test]
fn the_directory_is_named_for_the_dataset() {
    let fixture = Fixture::new(1, 0);
    let mut command = common::program();
    command.current_dir(fixture.dir.path());
    let output = command
        .args(["--dataset=data.toml", "--weights=vgg.safetensors", "--device=cpu"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(fixture.path("features/tiny/index.json").exists());
}
