//! Captions to words and back.

use serde::{Deserialize, Serialize};

/// How a caption is cut into words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tokenizer {
    /// Karpathy's: lower case, only a-z, 0-9 and spaces kept.
    #[default]
    Karpathy,
}

impl Tokenizer {
    /// The words of a caption.
    pub fn tokenize(self, _caption: &str) -> Vec<String> {
        unimplemented!()
    }

    /// Words joined as people write them.
    pub fn join(self, words: &[&str]) -> String {
        words.join(" ")
    }
}
