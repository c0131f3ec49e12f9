//! 3x3 convolution, stride 1, padding 1, with bias and ReLU, by Winograd's algorithm. A worker takes some tiles through
//! all its steps, so that what lies between the steps stays in the worker's cache.

use std::cell::RefCell;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::isa::Isa;
use super::lines::{Line, Wide};
use super::product::{ROWS, Rows, product, start_of_rows};
use super::winograd::{FREQUENCIES, PATCH, TILE, of_filter, of_input, of_products};

/// One convolution with its bias and ReLU.
#[derive(Debug)]
pub(crate) struct Conv {
    isa: Isa,
    /// Lines of 16 input channels.
    inputs: usize,
    /// Panels of 32 output channels.
    outputs: usize,
    /// The transformed weights, `[36][K/32][C]`.
    weights: Vec<Wide>,
    /// `[K/16]`
    bias: Vec<Line>,
    /// What a tile reads outside the image.
    outside: Vec<Line>,
}

/// The two sides of the products of some tiles.
#[derive(Default)]
struct Products {
    /// The left operands, `[T/14][C/16][36][14]`.
    left: Vec<Rows<Line, FREQUENCIES>>,
    /// The results, `[T/14][K/32][36][14]`.
    results: Vec<Rows<Wide, FREQUENCIES>>,
}

thread_local! {
    static PRODUCTS: RefCell<Products> = RefCell::default();
}

impl Conv {
    /// `weights` `[K, C, 3, 3]` and `bias` `[K]` as PyTorch stores them, for inputs of `lines` lines a pixel: C is
    /// filled up with zeros to 16 times that, K to a multiple of 32.
    pub(crate) fn new(isa: Isa, lines: usize, weights: &[f32], bias: &[f32]) -> Self {
        let outputs = bias.len();
        let inputs = weights.len() / (9 * outputs);
        let panels = outputs.div_ceil(32);
        let depth = lines * 16;
        let mut packed = vec![Wide::ZERO; FREQUENCIES * panels * depth];
        // A worker fills one panel of outputs, which has a part in each frequency.
        let mut by_panel: Vec<Vec<&mut [Wide]>> = (0..panels).map(|_| Vec::new()).collect();
        for (i, part) in packed.chunks_exact_mut(depth).enumerate() {
            by_panel[i % panels].push(part);
        }
        by_panel.into_par_iter().enumerate().for_each(|(panel, mut frequencies)| {
            for k in panel * 32..outputs.min(panel * 32 + 32) {
                for c in 0..inputs {
                    let filter = of_filter(&weights[(k * inputs + c) * 9..][..9]);
                    for (part, x) in frequencies.iter_mut().zip(filter.as_flattened()) {
                        part[c].0[k % 32] = *x as f32;
                    }
                }
            }
        });
        Self {
            isa,
            inputs: lines,
            outputs: panels,
            weights: packed,
            bias: Line::fill(bias, panels * 2),
            outside: vec![Line::ZERO; lines],
        }
    }

    /// Lines of an input pixel.
    pub(crate) fn lines_in(&self) -> usize {
        self.inputs
    }

    /// Lines of an output pixel.
    pub(crate) fn lines_out(&self) -> usize {
        self.outputs * 2
    }

    /// x `[N][S][S]` to ReLU(conv(x) + bias), `[N][S][S]`, or with `pool` to its 2x2 maxima, `[N][S/2][S/2]`.
    pub(crate) fn run(&self, x: &[Line], y: &mut [Line], side: usize, pool: bool) {
        let shrink = if pool { 2 } else { 1 };
        let row = side / shrink * self.lines_out(); // lines of an output row
        let image = side / shrink * row;
        let across = side.div_ceil(TILE);
        let tiles = across * across; // of an image
        let all = y.len() / image * tiles;
        let jobs =
            all.div_ceil(self.tiles_at_once()).next_multiple_of(rayon::current_num_threads());
        let run = |first: usize, row: usize, y: &mut [Line]| {
            PRODUCTS.with_borrow_mut(|products| {
                let part = Part { conv: self, x, y, first, row, side, pool };
                self.isa.run(Job { part, products });
            });
        };
        // A job is whole images where they are small, else some rows of tiles of one image: either way its output is
        // one slice.
        let wanted = all.div_ceil(jobs);
        if wanted >= tiles {
            let images = wanted.div_ceil(tiles);
            y.par_chunks_mut(images * image).enumerate().for_each(|(i, y)| run(i * images, 0, y));
        } else {
            let rows = wanted.div_ceil(across) * TILE;
            y.par_chunks_mut(image).enumerate().for_each(|(i, y)| {
                y.par_chunks_mut(rows / shrink * row)
                    .enumerate()
                    .for_each(|(j, y)| run(i, j * rows, y));
            });
        }
    }

    /// More tiles mean fewer passes over the weights, fewer keep both sides of the products closer to the core.
    fn tiles_at_once(&self) -> usize {
        ROWS * match self.inputs.max(self.outputs * 2) {
            ..=4 => 1,
            5..=16 => 2,
            _ => 8,
        }
    }
}

