//! A run's settings: `configs/*.toml`.

use std::path::{Path, PathBuf};

use nic_core::{Cell, DecoderConfig, Dropout, Tokenizer};
use nic_data::Split;
use serde::{Deserialize, Serialize};

use crate::{Result, ranges};

/// A training run. Every path is relative to the file that states it, or to the working directory where `--set`
/// states it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What to learn from.
    pub data: DataConfig,
    /// The decoder.
    #[serde(default)]
    pub model: ModelConfig,
    /// How to learn.
    #[serde(default)]
    pub train: TrainConfig,
    /// How to choose the best epoch.
    #[serde(default)]
    pub eval: EvalConfig,
    /// Where the results go.
    pub output: OutputConfig,
}

/// `[data]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// The dataset's descriptor.
    pub dataset: PathBuf,
    /// A directory of feature shards, or one file.
    pub features: PathBuf,
    /// How captions are cut into words.
    #[serde(default)]
    pub tokenizer: Tokenizer,
    /// Words seen less often in the training split become `<unk>`.
    #[serde(default = "default_min_count")]
    pub min_count: u64,
    /// Captions are cut after so many words.
    #[serde(default = "default_max_len")]
    pub max_len: usize,
}

/// `[model]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// The recurrence.
    pub cell: Cell,
    /// E.
    pub embed_dim: usize,
    /// H.
    pub hidden_dim: usize,
    /// L: recurrences one upon the other.
    pub num_layers: usize,
    /// Use the embedding's weight in the output layer too; needs E = H.
    pub tie_embeddings: bool,
    /// The share of values set to zero while training, in [0, 1): of the recurrence's inputs and outputs, and of what
    /// one layer hands to the next.
    pub dropout: f32,
    /// Another share for the inputs ...
    pub dropout_input: Option<f32>,
    /// ... between layers ...
    pub dropout_layers: Option<f32>,
    /// ... and for the outputs.
    pub dropout_output: Option<f32>,
    /// Drop the same values of a caption at every step.
    pub variational_dropout: bool,
    /// Whether the recurrence has biases; Show and Tell's has none.
    pub lstm_bias: bool,
    /// h = o * tanh(c); Show and Tell's h = o * c.
    pub cell_tanh: bool,
    /// Start the output bias at the words' log frequencies.
    pub init_output_bias: bool,
}

/// `[train]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// What makes a decoder better.
    pub objective: Objective,
    /// A checkpoint whose weights the run begins with; none: random ones. Its words must be the corpus's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
    /// Decides the initial weights, the order of the captions, the dropout masks and all that is drawn.
    pub seed: u64,
    /// Captions a step; for `self_critical` images a step, `samples` captions each.
    pub batch_size: usize,
    /// A step's captions are taken in so many parts, one after the other, whose gradients are added: the same step in
    /// less memory.
    pub accumulate: usize,
    /// Passes over the training split.
    pub epochs: u64,
    /// Which optimiser.
    pub optimizer: OptimizerKind,
    /// Its step size, before the schedule.
    pub learning_rate: f64,
    /// How the learning rate changes.
    pub schedule: ScheduleKind,
    /// The first steps, over which the learning rate rises from 0 in equal parts.
    pub warmup_steps: u64,
    /// `step`, `exponential` and `plateau` multiply the learning rate by it.
    pub decay_factor: f64,
    /// `step` and `exponential` do so once in so many epochs.
    pub decay_epochs: f64,
    /// Gradients are scaled down to this norm over all tensors; `inf` leaves them.
    pub clip_norm: f64,
    /// Then each of their values is brought into [-clip_value, clip_value]; `inf` leaves them.
    pub clip_value: f64,
    /// SGD: the share of the last update that is kept.
    pub momentum: f64,
    /// Adam, AdamW: the decay of the averages of the gradient and of its square.
    pub betas: [f64; 2],
    /// Adam, AdamW: added to the denominator.
    pub eps: f64,
    /// Adam, SGD: times the weight, added to its gradient. AdamW: times the learning rate, taken from the weight.
    pub weight_decay: f64,
    /// Which weights decay.
    pub decay: DecayScope,
    /// The share of the target's probability that goes to all words alike, in [0, 1).
    pub label_smoothing: f32,
    /// The share of the input words that the decoder draws itself (Bengio et al. 2015), in [0, 1] ...
    pub scheduled_sampling: f64,
    /// ... reached in equal parts over so many epochs.
    pub sampling_epochs: f64,
    /// `self_critical`: how many captions are drawn of an image.
    pub samples: usize,
    /// `self_critical`: what a caption's reward is compared with.
    pub baseline: Baseline,
}

/// `[eval]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvalConfig {
    /// The split that decides which epoch is best.
    pub split: Split,
    /// What tells the best epoch, in `split`.
    pub metric: Metric,
    /// The width of the beam that `cider_d` captions the images with.
    pub beam: usize,
    /// The run ends after so many epochs one after the other that were not the best so far; none: never.
    pub patience: Option<u64>,
}

/// `[output]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputConfig {
    /// Takes `metrics.jsonl` and the checkpoints `last` and `best`.
    pub dir: PathBuf,
    /// Besides each epoch's end, `last` is saved after so many steps of an epoch.
    #[serde(default = "default_save_steps")]
    pub save_steps: u64,
}

/// What makes a decoder better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// A lower mean cross entropy of the words that people wrote.
    CrossEntropy,
    /// A higher CIDEr-D of the captions that it draws itself (Rennie et al. 2017).
    SelfCritical,
}

