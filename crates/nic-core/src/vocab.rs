//! The words that the decoder knows.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::file::write_atomically;
use crate::{Error, Result, Tokenizer};

const SPECIAL: [&str; 4] = ["<pad>", "<start>", "<end>", "<unk>"];

/// Words and their ids: first `<pad> <start> <end> <unk>`, then by count (falling), then by word.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocab {
    tokenizer: Tokenizer,
    words: Vec<String>,
    counts: Vec<u64>,
    ids: HashMap<String, u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VocabFile {
    tokenizer: Tokenizer,
    words: Vec<String>,
    counts: Vec<u64>,
}

impl Vocab {
    /// Never in a sentence.
    pub const PAD: u32 = 0;
    /// Before the first word.
    pub const START: u32 = 1;
    /// After the last word.
    pub const END: u32 = 2;
    /// A word seen too rarely.
    pub const UNK: u32 = 3;

    /// From the training split's tokenised captions: words seen `min_count` times and more.
    pub fn build<'a>(
        tokenizer: Tokenizer,
        captions: impl IntoIterator<Item = &'a [String]>,
        min_count: u64,
    ) -> Self {
        let mut seen: HashMap<&str, u64> = HashMap::new();
        let mut ends = 0;
        for caption in captions {
            ends += 1;
            for word in caption {
                *seen.entry(word).or_default() += 1;
            }
        }
        let (mut kept, rare): (Vec<_>, Vec<_>) = seen
            .into_iter()
            .partition(|(word, count)| *count >= min_count && !SPECIAL.contains(word));
        kept.sort_unstable_by(|(a, m), (b, n)| n.cmp(m).then(a.cmp(b)));
        let unknown = rare.iter().map(|(_, count)| count).sum();

        let special = SPECIAL.into_iter().zip([0, 0, ends, unknown]);
        let (words, counts) =
            special.chain(kept).map(|(word, count)| (word.to_owned(), count)).unzip();
        Self::new(VocabFile { tokenizer, words, counts })
    }

    fn new(file: VocabFile) -> Self {
        let VocabFile { tokenizer, words, counts } = file;
        let ids = (0..).zip(&words).map(|(id, word)| (word.clone(), id)).collect();
        Self { tokenizer, words, counts, ids }
    }

    /// Reads `vocab.json`: `{"tokenizer": name, "words": [...], "counts": [...]}`.
    ///
    /// # Errors
    /// The file cannot be read, is not this JSON, does not begin with the special words, holds a word twice, or
    /// has another number of counts than words.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read(path).map_err(Error::io(path))?;
        let file: VocabFile = serde_json::from_slice(&text).map_err(Error::json(path))?;
        let mismatch = |what: String, found: String, expected: String| Error::Mismatch {
            place: path.display().to_string(),
            what,
            found,
            expected,
        };
        for (id, special) in SPECIAL.iter().enumerate() {
            if file.words.get(id).is_none_or(|word| word != special) {
                let found =
                    file.words.get(id).map_or("missing".to_owned(), |word| format!("{word:?}"));
                return Err(mismatch(format!("words[{id}]"), found, format!("{special:?}")));
            }
        }
        if file.counts.len() != file.words.len() {
            let expected = format!("{}, one for each word", file.words.len());
            return Err(mismatch(
                "the number of counts".into(),
                file.counts.len().to_string(),
                expected,
            ));
        }
        if u32::try_from(file.words.len()).is_err() {
            let expected = format!("at most {}", u32::MAX);
            return Err(mismatch(
                "the number of words".into(),
                file.words.len().to_string(),
                expected,
            ));
        }
        let words = file.words.len();
        let vocab = Self::new(file);
        if vocab.ids.len() != words {
            let twice = (0..).zip(&vocab.words).find(|(id, word)| vocab.ids.get(*word) != Some(id));
            let (id, word) = twice.unwrap_or((0, &vocab.words[0]));
            return Err(mismatch(
                format!("words[{id}]"),
                format!("{word:?}, there twice"),
                "a new word".into(),
            ));
        }
        Ok(vocab)
    }

    /// Writes `vocab.json`, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<()> {
        let file = VocabFile {
            tokenizer: self.tokenizer,
            words: self.words.clone(),
            counts: self.counts.clone(),
        };
        let mut text = serde_json::to_vec(&file).map_err(Error::json(path))?;
        text.push(b'\n');
        write_atomically(path, &text)
    }

    /// How captions are cut into words.
    pub fn tokenizer(&self) -> Tokenizer {
        self.tokenizer
    }

    /// How many words, the four special ones included: V.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// The word of an id.
    pub fn word(&self, id: u32) -> Option<&str> {
        self.words.get(id as usize).map(String::as_str)
    }

    /// How often the word of an id is a target in the training split, in captions that are not cut: `<end>` once a
    /// caption, `<unk>` for all the words left out, `<pad>` and `<start>` never.
    pub fn count(&self, id: u32) -> Option<u64> {
        self.counts.get(id as usize).copied()
    }

    /// Ids of words, `<unk>` for the unknown; without START and END.
    pub fn encode(&self, words: &[String]) -> Vec<u32> {
        let id = |word: &String| match self.ids.get(word) {
            Some(&id) if id > Self::UNK => id,
            _ => Self::UNK,
        };
        words.iter().map(id).collect()
    }

    /// The sentence of ids, special words left out.
    pub fn decode(&self, ids: &[u32]) -> String {
        let words: Vec<&str> =
            ids.iter().filter(|&&id| id > Self::UNK).filter_map(|&id| self.word(id)).collect();
        self.tokenizer.join(&words)
    }

    /// ln of each word's share of the training targets (END and UNK counted, what was never seen as if seen once):
    /// the output bias that saves the first epoch.
    pub fn log_frequencies(&self) -> Vec<f32> {
        let counts = || self.counts.iter().map(|&count| count.max(1) as f64);
        let total: f64 = counts().sum();
        counts().map(|count| (count / total).ln() as f32).collect()
    }
}