/// What a worker does at a time.
struct Job<'a> {
    part: Part<'a>,
    products: &'a mut Products,
}

/// A part of a layer's output: whole images from `first` on, or of image `first` the rows from `row` on.
struct Part<'a> {
    conv: &'a Conv,
    x: &'a [Line],
    y: &'a mut [Line],
    first: usize,
    row: usize,
    side: usize,
    pool: bool,
}

/// A tile's image, and row and column of its first output pixel, counted from the job's first image and row.
#[derive(Clone, Copy)]
struct Tile {
    image: usize,
    row: usize,
    column: usize,
}

impl WithSimd for Job<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { mut part, products: Products { left, results } } = self;
        let conv = part.conv;
        let (inputs, outputs) = (conv.inputs, conv.outputs);
        let shrink = if part.pool { 4 } else { 1 };
        let rows = part.y.len() * shrink / (part.side * conv.lines_out());
        let images = rows.div_ceil(part.side);
        let (down, across) = ((rows / images).div_ceil(TILE), part.side.div_ceil(TILE));
        let tiles = images * down * across;
        let at_once = conv.tiles_at_once().min(tiles);
        let blocks = at_once.div_ceil(ROWS);
        left.resize(left.len().max(blocks * inputs), [[Line::ZERO; ROWS]; FREQUENCIES]);
        results.resize(results.len().max(blocks * outputs), [[Wide::ZERO; ROWS]; FREQUENCIES]);
        for start in (0..tiles).step_by(at_once) {
            let t = at_once.min(tiles - start);
            let rows = |block: usize| start_of_rows(block, t)..start_of_rows(block + 1, t);
            let tile = |i: usize| Tile {
                image: (start + i) / (down * across),
                row: (start + i) / across % down * TILE,
                column: (start + i) % across * TILE,
            };
            let blocks = t.div_ceil(ROWS);
            for (block, left) in left.chunks_exact_mut(inputs).take(blocks).enumerate() {
                for (at, i) in rows(block).enumerate() {
                    part.transform_input(simd, tile(i), left, at);
                }
            }
            let weights = conv.weights.chunks_exact(outputs * inputs * 16);
            for (f, weights) in weights.enumerate() {
                for (panel, weights) in weights.chunks_exact(inputs * 16).enumerate() {
                    let left = left.chunks_exact(inputs);
                    let results = results.chunks_exact_mut(outputs);
                    for (block, (left, results)) in left.zip(results).take(blocks).enumerate() {
                        let results = &mut results[panel][f][..rows(block).len()];
                        product(simd, left, f, weights, results, false);
                    }
                }
            }
            for (block, results) in results.chunks_exact(outputs).take(blocks).enumerate() {
                for (at, i) in rows(block).enumerate() {
                    part.transform_output(simd, tile(i), results, at);
                }
            }
        }
    }
}

