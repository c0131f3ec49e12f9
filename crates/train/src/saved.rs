//! A run on disk: the checkpoints `last` and `best`, and in `last/training` what an exact continuation needs.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use nic_core::{Checkpoint, DecoderConfig, EncoderSpec, Error};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::config::{Config, ScheduleKind};
use crate::corpus::Corpus;
use crate::start::{self, Start};

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
    /// The sum of the losses of the unfinished epoch's words, or of the rewards of its captions.
    pub sum: f64,
    /// How many words, or captions, that are.
    pub count: u64,
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
    /// SHA-256 over the weights of `train.init`, in hexadecimal; none without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_sha256: Option<String>,
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
            sum: 0.0,
            count: 0,
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
    forget("train", "init");
    forget("eval", "patience");
    if config.train.schedule != ScheduleKind::Cosine {
        forget("train", "epochs");
    }
    Ok(table)
}

/// Whether the run in `dir` may be taken up with these settings and data.
///
/// # Errors
/// [`crate::Error::Differs`] with all that must not differ and does.
pub(crate) fn refuse_another(
    dir: &Path,
    saved: &Saved,
    settings: &toml::Table,
    corpus: &Corpus,
    decoder: &DecoderConfig,
    encoder: Option<&EncoderSpec>,
    start: &Start,
) -> Result<()> {
    let checkpoint = &saved.checkpoint;
    let mut differences: Vec<String> = differences(&saved.state.config, settings)
        .into_iter()
        .map(|(key, was, now)| format!("{key}: was {was}, is now {now}"))
        .collect();
    if saved.state.captions_sha256 != corpus.sha256 {
        differences.push(format!(
            "captions: were {}..., are now {}... (SHA-256 of image ids and words)",
            saved.state.captions_sha256.get(..12).unwrap_or_default(),
            corpus.sha256.get(..12).unwrap_or_default()
        ));
    }
    if let Some((what, was, now)) = start::difference(&checkpoint.vocab, &corpus.vocab) {
        differences.push(format!("vocabulary: {what}: was {was}, is now {now}"));
    }
    if checkpoint.config.feature_dim != decoder.feature_dim {
        differences.push(format!(
            "features' width: was {}, is now {}",
            checkpoint.config.feature_dim, decoder.feature_dim
        ));
    }
    if saved.state.start_sha256.as_deref() != start.sha256() {
        let show = |sha256: Option<&str>| {
            sha256.map_or("not set".to_owned(), |s| format!("{}...", s.get(..12).unwrap_or(s)))
        };
        differences.push(format!(
            "train.init: was {}, is now {} (SHA-256 of its weights)",
            show(saved.state.start_sha256.as_deref()),
            show(start.sha256())
        ));
    }
    differences.extend(encoder_differences(checkpoint.encoder.as_ref(), encoder));
    if differences.is_empty() {
        return Ok(());
    }
    Err(crate::Error::Differs { dir: dir.to_owned(), differences })
}

/// What differs between the encoder of earlier features and that of these, a line each.
pub(crate) fn encoder_differences(
    was: Option<&EncoderSpec>,
    now: Option<&EncoderSpec>,
) -> Vec<String> {
    match (was, now) {
        (Some(was), Some(now)) => {
            let lines = was.differences(now).into_iter();
            lines.map(|line| format!("encoder of the run's features: {line}")).collect()
        }
        (None, None) => Vec::new(),
        (was, now) => {
            let show = |spec: Option<&EncoderSpec>| {
                spec.map_or("not stated".to_owned(), |s| format!("{} {}", s.architecture, s.layer))
            };
            vec![format!("features' encoder: was {}, is now {}", show(was), show(now))]
        }
    }
}

/// The keys in which two tables of settings differ, with the value of each.
pub(crate) fn differences(saved: &toml::Table, now: &toml::Table) -> Vec<(String, String, String)> {
    let (saved, now) = (flatten(saved), flatten(now));
    let mut keys: Vec<&String> = saved.keys().chain(now.keys()).collect();
    keys.sort();
    keys.dedup();
    let show = |value: Option<&String>| value.map_or("not set".to_owned(), String::clone);
    keys.into_iter()
        .filter(|key| saved.get(*key) != now.get(*key))
        .map(|key| (key.clone(), show(saved.get(key)), show(now.get(key))))
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

/// Keeps other processes from training in `dir` for as long as the file is open. The system lets go of it with the
/// process, however that ends.
pub(crate) fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(".lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(Error::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(crate::Error::Locked(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(Error::io(&path)(error).into()),
    }
}

/// Reads `dir/last`; none where the run has not begun. Puts right what a kill in the middle of a save left.
///
/// # Errors
/// [`crate::Error::NoLast`] where a run has left something else there: it would be overwritten.
pub fn load(dir: &Path, device: &Device) -> Result<Option<Saved>> {
    for name in ["last", "best"] {
        Checkpoint::recover(&dir.join(name))?;
    }
    let last = dir.join("last");
    if !last.exists() {
        let metrics = fs::metadata(dir.join("metrics.jsonl")).is_ok_and(|file| file.len() > 0);
        let found = match dir.join("best").exists() {
            true => "best",
            false if metrics => "metrics.jsonl",
            false => return Ok(None),
        };
        return Err(crate::Error::NoLast { dir: dir.to_owned(), found });
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
