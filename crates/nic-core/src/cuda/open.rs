//! Opening a card, and what to say where that fails.

use std::fmt::Display;

use candle_core::cuda_backend::cudarc::driver::{CudaContext, DriverError, result, sys};
use candle_core::{DType, Device, Tensor};

use super::libraries;

/// What NVIDIA's names for failures mean to whoever reads them in a log.
const REASONS: [(&str, &str); 7] = [
    ("CUDA_ERROR_NO_DEVICE", "there is no CUDA device"),
    ("CUDA_ERROR_OUT_OF_MEMORY", "the device has no memory left"),
    ("CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the driver is older than this build's CUDA"),
    ("CUDA_ERROR_INVALID_PTX", "this build is for another kind of card (see CUDA_COMPUTE_CAP)"),
    (
        "CUDA_ERROR_NO_BINARY_FOR_GPU",
        "this build is for another kind of card (see CUDA_COMPUTE_CAP)",
    ),
    (
        "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
        "the driver's parts are of two versions: restart the machine",
    ),
    (
        "CUDA_ERROR_STUB_LIBRARY",
        "libcuda.so.1 is a toolkit's stub, not the driver's: take lib64/stubs out of LD_LIBRARY_PATH",
    ),
];

/// The card of this ordinal and its name; the reason where it cannot be had.
///
/// Work on one thread only: candle's stream is the thread's own, and nothing makes one wait for another's.
pub(crate) fn open(ordinal: usize) -> Result<(Device, String), String> {
    libraries::load()?;
    result::init().map_err(reason)?;
    let mut version = 0;
    // SAFETY: the call only writes `version`.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result().map_err(reason)?;
    check_version(version, sys::CUDA_VERSION as i32)?;
    let devices = CudaContext::device_count().map_err(reason)?;
    if ordinal >= devices as usize {
        return Err(match devices {
            0 => "there is no CUDA device".into(),
            _ => format!("there is no such device; the last is cuda:{}", devices - 1),
        });
    }
    let device = Device::new_cuda(ordinal).map_err(reason)?;
    let name = prepare(&device).map_err(reason)?;
    Ok((device, name))
}

/// `driver` and `build` are CUDA's versions as its headers have them: 13.0 is 13000.
fn check_version(driver: i32, build: i32) -> Result<(), String> {
    if driver >= build {
        return Ok(());
    }
    let text = |version: i32| format!("{}.{}", version / 1000, version % 1000 / 10);
    let (driver, build) = (text(driver), text(build));
    Err(format!("the driver knows CUDA up to {driver} and this build needs {build}: update it"))
}

/// Settings that candle leaves as they are, and a first kernel; the card's name.
fn prepare(device: &Device) -> candle_core::Result<String> {
    let cuda = device.as_cuda_device()?;
    let stream = cuda.cuda_stream();
    let context = stream.context();
    let wrap = |error| candle_core::Error::Cuda(Box::new(CudaError(error)));
    let mut keep = u64::MAX;
    // SAFETY: the pool is the device's own, the attribute is a u64; without events, work has to stay on one stream, which
    // `open` asks for and `upload`, which has a second one, turns off.
    unsafe {
        // Freed memory stays in the pool, where each synchronisation would give it back to the system.
        let pool = result::device::get_default_mem_pool(context.cu_device()).map_err(wrap)?;
        let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        result::mem_pool::set_attribute(pool, threshold, (&raw mut keep).cast()).map_err(wrap)?;
        // No two events for every tensor.
        cuda.disable_event_tracking();
    }
    // A build for another card, or of a newer CUDA than the driver's, is refused at its first kernel: better here.
    Tensor::zeros(1, DType::F32, device)?.affine(1.0, 1.0)?.to_vec1::<f32>()?;
    context.name().map_err(wrap)
}

/// cudarc's error, to be put into candle's.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct CudaError(DriverError);

fn reason(error: impl Display) -> String {
    let text = error.to_string();
    match REASONS.iter().find(|(name, _)| text.contains(name)) {
        Some((name, meaning)) => format!("{meaning} ({name})"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_driver_is_named() {
        assert_eq!(check_version(13000, 13000), Ok(()));
        assert_eq!(check_version(13020, 13000), Ok(()));
        let text = check_version(12090, 13000).unwrap_err();
        assert!(text.contains("12.9") && text.contains("13.0"), "{text}");
    }

    #[test]
    fn names_become_sentences() {
        let text =
            reason("DriverError(CUDA_ERROR_NO_DEVICE, \"no CUDA-capable device is detected\")");
        assert_eq!(text, "there is no CUDA device (CUDA_ERROR_NO_DEVICE)");
        assert_eq!(reason("something else"), "something else");
    }
}
