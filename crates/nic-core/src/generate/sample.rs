//! Words drawn at random.

use candle_core::{Device, Tensor};
use candle_transformers::generation::{LogitsProcessor, Sampling};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Generate, Hypothesis, at_least_one, roll_out};
use crate::{Decoder, Error, Result};

/// Words drawn at random.
#[derive(Clone, Debug)]
pub struct Sample {
    /// How many sentences an image.
    pub count: usize,
    /// Divides the logits; 0 takes the likeliest word.
    pub temperature: f64,
    /// Only the k likeliest words.
    pub top_k: Option<usize>,
    /// Only the likeliest words that together reach this probability.
    pub top_p: Option<f64>,
    /// The same seed gives the same sentences; each image and each of its sentences has a generator of its own.
    pub seed: u64,
    /// At most so many words.
    pub max_len: usize,
}

impl Sample {
    fn sampling(&self) -> Result<Sampling> {
        // below this, candle takes the likeliest word too
        const COLDEST: f64 = 1e-7;
        let temperature = self.temperature;
        if !(temperature >= 0.0 && temperature.is_finite()) {
            return Err(Error::Usage(format!(
                "the temperature is {temperature}, expected at least 0"
            )));
        }
        if let Some(p) = self.top_p.filter(|p| !(*p > 0.0 && *p <= 1.0)) {
            return Err(Error::Usage(format!("top-p is {p}, expected above 0 and at most 1")));
        }
        if let Some(k) = self.top_k {
            at_least_one("top-k", k)?;
        }
        if temperature < COLDEST {
            return Ok(Sampling::ArgMax);
        }
        Ok(match (self.top_k, self.top_p) {
            (None, None) => Sampling::All { temperature },
            (Some(k), None) => Sampling::TopK { k, temperature },
            (None, Some(p)) => Sampling::TopP { p, temperature },
            (Some(k), Some(p)) => Sampling::TopKThenTopP { k, p, temperature },
        })
    }
}

impl Generate for Sample {
    fn generate(&self, decoder: &Decoder, features: &Tensor) -> Result<Vec<Vec<Hypothesis>>> {
        at_least_one("the number of sentences", self.count)?;
        let sampling = self.sampling()?;
        let (images, _) = features.dims2()?;
        let mut processors: Vec<LogitsProcessor> = (0..images * self.count)
            .map(|sentence| {
                let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
                rng.set_stream(sentence as u64);
                LogitsProcessor::from_sampling(rng.next_u64(), sampling.clone())
            })
            .collect();
        let hypotheses =
            roll_out(decoder, features, self.count, self.max_len, |sentence, logits| {
                let logits = Tensor::from_slice(logits, logits.len(), &Device::Cpu)?;
                Ok(processors[sentence].sample(&logits)?)
            })?;
        Ok(hypotheses
            .chunks(self.count)
            .map(|image| {
                let mut image = image.to_vec();
                image.sort_by(|a, b| b.log_prob.total_cmp(&a.log_prob));
                image
            })
            .collect())
    }
}
