//! A run that is stopped and taken up again ends in the same bytes as one that was left alone.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use std::fs;
use std::io::Read;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::World;

/// Waits until `moved`; false where the program ended before.
fn until(child: &mut Child, moved: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(120), "no progress");
        if moved() {
            return true;
        }
        sleep(Duration::from_micros(200));
    }
    false
}

fn interrupt(child: &Child) {
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[cfg(unix)]
#[test]
fn kill_9_at_many_moments_changes_nothing() {
    kill_9_changes_nothing(
        &World::new(),
        &[
            "train.epochs=12",
            "train.schedule=plateau",
            "train.warmup_steps=7",
            "train.accumulate=2",
            "train.scheduled_sampling=0.2",
            "eval.metric=cider_d",
        ],
    );
}

#[cfg(unix)]
#[test]
fn kill_9_changes_nothing_in_self_critical_training() {
    let world = World::new();
    world.done(&["train.epochs=2", "output.dir=start"]);
    kill_9_changes_nothing(
        &world,
        &[
            "train.objective=self_critical",
            "train.init=start/best",
            "train.baseline=greedy",
            "train.batch_size=8",
            "train.accumulate=2",
            "train.epochs=12",
            "model.dropout=0",
            "eval.metric=cider_d",
        ],
    );
}

#[cfg(unix)]
fn kill_9_changes_nothing(world: &World, set: &[&str]) {
    world.done(&[set, &["output.dir=whole"]].concat());
    let set = [set, &["output.save_steps=1"]].concat();
    let rows = || fs::metadata(world.path("run/metrics.jsonl")).map_or(0, |file| file.len());
    let mut kills = 0;
    loop {
        let (step, len) = (world.step(), rows());
        let mut child = world.start(&set);
        // in turn: anywhere in a step, a save or an evaluation; and just after a row, before `last` knows of it
        let moved = || if kills % 2 == 0 { world.step() > step + 2 } else { rows() > len };
        if !until(&mut child, moved) {
            assert!(child.wait().unwrap().success());
            break;
        }
        if kills % 2 == 0 {
            sleep(Duration::from_micros(700 * kills));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    assert!(kills >= 5, "only {kills} kills: the run is too quick to be a test");
    world.same("whole", "run");
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_the_same_command_continues() {
    let world = World::new();
    let set = ["train.epochs=12", "train.optimizer=sgd", "train.momentum=0.9"];
    world.done(&[set[0], set[1], set[2], "output.dir=whole"]);
    let mut stops = 0;
    while stops < 50 {
        let before = world.step();
        let mut child = world.start(&set);
        if until(&mut child, || world.step() > before) {
            interrupt(&child);
        }
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            break;
        }
        assert_eq!(output.status.code(), Some(130));
        let err = String::from_utf8(output.stderr).unwrap();
        let saved = format!("saved at step {}; the same command continues\n", world.step());
        assert!(err.ends_with(&saved), "{err}");
        stops += 1;
    }
    assert!(stops >= 2, "only {stops} stops: the run is too quick to be a test");
    world.same("whole", "run");
}

#[cfg(unix)]
#[test]
fn a_second_ctrl_c_leaves_at_once() {
    let world = World::new();
    // one step of seconds
    let set = ["model.hidden_dim=1536", "model.embed_dim=1536", "train.batch_size=200"];
    let mut child = world.start(&set);
    let mut err = child.stderr.take().unwrap();
    let mut seen = String::new();
    let mut wait_for = |text: &str| {
        while !seen.contains(text) {
            let mut bytes = [0; 256];
            let n = err.read(&mut bytes).unwrap();
            assert!(n > 0, "ended before `{text}`: {seen}");
            seen.push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
    };
    wait_for("captions to learn from");
    while !world.path("run/last").exists() {
        sleep(Duration::from_millis(1)); // saved before the first step
    }
    interrupt(&child);
    wait_for("press Ctrl-C again");
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let state = std::fs::read_to_string(world.path("run/last/training/state.toml")).unwrap();
    assert!(state.contains("step = 0\n"), "{state}");
}

#[test]
fn a_finished_run_is_left_alone_and_more_epochs_continue_it() {
    let world = World::new();
    world.done(&["train.epochs=4", "output.dir=whole"]);
    let first = world.done(&["train.epochs=2"]);
    let before = world.bytes("run");
    let again = world.done(&["train.epochs=2"]);
    assert!(again.err.contains("nothing to do: the run has its 2 epochs"), "{}", again.err);
    assert_eq!(again.out, first.out);
    assert!(world.bytes("run") == before);
    let longer = world.done(&["train.epochs=4"]);
    assert!(longer.err.contains("continuing after 2 epochs and 0 of 5 batches"), "{}", longer.err);
    world.same("whole", "run");
}

#[test]
fn a_kill_in_the_middle_of_a_save_is_put_right() {
    let world = World::new();
    world.done(&["output.dir=whole"]);
    world.done(&["train.epochs=2"]);
    // between the two renames: the new one is whole, but has no name yet
    for name in ["last", "best"] {
        fs::rename(world.path("run").join(name), world.path("run").join(format!(".{name}.old")))
            .unwrap();
        fs::create_dir(world.path("run").join(format!(".{name}.new"))).unwrap();
        fs::write(world.path("run").join(format!(".{name}.new/config.json")), "{").unwrap();
    }
    // and a row that was not finished
    let metrics = world.path("run/metrics.jsonl");
    let text = fs::read_to_string(&metrics).unwrap();
    fs::write(&metrics, format!("{text}{}", &text[..20])).unwrap();
    world.done(&[]);
    world.same("whole", "run");
}

#[test]
fn rows_beyond_the_restored_point_are_cut() {
    let world = World::new();
    world.done(&["output.dir=whole"]);
    world.done(&["train.epochs=2"]);
    let metrics = world.path("run/metrics.jsonl");
    let text = fs::read_to_string(&metrics).unwrap();
    let third =
        text.lines().last().unwrap().replace("\"epoch\":2,\"step\":10", "\"epoch\":3,\"step\":15");
    fs::write(&metrics, format!("{text}{third}\n")).unwrap();
    world.done(&[]);
    assert_eq!(world.metrics("run").len(), 3);
    world.same("whole", "run");
}
