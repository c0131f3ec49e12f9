//! Captions to words and back.

use caption_metrics::ptb;
use serde::{Deserialize, Serialize};

/// How a caption is cut into words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tokenizer {
    /// Karpathy's: lower case, only a-z, 0-9 and spaces kept. A hyphen or an apostrophe leaves no gap
    /// ("t-shirt" is `tshirt`); other white space counts as a space.
    #[default]
    Karpathy,
    /// The Penn Treebank's, as coco-caption scores captions: `a man 's t-shirt`, punctuation left out.
    Ptb,
}

impl Tokenizer {
    /// The words of a caption.
    pub fn tokenize(self, caption: &str) -> Vec<String> {
        match self {
            Self::Karpathy => caption
                .to_lowercase()
                .split_whitespace()
                .map(|word| word.chars().filter(char::is_ascii_alphanumeric).collect::<String>())
                .filter(|word| !word.is_empty())
                .collect(),
            Self::Ptb => ptb::tokenize(caption),
        }
    }

    /// Words joined as people write them.
    pub fn join(self, words: &[&str]) -> String {
        match self {
            Self::Karpathy => words.join(" "),
            Self::Ptb => ptb::join(words),
        }
    }
}
