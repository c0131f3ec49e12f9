//! Words drawn at random.

use candle_core::{DType, Device, Tensor};
use candle_transformers::generation::{LogitsProcessor, Sampling};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::sentences::{Rows, Sentences};
use super::{Generate, Hypothesis, Rules, in_range};
use crate::{Decoder, Error, Result, Vocab};

/// More sentences of an image than anyone counts.
const MOST_DRAWS: usize = 100_000;

/// Words drawn at random, in the order temperature, `top_k`, `top_p`.
///
/// Each image and each of its sentences has a generator of its own, seeded by `seed`, the image's feature vector and
/// the sentence's number: whichever images are beside it and however many sentences are drawn, it is the same one.
#[derive(Clone, Debug)]
pub struct Sample {
    /// How many sentences an image.
    pub count: usize,
    /// Divides the logits; 0 takes the likeliest word.
    pub temperature: f64,
    /// Only the k likeliest words.
    pub top_k: Option<usize>,
    /// Only the likeliest words that together reach this probability (Holtzman et al. 2020), among those that the rules
    /// allow and before `top_k`.
    pub top_p: Option<f64>,
    /// The same seed gives the same sentences.
    pub seed: u64,
    /// What the sentences keep to.
    pub rules: Rules,
}

impl Sample {
    /// `count` sentences an image from the decoder's own distribution.
    pub fn new(count: usize) -> Self {
        let rules = Rules::default();
        Self { count, temperature: 1.0, top_k: None, top_p: None, seed: 0, rules }
    }

    /// Logits divided by `temperature`.
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.temperature = temperature;
        self
    }

    /// Only the `k` likeliest words.
    pub fn top_k(mut self, k: usize) -> Self {
        self.top_k = Some(k);
        self
    }

    /// Only the likeliest words that together reach the probability `p`.
    pub fn top_p(mut self, p: f64) -> Self {
        self.top_p = Some(p);
        self
    }

    /// Other sentences for another `seed`.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sentences that keep to `rules`.
    pub fn rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    fn sampling(&self) -> Sampling {
        // below this, candle takes the likeliest word too
        const COLDEST: f64 = 1e-7;
        let temperature = self.temperature;
        if temperature < COLDEST {
            return Sampling::ArgMax;
        }
        match (self.top_k, self.top_p) {
            (None, None) => Sampling::All { temperature },
            (Some(k), None) => Sampling::TopK { k, temperature },
            (None, Some(p)) => Sampling::TopP { p, temperature },
            (Some(k), Some(p)) => Sampling::TopKThenTopP { k, p, temperature },
        }
    }
}

impl Generate for Sample {
    fn check(&self) -> Result<()> {
        in_range("the number of sentences", self.count, MOST_DRAWS)?;
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return Err(Error::Usage(format!(
                "the temperature is {}, expected at least 0",
                self.temperature
            )));
        }
        if let Some(p) = self.top_p.filter(|p| !(*p > 0.0 && *p <= 1.0)) {
            return Err(Error::Usage(format!("top-p is {p}, expected above 0 and at most 1")));
        }
        if self.top_k == Some(0) {
            return Err(Error::Usage("top-k is 0, expected at least 1".into()));
        }
        self.rules.check()
    }

    fn ensemble(&self, decoders: &[Decoder], features: &Tensor) -> Result<Vec<Vec<Hypothesis>>> {
        self.check()?;
        let mut sentences = Sentences::new(decoders, features, &self.rules)?;
        let features = features.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        let sampling = self.sampling();
        let mut live: Vec<Draw> = Vec::with_capacity(features.len() * self.count);
        for (image, features) in features.iter().enumerate() {
            for processor in processors(self, &sampling, features) {
                let sentence = Hypothesis { words: Vec::new(), log_prob: 0.0 };
                live.push(Draw { image, row: image, processor, sentence });
            }
        }
        let mut done: Vec<Vec<Hypothesis>> = vec![Vec::new(); features.len()];
        let mut words = vec![Vocab::START; features.len()];
        for _ in 0..self.rules.max_len {
            if live.is_empty() {
                break;
            }
            let rows = sentences.step(&words)?.into_rows()?;
            let drawn: Vec<Option<u32>> = live
                .par_iter_mut()
                .map(|draw| draw.next(&rows, &self.rules))
                .collect::<Result<_>>()?;
            let (mut parents, mut still) = (Vec::new(), Vec::new());
            words.clear();
            for (mut draw, word) in live.into_iter().zip(drawn) {
                match word {
                    None => {}
                    Some(Vocab::END) => done[draw.image].push(draw.sentence),
                    Some(word) => {
                        draw.sentence.words.push(word);
                        parents.push(draw.row as u32);
                        draw.row = still.len();
                        words.push(word);
                        still.push(draw);
                    }
                }
            }
            live = still;
            if !live.is_empty() {
                sentences.select(&parents)?; // a card cannot select no rows
            }
        }
        for cut in live {
            done[cut.image].push(cut.sentence);
        }
        for sentences in &mut done {
            sentences.sort_by(|a, b| b.log_prob.total_cmp(&a.log_prob));
        }
        Ok(done)
    }
}

/// Those of one image's sentences.
fn processors<'a>(
    sample: &Sample,
    sampling: &'a Sampling,
    features: &[f32],
) -> impl Iterator<Item = LogitsProcessor> + use<'a> {
    let mut hash = Sha256::new_with_prefix(sample.seed.to_le_bytes());
    for value in features {
        hash.update(value.to_le_bytes());
    }
    let seed: [u8; 32] = hash.finalize().into();
    (0..sample.count as u64).map(move |sentence| {
        let mut rng = ChaCha8Rng::from_seed(seed);
        rng.set_stream(sentence);
        LogitsProcessor::from_sampling(rng.next_u64(), sampling.clone())
    })
}

/// A sentence that is being drawn.
struct Draw {
    image: usize,
    /// Where it is in the batch.
    row: usize,
    processor: LogitsProcessor,
    sentence: Hypothesis,
}

impl Draw {
    /// Draws the next word and counts its log probability; none where no word may follow.
    fn next(&mut self, rows: &Rows, rules: &Rules) -> Result<Option<u32>> {
        let mut scores = rows.row(self.row).to_vec();
        for word in rules.forbidden(&self.sentence.words) {
            scores[word as usize] = f32::NEG_INFINITY;
        }
        if scores.iter().all(|score| *score == f32::NEG_INFINITY) {
            return Ok(None);
        }
        let words = scores.len();
        let word = self.processor.sample(&Tensor::from_vec(scores, words, &Device::Cpu)?)?;
        self.sentence.log_prob += rows.log_prob(self.row, word);
        Ok(Some(word))
    }
}
