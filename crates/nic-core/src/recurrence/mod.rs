//! A layer of `nn.LSTM` or of the ReLU `nn.RNN` over a packed sequence, as one differentiable operation.

#[cfg(feature = "cuda")]
mod card;
mod slices;
mod tensors;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::autograd::is_cpu_f32;
use crate::{Cell, DecoderConfig};

/// What a step computes from its pre-activations.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// c' = f c + i g, h' = o tanh(c'), or h' = o c' without `tanh`; gates in PyTorch's order i, f, g, o.
    Lstm { tanh: bool },
    /// h' = ReLU(x).
    Relu,
}

impl Kind {
    /// How many pre-activations there are for each hidden unit.
    fn gates(self) -> usize {
        match self {
            Self::Lstm { .. } => 4,
            Self::Relu => 1,
        }
    }
}

/// A layer with its weights; G is 4 for the LSTM, 1 for the RNN; I is E, or H above another layer.
#[derive(Clone, Debug)]
pub(crate) struct Recurrence {
    kind: Kind,
    /// `[G H, I]`.
    w_ih: Tensor,
    /// `[G H, H]`.
    w_hh: Tensor,
    /// Two of `[G H]` that are added, as PyTorch has them.
    biases: Option<(Tensor, Tensor)>,
}

/// What one call computes with.
struct Call<'a> {
    kind: Kind,
    /// `[N, I]`: the rows of the first step, then those of the second...
    x: &'a Tensor,
    w_ih: &'a Tensor,
    w_hh: &'a Tensor,
    /// `[G H]`.
    bias: &'a Tensor,
    /// How many sequences run at each step; never rises.
    steps: &'a [usize],
    /// Added to the first step's pre-activations: `[steps[0], G H]`.
    first: Option<&'a Tensor>,
}

impl Recurrence {
    /// Reads PyTorch's tensors.
    pub(crate) fn new(config: &DecoderConfig, layer: usize, vb: &VarBuilder<'_>) -> Result<Self> {
        let kind = match config.cell {
            Cell::Lstm => Kind::Lstm { tanh: config.cell_tanh },
            Cell::Rnn => Kind::Relu,
        };
        let (rows, name) = (kind.gates() * config.hidden_dim, config.cell.name());
        let get = |tensor: &str| vb.get(rows, &format!("{name}.{tensor}_l{layer}"));
        let biases =
            if config.has_bias() { Some((get("bias_ih")?, get("bias_hh")?)) } else { None };
        Ok(Self {
            kind,
            w_ih: vb.get((rows, config.inputs(layer)), &format!("{name}.weight_ih_l{layer}"))?,
            w_hh: vb.get((rows, config.hidden_dim), &format!("{name}.weight_hh_l{layer}"))?,
            biases,
        })
    }

    /// The same weights outside the graph.
    pub(crate) fn detach(&self) -> Self {
        Self {
            kind: self.kind,
            w_ih: self.w_ih.detach(),
            w_hh: self.w_hh.detach(),
            biases: self.biases.as_ref().map(|(ih, hh)| (ih.detach(), hh.detach())),
        }
    }

    fn bias(&self) -> Result<Tensor> {
        match &self.biases {
            Some((ih, hh)) => ih + hh,
            None => Tensor::zeros(self.w_ih.dim(0)?, self.w_ih.dtype(), self.w_ih.device()),
        }
    }

    /// Packed inputs `[N, I]` to packed hidden states `[N, H]`, from a state of zeros. `steps` says how many
    /// sequences run at each step, `first` `[steps[0], G H]` is added to the first step's pre-activations; the first
    /// `skip` rows of the hidden states are left out.
    pub(crate) fn sequence(
        &self,
        x: &Tensor,
        steps: &[usize],
        first: Option<&Tensor>,
        skip: usize,
    ) -> Result<Tensor> {
        let bias = self.bias()?;
        let call = Call {
            kind: self.kind,
            x,
            w_ih: &self.w_ih,
            w_hh: &self.w_hh,
            bias: &bias,
            steps,
            first,
        };
        #[cfg(feature = "cuda")]
        if let (Some(device), Kind::Lstm { tanh }, None) = (crate::cuda::card(x), self.kind, first)
        {
            return card::sequence(&call, tanh, device, skip);
        }
        if is_cpu_f32(x) { slices::sequence(&call, skip) } else { tensors::sequence(&call, skip) }
    }

    /// One step of B sentences: inputs `[B, I]` and the state to the next state. Not differentiable.
    pub(crate) fn step(
        &self,
        x: &Tensor,
        state: Option<(&Tensor, &Tensor)>,
        first: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor)> {
        let (bias, steps) = (self.bias()?, [x.dim(0)?]);
        let call = Call {
            kind: self.kind,
            x,
            w_ih: &self.w_ih,
            w_hh: &self.w_hh,
            bias: &bias,
            steps: &steps,
            first,
        };
        #[cfg(feature = "cuda")]
        if let (Some(device), Kind::Lstm { tanh }, None) = (crate::cuda::card(x), self.kind, first)
        {
            return card::step(&call, tanh, device, state);
        }
        if is_cpu_f32(x) { slices::step(&call, state) } else { tensors::step(&call, state) }
    }
}

/// For each row of a packed sequence after the first step's, the row of the same sequence a step before.
#[cfg(any(test, feature = "cuda"))]
fn rows_before(steps: &[usize]) -> Vec<u32> {
    let mut start = 0;
    let rows = steps.windows(2).flat_map(|pair| {
        let first = start;
        start += pair[0];
        first..first + pair[1]
    });
    rows.map(|row| row as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::rows_before;

    #[test]
    fn rows_of_the_step_before() {
        assert_eq!(rows_before(&[3, 3, 2, 1]), [0, 1, 2, 3, 4, 6]);
        assert!(rows_before(&[3]).is_empty());
    }
}
