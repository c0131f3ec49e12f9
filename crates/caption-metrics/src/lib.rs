//! The scores that image captions are compared by, equal to coco-caption's.

mod corpus;
mod error;
mod meteor;
mod references;
mod results;
mod words;

pub use corpus::{Corpus, Image};
pub use error::{Error, Result};
pub use meteor::Meteor;
pub use references::References;
pub use results::Results;
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
