//! How sentences of different lengths compare.

use std::str::FromStr;

use crate::{Error, Result};

/// How sentences of different lengths compare: by their log probability divided by a function of n, the number of
/// their words with END.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum LengthNorm {
    /// By the log probability itself, as Show and Tell does.
    #[default]
    None,
    /// Divided by n: the mean per word.
    Mean,
    /// Divided by ((5 + n) / 6)^alpha (Wu et al. 2016, equation 14, without the coverage penalty).
    Wu(f32),
}

impl LengthNorm {
    pub(super) fn check(self) -> Result<()> {
        match self {
            // below 0 a longer sentence could become better than its beginning
            Self::Wu(alpha) if !(alpha >= 0.0 && alpha.is_finite()) => Err(Error::Usage(format!(
                "the length normalisation's alpha is {alpha}, expected at least 0"
            ))),
            _ => Ok(()),
        }
    }

    /// What a sentence of `tokens` words with END is divided by; it never falls with the length.
    pub(super) fn divisor(self, tokens: usize) -> f32 {
        match self {
            Self::None => 1.0,
            Self::Mean => tokens as f32,
            Self::Wu(alpha) => ((5.0 + tokens as f32) / 6.0).powf(alpha),
        }
    }
}

/// `none`, `mean` or `wu:ALPHA`.
impl FromStr for LengthNorm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let norm = match text {
            "none" => Some(Self::None),
            "mean" => Some(Self::Mean),
            _ => text.strip_prefix("wu:").and_then(|alpha| alpha.parse().ok()).map(Self::Wu),
        };
        let norm = norm.ok_or_else(|| {
            Error::Usage(format!(
                "length normalisation is {text:?}, expected none, mean or wu:ALPHA"
            ))
        })?;
        norm.check()?;
        Ok(norm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read() {
        assert_eq!("none".parse::<LengthNorm>().unwrap(), LengthNorm::None);
        assert_eq!("mean".parse::<LengthNorm>().unwrap(), LengthNorm::Mean);
        assert_eq!("wu:0.6".parse::<LengthNorm>().unwrap(), LengthNorm::Wu(0.6));
        for wrong in ["", "Mean", "wu", "wu:", "wu:x", "0.6", "wu:-1", "wu:inf", "wu:nan"] {
            assert!(wrong.parse::<LengthNorm>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn follows_the_formula() {
        assert_eq!(LengthNorm::Mean.divisor(7), 7.0);
        assert_eq!(LengthNorm::Wu(1.0).divisor(1), 1.0);
        assert!((LengthNorm::Wu(0.6).divisor(13) - 3f32.powf(0.6)).abs() < 1e-6);
    }
}
