//! Adam, AdamW and SGD with PyTorch's formulas and with state that can be saved.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::backprop::GradStore;
use candle_core::{Device, Result as CandleResult, Tensor, Var};
use pulp::Arch;
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use candle_core::{DType, cuda_backend::CudaDevice};
#[cfg(feature = "cuda")]
use nic_kernels::{address, launch};

use crate::config::{DecayScope, OptimizerKind, TrainConfig};
use crate::gradients::Clip;
use crate::{Result, host};

/// Changes the weights by their gradients: `torch.optim.Adam`, `AdamW` or `SGD`.
#[derive(Debug)]
pub struct Optimizer {
    config: TrainConfig,
    slots: Vec<Slot>,
    steps: u64,
}

/// A weight with what the optimiser remembers of its gradients.
#[derive(Debug)]
struct Slot {
    name: String,
    var: Var,
    decays: bool,
    /// Adam: `exp_avg`, `exp_avg_sq`; SGD with momentum: `momentum_buffer`; of the weight's shape.
    state: Vec<Tensor>,
}

/// The numbers of one step of Adam or AdamW.
#[derive(Clone, Copy)]
struct Adam {
    /// 1 - beta1
    one_beta1: f32,
    beta2: f32,
    /// 1 - beta2
    one_beta2: f32,
    eps: f32,
    /// lr / (1 - beta1^t)
    step_size: f32,
    /// sqrt(1 - beta2^t)
    root: f32,
    /// Times the weight, added to the gradient.
    decay: f32,
    /// What is left of a weight after AdamW's decay.
    keep: f32,
}

/// The numbers of one step of SGD.
#[derive(Clone, Copy)]
struct Sgd {
    rate: f32,
    momentum: f32,
    decay: f32,
}

/// A weight and its gradient, which is contiguous.
#[derive(Clone, Copy)]
struct Change<'a> {
    weight: &'a Var,
    gradient: &'a Tensor,
    clip: Clip,
}

impl Optimizer {
    /// For these weights, with no memory yet.
    pub fn new(config: &TrainConfig, vars: &BTreeMap<String, Var>) -> Result<Self> {
        let memory = match config.optimizer {
            OptimizerKind::Adam | OptimizerKind::AdamW => 2,
            OptimizerKind::Sgd if config.momentum > 0.0 => 1,
            OptimizerKind::Sgd => 0,
        };
        let slots = vars
            .iter()
            .map(|(name, var)| {
                let state = (0..memory).map(|_| var.zeros_like()).collect::<CandleResult<_>>()?;
                let decays = config.decay == DecayScope::All || is_matrix(name);
                Ok(Slot { name: name.clone(), var: var.clone(), decays, state })
            })
            .collect::<Result<_>>()?;
        Ok(Self { config: config.clone(), slots, steps: 0 })
    }

    /// The weights.
    pub fn vars(&self) -> impl Iterator<Item = &Var> {
        self.slots.iter().map(|slot| &slot.var)
    }

