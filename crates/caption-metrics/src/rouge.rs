//! ROUGE-L: the longest common subsequence.

use rayon::prelude::*;

use crate::{Corpus, Metric, Score, Sentence};

const BETA_SQUARED: f64 = 1.2 * 1.2;

/// ROUGE-L.
///
/// Lin, *ROUGE: a package for automatic evaluation of summaries* (2004). With l the length of the longest sequence of
/// words that stands in the candidate and in a reference in the same order, gaps allowed,
///
/// ```text
/// P = l / candidate words    R = l / reference words    F = (1 + b^2) P R / (R + b^2 P),  b = 1.2
/// ```
///
/// Kept from coco-caption: P and R are each the best over the references, not both of one reference; an empty caption
/// counts as one empty word, which an empty reference has too. The corpus has the mean of its images.
#[derive(Clone, Copy, Debug, Default)]
pub struct RougeL;

impl Metric for RougeL {
    fn score(&self, corpus: &Corpus) -> Vec<Score> {
        let of = |image: &crate::Image| rouge_l(&image.candidate, &image.references);
        vec![Score::mean("rouge_l", corpus.images().par_iter().map(of).collect())]
    }
}

/// ROUGE-L of one image; 0 where there is no reference.
pub fn rouge_l(candidate: &Sentence, references: &[Sentence]) -> f64 {
    let words = |sentence: &[u32]| sentence.len().max(1) as f64;
    let candidate = candidate.tokens();
    let (mut precision, mut recall) = (0.0_f64, 0.0_f64);
    let mut row = Vec::new();
    for reference in references {
        let reference = reference.tokens();
        let common = if candidate.is_empty() && reference.is_empty() {
            1.0
        } else {
            common_subsequence(candidate, reference, &mut row) as f64
        };
        precision = precision.max(common / words(candidate));
        recall = recall.max(common / words(reference));
    }
    if precision == 0.0 || recall == 0.0 {
        return 0.0;
    }
    (1.0 + BETA_SQUARED) * precision * recall / (recall + BETA_SQUARED * precision)
}

/// The length of the longest common subsequence; `row` is room to work in.
fn common_subsequence(a: &[u32], b: &[u32], row: &mut Vec<usize>) -> usize {
    // row[j] is that of the words of `a` so far and the first j of `b`
    row.clear();
    row.resize(b.len() + 1, 0);
    for word in a {
        let mut diagonal = 0;
        for (j, other) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if word == other { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_longest_common_subsequence() {
        let mut row = Vec::new();
        for (a, b, expected) in [
            (&[1, 2, 3, 4, 5][..], &[2, 9, 4, 5, 1][..], 3),
            (&[1, 2, 1, 2], &[2, 1, 2, 1], 3),
            (&[1, 1, 1], &[1], 1),
            (&[], &[1], 0),
            (&[1, 2], &[3], 0),
        ] {
            assert_eq!(common_subsequence(a, b, &mut row), expected, "{a:?} {b:?}");
            assert_eq!(common_subsequence(b, a, &mut row), expected, "{b:?} {a:?}");
        }
    }

    #[test]
    fn takes_precision_and_recall_of_different_references() {
        let sentence = |ids: &[u32]| Sentence::from(ids.to_vec());
        let references = [sentence(&[1, 2, 8, 9, 10, 11]), sentence(&[1])];
        // P = 2/3 of the first, R = 1 of the second
        let expected = 2.44 * (2.0 / 3.0) / (1.0 + 1.44 * 2.0 / 3.0);
        assert!((rouge_l(&sentence(&[1, 2, 3]), &references) - expected).abs() < 1e-12);
    }
}
