//! Inverted dropout with masks that one seed fixes.

#[cfg(feature = "cuda")]
use candle_core::cuda_backend::CudaDevice;
use candle_core::{Device, Tensor};
use rand::RngCore;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::autograd::{Output, is_cpu_f32, with_backward, with_slices};
use crate::{Error, Result};

/// The shares of values set to zero, each in [0, 1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Of the image's and the words' embeddings.
    pub input: f32,
    /// Of what each layer hands to the one above: `nn.LSTM`'s `dropout`.
    pub layers: f32,
    /// Of the highest layer's hidden states.
    pub output: f32,
    /// The same values of a sentence at every step (Gal and Ghahramani 2016), instead of others at each.
    pub variational: bool,
}

impl Dropout {
    /// Leaves everything as it is.
    pub const NONE: Self = Self { input: 0.0, layers: 0.0, output: 0.0, variational: false };
}

/// `x [N, W]` with a share of its values zero and the others divided by the share that stays. With `steps`, the
/// packed rows of one sentence have one mask: at step t, x has rows for the first `steps[t]` sentences.
pub(crate) fn dropout(
    x: &Tensor,
    rate: f32,
    steps: Option<&[usize]>,
    rng: &mut ChaCha8Rng,
) -> Result<Tensor> {
    if !(0.0..1.0).contains(&rate) {
        return Err(Error::Usage(format!("dropout is {rate}, expected at least 0 and below 1")));
    }
    if rate == 0.0 {
        return Ok(x.clone());
    }
    #[cfg(feature = "cuda")]
    if let Some(card) = crate::cuda::card(x) {
        return Ok(on_card(x, rate, steps, rng, card)?);
    }
    let mask = match steps {
        None => mask(x.elem_count(), rate, rng),
        Some(steps) => {
            let width = x.dim(1)?;
            let mask = mask(steps.first().map_or(0, |batch| batch * width), rate, rng);
            steps.iter().flat_map(|running| &mask[..running * width]).copied().collect()
        }
    };
    if is_cpu_f32(x) {
        let shape = x.shape().clone();
        let output = Output::Values(masked(x, &mask)?, shape.clone());
        return Ok(with_backward("dropout", &[x], output, move |gradient| {
            let gradient = masked(gradient, &mask)?;
            Ok(vec![Some(Tensor::from_vec(gradient, &shape, &Device::Cpu)?)])
        })?);
    }
    let mask = Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(x.dtype())?;
    let output = Output::Tensor(x.detach().mul(&mask)?);
    Ok(with_backward("dropout", &[x], output, move |gradient| {
        Ok(vec![Some(gradient.mul(&mask)?)])
    })?)
}

fn masked(x: &Tensor, mask: &[f32]) -> candle_core::Result<Vec<f32>> {
    with_slices([x], |[x]| {
        Ok(x.par_iter().zip(mask).with_min_len(4096).map(|(x, m)| x * m).collect())
    })
}

