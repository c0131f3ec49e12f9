//! Which words of a candidate could be matched with which of a reference.

use std::ops::Range;

use super::lexicon::{Entry, Lexicon};
use super::paraphrases::Paraphrases;

/// Why words match, in the order in which METEOR looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Exact,
    Stem,
    Synonym,
    Paraphrase,
}

/// Words that could be matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) kind: Kind,
    /// Where in the candidate.
    pub(super) candidate: Range<usize>,
    /// Where in the reference.
    pub(super) reference: Range<usize>,
}

/// All matches of a candidate with a reference.
pub(super) struct Matches {
    /// By where in the reference they begin, then in the order in which METEOR finds them.
    found: Vec<Match>,
    /// How many matches there are of each of the candidate's words.
    pub(super) candidate_cover: Vec<u32>,
    /// And of the reference's.
    pub(super) reference_cover: Vec<u32>,
}

impl Matches {
    /// Looks for matches of all kinds; of a candidate that is the reference, for exact ones alone.
    pub(super) fn find(
        candidate: &[u32],
        reference: &[u32],
        lexicon: &Lexicon,
        paraphrases: &Paraphrases,
    ) -> Self {
        let mut matches = Self {
            found: Vec::new(),
            candidate_cover: vec![0; candidate.len()],
            reference_cover: vec![0; reference.len()],
        };
        let (candidates, references) = (lexicon.entries(candidate), lexicon.entries(reference));
        matches.words(Kind::Exact, &candidates, &references, |a, b| a.key == b.key);
        if candidates.iter().map(|word| word.key).eq(references.iter().map(|word| word.key)) {
            return matches;
        }
        matches.words(Kind::Stem, &candidates, &references, |a, b| {
            a.stem == b.stem && a.key != b.key
        });
        matches.words(Kind::Synonym, &candidates, &references, |a, b| {
            a.key != b.key && intersect(&a.synsets, &b.synsets)
        });
        phrases(reference, candidate, paraphrases, |reference, candidate| {
            matches.add(Match { kind: Kind::Paraphrase, candidate, reference });
        });
        phrases(candidate, reference, paraphrases, |candidate, reference| {
            matches.add(Match { kind: Kind::Paraphrase, candidate, reference });
        });
        matches.found.sort_by_key(|found| found.reference.start);
        matches
    }

    /// Those that begin at this word of the reference.
    pub(super) fn starting_at(&self, position: usize) -> &[Match] {
        let start = self.found.partition_point(|found| found.reference.start < position);
        let found = &self.found[start..];
        &found[..found.partition_point(|found| found.reference.start == position)]
    }

    fn words(
        &mut self,
        kind: Kind,
        candidate: &[&Entry],
        reference: &[&Entry],
        fit: impl Fn(&Entry, &Entry) -> bool,
    ) {
        for (r, b) in reference.iter().enumerate() {
            for (c, a) in candidate.iter().enumerate() {
                if fit(a, b) {
                    self.add(Match { kind, candidate: c..c + 1, reference: r..r + 1 });
                }
            }
        }
    }

    fn add(&mut self, found: Match) {
        self.candidate_cover[found.candidate.clone()].iter_mut().for_each(|n| *n += 1);
        self.reference_cover[found.reference.clone()].iter_mut().for_each(|n| *n += 1);
        self.found.push(found);
    }
}

/// Calls `found` for each phrase in `from` with a paraphrase in `to`.
fn phrases(
    from: &[u32],
    to: &[u32],
    paraphrases: &Paraphrases,
    mut found: impl FnMut(Range<usize>, Range<usize>),
) {
    for start in 0..from.len() {
        for (length, paraphrases) in paraphrases.of(&from[start..]) {
            for paraphrase in paraphrases.iter() {
                for (at, word) in to.iter().enumerate() {
                    // almost none fits: the first word tells at the least cost
                    if Some(word) == paraphrase.first() && to[at..].starts_with(paraphrase) {
                        found(start..start + length, at..at + paraphrase.len());
                    }
                }
            }
        }
    }
}

/// Whether two ascending lists share a number.
fn intersect(mut a: &[u32], mut b: &[u32]) -> bool {
    while let ([x, rest_a @ ..], [y, rest_b @ ..]) = (a, b) {
        match x.cmp(y) {
            std::cmp::Ordering::Less => a = rest_a,
            std::cmp::Ordering::Greater => b = rest_b,
            std::cmp::Ordering::Equal => return true,
        }
    }
    false
}
