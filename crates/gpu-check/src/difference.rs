//! How far features are from what they should be.

use serde_json::{Value, json};

use crate::error::{Error, Result};

/// Between rows and what they should be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Difference {
    /// Euclidean, by the norm of what they should be: the largest over the rows.
    relative: f64,
    /// The smallest over the rows.
    cosine: f64,
}

impl Difference {
    /// Of `[B, D]`, row by row.
    pub(crate) fn compare(rows: &[Vec<f32>], expected: &[Vec<f32>]) -> Result<Self> {
        let mut worst = Self { relative: 0.0, cosine: 1.0 };
        for (row, expected) in rows.iter().zip(expected) {
            let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
                row.iter().zip(expected).map(|(&a, &b)| f(a.into(), b.into())).sum()
            };
            let (ours, theirs) = (sum(&|a, _| a * a), sum(&|_, b| b * b));
            if theirs <= 0.0 || !theirs.is_finite() || !ours.is_finite() {
                return Err(Error::Other(format!("fc7's norms are {ours} and {theirs}")));
            }
            worst = worst.or(Self {
                relative: (sum(&|a, b| (a - b) * (a - b)) / theirs).sqrt(),
                cosine: sum(&|a, b| a * b) / (ours * theirs).sqrt(),
            });
        }
        Ok(worst)
    }

    /// The worse of both.
    pub(crate) fn or(self, other: Self) -> Self {
        Self { relative: self.relative.max(other.relative), cosine: self.cosine.min(other.cosine) }
    }

    /// As the script that judges reads it.
    pub(crate) fn json(self) -> Value {
        json!({ "relative_l2": self.relative, "cosine": self.cosine })
    }
}
