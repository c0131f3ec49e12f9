//! The scores that image captions are compared by, equal to [coco-caption]'s, without Java.
//!
//! | Score | Metric | |
//! |---|---|---|
//! | `bleu_1` ... `bleu_4` | [`Bleu`] | n-grams that stand in a reference |
//! | `rouge_l` | [`RougeL`] | the longest common subsequence |
//! | `cider_d`, `cider` | [`Cider`] | n-grams in common with the references, the rare ones weighing more |
//! | `meteor` | `Meteor` (feature `meteor`, on by default) | words aligned by form, stem, synonym and paraphrase |
//!
//! Captions are tokenised by [`ptb`], as coco-caption has Stanford's tokeniser do it; [`Diversity`] says how varied
//! they are. Each page has the paper, the formula, and what coco-caption makes of it.
//!
//! ```
//! use caption_metrics::{Bleu, Cider, Corpus, Metric, References, Results, RougeL, ptb};
//!
//! # fn main() -> caption_metrics::Result<()> {
//! let references = References::new("references", vec![
//!     (42, vec!["A brown dog runs on the beach.".into(), "The dog's wet, and it runs.".into()]),
//!     (7, vec!["Two cats sleep.".into()]),
//! ]); // or References::read("captions_val2014.json".as_ref())?
//! let results = Results::new("results", vec![(42, "a dog runs".into()), (7, "two cats".into())]);
//! let corpus = Corpus::new(&references, &results, ptb::tokenize_part)?;
//! let metrics: [&dyn Metric; 3] = [&Bleu, &RougeL, &Cider::default()];
//! for score in metrics.iter().flat_map(|metric| metric.score(&corpus)) {
//!     println!("{} {:.3} {:?}", score.name, score.corpus, score.images);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! BLEU, ROUGE-L, CIDEr-D and CIDEr are pycocoevalcap's to 1e-9, of a corpus and of each image. Words are numbers, and
//! a training loop that has numbers already calls [`CiderScorer`] on them. All work is spread over the threads of
//! rayon's pool, and the scores do not depend on how many there are.
//!
//! [coco-caption]: https://github.com/tylin/coco-caption

mod bleu;
mod cider;
mod corpus;
mod diversity;
mod error;
#[cfg(feature = "meteor")]
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
#[cfg(feature = "meteor")]
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
