//! Fully connected layers on packed weights.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::isa::Isa;
use super::lines::{Line, Wide};
use super::product::{ROWS, Rows, product, start_of_rows};

/// Rows of weights that all images meet before the next are read: with 32 columns they stay close to the core.
const DEPTH: usize = 512;

/// y = x W^T + b, with ReLU where asked.
#[derive(Debug)]
pub(crate) struct Dense {
    isa: Isa,
    /// Lines of 16 inputs.
    inputs: usize,
    /// W^T, `[K/32][D]`: read once, front to back, for the whole batch.
    weights: Vec<Wide>,
    /// `[K/32]`
    bias: Vec<Wide>,
    relu: bool,
}

impl Dense {
    /// `weight(k, d)` is output k's weight of input d, of which there are `inputs` in `lines` lines.
    pub(crate) fn new(
        isa: Isa,
        lines: usize,
        inputs: usize,
        bias: &[f32],
        relu: bool,
        weight: impl Fn(usize, usize) -> f32 + Sync,
    ) -> Self {
        let (outputs, depth) = (bias.len(), lines * 16);
        let panels = outputs.div_ceil(32);
        let fill = |panel: usize, value: &dyn Fn(usize) -> f32| {
            let column =
                |k: usize| if panel * 32 + k < outputs { value(panel * 32 + k) } else { 0.0 };
            Wide(std::array::from_fn(column))
        };
        let mut weights = vec![Wide::ZERO; panels * depth];
        weights.par_chunks_mut(depth).enumerate().for_each(|(panel, rows)| {
            for (d, row) in rows.iter_mut().enumerate().take(inputs) {
                *row = fill(panel, &|k| weight(k, d));
            }
        });
        let bias = (0..panels).map(|panel| fill(panel, &|k| bias[k])).collect();
        Self { isa, inputs: lines, weights, bias, relu }
    }

    /// Lines of a row of outputs.
    pub(crate) fn lines_out(&self) -> usize {
        self.bias.len() * 2
    }

    /// x `[N][D/16]` to `[N][K/16]`.
    pub(crate) fn run(&self, x: &[Line]) -> Vec<Line> {
        let n = x.len() / self.inputs;
        // `[N/14][D/16][14]`
        let mut left = vec![[[Line::ZERO; ROWS]; 1]; n.div_ceil(ROWS) * self.inputs];
        for (block, left) in left.chunks_exact_mut(self.inputs).enumerate() {
            let (from, to) = (start_of_rows(block, n), start_of_rows(block + 1, n));
            for (at, row) in x.chunks_exact(self.inputs).take(to).skip(from).enumerate() {
                for (left, &line) in left.iter_mut().zip(row) {
                    left[0][at] = line;
                }
            }
        }
        let panels = self.weights.par_chunks(self.inputs * 16);
        let sums: Vec<Vec<Wide>> = panels
            .map(|weights| {
                let mut sums = vec![Wide::ZERO; n];
                self.isa.run(Panel { left: &left, weights, sums: &mut sums });
                sums
            })
            .collect();
        let mut y = Vec::with_capacity(n * self.lines_out());
        for row in 0..n {
            for (sums, bias) in sums.iter().zip(&self.bias) {
                let value = |k: usize| {
                    let value = sums[row].0[k] + bias.0[k];
                    if self.relu { value.max(0.0) } else { value }
                };
                y.extend([0, 16].map(|half| Line(std::array::from_fn(|k| value(half + k)))));
            }
        }
        y
    }
}

/// 32 outputs of the whole batch.
struct Panel<'a> {
    /// `[N/14][D/16][14]`
    left: &'a [Rows<Line, 1>],
    weights: &'a [Wide],
    sums: &'a mut [Wide],
}

impl WithSimd for Panel<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (n, depth) = (self.sums.len(), self.weights.len());
        for start in (0..depth).step_by(DEPTH) {
            let end = depth.min(start + DEPTH);
            for (block, left) in self.left.chunks_exact(depth / 16).enumerate() {
                let rows = start_of_rows(block, n)..start_of_rows(block + 1, n);
                let left = &left[start / 16..end / 16];
                let weights = &self.weights[start..end];
                product(simd, left, 0, weights, &mut self.sums[rows], start > 0);
            }
        }
    }
}
