//! The recurrence by tensor operations: any device, any float type.

use candle_core::{Result, Tensor};
use candle_nn::ops::sigmoid;

use super::{Call, Kind};
use crate::autograd::{Output, with_backward};

/// One step's results, kept for the backward pass.
#[derive(Clone)]
struct Step {
    /// After their activation functions: i, f, g, o, or the RNN's only one.
    gates: Vec<Tensor>,
    c: Tensor,
    h: Tensor,
}

pub(super) fn sequence(call: &Call<'_>, skip: usize) -> Result<Tensor> {
    let trace = forward(call, None)?;
    let h: Vec<&Tensor> = trace.iter().map(|step| &step.h).collect();
    let output = Tensor::cat(&h, 0)?;
    let output = Output::Tensor(output.narrow(0, skip, output.dim(0)? - skip)?.force_contiguous()?);

    let mut args = vec![call.x, call.w_ih, call.w_hh, call.bias];
    args.extend(call.first);
    let (kind, steps, has_first) = (call.kind, call.steps.to_vec(), call.first.is_some());
    let (x, w_ih, w_hh) = (call.x.detach(), call.w_ih.detach(), call.w_hh.detach());
    with_backward("recurrence", &args, output, move |gradient| {
        let gradient = gradient.pad_with_zeros(0, skip, 0)?;
        let (dgates, dw_hh) = backward(kind, &steps, &trace, &w_hh, &gradient)?;
        let mut gradients = vec![
            Some(dgates.matmul(&w_ih)?),
            Some(dgates.t()?.matmul(&x)?),
            Some(dw_hh),
            Some(dgates.sum(0)?),
        ];
        if has_first {
            gradients.push(Some(dgates.narrow(0, 0, steps[0])?));
        }
        Ok(gradients)
    })
}

pub(super) fn step(call: &Call<'_>, state: Option<(&Tensor, &Tensor)>) -> Result<(Tensor, Tensor)> {
    let mut trace = forward(call, state)?;
    let Step { h, c, .. } = trace.swap_remove(0);
    Ok((h, c))
}

fn forward(call: &Call<'_>, state: Option<(&Tensor, &Tensor)>) -> Result<Vec<Step>> {
    let w_hh = call.w_hh.detach().t()?;
    let inputs =
        call.x.detach().matmul(&call.w_ih.detach().t()?)?.broadcast_add(&call.bias.detach())?;
    let mut trace: Vec<Step> = Vec::with_capacity(call.steps.len());
    let mut start = 0;
    for (t, &running) in call.steps.iter().enumerate() {
        let mut gates = inputs.narrow(0, start, running)?;
        if let (0, Some(first)) = (t, call.first) {
            gates = (gates + first.detach())?;
        }
        let before = match trace.last() {
            Some(step) => Some((&step.h, &step.c)),
            None => state,
        };
        let c_before = match before {
            Some((h, c)) => {
                gates = (gates + h.detach().narrow(0, 0, running)?.matmul(&w_hh)?)?;
                Some(c.detach().narrow(0, 0, running)?)
            }
            None => None,
        };
        trace.push(call.kind.forward(&gates, c_before)?);
        start += running;
    }
    Ok(trace)
}

/// Gradients of the pre-activations `[N, G H]` and of `w_hh`.
fn backward(
    kind: Kind,
    steps: &[usize],
    trace: &[Step],
    w_hh: &Tensor,
    gradient: &Tensor,
) -> Result<(Tensor, Tensor)> {
    let mut dgates = Vec::with_capacity(steps.len());
    let mut h_before = Vec::with_capacity(steps.len());
    let mut next: Option<(Tensor, Tensor)> = None;
    let mut end = gradient.dim(0)?;
    for (t, (&running, step)) in steps.iter().zip(trace).enumerate().rev() {
        let mut dh = gradient.narrow(0, end - running, running)?;
        let mut dc = step.c.zeros_like()?;
        if let Some((dh_next, dc_next)) = next {
            // nothing comes back to the sequences that ended here
            let ended = running - dh_next.dim(0)?;
            dh = (dh + dh_next.pad_with_zeros(0, 0, ended)?)?;
            dc = dc_next.pad_with_zeros(0, 0, ended)?;
        }
        let before = if t == 0 { None } else { Some(&trace[t - 1]) };
        let c_before = match before {
            Some(before) => before.c.narrow(0, 0, running)?,
            None => step.c.zeros_like()?,
        };
        let (d, dc) = kind.backward(step, &c_before, &dh, &dc)?;
        next = Some((d.matmul(w_hh)?, dc));
        if let Some(before) = before {
            h_before.push(before.h.narrow(0, 0, running)?);
        }
        dgates.push(d);
        end -= running;
    }
    dgates.reverse();
    h_before.reverse();
    let dw_hh = if h_before.is_empty() {
        w_hh.zeros_like()?
    } else {
        Tensor::cat(&dgates[1..], 0)?.t()?.matmul(&Tensor::cat(&h_before, 0)?)?
    };
    Ok((Tensor::cat(&dgates, 0)?, dw_hh))
}

impl Kind {
    fn forward(self, gates: &Tensor, c_before: Option<Tensor>) -> Result<Step> {
        match self {
            Self::Lstm { tanh } => {
                let chunks = gates.chunk(4, 1)?;
                let gates = vec![
                    sigmoid(&chunks[0])?,
                    sigmoid(&chunks[1])?,
                    chunks[2].tanh()?,
                    sigmoid(&chunks[3])?,
                ];
                let mut c = (&gates[0] * &gates[2])?;
                if let Some(before) = c_before {
                    c = (c + (&gates[1] * before)?)?;
                }
                let h = if tanh { (&gates[3] * c.tanh()?)? } else { (&gates[3] * &c)? };
                Ok(Step { gates, c, h })
            }
            Self::Relu => {
                let h = gates.relu()?;
                Ok(Step { gates: vec![h.clone()], c: h.zeros_like()?, h })
            }
        }
    }

    /// Gradients of the pre-activations and of the c before.
    fn backward(
        self,
        step: &Step,
        c_before: &Tensor,
        dh: &Tensor,
        dc: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        match (self, step.gates.as_slice()) {
            (Self::Lstm { tanh }, [i, f, g, o]) => {
                let squashed = if tanh { step.c.tanh()? } else { step.c.clone() };
                let mut dsquashed = (dh * o)?;
                if tanh {
                    dsquashed = (dsquashed * (1.0 - squashed.sqr()?)?)?;
                }
                let dc = (dc + dsquashed)?;
                let di = (((&dc * g)? * i)? * (1.0 - i)?)?;
                let df = (((&dc * c_before)? * f)? * (1.0 - f)?)?;
                let dg = ((&dc * i)? * (1.0 - g.sqr()?)?)?;
                let d_o = (((dh * squashed)? * o)? * (1.0 - o)?)?;
                Ok((Tensor::cat(&[di, df, dg, d_o], 1)?, (dc * f)?))
            }
            (_, gates) => {
                let active = gates[0].gt(0.0)?.to_dtype(dh.dtype())?;
                Ok(((dh * active)?, dc.clone()))
            }
        }
    }
}
