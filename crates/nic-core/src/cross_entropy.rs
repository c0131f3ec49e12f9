//! The output layer with its loss: logits are only ever seen here.

use candle_core::{D, DType, Device, Result, Tensor};
use pulp::Arch;
use rayon::prelude::*;

use crate::activation::{exponentiate, sum};
use crate::autograd::{Output, is_cpu_f32, with_backward, with_slices};
use crate::linear::linear;
use crate::matmul::{Matrix, add_product, set_product, sum_rows};

/// Rows whose logits exist at a time: enough for products at full speed, few enough for the caches.
const BLOCK: usize = 256;

/// The mean over the rows of the cross entropy of softmax(hidden weight^T + bias) and the target, a share `smoothing`
/// of which is spread over all V words: `hidden [N, H]`, `weight [V, H]`, `bias [V]`, `targets [N]` below V. PyTorch's
/// `F.cross_entropy(F.linear(hidden, weight, bias), targets, label_smoothing=smoothing)`. With `shares [N]`, instead of
/// the mean the rows' sum, each times its share: `(F.cross_entropy(..., reduction="none") * shares).sum()`.
///
/// Where gradients will be wanted they are computed at once, while a block's logits are at hand.
pub(crate) fn cross_entropy(
    hidden: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    targets: &Tensor,
    smoothing: f32,
    shares: Option<&[f32]>,
) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if let Some(device) = crate::cuda::card(hidden) {
        return on_card(hidden, weight, bias, targets, smoothing, shares, device);
    }
    if !is_cpu_f32(hidden) {
        return by_tensors(hidden, weight, bias, targets, smoothing, shares);
    }
    let targets = targets.to_dtype(DType::U32)?.to_vec1::<u32>()?;
    let wanted = [hidden, weight, bias].iter().any(|tensor| tensor.track_op());
    let (loss, gradients) = with_slices([hidden, weight, bias], |[hidden, weight, bias]| {
        Ok(blocks(hidden, weight, bias, &targets, smoothing, shares, wanted))
    })?;
    let Some([dhidden, dweight, dbias]) = gradients else {
        return Tensor::new(loss, &Device::Cpu);
    };
    let loss = Output::Values(vec![loss], ().into());
    let gradients = [
        Tensor::from_vec(dhidden, hidden.shape(), &Device::Cpu)?,
        Tensor::from_vec(dweight, weight.shape(), &Device::Cpu)?,
        Tensor::from_vec(dbias, bias.shape(), &Device::Cpu)?,
    ];
    with_backward("cross-entropy", &[hidden, weight, bias], loss, move |gradient| {
        let scale = f64::from(gradient.to_scalar::<f32>()?);
        let scaled = |tensor: &Tensor| match scale {
            1.0 => Ok(tensor.clone()),
            scale => tensor * scale,
        };
        gradients.iter().map(|gradient| scaled(gradient).map(Some)).collect()
    })
}

/// [`cross_entropy`] by a kernel that puts the logits' gradients in their place.
#[cfg(feature = "cuda")]
fn on_card(
    hidden: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    targets: &Tensor,
    smoothing: f32,
    shares: Option<&[f32]>,
    device: &candle_core::cuda_backend::CudaDevice,
) -> Result<Tensor> {
    use nic_kernels::{CrossEntropy, address, empty, launch};

    let wanted = [hidden, weight, bias].iter().any(|tensor| tensor.track_op());
    let (rows, words) = (hidden.dim(0)?, bias.dim(0)?);
    let (x, w, b) = (hidden.detach(), weight.detach(), bias.detach().contiguous()?);
    let targets = targets.to_dtype(DType::U32)?;
    let shares = match shares {
        Some(shares) => Some(Tensor::from_slice(shares, rows, hidden.device())?),
        None => None,
    };
    if targets.dims() != [rows] {
        candle_core::bail!("targets {:?} for {rows} words", targets.dims());
    }
    let logits = x.matmul(&w.t()?)?;
    let losses = empty(rows, DType::F32, device)?;
    let kernel = CrossEntropy {
        logits: address(&logits, DType::F32)?,
        bias: address(&b, DType::F32)?,
        targets: address(&targets, DType::U32)?,
        shares: shares.as_ref().map_or(Ok(0), |shares| address(shares, DType::F32))?,
        losses: address(&losses, DType::F32)?,
        rows: rows as u32,
        words: words as u32,
        backward: wanted.into(),
        share: 1.0 / rows as f32,
        smoothing,
    };
    // SAFETY: the tensors are of these shapes, `logits` and `losses` nobody else's.
    unsafe { launch(kernel, device) }?;
    let loss = losses.sum_all()?;
    if !wanted {
        return Ok(loss);
    }
    let dlogits = logits;
    with_backward("cross-entropy", &[hidden, weight, bias], Output::Tensor(loss), move |gradient| {
        // to what is small, not to [N, V] or [V, H]
        let scale = |tensor: Tensor| tensor.broadcast_mul(gradient);
        Ok(vec![
            Some(scale(dlogits.matmul(&w)?)?),
            Some(dlogits.t()?.matmul(&scale(x.clone())?)?),
            Some(scale(crate::cuda::sum_rows(&dlogits)?)?),
        ])
    })
}

