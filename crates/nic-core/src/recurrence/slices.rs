//! The recurrence on the CPU, in f32: loops over slices.

use candle_core::{Device, Result, Tensor};
use pulp::Arch;
use rayon::prelude::*;

use super::{Call, Kind};
use crate::activation::{sigmoid, tanh};
use crate::autograd::{Output, with_backward, with_slices};
use crate::matmul::{Matrix, add_product, repeat_row, set_product, sum_rows};

/// What the backward pass needs of the forward pass, besides h.
struct Trace {
    /// `[N, G H]`, after their activation functions.
    gates: Vec<f32>,
    /// `[N, H]`.
    c: Vec<f32>,
}

/// A state to begin with: h and c, `[B, H]` each.
type State<'a> = Option<(&'a [f32], &'a [f32])>;

pub(super) fn sequence(call: &Call<'_>, skip: usize) -> Result<Tensor> {
    let (trace, h) = forward(call, None)?;
    let hidden = call.w_hh.dim(1)?;
    let rows = h.len() / hidden;
    let output = Output::Values(h[skip * hidden..].to_vec(), (rows - skip, hidden).into());

    let mut args = vec![call.x, call.w_ih, call.w_hh, call.bias];
    args.extend(call.first);
    let (kind, steps) = (call.kind, call.steps.to_vec());
    let (x, w_ih, w_hh) = (call.x.clone(), call.w_ih.clone(), call.w_hh.clone());
    let has_first = call.first.is_some();
    with_backward("recurrence", &args, output, move |gradient| {
        with_slices([gradient, &x, &w_ih, &w_hh], |[gradient, x, w_ih, w_hh]| {
            let (inputs, width) = (x.len() / rows, kind.gates() * hidden);
            let (dgates, dw_hh) = backward(kind, &steps, hidden, &trace, &h, w_hh, gradient);
            let d = Matrix::new(&dgates, width);
            let mut dx = vec![0.0; x.len()];
            set_product(&mut dx, d, Matrix::new(w_ih, inputs));
            let mut dw_ih = vec![0.0; w_ih.len()];
            set_product(&mut dw_ih, d.t(), Matrix::new(x, inputs));
            let mut gradients = vec![
                Some(Tensor::from_vec(dx, (rows, inputs), &Device::Cpu)?),
                Some(Tensor::from_vec(dw_ih, (width, inputs), &Device::Cpu)?),
                Some(Tensor::from_vec(dw_hh, (width, hidden), &Device::Cpu)?),
                Some(Tensor::from_vec(sum_rows(&dgates, width), width, &Device::Cpu)?),
            ];
            if has_first {
                let first = dgates[..steps[0] * width].to_vec();
                gradients.push(Some(Tensor::from_vec(first, (steps[0], width), &Device::Cpu)?));
            }
            Ok(gradients)
        })
    })
}

pub(super) fn step(call: &Call<'_>, state: Option<(&Tensor, &Tensor)>) -> Result<(Tensor, Tensor)> {
    let (trace, h) = match state {
        Some((h, c)) => with_slices([h, c], |[h, c]| forward(call, Some((h, c))))?,
        None => forward(call, None)?,
    };
    let shape = (call.steps[0], call.w_hh.dim(1)?);
    Ok((Tensor::from_vec(h, shape, &Device::Cpu)?, Tensor::from_vec(trace.c, shape, &Device::Cpu)?))
}

fn forward(call: &Call<'_>, state: State<'_>) -> Result<(Trace, Vec<f32>)> {
    let hidden = call.w_hh.dim(1)?;
    let (rows, inputs) = call.x.dims2()?;
    let width = call.kind.gates() * hidden;

    // everything that does not depend on the state, in one product
    let mut gates = with_slices([call.x, call.w_ih, call.bias], |[x, w_ih, bias]| {
        let mut gates = repeat_row(rows, width, Some(bias));
        add_product(&mut gates, Matrix::new(x, inputs), Matrix::new(w_ih, inputs).t());
        Ok(gates)
    })?;
    if let Some(first) = call.first {
        with_slices([first], |[first]| {
            gates.iter_mut().zip(first).for_each(|(gate, first)| *gate += first);
            Ok(())
        })?;
    }

    let (mut h, mut c) = (vec![0.0; rows * hidden], vec![0.0; rows * hidden]);
    with_slices([call.w_hh], |[w_hh]| {
        let w_hh = Matrix::new(w_hh, hidden).t();
        let arch = Arch::new();
        let (mut previous, mut start) = (0, 0);
        for (t, &running) in call.steps.iter().enumerate() {
            let (h_past, h) = h.split_at_mut(start * hidden);
            let (c_past, c) = c.split_at_mut(start * hidden);
            // the rows of the step before begin with the sequences that still run
            let before = if t == 0 {
                state
            } else {
                Some((&h_past[previous * hidden..], &c_past[previous * hidden..]))
            };
            let gates = &mut gates[start * width..(start + running) * width];
            if let Some((h, c_before)) = before {
                add_product(gates, Matrix::new(&h[..running * hidden], hidden), w_hh);
                c[..running * hidden].copy_from_slice(&c_before[..running * hidden]);
            }
            gates
                .par_chunks_mut(width)
                .zip(h.par_chunks_mut(hidden))
                .zip(c.par_chunks_mut(hidden))
                .for_each(|((gates, h), c)| arch.dispatch(|| step_row(call.kind, gates, c, h)));
            (previous, start) = (start, start + running);
        }
        Ok(())
    })?;
    Ok((Trace { gates, c }, h))
}

