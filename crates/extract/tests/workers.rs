//! Several processes that fill one directory, and the merge after them.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

mod common;
use common::{Fixture, program, stderr};

const SHARDS: [&str; 2] = ["--shard-size", "4"];

fn worker(fixture: &Fixture, out: &str, share: &str) -> Command {
    let mut command = fixture.command(out);
    command.args(SHARDS).args(["--worker", share]).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn merge(fixture: &Fixture, out: &str) -> Output {
    program().current_dir(fixture.dir.path()).args(["merge", out]).output().unwrap()
}

fn merged(fixture: &Fixture, out: &str) -> (BTreeMap<String, Vec<u8>>, String) {
    let output = merge(fixture, out);
    assert!(output.status.success(), "{}", stderr(&output));
    (fixture.files(out), String::from_utf8(output.stdout).unwrap())
}

/// Starts all, waits for all.
fn together(commands: Vec<Command>) -> Vec<Output> {
    let running: Vec<Child> = commands.into_iter().map(|mut c| c.spawn().unwrap()).collect();
    running.into_iter().map(|child| child.wait_with_output().unwrap()).collect()
}

#[test]
fn workers_and_a_merge_give_the_bytes_of_one_run() {
    let fixture = Fixture::new(21, 9);
    fs::write(fixture.path("images/000000000107.jpg"), "no picture").unwrap();
    fixture.ok("whole", &SHARDS);
    let shares = ["0/3", "1/3", "2/3"];
    let outputs = together(shares.map(|share| worker(&fixture, "out", share)).into());
    for (share, (output, images)) in shares.iter().zip(outputs.iter().zip([11, 10, 8])) {
        assert!(output.status.success(), "{}", stderr(output));
        assert!(stderr(output).contains(&format!("worker {share} (--worker) makes ")));
        let said = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(
            said.contains(&format!("out: worker {share}: {images} images in shards: ")),
            "{said}"
        );
        assert!(said.trim_end().ends_with("extract merge out"), "{said}");
    }
    assert!(!fixture.path("out/index.json").exists() && !fixture.path("out/failed.jsonl").exists());
    let (files, said) = merged(&fixture, "out");
    assert!(files == fixture.files("whole"));
    assert_eq!(said, "out: 29 images in shards: 8, all whole; failed: 1, see out/failed.jsonl\n");

    // nothing is left to do for anybody
    let output = worker(&fixture, "out", "1/3").output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("whole already, nothing to do"));
    assert!(merged(&fixture, "out").0 == files);
    assert!(fixture.ok("out", &SHARDS).contains("whole already, nothing to do"));
}

#[test]
fn more_workers_than_shards() {
    let fixture = Fixture::new(7, 0);
    fixture.ok("whole", &SHARDS);
    for output in together((0..5).map(|i| worker(&fixture, "out", &format!("{i}/5"))).collect()) {
        assert!(output.status.success(), "{}", stderr(&output));
    }
    assert!(merged(&fixture, "out").0 == fixture.files("whole"));
}

#[test]
fn a_run_on_its_own_ends_what_workers_began() {
    let fixture = Fixture::new(14, 0);
    fixture.ok("whole", &SHARDS);
    assert!(worker(&fixture, "out", "1/2").status().unwrap().success());
    fixture.ok("out", &SHARDS);
    assert!(fixture.files("out") == fixture.files("whole"));
    fixture.ok("one", &[&SHARDS[..], &["--worker", "0/1"]].concat());
    assert!(fixture.files("one") == fixture.files("whole"));
}

