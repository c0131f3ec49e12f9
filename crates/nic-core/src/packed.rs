//! A batch of captions without padding.

use candle_core::{Device, Tensor};

use crate::Result;

/// Captions sorted by length, longest first, and laid out step by step: at step t the first `steps[t]` captions
/// still run. What PyTorch calls a packed sequence.
#[derive(Clone, Debug)]
pub struct PackedCaptions {
    /// Row r of the batch is the caller's caption `order[r]`.
    pub order: Vec<usize>,
    /// How many captions run at each step; falls, never rises.
    pub steps: Vec<usize>,
    /// START and words: `[N]`, u32.
    pub inputs: Tensor,
    /// Words and END: `[N]`, u32.
    pub targets: Tensor,
}

impl PackedCaptions {
    /// Packs captions' word ids (without START and END).
    pub fn new(_captions: &[&[u32]], _device: &Device) -> Result<Self> {
        unimplemented!()
    }

    /// N: the words of all captions, END included.
    pub fn tokens(&self) -> usize {
        self.steps.iter().sum()
    }
}
