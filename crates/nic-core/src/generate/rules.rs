//! What every sentence keeps to.

use super::{MOST, in_range};
use crate::{Error, Result, Vocab};

/// What every sentence keeps to, whichever way it is generated. `<pad>` and `<start>` are never in one.
///
/// ```
/// # use nic_core::{BeamSearch, Rules};
/// let search = BeamSearch::new(3).rules(Rules::default().min_len(5).no_repeat(3));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// At most so many words: a sentence is cut there, and counts as it stands.
    pub max_len: usize,
    /// At least so many words: END is not chosen before.
    pub min_len: usize,
    /// No sequence of so many words twice in a sentence (Paulus et al. 2018, section 2.5, with 3).
    pub no_repeat: Option<usize>,
    /// Whether `<unk>` may be chosen; [`Vocab::decode`] leaves it out of the text.
    pub unk: bool,
}

impl Default for Rules {
    /// Up to 20 words, no `<unk>`.
    fn default() -> Self {
        Self { max_len: 20, min_len: 0, no_repeat: None, unk: false }
    }
}

impl Rules {
    /// At most `words` words.
    pub fn max_len(mut self, words: usize) -> Self {
        self.max_len = words;
        self
    }

    /// At least `words` words.
    pub fn min_len(mut self, words: usize) -> Self {
        self.min_len = words;
        self
    }

    /// No sequence of `words` words twice.
    pub fn no_repeat(mut self, words: usize) -> Self {
        self.no_repeat = Some(words);
        self
    }

    /// `<unk>` may be chosen.
    pub fn allow_unk(mut self) -> Self {
        self.unk = true;
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        in_range("max_len", self.max_len, MOST)?;
        if self.min_len > self.max_len {
            return Err(Error::Usage(format!(
                "min_len is {}, expected at most {}, which max_len is",
                self.min_len, self.max_len
            )));
        }
        self.no_repeat.map_or(Ok(()), |words| in_range("no_repeat", words, MOST))
    }

    /// Words that are in no sentence.
    pub(super) fn never(&self) -> &'static [u32] {
        if self.unk { &[Vocab::PAD, Vocab::START] } else { &[Vocab::PAD, Vocab::START, Vocab::UNK] }
    }

    /// Words, beside those that are in no sentence, that must not follow `words`.
    pub(super) fn forbidden(&self, words: &[u32]) -> Vec<u32> {
        let mut forbidden = Vec::new();
        if words.len() < self.min_len {
            forbidden.push(Vocab::END);
        }
        if let Some(length) = self.no_repeat
            && words.len() >= length
        {
            let beginning = &words[words.len() + 1 - length..];
            for window in words.windows(length) {
                if let [before @ .., last] = window
                    && before == beginning
                    && !forbidden.contains(last)
                {
                    forbidden.push(*last);
                }
            }
        }
        forbidden
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_repeat_is_forbidden() {
        let after = |n: usize, words: &[u32]| Rules::default().no_repeat(n).forbidden(words);
        assert!(after(1, &[]).is_empty());
        assert_eq!(after(1, &[7, 8, 7]), [7, 8]);
        assert!(after(2, &[7]).is_empty());
        assert_eq!(after(2, &[7, 7]), [7]);
        assert_eq!(after(2, &[7, 8, 7]), [8]);
        assert_eq!(after(2, &[7, 8, 7, 9, 7]), [8, 9]);
        assert_eq!(after(3, &[7, 8, 9, 6, 7, 8]), [9]);
        assert!(after(3, &[7, 8, 9, 6, 8]).is_empty());
        assert_eq!(after(3, &[7, 7, 7]), [7]);
    }

    #[test]
    fn short_sentences_do_not_end() {
        let rules = Rules::default().min_len(2);
        assert_eq!(rules.forbidden(&[7]), [Vocab::END]);
        assert!(rules.forbidden(&[7, 7]).is_empty());
    }
}
