//! Images to the card beside its computation: through page-locked memory, on a stream of their own.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, CudaStream, DriverError, PinnedHostSlice,
};
use candle_core::cuda_backend::{CudaDevice, DeviceId};
use candle_core::op::BackpropOp;
use candle_core::{CudaStorage, Error, Result, Storage, Tensor};

thread_local! {
    /// The stream of computation is the thread's own too.
    static LANES: RefCell<HashMap<DeviceId, Lane>> = RefCell::default();
}

/// Two buffers: one is filled while the other is copied.
struct Lane {
    stream: Arc<CudaStream>,
    buffers: [Option<PinnedHostSlice<u8>>; 2],
    next: usize,
}

/// The bytes of `parts`, one after the other, as a tensor of `shape`, u8.
///
/// Returns while the copy is under way; the stream of computation waits for it.
pub(crate) fn upload(parts: &[&[u8]], shape: &[usize], device: &CudaDevice) -> Result<Tensor> {
    let length = shape.iter().product();
    if parts.iter().map(|part| part.len()).sum::<usize>() != length {
        candle_core::bail!("the bytes do not make a tensor of {shape:?}");
    }
    LANES.with(|lanes| {
        let mut lanes = lanes.borrow_mut();
        let lane = match lanes.entry(device.id()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Lane::new(device)?),
        };
        let staged = lane.send(parts, length).map_err(Error::wrap)?;
        // A slice's operations are ordered on the stream that it was made on: candle's must have one of its own. This
        // copy, from the card to the card, waits for the other.
        let slice = device.cuda_stream().clone_dtod(&staged).map_err(Error::wrap)?;
        let storage = Storage::Cuda(CudaStorage::wrap_cuda_slice(slice, device.clone()));
        Ok(Tensor::from_storage(storage, shape, BackpropOp::none(), false))
    })
}

impl Lane {
    fn new(device: &CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream();
        // SAFETY: tensors made from here on carry events again, by which the two streams wait for each other; the older
        // ones are only used on the stream of computation.
        unsafe { stream.context().enable_event_tracking() };
        let stream = stream.context().new_stream().map_err(Error::wrap)?;
        Ok(Self { stream, buffers: [None, None], next: 0 })
    }

    fn send(
        &mut self,
        parts: &[&[u8]],
        length: usize,
    ) -> std::result::Result<CudaSlice<u8>, DriverError> {
        let buffer = &mut self.buffers[self.next];
        self.next = 1 - self.next;
        let buffer = match buffer.take().filter(|buffer| buffer.len() == length) {
            Some(same) => buffer.insert(same),
            // SAFETY: all of it is written below, before it is read.
            None => buffer.insert(unsafe { self.stream.context().alloc_pinned::<u8>(length) }?),
        };
        let mut rest = buffer.as_mut_slice()?; // waits for the copy before the last
        for part in parts {
            let (place, after) = rest.split_at_mut(part.len());
            place.copy_from_slice(part);
            rest = after;
        }
        self.stream.clone_htod(&*buffer)
    }
}
