//! How far it is: a bar on a terminal, else a line a minute.

use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

/// Warnings beyond these only go to failed.jsonl.
const WARNINGS: usize = 10;
const LINE_EVERY: Duration = Duration::from_secs(60);
/// Before that, a rate says little.
const WARM_UP: Duration = Duration::from_secs(2);

/// Progress of the encoder, on stderr.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    total: usize,
    start: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    done: usize,
    failed: usize,
    /// When the last line was said; none before the forecast.
    said: Option<Instant>,
}

impl Progress {
    /// For `total` images, from now.
    pub(crate) fn new(total: usize) -> Self {
        let bar = ProgressBar::new(total as u64); // hidden where stderr is no terminal
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos} of {len} images, {msg}") {
            bar.set_style(style);
        }
        let state = Mutex::new(State { done: 0, failed: 0, said: None });
        Self { bar, total, start: Instant::now(), state }
    }

    /// `images` more are done, one way or the other.
    pub(crate) fn advance(&self, images: usize) {
        let Ok(mut state) = self.state.lock() else { return };
        state.done += images;
        let (done, total, elapsed) = (state.done, self.total, self.start.elapsed());
        let rate = done as f64 / elapsed.as_secs_f64().max(1e-9);
        let time = |images: usize| HumanDuration(Duration::from_secs_f64(images as f64 / rate));
        let pace = format!("{rate:.1} images/s, {} left", time(total - done));
        match state.said {
            None if elapsed >= WARM_UP => {
                let all = time(total);
                log(&self.bar, &format!("{total} images at about {rate:.1} images/s: about {all}"));
                state.said = Some(Instant::now());
            }
            Some(said) if said.elapsed() >= LINE_EVERY && self.bar.is_hidden() => {
                log(&self.bar, &format!("{done} of {total} images, {pace}"));
                state.said = Some(Instant::now());
            }
            _ => {}
        }
        self.bar.set_message(pace);
        self.bar.inc(images as u64);
    }

    /// A line that is not lost among the others.
    pub(crate) fn warn(&self, line: &str) {
        log(&self.bar, line);
    }

    /// An image could not be read.
    pub(crate) fn failed(&self, id: i64, reason: &str) {
        let Ok(mut state) = self.state.lock() else { return };
        state.failed += 1;
        if state.failed <= WARNINGS {
            log(&self.bar, &format!("image {id}: {reason}"));
        }
        if state.failed == WARNINGS {
            log(&self.bar, "failed.jsonl will list any further ones");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn log(bar: &ProgressBar, line: &str) {
    bar.suspend(|| say(line));
}

/// A line on stderr; a closed stderr is no reason to stop.
pub(crate) fn say(line: &str) {
    // at once, as launchers mix what several processes say
    let _ = std::io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}
