//! The decoder's shape: dimensions and tensors.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The recurrence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cell {
    /// LSTM; the image is its first input, at t = -1.
    #[default]
    Lstm,
    /// h = ReLU(Wx x + Wh h + b); the image is added in the first step (Karpathy and Fei-Fei 2015).
    Rnn,
}

impl Cell {
    /// As in configurations; also the first part of its tensors' names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lstm => "lstm",
            Self::Rnn => "rnn",
        }
    }
}

/// The decoder's shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderConfig {
    /// The recurrence.
    pub cell: Cell,
    /// D: the length of an image's feature vector.
    pub feature_dim: usize,
    /// E.
    pub embed_dim: usize,
    /// H.
    pub hidden_dim: usize,
    /// V.
    pub vocab_size: usize,
    /// L: recurrences one upon the other, each reading the hidden states of the one below.
    #[serde(default = "one")]
    pub num_layers: usize,
    /// Whether the output layer's weight is the embedding's (Press and Wolf 2017), which needs E = H.
    #[serde(default)]
    pub tie_embeddings: bool,
    /// Whether the LSTM has biases; Show and Tell's has none. The RNN always has them.
    #[serde(default = "yes")]
    pub lstm_bias: bool,
    /// Whether the LSTM's output is o tanh(c); Show and Tell's is o c.
    #[serde(default = "yes")]
    pub cell_tanh: bool,
}

fn yes() -> bool {
    true
}

fn one() -> usize {
    1
}

impl DecoderConfig {
    /// Name and shape of every tensor, in order. The names are those of a PyTorch module with the members
    ///
    /// ```python
    /// image     = nn.Linear(D, E)        # D, H for the RNN
    /// embedding = nn.Embedding(V, E)
    /// lstm      = nn.LSTM(E, H, L)       # or rnn = nn.RNN(E, H, L, nonlinearity="relu")
    /// output    = nn.Linear(H, V)
    /// ```
    ///
    /// so that a checkpoint is a `state_dict` there; of tied embeddings it holds `embedding.weight` alone. An LSTM's
    /// rows are its gates i, f, g, o.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (cell, rows, image) = match self.cell {
            Cell::Lstm => ("lstm", 4 * self.hidden_dim, self.embed_dim),
            Cell::Rnn => ("rnn", self.hidden_dim, self.hidden_dim),
        };
        let mut tensors = vec![
            ("image.weight".to_owned(), vec![image, self.feature_dim]),
            ("image.bias".to_owned(), vec![image]),
            ("embedding.weight".to_owned(), vec![self.vocab_size, self.embed_dim]),
        ];
        for layer in 0..self.num_layers {
            let inputs = self.inputs(layer);
            tensors.push((format!("{cell}.weight_ih_l{layer}"), vec![rows, inputs]));
            tensors.push((format!("{cell}.weight_hh_l{layer}"), vec![rows, self.hidden_dim]));
            if self.has_bias() {
                tensors.push((format!("{cell}.bias_ih_l{layer}"), vec![rows]));
                tensors.push((format!("{cell}.bias_hh_l{layer}"), vec![rows]));
            }
        }
        if !self.tie_embeddings {
            tensors.push(("output.weight".to_owned(), vec![self.vocab_size, self.hidden_dim]));
        }
        tensors.push(("output.bias".to_owned(), vec![self.vocab_size]));
        tensors
    }

    /// The width of what a layer reads.
    pub(crate) fn inputs(&self, layer: usize) -> usize {
        if layer == 0 { self.embed_dim } else { self.hidden_dim }
    }

    pub(crate) fn has_bias(&self) -> bool {
        self.cell == Cell::Rnn || self.lstm_bias
    }

    /// Dimensions that make sense: none is zero, none so large that a tensor's size overflows, all weights together
    /// within what memory can be asked for, and the special words have their place.
    pub(crate) fn check(&self) -> Result<()> {
        const LARGEST: usize = 1 << 24;
        const WEIGHTS: u128 = 1 << 31;
        let dims = [
            ("feature_dim", self.feature_dim, 1, LARGEST),
            ("embed_dim", self.embed_dim, 1, LARGEST),
            ("hidden_dim", self.hidden_dim, 1, LARGEST),
            ("vocab_size", self.vocab_size, 4, LARGEST),
            ("num_layers", self.num_layers, 1, 64),
        ];
        for (key, dim, least, most) in dims {
            if !(least..=most).contains(&dim) {
                return Err(Error::Usage(format!("{key} is {dim}, expected {least} to {most}")));
            }
        }
        if self.tie_embeddings && self.embed_dim != self.hidden_dim {
            return Err(Error::Usage(format!(
                "tie_embeddings with embed_dim {} and hidden_dim {}, expected equal ones",
                self.embed_dim, self.hidden_dim
            )));
        }
        let size = |shape: &[usize]| shape.iter().map(|&dim| dim as u128).product::<u128>();
        let weights: u128 = self.tensors().iter().map(|(_, shape)| size(shape)).sum();
        if weights > WEIGHTS {
            return Err(Error::Usage(format!(
                "embed_dim {}, hidden_dim {} and num_layers {} make a decoder of {weights} weights, expected at most \
                 {WEIGHTS}",
                self.embed_dim, self.hidden_dim, self.num_layers
            )));
        }
        Ok(())
    }
}
