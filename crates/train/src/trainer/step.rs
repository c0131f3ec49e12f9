//! One batch: loss, gradients, optimiser.

use candle_core::backprop::GradStore;
use nic_core::Training;
use rand::RngCore;

use super::Trainer;
use crate::gradients::{self, Clip};
use crate::self_critical::SelfCritical;
use crate::streams::{Purpose, stream};
use crate::{Error, Result};

/// What a step came to.
struct Step {
    /// The loss per word; under `self_critical` the reward per caption.
    value: f64,
    /// How many words, or captions, this is the mean of.
    count: u64,
    words: u64,
    gradients: Option<GradStore>,
    /// Of the gradients.
    norm: f64,
}

impl Trainer {
    /// One batch: its loss per word (its reward per caption) and how many words.
    pub(super) fn step(&mut self, batch: &[usize]) -> Result<(f64, u64)> {
        let train = &self.config.train;
        let step = self.progress.step;
        let Step { value, count, words, gradients, norm } = match &self.self_critical {
            Some(self_critical) => self.criticize(self_critical, batch)?,
            None => self.imitate(batch)?,
        };
        let value = self.number("the loss", value, step + 1)?;
        let Some(gradients) = gradients else { return Ok((value, 0)) };
        let norm = self.number("the gradient's norm", norm, step + 1)?;
        let clip = Clip::new(norm, train.clip_norm, train.clip_value);
        self.optimizer.step(&gradients, self.schedule.rate(step, self.progress.drops), clip)?;

        let p = &mut self.progress;
        p.step += 1;
        p.batch += 1;
        p.sum += value * count as f64;
        p.count += count;
        Ok((value, words))
    }

    /// The cross entropy of people's captions.
    fn imitate(&self, batch: &[usize]) -> Result<Step> {
        let train = &self.config.train;
        let step = self.progress.step;
        let tokens = self.corpus.train.tokens(batch);
        let mut masks = stream(train.seed, Purpose::Dropout(step));
        let mut draws = stream(train.seed, Purpose::Sampling(step));
        let sampling = self.schedule.sampling(step);
        let (mut losses, mut gradients) = (Vec::with_capacity(train.accumulate), None);
        for part in batch.chunks(batch.len().div_ceil(train.accumulate)) {
            let (features, mut captions) =
                self.corpus.train.batch(part, &self.features, &self.device)?;
            if sampling > 0.0 {
                captions =
                    self.frozen.scheduled_sampling(&features, &captions, sampling, &mut draws)?;
            }
            let training = Training {
                dropout: self.config.model.dropout(),
                label_smoothing: train.label_smoothing,
                rng: &mut masks,
            };
            let loss = self.decoder.loss(&features, &captions, Some(training))?;
            // the mean over all parts' words, not over the parts
            let share = captions.tokens() as f64 / tokens as f64;
            let weighted = if share < 1.0 { (&loss * share)? } else { loss.clone() };
            gradients::add(&mut gradients, weighted.backward()?, self.optimizer.vars())?;
            losses.push((share, loss.detach()));
        }
        let norm = self.norm(gradients.as_ref())?;
        // after all else: reading waits for a device
        let mut value = 0.0;
        for (share, loss) in losses {
            value += share * f64::from(loss.to_scalar::<f32>()?);
        }
        Ok(Step { value, count: tokens, words: tokens, gradients, norm })
    }

    /// The rewards of the decoder's own captions.
    fn criticize(&self, self_critical: &SelfCritical, images: &[usize]) -> Result<Step> {
        let train = &self.config.train;
        let seed = stream(train.seed, Purpose::Sampling(self.progress.step)).next_u64();
        let drawn = self_critical.draw(&self.frozen, &self.features, images, seed, &self.device);
        let drawn = match drawn {
            // weights that are no numbers do not show in a reward
            Err(Error::Data(nic_data::Error::Core(nic_core::Error::NotFinite))) => {
                return Err(self.diverged("a word's score", f64::NAN, self.progress.step + 1));
            }
            drawn => drawn?,
        };
        let captions = drawn.captions.len();
        let part = captions.div_ceil(train.accumulate);
        let mut gradients = None;
        for start in (0..captions).step_by(part) {
            let numbers = start..captions.min(start + part);
            let loss = drawn.loss(&self.decoder, &self.features, numbers, &self.device)?;
            gradients::add(&mut gradients, loss.backward()?, self.optimizer.vars())?;
        }
        let value = drawn.rewards.iter().sum::<f64>() / captions as f64;
        let norm = self.norm(gradients.as_ref())?;
        Ok(Step { value, count: captions as u64, words: drawn.words(), gradients, norm })
    }

    fn norm(&self, gradients: Option<&GradStore>) -> Result<f64> {
        gradients::norm(self.optimizer.vars().filter_map(|var| gradients?.get(var)))
    }
}
