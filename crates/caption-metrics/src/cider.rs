//! CIDEr-D and CIDEr: agreement with the references, where rare n-grams weigh more.

use std::collections::HashMap;

use rayon::prelude::*;
use rustc_hash::FxBuildHasher;

use crate::ngrams::{Ngram, ORDERS, join, ngrams};
use crate::{Corpus, Metric, Score, Sentence};

/// The Gaussian's deviation, in bigrams.
const SIGMA: f64 = 6.0;

/// CIDEr-D and CIDEr.
///
/// Vedantam, Zitnick and Parikh, *CIDEr: consensus-based image description evaluation* (CVPR 2015). A sentence is a
/// vector with an element for each n-gram w, its weight
///
/// ```text
/// g(w) = count(w) * (ln N - ln max(1, df(w)))
/// ```
///
/// where N images make up the corpus and df(w) of them have w in a reference. With h and r the vectors of candidate and
/// reference for the n-grams of one length n, and d the difference of the two sentences' lengths,
///
/// ```text
/// CIDEr   = mean over n = 1..4 of  10 * mean over references of  h . r / |h||r|
/// CIDEr-D = the same of            sum(min(h, r) * r) / |h||r| * exp(-d^2 / (2 * 6^2))
/// ```
///
/// Corpora have the mean of their images. Kept from coco-caption: what it prints as CIDEr is CIDEr-D; d is taken from
/// the numbers of bigrams, so that captions of none and of one word are as long; words are not stemmed, though the
/// paper stems them; N is the number of images, not of sentences, so that of one image alone every score is 0.
#[derive(Clone, Debug, Default)]
pub struct Cider {
    /// Of another corpus; of the references at hand where there is none.
    pub frequencies: Option<DocumentFrequency>,
}

impl Metric for Cider {
    fn score(&self, corpus: &Corpus) -> Vec<Score> {
        let references = corpus.images().iter().map(|image| &image.references[..]);
        let scorer = match &self.frequencies {
            Some(frequencies) => CiderScorer::with_frequencies(references, frequencies.clone()),
            None => CiderScorer::new(references),
        };
        let images = corpus.images().par_iter().enumerate();
        let scores = images.map(|(at, image)| scorer.both(at, image.candidate.words()));
        let (cider_d, cider) = scores.unzip();
        vec![Score::mean("cider_d", cider_d), Score::mean("cider", cider)]
    }
}

/// In how many images' references each n-gram stands.
#[derive(Clone, Debug, Default)]
pub struct DocumentFrequency {
    images: usize,
    orders: [Table; ORDERS],
}

/// The n-grams of one length, numbered, with what is known of each.
#[derive(Clone, Debug, Default)]
struct Table {
    ids: HashMap<Ngram, u32, FxBuildHasher>,
    frequency: Vec<u32>,
}

impl DocumentFrequency {
    /// Of a corpus, image by image.
    pub fn of<'a>(images: impl IntoIterator<Item = &'a [Sentence]>) -> Self {
        let images: Vec<_> = images.into_iter().collect();
        Self::count(&images).0
    }

    /// Of a corpus; with the numbers of its n-grams, as [`Self::number`] gives them.
    fn count(images: &[&[Sentence]]) -> (Self, [Vec<u32>; ORDERS]) {
        let mut all = Self { images: images.len(), orders: Default::default() };
        let numbers = all.number(images, |frequency| *frequency += 1);
        (all, numbers)
    }

    /// Numbers the n-grams of `images`, and calls `found` on the frequency of each once for every image that it stands
    /// in. Gives, for each length, the numbers of all n-grams in the order in which they are written.
    fn number(
        &mut self,
        images: &[&[Sentence]],
        found: impl Fn(&mut u32) + Sync,
    ) -> [Vec<u32>; ORDERS] {
        let mut numbers: [Vec<u32>; ORDERS] = Default::default();
        let orders = self.orders.par_iter_mut().zip(&mut numbers).enumerate();
        orders.for_each(|(n, (table, numbers))| {
            // the last image in which each n-gram was found, counted from 1
            let mut last = vec![0; table.frequency.len()];
            for (image, sentences) in (1..).zip(images) {
                for ngram in sentences.iter().flat_map(|sentence| ngrams(sentence.words(), n + 1)) {
                    let next = table.frequency.len() as u32;
                    let id = *table.ids.entry(ngram).or_insert(next);
                    if id == next {
                        table.frequency.push(0);
                        last.push(0);
                    }
                    numbers.push(id);
                    let id = id as usize;
                    if std::mem::replace(&mut last[id], image) != image {
                        found(&mut table.frequency[id]);
                    }
                }
            }
        });
        numbers
    }
}

