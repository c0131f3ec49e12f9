//! METEOR's counts, and the score that they make.

use std::iter::Sum;

use super::alignment::chunks;
use super::lexicon::Entry;
use super::matches::Match;

/// Balance of recall and precision.
const ALPHA: f64 = 0.85;
/// Exponent of the penalty.
const BETA: f64 = 0.2;
/// Weight of the penalty.
const GAMMA: f64 = 0.6;
/// Weight of content words; that of function words is what is left to 1.
const DELTA: f64 = 0.75;
/// Weight of a match by its [`Kind`](super::matches::Kind).
const WEIGHTS: [f64; 4] = [1.0, 0.6, 0.8, 0.6];

/// What is counted of a candidate and its reference, or of many: what Java METEOR answers to `SCORE`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Statistics {
    candidate: Side,
    reference: Side,
    chunks: usize,
}

/// Words of a sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Side {
    content: usize,
    function: usize,
    /// Those matched, by kind.
    content_matched: [usize; 4],
    function_matched: [usize; 4],
}

impl Statistics {
    /// Counts the words of two sentences, and what of them is matched.
    pub(super) fn new(candidate: &[&Entry], reference: &[&Entry], made: &[&Match]) -> Self {
        let mut counts = Self {
            candidate: Side::new(candidate),
            reference: Side::new(reference),
            chunks: chunks(made),
        };
        for found in made {
            counts.candidate.matched(found, &candidate[found.candidate.clone()]);
            counts.reference.matched(found, &reference[found.reference.clone()]);
        }
        counts
    }

    /// The score, 0 to 1.
    pub(super) fn score(&self) -> f64 {
        let (precision, recall) = (self.candidate.share(), self.reference.share());
        let f = 1.0 / ((1.0 - ALPHA) / precision + ALPHA / recall);
        let matched = (self.candidate.total_matched() + self.reference.total_matched()) as f64;
        let fragmentation =
            if self.is_perfect() { 0.0 } else { self.chunks as f64 / (matched / 2.0) };
        // without a match or a word there is a 0 below a line somewhere, and the score is 0
        let score = f * (1.0 - GAMMA * fragmentation.powf(BETA));
        if score.is_nan() { 0.0 } else { score.max(0.0) }
    }

    /// Whether all words are matched, in one chunk.
    fn is_perfect(&self) -> bool {
        self.candidate.is_matched() && self.reference.is_matched() && self.chunks == 1
    }
}

/// A corpus' counts; perfect sentences bring no chunk.
impl<'a> Sum<&'a Statistics> for Statistics {
    fn sum<I: Iterator<Item = &'a Statistics>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, one| {
            sum.candidate.add(&one.candidate);
            sum.reference.add(&one.reference);
            sum.chunks += if one.is_perfect() { 0 } else { one.chunks };
            sum
        })
    }
}

impl Side {
    fn new(words: &[&Entry]) -> Self {
        let function = words.iter().filter(|word| word.is_function).count();
        Self { content: words.len() - function, function, ..Self::default() }
    }

    fn matched(&mut self, found: &Match, words: &[&Entry]) {
        for word in words {
            let matched =
                if word.is_function { &mut self.function_matched } else { &mut self.content_matched };
            matched[found.kind as usize] += 1;
        }
    }

    fn add(&mut self, other: &Self) {
        self.content += other.content;
        self.function += other.function;
        for kind in 0..WEIGHTS.len() {
            self.content_matched[kind] += other.content_matched[kind];
            self.function_matched[kind] += other.function_matched[kind];
        }
    }

    fn total_matched(&self) -> usize {
        self.content_matched.iter().chain(&self.function_matched).sum()
    }

    fn is_matched(&self) -> bool {
        self.total_matched() == self.content + self.function
    }

    /// The weighted share of words that is matched.
    fn share(&self) -> f64 {
        let weigh = |counts: [usize; 4], weight: f64| {
            counts.into_iter().zip(WEIGHTS).map(move |(n, kind)| n as f64 * kind * weight)
        };
        let content = weigh(self.content_matched, DELTA);
        let matched: f64 = content.chain(weigh(self.function_matched, 1.0 - DELTA)).sum();
        let length = DELTA * self.content as f64 + (1.0 - DELTA) * self.function as f64;
        matched / length
    }
}
