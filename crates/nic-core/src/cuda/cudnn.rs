//! Two operations of cuDNN that candle does not have: a 3 x 3 convolution with its bias and ReLU in one kernel, and
//! max pooling, both on tensors `[B, H, W, C]`, in f32, f16 or bf16, adding up in f32.
//!
//! A convolution's descriptors are made, and its algorithm is chosen, once for each shape.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{c_int, c_void};
use std::rc::Rc;
use std::sync::Arc;

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::cuda_backend::cudarc::cudnn::{CudnnError, result, sys};
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, CudaStream, DevicePtr, DevicePtrMut, SyncOnDrop,
};
use candle_core::cuda_backend::{CudaDevice, CudaStorageSlice, DeviceId};
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp3, DType, Error, Layout, Result, Shape, bail,
};

use sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC as NHWC;

/// Memory that an algorithm may want beside its tensors.
const MAX_WORKSPACE: usize = 1 << 30;
/// How many algorithms cuDNN has.
const ALGORITHMS: usize = 8;
/// Scaling factors are f32 for all three types.
const ONE: *const c_void = std::ptr::from_ref(&1.0f32).cast();
const ZERO: *const c_void = std::ptr::from_ref(&0.0f32).cast();

thread_local! {
    /// A handle works on the stream of its thread, as candle's do.
    static SESSIONS: RefCell<HashMap<DeviceId, Rc<Session>>> = RefCell::default();
}

/// relu(x * w + bias): x `[B, H, W, I]`, w `[O, 3, 3, I]`, bias `[O]` to `[B, H, W, O]`, with one zero around the image.
pub(super) struct ConvBiasRelu;

/// The largest of 2 x 2: `[B, H, W, C]` to `[B, H/2, W/2, C]`.
pub(super) struct MaxPool;

