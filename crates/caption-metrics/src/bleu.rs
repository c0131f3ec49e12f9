//! BLEU: how much of a caption stands in its references.

use std::ops::Add;

use rayon::prelude::*;

use crate::ngrams::ORDERS;
use crate::{Corpus, Metric, Score, Sentence};

/// BLEU-1 to BLEU-4.
///
/// Papineni, Roukos, Ward and Zhu, *BLEU: a method for automatic evaluation of machine translation* (ACL 2002).
/// With `c_n` the candidate's n-grams, each counted at most as often as in the reference that has it most, and `g_n` all
/// of them,
///
/// ```text
/// BLEU-k = (p_1 ... p_k)^(1/k) * brevity        p_n     = (c_n + 1e-15) / (g_n + 1e-9)
///                                               brevity = min(1, exp(1 - 1/rho)),  rho = (c + 1e-15) / (r + 1e-9)
/// ```
///
/// where c is the candidate's length and r that of the reference nearest to it in length, the shorter of two as near.
/// A corpus has one BLEU, not the mean of its images': c_n, g_n, c and r are summed over the images first.
///
/// Kept from coco-caption: 1e-15 and 1e-9 instead of a smoothing, so that an n-gram order without a match, or too
/// long for the caption, makes a BLEU tiny and not zero.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bleu;

impl Metric for Bleu {
    fn score(&self, corpus: &Corpus) -> Vec<Score> {
        let matches: Vec<BleuStats> = corpus
            .images()
            .par_iter()
            .map(|image| BleuStats::of(&image.candidate, &image.references))
            .collect();
        let total = matches.iter().copied().fold(BleuStats::default(), BleuStats::add).bleu();
        let images: Vec<_> = matches.iter().map(BleuStats::bleu).collect();
        ["bleu_1", "bleu_2", "bleu_3", "bleu_4"]
            .into_iter()
            .enumerate()
            .map(|(k, name)| Score {
                name,
                corpus: total[k],
                images: images.iter().map(|bleu| bleu[k]).collect(),
            })
            .collect()
    }
}

/// What BLEU counts, of one image or of several together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BleuStats {
    /// Candidates' n-grams that stand in a reference, for n = 1 to 4.
    pub matched: [u64; ORDERS],
    /// All n-grams of the candidates.
    pub guessed: [u64; ORDERS],
    /// The candidates' words.
    pub length: u64,
    /// The words of the references nearest in length.
    pub reference_length: u64,
}

impl BleuStats {
    /// Of one image; where there is no reference, as if it were empty.
    pub fn of(candidate: &Sentence, references: &[Sentence]) -> Self {
        let candidate = candidate.words();
        let length = candidate.len();
        let nearest = references
            .iter()
            .map(|reference| reference.words().len())
            .min_by_key(|&reference| (reference.abs_diff(length), reference));
        let mut stats = Self {
            length: length as u64,
            reference_length: nearest.unwrap_or(0) as u64,
            ..Self::default()
        };
        let rank = occurrences(candidate, candidate, true);
        let mut most = vec![[0; ORDERS]; length];
        for reference in references {
            let found = occurrences(candidate, reference.words(), false);
            for (most, found) in most.iter_mut().flatten().zip(found.iter().flatten()) {
                *most = *found.max(most);
            }
        }
        for n in 0..ORDERS {
            stats.guessed[n] = length.saturating_sub(n) as u64;
            // the k-th time that an n-gram comes, it counts where a reference has it k times
            let counts = |at: &usize| rank[*at][n] <= most[*at][n];
            stats.matched[n] = (n..length).filter(counts).count() as u64;
        }
        stats
    }

    /// BLEU-1 to BLEU-4.
    pub fn bleu(&self) -> [f64; ORDERS] {
        const TINY: f64 = 1e-15;
        const SMALL: f64 = 1e-9;
        let rho = (self.length as f64 + TINY) / (self.reference_length as f64 + SMALL);
        let brevity = if rho < 1.0 { (1.0 - 1.0 / rho).exp() } else { 1.0 };
        let mut product = 1.0;
        std::array::from_fn(|n| {
            product *= (self.matched[n] as f64 + TINY) / (self.guessed[n] as f64 + SMALL);
            product.powf(1.0 / (n + 1) as f64) * brevity
        })
    }
}

/// How often the 1 to 4 words of `candidate` that end at each position stand in `other`; with `so_far`, which is for
/// `candidate` itself, only up to that position.
fn occurrences(candidate: &[u32], other: &[u32], so_far: bool) -> Vec<[u32; ORDERS]> {
    let mut counts = vec![[0; ORDERS]; candidate.len()];
    // runs[j]: how many words before position j of `other` are those before this position of `candidate`
    let mut runs = vec![0; other.len() + 1];
    for (i, (word, counts)) in candidate.iter().zip(&mut counts).enumerate() {
        let end = if so_far { i + 1 } else { other.len() };
        for j in (0..end).rev() {
            runs[j + 1] = if *word == other[j] { runs[j] + 1 } else { 0 };
            for count in counts.iter_mut().take(runs[j + 1]) {
                *count += 1;
            }
        }
    }
    counts
}

impl Add for BleuStats {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            matched: std::array::from_fn(|n| self.matched[n] + other.matched[n]),
            guessed: std::array::from_fn(|n| self.guessed[n] + other.guessed[n]),
            length: self.length + other.length,
            reference_length: self.reference_length + other.reference_length,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counts and scores that coco-caption's README prints for its example results.
    #[test]
    fn the_published_example() {
        let stats = BleuStats {
            matched: [5732, 2510, 1043, 423],
            guessed: [9893, 8893, 7893, 6893],
            length: 9893,
            reference_length: 9855,
        };
        let printed = stats.bleu().map(|bleu| format!("{bleu:.3}"));
        assert_eq!(printed, ["0.579", "0.404", "0.279", "0.191"]);
    }

    #[test]
    fn clips_at_the_reference_that_has_it_most() {
        let sentence = |ids: &[u32]| Sentence::from(ids.to_vec());
        // "the the the the" against "the cat the" and "a the"
        let references = [sentence(&[1, 2, 1]), sentence(&[3, 1])];
        let stats = BleuStats::of(&sentence(&[1, 1, 1, 1]), &references);
        assert_eq!(stats.matched, [2, 0, 0, 0]);
        assert_eq!(stats.guessed, [4, 3, 2, 1]);
        // 3 and 5 words are as near to 4
        let references = [sentence(&[1; 5]), sentence(&[1; 3])];
        assert_eq!(BleuStats::of(&sentence(&[1; 4]), &references).reference_length, 3);
    }
}
