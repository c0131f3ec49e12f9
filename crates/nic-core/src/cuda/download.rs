//! Results from the card beside its computation: through page-locked memory, each waited for alone.

use std::cell::RefCell;
use std::collections::HashMap;

use candle_core::cuda_backend::cudarc::driver::PinnedHostSlice;
use candle_core::cuda_backend::{CudaDevice, DeviceId};
use candle_core::{Device, Error, Result, Shape, Storage, Tensor, bail};

thread_local! {
    /// Buffers that no copy is under way to: making one may hold up the card.
    static IDLE: RefCell<HashMap<DeviceId, Vec<PinnedHostSlice<f32>>>> = RefCell::default();
}

/// A copy that is under way.
#[derive(Debug)]
pub(crate) struct Download {
    device: DeviceId,
    host: PinnedHostSlice<f32>,
    shape: Shape,
}

impl Download {
    /// Of a tensor in f32; behind the work that the card has been given so far.
    pub(crate) fn begin(tensor: &Tensor, device: &CudaDevice) -> Result<Self> {
        let tensor = tensor.contiguous()?;
        let (storage, layout) = tensor.storage_and_layout();
        let (Storage::Cuda(storage), Some((start, end))) = (&*storage, layout.contiguous_offsets())
        else {
            bail!("{layout:?} is not a contiguous tensor on a card");
        };
        let (stream, length) = (device.cuda_stream(), end - start);
        let idle = IDLE.with_borrow_mut(|idle| {
            let buffers = idle.entry(device.id()).or_default();
            let fits = buffers.iter().position(|buffer| buffer.len() == length)?;
            Some(buffers.swap_remove(fits))
        });
        let mut host = match idle {
            Some(buffer) => buffer,
            // SAFETY: all of it is written below, before it is read. No flag: it is read on the CPU, which
            // write-combined memory makes slow.
            None => unsafe { stream.context().alloc_pinned_with_flags(length, 0) }
                .map_err(Error::wrap)?,
        };
        let values = storage.as_cuda_slice::<f32>()?.slice(start..end);
        stream.memcpy_dtoh(&values, &mut host).map_err(Error::wrap)?;
        Ok(Self { device: device.id(), host, shape: tensor.shape().clone() })
    }

    /// Waits for this copy, and for nothing that the card was given after it.
    pub(crate) fn wait(self) -> Result<Tensor> {
        let values = self.host.as_slice().map_err(Error::wrap)?.to_vec();
        IDLE.with_borrow_mut(|idle| idle.entry(self.device).or_default().push(self.host));
        Tensor::from_vec(values, self.shape, &Device::Cpu)
    }
}
