//! The values of a CPU tensor as a slice, to read or to change in place.

use std::cell::Cell;

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Storage, Tensor, bail};

/// Values that one task of a parallel loop takes: fixed, so that sums do not depend on the number of threads.
pub(crate) const CHUNK: usize = 1 << 14;

/// Calls `f` with the values of a contiguous f32 tensor on the CPU.
pub(crate) fn read<T>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) => f(&values[start..end]),
        _ => bail!("expected a contiguous f32 tensor on the CPU, found {tensor:?}"),
    }
}

/// As [`read`], to change the values.
pub(crate) fn write(tensor: &Tensor, f: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<()> {
    tensor.inplace_op1(&Write(Cell::new(Some(f))))
}

struct Write<F>(Cell<Option<F>>);

impl<F: FnOnce(&mut [f32]) -> Result<()>> InplaceOp1 for Write<F> {
    fn name(&self) -> &'static str {
        "write"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        match (storage, layout.contiguous_offsets(), self.0.take()) {
            (CpuStorage::F32(values), Some((start, end)), Some(f)) => f(&mut values[start..end]),
            _ => bail!("expected a contiguous f32 tensor on the CPU"),
        }
    }
}
