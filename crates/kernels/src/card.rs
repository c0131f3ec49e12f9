//! Launching on candle's device and stream.

use candle_core::backend::BackendDevice;
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::{CudaDevice, CudaStorageSlice};
use candle_core::op::BackpropOp;
use candle_core::{CudaStorage, DType, Error, Result, Shape, Storage, Tensor, bail};

use crate::{Kernel, THREADS};

static PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

/// Arguments as a kernel's one parameter, by value.
#[repr(transparent)]
struct Arguments<K>(K);

// SAFETY: kernels' arguments are plain numbers, laid out as in C.
unsafe impl<K: Kernel> DeviceRepr for Arguments<K> {}

/// Runs a kernel behind the work that this thread has given the card. A kernel without blocks is not run.
///
/// # Safety
/// The addresses are of arrays of at least the described lengths on this card, that live until the kernel has run
/// (tensors do: their memory is freed behind it), and those that the kernel writes are nobody else's.
///
/// # Errors
/// A build for another card; more blocks than a card takes.
pub unsafe fn launch<K: Kernel>(kernel: K, device: &CudaDevice) -> Result<()> {
    let Ok(blocks) = i32::try_from(kernel.blocks()) else {
        bail!("{}: {} blocks are too many", K::NAME, kernel.blocks());
    };
    if blocks == 0 {
        return Ok(());
    }
    let function = device.get_or_load_custom_func(K::NAME, env!("CARGO_PKG_NAME"), PTX)?;
    let (arguments, mut launch) = (Arguments(kernel), function.builder());
    launch.arg(&arguments);
    let config = LaunchConfig {
        grid_dim: (blocks as u32, 1, 1),
        block_dim: (THREADS, 1, 1),
        shared_mem_bytes: 0,
    };
    // SAFETY: as the caller says.
    unsafe { launch.launch(config) }.map_err(Error::wrap)?;
    Ok(())
}

/// Where a contiguous tensor of f32, f64 or u32, whichever is expected, begins on its card.
///
/// # Errors
/// A tensor elsewhere, one that is not contiguous, another type.
pub fn address(tensor: &Tensor, dtype: DType) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    let start = match (&*storage, layout.is_contiguous() && tensor.dtype() == dtype) {
        (Storage::Cuda(storage), true) => match &storage.slice {
            CudaStorageSlice::F32(slice) => Some(start(slice)),
            CudaStorageSlice::F64(slice) => Some(start(slice)),
            CudaStorageSlice::U32(slice) => Some(start(slice)),
            _ => None,
        },
        _ => None,
    };
    let Some(start) = start else {
        bail!("expected a contiguous tensor of {dtype:?} on a card, found {tensor:?}");
    };
    Ok(start + (layout.start_offset() * dtype.size_in_bytes()) as u64)
}

fn start<T>(slice: &CudaSlice<T>) -> u64 {
    // one stream: nothing to wait for, nothing to announce
    slice.device_ptr(slice.stream()).0
}

/// A tensor of this shape, to be written before it is read.
///
/// # Errors
/// No memory.
pub fn empty(shape: impl Into<Shape>, dtype: DType, device: &CudaDevice) -> Result<Tensor> {
    let shape = shape.into();
    // SAFETY: whatever bits are there, they are numbers.
    let storage: CudaStorage = unsafe { device.alloc_uninit(&shape, dtype)? };
    Ok(Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false))
}