/// The references of many images, prepared: scores any number of candidates against them.
///
/// A training loop that rewards sampled captions by CIDEr-D (self-critical training) builds it once, of the training
/// captions in the decoder's own word ids, and scores ids as they are sampled; threads may share it.
///
/// ```
/// use caption_metrics::{CiderScorer, Sentence};
///
/// let references = [
///     vec![Sentence::from(vec![4, 7, 9, 2]), Sentence::from(vec![4, 7, 5])],
///     vec![Sentence::from(vec![8, 3, 1, 6])],
/// ];
/// let scorer = CiderScorer::new(references.iter().map(Vec::as_slice));
/// let good = scorer.cider_d(0, &[4, 7, 9, 2]);
/// let bad = scorer.cider_d(1, &[4, 7, 9, 2]);
/// assert!(good > 5.0 && bad == 0.0);
/// ```
#[derive(Clone, Debug)]
pub struct CiderScorer {
    tables: [HashMap<Ngram, u32, FxBuildHasher>; ORDERS],
    /// ln N - ln df of every numbered n-gram.
    idf: [Vec<f64>; ORDERS],
    /// ln N, that of n-grams without a number.
    new_idf: f64,
    images: Vec<Vec<Vector>>,
}

/// A sentence's n-grams by their numbers.
#[derive(Clone, Debug)]
struct Vector {
    /// (n-gram, count), those of each length n rising and after those of n - 1.
    counts: Vec<(u32, u32)>,
    ends: [u32; ORDERS],
    norms: [f64; ORDERS],
    bigrams: u32,
}

impl Vector {
    fn order(&self, n: usize) -> &[(u32, u32)] {
        let start = if n == 0 { 0 } else { self.ends[n - 1] };
        &self.counts[start as usize..self.ends[n] as usize]
    }
}

