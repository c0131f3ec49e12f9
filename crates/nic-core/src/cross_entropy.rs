//! The output layer with its loss: logits are only ever seen here.

use candle_core::{D, DType, Device, Result, Tensor};
use pulp::Arch;
use rayon::prelude::*;

use crate::activation::exponentiate;
use crate::autograd::{is_cpu_f32, with_backward, with_slices};
use crate::linear::linear;
use crate::matmul::{Matrix, add_product, repeat_row, set_product, sum_rows};

/// The mean over the rows of -ln softmax(hidden weight^T + bias) at the target: `hidden [N, H]`, `weight [V, H]`,
/// `bias [V]`, `targets [N]` below V. PyTorch's `F.cross_entropy(F.linear(hidden, weight, bias), targets)`.
pub(crate) fn cross_entropy(
    hidden: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    targets: &Tensor,
) -> Result<Tensor> {
    if !is_cpu_f32(hidden) {
        let log_probs = candle_nn::ops::log_softmax(&linear(hidden, weight, bias)?, D::Minus1)?;
        return log_probs.gather(&targets.unsqueeze(1)?, 1)?.mean_all()?.neg();
    }
    let (words, width) = weight.dims2()?;
    let targets = targets.to_dtype(DType::U32)?.to_vec1::<u32>()?;
    let rows = targets.len();

    // what becomes e^(logit - the row's largest); their sums stand beside
    let (exps, sums, loss) = with_slices([hidden, weight, bias], |[hidden, weight, bias]| {
        let mut logits = repeat_row(rows, words, Some(bias));
        add_product(&mut logits, Matrix::new(hidden, width), Matrix::new(weight, width).t());
        let arch = Arch::new();
        let (sums, losses): (Vec<f32>, Vec<f32>) = logits
            .par_chunks_mut(words)
            .zip(&targets)
            .map(|(row, &target)| {
                let right = row[target as usize];
                let (largest, sum) = arch.dispatch(|| exponentiate(row));
                (sum, sum.ln() + largest - right)
            })
            .unzip();
        let loss: f64 = losses.iter().map(|&loss| f64::from(loss)).sum();
        Ok((logits, sums, (loss / rows as f64) as f32))
    })?;

    let (saved_hidden, saved_weight) = (hidden.clone(), weight.clone());
    let loss = Tensor::new(loss, &Device::Cpu)?;
    with_backward("cross-entropy", &[hidden, weight, bias], loss, move |gradient| {
        let share = gradient.to_scalar::<f32>()? / rows as f32;
        let mut dlogits = vec![0.0; exps.len()];
        dlogits
            .par_chunks_mut(words)
            .zip(exps.par_chunks(words))
            .zip(&sums)
            .zip(&targets)
            .for_each(|(((dlogits, exps), sum), &target)| {
                let scale = share / sum;
                for (dlogit, exp) in dlogits.iter_mut().zip(exps) {
                    *dlogit = exp * scale;
                }
                dlogits[target as usize] -= share;
            });
        with_slices([&saved_hidden, &saved_weight], |[hidden, weight]| {
            let dlogits = Matrix::new(&dlogits, words);
            let mut dhidden = vec![0.0; hidden.len()];
            set_product(&mut dhidden, dlogits, Matrix::new(weight, width));
            let mut dweight = vec![0.0; weight.len()];
            set_product(&mut dweight, dlogits.t(), Matrix::new(hidden, width));
            let dbias = sum_rows(dlogits.data(), words);
            Ok(vec![
                Some(Tensor::from_vec(dhidden, saved_hidden.shape(), &Device::Cpu)?),
                Some(Tensor::from_vec(dweight, saved_weight.shape(), &Device::Cpu)?),
                Some(Tensor::from_vec(dbias, words, &Device::Cpu)?),
            ])
        })
    })
}
