//! How varied captions are.

use std::collections::HashSet;

use rustc_hash::FxBuildHasher;
use serde::Serialize;

use crate::Sentence;
use crate::ngrams::{Ngram, ngrams};

/// How varied captions are, by the measures of the literature; references play no part.
///
/// The first three and the last are those of van Miltenburg, Elliott and Vossen, *Measuring the diversity of automatic
/// image descriptions* (COLING 2018), where 1 - `in_training` is "% novel"; distinct-1 and distinct-2 are those of Li et
/// al., *A diversity-promoting objective function for neural conversation models* (NAACL 2016), both over the number of
/// words.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Diversity {
    /// Different words used.
    pub vocabulary: usize,
    /// The share of captions that stand in the training set word for word, where that is known.
    pub in_training: Option<f64>,
    /// Different words for each word written.
    pub distinct_1: f64,
    /// Different bigrams for each word written.
    pub distinct_2: f64,
    /// Words a caption.
    pub mean_length: f64,
}

impl Diversity {
    /// Of `captions`, against the captions of the training set where these are known.
    pub fn of<'a>(
        captions: impl IntoIterator<Item = &'a Sentence>,
        training: Option<&[Sentence]>,
    ) -> Self {
        let captions: Vec<&[u32]> = captions.into_iter().map(Sentence::words).collect();
        let distinct = |order| {
            let all = captions.iter().flat_map(|words| ngrams(words, order));
            all.collect::<HashSet<Ngram, FxBuildHasher>>().len()
        };
        let in_training = training.map(|training| {
            let training: HashSet<&[u32], FxBuildHasher> =
                training.iter().map(Sentence::words).collect();
            let seen = captions.iter().filter(|words| training.contains(*words)).count();
            ratio(seen, captions.len())
        });
        let words = captions.iter().map(|words| words.len()).sum();
        let vocabulary = distinct(1);
        Self {
            vocabulary,
            in_training,
            distinct_1: ratio(vocabulary, words),
            distinct_2: ratio(distinct(2), words),
            mean_length: ratio(words, captions.len()),
        }
    }
}

/// 0 of none.
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_hand() {
        let captions = [vec![1, 2, 3], vec![1, 2], vec![], vec![1, 2, 3]].map(Sentence::from);
        let training = [vec![1, 2], vec![2, 3]].map(Sentence::from);
        let diversity = Diversity::of(&captions, Some(&training));
        let expected = Diversity {
            vocabulary: 3,
            in_training: Some(0.25),
            distinct_1: 3.0 / 8.0,
            distinct_2: 2.0 / 8.0,
            mean_length: 2.0,
        };
        assert_eq!(diversity, expected);
        let none = Diversity::of([], None);
        assert_eq!((none.distinct_1, none.mean_length, none.in_training), (0.0, 0.0, None));
    }
}
