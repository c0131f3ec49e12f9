//! What a run fills: `extract.json` first, then shards in any order, `failed.jsonl`, `index.json` last.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use nic_core::Error as CoreError;
use nic_data::{
    Dataset, Features, Index, ShardHeader, read_shard_header, verify_shard, write_shard,
};
use rayon::prelude::*;

use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::plan::Plan;
use crate::progress::say;
use crate::reader::Shard;
use crate::worker::Worker;

/// Says what is to be made.
pub(crate) const PLAN: &str = "extract.json";
/// Lists the images that could not be read.
pub(crate) const FAILED: &str = "failed.jsonl";

/// A directory and what it is to hold.
#[derive(Debug)]
pub(crate) struct Output {
    dir: PathBuf,
    directory: Directory,
    plan: Plan,
}

impl Output {
    /// Begins `dir`, or continues it if what is there was begun as `wanted`; alone, or as one of several workers.
    pub(crate) fn open(dir: &Path, wanted: &Plan, worker: Option<Worker>) -> Result<Self> {
        let directory = match worker {
            None => Directory::alone(dir)?,
            Some(worker) => Directory::shared(dir, worker)?,
        };
        // before the plan is looked for, as other workers write theirs and then shards
        let names = directory.names()?;
        let shard = names.iter().find(|name| name.ends_with(".safetensors"));
        let path = directory.path(PLAN);
        let text = wanted.to_json(&path)?;
        let begun = match (Plan::read(&path)?, shard) {
            (Some(begun), _) => begun,
            (None, Some(found)) => {
                return Err(Error::Foreign { out: dir.to_owned(), found: found.clone() });
            }
            (None, None) => {
                directory.create(PLAN, &text)?;
                Plan::read(&path)?.ok_or_else(|| Error::NotBegun(dir.to_owned()))?
            }
        };
        let differences = begun.differences(wanted);
        let plan = match (differences.is_empty(), shard, worker) {
            (true, ..) => begun,
            (false, None, None) => {
                directory.write(PLAN, &text)?; // there is nothing yet to mix with
                wanted.clone()
            }
            (false, ..) => return Err(Error::Differs { out: dir.to_owned(), differences }),
        };
        Ok(Self { dir: dir.to_owned(), directory, plan })
    }

    /// What is in `dir`, for this process alone.
    pub(crate) fn begun(dir: &Path) -> Result<Self> {
        let plan = dir.join(PLAN);
        if !plan.exists() {
            return Err(Error::NotBegun(dir.to_owned())); // and no lock is left in somebody's directory
        }
        let directory = Directory::alone(dir)?;
        let plan = Plan::read(&plan)?.ok_or_else(|| Error::NotBegun(dir.to_owned()))?;
        Ok(Self { dir: dir.to_owned(), directory, plan })
    }

    /// What is to be made, as it was begun.
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The file of a shard.
    pub(crate) fn shard(&self, index: usize) -> PathBuf {
        self.directory.path(&shard_name(index))
    }

    /// Writes a shard of features `[N, D]`.
    pub(crate) fn write_shard(
        &self,
        index: usize,
        header: &ShardHeader,
        ids: &[i64],
        features: &Tensor,
    ) -> Result<()> {
        self.directory.publish(&shard_name(index), |path| {
            Ok(write_shard(path, header, ids, features, self.plan.dtype.into())?)
        })
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
            self.directory.remove(Index::FILE)?; // it says that all shards are there
            missing.iter().try_for_each(|shard| self.directory.remove(&shard_name(shard.index)))?;
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
                && features.dtype() == self.plan.dtype.into()
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

    /// What keeps the shards from being merged, a line each, with the worker whose share it is where workers left word
    /// of how many they are.
    pub(crate) fn faults(&self) -> Result<Vec<String>> {
        let faults: Vec<Result<Option<String>>> = (0..self.plan.shards())
            .into_par_iter()
            .map(|index| match interrupt::requested() {
                true => Err(Error::Interrupted(self.dir.clone())),
                false => self.fault(index),
            })
            .collect();
        let mut counts: Vec<usize> =
            self.directory.workers()?.into_iter().map(Worker::count).collect();
        counts.sort_unstable();
        counts.dedup();
        let mut lines = Vec::new();
        for (index, fault) in faults.into_iter().enumerate() {
            if let Some(fault) = fault? {
                let shares = counts.iter().filter_map(|&count| Worker::new(index % count, count));
                let shares: String = shares.map(|share| format!(", of worker {share}")).collect();
                lines.push(format!("{}{shares}: {fault}", shard_name(index)));
            }
        }
        Ok(lines)
    }

    /// What is wrong with a shard, as far as the plan alone says it.
    fn fault(&self, index: usize) -> Result<Option<String>> {
        let path = self.shard(index);
        let check = || -> nic_data::Result<Option<String>> {
            let header = verify_shard(&path)?;
            let features = Features::open(&path)?;
            let mut differences = self.plan.encoder.differences(&header.encoder);
            if header.dataset != self.plan.dataset {
                let (found, expected) = (&header.dataset, &self.plan.dataset);
                differences.push(format!("dataset is {found}, expected {expected}"));
            }
            if features.dtype() != self.plan.dtype.into() {
                let (found, expected) = (features.dtype().as_str(), self.plan.dtype);
                differences.push(format!("dtype is {found}, expected {expected}"));
            }
            let (images, expected) =
                (features.len() + header.failed.len(), self.plan.images_of(index));
            if images != expected {
                differences.push(format!("{images} images, expected {expected}"));
            }
            Ok((!differences.is_empty()).then(|| differences.join("; ")))
        };
        match check() {
            Ok(fault) => Ok(fault),
            Err(nic_data::Error::Core(CoreError::Io { source, .. }))
                if source.kind() == ErrorKind::NotFound =>
            {
                Ok(Some("missing".to_owned()))
            }
            Err(error @ nic_data::Error::Core(CoreError::Io { .. })) => Err(error.into()),
            Err(error) => Ok(Some(error.to_string())),
        }
    }

    /// Image and reason of what could not be read for `shards`, all of which are there.
    pub(crate) fn failed(&self, shards: impl Iterator<Item = usize>) -> Result<Vec<(i64, String)>> {
        let mut failed = Vec::new();
        for index in shards {
            failed.extend(read_shard_header(&self.shard(index))?.failed);
        }
        Ok(failed)
    }

    /// Lists the failed images and then the shards, where that is not done yet; the failed: id and reason. For a
    /// process that is alone.
    pub(crate) fn finish(&self) -> Result<Vec<(i64, String)>> {
        let failed = self.failed(0..self.plan.shards())?;
        let lines: String = failed
            .iter()
            .map(|(id, reason)| {
                format!("{}\n", serde_json::json!({ "image_id": id, "reason": reason }))
            })
            .collect();
        let shards: Vec<String> = (0..self.plan.shards()).map(shard_name).collect();
        let index = Index::of(&self.dir, &shards)?;
        if fs::read(self.directory.path(FAILED)).ok().as_deref() != Some(lines.as_bytes()) {
            self.directory.write(FAILED, lines.as_bytes())?;
        }
        if Index::load(&self.dir).ok().as_ref() != Some(&index) {
            index.write(&self.dir)?;
        }
        self.directory.forget_workers()?;
        Ok(failed)
    }
}

fn shard_name(index: usize) -> String {
    format!("features-{index:05}.safetensors")
}
