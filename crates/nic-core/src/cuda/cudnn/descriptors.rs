//! What cuDNN is told of tensors and operations, each freed with its owner.

use std::ffi::c_int;

use candle_core::cuda_backend::cudarc::cudnn::{result, sys};
use candle_core::{DType, Error, Result, bail};

use sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;

/// A descriptor that frees itself.
macro_rules! descriptor {
    ($name:ident, $raw:ident, $create:ident, $destroy:ident) => {
        pub(super) struct $name(pub(super) sys::$raw);

        impl $name {
            pub(super) fn new() -> Result<Self> {
                let mut raw = std::ptr::null_mut();
                // SAFETY: the call only writes `raw`.
                unsafe { sys::$create(&mut raw) }.result().map_err(Error::wrap)?;
                Ok(Self(raw))
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: made by `new`, and never used after.
                let _ = unsafe { sys::$destroy(self.0) };
            }
        }
    };
}

descriptor!(
    TensorShape,
    cudnnTensorDescriptor_t,
    cudnnCreateTensorDescriptor,
    cudnnDestroyTensorDescriptor
);
descriptor!(
    Filter,
    cudnnFilterDescriptor_t,
    cudnnCreateFilterDescriptor,
    cudnnDestroyFilterDescriptor
);
descriptor!(
    Convolution,
    cudnnConvolutionDescriptor_t,
    cudnnCreateConvolutionDescriptor,
    cudnnDestroyConvolutionDescriptor
);
descriptor!(
    Activation,
    cudnnActivationDescriptor_t,
    cudnnCreateActivationDescriptor,
    cudnnDestroyActivationDescriptor
);
descriptor!(
    Pooling,
    cudnnPoolingDescriptor_t,
    cudnnCreatePoolingDescriptor,
    cudnnDestroyPoolingDescriptor
);

impl Activation {
    pub(super) fn relu(nan: sys::cudnnNanPropagation_t) -> Result<Self> {
        let this = Self::new()?;
        let mode = sys::cudnnActivationMode_t::CUDNN_ACTIVATION_RELU;
        // SAFETY: the descriptor is alive.
        unsafe { sys::cudnnSetActivationDescriptor(this.0, mode, nan, 0.0) }
            .result()
            .map_err(Error::wrap)?;
        Ok(this)
    }
}

impl TensorShape {
    /// Of `[B, H, W, C]`.
    pub(super) fn nhwc(dtype: DType, [b, h, w, c]: [usize; 4]) -> Result<Self> {
        let (this, dims) = (Self::new()?, [b as c_int, c as c_int, h as c_int, w as c_int]);
        // SAFETY: the descriptor is alive. Dimensions are in the order n, c, h, w whatever the format.
        unsafe {
            result::set_tensor4d_descriptor(this.0, CUDNN_TENSOR_NHWC, cudnn_type(dtype)?, dims)
        }
        .map_err(Error::wrap)?;
        Ok(this)
    }
}

pub(super) fn cudnn_type(dtype: DType) -> Result<sys::cudnnDataType_t> {
    match dtype {
        DType::F32 => Ok(sys::cudnnDataType_t::CUDNN_DATA_FLOAT),
        DType::F16 => Ok(sys::cudnnDataType_t::CUDNN_DATA_HALF),
        DType::BF16 => Ok(sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16),
        _ => bail!("no convolution in {dtype:?}"),
    }
}
