//! A run on disk: the checkpoints `last` and `best`, and in `last/training` what an exact continuation needs.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use nic_core::{Checkpoint, Error};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::config::{Config, ScheduleKind};

/// How far a run has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Whole epochs behind us.
    pub epoch: u64,
    /// Batches of the next epoch behind us.
    pub batch: u64,
    /// Steps behind us.
    pub step: u64,
    /// The sum of the losses of the unfinished epoch's words.
    pub loss_sum: f64,
    /// How many words that are.
    pub tokens: u64,
    /// The best value of `eval.metric`; none before the first epoch's end.
    pub best: Option<f64>,
    /// The epoch that reached it, counted from 1; 0 before the first.
    pub best_epoch: u64,
    /// Epochs that were not the best so far.
    pub drops: u32,
}

/// `training/state.toml`. TOML, for it reads every number back to the bit, infinity included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// [`crate::corpus::Corpus::sha256`].
    pub captions_sha256: String,
    /// How far.
    pub progress: Progress,
    /// The settings that decide the result, see [`settings`].
    pub config: toml::Table,
}

/// What `last` holds.
#[derive(Debug)]
pub struct Saved {
    /// Weights, words and the record of the encoder.
    pub checkpoint: Checkpoint,
    /// The rest.
    pub state: State,
    /// The optimiser's memory by name.
    pub optimizer: HashMap<String, Tensor>,
    /// The file that it came from, for errors.
    pub optimizer_path: PathBuf,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            epoch: 0,
            batch: 0,
            step: 0,
            loss_sum: 0.0,
            tokens: 0,
            best: None,
            best_epoch: 0,
            drops: 0,
        }
    }
}

/// The settings that must not change within a run: all but where files are, how often it is saved and how patient it
/// is. The number of epochs may grow, except under the cosine, which it shapes.
pub fn settings(config: &Config) -> Result<toml::Table> {
    let mut table = toml::Table::try_from(config)
        .map_err(|error| Error::Usage(format!("the settings cannot be saved: {error}")))?;
    table.remove("output");
    let mut forget = |section: &str, key: &str| {
        if let Some(section) = table.get_mut(section).and_then(toml::Value::as_table_mut) {
            section.remove(key);
        }
    };
    forget("data", "dataset");
    forget("data", "features");
    forget("eval", "patience");
    if config.train.schedule != ScheduleKind::Cosine {
        forget("train", "epochs");
    }
    Ok(table)
}

/// What differs between the settings of a saved run and those of this one, a line each.
pub fn differences(saved: &toml::Table, now: &toml::Table) -> Vec<String> {
    let (saved, now) = (flatten(saved), flatten(now));
    let mut keys: Vec<&String> = saved.keys().chain(now.keys()).collect();
    keys.sort();
    keys.dedup();
    let show = |value: Option<&String>| value.map_or("not set".to_owned(), String::clone);
    keys.into_iter()
        .filter(|key| saved.get(*key) != now.get(*key))
        .map(|key| format!("{key}: was {}, is now {}", show(saved.get(key)), show(now.get(key))))
        .collect()
}

fn flatten(table: &toml::Table) -> BTreeMap<String, String> {
    let mut flat = BTreeMap::new();
    for (section, value) in table {
        match value {
            toml::Value::Table(keys) => {
                flat.extend(
                    keys.iter().map(|(key, value)| (format!("{section}.{key}"), value.to_string())),
                );
            }
            value => {
                flat.insert(section.clone(), value.to_string());
            }
        }
    }
    flat
}

/// Reads `dir/last`; none where the run has not begun. Puts right what a kill in the middle of a save left.
pub fn load(dir: &Path, device: &Device) -> Result<Option<Saved>> {
    for name in ["last", "best"] {
        Checkpoint::recover(&dir.join(name))?;
    }
    let last = dir.join("last");
    if !last.exists() {
        return Ok(None);
    }
    let checkpoint = Checkpoint::load(&last, device)?;
    let state_path = last.join("training/state.toml");
    let state = nic_data::read_toml(&state_path, &[])?;
    let optimizer_path = last.join("training/optimizer.safetensors");
    // a missing file is the user's to mend, a damaged one too
    fs::metadata(&optimizer_path).map_err(Error::io(&optimizer_path))?;
    let optimizer =
        candle_core::safetensors::load(&optimizer_path, &Device::Cpu).map_err(|error| {
            Error::Safetensors { path: optimizer_path.clone(), reason: error.to_string() }
        })?;
    Ok(Some(Saved { checkpoint, state, optimizer, optimizer_path }))
}

/// Writes `training/` below a checkpoint's directory.
pub fn write_training(
    dir: &Path,
    state: &State,
    optimizer: BTreeMap<String, Tensor>,
) -> Result<()> {
    let training = dir.join("training");
    fs::create_dir(&training).map_err(Error::io(&training))?;
    let path = training.join("state.toml");
    let text = toml::to_string(state)
        .map_err(|error| Error::Usage(format!("{}: cannot be written: {error}", path.display())))?;
    fs::write(&path, text).map_err(Error::io(&path))?;
    let path = training.join("optimizer.safetensors");
    let tensors: HashMap<String, Tensor> = optimizer.into_iter().collect();
    candle_core::safetensors::save(&tensors, &path)
        .map_err(|error| Error::io(&path)(std::io::Error::other(error)))?;
    Ok(())
}
