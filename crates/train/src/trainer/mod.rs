//! A run: its data and weights, epoch after epoch, with the validation loss and the checkpoints after each.

mod step;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use candle_core::{DType, Device, Var};
use candle_nn::VarBuilder;
use nic_core::{BeamSearch, Checkpoint, Decoder, DecoderConfig, EncoderSpec, Rules};
use nic_data::Features;

use crate::config::{Config, Metric, Objective};
use crate::corpus::Corpus;
use crate::gradients;
use crate::metrics::{self, Row};
use crate::optimizer::Optimizer;
use crate::progress::Display;
use crate::saved::{self, Progress, State};
use crate::schedule::Schedule;
use crate::self_critical::SelfCritical;
use crate::start::Start;
use crate::streams::{self, Purpose, stream};
use crate::{Error, Result};

/// A run: its data, its weights and how far it has come.
#[derive(Debug)]
pub struct Trainer {
    config: Config,
    settings: toml::Table,
    corpus: Corpus,
    /// Under the objective of this name.
    self_critical: Option<SelfCritical>,
    features: Features,
    encoder: Option<EncoderSpec>,
    device: Device,
    decoder_config: DecoderConfig,
    vars: BTreeMap<String, Var>,
    decoder: Decoder,
    /// The same weights outside the graph, for the validation loss.
    frozen: Decoder,
    optimizer: Optimizer,
    schedule: Schedule,
    /// SHA-256 of the weights of `train.init`.
    start_sha256: Option<String>,
    progress: Progress,
    /// On `output.dir`.
    _lock: File,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All epochs are done, or `eval.patience` has run out.
    Finished,
    /// They were before.
    AlreadyFinished,
    /// Ctrl-C; saved.
    Interrupted,
}

