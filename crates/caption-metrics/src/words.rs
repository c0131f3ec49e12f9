//! Words as numbers.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;
use rustc_hash::FxBuildHasher;

/// Captions that are read in one go: few enough to spread, and many enough that most words come again.
const CHUNK: usize = 1024;

/// The words of a corpus, each with an id: 0, 1, 2 ... in the order in which they were first seen.
#[derive(Clone, Debug, Default)]
pub struct Words {
    ids: HashMap<Arc<str>, u32, FxBuildHasher>,
    words: Vec<Arc<str>>,
    /// What whitespace divides some of them into.
    pieces: HashMap<u32, Box<[u32]>, FxBuildHasher>,
}

impl Words {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The word with this id.
    pub fn get(&self, id: u32) -> Option<&str> {
        self.words.get(id as usize).map(AsRef::as_ref)
    }

    /// The id of `word`, where it has one.
    #[cfg(feature = "meteor")]
    pub(crate) fn id(&self, word: &str) -> Option<u32> {
        self.ids.get(word).copied()
    }

    /// The id of `word`, which is given one where it is new.
    pub fn intern(&mut self, word: &str) -> u32 {
        if let Some(&id) = self.ids.get(word) {
            return id;
        }
        let id = self.words.len() as u32;
        let owned: Arc<str> = word.into();
        self.words.push(owned.clone());
        self.ids.insert(owned, id);
        if word.is_empty() || word.contains(is_space) {
            let pieces = word.split(is_space).filter(|piece| !piece.is_empty());
            let pieces = pieces.map(|piece| self.intern(piece)).collect();
            self.pieces.insert(id, pieces);
        }
        id
    }

    /// A tokenised caption as ids.
    pub fn sentence<T: AsRef<str>>(&mut self, tokens: &[T]) -> Sentence {
        let tokens: Box<[u32]> = tokens.iter().map(|token| self.intern(token.as_ref())).collect();
        let is_divided = |id: &u32| self.pieces.contains_key(id);
        let words = (!self.pieces.is_empty() && tokens.iter().any(is_divided)).then(|| {
            let whole = |id| std::slice::from_ref(id);
            let words = tokens.iter().flat_map(|id| self.pieces.get(id).map_or(whole(id), |p| p));
            words.copied().collect()
        });
        Sentence { tokens, words }
    }

    /// Tokenises captions in parallel, part by part; the ids are those that one thread would give.
    pub(crate) fn sentences<'a, F, T>(&mut self, captions: &[&'a str], tokenize: F) -> Vec<Sentence>
    where
        F: Fn(&[&'a str], Range<usize>) -> Vec<Vec<T>> + Sync,
        T: AsRef<str>,
    {
        let chunks: Vec<(Self, Vec<Sentence>)> = (0..captions.len().div_ceil(CHUNK))
            .into_par_iter()
            .map(|chunk| {
                let part = chunk * CHUNK..captions.len().min((chunk + 1) * CHUNK);
                let tokens = tokenize(captions, part);
                let mut words = Self::default();
                let sentences = tokens.iter().map(|tokens| words.sentence(tokens)).collect();
                (words, sentences)
            })
            .collect();
        let mut all = Vec::with_capacity(captions.len());
        for (words, mut sentences) in chunks {
            let ids: Vec<u32> = words.words.iter().map(|word| self.intern(word)).collect();
            for sentence in &mut sentences {
                for word in sentence.tokens.iter_mut().chain(sentence.words.iter_mut().flatten()) {
                    *word = ids[*word as usize];
                }
            }
            all.append(&mut sentences);
        }
        all
    }

    /// The tokens of a sentence made of these words; those whose id is not one of them are left out.
    pub fn tokens<'a>(&'a self, sentence: &'a Sentence) -> impl Iterator<Item = &'a str> {
        sentence.tokens().iter().filter_map(|&id| self.get(id))
    }
}

/// Where Python's `str.split()` splits.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// A tokenised caption.
///
/// coco-caption joins the tokens with spaces, and its metrics split them again, not all in one way: the tokeniser
/// writes `1 1/2` as one token with a no-break space inside, where Python's `split()`, which BLEU and CIDEr call, sees
/// two words, while `split(" ")` in ROUGE-L sees one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sentence {
    tokens: Box<[u32]>,
    /// Where they differ from the tokens.
    words: Option<Box<[u32]>>,
}

impl Sentence {
    /// The tokens, as the tokeniser made them: what ROUGE-L and METEOR compare.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The tokens without whitespace inside: what BLEU and CIDEr compare.
    pub fn words(&self) -> &[u32] {
        self.words.as_deref().unwrap_or(&self.tokens)
    }
}

/// Tokens that are words, of any vocabulary.
impl From<Vec<u32>> for Sentence {
    fn from(ids: Vec<u32>) -> Self {
        Self { tokens: ids.into(), words: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_with_a_space_inside_is_two_words() {
        let mut words = Words::default();
        let sentence = words.sentence(&["cut", "1\u{a0}1/2", "inches", "", "\u{3000}", "a\x1fb"]);
        let text = |ids: &[u32]| ids.iter().map(|&id| words.get(id).unwrap()).collect::<Vec<_>>();
        let tokens = ["cut", "1\u{a0}1/2", "inches", "", "\u{3000}", "a\x1fb"];
        assert_eq!(text(sentence.tokens()), tokens);
        assert_eq!(text(sentence.words()), ["cut", "1", "1/2", "inches", "a", "b"]);
        assert_eq!(words.tokens(&sentence).collect::<Vec<_>>(), tokens);
        let plain = words.sentence(&["inches", "cut"]);
        let ids = ["inches", "cut"].map(|word| words.intern(word));
        assert_eq!(plain, Sentence::from(ids.to_vec()));
        assert_eq!(plain.words(), plain.tokens());
    }

    #[test]
    fn chunks_do_not_change_the_ids() {
        let caption = |n: usize| [n % 7, n, n * n % 11].map(|n| format!("{n}\u{a0}x")).to_vec();
        let captions = vec![""; 3 * CHUNK + 1];
        let (mut chunked, mut one_by_one) = (Words::default(), Words::default());
        let sentences = chunked.sentences(&captions, |_, part| part.map(caption).collect());
        assert_eq!(sentences.len(), captions.len());
        for (n, sentence) in sentences.iter().enumerate() {
            assert_eq!(*sentence, one_by_one.sentence(&caption(n)));
        }
        assert_eq!(chunked.words, one_by_one.words);
    }
}