#[test]
fn the_scheduler_says_which_share() {
    let fixture = Fixture::new(14, 0);
    fixture.ok("whole", &SHARDS);
    let slurm = |id: usize| {
        let mut command = fixture.command("out");
        command.args(SHARDS).env("SLURM_ARRAY_TASK_ID", id.to_string());
        for (name, value) in [("MIN", "1"), ("MAX", "2"), ("STEP", "1"), ("COUNT", "2")] {
            command.env(format!("SLURM_ARRAY_TASK_{name}"), value);
        }
        command.output().unwrap()
    };
    let kubernetes = worker(&fixture, "out", "/2").env("JOB_COMPLETION_INDEX", "1").output();
    for (output, said) in [
        (slurm(1), "worker 0/2 (SLURM_ARRAY_TASK_ID = 1, SLURM_ARRAY_TASK_COUNT = 2) makes 2 of 4"),
        (
            kubernetes.unwrap(),
            "worker 1/2 (JOB_COMPLETION_INDEX = 1, --worker) makes 2 of 4 shards",
        ),
    ] {
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }
    assert!(merged(&fixture, "out").0 == fixture.files("whole"));

    let output = slurm(3);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("SLURM_ARRAY_TASK_ID is \"3\", expected one of 1 to 2"));
}

#[test]
fn the_same_share_is_made_once_at_a_time() {
    let fixture = Fixture::new(9, 0);
    assert!(worker(&fixture, "out", "0/2").status().unwrap().success());
    let refused = |command: &mut Command, said: &str| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    };
    let other = "out: another extract is writing there\n";
    let among = File::open(fixture.path("out/.lock")).unwrap();
    among.lock_shared().unwrap();
    let own = File::open(fixture.path("out/.worker-0-of-2/.lock")).unwrap();
    own.lock().unwrap();
    refused(
        &mut worker(&fixture, "out", "0/2"),
        "out: another extract is writing there as worker 0/2",
    );
    refused(fixture.command("out").args(SHARDS), other);
    refused(program().current_dir(fixture.dir.path()).args(["merge", "out"]), other);
    assert!(worker(&fixture, "out", "1/2").status().unwrap().success());
    drop((among, own));
    let alone = File::open(fixture.path("out/.lock")).unwrap();
    alone.lock().unwrap();
    refused(&mut worker(&fixture, "out", "0/2"), other);
    drop(alone);
    merged(&fixture, "out");
}

#[test]
fn an_unfinished_file_is_its_own_worker_s() {
    let fixture = Fixture::new(16, 0);
    fixture.ok("whole", &SHARDS);
    let half = fixture.path("out/.worker-1-of-2/features-00001.safetensors.tmp");
    fs::create_dir_all(half.parent().unwrap()).unwrap();
    fs::write(&half, "half").unwrap();
    assert!(worker(&fixture, "out", "0/2").status().unwrap().success());
    assert!(half.exists());
    assert!(worker(&fixture, "out", "1/2").status().unwrap().success());
    assert!(!half.exists());
    assert!(merged(&fixture, "out").0 == fixture.files("whole"));
}

