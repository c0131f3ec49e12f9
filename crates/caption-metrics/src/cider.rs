//! CIDEr-D and CIDEr: agreement with the references, where rare n-grams weigh more.

use std::collections::HashMap;

use rayon::prelude::*;
use rustc_hash::FxBuildHasher;

use crate::ngrams::{ORDERS, counts, join, ngrams};
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
    ids: HashMap<u128, u32, FxBuildHasher>,
    frequency: Vec<u32>,
}

impl DocumentFrequency {
    /// Of a corpus, image by image.
    pub fn of<'a>(images: impl IntoIterator<Item = &'a [Sentence]>) -> Self {
        let images: Vec<_> = images.into_iter().collect();
        let mut frequencies = Self { images: images.len(), orders: Default::default() };
        frequencies.orders.par_iter_mut().enumerate().for_each(|(n, table)| {
            let mut distinct = Vec::new();
            for references in &images {
                distinct.clear();
                distinct.extend(references.iter().flat_map(|r| ngrams(r.words(), n + 1)));
                distinct.sort_unstable();
                distinct.dedup();
                for &ngram in &distinct {
                    let id = table.id(ngram);
                    table.frequency[id as usize] += 1;
                }
            }
        });
        frequencies
    }
}

impl Table {
    /// The n-gram's number; a new one stands in no image yet.
    fn id(&mut self, ngram: u128) -> u32 {
        let next = self.frequency.len() as u32;
        let id = *self.ids.entry(ngram).or_insert(next);
        if id == next {
            self.frequency.push(0);
        }
        id
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
    tables: [HashMap<u128, u32, FxBuildHasher>; ORDERS],
    /// ln N - ln df of every numbered n-gram.
    idf: [Vec<f64>; ORDERS],
    /// ln N, that of n-grams without a number.
    new_idf: f64,
    images: Vec<Vec<Vector>>,
}

/// A sentence's n-grams that have a number.
#[derive(Clone, Debug)]
struct Vector {
    /// (n-gram, count), those of each length n rising and after those of n - 1.
    counts: Box<[(u32, u32)]>,
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
        let frequencies = DocumentFrequency::of(references.iter().copied());
        Self::prepare(&references, frequencies)
    }

    /// For these references, with the document frequencies of another corpus.
    pub fn with_frequencies<'a>(
        references: impl IntoIterator<Item = &'a [Sentence]>,
        mut frequencies: DocumentFrequency,
    ) -> Self {
        let references: Vec<_> = references.into_iter().collect();
        frequencies.orders.par_iter_mut().enumerate().for_each(|(n, table)| {
            for sentence in references.iter().copied().flatten() {
                for ngram in ngrams(sentence.words(), n + 1) {
                    table.id(ngram);
                }
            }
        });
        Self::prepare(&references, frequencies)
    }

    /// `frequencies` numbers every n-gram of `references`.
    fn prepare(references: &[&[Sentence]], frequencies: DocumentFrequency) -> Self {
        let new_idf = (frequencies.images.max(1) as f64).ln();
        let idf = |df: &u32| new_idf - f64::from(*df).max(1.0).ln();
        let mut scorer = Self {
            idf: frequencies
                .orders
                .each_ref()
                .map(|table| table.frequency.iter().map(idf).collect()),
            tables: frequencies.orders.map(|table| table.ids),
            new_idf,
            images: Vec::new(),
        };
        let vectors = |image: &&[Sentence]| {
            image.iter().map(|sentence| scorer.vector(sentence.words())).collect()
        };
        scorer.images = references.par_iter().map(vectors).collect();
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
        let candidate = self.vector(candidate);
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

    fn vector(&self, words: &[u32]) -> Vector {
        let mut numbered = Vec::with_capacity(ORDERS * words.len());
        let (mut ends, mut norms) = ([0; ORDERS], [0.0; ORDERS]);
        for n in 0..ORDERS {
            let start = numbered.len();
            let mut square = 0.0;
            for (ngram, count) in counts(words, n + 1) {
                let id = self.tables[n].get(&ngram);
                let idf = id.map_or(self.new_idf, |&id| self.idf[n][id as usize]);
                square += (f64::from(count) * idf).powi(2);
                numbered.extend(id.map(|&id| (id, count)));
            }
            numbered[start..].sort_unstable();
            ends[n] = numbered.len() as u32;
            norms[n] = square.sqrt();
        }
        let bigrams = words.len().saturating_sub(1) as u32;
        Vector { counts: numbered.into(), ends, norms, bigrams }
    }
}
