//! What a run fills: `extract.json` first, then shards in any order, `failed.jsonl`, `index.json` last.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use nic_core::Error as CoreError;
use nic_data::{
    Dataset, Features, Index, ShardHeader, read_shard_header, verify_shard, write_shard,
};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::interrupt;
use crate::place::{FAILED, Local, PLAN, Place, is_url};
use crate::plan::Plan;
use crate::progress::say;
use crate::reader::Shard;
use crate::worker::Worker;

/// A place and what it is to hold.
#[derive(Debug)]
pub(crate) struct Output {
    out: PathBuf,
    place: Place,
    plan: Plan,
}

impl Output {
    /// Begins `out`, or continues it if what is there was begun as `wanted`; alone, or as one of several workers.
    pub(crate) fn open(out: &Path, wanted: &Plan, worker: Option<Worker>) -> Result<Self> {
        let place = Place::open(out, worker)?;
        // before the plan is looked for, as other workers write theirs and then shards
        let names = place.names()?;
        let shard = names.iter().find(|name| name.ends_with(".safetensors"));
        let path = out.join(PLAN);
        let text = wanted.to_json(&path)?;
        let begun = match (place.read(PLAN)?, shard) {
            (Some(begun), _) => begun,
            (None, Some(found)) => {
                return Err(Error::Foreign { out: out.to_owned(), found: found.clone() });
            }
            (None, None) => {
                place.create(PLAN, &text)?;
                place.read(PLAN)?.ok_or_else(|| Error::NotBegun(out.to_owned()))?
            }
        };
        let begun = Plan::parse(&begun, &path)?;
        let differences = begun.differences(wanted);
        let plan = match (differences.is_empty(), shard, worker) {
            (true, ..) => begun,
            (false, None, None) => {
                place.write(PLAN, &text)?; // there is nothing yet to mix with
                wanted.clone()
            }
            (false, ..) => return Err(Error::Differs { out: out.to_owned(), differences }),
        };
        Ok(Self { out: out.to_owned(), place, plan })
    }

    /// What is in `out`, for this process alone.
    pub(crate) fn begun(out: &Path) -> Result<Self> {
        let path = out.join(PLAN);
        let none = || Error::NotBegun(out.to_owned());
        if !is_url(out) && !path.exists() {
            return Err(none()); // and no lock is left in somebody's directory
        }
        let place = Place::open(out, None)?;
        let plan = Plan::parse(&place.read(PLAN)?.ok_or_else(none)?, &path)?;
        Ok(Self { out: out.to_owned(), place, plan })
    }

    /// What is to be made, as it was begun.
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether all of `shards` are there.
    pub(crate) fn has(&self, shards: &[&Shard]) -> Result<bool> {
        let names: HashSet<String> = self.place.names()?.into_iter().collect();
        Ok(shards.iter().all(|shard| names.contains(&shard_name(shard.index))))
    }

    /// Writes a shard of features `[N, D]`.
    pub(crate) fn write_shard(
        &self,
        index: usize,
        header: &ShardHeader,
        ids: &[i64],
        features: &Tensor,
    ) -> Result<()> {
        self.place.publish(&shard_name(index), |path| {
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
            return Err(Error::Interrupted(self.out.clone()));
        }
        if !missing.is_empty() {
            self.place.remove(Index::FILE)?; // it says that all shards are there
            missing.iter().try_for_each(|shard| self.place.remove(&shard_name(shard.index)))?;
        }
        Ok(missing)
    }

    /// Whether a shard is there, undamaged, and holds or excuses just the images it should.
    fn is_whole(&self, dataset: &Dataset, shard: &Shard) -> Result<bool> {
        let name = shard_name(shard.index);
        if interrupt::requested() {
            return Ok(false);
        }
        let Some(local) = self.place.local(&name)? else { return Ok(false) };
        let check = || -> nic_data::Result<bool> {
            let header = verify_shard(&local.path)?;
            let features = Features::open(&local.path)?;
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
            Ok(false) => {
                let shard = self.out.join(name);
                say(&format!("{}: holds other images; making it again", shard.display()));
            }
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
                true => Err(Error::Interrupted(self.out.clone())),
                false => self.fault(index),
            })
            .collect();
        let mut counts: Vec<usize> = self.place.workers()?.into_iter().map(Worker::count).collect();
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
        let Some(local) = self.place.local(&shard_name(index))? else {
            return Ok(Some("missing".to_owned()));
        };
        let check = || -> nic_data::Result<Option<String>> {
            let header = verify_shard(&local.path)?;
            let features = Features::open(&local.path)?;
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
            Err(error @ nic_data::Error::Core(CoreError::Io { .. })) => Err(error.into()),
            Err(error) => Ok(Some(error.to_string())),
        }
    }

    /// Image and reason of what could not be read for `shards`, all of which are there.
    pub(crate) fn failed(&self, shards: &[Shard]) -> Result<Vec<(i64, String)>> {
        let mut failed = Vec::new();
        for shard in shards {
            failed.extend(read_shard_header(&self.local(shard.index)?.path)?.failed);
        }
        Ok(failed)
    }

    /// Lists the failed images and then the shards, where that is not done yet; the failed: id and reason. For a
    /// process that is alone.
    pub(crate) fn finish(&self) -> Result<Vec<(i64, String)>> {
        let mut failed = Vec::new();
        let shards = (0..self.plan.shards()).map(|index| {
            let local = self.local(index)?;
            failed.extend(read_shard_header(&local.path)?.failed);
            Ok((shard_name(index), local))
        });
        let index = Index::of_each(&self.out, shards)?.to_json()?;
        let lines: String = failed
            .iter()
            .map(|(id, reason)| {
                format!("{}\n", serde_json::json!({ "image_id": id, "reason": reason }))
            })
            .collect();
        for (name, content) in [(FAILED, lines.as_bytes()), (Index::FILE, &index)] {
            if self.place.read(name)?.as_deref() != Some(content) {
                self.place.write(name, content)?;
            }
        }
        self.place.forget_workers()?;
        Ok(failed)
    }

    /// A shard that was there a moment ago.
    fn local(&self, index: usize) -> nic_data::Result<Local> {
        let name = shard_name(index);
        let gone =
            |what: String| CoreError::Usage(format!("{}: {what}", self.out.join(&name).display()));
        match self.place.local(&name) {
            Ok(Some(local)) => Ok(local),
            Ok(None) => Err(gone("gone while the program ran".to_owned()).into()),
            Err(Error::Core(error)) => Err(error.into()),
            Err(error) => Err(gone(error.to_string()).into()),
        }
    }
}

fn shard_name(index: usize) -> String {
    format!("features-{index:05}.safetensors")
}
