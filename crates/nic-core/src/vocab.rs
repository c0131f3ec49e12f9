//! The words that the decoder knows.

use std::path::Path;

use crate::{Result, Tokenizer};

/// Words and their ids: first `<pad> <start> <end> <unk>`, then by count (falling), then by word.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocab {
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
        _tokenizer: Tokenizer,
        _captions: impl IntoIterator<Item = &'a [String]>,
        _min_count: u64,
    ) -> Self {
        unimplemented!()
    }

    /// Reads `vocab.json`.
    pub fn load(_path: &Path) -> Result<Self> {
        unimplemented!()
    }

    /// Writes `vocab.json`.
    pub fn save(&self, _path: &Path) -> Result<()> {
        unimplemented!()
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

    /// Ids of words, `<unk>` for the unknown; without START and END.
    pub fn encode(&self, _words: &[String]) -> Vec<u32> {
        unimplemented!()
    }

    /// The sentence of ids, special words left out.
    pub fn decode(&self, _ids: &[u32]) -> String {
        unimplemented!()
    }

    /// ln of each word's share of the training targets (END and UNK counted, START and PAD as if seen once):
    /// the output bias that saves the first epoch.
    pub fn log_frequencies(&self) -> Vec<f32> {
        unimplemented!()
    }
}
