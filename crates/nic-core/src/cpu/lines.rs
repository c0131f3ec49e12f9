//! Cache lines of f32: the unit in which activations and weights are laid out.

use std::ops::Range;

use pulp::Simd;
use rayon::prelude::*;

use crate::Result;

/// Sixteen channels of one pixel: a cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [f32; 16]);

/// Thirty-two columns of a packed matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub(crate) struct Wide(pub(crate) [f32; 32]);

impl Line {
    pub(crate) const ZERO: Self = Self([0.0; 16]);

    /// `values` in `count` lines, filled up with zeros.
    pub(crate) fn fill(values: &[f32], count: usize) -> Vec<Self> {
        let mut lines = vec![Self::ZERO; count];
        for (line, values) in lines.iter_mut().zip(values.chunks(16)) {
            line.0[..values.len()].copy_from_slice(values);
        }
        lines
    }

    /// As vectors of the machine's width.
    #[inline(always)]
    pub(crate) fn vectors<S: Simd>(&self) -> &[S::f32s] {
        S::as_simd_f32s(&self.0).0
    }

    #[inline(always)]
    pub(crate) fn vectors_mut<S: Simd>(&mut self) -> &mut [S::f32s] {
        S::as_mut_simd_f32s(&mut self.0).0
    }
}

impl Wide {
    pub(crate) const ZERO: Self = Self([0.0; 32]);

    #[inline(always)]
    pub(crate) fn vectors<S: Simd>(&self) -> &[S::f32s] {
        S::as_simd_f32s(&self.0).0
    }

    #[inline(always)]
    pub(crate) fn vectors_mut<S: Simd>(&mut self) -> &mut [S::f32s] {
        S::as_mut_simd_f32s(&mut self.0).0
    }
}

/// Packs a layer's weights, 32 outputs at a time and side by side.
pub(crate) fn panels(
    outputs: usize,
    pack: impl Fn(Range<usize>) -> Result<Vec<Wide>> + Sync,
) -> Result<Vec<Vec<Wide>>> {
    let panels = (0..outputs.div_ceil(32)).into_par_iter();
    panels.map(|panel| pack(panel * 32..outputs.min(panel * 32 + 32))).collect()
}
