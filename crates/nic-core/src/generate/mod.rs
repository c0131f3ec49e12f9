//! Sentences from feature vectors.

mod beam;
mod greedy;
mod sample;

use candle_core::{DType, Device, Tensor};
use pulp::Arch;
use rayon::prelude::*;

pub use beam::BeamSearch;
pub use greedy::Greedy;
pub use sample::Sample;

use crate::activation::log_sum_exp;
use crate::decoder::DecoderState;
use crate::{Decoder, Error, Result, Vocab};

/// A sentence and how likely the decoder finds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// Word ids without START and END.
    pub words: Vec<u32>,
    /// The sum of the words' natural log probabilities, END included; without END where the sentence was cut at
    /// `max_len`. Probabilities are the decoder's own, over its whole vocabulary.
    pub log_prob: f32,
}

/// A way to generate. `<pad>`, `<start>` and `<unk>` are never chosen; the probabilities of the other words stay what
/// they are. A sentence of `max_len` words is cut there and counts as it stands.
pub trait Generate {
    /// Sentences for features `[B, D]`: per image, the best first.
    ///
    /// # Errors
    /// A setting that makes no sense, features of another width than the decoder's, logits that are not finite.
    fn generate(&self, decoder: &Decoder, features: &Tensor) -> Result<Vec<Vec<Hypothesis>>>;
}

/// Sentences under way, a row each.
struct Sentences<'a> {
    decoder: &'a Decoder,
    state: DecoderState,
}

impl<'a> Sentences<'a> {
    /// One for each image; their next word is START's successor.
    fn new(decoder: &'a Decoder, features: &Tensor) -> Result<Self> {
        Ok(Self { decoder, state: decoder.start(features)? })
    }

    /// The rows of `parents`, in that order; a row may be there never or more than once.
    fn select(&mut self, parents: Vec<u32>) -> Result<()> {
        let rows = parents.len();
        self.state = self.state.select(&Tensor::from_vec(parents, rows, self.decoder.device())?)?;
        Ok(())
    }

    /// Appends a word to each row.
    fn step(&mut self, words: Vec<u32>) -> Result<Scores> {
        let rows = words.len();
        let words = Tensor::from_vec(words, rows, self.decoder.device())?;
        let (logits, state) = self.decoder.step(&self.state, &words)?;
        self.state = state;
        Scores::new(&logits)
    }
}

/// What the decoder thinks of every word as each row's next.
struct Scores {
    /// Those of words that are never chosen are -inf.
    logits: Vec<f32>,
    words: usize,
    /// For each row, the ln of the sum of e^logit over the whole vocabulary.
    totals: Vec<f32>,
}

impl Scores {
    fn new(logits: &Tensor) -> Result<Self> {
        let words = logits.dim(1)?;
        let logits = logits.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
        let mut logits = logits.flatten_all()?.to_vec1::<f32>()?;
        let arch = Arch::new();
        let totals: Vec<f32> = logits
            .par_chunks_mut(words)
            .map(|row| {
                let total = arch.dispatch(|| log_sum_exp(row));
                for word in [Vocab::PAD, Vocab::START, Vocab::UNK] {
                    row[word as usize] = f32::NEG_INFINITY;
                }
                total
            })
            .collect();
        if totals.iter().any(|total| !total.is_finite()) {
            return Err(Error::Usage(
                "the decoder's logits are not finite, so its weights or the features are not either".into(),
            ));
        }
        Ok(Self { logits, words, totals })
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.logits[row * self.words..(row + 1) * self.words]
    }

    fn log_prob(&self, row: usize, word: u32) -> f32 {
        self.row(row)[word as usize] - self.totals[row]
    }
}

/// Extends each image's `count` sentences word by word with what `choose` picks from the logits of sentence `n`,
/// until END or `max_len` words. Finished sentences leave the batch.
fn roll_out(
    decoder: &Decoder,
    features: &Tensor,
    count: usize,
    max_len: usize,
    mut choose: impl FnMut(usize, &[f32]) -> Result<u32>,
) -> Result<Vec<Hypothesis>> {
    at_least_one("max_len", max_len)?;
    let mut sentences = Sentences::new(decoder, features)?;
    let total = features.dim(0)? * count;
    let mut hypotheses = vec![Hypothesis { words: Vec::new(), log_prob: 0.0 }; total];
    let mut live: Vec<usize> = (0..total).collect();
    let mut parents: Vec<u32> = live.iter().map(|sentence| (sentence / count) as u32).collect();
    let mut words = vec![Vocab::START; total];
    for _ in 0..max_len {
        if live.is_empty() {
            break;
        }
        sentences.select(parents)?;
        let scores = sentences.step(words)?;
        let mut still = Vec::new();
        (parents, words) = (Vec::new(), Vec::new());
        for (row, sentence) in live.into_iter().enumerate() {
            let word = choose(sentence, scores.row(row))?;
            let hypothesis = &mut hypotheses[sentence];
            hypothesis.log_prob += scores.log_prob(row, word);
            if word != Vocab::END {
                hypothesis.words.push(word);
                still.push(sentence);
                parents.push(row as u32);
                words.push(word);
            }
        }
        live = still;
    }
    Ok(hypotheses)
}

fn at_least_one(key: &str, value: usize) -> Result<()> {
    match value {
        0 => Err(Error::Usage(format!("{key} is 0, expected at least 1"))),
        _ => Ok(()),
    }
}
