//! Fully connected layers on packed weights.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::lines::{Line, Wide};
use super::product::product;

/// y = x W^T + b, with ReLU where asked.
#[derive(Debug)]
pub(crate) struct Dense {
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
        Self { inputs: lines, weights, bias, relu }
    }

    /// Lines of a row of outputs.
    pub(crate) fn lines_out(&self) -> usize {
        self.bias.len() * 2
    }

    /// x `[N][D/16]` to `[N][K/16]`.
    pub(crate) fn run(&self, x: &[Line]) -> Vec<Line> {
        let n = x.len() / self.inputs;
        // The product reads [D/16][N].
        let columns: Vec<Line> = (0..x.len()).map(|i| x[i % n * self.inputs + i / n]).collect();
        let panels = self.weights.par_chunks(self.inputs * 16);
        let sums: Vec<Vec<Wide>> = panels
            .map(|weights| {
                let mut sums = vec![Wide::ZERO; n];
                Arch::new().dispatch(Panel { x: &columns, weights, sums: &mut sums });
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
    x: &'a [Line],
    weights: &'a [Wide],
    sums: &'a mut [Wide],
}

impl WithSimd for Panel<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        product(simd, self.x, self.weights, self.sums);
    }
}