/// Gradients of the pre-activations `[N, G H]` and of `w_hh`; `gradient` is that of the last rows of h.
fn backward(
    kind: Kind,
    steps: &[usize],
    hidden: usize,
    trace: &Trace,
    h: &[f32],
    w_hh: &[f32],
    gradient: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    let width = kind.gates() * hidden;
    let arch = Arch::new();
    let mut dgates = vec![0.0; trace.gates.len()];
    // what flows from the next step into h and c; zero for the sequences that ended here
    let (mut dh, mut dc) = (vec![0.0; steps[0] * hidden], vec![0.0; steps[0] * hidden]);
    let zeros = vec![0.0; steps[0] * hidden];
    let skipped = h.len() - gradient.len();
    let mut end = h.len() / hidden;
    for (t, &running) in steps.iter().enumerate().rev() {
        let start = end - running;
        let c_before = match t {
            0 => &zeros,
            _ => &trace.c[(start - steps[t - 1]) * hidden..start * hidden],
        };
        let dgates = &mut dgates[start * width..end * width];
        dgates
            .par_chunks_mut(width)
            .zip(dh.par_chunks_mut(hidden))
            .zip(dc.par_chunks_mut(hidden))
            .enumerate()
            .for_each(|(row, ((dgates, dh), dc))| {
                let here = |width: usize| (start + row) * width..(start + row + 1) * width;
                let wanted = (start + row) * hidden;
                if wanted >= skipped {
                    let gradient = &gradient[wanted - skipped..][..hidden];
                    dh.iter_mut().zip(gradient).for_each(|(dh, gradient)| *dh += gradient);
                }
                let gates = &trace.gates[here(width)];
                let c = &trace.c[here(hidden)];
                let c_before = &c_before[row * hidden..(row + 1) * hidden];
                arch.dispatch(|| step_row_backward(kind, gates, c_before, c, dh, dc, dgates));
            });
        if t > 0 {
            set_product(
                &mut dh[..running * hidden],
                Matrix::new(dgates, width),
                Matrix::new(w_hh, hidden),
            );
        }
        end = start;
    }

    let mut dw_hh = vec![0.0; w_hh.len()];
    let later = &dgates[steps[0] * width..];
    if !later.is_empty() {
        let mut h_before = Vec::with_capacity(h.len());
        let mut start = 0;
        for pair in steps.windows(2) {
            h_before.extend_from_slice(&h[start * hidden..(start + pair[1]) * hidden]);
            start += pair[0];
        }
        set_product(&mut dw_hh, Matrix::new(later, width).t(), Matrix::new(&h_before, hidden));
    }
    (dgates, dw_hh)
}

/// One sequence, one step: `gates` from pre-activations to gates, `c` to the next c, `h` written.
#[inline(always)]
fn step_row(kind: Kind, gates: &mut [f32], c: &mut [f32], h: &mut [f32]) {
    match kind {
        Kind::Lstm { tanh: squash } => {
            let [i, f, g, o] = quarters_mut(gates);
            let h_and_c = h.iter_mut().zip(c);
            for (((((h, c), i), f), g), o) in h_and_c.zip(i).zip(f).zip(g).zip(o) {
                (*i, *f, *g, *o) = (sigmoid(*i), sigmoid(*f), tanh(*g), sigmoid(*o));
                *c = *f * *c + *i * *g;
                *h = *o * if squash { tanh(*c) } else { *c };
            }
        }
        Kind::Relu => {
            for (h, gate) in h.iter_mut().zip(gates) {
                *gate = if *gate < 0.0 { 0.0 } else { *gate };
                *h = *gate;
            }
            c.fill(0.0);
        }
    }
}

/// The way back: `dh` is the whole gradient of h, `dc` what came from the next step and becomes what goes to the
/// step before.
#[inline(always)]
fn step_row_backward(
    kind: Kind,
    gates: &[f32],
    c_before: &[f32],
    c: &[f32],
    dh: &[f32],
    dc: &mut [f32],
    dgates: &mut [f32],
) {
    match kind {
        Kind::Lstm { tanh: squash } => {
            let hidden = c.len();
            let (i, rest) = gates.split_at(hidden);
            let (f, rest) = rest.split_at(hidden);
            let (g, o) = rest.split_at(hidden);
            let [di, df, dg, d_o] = quarters_mut(dgates);
            for j in 0..hidden {
                let (squashed, slope) = if squash {
                    let squashed = tanh(c[j]);
                    (squashed, 1.0 - squashed * squashed)
                } else {
                    (c[j], 1.0)
                };
                let dc_here = dc[j] + dh[j] * o[j] * slope;
                di[j] = dc_here * g[j] * i[j] * (1.0 - i[j]);
                df[j] = dc_here * c_before[j] * f[j] * (1.0 - f[j]);
                dg[j] = dc_here * i[j] * (1.0 - g[j] * g[j]);
                d_o[j] = dh[j] * squashed * o[j] * (1.0 - o[j]);
                dc[j] = dc_here * f[j];
            }
        }
        Kind::Relu => {
            for ((dgate, gate), dh) in dgates.iter_mut().zip(gates).zip(dh) {
                *dgate = if *gate > 0.0 { *dh } else { 0.0 };
            }
        }
    }
}

fn quarters_mut(gates: &mut [f32]) -> [&mut [f32]; 4] {
    let hidden = gates.len() / 4;
    let (i, rest) = gates.split_at_mut(hidden);
    let (f, rest) = rest.split_at_mut(hidden);
    let (g, o) = rest.split_at_mut(hidden);
    [i, f, g, o]
}
