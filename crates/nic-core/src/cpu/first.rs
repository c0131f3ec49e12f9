//! The first convolution: three channels are too few for Winograd's algorithm to pay, so it is one matrix product over
//! the 27 values that each output reads.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::isa::Isa;
use super::lines::{Line, Wide};
use super::product::{ROWS, Rows, product};

/// Channels and filter rows: each of these nine gives three neighbours in a row.
const GROUPS: usize = 9;
/// Groups that a line of 16 holds.
const A_LINE: usize = 5;
/// Output rows that a worker takes at a time, at least.
const AT_ONCE: usize = 8;

/// 3x3 convolution of three channels, stride 1, padding 1, with bias and ReLU.
#[derive(Debug)]
pub(crate) struct First {
    isa: Isa,
    /// `[K/32][32]`, a row for each place in the two lines.
    weights: Vec<Wide>,
    /// `[K/16]`
    bias: Vec<Line>,
}

impl First {
    /// `weights` `[K, 3, 3, 3]` and `bias` `[K]` as PyTorch stores them; K is filled up to a multiple of 32.
    pub(crate) fn new(isa: Isa, weights: &[f32], bias: &[f32]) -> Self {
        let panels = bias.len().div_ceil(32);
        let mut packed = vec![Wide::ZERO; panels * 32];
        for (k, filter) in weights.chunks_exact(3 * GROUPS).enumerate() {
            for (i, &weight) in filter.iter().enumerate() {
                let (group, tap) = (i / 3, i % 3);
                let place = group / A_LINE * 16 + group % A_LINE * 3 + tap;
                packed[k / 32 * 32 + place].0[k % 32] = weight;
            }
        }
        Self { isa, weights: packed, bias: Line::fill(bias, panels * 2) }
    }

    /// Lines of an output pixel.
    pub(crate) fn lines_out(&self) -> usize {
        self.bias.len()
    }

    /// Images `[N, 3, S, S]` to ReLU(conv(x) + bias), `[N][S][S]`.
    pub(crate) fn run(&self, images: &[f32], y: &mut [Line], side: usize) {
        let rows = y.par_chunks_mut(side * self.lines_out()).with_min_len(AT_ONCE);
        rows.enumerate().for_each(|(i, y)| {
            let image = &images[i / side * 3 * side * side..][..3 * side * side];
            self.isa.run(Row { first: self, image, row: i % side, side, y });
        });
    }
}

/// One row of an image's output.
struct Row<'a> {
    first: &'a First,
    /// `[3, S, S]`
    image: &'a [f32],
    row: usize,
    side: usize,
    y: &'a mut [Line],
}

impl WithSimd for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (side, lines) = (self.side, self.first.lines_out());
        // the nine rows that it reads, with a zero at either end
        let padded = side + 2;
        let mut rows = vec![0.0; GROUPS * padded];
        for (group, row) in rows.chunks_exact_mut(padded).enumerate() {
            let y = self.row + group % 3;
            if (1..=side).contains(&y) {
                let from = &self.image[(group / 3 * side + y - 1) * side..][..side];
                row[1..=side].copy_from_slice(from);
            }
        }
        let zero = simd.splat_f32s(0.0);
        let mut left: [Rows<Line, 1>; 2] = [[[Line::ZERO; ROWS]; 1]; 2];
        let mut results = [Wide::ZERO; ROWS];
        for (start, y) in (0..side).step_by(ROWS).zip(self.y.chunks_mut(ROWS * lines)) {
            let t = y.len() / lines;
            for (group, row) in rows.chunks_exact(padded).enumerate() {
                let pixels = left[group / A_LINE][0].iter_mut().zip(row[start..].windows(3));
                for (pixel, taps) in pixels.take(t) {
                    pixel.0[group % A_LINE * 3..][..3].copy_from_slice(taps);
                }
            }
            for (panel, weights) in self.first.weights.chunks_exact(32).enumerate() {
                product(simd, &left, 0, weights, &mut results[..t], false);
                for (y, result) in y.chunks_exact_mut(lines).zip(&results) {
                    for (column, &x) in result.vectors::<S>().iter().enumerate() {
                        let vectors = 16 / S::F32_LANES;
                        let (line, part) = (panel * 2 + column / vectors, column % vectors);
                        let bias = self.first.bias[line].vectors::<S>()[part];
                        y[line].vectors_mut::<S>()[part] =
                            simd.max_f32s(zero, simd.add_f32s(x, bias));
                    }
                }
            }
        }
    }
}
