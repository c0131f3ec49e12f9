//! Sentences from feature vectors.

use candle_core::Tensor;

use crate::{Decoder, Result};

/// A sentence and how likely the decoder finds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// Word ids without START and END.
    pub words: Vec<u32>,
    /// The sum of the words' natural log probabilities, END included.
    pub log_prob: f32,
}

/// A way to generate.
pub trait Generate {
    /// Sentences for features `[B, D]`: per image, the best first.
    fn generate(&self, decoder: &Decoder, features: &Tensor) -> Result<Vec<Vec<Hypothesis>>>;
}

/// The likeliest word, step by step.
#[derive(Clone, Debug)]
pub struct Greedy {
    /// At most so many words.
    pub max_len: usize,
}

/// The best `width` unfinished sentences, step by step.
#[derive(Clone, Debug)]
pub struct BeamSearch {
    /// How many.
    pub width: usize,
    /// At most so many words.
    pub max_len: usize,
}

/// Words drawn at random.
#[derive(Clone, Debug)]
pub struct Sample {
    /// How many sentences an image.
    pub count: usize,
    /// Divides the logits.
    pub temperature: f64,
    /// Only the k likeliest words.
    pub top_k: Option<usize>,
    /// Only the likeliest words that together reach this probability.
    pub top_p: Option<f64>,
    /// The same seed gives the same sentences.
    pub seed: u64,
    /// At most so many words.
    pub max_len: usize,
}

impl BeamSearch {
    /// A beam of `width`, sentences of at most 20 words.
    pub fn new(width: usize) -> Self {
        Self { width, max_len: 20 }
    }
}

impl Generate for Greedy {
    fn generate(&self, _decoder: &Decoder, _features: &Tensor) -> Result<Vec<Vec<Hypothesis>>> {
        unimplemented!()
    }
}

impl Generate for BeamSearch {
    fn generate(&self, _decoder: &Decoder, _features: &Tensor) -> Result<Vec<Vec<Hypothesis>>> {
        unimplemented!()
    }
}

impl Generate for Sample {
    fn generate(&self, _decoder: &Decoder, _features: &Tensor) -> Result<Vec<Vec<Hypothesis>>> {
        unimplemented!()
    }
}
