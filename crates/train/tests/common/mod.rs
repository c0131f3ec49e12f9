//! A tiny dataset with features, and the program run on it as a user does.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use tempfile::TempDir;

const COLOURS: [&str; 4] = ["red", "green", "blue", "black"];
const THINGS: [&str; 5] = ["dog", "cat", "bird", "horse", "fish"];

/// 40 images to learn from and 20 to choose by; each shows a thing in a colour, which its features say.
pub(crate) struct World {
    dir: TempDir,
}

/// What a run of the program gave.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl World {
    pub(crate) fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap() };
        world.captions(|_, _| true);
        fs::write(
            world.path("tiny.toml"),
            "name = \"tiny\"\nformat = \"karpathy\"\ncaptions = [\"tiny.json\"]\n",
        )
        .unwrap();
        world.features("features.safetensors", 9, |_| true);
        world.config(
            "[data]\ndataset = \"tiny.toml\"\nfeatures = \"features.safetensors\"\nmin_count = 1\n\
             [model]\nembed_dim = 12\nhidden_dim = 12\ndropout = 0.1\n\
             [train]\nbatch_size = 16\nepochs = 3\nlearning_rate = 0.02\nschedule = \"constant\"\n\
             [output]\ndir = \"run\"\n",
        );
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes `tiny.json` with the images and captions for which `keep(id, split)`.
    pub(crate) fn captions(&self, keep: impl Fn(i64, &str) -> bool) {
        let images: Vec<Value> = (1..=60)
            .map(|id| (id, if id > 40 { "val" } else if id > 30 { "restval" } else { "train" }))
            .filter(|&(id, split)| keep(id, split))
            .map(|(id, split)| {
                let (colour, thing) = shown(id);
                let sentences = [format!("A {colour} {thing}."), format!("There is a {thing}, and it is {colour}!")];
                let sentences = sentences.map(|raw| json!({ "raw": raw, "tokens": [] }));
                json!({ "filename": format!("{id}.jpg"), "imgid": 0, "split": split, "sentences": sentences })
            })
            .collect();
        fs::write(
            self.path("tiny.json"),
            json!({ "images": images, "dataset": "tiny" }).to_string(),
        )
        .unwrap();
    }

    /// Writes features of `width` for the images for which `keep(id)`.
    pub(crate) fn features(&self, name: &str, width: usize, keep: impl Fn(i64) -> bool) {
        let (ids, tensor) = features(width, keep);
        let ids = Tensor::from_vec(ids.clone(), ids.len(), &Device::Cpu).unwrap();
        let tensors = HashMap::from([("features", tensor), ("image_id", ids)]);
        candle_core::safetensors::save(&tensors, self.path(name)).unwrap();
    }

    pub(crate) fn config(&self, text: &str) {
        fs::write(self.path("run.toml"), text).unwrap();
    }

    pub(crate) fn command(&self, set: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_train"));
        command.current_dir(self.dir.path()).arg("run.toml").args(["--device", "cpu"]);
        for set in set {
            command.args(["--set", set]);
        }
        command
    }

    pub(crate) fn run(&self, set: &[&str]) -> Ran {
        let output = self.command(set).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// A run that must end well.
    pub(crate) fn done(&self, set: &[&str]) -> Ran {
        let ran = self.run(set);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        ran
    }

    /// A run that must be refused as bad input: its error.
    pub(crate) fn refused(&self, set: &[&str]) -> String {
        let ran = self.run(set);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{}", ran.err);
        ran.err
    }

    pub(crate) fn start(&self, set: &[&str]) -> Child {
        self.command(set).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// How many steps `run/last` has behind it; 0 where there is none.
    pub(crate) fn step(&self) -> u64 {
        let Ok(state) = fs::read_to_string(self.path("run/last/training/state.toml")) else {
            return 0;
        };
        let state: toml::Table = state.parse().unwrap();
        state["progress"]["step"].as_integer().unwrap().try_into().unwrap()
    }

    pub(crate) fn metrics(&self, run: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(run).join("metrics.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Every file of a run by its path, the times taken out of the metrics.
    pub(crate) fn bytes(&self, run: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(&self.path(run), Path::new(""), &mut files);
        let rows = self.metrics(run).into_iter().map(|mut row| {
            row["seconds"].take();
            row["tokens_per_second"].take();
            row.to_string()
        });
        files.insert("metrics.jsonl".into(), rows.collect::<Vec<_>>().join("\n").into_bytes());
        files
    }

    /// Two runs have the same files with the same bytes.
    pub(crate) fn same(&self, a: &str, b: &str) {
        let (a, b) = (self.bytes(a), self.bytes(b));
        assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
        for (path, bytes) in a {
            assert!(bytes == b[&path], "{} differs", path.display());
        }
    }
}

/// What an image shows.
pub(crate) fn shown(id: i64) -> (&'static str, &'static str) {
    (COLOURS[id as usize % 4], THINGS[id as usize % 5])
}

/// Ids, and a row each: ones where the image's colour and thing are.
pub(crate) fn features(width: usize, keep: impl Fn(i64) -> bool) -> (Vec<i64>, Tensor) {
    let ids: Vec<i64> = (1..=60).filter(|&id| keep(id)).collect();
    let mut values = vec![0f32; ids.len() * width];
    for (row, &id) in values.chunks_mut(width).zip(&ids) {
        row[id as usize % 4] = 1.0;
        row[4 + id as usize % 5] = 1.0;
    }
    let tensor = Tensor::from_vec(values, (ids.len(), width), &Device::Cpu).unwrap();
    (ids, tensor)
}

fn collect(root: &Path, below: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let path = below.join(entry.unwrap().file_name());
        if root.join(&path).is_dir() {
            collect(root, &path, files);
        } else {
            files.insert(path.clone(), fs::read(root.join(&path)).unwrap());
        }
    }
}
