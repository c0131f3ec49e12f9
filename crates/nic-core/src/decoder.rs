//! The NIC decoder: image embedding, word embeddings, recurrence, softmax (Vinyals et al. 2015).

use std::collections::BTreeMap;

use candle_core::Tensor;
use candle_nn::VarBuilder;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{PackedCaptions, Result};

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
}

/// Inverted dropout on the recurrence's inputs and outputs, with masks from a seeded generator.
#[derive(Debug)]
pub struct Dropout<'a> {
    /// The share of values set to zero, in [0, 1).
    pub rate: f32,
    /// Where the masks come from.
    pub rng: &'a mut ChaCha8Rng,
}

/// What the recurrence remembers, for B sentences.
#[derive(Clone, Debug)]
pub struct DecoderState {
    /// `[B, H]`.
    pub h: Tensor,
    /// `[B, H]`; equal to `h` where the cell has none.
    pub c: Tensor,
}

/// The decoder with its weights.
#[derive(Clone, Debug)]
pub struct Decoder {
    config: DecoderConfig,
}

impl DecoderConfig {
    /// Fresh weights by name, as PyTorch initialises them, from a seeded generator; in a fixed order.
    pub fn init(&self, _rng: &mut ChaCha8Rng) -> Result<BTreeMap<String, Tensor>> {
        unimplemented!()
    }
}

impl Decoder {
    /// From tensors in PyTorch's names.
    pub fn new(_config: &DecoderConfig, _vb: VarBuilder<'_>) -> Result<Self> {
        unimplemented!()
    }

    /// The shape.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Teacher forcing: features `[B, D]` (in the caller's order) and packed captions to logits `[N, V]`.
    pub fn logits(
        &self,
        _features: &Tensor,
        _captions: &PackedCaptions,
        _dropout: Option<Dropout<'_>>,
    ) -> Result<Tensor> {
        unimplemented!()
    }

    /// The mean negative log likelihood per word, END included: a scalar.
    pub fn loss(
        &self,
        _features: &Tensor,
        _captions: &PackedCaptions,
        _dropout: Option<Dropout<'_>>,
    ) -> Result<Tensor> {
        unimplemented!()
    }

    /// The state after the image: features `[B, D]`.
    pub fn start(&self, _features: &Tensor) -> Result<DecoderState> {
        unimplemented!()
    }

    /// One step: words `[B]` u32 to logits `[B, V]` and the next state.
    pub fn step(&self, _state: &DecoderState, _words: &Tensor) -> Result<(Tensor, DecoderState)> {
        unimplemented!()
    }
}
