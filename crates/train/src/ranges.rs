//! What the numbers of a configuration may be.

use std::path::Path;

use nic_data::Split;

use crate::config::{Baseline, Config, Metric, Objective};
use crate::{Error, Result};

/// Whether each number is in its range and fits the others; `path` is for the error.
pub(crate) fn check(config: &Config, path: &Path) -> Result<()> {
    let require = |ok: bool, key: &str, found: &dyn std::fmt::Display, expected: &str| {
        if ok {
            return Ok(());
        }
        Err(Error::from(nic_core::Error::Mismatch {
            place: path.display().to_string(),
            what: key.into(),
            found: found.to_string(),
            expected: expected.into(),
        }))
    };
    let Config { data, model, train, eval, output } = config;
    let finite = |x: f64| x.is_finite();
    let size = 1..=65_536;

    require(data.min_count >= 1, "data.min_count", &data.min_count, "at least 1")?;
    require((1..=1000).contains(&data.max_len), "data.max_len", &data.max_len, "1 to 1000")?;
    require(size.contains(&model.embed_dim), "model.embed_dim", &model.embed_dim, "1 to 65536")?;
    require(size.contains(&model.hidden_dim), "model.hidden_dim", &model.hidden_dim, "1 to 65536")?;
    require(
        (1..=64).contains(&model.num_layers),
        "model.num_layers",
        &model.num_layers,
        "1 to 64",
    )?;
    require(
        !model.tie_embeddings || model.embed_dim == model.hidden_dim,
        "model.tie_embeddings",
        &format_args!("true, embed_dim {} and hidden_dim {}", model.embed_dim, model.hidden_dim),
        "equal dimensions, for the output layer to use the embedding's weight",
    )?;
    let shares = [
        ("model.dropout", Some(model.dropout)),
        ("model.dropout_input", model.dropout_input),
        ("model.dropout_layers", model.dropout_layers),
        ("model.dropout_output", model.dropout_output),
        ("train.label_smoothing", Some(train.label_smoothing)),
    ];
    for (key, share) in shares {
        let share = share.unwrap_or(0.0);
        require((0.0..1.0).contains(&share), key, &share, "at least 0 and below 1")?;
    }
    require(size.contains(&train.batch_size), "train.batch_size", &train.batch_size, "1 to 65536")?;
    require(
        (1..=train.batch_size).contains(&train.accumulate),
        "train.accumulate",
        &train.accumulate,
        "1 to train.batch_size",
    )?;
    require(
        (0.0..=1.0).contains(&train.scheduled_sampling),
        "train.scheduled_sampling",
        &train.scheduled_sampling,
        "0 to 1",
    )?;
    require(
        finite(train.sampling_epochs) && train.sampling_epochs >= 0.0,
        "train.sampling_epochs",
        &train.sampling_epochs,
        "a number, at least 0",
    )?;
    require(train.epochs >= 1, "train.epochs", &train.epochs, "at least 1")?;
    require(
        finite(train.learning_rate) && train.learning_rate > 0.0,
        "train.learning_rate",
        &train.learning_rate,
        "a number above 0",
    )?;
    require(
        train.decay_factor > 0.0 && train.decay_factor <= 1.0,
        "train.decay_factor",
        &train.decay_factor,
        "above 0 and at most 1",
    )?;
    require(
        finite(train.decay_epochs) && train.decay_epochs > 0.0,
        "train.decay_epochs",
        &train.decay_epochs,
        "a number above 0",
    )?;
    require(
        train.clip_norm > 0.0,
        "train.clip_norm",
        &train.clip_norm,
        "above 0 (inf: no clipping)",
    )?;
    require(
        train.clip_value > 0.0,
        "train.clip_value",
        &train.clip_value,
        "above 0 (inf: no clipping)",
    )?;
    require(
        (0.0..1.0).contains(&train.momentum),
        "train.momentum",
        &train.momentum,
        "at least 0 and below 1",
    )?;
    for beta in train.betas {
        require(
            (0.0..1.0).contains(&beta),
            "train.betas",
            &beta,
            "two numbers, at least 0 and below 1",
        )?;
    }
    require(finite(train.eps) && train.eps > 0.0, "train.eps", &train.eps, "a number above 0")?;
    require(
        finite(train.weight_decay) && train.weight_decay >= 0.0,
        "train.weight_decay",
        &train.weight_decay,
        "a number, at least 0",
    )?;
    require(
        eval.split != Split::Train,
        "eval.split",
        &"train",
        "val or test (the training split cannot tell which epoch is best)",
    )?;
    require((1..=1000).contains(&eval.beam), "eval.beam", &eval.beam, "1 to 1000")?;
    require(
        eval.patience != Some(0),
        "eval.patience",
        &0,
        "at least 1 (left out: no end before the last epoch)",
    )?;
    require(output.save_steps >= 1, "output.save_steps", &output.save_steps, "at least 1")?;

    require((1..=1000).contains(&train.samples), "train.samples", &train.samples, "1 to 1000")?;
    if train.objective == Objective::CrossEntropy {
        return Ok(());
    }
    require(
        train.init.is_some(),
        "train.init",
        &"not set",
        "a checkpoint: self_critical improves on what cross_entropy has taught",
    )?;
    require(
        train.baseline != Baseline::Mean || train.samples > 1,
        "train.samples",
        &train.samples,
        "at least 2, for baseline = \"mean\" is that of the other samples",
    )?;
    require(
        eval.metric == Metric::CiderD,
        "eval.metric",
        &"loss",
        "cider_d: the loss rises while self_critical raises that",
    )?;
    let dropout = model.dropout();
    let unused = [
        ("model.dropout", model.dropout),
        ("model.dropout_input", dropout.input),
        ("model.dropout_layers", dropout.layers),
        ("model.dropout_output", dropout.output),
        ("train.label_smoothing", train.label_smoothing),
        ("train.scheduled_sampling", train.scheduled_sampling as f32),
    ];
    for (key, value) in unused {
        require(value == 0.0, key, &value, "0 with objective = \"self_critical\"")?;
    }
    Ok(())
}