    /// One step at this learning rate; weights without a gradient stay as they are.
    pub fn step(&mut self, gradients: &GradStore, rate: f64, clip: Clip) -> Result<()> {
        self.steps += 1;
        let c = &self.config;
        let t = self.steps as f64;
        let decay = c.weight_decay;
        let sgd = Sgd { rate: rate as f32, momentum: c.momentum as f32, decay: decay as f32 };
        let [beta1, beta2] = c.betas;
        let (added, taken) = match c.optimizer {
            OptimizerKind::AdamW => (0.0, rate * decay),
            _ => (decay, 0.0),
        };
        let adam = Adam {
            one_beta1: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            one_beta2: (1.0 - beta2) as f32,
            eps: c.eps as f32,
            step_size: (rate / (1.0 - beta1.powf(t))) as f32,
            root: (1.0 - beta2.powf(t)).sqrt() as f32,
            decay: added as f32,
            keep: (1.0 - taken) as f32,
        };
        for Slot { var, decays, state, .. } in &mut self.slots {
            let (sgd, adam) = match decays {
                true => (sgd, adam),
                false => (Sgd { decay: 0.0, ..sgd }, Adam { decay: 0.0, keep: 1.0, ..adam }),
            };
            let Some(gradient) = gradients.get(var) else { continue };
            let change = Change { weight: var, gradient: &gradient.contiguous()?, clip };
            match (var.device(), &state[..]) {
                (Device::Cpu, [m, v]) => adam.on_host(change, m, v)?,
                (Device::Cpu, state) => sgd.on_host(change, state.first())?,
                #[cfg(feature = "cuda")]
                (Device::Cuda(card), [m, v]) => adam.on_card(change, m, v, card)?,
                #[cfg(feature = "cuda")]
                (Device::Cuda(card), state) => sgd.on_card(change, state.first(), card)?,
                (device, _) => {
                    let reason = format!("there is no optimiser for {:?}", device.location());
                    return Err(candle_core::Error::Msg(reason).into());
                }
            }
        }
        Ok(())
    }

    /// What the optimiser remembers, by PyTorch's names and the weights': `exp_avg.lstm...`.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        let names = self.state_names();
        self.slots
            .iter()
            .flat_map(|slot| {
                names
                    .iter()
                    .zip(&slot.state)
                    .map(|(n, t)| (format!("{n}.{}", slot.name), t.clone()))
            })
            .collect()
    }

    /// Takes up the memory that [`Optimizer::state`] gave after `steps` steps; `path` is for the errors.
    pub fn restore(
        &mut self,
        mut state: HashMap<String, Tensor>,
        steps: u64,
        path: &Path,
    ) -> Result<()> {
        let names = self.state_names();
        let place = path.display().to_string();
        for slot in &mut self.slots {
            for (name, memory) in names.iter().zip(&mut slot.state) {
                let what = format!("{name}.{}", slot.name);
                let Some(tensor) = state.remove(&what) else {
                    return Err(
                        nic_core::Error::Missing { place, what, hint: String::new() }.into()
                    );
                };
                if tensor.shape() != memory.shape() || tensor.dtype() != memory.dtype() {
                    return Err(nic_core::Error::Mismatch {
                        place,
                        what,
                        found: format!("{:?} {:?}", tensor.dtype(), tensor.dims()),
                        expected: format!("{:?} {:?}", memory.dtype(), memory.dims()),
                    }
                    .into());
                }
                *memory = tensor.to_device(memory.device())?;
            }
        }
        self.steps = steps;
        Ok(())
    }

    fn state_names(&self) -> &'static [&'static str] {
        match self.config.optimizer {
            OptimizerKind::Adam | OptimizerKind::AdamW => &["exp_avg", "exp_avg_sq"],
            OptimizerKind::Sgd => &["momentum_buffer"],
        }
    }
}

/// Whether a weight is neither a bias nor the embedding.
fn is_matrix(name: &str) -> bool {
    let (layer, weight) = name.rsplit_once('.').unwrap_or(("", name));
    layer != "embedding" && !weight.starts_with("bias")
}

#[cfg(feature = "cuda")]
impl Change<'_> {
    /// For the kernels: the gradient, and where the weight begins.
    fn addresses(self) -> CandleResult<(nic_kernels::Gradient, u64)> {
        let gradient = nic_kernels::Gradient {
            values: address(self.gradient, DType::F32)?,
            length: self.weight.elem_count() as u64,
            scale: self.clip.scale,
            limit: self.clip.limit,
        };
        Ok((gradient, address(self.weight, DType::F32)?))
    }
}

