//! Inverted dropout with masks that one seed fixes.

use candle_core::Tensor;
use rand::RngCore;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::autograd::with_backward;
use crate::{Error, Result};

/// Inverted dropout on the recurrence's inputs and outputs, with masks from a seeded generator.
#[derive(Debug)]
pub struct Dropout<'a> {
    /// The share of values set to zero, in [0, 1).
    pub rate: f32,
    /// Where the masks come from.
    pub rng: &'a mut ChaCha8Rng,
}

impl Dropout<'_> {
    /// `x` with a share of its values zero and the others divided by the share that stays.
    pub(crate) fn apply(&mut self, x: &Tensor) -> Result<Tensor> {
        if !(0.0..1.0).contains(&self.rate) {
            return Err(Error::Usage(format!(
                "dropout is {}, expected at least 0 and below 1",
                self.rate
            )));
        }
        if self.rate == 0.0 {
            return Ok(x.clone());
        }
        let mask = Tensor::from_vec(self.mask(x.elem_count()), x.shape(), x.device())?
            .to_dtype(x.dtype())?;
        let output = x.detach().mul(&mask)?;
        Ok(with_backward("dropout", &[x], output, move |gradient| {
            Ok(vec![Some(gradient.mul(&mask)?)])
        })?)
    }

    /// Each block of the mask starts at a place of its own in the generator's stream: however many threads share
    /// the work, the mask is the same.
    fn mask(&mut self, len: usize) -> Vec<f32> {
        const BLOCK: usize = 4096;
        let keep = 1.0 / (1.0 - self.rate);
        let threshold = (f64::from(self.rate) * 2f64.powi(32)) as u32;
        let start = self.rng.get_word_pos();
        let rng = &*self.rng;
        let mut mask = vec![0.0; len];
        mask.par_chunks_mut(BLOCK).enumerate().for_each(|(block, mask)| {
            let mut rng = rng.clone();
            rng.set_word_pos(start + (block * BLOCK) as u128);
            for value in mask {
                *value = if rng.next_u32() >= threshold { keep } else { 0.0 };
            }
        });
        self.rng.set_word_pos(start + len as u128);
        mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    /// Across blocks, the stream is that of one generator read from end to end.
    #[test]
    fn masks_are_one_stream() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let mut reference = rng.clone();
        let mut dropout = Dropout { rate: 0.25, rng: &mut rng };
        let mask: Vec<f32> = [5, 10_000, 3].into_iter().flat_map(|len| dropout.mask(len)).collect();
        let expected =
            mask.iter().map(|_| if reference.next_u32() >= 1 << 30 { 4.0 / 3.0 } else { 0.0 });
        assert!(mask.iter().copied().eq(expected));
    }

    #[test]
    fn the_mean_stays() {
        for rate in [0.1, 0.5, 0.9] {
            let mut rng = ChaCha8Rng::seed_from_u64(4);
            let mask = Dropout { rate, rng: &mut rng }.mask(1_000_000);
            let zeros = mask.iter().filter(|value| **value == 0.0).count() as f32 / 1e6;
            let mean = mask.iter().map(|value| f64::from(*value)).sum::<f64>() / 1e6;
            // deviations of the two: at most 0.0005 and 0.003
            assert!(
                (zeros - rate).abs() < 0.002 && (mean - 1.0).abs() < 0.012,
                "{rate}: {zeros} {mean}"
            );
        }
    }
}
