//! Two operations of cuDNN that candle does not have: a 3 x 3 convolution with its bias and ReLU in one kernel, and
//! max pooling, both on tensors `[B, H, W, C]`, in f32, f16 or bf16, adding up in f32.

mod descriptors;
mod session;

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::cuda_backend::CudaStorageSlice;
use candle_core::cuda_backend::cudarc::driver::{CudaStream, DevicePtr, DevicePtrMut, SyncOnDrop};
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp3, Device, Layout, Result, Shape, bail,
};

use session::{Key, Pointers, Session};

/// relu(x * w + bias): x `[B, H, W, I]`, w `[O, 3, 3, I]`, bias `[O]` to `[B, H, W, O]`, with one zero around the image.
pub(super) struct ConvBiasRelu;

/// The largest of 2 x 2: `[B, H, W, C]` to `[B, H/2, W/2, C]`.
pub(super) struct MaxPool;

impl CustomOp3 for ConvBiasRelu {
    fn name(&self) -> &'static str {
        "conv-bias-relu"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        bail!("{} is for CUDA", CustomOp3::name(self))
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        w: &CudaStorage,
        w_layout: &Layout,
        bias: &CudaStorage,
        bias_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (b, height, width, i) = x_layout.shape().dims4()?;
        let (o, kernel_height, kernel_width, inputs) = w_layout.shape().dims4()?;
        let outputs = bias_layout.shape().dims1()?;
        let layouts = [x_layout, w_layout, bias_layout];
        let dtype = x.dtype();
        if (kernel_height, kernel_width, inputs, outputs) != (3, 3, i, o)
            || !layouts.iter().all(|layout| layout.is_contiguous())
            || [w.dtype(), bias.dtype()] != [dtype, dtype]
        {
            bail!("{}: {layouts:?} do not fit", CustomOp3::name(self));
        }
        let device = x.device();
        let session = Session::of(device)?;
        let shape = Shape::from((b, height, width, o));
        // SAFETY: the convolution writes all of it.
        let mut y = unsafe { device.alloc_uninit(&shape, dtype)? };
        {
            let stream = &session.stream;
            let (x, _x) = read(x, x_layout, stream)?;
            let (w, _w) = read(w, w_layout, stream)?;
            let (bias, _bias) = read(bias, bias_layout, stream)?;
            let (y, _y) = write(&mut y, stream)?;
            let key = Key { dtype, images: [b, height, width], channels: [i, o] };
            // SAFETY: of the four tensors' shapes; what reads and writes them comes after on the same stream.
            unsafe { session.convolve(key, Pointers { x, w, bias, y }) }?;
        }
        Ok((y, shape))
    }
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max-pool-nhwc"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("{} is for CUDA", CustomOp1::name(self))
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let (b, h, w, c) = layout.shape().dims4()?;
        if !layout.is_contiguous() {
            bail!("{}: {layout:?} is not contiguous", CustomOp1::name(self));
        }
        let (device, dtype) = (x.device(), x.dtype());
        let session = Session::of(device)?;
        let shape = Shape::from((b, h / 2, w / 2, c));
        // SAFETY: the pooling writes all of it.
        let mut y = unsafe { device.alloc_uninit(&shape, dtype)? };
        {
            let (x, _x) = read(x, layout, &session.stream)?;
            let (y, _y) = write(&mut y, &session.stream)?;
            // SAFETY: of the two tensors' shapes; what reads and writes them comes after on the same stream.
            unsafe { session.pool(dtype, [b, h, w, c], x, y) }?;
        }
        Ok((y, shape))
    }
}

/// How cuDNN does this thread's convolutions on a card, a line for each shape so far: for whoever measures it. Nothing
/// on the CPU.
///
/// # Errors
/// Where cuDNN cannot be had.
pub fn choices(device: &Device) -> Result<Vec<String>> {
    match device {
        Device::Cuda(device) => Ok(Session::of(device)?.choices()),
        _ => Ok(Vec::new()),
    }
}

/// Where a tensor begins; to be read until what comes with it is dropped.
fn read<'a>(
    storage: &'a CudaStorage,
    layout: &Layout,
    stream: &'a CudaStream,
) -> Result<(u64, SyncOnDrop<'a>)> {
    let (start, guard) = match &storage.slice {
        CudaStorageSlice::F32(slice) => slice.device_ptr(stream),
        CudaStorageSlice::F16(slice) => slice.device_ptr(stream),
        CudaStorageSlice::BF16(slice) => slice.device_ptr(stream),
        _ => bail!("no convolution in {:?}", storage.dtype()),
    };
    Ok((start + (layout.start_offset() * storage.dtype().size_in_bytes()) as u64, guard))
}

/// As [`read`], of a whole storage, to be written.
fn write<'a>(
    storage: &'a mut CudaStorage,
    stream: &'a CudaStream,
) -> Result<(u64, SyncOnDrop<'a>)> {
    Ok(match &mut storage.slice {
        CudaStorageSlice::F32(slice) => slice.device_ptr_mut(stream),
        CudaStorageSlice::F16(slice) => slice.device_ptr_mut(stream),
        CudaStorageSlice::BF16(slice) => slice.device_ptr_mut(stream),
        _ => bail!("no convolution in this type"),
    })
}