/// What a drawn caption's reward is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Baseline {
    /// The reward of the greedily decoded caption of the image (Rennie et al. 2017).
    Greedy,
    /// The mean reward of the image's other samples (Luo 2020).
    Mean,
}

/// Which optimiser: PyTorch's formulas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Kingma and Ba 2015.
    Adam,
    /// Loshchilov and Hutter 2019: the weight decay apart from the gradient.
    AdamW,
    /// Gradient descent, with momentum where it is not 0.
    Sgd,
}

/// What tells the best epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The mean negative log likelihood per word; the lowest is the best.
    Loss,
    /// coco-caption's CIDEr-D of the captions that beam search writes; the highest is the best.
    CiderD,
}

impl Metric {
    /// Whether `value` is better than `best`.
    pub fn better(self, value: f64, best: f64) -> bool {
        match self {
            Self::Loss => value < best,
            Self::CiderD => value > best,
        }
    }
}

/// Which weights decay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecayScope {
    /// The matrices of the layers: neither biases nor the embedding.
    Matrices,
    /// All.
    All,
}

/// How the learning rate changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleKind {
    /// Not at all.
    Constant,
    /// By `decay_factor` once every `decay_epochs` epochs, at once.
    Step,
    /// By `decay_factor` every `decay_epochs` epochs, a little each step.
    Exponential,
    /// Down to 0 at the last step, along half a cosine.
    Cosine,
    /// By `decay_factor` after each epoch that is not the best so far.
    Plateau,
}

fn default_min_count() -> u64 {
    5
}

fn default_max_len() -> usize {
    20
}

fn default_save_steps() -> u64 {
    1000
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            cell: Cell::default(),
            embed_dim: 512,
            hidden_dim: 512,
            num_layers: 1,
            tie_embeddings: false,
            dropout: 0.5,
            dropout_input: None,
            dropout_layers: None,
            dropout_output: None,
            variational_dropout: false,
            lstm_bias: true,
            cell_tanh: true,
            init_output_bias: true,
        }
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            objective: Objective::CrossEntropy,
            init: None,
            seed: 1,
            batch_size: 128,
            accumulate: 1,
            epochs: 20,
            optimizer: OptimizerKind::Adam,
            learning_rate: 1e-3,
            schedule: ScheduleKind::Plateau,
            warmup_steps: 0,
            decay_factor: 0.5,
            decay_epochs: 1.0,
            clip_norm: 5.0,
            clip_value: f64::INFINITY,
            momentum: 0.0,
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 0.0,
            decay: DecayScope::Matrices,
            label_smoothing: 0.0,
            scheduled_sampling: 0.0,
            sampling_epochs: 0.0,
            samples: 5,
            baseline: Baseline::Mean,
        }
    }
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self { split: Split::Val, metric: Metric::Loss, beam: 3, patience: None }
    }
}

impl ModelConfig {
    /// The decoder's shape for features of width `feature_dim` and so many words.
    pub fn decoder(&self, feature_dim: usize, vocab_size: usize) -> DecoderConfig {
        DecoderConfig {
            cell: self.cell,
            feature_dim,
            embed_dim: self.embed_dim,
            hidden_dim: self.hidden_dim,
            vocab_size,
            num_layers: self.num_layers,
            tie_embeddings: self.tie_embeddings,
            lstm_bias: self.lstm_bias,
            cell_tanh: self.cell_tanh,
        }
    }

    /// What is dropped while training.
    pub fn dropout(&self) -> Dropout {
        Dropout {
            input: self.dropout_input.unwrap_or(self.dropout),
            layers: self.dropout_layers.unwrap_or(self.dropout),
            output: self.dropout_output.unwrap_or(self.dropout),
            variational: self.variational_dropout,
        }
    }
}

impl Config {
    /// Reads `path` with `set` (`table.key=value`) laid over it; resolves the paths and checks the ranges.
    ///
    /// # Errors
    /// Unknown and missing keys, values of the wrong type or out of range: each names the key.
    pub fn load(path: &Path, set: &[String]) -> Result<Self> {
        let mut config: Self = nic_data::read_toml(path, set)?;
        let base = path.parent().unwrap_or(Path::new(""));
        let resolve = |key: &str, value: &mut PathBuf| {
            if value.as_os_str().is_empty() {
                return Err(nic_core::Error::Mismatch {
                    place: path.display().to_string(),
                    what: key.into(),
                    found: "empty".into(),
                    expected: "a path".into(),
                });
            }
            // also where the whole table is set
            let covers = |set: &str| {
                key.strip_prefix(set).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            let from_set =
                set.iter().filter_map(|s| s.split_once('=')).any(|(k, _)| covers(k.trim()));
            let is_url = value.to_string_lossy().contains("://");
            if is_url && key != "data.features" {
                return Err(nic_core::Error::Mismatch {
                    place: path.display().to_string(),
                    what: key.into(),
                    found: value.display().to_string(),
                    expected:
                        "a path on this machine (only data.features may lie in an object store)"
                            .into(),
                });
            }
            if !from_set && !is_url {
                *value = base.join(&*value);
            }
            Ok(())
        };
        resolve("data.dataset", &mut config.data.dataset)?;
        resolve("data.features", &mut config.data.features)?;
        resolve("output.dir", &mut config.output.dir)?;
        if let Some(init) = &mut config.train.init {
            resolve("train.init", init)?;
        }
        ranges::check(&config, path)?;
        Ok(config)
    }
}