impl CiderScorer {
    /// For these references, image by image, with the document frequencies that they themselves have.
    pub fn new<'a>(references: impl IntoIterator<Item = &'a [Sentence]>) -> Self {
        let references: Vec<_> = references.into_iter().collect();
        let (frequencies, numbers) = DocumentFrequency::count(&references);
        Self::prepare(&references, frequencies, &numbers)
    }

    /// For these references, with the document frequencies of another corpus.
    pub fn with_frequencies<'a>(
        references: impl IntoIterator<Item = &'a [Sentence]>,
        mut frequencies: DocumentFrequency,
    ) -> Self {
        let references: Vec<_> = references.into_iter().collect();
        let numbers = frequencies.number(&references, |_| {});
        Self::prepare(&references, frequencies, &numbers)
    }

    /// `numbers` are those that `frequencies` has for the n-grams of `references`.
    fn prepare(
        references: &[&[Sentence]],
        frequencies: DocumentFrequency,
        numbers: &[Vec<u32>; ORDERS],
    ) -> Self {
        let new_idf = (frequencies.images.max(1) as f64).ln();
        let idf = |df: &u32| new_idf - f64::from(*df).max(1.0).ln();
        let mut scorer = Self {
            idf: frequencies.orders.each_ref().map(|t| t.frequency.iter().map(idf).collect()),
            tables: frequencies.orders.map(|table| table.ids),
            new_idf,
            images: Vec::new(),
        };
        let mut starts = [0; ORDERS];
        let mut next = |sentence: &Sentence| -> [&[u32]; ORDERS] {
            std::array::from_fn(|n| {
                let start = starts[n];
                starts[n] += sentence.words().len().saturating_sub(n);
                &numbers[n][start..starts[n]]
            })
        };
        let images: Vec<Vec<_>> =
            references.iter().map(|sentences| sentences.iter().map(&mut next).collect()).collect();
        let vector = |numbers: &[&[u32]; ORDERS]| scorer.vector(|n| numbers[n].iter().copied());
        scorer.images =
            images.par_iter().map(|sentences| sentences.iter().map(vector).collect()).collect();
        scorer
    }

    /// CIDEr-D of a caption of the image with this position among the references.
    ///
    /// # Panics
    /// Where there is no such image.
    pub fn cider_d(&self, image: usize, candidate: &[u32]) -> f64 {
        self.both(image, candidate).0
    }

    /// CIDEr, as [`CiderScorer::cider_d`].
    ///
    /// # Panics
    /// Where there is no such image.
    pub fn cider(&self, image: usize, candidate: &[u32]) -> f64 {
        self.both(image, candidate).1
    }

    /// CIDEr-D and CIDEr; of no reference 0.
    fn both(&self, image: usize, candidate: &[u32]) -> (f64, f64) {
        let references = &self.images[image];
        let candidate = self.vector(|n| self.numbers(candidate, n + 1));
        let (mut cider_d, mut cider) = (0.0, 0.0);
        for reference in references {
            let delta = f64::from(candidate.bigrams) - f64::from(reference.bigrams);
            let gaussian = (-delta * delta / (2.0 * SIGMA * SIGMA)).exp();
            for n in 0..ORDERS {
                let (mut clipped, mut dot) = (0.0, 0.0);
                join(candidate.order(n), reference.order(n), |ngram, h, r| {
                    let idf = self.idf[n][ngram as usize];
                    let (h, r) = (f64::from(h) * idf, f64::from(r) * idf);
                    clipped += h.min(r) * r;
                    dot += h * r;
                });
                let norms = candidate.norms[n] * reference.norms[n];
                if norms != 0.0 {
                    cider_d += clipped / norms * gaussian;
                    cider += dot / norms;
                }
            }
        }
        let scale = 10.0 / (ORDERS * references.len().max(1)) as f64;
        (cider_d * scale, cider * scale)
    }

    /// The numbers of the n-grams of `order` words; those that have none get one that no reference has.
    fn numbers(&self, words: &[u32], order: usize) -> impl Iterator<Item = u32> {
        let table = &self.tables[order - 1];
        ngrams(words, order).map(move |ngram| {
            let first = || ngrams(words, order).position(|other| other == ngram).unwrap_or(0);
            table.get(&ngram).copied().unwrap_or_else(|| (table.len() + first()) as u32)
        })
    }

    /// Of the numbers of the n-grams of each length.
    fn vector<I: Iterator<Item = u32>>(&self, numbers: impl Fn(usize) -> I) -> Vector {
        let most = (0..ORDERS).map(|n| numbers(n).size_hint().0).sum();
        let mut counts: Vec<(u32, u32)> = Vec::with_capacity(most);
        let (mut ends, mut norms, mut bigrams) = ([0; ORDERS], [0.0; ORDERS], 0);
        for n in 0..ORDERS {
            let start = counts.len();
            counts.extend(numbers(n).map(|number| (number, 1)));
            counts[start..].sort_unstable();
            if n == 1 {
                bigrams = (counts.len() - start) as u32;
            }
            let mut end = start;
            for at in start..counts.len() {
                if end > start && counts[end - 1].0 == counts[at].0 {
                    counts[end - 1].1 += 1;
                } else {
                    counts[end] = counts[at];
                    end += 1;
                }
            }
            counts.truncate(end);
            let idf = |number: u32| self.idf[n].get(number as usize).unwrap_or(&self.new_idf);
            let squares = counts[start..]
                .iter()
                .map(|&(number, count)| (f64::from(count) * idf(number)).powi(2));
            norms[n] = squares.sum::<f64>().sqrt();
            ends[n] = end as u32;
        }
        Vector { counts, ends, norms, bigrams }
    }
}
