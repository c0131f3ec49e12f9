//! The scores that image captions are compared by, equal to coco-caption's.

mod bleu;
mod cider;
mod corpus;
mod diversity;
mod error;
mod meteor;
mod ngrams;
pub mod ptb;
mod references;
mod results;
mod rouge;
mod words;

pub use bleu::{Bleu, BleuStats};
pub use cider::{Cider, CiderScorer, DocumentFrequency};
pub use corpus::{Corpus, Image};
pub use diversity::Diversity;
pub use error::{Error, Result};
pub use meteor::Meteor;
pub use references::References;
pub use results::Results;
pub use rouge::{RougeL, rouge_l};
pub use words::{Sentence, Words};

/// A way to score captions by what people wrote.
pub trait Metric {
    /// Scores every image of `corpus`, and the corpus; BLEU gives four, most metrics one.
    fn score(&self, corpus: &Corpus) -> Vec<Score>;
}

/// What a metric makes of a corpus.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// `bleu_1` ... `bleu_4`, `rouge_l`, `cider_d`, `cider` or `meteor`.
    pub name: &'static str,
    /// Of all images together; not always the mean of [`Score::images`].
    pub corpus: f64,
    /// Of each of [`Corpus::images`].
    pub images: Vec<f64>,
}

impl Score {
    /// The corpus has the mean of its images, of which there is one at least.
    pub(crate) fn mean(name: &'static str, images: Vec<f64>) -> Self {
        Self { name, corpus: images.iter().sum::<f64>() / images.len() as f64, images }
    }
}
