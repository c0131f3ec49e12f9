//! CUDA where candle does not do: opening NVIDIA's libraries and a card, VGG16's convolutions on cuDNN, copies beside
//! the computation. Compiled into builds with the feature `cuda`, the convolutions with `cudnn`.

#[cfg(feature = "cudnn")]
mod convolutions;
#[cfg(feature = "cudnn")]
mod cudnn;
mod download;
mod libraries;
mod open;
mod upload;

use candle_core::cuda_backend::CudaDevice;
use candle_core::{DType, Device, Result, Tensor};

#[cfg(feature = "cudnn")]
pub(crate) use convolutions::Convolutions;
#[cfg(feature = "cudnn")]
pub use cudnn::choices as cudnn_choices;
pub(crate) use download::Download;
pub(crate) use open::open;
pub(crate) use upload::upload;

/// The card that an f32 tensor is on: what `nic-kernels` are for.
pub(crate) fn card(tensor: &Tensor) -> Option<&CudaDevice> {
    match tensor.device() {
        Device::Cuda(device) if tensor.dtype() == DType::F32 => Some(device),
        _ => None,
    }
}

/// The sums of the columns of `x [N, W]`: `[W]`. As a product, which reads rows where candle's sum reads columns.
pub(crate) fn sum_rows(x: &Tensor) -> Result<Tensor> {
    let ones = Tensor::ones((1, x.dim(0)?), x.dtype(), x.device())?;
    ones.matmul(x)?.squeeze(0)
}
