//! The directory that a run fills: `extract.json` first, then shards in any order, `failed.jsonl`, `index.json` last.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use nic_core::Error as CoreError;
use nic_data::{Dataset, Features, Index, read_shard_header, verify_shard, write_whole};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::interrupt;
use crate::plan::Plan;
use crate::progress::say;
use crate::reader::Shard;

const PLAN: &str = "extract.json";
const FAILED: &str = "failed.jsonl";
const LOCK: &str = ".lock";

/// A directory that this process alone writes to.
#[derive(Debug)]
pub(crate) struct Output {
    dir: PathBuf,
    plan: Plan,
    /// The system lets go of it with the process, however that ends.
    _lock: File,
}

impl Output {
    /// Begins `dir`, or continues it if what is there was begun as `wanted`.
    pub(crate) fn open(dir: &Path, wanted: Plan) -> Result<Self> {
        fs::create_dir_all(dir).map_err(CoreError::io(dir))?;
        let lock = lock(dir)?;
        let names = names(dir)?;
        for name in names.iter().filter(|name| is_ours(name.strip_suffix(".tmp"))) {
            remove(&dir.join(name))?; // of a run that was killed
        }
        let shard = names.iter().find(|name| name.ends_with(".safetensors"));
        let path = dir.join(PLAN);
        let plan = if path.exists() {
            let text = fs::read(&path).map_err(CoreError::io(&path))?;
            let begun: Plan = serde_json::from_slice(&text).map_err(CoreError::json(&path))?;
            let differences = begun.differences(&wanted);
            match (differences.is_empty(), shard) {
                (true, _) => begun,
                (false, None) => write(&path, wanted)?, // there is nothing yet to mix with
                (false, Some(_)) => {
                    return Err(Error::Differs { out: dir.to_owned(), differences });
                }
            }
        } else if let Some(found) = shard {
            return Err(Error::Foreign { out: dir.to_owned(), found: found.clone() });
        } else {
            write(&path, wanted)?
        };
        Ok(Self { dir: dir.to_owned(), plan, _lock: lock })
    }

    /// What is to be made, as it was begun.
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The file of a shard.
    pub(crate) fn shard(&self, index: usize) -> PathBuf {
        self.dir.join(shard_name(index))
    }

    /// Those of `shards` that are not there, after removing what is damaged.
    pub(crate) fn missing<'a>(
        &self,
        dataset: &Dataset,
        shards: &'a [Shard],
    ) -> Result<Vec<&'a Shard>> {
        let whole: Vec<Result<bool>> =
            shards.par_iter().map(|shard| self.is_whole(dataset, shard)).collect();
        let mut missing = Vec::new();
        for (shard, whole) in shards.iter().zip(whole) {
            if !whole? {
                missing.push(shard);
            }
        }
        if interrupt::requested() {
            return Err(Error::Interrupted(self.dir.clone()));
        }
        if !missing.is_empty() {
            remove(&self.dir.join(Index::FILE))?; // it says that all shards are there
            missing.iter().try_for_each(|shard| remove(&self.shard(shard.index)))?;
        }
        Ok(missing)
    }

    /// Whether a shard is there, undamaged, and holds or excuses just the images it should.
    fn is_whole(&self, dataset: &Dataset, shard: &Shard) -> Result<bool> {
        let path = self.shard(shard.index);
        if interrupt::requested() || !path.exists() {
            return Ok(false);
        }
        let check = || -> nic_data::Result<bool> {
            let header = verify_shard(&path)?;
            let features = Features::open(&path)?;
            let failed: HashSet<i64> = header.failed.iter().map(|(id, _)| *id).collect();
            let known = |id| failed.contains(&id) != features.position(id).is_some();
            Ok(header.dataset == self.plan.dataset
                && header.encoder == self.plan.encoder
                && features.len() + failed.len() == shard.positions.len()
                && shard.positions.iter().all(|&position| known(dataset.records()[position].id)))
        };
        match check() {
            Ok(true) => return Ok(true),
            Ok(false) => say(&format!("{}: holds other images; making it again", path.display())),
            // what the system refuses to read may well be whole
            Err(error @ nic_data::Error::Core(CoreError::Io { .. })) => return Err(error.into()),
            Err(error) => say(&format!("{error}; making it again")),
        }
        Ok(false)
    }

    /// Lists the failed images and then the shards, where that is not done yet; the failed: id and reason.
    pub(crate) fn finish(&self) -> Result<Vec<(i64, String)>> {
        let shards: Vec<String> = (0..self.plan.shards()).map(shard_name).collect();
        let mut failed = Vec::new();
        for shard in &shards {
            failed.extend(read_shard_header(&self.dir.join(shard))?.failed);
        }
        let lines: String = failed
            .iter()
            .map(|(id, reason)| {
                format!("{}\n", serde_json::json!({ "image_id": id, "reason": reason }))
            })
            .collect();
        let path = self.dir.join(FAILED);
        if fs::read(&path).ok().as_deref() != Some(lines.as_bytes()) {
            write_whole(&path, |file| file.write_all(lines.as_bytes()))?;
        }
        let index = Index::of(&self.dir, &shards)?;
        if Index::load(&self.dir).ok().as_ref() != Some(&index) {
            index.write(&self.dir)?;
        }
        Ok(failed)
    }
}

fn shard_name(index: usize) -> String {
    format!("features-{index:05}.safetensors")
}

fn write(path: &Path, plan: Plan) -> Result<Plan> {
    let mut text = serde_json::to_vec_pretty(&plan).map_err(CoreError::json(path))?;
    text.push(b'\n');
    write_whole(path, |file| file.write_all(&text))?;
    Ok(plan)
}

/// Whether a file of this name is one that a run makes.
fn is_ours(name: Option<&str>) -> bool {
    name.is_some_and(|name| {
        [PLAN, FAILED, Index::FILE].contains(&name)
            || (name.starts_with("features-") && name.ends_with(".safetensors"))
    })
}

fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(LOCK);
    let file = File::create(&path).map_err(CoreError::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(CoreError::io(path)(error).into()),
    }
}

/// Sorted.
fn names(dir: &Path) -> Result<Vec<String>> {
    let entries =
        fs::read_dir(dir).and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>());
    let mut names: Vec<String> = entries
        .map_err(CoreError::io(dir))?
        .iter()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}

/// Removes a file that may not be there.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(CoreError::io(path)(error).into()),
        _ => Ok(()),
    }
}
