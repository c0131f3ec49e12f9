//! Fully connected layers on packed weights.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::isa::Isa;
use super::lines::{Line, Wide, panels};
use super::product::{ROWS, Rows, product, start_of_rows};
use crate::Result;

/// Rows of weights that all images meet before the next are read: with 32 columns they stay close to the core.
const DEPTH: usize = 512;

/// y = x W^T + b, with ReLU where asked.
#[derive(Debug)]
pub(crate) struct Dense {
    isa: Isa,
    /// Lines of 16 inputs.
    inputs: usize,
    /// W^T, `[K/32][D]`: read once, front to back, for the whole batch.
    weights: Vec<Vec<Wide>>,
    /// `[K/16]`
    bias: Vec<Line>,
    relu: bool,
}

impl Dense {
    /// `rows` gives outputs of the weight `[K, D]` as PyTorch stores it, `bias` is `[K]`. Inputs have `lines` lines, and the
    /// stored weights' column i meets the input at `place(i)`.
    pub(crate) fn new(
        isa: Isa,
        lines: usize,
        bias: &[f32],
        relu: bool,
        place: impl Fn(usize) -> usize + Sync,
        rows: impl Fn(Range<usize>) -> Result<Vec<f32>> + Sync,
    ) -> Result<Self> {
        let weights = panels(bias.len(), |outputs| {
            let weights = rows(outputs.clone())?;
            let inputs = weights.len() / outputs.len();
            let mut packed = vec![Wide::ZERO; lines * 16];
            for i in 0..inputs {
                let packed = &mut packed[place(i)].0;
                for (x, row) in packed.iter_mut().zip(weights.chunks_exact(inputs)) {
                    *x = row[i];
                }
            }
            Ok(packed)
        })?;
        let bias = Line::fill(bias, weights.len() * 2);
        Ok(Self { isa, inputs: lines, weights, bias, relu })
    }

    /// Lines of a row of inputs.
    pub(crate) fn lines_in(&self) -> usize {
        self.inputs
    }

    /// Lines of a row of outputs.
    pub(crate) fn lines_out(&self) -> usize {
        self.bias.len()
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
        let sums: Vec<Vec<Wide>> = self
            .weights
            .par_iter()
            .map(|weights| {
                let mut sums = vec![Wide::ZERO; n];
                self.isa.run(Panel { left: &left, weights, sums: &mut sums });
                sums
            })
            .collect();
        let mut y = Vec::with_capacity(n * self.lines_out());
        for row in 0..n {
            let sums = sums.iter().flat_map(|sums| sums[row].0.as_chunks::<16>().0);
            for (sums, bias) in sums.zip(&self.bias) {
                let value = |k: usize| {
                    let value = sums[k] + bias.0[k];
                    // what is no number stays so, as in PyTorch
                    if self.relu && value < 0.0 { 0.0 } else { value }
                };
                y.push(Line(std::array::from_fn(value)));
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