/// [`dropout`] by a kernel that makes the same mask, once on the way there and once on the way back.
#[cfg(feature = "cuda")]
fn on_card(
    x: &Tensor,
    rate: f32,
    steps: Option<&[usize]>,
    rng: &mut ChaCha8Rng,
    card: &CudaDevice,
) -> candle_core::Result<Tensor> {
    use candle_core::{DType, Error};
    use nic_kernels::{Dropout, address, empty, launch};

    let (rows, width) = x.dims2()?;
    let first = steps.map_or(rows, |steps| steps.first().copied().unwrap_or(0));
    if steps.is_some_and(|steps| steps.iter().sum::<usize>() != rows) {
        candle_core::bail!("the steps {steps:?} are not those of {rows} rows");
    }
    let count = steps.map_or(1, <[usize]>::len) as u32;
    let steps = match steps {
        Some(steps) => {
            let steps = steps.iter().map(|&rows| rows as u32).collect();
            Some(Tensor::from_vec(steps, count as usize, x.device())?)
        }
        None => None,
    };
    let (start, seed) = (rng.get_word_pos(), rng.get_seed());
    let mut key = [0; 8];
    for (word, bytes) in key.iter_mut().zip(seed.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    let kernel = Dropout {
        x: 0,
        y: 0,
        steps: steps.as_ref().map_or(Ok(0), |steps| address(steps, DType::U32))?,
        count,
        width: width as u32,
        place: u64::try_from(start).map_err(Error::wrap)?,
        stream: rng.get_stream(),
        key,
        threshold: threshold(rate),
        keep: 1.0 / (1.0 - rate),
        rows: first as u32,
    };
    rng.set_word_pos(start + (first * width) as u128);
    let card = card.clone();
    let masked = move |x: &Tensor| {
        let _ = &steps; // lives as long as its address
        let x = x.contiguous()?;
        let y = empty(x.shape(), DType::F32, &card)?;
        let of = |tensor: &Tensor| address(tensor, DType::F32);
        // SAFETY: both are of this shape, `y` is new, and the steps have as many rows as they.
        unsafe { launch(Dropout { x: of(&x)?, y: of(&y)?, ..kernel }, &card) }?;
        candle_core::Result::Ok(y)
    };
    let output = Output::Tensor(masked(&x.detach())?);
    with_backward("dropout", &[x], output, move |gradient| Ok(vec![Some(masked(gradient)?)]))
}

/// Words of the generator below it make a zero.
fn threshold(rate: f32) -> u32 {
    (f64::from(rate) * 2f64.powi(32)) as u32
}

/// Each block of the mask starts at a place of its own in the generator's stream: however many threads share the
/// work, the mask is the same.
fn mask(len: usize, rate: f32, rng: &mut ChaCha8Rng) -> Vec<f32> {
    const BLOCK: usize = 4096;
    let (threshold, keep) = (threshold(rate), 1.0 / (1.0 - rate));
    let start = rng.get_word_pos();
    let mut mask = vec![0.0; len];
    let seeded = &*rng;
    mask.par_chunks_mut(BLOCK).enumerate().for_each(|(block, mask)| {
        let mut rng = seeded.clone();
        rng.set_word_pos(start + (block * BLOCK) as u128);
        for value in mask {
            *value = if rng.next_u32() >= threshold { keep } else { 0.0 };
        }
    });
    rng.set_word_pos(start + len as u128);
    mask
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use rand::SeedableRng;

    use super::*;

    /// Across blocks, the stream is that of one generator read from end to end.
    #[test]
    fn masks_are_one_stream() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let mut reference = rng.clone();
        let mask: Vec<f32> =
            [5, 10_000, 3].into_iter().flat_map(|len| mask(len, 0.25, &mut rng)).collect();
        let expected =
            mask.iter().map(|_| if reference.next_u32() >= 1 << 30 { 4.0 / 3.0 } else { 0.0 });
        assert!(mask.iter().copied().eq(expected));
    }

    #[test]
    fn the_mean_stays() {
        for rate in [0.1, 0.5, 0.9] {
            let mask = mask(1_000_000, rate, &mut ChaCha8Rng::seed_from_u64(4));
            let zeros = mask.iter().filter(|value| **value == 0.0).count() as f32 / 1e6;
            let mean = mask.iter().map(|value| f64::from(*value)).sum::<f64>() / 1e6;
            // deviations of the two: at most 0.0005 and 0.003
            assert!(
                (zeros - rate).abs() < 0.002 && (mean - 1.0).abs() < 0.012,
                "{rate}: {zeros} {mean}"
            );
        }
    }

    #[test]
    fn a_variational_mask_is_a_sentences_at_every_step() {
        let steps = [3, 3, 2, 1];
        let ones = Tensor::ones((9, 64), DType::F32, &Device::Cpu).unwrap();
        let drop = |steps| {
            let mut rng = ChaCha8Rng::seed_from_u64(4);
            dropout(&ones, 0.5, steps, &mut rng).unwrap().to_vec2::<f32>().unwrap()
        };
        let rows = drop(Some(steps.as_slice()));
        assert!(rows[0] != rows[1] && rows[1] != rows[2] && rows[0] != rows[2]);
        let expected = [0, 1, 2, 0, 1, 2, 0, 1, 0].map(|sentence| rows[sentence].clone());
        assert_eq!(rows, expected);
        // without, no two rows are alike
        let rows = drop(None);
        assert!((0..9).all(|a| (0..a).all(|b| rows[a] != rows[b])));
    }
}
