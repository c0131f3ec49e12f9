//! The words of a corpus, and what METEOR asks of each.

use rayon::prelude::*;
use rust_stemmers::{Algorithm, Stemmer};
use rustc_hash::FxHashSet;

use super::wordnet::WordNet;
use crate::Words;

/// Words by id.
pub(super) struct Lexicon {
    words: Words,
    entries: Vec<Entry>,
}

/// What is known of a word.
pub(super) struct Entry {
    /// Words of one key are the same word.
    pub(super) key: i32,
    /// The key of its stem.
    pub(super) stem: i32,
    /// In ascending order.
    pub(super) synsets: Box<[u32]>,
    /// Whether it counts as a function word: "the", "of", ...
    pub(super) is_function: bool,
}

impl Lexicon {
    /// Looks all `words` up.
    pub(super) fn new(words: Words, wordnet: &WordNet, function_words: &FxHashSet<Box<str>>) -> Self {
        let stemmer = Stemmer::create(Algorithm::English);
        let entries = (0..words.len() as u32)
            .into_par_iter()
            .map(|id| {
                let word = words.get(id).unwrap_or_default();
                Entry {
                    key: key(word),
                    stem: key(&stemmer.stem(word)),
                    synsets: wordnet.synsets_of(word),
                    is_function: function_words.contains(word),
                }
            })
            .collect();
        Self { words, entries }
    }

    pub(super) fn words(&self) -> &Words {
        &self.words
    }

    /// What is known of the words of a sentence.
    pub(super) fn entries(&self, sentence: &[u32]) -> Vec<&Entry> {
        sentence.iter().map(|&id| &self.entries[id as usize]).collect()
    }
}

/// Java's `String.hashCode`, by which METEOR compares words: two of a few billion pairs of long words share theirs.
fn key(word: &str) -> i32 {
    word.encode_utf16().fold(0, |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(unit.into()))
}