impl Part<'_> {
    /// A tile's patch into row `at` of the left operands `[C/16][36]`.
    #[inline(always)]
    fn transform_input<S: Simd>(
        &self,
        simd: S,
        tile: Tile,
        left: &mut [Rows<Line, FREQUENCIES>],
        at: usize,
    ) {
        let (lines, side) = (self.conv.inputs, self.side);
        let image = (self.first + tile.image) * side;
        let mut pixels = [[&self.conv.outside[..]; PATCH]; PATCH];
        for (r, pixels) in pixels.iter_mut().enumerate() {
            for (s, pixel) in pixels.iter_mut().enumerate() {
                let (y, x) = (self.row + tile.row + r, tile.column + s);
                if (1..=side).contains(&y) && (1..=side).contains(&x) {
                    *pixel = &self.x[((image + y - 1) * side + x - 1) * lines..][..lines];
                }
            }
        }
        for (line, left) in left.iter_mut().enumerate() {
            for part in 0..16 / S::F32_LANES {
                let mut patch = [[simd.splat_f32s(0.0); PATCH]; PATCH];
                for r in 0..PATCH {
                    for s in 0..PATCH {
                        patch[r][s] = pixels[r][s][line].vectors::<S>()[part];
                    }
                }
                let patch = of_input(simd, patch);
                for r in 0..PATCH {
                    for s in 0..PATCH {
                        left[r * PATCH + s][at].vectors_mut::<S>()[part] = patch[r][s];
                    }
                }
            }
        }
    }

    /// ReLU(tile + bias) of row `at` of the results `[K/32][36]`, pooled where asked, into the output.
    #[inline(always)]
    fn transform_output<S: Simd>(
        &mut self,
        simd: S,
        tile: Tile,
        results: &[Rows<Wide, FREQUENCIES>],
        at: usize,
    ) {
        let vectors = 16 / S::F32_LANES;
        for (panel, results) in results.iter().enumerate() {
            for column in 0..2 * vectors {
                let mut products = [[simd.splat_f32s(0.0); PATCH]; PATCH];
                for r in 0..PATCH {
                    for s in 0..PATCH {
                        products[r][s] = results[r * PATCH + s][at].vectors::<S>()[column];
                    }
                }
                let values = of_products(simd, products);
                let (line, part) = (panel * 2 + column / vectors, column % vectors);
                if self.pool {
                    let mut most = [[values[0][0]; TILE / 2]; TILE / 2];
                    for r in 0..TILE / 2 {
                        for s in 0..TILE / 2 {
                            let [above, below] = [values[2 * r], values[2 * r + 1]];
                            let above = simd.max_f32s(above[2 * s], above[2 * s + 1]);
                            let below = simd.max_f32s(below[2 * s], below[2 * s + 1]);
                            most[r][s] = simd.max_f32s(above, below);
                        }
                    }
                    self.store(simd, most, tile, line, part);
                } else {
                    self.store(simd, values, tile, line, part);
                }
            }
        }
    }

    /// ReLU(values + bias) to the output; L is 4, or 2 after pooling.
    #[inline(always)]
    fn store<S: Simd, const L: usize>(
        &mut self,
        simd: S,
        values: [[S::f32s; L]; L],
        tile: Tile,
        line: usize,
        part: usize,
    ) {
        let lines = self.conv.lines_out();
        let (side, first) = (self.side * L / TILE, self.row * L / TILE);
        let (top, start) = (tile.row * L / TILE, tile.column * L / TILE);
        let bias = self.conv.bias[line].vectors::<S>()[part];
        let zero = simd.splat_f32s(0.0);
        for r in 0..L {
            for s in 0..L {
                let (y, x) = (top + r, start + s);
                if first + y < side && x < side {
                    let at = ((tile.image * side + y) * side + x) * lines + line;
                    self.y[at].vectors_mut::<S>()[part] =
                        simd.max_f32s(simd.add_f32s(values[r][s], bias), zero);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers in [-1, 1) that look random.
    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(next).collect()
    }

    /// The definition, in f64: x `[N][S][S][C]` to `[N][S][S][K]`.
    fn reference(x: &[f32], weights: &[f32], bias: &[f32], side: usize, inputs: usize) -> Vec<f64> {
        let mut y = Vec::new();
        for pixel in 0..x.len() / inputs {
            let (image, row, column) = (pixel / (side * side), pixel / side % side, pixel % side);
            for (k, &bias) in bias.iter().enumerate() {
                let mut sum = f64::from(bias);
                for (r, s) in (0..9).map(|i| (row + i / 3, column + i % 3)) {
                    if !(1..=side).contains(&r) || !(1..=side).contains(&s) {
                        continue;
                    }
                    let at = (image * side + r - 1) * side + s - 1;
                    for c in 0..inputs {
                        let tap = (r - row) * 3 + s - column;
                        let weight = weights[(k * inputs + c) * 9 + tap];
                        sum += f64::from(weight) * f64::from(x[at * inputs + c]);
                    }
                }
                y.push(sum.max(0.0));
            }
        }
        y
    }

    fn lines(values: &[f32], channels: usize) -> Vec<Line> {
        let mut lines = Vec::new();
        for pixel in values.chunks(channels) {
            for part in pixel.chunks(16) {
                lines.push(Line(std::array::from_fn(|i| part.get(i).copied().unwrap_or(0.0))));
            }
        }
        lines
    }

    #[test]
    fn equals_the_definition() {
        // Whole tiles and cut ones, one image and several a job, filled-up channels, several lines and panels.
        for (images, inputs, outputs, side) in [
            (1, 3, 8, 32),
            (3, 16, 32, 14),
            (2, 20, 40, 10),
            (5, 64, 33, 6),
            (1, 16, 32, 60),
            (7, 32, 32, 2),
        ] {
            let x = numbers(images * side * side * inputs, 1);
            let (weights, bias) = (numbers(outputs * inputs * 9, 2), numbers(outputs, 3));
            let expected = reference(&x, &weights, &bias, side, inputs);
            let conv = Conv::new(Isa::detect(), inputs.div_ceil(16), &weights, &bias);
            let x = lines(&x, inputs);
            for pool in [false, true] {
                let shrink = if pool { 2 } else { 1 };
                let small = side / shrink;
                let mut y = vec![Line([f32::NAN; 16]); images * small * small * conv.lines_out()];
                conv.run(&x, &mut y, side, pool);
                let (mut error, mut norm) = (0.0, 0.0);
                for (pixel, y) in y.chunks(conv.lines_out()).enumerate() {
                    let (image, row, column) =
                        (pixel / (small * small), pixel / small % small, pixel % small);
                    let at = |i: usize, k: usize| {
                        let (r, s) = (row * shrink + i / 2, column * shrink + i % 2);
                        expected[((image * side + r) * side + s) * outputs + k]
                    };
                    for k in 0..outputs {
                        let most = (0..shrink * shrink).map(|i| at(i, k)).fold(0.0, f64::max);
                        error += (f64::from(y[k / 16].0[k % 16]) - most).powi(2);
                        norm += most.powi(2);
                    }
                    let filled = y.iter().flat_map(|line| line.0).skip(outputs);
                    assert!(
                        filled.into_iter().all(|x| x == 0.0),
                        "filled-up channels are not zero"
                    );
                }
                let error = (error / norm).sqrt();
                assert!(error < 2e-6, "{images} {inputs} {outputs} {side} {pool}: {error:e}");
            }
        }
    }
}
