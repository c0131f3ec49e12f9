//! The LSTM on a card: a product and a kernel a step, each for all running sequences, into memory made once.

use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::cublas::{CudaBlas, result::sgemm, sys::cublasOperation_t};
use candle_core::{DType, Error, Result, Tensor, bail};
use nic_kernels::{LstmBackward, LstmForward, address, empty, launch};

use super::{Call, rows_before};
use crate::autograd::{Output, with_backward};
use crate::cuda::sum_rows;

/// What the steps came to, kept for the backward pass; rows as the inputs'.
struct Trace {
    /// i, f, g, o: `[N, 4 H]`.
    gates: Tensor,
    /// `[N, H]`.
    c: Tensor,
    /// `[N, H]`.
    h: Tensor,
}

pub(super) fn sequence(
    call: &Call<'_>,
    tanh: bool,
    device: &CudaDevice,
    skip: usize,
) -> Result<Tensor> {
    let trace = forward(call, tanh, device, None)?;
    let output = trace.h.narrow(0, skip, trace.h.dim(0)? - skip)?.force_contiguous()?;
    let args = [call.x, call.w_ih, call.w_hh, call.bias];
    let (device, steps) = (device.clone(), call.steps.to_vec());
    let (x, w_ih) = (call.x.detach(), call.w_ih.detach());
    let w_hh = call.w_hh.detach().contiguous()?;
    with_backward("recurrence", &args, Output::Tensor(output), move |gradient| {
        let dh = match skip {
            0 => gradient.contiguous()?.copy()?, // sums are made in it
            _ => gradient.pad_with_zeros(0, skip, 0)?,
        };
        let dgates = backward(&trace, &steps, &w_hh, dh, tanh, &device)?;
        let dw_hh = match rows_before(&steps) {
            rows if rows.is_empty() => w_hh.zeros_like()?,
            rows => {
                let rows = Tensor::from_vec(rows, dgates.dim(0)? - steps[0], dgates.device())?;
                let later = dgates.narrow(0, steps[0], rows.dim(0)?)?;
                later.t()?.matmul(&trace.h.index_select(&rows, 0)?)?
            }
        };
        Ok(vec![
            Some(dgates.matmul(&w_ih)?),
            Some(dgates.t()?.matmul(&x)?),
            Some(dw_hh),
            Some(sum_rows(&dgates)?),
        ])
    })
}

pub(super) fn step(
    call: &Call<'_>,
    tanh: bool,
    device: &CudaDevice,
    state: Option<(&Tensor, &Tensor)>,
) -> Result<(Tensor, Tensor)> {
    let Trace { h, c, .. } = forward(call, tanh, device, state)?;
    Ok((h, c))
}

/// `steps` of a sequence; `state` is h and c `[steps[0], H]` before them.
fn forward(
    call: &Call<'_>,
    tanh: bool,
    device: &CudaDevice,
    state: Option<(&Tensor, &Tensor)>,
) -> Result<Trace> {
    let w_hh = call.w_hh.detach().contiguous()?;
    let bias = call.bias.detach().contiguous()?;
    let gates = call.x.detach().matmul(&call.w_ih.detach().t()?)?;
    let (rows, hidden) = (gates.dim(0)?, w_hh.dim(1)?);
    if call.steps.iter().sum::<usize>() != rows || !call.steps.is_sorted_by(|a, b| a >= b) {
        bail!("the steps {:?} are not those of {rows} packed rows", call.steps);
    }
    let c = empty((rows, hidden), DType::F32, device)?;
    let h = empty((rows, hidden), DType::F32, device)?;
    let state = match state {
        Some((h, c)) => Some((h.detach().contiguous()?, c.detach().contiguous()?)),
        None => None,
    };
    let mut before = match &state {
        Some((h, c)) => Some((address(h, DType::F32)?, address(c, DType::F32)?)),
        None => None,
    };
    let recurrent =
        Product { blas: &device.cublas_handle(), weight: address(&w_hh, DType::F32)?, hidden };
    let mut at = Place {
        gates: address(&gates, DType::F32)?,
        c: address(&c, DType::F32)?,
        h: address(&h, DType::F32)?,
    };
    for &running in call.steps {
        if let Some((h, _)) = before {
            // SAFETY: of the shapes given, on this card; see below.
            unsafe { recurrent.forward(running, h, at.gates) }?;
        }
        let kernel = LstmForward {
            gates: at.gates,
            bias: address(&bias, DType::F32)?,
            c_before: before.map_or(0, |(_, c)| c),
            c: at.c,
            h: at.h,
            rows: running as u32,
            hidden: hidden as u32,
            tanh: tanh.into(),
        };
        // SAFETY: `steps` add up to the tensors' rows and never rise, so the step before has all rows that are read;
        // what is written is new.
        unsafe { launch(kernel, device) }?;
        before = Some((at.h, at.c));
        at = at.after(running, hidden);
    }
    Ok(Trace { gates, c, h })
}

