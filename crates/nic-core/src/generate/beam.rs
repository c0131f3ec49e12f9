//! The best unfinished sentences, step by step.

use candle_core::Tensor;
use rayon::prelude::*;

use super::{Generate, Hypothesis, Scores, Sentences, at_least_one};
use crate::{Decoder, Result, Vocab};

/// The best `width` unfinished sentences, step by step.
///
/// Of all sentences one word longer the best `width` stay (Vinyals et al. 2015, section 3.1.3); those that end with
/// END are finished, and the best `width` of the finished are kept. The search stops when no unfinished sentence can
/// become better than the worst of these: log probabilities only fall. Returns up to `width` sentences. Of equally
/// likely sentences the one with the likelier beginning comes first, then the one with the smaller last word id.
#[derive(Clone, Debug)]
pub struct BeamSearch {
    /// How many.
    pub width: usize,
    /// At most so many words.
    pub max_len: usize,
}

impl BeamSearch {
    /// A beam of `width`, sentences of at most 20 words.
    pub fn new(width: usize) -> Self {
        Self { width, max_len: 20 }
    }
}

impl Generate for BeamSearch {
    fn generate(&self, decoder: &Decoder, features: &Tensor) -> Result<Vec<Vec<Hypothesis>>> {
        at_least_one("the beam's width", self.width)?;
        at_least_one("max_len", self.max_len)?;
        let mut sentences = Sentences::new(decoder, features)?;
        let mut beams: Vec<Beam> = (0..features.dim(0)?).map(|row| Beam::new(row as u32)).collect();
        for _ in 0..self.max_len {
            // the unfinished sentences of all images are one batch
            let live = || beams.iter().flat_map(|beam| &beam.live);
            let parents: Vec<u32> = live().map(|sentence| sentence.row).collect();
            let words = live().map(|sentence| sentence.last()).collect();
            if parents.is_empty() {
                break;
            }
            sentences.select(parents)?;
            let scores = sentences.step(words)?;
            let mut row = 0;
            for beam in &mut beams {
                let rows = row..row + beam.live.len();
                row = rows.end;
                beam.extend(rows, &scores, self.width);
            }
        }
        Ok(beams.into_iter().map(|beam| beam.finish(self.width)).collect())
    }
}

/// One image's search.
struct Beam {
    /// The best first.
    live: Vec<Unfinished>,
    /// The best first.
    finished: Vec<Hypothesis>,
}

struct Unfinished {
    sentence: Hypothesis,
    /// Where its state is in the batch.
    row: u32,
}

impl Unfinished {
    fn last(&self) -> u32 {
        self.sentence.words.last().copied().unwrap_or(Vocab::START)
    }
}

impl Beam {
    fn new(row: u32) -> Self {
        let sentence = Hypothesis { words: Vec::new(), log_prob: 0.0 };
        Self { live: vec![Unfinished { sentence, row }], finished: Vec::new() }
    }

    /// A word more for each unfinished sentence; their scores are in `rows`.
    fn extend(&mut self, rows: std::ops::Range<usize>, scores: &Scores, width: usize) {
        let mut longer: Vec<(f32, usize, u32)> = rows
            .clone()
            .into_par_iter()
            .zip(&self.live)
            .flat_map_iter(|(row, parent)| {
                let log_prob = parent.sentence.log_prob;
                best_words(scores.row(row), width)
                    .into_iter()
                    .map(move |word| (log_prob + scores.log_prob(row, word), row, word))
            })
            .collect();
        // stable: equal ones stay in the order of their beginnings, then of their words
        longer.sort_by(|(a, ..), (b, ..)| b.total_cmp(a));
        longer.truncate(width);

        let mut live = Vec::new();
        for (log_prob, row, word) in longer {
            let mut words = self.live[row - rows.start].sentence.words.clone();
            if word == Vocab::END {
                let place = self.finished.partition_point(|better| better.log_prob >= log_prob);
                self.finished.insert(place, Hypothesis { words, log_prob });
            } else {
                words.push(word);
                live.push(Unfinished { sentence: Hypothesis { words, log_prob }, row: row as u32 });
            }
        }
        self.finished.truncate(width);
        if let (true, Some(worst)) = (self.finished.len() == width, self.finished.last()) {
            live.retain(|live| live.sentence.log_prob > worst.log_prob);
        }
        self.live = live;
    }

    fn finish(self, width: usize) -> Vec<Hypothesis> {
        let mut all = self.finished;
        all.extend(self.live.into_iter().map(|live| live.sentence));
        all.sort_by(|a, b| b.log_prob.total_cmp(&a.log_prob));
        all.truncate(width);
        all
    }
}

/// The `count` likeliest words that may be chosen, the likeliest first, of equals the smaller id first.
fn best_words(logits: &[f32], count: usize) -> Vec<u32> {
    let mut best: Vec<u32> = Vec::new();
    let mut least = f32::NEG_INFINITY;
    for (word, &logit) in (0..).zip(logits) {
        if logit > least {
            let place = best.partition_point(|&better| logits[better as usize] >= logit);
            best.insert(place, word);
            best.truncate(count);
            if best.len() == count {
                least = logits[best[count - 1] as usize];
            }
        }
    }
    best
}
