//! Sentences from feature vectors.

mod beam;
mod greedy;
mod length;
mod rules;
mod sample;
mod sentences;

use candle_core::Tensor;

pub use beam::BeamSearch;
pub use greedy::Greedy;
pub use length::LengthNorm;
pub use rules::Rules;
pub use sample::Sample;

use crate::{Decoder, Error, Result};

/// A sentence and how likely the decoder finds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// Word ids without START and END.
    pub words: Vec<u32>,
    /// The sum of the words' natural log probabilities, END included; without END where the sentence was cut at
    /// `max_len`. Probabilities are the decoder's own, over its whole vocabulary.
    pub log_prob: f32,
}

/// A way to generate. Every sentence keeps to [`Rules`]; the probabilities of the words that they leave stay what they
/// are. A sentence that no word may follow is dropped, so that there may be fewer sentences than asked for, or none.
///
/// On the CPU an image's sentences are the same, to the bit, whatever batch it is in.
pub trait Generate {
    /// Whether the settings make sense.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the one that does not.
    fn check(&self) -> Result<()>;

    /// Sentences for features `[B, D]`: per image, the best first. The next word's probabilities are the mean of those
    /// that the decoders give it (one, or an ensemble over one vocabulary and one D).
    ///
    /// # Errors
    /// As [`Generate::check`]; no decoder, vocabularies of different sizes, features of another width than the
    /// decoders', logits that are not finite.
    fn ensemble(&self, decoders: &[Decoder], features: &Tensor) -> Result<Vec<Vec<Hypothesis>>>;

    /// [`Generate::ensemble`] of one decoder.
    fn generate(&self, decoder: &Decoder, features: &Tensor) -> Result<Vec<Vec<Hypothesis>>> {
        self.ensemble(std::slice::from_ref(decoder), features)
    }
}

/// The widest beam and the longest sentence: more would rather run out of memory than be of use to anyone.
const MOST: usize = 1000;

fn in_range(key: &str, value: usize, most: usize) -> Result<()> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::Usage(format!("{key} is {value}, expected 1 to {most}")))
}
