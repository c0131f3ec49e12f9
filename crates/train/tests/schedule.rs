//! Learning rates, against values that PyTorch and TensorFlow give.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // as in tests themselves

use train::config::{ScheduleKind, TrainConfig};
use train::schedule::Schedule;

fn rates(config: TrainConfig, steps: &[u64]) -> Vec<f64> {
    let schedule = Schedule::new(&TrainConfig { learning_rate: 0.8, ..config }, 10);
    steps.iter().map(|&step| schedule.rate(step, 0)).collect()
}

fn close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() < 1e-12, "{found:?} and {expected:?}");
    }
}

fn config(schedule: ScheduleKind) -> TrainConfig {
    TrainConfig { schedule, epochs: 4, ..TrainConfig::default() }
}

#[test]
fn constant_is_constant() {
    close(&rates(config(ScheduleKind::Constant), &[0, 39]), &[0.8, 0.8]);
}

#[test]
fn warmup_reaches_the_rate_at_its_last_step() {
    // LinearLR(start_factor=1 / 4, total_iters=3): 0.25, 0.5, 0.75, 1
    let config = TrainConfig { warmup_steps: 4, ..config(ScheduleKind::Constant) };
    close(&rates(config, &[0, 1, 2, 3, 4]), &[0.2, 0.4, 0.6, 0.8, 0.8]);
}

/// StepLR(step_size=2, gamma=0.5), stepped each epoch.
#[test]
fn step_halves_every_second_epoch() {
    let config = TrainConfig { decay_epochs: 2.0, ..config(ScheduleKind::Step) };
    close(&rates(config, &[0, 19, 20, 39, 40]), &[0.8, 0.8, 0.4, 0.4, 0.2]);
}

/// tf.compat.v1.train.exponential_decay(0.8, step, decay_steps=20, decay_rate=0.5)
#[test]
fn exponential_halves_over_two_epochs() {
    let config = TrainConfig { decay_epochs: 2.0, ..config(ScheduleKind::Exponential) };
    close(
        &rates(config, &[0, 10, 20, 30]),
        &[0.8, 0.565_685_424_949_238, 0.4, 0.282_842_712_474_619],
    );
}

/// CosineAnnealingLR(T_max=40)
#[test]
fn cosine_ends_at_nothing() {
    let found = rates(config(ScheduleKind::Cosine), &[0, 10, 20, 30, 40]);
    close(&found, &[0.8, 0.682_842_712_474_619, 0.4, 0.117_157_287_525_381, 0.0]);
    // the half wave begins where the warm-up ends
    let config = TrainConfig { warmup_steps: 20, ..config(ScheduleKind::Cosine) };
    close(&rates(config, &[9, 20, 30, 40]), &[0.4, 0.8, 0.4, 0.0]);
}

#[test]
fn plateau_halves_with_each_epoch_that_was_not_the_best() {
    let schedule =
        Schedule::new(&TrainConfig { learning_rate: 0.8, ..config(ScheduleKind::Plateau) }, 10);
    let found: Vec<f64> = [0, 1, 3].iter().map(|&drops| schedule.rate(25, drops)).collect();
    close(&found, &[0.8, 0.4, 0.1]);
}

#[test]
fn sampling_rises_to_its_share() {
    let sampling = |sampling_epochs, steps: [u64; 4]| {
        let config =
            TrainConfig { scheduled_sampling: 0.25, sampling_epochs, ..TrainConfig::default() };
        let schedule = Schedule::new(&config, 10);
        steps.map(|step| schedule.sampling(step))
    };
    close(&sampling(5.0, [0, 10, 25, 80]), &[0.0, 0.05, 0.125, 0.25]);
    close(&sampling(0.0, [0, 1, 2, 3]), &[0.25; 4]);
    let never = Schedule::new(&TrainConfig::default(), 10);
    close(&[never.sampling(50)], &[0.0]);
}
