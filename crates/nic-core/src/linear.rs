//! `nn.Linear`.

use candle_core::{Result, Tensor};

use crate::autograd::{Output, is_cpu_f32, with_backward, with_slices};
use crate::matmul::{Matrix, add_product, repeat_row, set_product, sum_rows};

/// `x [N, I]` times the transpose of `weight [O, I]`, plus `bias [O]`: `[N, O]`.
pub(crate) fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (outputs, inputs) = weight.dims2()?;
    if !is_cpu_f32(x) || x.dim(0)? == 0 {
        return x.matmul(&weight.t()?)?.broadcast_add(bias);
    }
    let rows = x.dim(0)?;
    let y = with_slices([x, weight, bias], |[x, weight, bias]| {
        let mut y = repeat_row(rows, outputs, Some(bias));
        add_product(&mut y, Matrix::new(x, inputs), Matrix::new(weight, inputs).t());
        Ok(Output::Values(y, (rows, outputs).into()))
    })?;
    let (saved_x, saved_weight) = (x.clone(), weight.clone());
    with_backward("linear", &[x, weight, bias], y, move |gradient| {
        let device = gradient.device();
        with_slices([gradient, &saved_x, &saved_weight], |[gradient, x, weight]| {
            let gradient = Matrix::new(gradient, outputs);
            let dx = if saved_x.track_op() {
                let mut dx = vec![0.0; x.len()];
                set_product(&mut dx, gradient, Matrix::new(weight, inputs));
                Some(Tensor::from_vec(dx, (rows, inputs), device)?)
            } else {
                None
            };
            let mut dw = vec![0.0; weight.len()];
            set_product(&mut dw, gradient.t(), Matrix::new(x, inputs));
            let db = sum_rows(gradient.data(), outputs);
            Ok(vec![
                dx,
                Some(Tensor::from_vec(dw, (outputs, inputs), device)?),
                Some(Tensor::from_vec(db, outputs, device)?),
            ])
        })
    })
}
