//! What is on disk, as a program that uses this crate meets it: one binary, as each links the tensor library.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests fail as tests do

mod captions;
mod damage;
mod images;
mod parquet;
mod real_data;
mod shards;

use std::path::{Path, PathBuf};

use nic_data::{Dataset, Split};

/// Files that Python wrote, with the scripts.
fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A directory of files that goes with the value.
struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Opens a descriptor with this text.
    fn open(&self, text: &str) -> nic_data::Result<Dataset> {
        let path = self.path("dataset.toml");
        std::fs::write(&path, text).unwrap();
        Dataset::open(&path)
    }

    /// The error of opening it, with the directory left out.
    fn error(&self, text: &str) -> String {
        let error = self.open(text).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        self.without_dir(&error)
    }

    fn without_dir(&self, error: &nic_data::Error) -> String {
        error.to_string().replace(&format!("{}/", self.0.path().display()), "")
    }
}

/// Id, split and captions of every record.
fn records(dataset: &Dataset) -> Vec<(i64, Split, Vec<&str>)> {
    let records = dataset.records().iter();
    records.map(|r| (r.id, r.split, r.captions.iter().map(String::as_str).collect())).collect()
}