/// A descriptor that frees itself.
macro_rules! descriptor {
    ($name:ident, $raw:ident, $create:ident, $destroy:ident) => {
        struct $name(sys::$raw);

        impl $name {
            fn new() -> Result<Self> {
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

impl TensorShape {
    fn nhwc(dtype: DType, [b, h, w, c]: [usize; 4]) -> Result<Self> {
        let (this, dims) = (Self::new()?, [b as c_int, c as c_int, h as c_int, w as c_int]);
        // SAFETY: the descriptor is alive. Dimensions are in the order n, c, h, w whatever the format.
        unsafe { result::set_tensor4d_descriptor(this.0, NHWC, cudnn_type(dtype)?, dims) }
            .map_err(Error::wrap)?;
        Ok(this)
    }
}

/// A convolution of one shape and type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    dtype: DType,
    /// B, H, W.
    images: [usize; 3],
    /// I, O.
    channels: [usize; 2],
}

/// How a convolution of one shape is done.
struct Plan {
    x: TensorShape,
    w: Filter,
    bias: TensorShape,
    y: TensorShape,
    convolution: Convolution,
    /// None before the first call.
    chosen: Option<Choice>,
}

#[derive(Clone, Copy)]
struct Choice {
    algorithm: sys::cudnnConvolutionFwdAlgo_t,
    workspace: usize,
    /// Bias and ReLU in the convolution's kernel.
    fused: bool,
}

impl Plan {
    fn new(Key { dtype, images: [b, h, w], channels: [i, o] }: Key) -> Result<Self> {
        let (filter, convolution) = (Filter::new()?, Convolution::new()?);
        let dims = [o as c_int, i as c_int, 3, 3];
        // In f32 no TF32: its products have ten bits.
        let math = match dtype {
            DType::F32 => sys::cudnnMathType_t::CUDNN_FMA_MATH,
            _ => sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
        };
        // SAFETY: both descriptors are alive.
        unsafe {
            result::set_filter4d_descriptor(filter.0, cudnn_type(dtype)?, NHWC, dims)
                .and_then(|()| {
                    result::set_convolution2d_descriptor(
                        convolution.0,
                        1,
                        1,
                        1,
                        1,
                        1,
                        1,
                        sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION,
                        sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
                    )
                })
                .and_then(|()| result::set_convolution_math_type(convolution.0, math))
                .map_err(Error::wrap)?;
        }
        Ok(Self {
            x: TensorShape::nhwc(dtype, [b, h, w, i])?,
            w: filter,
            bias: TensorShape::nhwc(dtype, [1, 1, 1, o])?,
            y: TensorShape::nhwc(dtype, [b, h, w, o])?,
            convolution,
            chosen: None,
        })
    }
}

/// Addresses on the device.
#[derive(Clone, Copy)]
struct Pointers {
    x: u64,
    w: u64,
    bias: u64,
    y: u64,
}

/// cuDNN on a thread and a device.
struct Session {
    handle: sys::cudnnHandle_t,
    stream: Arc<CudaStream>,
    relu: Activation,
    pooling: Pooling,
    plans: RefCell<HashMap<Key, Plan>>,
    /// One for all convolutions: they run one after the other.
    workspace: RefCell<Option<CudaSlice<u8>>>,
}

impl Session {
    /// This thread's.
    fn of(device: &CudaDevice) -> Result<Rc<Self>> {
        SESSIONS.with(|sessions| {
            let mut sessions = sessions.borrow_mut();
            if let Some(session) = sessions.get(&device.id()) {
                return Ok(Rc::clone(session));
            }
            let session = Rc::new(Self::new(device)?);
            sessions.insert(device.id(), Rc::clone(&session));
            Ok(session)
        })
    }

    fn new(device: &CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream();
        stream.context().bind_to_thread().map_err(Error::wrap)?;
        let (relu, pooling) = (Activation::new()?, Pooling::new()?);
        let nan = sys::cudnnNanPropagation_t::CUDNN_PROPAGATE_NAN;
        let max = sys::cudnnPoolingMode_t::CUDNN_POOLING_MAX;
        // SAFETY: both descriptors are alive.
        unsafe {
            sys::cudnnSetActivationDescriptor(
                relu.0,
                sys::cudnnActivationMode_t::CUDNN_ACTIVATION_RELU,
                nan,
                0.0,
            )
            .result()
            .map_err(Error::wrap)?;
            sys::cudnnSetPooling2dDescriptor(pooling.0, max, nan, 2, 2, 0, 0, 2, 2)
                .result()
                .map_err(Error::wrap)?;
        }
        let session = Self {
            handle: result::create_handle().map_err(Error::wrap)?,
            stream,
            relu,
            pooling,
            plans: RefCell::default(),
            workspace: RefCell::default(),
        };
        // SAFETY: the handle is new, and the session keeps the stream.
        unsafe { result::set_stream(session.handle, session.stream.cu_stream().cast()) }
            .map_err(Error::wrap)?;
        Ok(session)
    }

    fn convolve(&self, key: Key, pointers: Pointers) -> Result<()> {
        let mut plans = self.plans.borrow_mut();
        let plan = match plans.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Plan::new(key)?),
        };
        if let Some(choice) = plan.chosen {
            return self.launch(plan, choice, pointers);
        }
        // cuDNN's own order, the fastest first by its estimate and not by the clock, so that every run takes the same.
        // What it offers may still be refused with bias and ReLU, or as it is.
        let offers = self.offers(plan)?;
        let mut refused = None;
        for fused in [true, false] {
            for &(algorithm, workspace) in &offers {
                let choice = Choice { algorithm, workspace, fused };
                match self.launch(plan, choice, pointers) {
                    Ok(()) => {
                        plan.chosen = Some(choice);
                        return Ok(());
                    }
                    Err(error) if is_refusal(&error) => refused = Some(error),
                    Err(error) => return Err(error), // no memory, say: another algorithm is no cure
                }
            }
        }
        match refused {
            Some(error) => Err(error),
            None => bail!("cuDNN has no algorithm for a convolution of {key:?}"),
        }
    }

    /// Algorithms and their workspaces.
    fn offers(&self, plan: &Plan) -> Result<Vec<(sys::cudnnConvolutionFwdAlgo_t, usize)>> {
        let mut count = 0;
        // SAFETY: the fields are numbers, enumerations that have a 0, and a size.
        let mut found: [sys::cudnnConvolutionFwdAlgoPerf_t; ALGORITHMS] =
            unsafe { std::mem::zeroed() };
        // SAFETY: all descriptors are alive, and `found` has room for as many as are asked for.
        unsafe {
            result::get_convolution_forward_algorithm(
                self.handle,
                plan.x.0,
                plan.w.0,
                plan.convolution.0,
                plan.y.0,
                ALGORITHMS as c_int,
                &mut count,
                found.as_mut_ptr(),
            )
        }
        .map_err(Error::wrap)?;
        let found = found.iter().take(count as usize);
        let fits = found.filter(|offer| {
            offer.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS
                && offer.memory <= MAX_WORKSPACE
        });
        Ok(fits.map(|offer| (offer.algo, offer.memory)).collect())
    }

    fn launch(&self, plan: &Plan, choice: Choice, at: Pointers) -> Result<()> {
        let Choice { algorithm, workspace: bytes, fused } = choice;
        let mut workspace = self.workspace.borrow_mut();
        if workspace.as_ref().is_none_or(|space| space.len() < bytes) {
            *workspace = None; // before the larger one is made
            // SAFETY: algorithms write it before they read it.
            *workspace = Some(unsafe { self.stream.alloc(bytes.max(1)) }.map_err(Error::wrap)?);
        }
        let Some(workspace) = workspace.as_mut() else { bail!("no workspace") };
        let (space, _written) = workspace.device_ptr_mut(&self.stream);
        let (handle, space) = (self.handle, space as *mut c_void);
        let [x, w, bias] = [at.x, at.w, at.bias].map(|address| address as *const c_void);
        let y = at.y as *mut c_void;
        // SAFETY: the descriptors are alive and describe what lies at the addresses, which the caller keeps.
        let done = unsafe {
            if fused {
                // z, times 0, is not read, but has to be memory of y's shape.
                sys::cudnnConvolutionBiasActivationForward(
                    handle,
                    ONE,
                    plan.x.0,
                    x,
                    plan.w.0,
                    w,
                    plan.convolution.0,
                    algorithm,
                    space,
                    bytes,
                    ZERO,
                    plan.y.0,
                    y,
                    plan.bias.0,
                    bias,
                    self.relu.0,
                    plan.y.0,
                    y,
                )
                .result()
            } else {
                sys::cudnnConvolutionForward(
                    handle,
                    ONE,
                    plan.x.0,
                    x,
                    plan.w.0,
                    w,
                    plan.convolution.0,
                    algorithm,
                    space,
                    bytes,
                    ZERO,
                    plan.y.0,
                    y,
                )
                .result()
                .and_then(|()| {
                    sys::cudnnAddTensor(handle, ONE, plan.bias.0, bias, ONE, plan.y.0, y).result()
                })
                .and_then(|()| {
                    sys::cudnnActivationForward(
                        handle,
                        self.relu.0,
                        ONE,
                        plan.y.0,
                        y,
                        ZERO,
                        plan.y.0,
                        y,
                    )
                    .result()
                })
            }
        };
        done.map_err(Error::wrap)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and never used after.
        let _: std::result::Result<(), CudnnError> = unsafe { result::destroy_handle(self.handle) };
    }
}

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
            session.convolve(key, Pointers { x, w, bias, y })?;
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
        let from = TensorShape::nhwc(dtype, [b, h, w, c])?;
        let to = TensorShape::nhwc(dtype, [b, h / 2, w / 2, c])?;
        let shape = Shape::from((b, h / 2, w / 2, c));
        // SAFETY: the pooling writes all of it.
        let mut y = unsafe { device.alloc_uninit(&shape, dtype)? };
        {
            let (x, _x) = read(x, layout, &session.stream)?;
            let (y, _y) = write(&mut y, &session.stream)?;
            let (x, y) = (x as *const c_void, y as *mut c_void);
            // SAFETY: the descriptors are alive and describe what lies at the addresses.
            unsafe {
                sys::cudnnPoolingForward(
                    session.handle,
                    session.pooling.0,
                    ONE,
                    from.0,
                    x,
                    ZERO,
                    to.0,
                    y,
                )
            }
            .result()
            .map_err(Error::wrap)?;
        }
        Ok((y, shape))
    }
}

/// Whether cuDNN does not do that at all, in its names, which candle passes on as text.
fn is_refusal(error: &Error) -> bool {
    let text = error.to_string();
    ["CUDNN_STATUS_NOT_SUPPORTED", "CUDNN_STATUS_BAD_PARAM"].iter().any(|name| text.contains(name))
}

fn cudnn_type(dtype: DType) -> Result<sys::cudnnDataType_t> {
    match dtype {
        DType::F32 => Ok(sys::cudnnDataType_t::CUDNN_DATA_FLOAT),
        DType::F16 => Ok(sys::cudnnDataType_t::CUDNN_DATA_HALF),
        DType::BF16 => Ok(sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16),
        _ => bail!("no convolution in {dtype:?}"),
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
