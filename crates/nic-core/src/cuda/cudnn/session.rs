//! cuDNN's handle, and how each convolution is done: descriptors are made, and an algorithm is chosen, once a shape.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{c_int, c_void};
use std::rc::Rc;
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::cudnn::{CudnnError, result, sys};
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaStream, DevicePtrMut};
use candle_core::cuda_backend::{CudaDevice, DeviceId};
use candle_core::{DType, Error, Result, bail};

use super::descriptors::{Activation, Convolution, Filter, Pooling, TensorShape, cudnn_type};

use sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;

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

/// A convolution of one shape and type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) dtype: DType,
    /// B, H, W.
    pub(super) images: [usize; 3],
    /// I, O.
    pub(super) channels: [usize; 2],
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

#[derive(Clone, Copy, Debug)]
struct Choice {
    algorithm: sys::cudnnConvolutionFwdAlgo_t,
    workspace: usize,
    ending: Ending,
}

/// How bias and ReLU come to a convolution.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// In its kernel.
    Fused,
    /// In its kernel, with a ReLU that makes a 0 of what is no number: cuDNN may know no other there.
    FusedWithoutNan,
    /// In kernels of their own.
    Separate,
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
            result::set_filter4d_descriptor(filter.0, cudnn_type(dtype)?, CUDNN_TENSOR_NHWC, dims)
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
pub(super) struct Pointers {
    pub(super) x: u64,
    pub(super) w: u64,
    pub(super) bias: u64,
    pub(super) y: u64,
}

/// cuDNN on a thread and a device.
pub(super) struct Session {
    handle: sys::cudnnHandle_t,
    pub(super) stream: Arc<CudaStream>,
    relu: Activation,
    relu_without_nan: Activation,
    pooling: Pooling,
    plans: RefCell<HashMap<Key, Plan>>,
    /// One for all convolutions: they run one after the other.
    workspace: RefCell<Option<CudaSlice<u8>>>,
}

impl Session {
    /// This thread's.
    pub(super) fn of(device: &CudaDevice) -> Result<Rc<Self>> {
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
        let nan = sys::cudnnNanPropagation_t::CUDNN_PROPAGATE_NAN;
        let no_nan = sys::cudnnNanPropagation_t::CUDNN_NOT_PROPAGATE_NAN;
        let pooling = Pooling::new()?;
        let max = sys::cudnnPoolingMode_t::CUDNN_POOLING_MAX;
        // SAFETY: the descriptor is alive.
        unsafe { sys::cudnnSetPooling2dDescriptor(pooling.0, max, nan, 2, 2, 0, 0, 2, 2) }
            .result()
            .map_err(Error::wrap)?;
        let session = Self {
            handle: result::create_handle().map_err(Error::wrap)?,
            stream,
            relu: Activation::relu(nan)?,
            relu_without_nan: Activation::relu(no_nan)?,
            pooling,
            plans: RefCell::default(),
            workspace: RefCell::default(),
        };
        // SAFETY: the handle is new, and the session keeps the stream.
        unsafe { result::set_stream(session.handle, session.stream.cu_stream().cast()) }
            .map_err(Error::wrap)?;
        Ok(session)
    }

    /// A line for each shape of a convolution: how it is done.
    pub(super) fn choices(&self) -> Vec<String> {
        let plans = self.plans.borrow();
        let mut lines: Vec<String> = plans
            .iter()
            .filter_map(|(key, plan)| Some(format!("{key:?}: {:?}", plan.chosen?)))
            .collect();
        lines.sort();
        lines
    }

    /// relu(x * w + bias).
    ///
    /// # Safety
    ///
    /// What `key` says lies at the addresses, until the stream has done it.
    pub(super) unsafe fn convolve(&self, key: Key, pointers: Pointers) -> Result<()> {
        let mut plans = self.plans.borrow_mut();
        let plan = match plans.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Plan::new(key)?),
        };
        if let Some(choice) = plan.chosen {
            // SAFETY: as the caller's.
            return unsafe { self.launch(plan, choice, pointers) };
        }
        // cuDNN's own order, the fastest first by its estimate and not by the clock, so that every run takes the same.
        // What it offers may still be refused with bias and ReLU, or as it is.
        let offers = self.offers(plan)?;
        let mut refused = None;
        for ending in [Ending::Fused, Ending::FusedWithoutNan, Ending::Separate] {
            for &(algorithm, workspace) in &offers {
                let choice = Choice { algorithm, workspace, ending };
                // SAFETY: as the caller's.
                match unsafe { self.launch(plan, choice, pointers) } {
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

    /// # Safety
    ///
    /// What `plan` says lies at the addresses, until the stream has done it.
    unsafe fn launch(&self, plan: &Plan, choice: Choice, at: Pointers) -> Result<()> {
        let Choice { algorithm, workspace: bytes, ending } = choice;
        let fused = match ending {
            Ending::Fused => Some(&self.relu),
            Ending::FusedWithoutNan => Some(&self.relu_without_nan),
            Ending::Separate => None,
        };
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
        // SAFETY: the descriptors are alive, and describe what the caller says lies at the addresses.
        let done = unsafe {
            if let Some(relu) = fused {
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
                    relu.0,
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

    /// The largest of 2 x 2 of `shape`, `[B, H, W, C]`, from the address `x` to `y`.
    ///
    /// # Safety
    ///
    /// There is memory of these shapes at both, until the stream has done it.
    pub(super) unsafe fn pool(
        &self,
        dtype: DType,
        shape: [usize; 4],
        x: u64,
        y: u64,
    ) -> Result<()> {
        let [b, h, w, c] = shape;
        let from = TensorShape::nhwc(dtype, shape)?;
        let to = TensorShape::nhwc(dtype, [b, h / 2, w / 2, c])?;
        let (x, y) = (x as *const c_void, y as *mut c_void);
        // SAFETY: the descriptors are alive, and describe what the caller says lies at the addresses.
        unsafe {
            sys::cudnnPoolingForward(self.handle, self.pooling.0, ONE, from.0, x, ZERO, to.0, y)
        }
        .result()
        .map_err(Error::wrap)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and never used after.
        let _: std::result::Result<(), CudnnError> = unsafe { result::destroy_handle(self.handle) };
    }
}

/// Whether cuDNN does not do that at all, in its names, which candle passes on as text.
fn is_refusal(error: &Error) -> bool {
    let text = error.to_string();
    ["CUDNN_STATUS_NOT_SUPPORTED", "CUDNN_STATUS_BAD_PARAM"].iter().any(|name| text.contains(name))
}
