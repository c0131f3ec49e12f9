//! The likeliest word, step by step.

use candle_core::Tensor;

use super::{BeamSearch, Generate, Hypothesis, Rules};
use crate::{Decoder, Result};

/// The likeliest word, step by step; of equally likely words the one with the smallest id. A beam of one.
#[derive(Clone, Debug, Default)]
pub struct Greedy {
    /// What the sentences keep to.
    pub rules: Rules,
}

impl Greedy {
    /// Sentences that keep to `rules`.
    pub fn new(rules: Rules) -> Self {
        Self { rules }
    }
}

impl Generate for Greedy {
    fn check(&self) -> Result<()> {
        self.rules.check()
    }

    fn ensemble(&self, decoders: &[Decoder], features: &Tensor) -> Result<Vec<Vec<Hypothesis>>> {
        BeamSearch::new(1).rules(self.rules.clone()).ensemble(decoders, features)
    }
}