/// [`cross_entropy`] wherever the tensors are.
fn by_tensors(
    hidden: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    targets: &Tensor,
    smoothing: f32,
    shares: Option<&[f32]>,
) -> Result<Tensor> {
    let log_probs = candle_nn::ops::log_softmax(&linear(hidden, weight, bias)?, D::Minus1)?;
    let right = log_probs.gather(&targets.unsqueeze(1)?, 1)?.squeeze(1)?;
    let smoothing = f64::from(smoothing);
    let expected = ((right * (1.0 - smoothing))? + (log_probs.mean(D::Minus1)? * smoothing)?)?;
    match shares {
        None => expected.mean_all()?.neg(),
        Some(shares) => {
            let shares = Tensor::from_slice(shares, shares.len(), hidden.device())?;
            (expected * shares.to_dtype(hidden.dtype())?)?.sum_all()?.neg()
        }
    }
}

/// The loss and, where `wanted`, its gradients by hidden, weight and bias.
fn blocks(
    hidden: &[f32],
    weight: &[f32],
    bias: &[f32],
    targets: &[u32],
    smoothing: f32,
    shares: Option<&[f32]>,
    wanted: bool,
) -> (f32, Option<[Vec<f32>; 3]>) {
    let (rows, words) = (targets.len(), bias.len());
    let width = weight.len() / words;
    let weight = Matrix::new(weight, width);
    let softmax = Softmax { bias, right: 1.0 - smoothing, even: smoothing / words as f32 };
    let share = |row: usize| shares.map_or(1.0 / rows as f64, |shares| f64::from(shares[row]));
    let arch = Arch::new();
    let mut logits = vec![0.0; rows.min(BLOCK) * words];
    let mut gradients =
        wanted.then(|| [vec![0.0; hidden.len()], vec![0.0; words * width], vec![0.0; words]]);
    let mut loss = 0.0;
    for (block, targets) in targets.chunks(BLOCK).enumerate() {
        let here = block * BLOCK * width..(block * BLOCK + targets.len()) * width;
        let hidden = Matrix::new(&hidden[here.clone()], width);
        let logits = &mut logits[..targets.len() * words];
        set_product(logits, hidden, weight.t());
        let losses: Vec<f64> = logits
            .par_chunks_mut(words)
            .zip(targets)
            .enumerate()
            .map(|(at, (row, &target))| {
                let share = share(block * BLOCK + at);
                let loss = arch.dispatch(|| softmax.row(row, target as usize, share as f32));
                share * f64::from(loss)
            })
            .collect();
        loss += losses.iter().sum::<f64>();
        if let Some([dhidden, dweight, dbias]) = &mut gradients {
            let dlogits = Matrix::new(logits, words);
            set_product(&mut dhidden[here], dlogits, weight);
            add_product(dweight, dlogits.t(), hidden);
            for (total, sum) in dbias.iter_mut().zip(sum_rows(logits, words)) {
                *total += sum;
            }
        }
    }
    (loss as f32, gradients)
}

/// What is the same for all rows.
struct Softmax<'a> {
    bias: &'a [f32],
    /// The target's own probability.
    right: f32,
    /// Every word's.
    even: f32,
}

impl Softmax<'_> {
    /// The loss of a row of logits that lack the bias; the row becomes its gradient, times `share`.
    #[inline(always)]
    fn row(&self, row: &mut [f32], target: usize, share: f32) -> f32 {
        for (logit, bias) in row.iter_mut().zip(self.bias) {
            *logit += bias;
        }
        let mut expected = self.right * row[target];
        if self.even > 0.0 {
            expected += self.even * sum(row);
        }
        let (largest, total) = exponentiate(row);
        let (scale, even) = (share / total, share * self.even);
        for value in row.iter_mut() {
            *value = *value * scale - even;
        }
        row[target] -= share * self.right;
        largest + total.ln() - expected
    }
}
