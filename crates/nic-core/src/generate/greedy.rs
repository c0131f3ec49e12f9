//! The likeliest word, step by step.

use candle_core::Tensor;

use super::{Generate, Hypothesis, roll_out};
use crate::{Decoder, Result};

/// The likeliest word, step by step; of equally likely words the one with the smallest id.
#[derive(Clone, Debug)]
pub struct Greedy {
    /// At most so many words.
    pub max_len: usize,
}

impl Generate for Greedy {
    fn generate(&self, decoder: &Decoder, features: &Tensor) -> Result<Vec<Vec<Hypothesis>>> {
        let hypotheses =
            roll_out(decoder, features, 1, self.max_len, |_, logits| Ok(likeliest(logits)))?;
        Ok(hypotheses.into_iter().map(|hypothesis| vec![hypothesis]).collect())
    }
}

fn likeliest(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (word, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = word;
        }
    }
    best as u32
}
