//! Scheduled sampling (Bengio et al. 2015).

use candle_core::{DType, Device, Tensor};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::activation::exp;
use crate::{Decoder, PackedCaptions, Result};

impl Decoder {
    /// The captions, each input word but START exchanged with this probability for one drawn from the decoder's own
    /// distribution after the (exchanged) words before it; the targets stay. What the decoder learns from them then
    /// looks more like what it will read when it generates.
    ///
    /// The decoder draws as it generates: without dropout. No gradient passes through the draw, as in the paper.
    ///
    /// # Errors
    /// As [`Decoder::loss`].
    pub fn scheduled_sampling(
        &self,
        features: &Tensor,
        captions: &PackedCaptions,
        probability: f64,
        rng: &mut ChaCha8Rng,
    ) -> Result<PackedCaptions> {
        let mut inputs = captions.inputs.to_vec1::<u32>()?;
        let mut state = self.start(&captions.sort(features)?)?;
        let mut start = 0;
        for pair in captions.steps.windows(2) {
            let (running, next) = (pair[0], pair[1]);
            let words =
                Tensor::from_slice(&inputs[start..start + running], running, self.device())?;
            let (logits, after) = self.step(&state, &words)?;
            start += running;

            // coins and draws come before the threads that share the work
            let draws: Vec<(usize, f64)> = (start..start + next)
                .filter_map(|at| {
                    let (coin, draw) = (rng.random::<f64>(), rng.random::<f64>());
                    (coin < probability).then_some((at, draw))
                })
                .collect();
            let logits = logits.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.to_vec2::<f32>()?;
            let drawn: Vec<(usize, u32)> = draws
                .into_par_iter()
                .map(|(at, draw)| (at, word_at(&logits[at - start], draw)))
                .collect();
            for (at, word) in drawn {
                inputs[at] = word;
            }
            let rows = Tensor::arange(0, next as u32, self.device())?;
            state = after.select(&rows)?;
        }
        let inputs = Tensor::from_vec(inputs, captions.tokens(), self.device())?;
        Ok(PackedCaptions { inputs, ..captions.clone() })
    }
}

/// The first word up to which the softmax of the logits adds up to more than `draw`, which is in [0, 1).
fn word_at(logits: &[f32], draw: f64) -> u32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let probability = |logit: &f32| f64::from(exp(logit - largest));
    let mut left = draw * logits.iter().map(probability).sum::<f64>();
    let mut last = 0;
    for (word, probability) in (0..).zip(logits.iter().map(probability)) {
        if probability > 0.0 {
            last = word;
            left -= probability;
            if left < 0.0 {
                break;
            }
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::word_at;

    #[test]
    fn words_are_drawn_in_proportion() {
        let logits = [0.2f32, 0.5, 0.0, 0.3].map(f32::ln);
        let words = [0.0, 0.19, 0.21, 0.69, 0.71, 0.999_999_999].map(|draw| word_at(&logits, draw));
        assert_eq!(words, [0, 0, 1, 1, 3, 3]);
    }
}
