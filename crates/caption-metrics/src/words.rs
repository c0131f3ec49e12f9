//! Words as numbers.

use std::collections::HashMap;

use rayon::prelude::*;
use rustc_hash::FxBuildHasher;

/// Captions that are tokenised in one go: few enough to spread, and many enough that most words come again.
const CHUNK: usize = 256;

/// The words of a corpus, each with an id: 0, 1, 2 ... in the order in which they were first seen.
#[derive(Clone, Debug, Default)]
pub struct Words {
    ids: HashMap<Box<str>, u32, FxBuildHasher>,
    words: Vec<Box<str>>,
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

    /// The id of `word`, which is given one where it is new.
    pub fn intern(&mut self, word: &str) -> u32 {
        if let Some(&id) = self.ids.get(word) {
            return id;
        }
        let id = self.words.len() as u32;
        self.words.push(word.into());
        self.ids.insert(word.into(), id);
        id
    }

    /// The id of `word`, where it has one.
    pub(crate) fn id(&self, word: &str) -> Option<u32> {
        self.ids.get(word).copied()
    }

    /// A tokenised caption as ids.
    pub fn sentence<T: AsRef<str>>(&mut self, tokens: &[T]) -> Sentence {
        let ids = tokens.iter().map(|token| self.intern(token.as_ref())).collect();
        let whole = |token: &T| !token.as_ref().is_empty() && !token.as_ref().contains(is_space);
        let words = (!tokens.iter().all(whole)).then(|| {
            let pieces = tokens.iter().flat_map(|token| token.as_ref().split(is_space));
            pieces.filter(|piece| !piece.is_empty()).map(|piece| self.intern(piece)).collect()
        });
        Sentence { tokens: ids, words }
    }

    /// Tokenises captions in parallel; the ids are those that one thread would give.
    pub(crate) fn sentences<F>(&mut self, captions: &[&str], tokenize: F) -> Vec<Sentence>
    where
        F: Fn(&str) -> Vec<String> + Sync,
    {
        let chunks: Vec<(Self, Vec<Sentence>)> = captions
            .par_chunks(CHUNK)
            .map(|captions| {
                let mut words = Self::default();
                let sentences = captions.iter().map(|caption| words.sentence(&tokenize(caption)));
                let sentences = sentences.collect();
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
        assert_eq!(sentence.tokens(), [0, 1, 2, 3, 4, 5]);
        let split: Vec<_> = sentence.words().iter().map(|&id| words.get(id).unwrap()).collect();
        assert_eq!(split, ["cut", "1", "1/2", "inches", "a", "b"]);
        assert_eq!(words.tokens(&sentence).nth(1), Some("1\u{a0}1/2"));
        let plain = words.sentence(&["inches", "cut"]);
        assert_eq!(plain, Sentence::from(vec![2, 0]));
        assert_eq!(plain.words(), plain.tokens());
    }

    #[test]
    fn chunks_do_not_change_the_ids() {
        let captions: Vec<String> = (0..3 * CHUNK as u64 + 1)
            .map(|n| format!("{} x\u{a0}{} {}", n % 7, n, n * n % 11))
            .collect();
        let captions: Vec<&str> = captions.iter().map(String::as_str).collect();
        let tokens = |caption: &str| caption.split(' ').map(String::from).collect::<Vec<_>>();
        let (mut chunked, mut one_by_one) = (Words::default(), Words::default());
        let sentences = chunked.sentences(&captions, tokens);
        for (sentence, caption) in sentences.iter().zip(&captions) {
            assert_eq!(*sentence, one_by_one.sentence(&tokens(caption)));
        }
        assert_eq!(chunked.words, one_by_one.words);
    }
}
