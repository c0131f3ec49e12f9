//! `metrics.jsonl`: a line an epoch.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use nic_core::Error;
use serde::{Deserialize, Serialize};

use crate::Result;

/// What an epoch came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Counted from 1.
    pub epoch: u64,
    /// Steps since the run began.
    pub step: u64,
    /// What was minimised: the mean negative log likelihood per word over the epoch's batches, with dropout, label
    /// smoothing and scheduled sampling. None under the objective `self_critical`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_loss: Option<f64>,
    /// What `self_critical` maximised: the mean reward of the captions drawn in the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_reward: Option<f64>,
    /// The mean negative log likelihood per word of the evaluation split, without dropout.
    pub val_loss: f64,
    /// e to the power of `val_loss`.
    pub val_perplexity: f64,
    /// CIDEr-D of the evaluation split's captions, where it tells the best epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub val_cider_d: Option<f64>,
    /// Of the epoch's last step.
    pub learning_rate: f64,
    /// Words trained on, drawn ones where the decoder draws them, END included, a second of training in this process.
    pub tokens_per_second: f64,
    /// Training and evaluation in this process, of this epoch.
    pub seconds: f64,
}

/// What [`cut`] needs of a row (a perplexity that is not finite is written as null).
#[derive(Deserialize)]
struct Position {
    epoch: u64,
}

/// Appends a whole line.
pub fn append(path: &Path, row: &Row) -> Result<()> {
    let mut line = serde_json::to_string(row).map_err(Error::json(path))?;
    line.push('\n');
    let mut file =
        OpenOptions::new().create(true).append(true).open(path).map_err(Error::io(path))?;
    file.write_all(line.as_bytes()).and_then(|()| file.sync_data()).map_err(Error::io(path))?;
    Ok(())
}

/// Cuts off the rows after `epoch`: they will be written again, the same. (Not those after a step: a run that was
/// killed between an epoch's row and the end of its last save has the row's step behind it, but not the epoch.)
pub fn cut(path: &Path, epoch: u64) -> Result<()> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io(path)(error).into()),
    };
    let kept: usize = text
        .split_inclusive('\n')
        .take_while(|line| {
            // a line that was cut off in the middle does not parse
            line.ends_with('\n')
                && serde_json::from_str::<Position>(line).is_ok_and(|row| row.epoch <= epoch)
        })
        .map(str::len)
        .sum();
    if kept < text.len() {
        let file = OpenOptions::new().write(true).open(path).map_err(Error::io(path))?;
        set_len(&file, kept as u64).map_err(Error::io(path))?;
    }
    Ok(())
}

fn set_len(file: &File, len: u64) -> std::io::Result<()> {
    file.set_len(len)?;
    file.sync_all()
}
