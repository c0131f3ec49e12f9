//! Images that cannot be read, disks that are full, and other bad news.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // as in tests themselves

use std::fs;
use std::io::Write as _;
use std::process::{Command, Output};

mod common;
use common::{Fixture, stderr};

#[cfg(target_os = "linux")]
#[test]
fn a_failing_disk_ends_the_run_and_costs_no_image() {
    let fixture = Fixture::new(6, 3);
    fixture.ok("whole", &["--shard-size", "4"]);
    let image = fixture.path("images/000000000107.jpg");
    let content = fs::read(&image).unwrap();
    fs::remove_file(&image).unwrap();
    std::os::unix::fs::symlink("/proc/self/mem", &image).unwrap(); // its first byte is an I/O error
    let output = fixture.run("out", &["--shard-size", "4"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("000000000107.jpg: Input/output error"),
        "{}",
        stderr(&output)
    );
    fs::remove_file(&image).unwrap();
    fs::write(&image, content).unwrap();
    fixture.ok("out", &["--shard-size", "4"]);
    assert!(fixture.files("out") == fixture.files("whole"));
}

#[test]
fn failed_images_are_listed_and_the_rest_goes_on() {
    let fixture = Fixture::new(6, 3);
    fixture.ok("whole", &["--shard-size", "4"]);
    let before = fixture.features("whole");
    fs::remove_file(fixture.path("images/000000000107.jpg")).unwrap();
    fs::write(fixture.path("images/000000000128.jpg"), "no picture").unwrap();
    let cut = fs::read(fixture.path("images/000000000114.png")).unwrap();
    fs::write(fixture.path("images/000000000114.png"), &cut[..200]).unwrap();

    let output = fixture.run("out", &["--shard-size", "4"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(stdout.lines().last().unwrap().contains("failed: 3, see out/failed.jsonl"), "{stdout}");
    let failed = fixture.failed("out");
    let ids: Vec<_> = failed.iter().map(|line| line["image_id"].as_i64().unwrap()).collect();
    assert_eq!(ids, [107, 114, 128]);
    assert!(failed[0]["reason"].as_str().unwrap().contains("000000000107.jpg"), "{failed:?}");
    assert!(failed.iter().all(|line| line["reason"].as_str().unwrap().len() > 10), "{failed:?}");
    for line in &failed {
        assert!(stderr(&output).contains(&format!("image {}: ", line["image_id"])));
    }
    // shards hold what they would hold without failures
    let after = fixture.features("out");
    assert_eq!(after.len(), 6);
    assert!(after.iter().all(|(id, row)| before[id] == *row));
    assert!(fixture.ok("out", &["--shard-size", "4"]).contains("nothing to do"));
}

#[test]
fn a_failed_image_can_be_tried_again() {
    let fixture = Fixture::new(6, 0);
    fixture.ok("whole", &["--shard-size", "2"]);
    let (image, aside) = (fixture.path("images/000000000107.jpg"), fixture.path("aside.jpg"));
    fs::rename(&image, &aside).unwrap();
    fixture.ok("out", &["--shard-size", "2"]);
    assert_eq!(fixture.failed("out").len(), 1);
    fs::rename(&aside, &image).unwrap();
    fs::remove_file(fixture.path("out/features-00000.safetensors")).unwrap();
    fixture.ok("out", &["--shard-size", "2"]);
    assert!(fixture.files("out") == fixture.files("whole"));
}

#[test]
fn strict_stops_at_the_first() {
    let fixture = Fixture::new(6, 0);
    for name in ["000000000107.jpg", "000000000128.jpg"] {
        fs::write(fixture.path("images").join(name), "no picture").unwrap();
    }
    let arguments = ["--shard-size", "2", "--batch-size", "1", "--strict"];
    let (status, text) = fixture.fails("out", &arguments);
    assert_eq!(status, 1);
    assert!(text.contains("error: image 107: "), "{text}");
    let names: Vec<_> = fixture.files("out").into_keys().collect();
    assert_eq!(names, ["extract.json"]);

    // what was let pass before is not let pass now
    fixture.ok("out", &arguments[..4]);
    let (status, text) = fixture.fails("out", &arguments);
    assert_eq!(status, 1);
    assert!(text.contains("error: image 107: "), "{text}");
}

#[test]
fn nothing_read_is_a_failure() {
    let fixture = Fixture::new(3, 2);
    fs::remove_dir_all(fixture.path("images")).unwrap();
    fs::create_dir(fixture.path("images")).unwrap();
    for _ in 0..2 {
        let (status, text) = fixture.fails("out", &["--shard-size", "2"]);
        assert_eq!(status, 1);
        assert!(
            text.contains("none of the 5 images could be read; the first, image 100: "),
            "{text}"
        );
        assert_eq!(fixture.failed("out").len(), 5);
    }
}

#[test]
fn what_f16_cannot_hold_is_an_error() {
    let fixture = Fixture::new(2, 0);
    let path = fixture.path("vgg.safetensors");
    let bytes = fs::read(&path).unwrap();
    let name = "classifier.3.bias";
    let head = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..head]).unwrap();
    let start = head + header[name]["data_offsets"][0].as_u64().unwrap() as usize;
    let with = |value: f32| {
        let mut bytes = bytes.clone();
        bytes[start + 8..start + 12].copy_from_slice(&value.to_le_bytes());
        fs::write(&path, bytes).unwrap();
    };
    with(1e5);
    let (status, text) = fixture.fails("half", &[]);
    assert_eq!(status, 1);
    assert!(text.contains("image 100: feature 2 is "), "{text}");
    assert!(text.contains("f16 cannot hold; use --dtype f32"), "{text}");
    fixture.ok("single", &["--dtype", "f32"]);
    with(f32::INFINITY);
    let (status, text) = fixture.fails("infinite", &["--dtype", "f32"]);
    assert_eq!(status, 1);
    assert!(
        text.contains(
            "image 100: feature 2 is inf, which f32 cannot hold; are these the right weights?"
        ),
        "{text}"
    );
}

#[test]
#[cfg(unix)]
fn a_file_that_cannot_grow_is_never_half_written() {
    let fixture = Fixture::new(80, 0);
    // a limit of 4 or 8 KiB, by the shell; extract.json fits, a shard of 80 rows does not
    let limited = r#"trap '' XFSZ; ulimit -f 8; exec "$0" "$@""#;
    let program = fixture.command("out");
    let output = Command::new("sh")
        .current_dir(fixture.dir.path())
        .args(["-c", limited])
        .arg(program.get_program())
        .args(program.get_args())
        .args(["--dtype", "f32"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("out/features-00000.safetensors: File too large"),
        "{}",
        stderr(&output)
    );
    assert_eq!(fixture.files("out").into_keys().collect::<Vec<_>>(), ["extract.json"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_leaves_whole_shards() {
    let fixture = Fixture::new(40, 0);
    // a disk of sixteen pages, in a mount namespace of its own, where the system lets us have one
    let script = r#"
        mkdir out && mount -t tmpfs -o size=64k none out || exit 77
        "$0" "$@"; echo "status $?"; ls -A out
        mount -o remount,size=1m out && "$0" "$@" && cp -r out kept
    "#;
    let program = fixture.command("out");
    let run = |namespace: &[&str]| -> Output {
        Command::new("unshare")
            .current_dir(fixture.dir.path())
            .args(namespace)
            .args(["sh", "-c", script])
            .arg(program.get_program())
            .args(program.get_args())
            .args(["--shard-size", "1"])
            .output()
            .unwrap()
    };
    let mut output = run(&["-rm"]);
    if output.status.code() != Some(0) {
        let _ = fs::remove_dir(fixture.path("out"));
        output = run(&["-m"]);
    }
    if matches!(output.status.code(), Some(77 | 1)) && !stderr(&output).contains("error:") {
        let _ = writeln!(
            std::io::stderr(),
            "a_full_disk_leaves_whole_shards: skipped, as a small disk takes a mount namespace: {}",
            stderr(&output)
        );
        return;
    }
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stderr(&output).contains(".safetensors: No space left on device"),
        "{}",
        stderr(&output)
    );
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("status 1\n"), "{stdout}");
    assert!(stdout.contains("features-00009.safetensors\n"), "{stdout}");
    assert!(!stdout.contains(".tmp"), "{stdout}");
    fixture.ok("whole", &["--shard-size", "1"]);
    assert!(fixture.files("kept") == fixture.files("whole"));
}

#[test]
fn bad_usage_and_bad_input() {
    let fixture = Fixture::new(2, 0);
    fs::write(fixture.path("file"), "a file").unwrap();
    fs::write(
        fixture.path("cut.safetensors"),
        &fs::read(fixture.path("vgg.safetensors")).unwrap()[..5000],
    )
    .unwrap();
    fixture.captions("captions_val2017.json", [].into_iter());
    fixture.descriptor("none.toml", "none", &["captions_val2017.json".to_owned()], "images");
    fixture.descriptor("up.toml", "../up", &["captions_train2017.json".to_owned()], "images");
    fixture.descriptor("gone.toml", "gone", &["captions_train2017.json".to_owned()], "gone");

    let expect = |arguments: &[&str], status: i32, parts: &[&str]| {
        let output =
            common::program().current_dir(fixture.dir.path()).args(arguments).output().unwrap();
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {text}");
        for part in parts {
            assert!(text.contains(part), "{arguments:?}: {part:?} is not in {text}");
        }
        assert!(output.stdout.is_empty());
    };
    let data = ["--dataset=data.toml", "--weights=vgg.safetensors", "--device=cpu"];
    expect(&["--limit", "0"], 2, &["--limit"]);
    expect(&["--batch-size", "0"], 2, &["--batch-size"]);
    expect(&["--dtype", "f64"], 2, &["f64", "f16"]);
    expect(&["--device", "gpu"], 2, &["gpu"]);
    expect(&["--split", "trian"], 2, &["trian", "train"]);
    expect(&[], 2, &["datasets/coco.toml"]);
    expect(&["--dataset", "data.toml", "--weights", "gone.safetensors"], 2, &["gone.safetensors"]);
    expect(&["--dataset", "data.toml", "--weights", "cut.safetensors"], 2, &["cut.safetensors"]);
    expect(&["--dataset", "none.toml", data[1]], 2, &["none.toml"]);
    expect(&["--dataset", "up.toml", data[1]], 2, &["../up", "--out"]);
    expect(&[&data[..], &["--split", "val"]].concat(), 2, &["data.toml", "val", "train (2)"]);
    expect(&[&data[..], &["--out", "file"]].concat(), 1, &["file: "]);
    expect(&[&data[..], &["--out", "file/below"]].concat(), 2, &["file/below: "]);
    expect(&["--dataset=gone.toml", data[1], data[2]], 2, &["gone"]);
}
