//! A run that was stopped, and a directory that was begun differently.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

mod common;
use common::{Fixture, copy, program, stderr};

const SHARDS: [&str; 2] = ["--shard-size", "4"];

#[test]
fn a_finished_run_does_nothing() {
    let fixture = Fixture::new(6, 3);
    fixture.ok("out", &SHARDS);
    let times = || -> Vec<SystemTime> {
        let names = fixture.files("out").into_keys();
        names
            .map(|name| fixture.path("out").join(name).metadata().unwrap().modified().unwrap())
            .collect()
    };
    let (files, before) = (fixture.files("out"), times());
    let output = fixture.run("out", &SHARDS);
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 1);
    assert_eq!(output.stderr, b"", "neither device nor weights are needed");
    assert!(fixture.ok("out", &SHARDS).contains("nothing to do"));
    assert!(fixture.files("out") == files);
    assert_eq!(times(), before);
}

#[test]
fn only_what_is_missing_or_damaged_is_made_again() {
    let fixture = Fixture::new(12, 5);
    fixture.ok("whole", &SHARDS);
    let whole = fixture.files("whole");
    copy(&fixture.path("whole"), &fixture.path("out"));
    let shard =
        |index: usize| fixture.path("out").join(format!("features-0000{index}.safetensors"));
    fs::remove_file(shard(0)).unwrap();
    let mut bytes = fs::read(shard(1)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(shard(1), bytes).unwrap();
    fs::write(shard(2), &fs::read(shard(2)).unwrap()[..100]).unwrap();
    fs::copy(fixture.path("whole/features-00004.safetensors"), shard(3)).unwrap();
    fs::write(fixture.path("out/features-00000.safetensors.tmp"), "half").unwrap();
    fs::write(fixture.path("out/notes.tmp"), "not ours").unwrap();
    let before = shard(4).metadata().unwrap().modified().unwrap();

    let output = fixture.run("out", &SHARDS);
    assert!(output.status.success(), "{}", stderr(&output));
    let log = stderr(&output);
    for index in [1, 2, 3] {
        assert!(
            log.lines()
                .any(|l| l.contains(&format!("0000{index}.safetensors")) && l.contains("again")),
            "{log}"
        );
    }
    assert!(log.contains("1 of 5 shards are there already"), "{log}");
    assert_eq!(shard(4).metadata().unwrap().modified().unwrap(), before);
    fs::remove_file(fixture.path("out/notes.tmp")).unwrap();
    assert!(fixture.files("out") == whole);
}

#[test]
fn an_index_without_its_shards_is_taken_back() {
    let fixture = Fixture::new(6, 0);
    fixture.ok("out", &SHARDS);
    fs::remove_file(fixture.path("out/features-00001.safetensors")).unwrap();
    fs::remove_file(fixture.path("images/000000000128.jpg")).unwrap();
    let (status, _) = fixture.fails("out", &["--shard-size", "4", "--strict"]);
    assert_eq!(status, 1);
    assert!(!fixture.path("out/index.json").exists());
}

#[test]
fn what_differs_is_named() {
    let fixture = Fixture::new(4, 2);
    fixture.ok("out", &SHARDS);
    let files = fixture.files("out");
    let differs = |arguments: &[&str], expected: &[&str]| {
        let (status, text) = fixture.fails("out", &[&SHARDS, arguments].concat());
        assert_eq!(status, 2, "{text}");
        for part in expected {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        assert!(text.contains("out: begun with other settings"), "{text}");
        assert!(text.contains("--out"), "{text}");
        assert!(fixture.files("out") == files);
    };
    differs(&["--dtype", "f32"], &["dtype: f16 there, f32 now"]);
    differs(&["--limit", "5"], &["limit: none there, 5 now", "images: 6 ", ", 5 "]);
    differs(&["--split", "val"], &["splits: all there, val now"]);
    differs(&["--exif-orientation"], &["exif_orientation"]);
    let (status, text) = fixture.fails("out", &["--shard-size", "5"]);
    assert_eq!(status, 2);
    assert!(text.contains("shard size: 4 there, 5 now"), "{text}");

    fixture.weights("vgg.safetensors", 2);
    differs(&[], &["weights"]);
    fixture.weights("vgg.safetensors", 1);

    let captions = ["captions_train2017.json".to_owned(), "captions_val2017.json".to_owned()];
    fixture.descriptor("data.toml", "other", &captions, "images");
    differs(&[], &["dataset: tiny there, other now"]);
    fixture.descriptor("data.toml", "tiny", &captions[..1], "images");
    differs(&[], &["images: 6 ", ", 4 "]);
}

#[test]
fn a_run_without_a_shard_binds_nobody() {
    let fixture = Fixture::new(3, 0);
    let image = fixture.path("images/000000000100.jpg");
    fs::rename(&image, fixture.path("aside")).unwrap();
    assert_eq!(fixture.fails("out", &["--strict", "--dtype=f32"]).0, 1);
    fs::rename(fixture.path("aside"), &image).unwrap();
    fixture.ok("out", &SHARDS);
    fixture.ok("whole", &SHARDS);
    assert!(fixture.files("out") == fixture.files("whole"));
}

#[test]
fn weights_may_move() {
    let fixture = Fixture::new(6, 0);
    fixture.ok("whole", &SHARDS);
    fixture.ok("out", &SHARDS);
    fs::remove_file(fixture.path("out/features-00001.safetensors")).unwrap();
    fs::rename(fixture.path("vgg.safetensors"), fixture.path("moved.safetensors")).unwrap();
    let mut command = program();
    command.current_dir(fixture.dir.path()).args(SHARDS).args(["--out=out", "--device=cpu"]);
    let output =
        command.args(["--dataset=data.toml", "--weights=moved.safetensors"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(fixture.files("out") == fixture.files("whole"));
}

#[test]
fn features_of_unknown_origin_are_left_alone() {
    let fixture = Fixture::new(2, 0);
    fs::create_dir(fixture.path("out")).unwrap();
    fs::write(fixture.path("out/mine.safetensors"), "mine").unwrap();
    let (status, text) = fixture.fails("out", &[]);
    assert_eq!(status, 2);
    assert!(text.contains("mine.safetensors but no extract.json"), "{text}");

    fs::remove_file(fixture.path("out/mine.safetensors")).unwrap();
    fs::write(fixture.path("out/extract.json"), "{\"dataset\": 3}").unwrap();
    let (status, text) = fixture.fails("out", &[]);
    assert_eq!(status, 2);
    assert!(text.contains("extract.json: ") && text.contains("line 1"), "{text}");
}

#[test]
fn one_process_a_directory() {
    let fixture = Fixture::new(2, 0);
    fixture.ok("out", &["--limit", "1"]);
    let lock = File::open(fixture.path("out/.lock")).unwrap();
    lock.lock().unwrap();
    let (status, text) = fixture.fails("out", &["--limit", "1"]);
    assert_eq!(status, 1);
    assert!(text.contains("out: another extract is writing there"), "{text}");
    drop(lock);
    fixture.ok("out", &["--limit", "1"]);
}

#[test]
fn killed_at_any_moment_and_run_again_gives_the_same_bytes() {
    let fixture = Fixture::new(36, 4);
    let start = Instant::now();
    fixture.ok("whole", &SHARDS);
    let a_shard = start.elapsed() / 10;
    let whole = fixture.files("whole");
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut halfway = 0;
    for round in 0..10 {
        let out = format!("killed{round}");
        let mut run = quiet(fixture.command(&out).args(SHARDS));
        // a little after the shard before this one appears
        if round > 0 {
            wait_for(&fixture.path(&out).join(format!("features-{:05}.safetensors", round - 1)));
        }
        sleep(a_shard.mul_f64(random.random()));
        run.kill().unwrap();
        run.wait().unwrap();
        let there = fs::read_dir(fixture.path(&out)).map_or(0, Iterator::count);
        halfway += usize::from(there > 2 && there < whole.len());
        fixture.ok(&out, &SHARDS);
        assert!(fixture.files(&out) == whole, "round {round}");
    }
    assert!(halfway > 5, "only {halfway} runs were killed while they wrote shards");
}

fn quiet(command: &mut Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn wait_for(path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "{} does not appear", path.display());
        sleep(Duration::from_millis(1));
    }
}

#[test]
#[cfg(unix)]
fn ctrl_c_leaves_whole_shards() {
    let fixture = Fixture::new(100, 0);
    let run = fixture
        .command("out")
        .args(SHARDS)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for(&fixture.path("out/features-00000.safetensors"));
    assert!(Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap().success());
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains("run the same command to continue"), "{}", stderr(&output));
    let files = fixture.files("out");
    assert!(files.contains_key("features-00000.safetensors"));
    assert!(!files.contains_key("index.json"));
    assert!(!files.keys().any(|name| name.ends_with(".tmp")));

    fixture.ok("out", &SHARDS);
    fixture.ok("whole", &SHARDS);
    assert!(fixture.files("out") == fixture.files("whole"));
}
