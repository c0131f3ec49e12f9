//! Gradients made harmless: scaled to a norm, cut to a range.

#[cfg(feature = "cuda")]
use candle_core::DType;
use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use pulp::Arch;
use rayon::prelude::*;

use crate::Result;
use crate::host;

/// What the optimiser does to each value of a gradient before it uses it: times `scale`, then into [-limit, limit].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip {
    /// min(1, clip_norm / norm).
    pub scale: f32,
    /// clip_value.
    pub limit: f32,
}

impl Clip {
    /// Leaves gradients as they are.
    pub const NONE: Self = Self { scale: 1.0, limit: f32::INFINITY };

    /// For gradients of this norm over all tensors: `torch.nn.utils.clip_grad_norm_`, then `clip_grad_value_`.
    pub fn new(norm: f64, clip_norm: f64, clip_value: f64) -> Self {
        let scale = if clip_norm.is_finite() { (clip_norm / (norm + 1e-6)).min(1.0) } else { 1.0 };
        Self { scale: scale as f32, limit: clip_value as f32 }
    }

    /// One value.
    #[inline]
    pub fn apply(self, value: f32) -> f32 {
        // not `clamp`, whose check of its bounds would be made for each value
        (value * self.scale).max(-self.limit).min(self.limit)
    }
}

/// Adds `more` to `sum`, variable by variable; no sum yet is 0.
pub fn add<'a>(
    sum: &mut Option<GradStore>,
    mut more: GradStore,
    vars: impl IntoIterator<Item = &'a Var>,
) -> Result<()> {
    let Some(sum) = sum else {
        *sum = Some(more);
        return Ok(());
    };
    for var in vars {
        if let Some(gradient) = more.remove(var) {
            let gradient = match sum.remove(var) {
                Some(sum) => (sum + gradient)?,
                None => gradient,
            };
            sum.insert(var, gradient);
        }
    }
    Ok(())
}

/// The Euclidean norm of tensors taken as one vector; the same bits whatever the number of threads.
pub fn norm<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<f64> {
    let tensors: Vec<&Tensor> = tensors.into_iter().collect();
    #[cfg(feature = "cuda")]
    if let Some(candle_core::Device::Cuda(card)) = tensors.first().map(|first| first.device()) {
        return Ok(squares_on_card(&tensors, card)?.sqrt());
    }
    let mut sum = 0.0;
    for tensor in tensors {
        sum += host::read(&tensor.contiguous()?, |values| Ok(sum_of_squares(values)))?;
    }
    Ok(sum.sqrt())
}

/// One kernel for each tensor, and one array to wait for.
#[cfg(feature = "cuda")]
fn squares_on_card(
    tensors: &[&Tensor],
    card: &candle_core::cuda_backend::CudaDevice,
) -> candle_core::Result<f64> {
    use nic_kernels::{SquareSum, address, empty, launch};

    let sums = empty(tensors.len() * SquareSum::SUMS, DType::F64, card)?;
    let (start, each) = (address(&sums, DType::F64)?, (SquareSum::SUMS * size_of::<f64>()) as u64);
    for (tensor, sums) in tensors.iter().zip((start..).step_by(each as usize)) {
        let tensor = tensor.contiguous()?;
        let length = tensor.elem_count() as u64;
        let kernel = SquareSum { values: address(&tensor, DType::F32)?, sums, length };
        // SAFETY: `sums` is new and has room for every tensor's.
        unsafe { launch(kernel, card) }?;
    }
    Ok(sums.to_vec1::<f64>()?.iter().sum())
}

fn sum_of_squares(values: &[f32]) -> f64 {
    let arch = Arch::new();
    // partial sums are collected in order: a parallel sum would depend on how the threads met
    let parts: Vec<f64> = values
        .par_chunks(host::CHUNK)
        .map(|chunk| arch.dispatch(|| chunk_of_squares(chunk)))
        .collect();
    parts.iter().sum()
}

#[inline(always)]
fn chunk_of_squares(values: &[f32]) -> f64 {
    // as many sums as the widest registers hold, always: the same bits on every machine
    let mut sums = [0.0; 16];
    for values in values.chunks(sums.len()) {
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum += f64::from(value) * f64::from(value);
        }
    }
    sums.iter().sum()
}