impl Adam {
    /// One pass over weight, gradient and both averages.
    fn on_host(self, change: Change<'_>, m: &Tensor, v: &Tensor) -> CandleResult<()> {
        let arch = Arch::new();
        host::read(change.gradient, |g| {
            host::write(m, |m| {
                host::write(v, |v| {
                    host::write(change.weight, |w| {
                        w.par_chunks_mut(host::CHUNK)
                            .zip(m.par_chunks_mut(host::CHUNK))
                            .zip(v.par_chunks_mut(host::CHUNK))
                            .zip(g.par_chunks(host::CHUNK))
                            .for_each(|(((w, m), v), g)| {
                                arch.dispatch(|| self.slices(w, m, v, g, change.clip));
                            });
                        Ok(())
                    })
                })
            })
        })
    }

    #[inline(always)]
    fn slices(self, w: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32], clip: Clip) {
        let Self { one_beta1, beta2, one_beta2, eps, step_size, root, decay, keep } = self;
        for (((w, m), v), &g) in w.iter_mut().zip(m).zip(v).zip(g) {
            let g = clip.apply(g) + decay * *w;
            *m += (g - *m) * one_beta1;
            *v = *v * beta2 + one_beta2 * g * g;
            *w = *w * keep - step_size * (*m / (v.sqrt() / root + eps));
        }
    }

    #[cfg(feature = "cuda")]
    fn on_card(
        self,
        change: Change<'_>,
        m: &Tensor,
        v: &Tensor,
        card: &CudaDevice,
    ) -> CandleResult<()> {
        let Self { one_beta1, beta2, one_beta2, eps, step_size, root, decay, keep } = self;
        let (gradient, weight) = change.addresses()?;
        let (mean, square) = (address(m, DType::F32)?, address(v, DType::F32)?);
        let kernel = nic_kernels::Adam {
            gradient,
            weight,
            mean,
            square,
            decay,
            keep,
            one_beta1,
            beta2,
            one_beta2,
            root,
            eps,
            step_size,
        };
        // SAFETY: all four are of one shape; weight and averages are this optimiser's to change.
        unsafe { launch(kernel, card) }
    }
}

impl Sgd {
    fn on_host(self, change: Change<'_>, momentum: Option<&Tensor>) -> CandleResult<()> {
        let Self { rate, momentum: keep, decay } = self;
        let Change { weight, gradient, clip } = change;
        let Some(momentum) = momentum else {
            return host::read(gradient, |g| {
                host::write(weight, |w| {
                    w.par_chunks_mut(host::CHUNK).zip(g.par_chunks(host::CHUNK)).for_each(
                        |(w, g)| {
                            for (w, &g) in w.iter_mut().zip(g) {
                                *w -= rate * (clip.apply(g) + decay * *w);
                            }
                        },
                    );
                    Ok(())
                })
            });
        };
        host::read(gradient, |g| {
            host::write(momentum, |m| {
                host::write(weight, |w| {
                    w.par_chunks_mut(host::CHUNK)
                        .zip(m.par_chunks_mut(host::CHUNK))
                        .zip(g.par_chunks(host::CHUNK))
                        .for_each(|((w, m), g)| {
                            for ((w, m), &g) in w.iter_mut().zip(m).zip(g) {
                                *m = *m * keep + (clip.apply(g) + decay * *w);
                                *w -= rate * *m;
                            }
                        });
                    Ok(())
                })
            })
        })
    }

    #[cfg(feature = "cuda")]
    fn on_card(
        self,
        change: Change<'_>,
        momentum: Option<&Tensor>,
        card: &CudaDevice,
    ) -> CandleResult<()> {
        let Self { rate, momentum: keep, decay } = self;
        let (gradient, weight) = change.addresses()?;
        let momentum = momentum.map_or(Ok(0), |momentum| address(momentum, DType::F32))?;
        let kernel = nic_kernels::Sgd { gradient, weight, momentum, decay, keep, rate };
        // SAFETY: all three are of one shape; weight and momentum are this optimiser's to change.
        unsafe { launch(kernel, card) }
    }
}
