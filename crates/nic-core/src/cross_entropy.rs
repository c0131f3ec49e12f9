//! The output layer with its loss: logits are only ever seen here.

use candle_core::{D, DType, Device, Result, Tensor};
#[cfg(feature = "cuda")]
use candle_core::{bail, cuda_backend::CudaDevice};
#[cfg(feature = "cuda")]
use nic_kernels::{address, empty, launch};
use pulp::Arch;
use rayon::prelude::*;

use crate::activation::{exponentiate, sum};
use crate::autograd::{Output, is_cpu_f32, with_backward, with_slices};
#[cfg(feature = "cuda")]
use crate::cuda;
use crate::linear::linear;
use crate::matmul::{Matrix, add_product, set_product, sum_rows};

/// Rows whose logits exist at a time: enough for products at full speed, few enough for the caches.
const BLOCK: usize = 256;

/// The cross entropy of softmax(hidden weight^T + bias) and the targets.
pub(crate) struct CrossEntropy<'a> {
    /// `[V, H]`.
    pub(crate) weight: &'a Tensor,
    /// `[V]`.
    pub(crate) bias: &'a Tensor,
    /// `[N]`, below V.
    pub(crate) targets: &'a Tensor,
    /// The share of the target's probability that is spread over all V words.
    pub(crate) smoothing: f32,
    /// `[N]`: what each row's loss counts; none for their mean.
    pub(crate) shares: Option<&'a [f32]>,
}

impl CrossEntropy<'_> {
    /// For `hidden [N, H]` PyTorch's `F.cross_entropy(F.linear(hidden, weight, bias), targets,
    /// label_smoothing=smoothing)`, a scalar; with shares `(F.cross_entropy(..., reduction="none") * shares).sum()`.
    ///
    /// Where gradients will be wanted those of the logits are computed at once, while they are at hand.
    pub(crate) fn loss(&self, hidden: &Tensor) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if let Some(card) = cuda::card(hidden) {
            return self.on_card(hidden, card);
        }
        if is_cpu_f32(hidden) { self.in_blocks(hidden) } else { self.by_tensors(hidden) }
    }

    fn is_trained(&self, hidden: &Tensor) -> bool {
        [hidden, self.weight, self.bias].iter().any(|tensor| tensor.track_op())
    }

    fn in_blocks(&self, hidden: &Tensor) -> Result<Tensor> {
        let &Self { weight, bias, smoothing, shares, .. } = self;
        let targets = self.targets.to_dtype(DType::U32)?.to_vec1::<u32>()?;
        let wanted = self.is_trained(hidden);
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

    /// By a kernel that puts the logits' gradients in their place.
    #[cfg(feature = "cuda")]
    fn on_card(&self, hidden: &Tensor, card: &CudaDevice) -> Result<Tensor> {
        let args = [hidden, self.weight, self.bias];
        let wanted = self.is_trained(hidden);
        let (rows, words) = (hidden.dim(0)?, self.bias.dim(0)?);
        let (hidden, weight) = (hidden.detach(), self.weight.detach());
        let bias = self.bias.detach().contiguous()?;
        let targets = self.targets.to_dtype(DType::U32)?;
        if targets.dims() != [rows] {
            bail!("targets {:?} for {rows} words", targets.dims());
        }
        let shares = match self.shares {
            Some(shares) => Some(Tensor::from_slice(shares, rows, hidden.device())?),
            None => None,
        };
        let logits = hidden.matmul(&weight.t()?)?;
        let losses = empty(rows, DType::F32, card)?;
        let kernel = nic_kernels::CrossEntropy {
            logits: address(&logits, DType::F32)?,
            bias: address(&bias, DType::F32)?,
            targets: address(&targets, DType::U32)?,
            shares: shares.as_ref().map_or(Ok(0), |shares| address(shares, DType::F32))?,
            losses: address(&losses, DType::F32)?,
            rows: rows as u32,
            words: words as u32,
            backward: wanted.into(),
            share: 1.0 / rows as f32,
            smoothing: self.smoothing,
        };
        // SAFETY: the tensors are of these shapes, `logits` and `losses` nobody else's.
        unsafe { launch(kernel, card) }?;
        let loss = losses.sum_all()?;
        if !wanted {
            return Ok(loss);
        }
        let dlogits = logits;
        with_backward("cross-entropy", &args, Output::Tensor(loss), move |gradient| {
            // to what is small, not to [N, V] or [V, H]
            let scale = |tensor: &Tensor| tensor.broadcast_mul(gradient);
            Ok(vec![
                Some(scale(&dlogits.matmul(&weight)?)?),
                Some(dlogits.t()?.matmul(&scale(&hidden)?)?),
                Some(scale(&cuda::sum_rows(&dlogits)?)?),
            ])
        })
    }

    /// Any device, any float type.
    fn by_tensors(&self, hidden: &Tensor) -> Result<Tensor> {
        let logits = linear(hidden, self.weight, self.bias)?;
        let log_probs = candle_nn::ops::log_softmax(&logits, D::Minus1)?;
        let right = log_probs.gather(&self.targets.unsqueeze(1)?, 1)?.squeeze(1)?;
        let smoothing = f64::from(self.smoothing);
        let expected = ((right * (1.0 - smoothing))? + (log_probs.mean(D::Minus1)? * smoothing)?)?;
        match self.shares {
            None => expected.mean_all()?.neg(),
            Some(shares) => {
                let shares = Tensor::from_slice(shares, shares.len(), hidden.device())?;
                (expected * shares.to_dtype(hidden.dtype())?)?.sum_all()?.neg()
            }
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
