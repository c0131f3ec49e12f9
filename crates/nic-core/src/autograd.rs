//! Differentiable operations with a backward pass of our own: what PyTorch calls an autograd function.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp3, Device, Error, Layout, MetalStorage, Result, Shape,
    Storage, StorageRef, Tensor,
};

/// Gradients of a function's arguments; none where one is not needed.
pub(crate) type Gradients = Vec<Option<Tensor>>;

/// What an operation computed.
pub(crate) enum Output {
    /// f32 on the CPU: becomes the tensor without a copy.
    Values(Vec<f32>, Shape),
    /// Anything else; no view of a larger tensor, for its storage is copied as it is.
    Tensor(Tensor),
}

impl Output {
    fn into_tensor(self) -> Result<Tensor> {
        match self {
            Self::Values(values, shape) => Tensor::from_vec(values, shape, &Device::Cpu),
            Self::Tensor(tensor) => Ok(tensor),
        }
    }
}

/// Makes `output`, computed from `args` outside candle's graph, a node of the graph. `backward` takes the gradient
/// of the output to those of the arguments, in their order. One to five arguments.
pub(crate) fn with_backward(
    name: &'static str,
    args: &[&Tensor],
    output: Output,
    backward: impl Fn(&Tensor) -> Result<Gradients> + Send + Sync + 'static,
) -> Result<Tensor> {
    let [first, second, rest @ ..] = args else {
        return apply(name, args, output, backward);
    };
    if rest.len() <= 1 {
        return apply(name, args, output, backward);
    }
    // candle's operations take three arguments: the others hang on a placeholder, whose backward pass comes after
    // the operation's own and hands on what that one computed.
    let waiting = Arc::new(Mutex::new(Gradients::new()));
    let taken = waiting.clone();
    let placeholder = Tensor::zeros(1, first.dtype(), first.device())?;
    let rest = apply(name, rest, Output::Tensor(placeholder.clone()), move |_| {
        Ok(std::mem::take(&mut *taken.lock().unwrap_or_else(PoisonError::into_inner)))
    })?;
    apply(name, &[first, second, &rest], output, move |gradient| {
        let mut gradients = backward(gradient)?;
        *waiting.lock().unwrap_or_else(PoisonError::into_inner) = gradients.split_off(2);
        gradients.push(Some(placeholder.clone()));
        Ok(gradients)
    })
}

/// One to three arguments; the last stands in for those that candle's operation has too many.
fn apply<F>(name: &'static str, args: &[&Tensor], output: Output, backward: F) -> Result<Tensor>
where
    F: Fn(&Tensor) -> Result<Gradients> + Send + Sync + 'static,
{
    let (a, b, c) = match args {
        [a] => (a, a, a),
        [a, b] => (a, b, b),
        [a, b, c] => (a, b, c),
        _ => return Err(Error::Msg(format!("{name} with {} arguments", args.len()))),
    };
    if args.iter().all(|arg| !arg.track_op()) {
        return output.into_tensor();
    }
    a.apply_op3(b, c, Function { name, output: Mutex::new(Some(output)), backward })
}

struct Function<F> {
    name: &'static str,
    /// Until the node exists.
    output: Mutex<Option<Output>>,
    backward: F,
}

impl<F> Function<F> {
    fn take(&self) -> Option<Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn output<S>(
        &self,
        storage: impl Fn(&Storage, &Layout) -> Result<Option<S>>,
    ) -> Result<(S, Shape)> {
        let missing = || Error::Msg(format!("{} has no output on this device", self.name));
        let output = self.take().ok_or_else(missing)?.into_tensor()?.contiguous()?;
        let (guard, layout) = output.storage_and_layout();
        Ok((storage(&guard, layout)?.ok_or_else(missing)?, output.shape().clone()))
    }
}

impl<F: Fn(&Tensor) -> Result<Gradients>> CustomOp3 for Function<F> {
    fn name(&self) -> &'static str {
        self.name
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
        let output = self.take();
        if let Some(Output::Values(values, shape)) = output {
            return Ok((CpuStorage::F32(values), shape));
        }
        *self.output.lock().unwrap_or_else(PoisonError::into_inner) = output;
        self.output(|storage, layout| match storage {
            Storage::Cpu(storage) => storage.try_clone(layout).map(Some),
            _ => Ok(None),
        })
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.output(|storage, layout| match storage {
            Storage::Cuda(storage) => storage.try_clone(layout).map(Some),
            _ => Ok(None),
        })
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        self.output(|storage, layout| match storage {
            Storage::Metal(storage) => storage.try_clone(layout).map(Some),
            _ => Ok(None),
        })
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let mut gradients = (self.backward)(gradient)?.into_iter();
        let mut next = || gradients.next().flatten();
        Ok((next(), next(), next()))
    }
}

/// Whether the loops over slices apply; tensor operations do otherwise.
pub(crate) fn is_cpu_f32(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == candle_core::DType::F32
}

/// Calls `f` with the values of f32 tensors on the CPU.
pub(crate) fn with_slices<const N: usize, R>(
    tensors: [&Tensor; N],
    f: impl FnOnce([&[f32]; N]) -> Result<R>,
) -> Result<R> {
    let tensors: Vec<Tensor> =
        tensors.into_iter().map(Tensor::contiguous).collect::<Result<_>>()?;
    let guards: Vec<(StorageRef<'_>, &Layout)> =
        tensors.iter().map(Tensor::storage_and_layout).collect();
    let mut slices = [[].as_slice(); N];
    for (slice, (storage, layout)) in slices.iter_mut().zip(&guards) {
        let Storage::Cpu(storage) = &**storage else {
            return Err(Error::Msg("expected a tensor on the CPU".into()));
        };
        let start = layout.start_offset();
        *slice = &storage.as_slice::<f32>()?[start..start + layout.shape().elem_count()];
    }
    f(slices)
}