/// Gradients of what the gates were computed from `[N, 4 H]`; `dh [N, H]` are those of h, and nobody else's.
fn backward(
    trace: &Trace,
    steps: &[usize],
    w_hh: &Tensor,
    dh: Tensor,
    tanh: bool,
    device: &CudaDevice,
) -> Result<Tensor> {
    let (rows, hidden) = dh.dims2()?;
    let dgates = empty((rows, 4 * hidden), DType::F32, device)?;
    let dc = empty((steps[0], hidden), DType::F32, device)?;
    let recurrent =
        Product { blas: &device.cublas_handle(), weight: address(w_hh, DType::F32)?, hidden };
    let start = Place {
        gates: address(&trace.gates, DType::F32)?,
        c: address(&trace.c, DType::F32)?,
        h: address(&dh, DType::F32)?,
    };
    let places: Vec<Place> = steps
        .iter()
        .scan(start, |at, &running| {
            let next = at.after(running, hidden);
            Some(std::mem::replace(at, next))
        })
        .collect();
    let offset = address(&dgates, DType::F32)?.wrapping_sub(start.gates); // from a gate to its gradient
    for (t, (&running, at)) in steps.iter().zip(&places).enumerate().rev() {
        let going = steps.get(t + 1).copied().unwrap_or(0);
        if let Some(next) = places.get(t + 1) {
            // SAFETY: of the shapes given, on this card; see below.
            unsafe { recurrent.backward(going, next.gates.wrapping_add(offset), at.h) }?;
        }
        let kernel = LstmBackward {
            gates: at.gates,
            c: at.c,
            c_before: if t == 0 { 0 } else { places[t - 1].c },
            dh: at.h,
            dc: address(&dc, DType::F32)?,
            dgates: at.gates.wrapping_add(offset),
            rows: running as u32,
            going: going as u32,
            hidden: hidden as u32,
            tanh: tanh.into(),
        };
        // SAFETY: as in `forward`; `dc` has the rows of the first step, which no other has more than.
        unsafe { launch(kernel, device) }?;
    }
    Ok(dgates)
}

/// Where a step's rows begin.
#[derive(Clone, Copy)]
struct Place {
    gates: u64,
    c: u64,
    /// Of h, or of its gradient.
    h: u64,
}

impl Place {
    fn after(self, running: usize, hidden: usize) -> Self {
        let bytes = (running * hidden * size_of::<f32>()) as u64;
        Self { gates: self.gates + 4 * bytes, c: self.c + bytes, h: self.h + bytes }
    }
}

/// Products with `weight [4 H, H]` added to what is there, which candle's cannot do.
struct Product<'a> {
    blas: &'a CudaBlas,
    weight: u64,
    hidden: usize,
}

impl Product<'_> {
    /// gates `[rows, 4 H]` += h `[rows, H]` weight^T.
    ///
    /// # Safety
    /// As [`launch`].
    unsafe fn forward(&self, rows: usize, h: u64, gates: u64) -> Result<()> {
        let transposed = cublasOperation_t::CUBLAS_OP_T;
        // SAFETY: as the caller says.
        unsafe { self.add(transposed, [rows, 4 * self.hidden, self.hidden], h, gates) }
    }

    /// dh `[rows, H]` += dgates `[rows, 4 H]` weight.
    ///
    /// # Safety
    /// As [`launch`].
    unsafe fn backward(&self, rows: usize, dgates: u64, dh: u64) -> Result<()> {
        let straight = cublasOperation_t::CUBLAS_OP_N;
        // SAFETY: as the caller says.
        unsafe { self.add(straight, [rows, self.hidden, 4 * self.hidden], dgates, dh) }
    }

    /// y `[m, n]` += x `[m, k]` weight. cuBLAS counts by columns: to it our rows are columns, and the order of a
    /// product is the other way round.
    unsafe fn add(
        &self,
        op: cublasOperation_t,
        [m, n, k]: [usize; 3],
        x: u64,
        y: u64,
    ) -> Result<()> {
        let (one, straight) = (1.0f32, cublasOperation_t::CUBLAS_OP_N);
        // SAFETY: as the caller says.
        unsafe {
            sgemm(
                *self.blas.handle(),
                op,
                straight,
                n as i32,
                m as i32,
                k as i32,
                &one,
                self.weight as *const f32,
                self.hidden as i32,
                x as *const f32,
                k as i32,
                &one,
                y as *mut f32,
                n as i32,
            )
        }
        .map_err(Error::wrap)
    }
}