#[test]
fn a_merge_names_what_is_missing_or_damaged_and_whose_it_is() {
    let fixture = Fixture::new(24, 0);
    fixture.ok("whole", &SHARDS);
    for share in ["0/3", "1/3"] {
        assert!(worker(&fixture, "out", share).status().unwrap().success());
    }
    let shard = |index: usize| fixture.path(&format!("out/features-0000{index}.safetensors"));
    let mut bytes = fs::read(shard(3)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(shard(3), bytes).unwrap();
    fs::write(shard(4), &fs::read(shard(4)).unwrap()[..100]).unwrap();
    let output = merge(&fixture, "out");
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    for part in [
        "features-00002.safetensors, of worker 2/3: missing",
        "features-00003.safetensors, of worker 0/3: out/features-00003.safetensors: the tensors' SHA-256",
        "features-00004.safetensors, of worker 1/3: out/features-00004.safetensors: ",
        "features-00005.safetensors, of worker 2/3: missing",
    ] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    assert!(!said.contains("00000") && !said.contains("00001"), "{said}");
    assert!(!fixture.path("out/index.json").exists() && !fixture.path("out/failed.jsonl").exists());
    for share in ["0/3", "1/3", "2/3"] {
        assert!(worker(&fixture, "out", share).status().unwrap().success());
    }
    // a whole shard in the place of another, as only the images tell
    fs::copy(shard(0), shard(1)).unwrap();
    let output = merge(&fixture, "out");
    assert!(!output.status.success());
    assert!(
        stderr(&output).contains("image 100 is here and in features-00000"),
        "{}",
        stderr(&output)
    );
    assert!(!fixture.path("out/index.json").exists());
    assert!(worker(&fixture, "out", "1/3").status().unwrap().success());
    assert!(merged(&fixture, "out").0 == fixture.files("whole"));
}

#[test]
fn what_was_not_begun_is_not_merged() {
    let fixture = Fixture::new(1, 0);
    fs::create_dir(fixture.path("mine")).unwrap();
    for out in ["mine", "gone"] {
        let output = merge(&fixture, out);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(&format!("{out}: holds no extract.json")));
    }
    assert_eq!(fs::read_dir(fixture.path("mine")).unwrap().count(), 0);
    assert!(!fixture.path("gone").exists());
    let output = program().args(["--limit", "3", "merge", "out"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn workers_agree_on_one_plan() {
    let fixture = Fixture::new(16, 0);
    fixture.ok("f16", &SHARDS);
    fixture.ok("f32", &[&SHARDS[..], &["--dtype", "f32"]].concat());
    for round in 0..4 {
        let out = format!("out{round}");
        let of = |dtype: &str| -> Vec<Command> {
            let share = |i: usize| {
                let mut command = worker(&fixture, &out, &format!("{i}/4"));
                command.args(["--dtype", dtype]);
                command
            };
            (0..4).map(share).collect()
        };
        // both sets at once, in turn; a double of a share is refused too, whichever of the two comes first
        let mut commands: Vec<_> = of("f16").into_iter().zip(of("f32")).collect();
        commands.rotate_left(round);
        let commands =
            commands.into_iter().flat_map(|(a, b)| if round % 2 == 0 { [a, b] } else { [b, a] });
        let outputs = together(commands.collect());
        for output in outputs.iter().filter(|output| !output.status.success()) {
            let said = stderr(output);
            assert!(said.contains("dtype: f") || said.contains("as worker"), "{said}");
        }
        let plan = fs::read(fixture.path(&out).join("extract.json")).unwrap();
        let plan: serde_json::Value = serde_json::from_slice(&plan).unwrap();
        let dtype = plan["dtype"].as_str().unwrap();
        for output in together(of(dtype)) {
            assert!(output.status.success(), "{}", stderr(&output));
        }
        assert!(merged(&fixture, &out).0 == fixture.files(dtype), "round {round}");
    }
    // nor does a worker change a plan under which there is no shard yet, as others may just be making some
    fs::create_dir(fixture.path("late")).unwrap();
    fs::copy(fixture.path("f32/extract.json"), fixture.path("late/extract.json")).unwrap();
    let output = worker(&fixture, "late", "0/2").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("dtype: f32 there, f16 now"), "{}", stderr(&output));
}

#[test]
fn workers_killed_at_any_moment_and_run_again_lose_nothing() {
    let fixture = Fixture::new(44, 4);
    let start = Instant::now();
    fixture.ok("whole", &SHARDS);
    let all = start.elapsed();
    let mut random = ChaCha8Rng::seed_from_u64(4);
    let mut halfway = 0;
    for round in 0..8 {
        let out = format!("killed{round}");
        let start = |i: usize| {
            let mut command = worker(&fixture, &out, &format!("{i}/3"));
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let mut workers: Vec<Child> = (0..3).map(start).collect();
        // two are killed, one goes on; from its first shard on in every other round
        if round % 2 == 1 {
            wait_for(&fixture.path(&out).join("features-00001.safetensors"));
        }
        for worker in &mut workers[1..] {
            sleep(all.mul_f64(random.random_range(0.0..0.5)));
            worker.kill().unwrap();
            worker.wait().unwrap();
        }
        let there = fs::read_dir(fixture.path(&out)).unwrap().count();
        halfway += usize::from(there > 5 && there < 12 + 5);
        let again: Vec<Child> = (1..3).map(start).collect();
        for mut worker in workers.drain(..1).chain(again) {
            assert!(worker.wait().unwrap().success(), "round {round}");
        }
        assert!(merged(&fixture, &out).0 == fixture.files("whole"), "round {round}");
    }
    assert!(halfway > 3, "only {halfway} rounds killed workers among shards");
}

fn wait_for(path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "{} does not appear", path.display());
        sleep(Duration::from_millis(1));
    }
}
