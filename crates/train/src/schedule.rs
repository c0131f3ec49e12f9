//! The learning rate of each step, and the share of scheduled sampling.

use std::f64::consts::PI;

use crate::config::{ScheduleKind, TrainConfig};

/// What changes with the step, as a function of it.
#[derive(Clone, Debug)]
pub struct Schedule {
    config: TrainConfig,
    steps_per_epoch: u64,
}

impl Schedule {
    /// For epochs of `steps_per_epoch` steps.
    pub fn new(config: &TrainConfig, steps_per_epoch: u64) -> Self {
        Self { config: config.clone(), steps_per_epoch }
    }

    /// The learning rate of `step` (counted from 0) after `drops` epochs that were not the best so far.
    ///
    /// `step`: `torch.optim.lr_scheduler.StepLR`; `exponential`: TensorFlow's `exponential_decay` and NeuralTalk2;
    /// `cosine`: `CosineAnnealingLR` to 0 over the steps after the warm-up. The warm-up multiplies any of them by
    /// (step + 1) / warmup_steps.
    pub fn rate(&self, step: u64, drops: u32) -> f64 {
        let c = &self.config;
        let epochs = step as f64 / self.steps_per_epoch as f64;
        let factor = match c.schedule {
            ScheduleKind::Constant => 1.0,
            ScheduleKind::Step => {
                // at an epoch's end, not within one
                let epoch = (step / self.steps_per_epoch) as f64;
                c.decay_factor.powf((epoch / c.decay_epochs).floor())
            }
            ScheduleKind::Exponential => c.decay_factor.powf(epochs / c.decay_epochs),
            ScheduleKind::Cosine => {
                let total =
                    c.epochs.saturating_mul(self.steps_per_epoch).saturating_sub(c.warmup_steps);
                let done = step.saturating_sub(c.warmup_steps);
                (1.0 + (PI * done as f64 / total.max(1) as f64).cos()) / 2.0
            }
            ScheduleKind::Plateau => c.decay_factor.powf(f64::from(drops)),
        };
        let warmup =
            if step < c.warmup_steps { (step + 1) as f64 / c.warmup_steps as f64 } else { 1.0 };
        c.learning_rate * factor * warmup
    }

    /// The share of the input words that the decoder draws itself: Bengio et al.'s linear schedule.
    pub fn sampling(&self, step: u64) -> f64 {
        let c = &self.config;
        let total = c.sampling_epochs * self.steps_per_epoch as f64;
        c.scheduled_sampling * if total > 0.0 { (step as f64 / total).min(1.0) } else { 1.0 }
    }
}
