//! The configurations that come with the project can be read, and say what their names promise.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::path::{Path, PathBuf};

use train::Config;
use train::config::{OptimizerKind, ScheduleKind};

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

#[test]
fn every_configuration_is_valid() {
    let mut seen = 0;
    for entry in std::fs::read_dir(configs()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue; // job files for clusters
        }
        Config::load(&path, &[]).unwrap_or_else(|error| panic!("{error}"));
        seen += 1;
    }
    assert!(seen >= 4);
}

#[test]
fn the_published_recipes_are_as_published() {
    let load = |name: &str| Config::load(&configs().join(name), &[]).unwrap();
    let neuraltalk2 = load("coco.toml").train;
    assert_eq!(
        (neuraltalk2.optimizer, neuraltalk2.schedule),
        (OptimizerKind::Adam, ScheduleKind::Constant)
    );
    assert_eq!((neuraltalk2.clip_norm, neuraltalk2.clip_value), (f64::INFINITY, 0.1));
    assert_eq!((neuraltalk2.learning_rate, neuraltalk2.betas), (4e-4, [0.8, 0.999]));

    let show_and_tell = load("coco-show-and-tell.toml");
    assert!(!show_and_tell.model.lstm_bias && !show_and_tell.model.cell_tanh);
    assert_eq!(
        (show_and_tell.train.optimizer, show_and_tell.train.momentum),
        (OptimizerKind::Sgd, 0.0)
    );
}
