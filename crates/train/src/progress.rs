//! What the user sees while it runs: a bar on a terminal, else a line an epoch; all on stderr.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use crate::metrics::Row;

/// The bar, or none.
#[derive(Debug)]
pub(crate) struct Display {
    bar: ProgressBar,
}

impl Display {
    /// For a run of `total` steps of which `done` are behind us.
    pub(crate) fn new(total: u64, done: u64) -> Self {
        let bar = if std::io::stderr().is_terminal() {
            ProgressBar::new(total)
        } else {
            ProgressBar::hidden()
        };
        if let Ok(style) =
            ProgressStyle::with_template("{wide_bar} {pos}/{len} steps  {msg}  {eta} left")
        {
            bar.set_style(style);
        }
        bar.set_position(done);
        // without this the steps of an earlier process count as done in no time
        bar.reset_eta();
        Self { bar }
    }

    /// After a step.
    pub(crate) fn step(&self, epoch: u64, what: &str, value: f64, tokens_per_second: f64) {
        self.bar.inc(1);
        self.bar.set_message(format!(
            "epoch {epoch}  {what} {value:.3}  {tokens_per_second:.0} words/s"
        ));
    }

    /// After an epoch.
    pub(crate) fn epoch(&self, row: &Row, best: bool) {
        self.line(&format!(
            "epoch {}  step {}  {}{}val loss {:.4}  val perplexity {:.2}{}{}  lr {:.3e}  {:.0} words/s  {:.0} s",
            row.epoch,
            row.step,
            row.train_loss.map_or(String::new(), |loss| format!("train loss {loss:.4}  ")),
            row.train_reward.map_or(String::new(), |reward| format!("train reward {reward:.4}  ")),
            row.val_loss,
            row.val_perplexity,
            row.val_cider_d.map_or(String::new(), |score| format!("  val CIDEr-D {score:.4}")),
            if best { " (best)" } else { "" },
            row.learning_rate,
            row.tokens_per_second,
            row.seconds
        ));
    }

    /// A line above the bar.
    pub(crate) fn line(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
