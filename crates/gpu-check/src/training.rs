//! `train` from end to end.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use serde_json::{Value, json};
use train::{Config, Trainer};

use crate::error::{Error, Result};

/// Words a second of the last epoch, when everything is warm.
pub(crate) fn run(config: &Path, device: &Device) -> Result<Value> {
    let config = Config::load(config, &[])?;
    let metrics = config.output.dir.join("metrics.jsonl");
    let mut trainer = Trainer::open(config, device.clone(), &|_| {})?;
    trainer.run(&AtomicBool::new(false))?;
    let text = std::fs::read_to_string(&metrics)?;
    let row: Value = text
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok())
        .ok_or_else(|| Error::Other(format!("{}: no epoch", metrics.display())))?;
    Ok(json!({
        "words_per_second": row["tokens_per_second"],
        "train_loss": row["train_loss"],
        "steps": trainer.progress().step,
    }))
}
