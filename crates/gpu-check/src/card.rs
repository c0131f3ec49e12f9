//! The card itself.

use candle_core::Device;
use serde_json::{Value, json};

use crate::error::Result;

/// Its name and the versions of what it runs with.
#[cfg(feature = "cuda")]
pub(crate) fn describe(device: &Device, name: String) -> Result<Value> {
    use candle_core::Error;
    use candle_core::cuda_backend::cudarc::driver::sys;

    let Device::Cuda(cuda) = device else { return Ok(json!({ "device": name })) };
    let stream = cuda.cuda_stream();
    let context = stream.context();
    let (major, minor) = context.compute_capability().map_err(Error::wrap)?;
    let mut driver = 0;
    // SAFETY: the call only writes `driver`.
    unsafe { sys::cuDriverGetVersion(&mut driver) }.result().map_err(Error::wrap)?;
    let version = |number: i64| format!("{}.{}", number / 1000, number % 1000 / 10);
    #[cfg(feature = "cudnn")]
    let cudnn = Some(candle_core::cuda_backend::cudarc::cudnn::result::get_version());
    #[cfg(not(feature = "cudnn"))]
    let cudnn = None::<usize>;
    Ok(json!({
        "device": name,
        "compute_capability": format!("{major}.{minor}"),
        "bytes": context.total_mem().map_err(Error::wrap)?,
        "driver_cuda": version(driver.into()),
        "build_cuda": version(sys::CUDA_VERSION.into()),
        "cudnn": cudnn,
    }))
}

/// Its name: this build knows no other device than the CPU.
#[cfg(not(feature = "cuda"))]
pub(crate) fn describe(_: &Device, name: String) -> Result<Value> {
    Ok(json!({ "device": name }))
}

/// The most bytes that the pool of tensors held of the card at a time; none on the CPU.
#[cfg(feature = "cuda")]
pub(crate) fn peak_memory(device: &Device) -> Result<Option<u64>> {
    use candle_core::Error;
    use candle_core::cuda_backend::cudarc::driver::{result, sys};

    let Device::Cuda(cuda) = device else { return Ok(None) };
    let stream = cuda.cuda_stream();
    let mut bytes = 0u64;
    // SAFETY: the pool is the device's own, and the attribute is a u64.
    unsafe {
        let device = stream.context().cu_device();
        let pool = result::device::get_default_mem_pool(device).map_err(Error::wrap)?;
        let high = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH;
        result::mem_pool::get_attribute(pool, high, (&raw mut bytes).cast())
            .map_err(Error::wrap)?;
    }
    Ok(Some(bytes))
}

/// None: this build knows no other device than the CPU.
#[cfg(not(feature = "cuda"))]
pub(crate) fn peak_memory(_: &Device) -> Result<Option<u64>> {
    Ok(None)
}
