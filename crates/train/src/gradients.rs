//! Gradients made harmless: scaled to a norm, cut to a range.

use candle_core::backprop::GradStore;
use candle_core::{D, DType, Tensor, Var};
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

    /// All values of a tensor, by tensor operations.
    pub fn apply_tensor(self, gradient: &Tensor) -> candle_core::Result<Tensor> {
        let mut gradient = gradient.clone();
        if self.scale != 1.0 {
            gradient = (gradient * f64::from(self.scale))?;
        }
        if self.limit.is_finite() {
            gradient = gradient.clamp(-self.limit, self.limit)?;
        }
        Ok(gradient)
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
    let mut sum = 0.0;
    let mut elsewhere: Option<Tensor> = None;
    for tensor in tensors {
        if tensor.device().is_cpu() && tensor.dtype() == DType::F32 {
            sum += host::read(&tensor.contiguous()?, |values| Ok(sum_of_squares(values)))?;
            continue;
        }
        // by rows first: candle adds up to one value in a single block of a card
        let squares = tensor.sqr()?.sum(D::Minus1)?.sum_all()?.to_dtype(DType::F32)?;
        elsewhere = Some(match elsewhere {
            Some(sum) => (sum + squares)?,
            None => squares,
        });
    }
    // one value to wait for, not one for each tensor
    if let Some(squares) = elsewhere {
        sum += f64::from(squares.to_scalar::<f32>()?);
    }
    Ok(sum.sqrt())
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