impl Trainer {
    /// Reads the data and begins a run, or takes up the one in `output.dir`.
    ///
    /// # Errors
    /// Data that cannot be used; a run in `output.dir` with other settings or other data, without what it would go on
    /// from, or that another process is at.
    pub fn open(config: Config, device: Device, log: &dyn Fn(&str)) -> Result<Self> {
        let dir = config.output.dir.clone();
        let mut features = Features::open(&config.data.features)?;
        if !device.is_cpu() {
            match features.place(&device) {
                Err(nic_data::Error::Core(reason @ nic_core::Error::DeviceMemory(_))) => {
                    log(&format!("the features stay in their files: {reason}"));
                }
                placed => placed?,
            }
        }
        let corpus = Corpus::load(&config.data, config.eval.split, &features, log)?;
        let decoder_config = config.model.decoder(features.dim(), corpus.vocab.len());
        std::fs::create_dir_all(&dir).map_err(nic_core::Error::io(&dir))?;
        let lock = saved::lock(&dir)?;
        // the weights' place in the record is relative to the checkpoint, not to the features
        let (home, target) = (home(&config.data.features), dir.join("last"));
        let encoder = features.encoder().map(|spec| spec.relocated(&home, &target)).transpose()?;
        let settings = saved::settings(&config)?;

        let start = match &config.train.init {
            Some(init) => Start::checkpoint(init, &corpus.vocab, &decoder_config, encoder.as_ref()),
            None => {
                let rng = &mut stream(config.train.seed, Purpose::Init);
                Start::random(&corpus.vocab, &decoder_config, config.model.init_output_bias, rng)
            }
        }?;
        let saved = saved::load(&dir, &device)?;
        if let Some(saved) = &saved {
            let (shape, encoder) = (&decoder_config, encoder.as_ref());
            saved::refuse_another(&dir, saved, &settings, &corpus, shape, encoder, &start)?;
        }
        let start_sha256 = start.sha256().map(str::to_owned);
        let tensors =
            saved.as_ref().map_or(start.tensors, |saved| saved.checkpoint.tensors.clone());
        let vars = tensors
            .into_iter()
            .map(|(name, tensor)| Ok((name, Var::from_tensor(&tensor.to_device(&device)?)?)))
            .collect::<Result<BTreeMap<_, _>>>()?;
        let tensors = vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone()));
        let weights = VarBuilder::from_tensors(tensors.collect(), DType::F32, &device);
        let decoder = Decoder::new(&decoder_config, weights)?;
        let frozen = decoder.detach();
        let mut optimizer = Optimizer::new(&config.train, &vars)?;
        let progress = match saved {
            Some(saved) => {
                let progress = saved.state.progress;
                optimizer.restore(saved.optimizer, progress.step, &saved.optimizer_path)?;
                progress
            }
            None => Progress::default(),
        };
        metrics::cut(&dir.join("metrics.jsonl"), progress.epoch)?;
        let self_critical = match config.train.objective {
            Objective::CrossEntropy => None,
            Objective::SelfCritical => Some(SelfCritical::new(&corpus.train, &config)),
        };
        let examples = self_critical.as_ref().map_or(corpus.train.len(), SelfCritical::images);
        let steps = examples.div_ceil(config.train.batch_size) as u64;
        let schedule = Schedule::new(&config.train, steps);
        Ok(Self {
            config,
            settings,
            corpus,
            self_critical,
            features,
            encoder,
            device,
            decoder_config,
            vars,
            decoder,
            frozen,
            optimizer,
            schedule,
            start_sha256,
            progress,
            _lock: lock,
        })
    }

    /// How far the run has come.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The weights by name.
    pub fn vars(&self) -> &BTreeMap<String, Var> {
        &self.vars
    }

    /// Where the best checkpoint is.
    pub fn best(&self) -> PathBuf {
        self.config.output.dir.join("best")
    }

    /// Trains until all epochs are done or `stop` is set.
    ///
    /// # Errors
    /// A loss that is no number; a checkpoint that cannot be written. `last` is then the last good one.
    pub fn run(&mut self, stop: &AtomicBool) -> Result<Outcome> {
        if self.finished() {
            return Ok(Outcome::AlreadyFinished);
        }
        let steps = self.examples().div_ceil(self.config.train.batch_size) as u64;
        let total = self.config.train.epochs.saturating_mul(steps);
        let display = Display::new(total, self.progress.step);
        if self.progress.step == 0 {
            self.save_last()?; // so that a run without `last` is one that has lost it
        }
        if self.progress.step > 0 {
            display.line(&format!(
                "continuing after {} epochs and {} of {steps} batches",
                self.progress.epoch, self.progress.batch
            ));
        }
        while !self.finished() {
            let Some((row, best)) = self.epoch(stop, &display)? else {
                self.save_last()?;
                return Ok(Outcome::Interrupted);
            };
            // A kill between any two of these is made good: the run goes on from `last`, and does the rest again.
            if best {
                self.checkpoint().save(&self.best())?;
            }
            metrics::append(&self.config.output.dir.join("metrics.jsonl"), &row)?;
            self.save_last()?;
            display.epoch(&row, best);
        }
        if self.out_of_patience() {
            let since = self.progress.epoch - self.progress.best_epoch;
            display.line(&format!("no better epoch in {since}: the run ends (eval.patience)"));
        }
        Ok(Outcome::Finished)
    }

    /// What an epoch goes through: captions, or under `self_critical` images.
    fn examples(&self) -> usize {
        self.self_critical.as_ref().map_or(self.corpus.train.len(), SelfCritical::images)
    }

    fn finished(&self) -> bool {
        self.progress.epoch >= self.config.train.epochs || self.out_of_patience()
    }

    /// Whether `eval.patience` epochs have passed since the best one, with more of them to come.
    pub fn out_of_patience(&self) -> bool {
        let since = self.progress.epoch - self.progress.best_epoch;
        let patience = self.config.eval.patience;
        self.progress.epoch < self.config.train.epochs
            && patience.is_some_and(|patience| since >= patience)
    }

    /// The rest of the epoch; none where `stop` came first. The second value says whether it is the best so far.
    fn epoch(&mut self, stop: &AtomicBool, display: &Display) -> Result<Option<(Row, bool)>> {
        let train = &self.config.train;
        let (seed, batch_size) = (train.seed, train.batch_size);
        let start = Instant::now();
        let mut tokens = 0;
        let what = if self.self_critical.is_some() { "reward" } else { "loss" };
        let order = streams::order(seed, self.progress.epoch, self.examples());
        for batch in order.chunks(batch_size).skip(self.progress.batch as usize) {
            if stop.load(Ordering::SeqCst) {
                return Ok(None);
            }
            let (value, words) = self.step(batch)?;
            tokens += words;
            let rate = tokens as f64 / start.elapsed().as_secs_f64();
            display.step(self.progress.epoch + 1, what, value, rate);
            if self.progress.batch.is_multiple_of(self.config.output.save_steps) {
                self.save_last()?;
            }
        }
        let train_seconds = start.elapsed().as_secs_f64();
        let Some(val_loss) = self.validate(stop)? else { return Ok(None) };
        let metric = self.config.eval.metric;
        let (value, val_cider_d) = match metric {
            Metric::Loss => (val_loss, None),
            Metric::CiderD => match self.cider_d(stop)? {
                Some(score) => (score, Some(score)),
                None => return Ok(None),
            },
        };

        let p = &mut self.progress;
        let mean = p.sum / p.count as f64;
        let row = Row {
            epoch: p.epoch + 1,
            step: p.step,
            train_loss: self.self_critical.is_none().then_some(mean),
            train_reward: self.self_critical.is_some().then_some(mean),
            val_loss,
            val_perplexity: val_loss.exp(),
            val_cider_d,
            learning_rate: self.schedule.rate(p.step - 1, p.drops),
            tokens_per_second: tokens as f64 / train_seconds,
            seconds: start.elapsed().as_secs_f64(),
        };
        let best = p.best.is_none_or(|best| metric.better(value, best));
        p.epoch += 1;
        (p.batch, p.sum, p.count) = (0, 0.0, 0);
        if best {
            (p.best, p.best_epoch) = (Some(value), p.epoch);
        } else {
            p.drops += 1;
        }
        Ok(Some((row, best)))
    }

    /// The mean negative log likelihood per word of the evaluation split; none where `stop` came first.
    fn validate(&self, stop: &AtomicBool) -> Result<Option<f64>> {
        let (mut sum, mut tokens) = (0.0, 0);
        let numbers: Vec<usize> = (0..self.corpus.eval.len()).collect();
        for batch in numbers.chunks(self.config.train.batch_size) {
            if stop.load(Ordering::SeqCst) {
                return Ok(None);
            }
            let (features, captions) =
                self.corpus.eval.batch(batch, &self.features, &self.device)?;
            let loss = self.frozen.loss(&features, &captions, None)?.to_scalar::<f32>()?;
            sum += f64::from(loss) * captions.tokens() as f64;
            tokens += captions.tokens();
        }
        self.number("the validation loss", sum / tokens as f64, self.progress.step).map(Some)
    }

    /// CIDEr-D of the evaluation split; none where `stop` came first.
    fn cider_d(&self, stop: &AtomicBool) -> Result<Option<f64>> {
        let rules = Rules::default().max_len(self.config.data.max_len);
        let beam = BeamSearch::new(self.config.eval.beam).rules(rules);
        self.corpus.eval_images.cider_d(
            &self.frozen,
            &self.corpus.vocab,
            &self.features,
            &beam,
            &self.device,
            stop,
        )
    }

    fn number(&self, what: &'static str, value: f64, step: u64) -> Result<f64> {
        if value.is_finite() { Ok(value) } else { Err(self.diverged(what, value, step)) }
    }

    /// The features' fault where some are not numbers.
    fn diverged(&self, what: &'static str, value: f64, step: u64) -> Error {
        if let Err(error) = self.features.check_finite() {
            return error.into();
        }
        let last = self.config.output.dir.join("last");
        Error::Diverged { what, value, step, last }
    }

    fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            config: self.decoder_config.clone(),
            encoder: self.encoder.clone(),
            vocab: self.corpus.vocab.clone(),
            tensors: self
                .vars
                .iter()
                .map(|(name, var)| (name.clone(), var.as_detached_tensor()))
                .collect(),
        }
    }

    fn save_last(&self) -> Result<()> {
        // a step can spoil the weights before any loss has shown it
        let norm = gradients::norm(self.vars.values().map(Var::as_tensor))?;
        self.number("the weights' norm", norm, self.progress.step)?;
        let state = State {
            captions_sha256: self.corpus.sha256.clone(),
            start_sha256: self.start_sha256.clone(),
            progress: self.progress.clone(),
            config: self.settings.clone(),
        };
        self.checkpoint().save_with(&self.config.output.dir.join("last"), |dir| {
            saved::write_training(dir, &state, self.optimizer.state())
        })
    }
}

/// The directory that a record of the encoder in these features is relative to.
fn home(features: &Path) -> PathBuf {
    if features.is_dir() || features.to_string_lossy().contains("://") {
        features.to_owned()
    } else {
        features.parent().unwrap_or(Path::new("")).to_owned()
    }
}
