//! 3x3 convolution, stride 1, padding 1, by Winograd's F(4x4, 3x3): Y = A^T [(G g G^T) . (B^T d B)] A, 36 products for
//! 16 outputs where the definition takes 144 (Lavin and Gray 2015, arXiv:1509.09308).

use std::cell::RefCell;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::lines::{Line, Wide};
use super::product::product;

/// Interpolation points 0, +-P, +-Q, infinity. Lavin and Gray take 1 and 2; these lie closer around 1, are exact in
/// f32 with all their products here, and lose less.
const P: f64 = 0.75;
const Q: f64 = 1.5;
const P2: f64 = P * P;
const Q2: f64 = Q * Q;

/// Output pixels along a side of a tile.
const TILE: usize = 4;
/// Frequencies of a tile: 6x6.
const FREQUENCIES: usize = 36;

/// One convolution with its bias and ReLU.
#[derive(Debug)]
pub(crate) struct Conv {
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

thread_local! {
    /// The two sides of the products of one block of tiles.
    static SCRATCH: RefCell<(Vec<Line>, Vec<Wide>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

impl Conv {
    /// `weights` `[K, C, 3, 3]` and `bias` `[K]` as PyTorch stores them, for inputs of `lines` lines a pixel: C is
    /// filled up with zeros to 16 times that, K to a multiple of 32.
    pub(crate) fn new(lines: usize, weights: &[f32], bias: &[f32]) -> Self {
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
                    let filter = transform_filter(&weights[(k * inputs + c) * 9..][..9]);
                    for (part, x) in frequencies.iter_mut().zip(filter.as_flattened()) {
                        part[c].0[k % 32] = *x as f32;
                    }
                }
            }
        });
        let mut bias_lines = vec![Line::ZERO; panels * 2];
        for (k, &b) in bias.iter().enumerate() {
            bias_lines[k / 16].0[k % 16] = b;
        }
        Self {
            inputs: lines,
            outputs: panels,
            weights: packed,
            bias: bias_lines,
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
        let tiles = across * across;
        let workers = rayon::current_num_threads();
        let wanted = self.tiles_a_job().min((y.len() / image * tiles).div_ceil(workers));
        let run = |first: usize, row: usize, y: &mut [Line]| {
            SCRATCH.with_borrow_mut(|(v, m)| {
                Arch::new().dispatch(Job { conv: self, x, y, first, row, side, pool, v, m });
            });
        };
        // A job is whole images where they are small, else some rows of tiles of one image: either way its output is
        // one slice.
        if wanted >= tiles {
            let images = wanted / tiles;
            y.par_chunks_mut(images * image).enumerate().for_each(|(i, y)| run(i * images, 0, y));
        } else {
            let rows = (wanted / across).max(1) * TILE;
            y.par_chunks_mut(image).enumerate().for_each(|(i, y)| {
                y.par_chunks_mut(rows / shrink * row)
                    .enumerate()
                    .for_each(|(j, y)| run(i, j * rows, y));
            });
        }
    }

    /// More tiles mean fewer passes over the weights, fewer keep both sides of the products closer to the core.
    /// Multiples of 14, the rows of the AVX-512 kernel.
    fn tiles_a_job(&self) -> usize {
        match self.inputs.max(self.outputs * 2) {
            ..=4 => 14,
            5..=16 => 28,
            _ => 112,
        }
    }
}

/// A part of a layer's output: whole images from `first` on, or of image `first` the rows from `row` on.
struct Job<'a> {
    conv: &'a Conv,
    x: &'a [Line],
    y: &'a mut [Line],
    first: usize,
    row: usize,
    side: usize,
    pool: bool,
    /// The left side of the products, `[36][C/16][T]`.
    v: &'a mut Vec<Line>,
    /// The products, `[36][K/32][T]`.
    m: &'a mut Vec<Wide>,
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
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (inputs, outputs) = (self.conv.inputs, self.conv.outputs);
        let shrink = if self.pool { 4 } else { 1 };
        let rows = self.y.len() * shrink / (self.side * self.conv.lines_out());
        let images = rows.div_ceil(self.side);
        let (down, across) = ((rows / images).div_ceil(TILE), self.side.div_ceil(TILE));
        let tiles = images * down * across;
        let block = self.conv.tiles_a_job().min(tiles);
        self.v.resize(self.v.len().max(FREQUENCIES * inputs * block), Line::ZERO);
        self.m.resize(self.m.len().max(FREQUENCIES * outputs * block), Wide::ZERO);
        for start in (0..tiles).step_by(block) {
            let t = block.min(tiles - start);
            let tile = |i: usize| Tile {
                image: (start + i) / (down * across),
                row: (start + i) / across % down * TILE,
                column: (start + i) % across * TILE,
            };
            for i in 0..t {
                self.transform_input(simd, tile(i), i, t);
            }
            let sides = self.v.chunks_exact(inputs * t).zip(self.m.chunks_exact_mut(outputs * t));
            let weights = self.conv.weights.chunks_exact(outputs * inputs * 16);
            for (weights, (v, m)) in weights.zip(sides) {
                for (weights, m) in weights.chunks_exact(inputs * 16).zip(m.chunks_exact_mut(t)) {
                    product(simd, v, weights, m);
                }
            }
            for i in 0..t {
                self.transform_output(simd, tile(i), i, t);
            }
        }
    }
}

impl Job<'_> {
    /// B^T d B of tile `i` of `t` into v `[36][C/16][T]`.
    #[inline(always)]
    fn transform_input<S: Simd>(&mut self, simd: S, tile: Tile, i: usize, t: usize) {
        let (lines, side) = (self.conv.inputs, self.side);
        let image = (self.first + tile.image) * side;
        let mut pixels = [[&self.conv.outside[..]; 6]; 6];
        for (r, pixels) in pixels.iter_mut().enumerate() {
            for (s, pixel) in pixels.iter_mut().enumerate() {
                let (y, x) = (self.row + tile.row + r, tile.column + s);
                if (1..=side).contains(&y) && (1..=side).contains(&x) {
                    *pixel = &self.x[((image + y - 1) * side + x - 1) * lines..][..lines];
                }
            }
        }
        for line in 0..lines {
            for part in 0..16 / S::F32_LANES {
                let mut half = [[simd.splat_f32s(0.0); 6]; 6];
                for s in 0..6 {
                    let column =
                        b_t(simd, std::array::from_fn(|r| pixels[r][s][line].vectors::<S>()[part]));
                    for r in 0..6 {
                        half[r][s] = column[r];
                    }
                }
                for (r, half) in half.into_iter().enumerate() {
                    for (s, x) in b_t(simd, half).into_iter().enumerate() {
                        self.v[((r * 6 + s) * lines + line) * t + i].vectors_mut::<S>()[part] = x;
                    }
                }
            }
        }
    }

    /// ReLU(A^T M A + bias) of tile `i` of `t` from m `[36][K/32][T]`, pooled where asked, into the output.
    #[inline(always)]
    fn transform_output<S: Simd>(&mut self, simd: S, tile: Tile, i: usize, t: usize) {
        let (panels, side) = (self.conv.outputs, self.side);
        let lines = panels * 2;
        let zero = simd.splat_f32s(0.0);
        let vectors = 16 / S::F32_LANES;
        for line in 0..lines {
            for part in 0..vectors {
                let column = line % 2 * vectors + part;
                let mut half = [[zero; 6]; 4];
                for s in 0..6 {
                    let column = a_t(
                        simd,
                        std::array::from_fn(|r| {
                            self.m[((r * 6 + s) * panels + line / 2) * t + i].vectors::<S>()[column]
                        }),
                    );
                    for r in 0..4 {
                        half[r][s] = column[r];
                    }
                }
                let tile_of: [[S::f32s; 4]; 4] = half.map(|half| a_t(simd, half));
                let bias = self.conv.bias[line].vectors::<S>()[part];
                if self.pool {
                    for (r, s) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                        let (y, x) = (tile.row / 2 + r, tile.column / 2 + s);
                        if self.row / 2 + y < side / 2 && x < side / 2 {
                            let [above, below] = [tile_of[2 * r], tile_of[2 * r + 1]];
                            let above = simd.max_f32s(above[2 * s], above[2 * s + 1]);
                            let below = simd.max_f32s(below[2 * s], below[2 * s + 1]);
                            let most = simd.max_f32s(above, below);
                            let out =
                                ((tile.image * (side / 2) + y) * (side / 2) + x) * lines + line;
                            self.y[out].vectors_mut::<S>()[part] =
                                simd.max_f32s(simd.add_f32s(most, bias), zero);
                        }
                    }
                } else {
                    for (r, values) in tile_of.into_iter().enumerate() {
                        for (s, value) in values.into_iter().enumerate() {
                            let (y, x) = (tile.row + r, tile.column + s);
                            if self.row + y < side && x < side {
                                let out = ((tile.image * side + y) * side + x) * lines + line;
                                self.y[out].vectors_mut::<S>()[part] =
                                    simd.max_f32s(simd.add_f32s(value, bias), zero);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// One column of B^T d.
#[inline(always)]
fn b_t<S: Simd>(simd: S, d: [S::f32s; 6]) -> [S::f32s; 6] {
    let times = |x: f64, v, plus| simd.mul_add_f32s(simd.splat_f32s(x as f32), v, plus);
    let scaled = |x: f64, v| simd.mul_f32s(simd.splat_f32s(x as f32), v);
    let even_p = times(-Q2, d[2], d[4]);
    let odd_p = times(-P * Q2, d[1], scaled(P, d[3]));
    let even_q = times(-P2, d[2], d[4]);
    let odd_q = times(-P2 * Q, d[1], scaled(Q, d[3]));
    [
        times(P2 * Q2, d[0], times(-P2 - Q2, d[2], d[4])),
        simd.add_f32s(even_p, odd_p),
        simd.sub_f32s(even_p, odd_p),
        simd.add_f32s(even_q, odd_q),
        simd.sub_f32s(even_q, odd_q),
        times(P2 * Q2, d[1], times(-P2 - Q2, d[3], d[5])),
    ]
}

/// One column of A^T m.
#[inline(always)]
fn a_t<S: Simd>(simd: S, m: [S::f32s; 6]) -> [S::f32s; 4] {
    let times = |x: f64, v, plus| simd.mul_add_f32s(simd.splat_f32s(x as f32), v, plus);
    let scaled = |x: f64, v| simd.mul_f32s(simd.splat_f32s(x as f32), v);
    let (sum_p, difference_p) = (simd.add_f32s(m[1], m[2]), simd.sub_f32s(m[1], m[2]));
    let (sum_q, difference_q) = (simd.add_f32s(m[3], m[4]), simd.sub_f32s(m[3], m[4]));
    [
        simd.add_f32s(simd.add_f32s(m[0], sum_p), sum_q),
        times(Q, difference_q, scaled(P, difference_p)),
        times(Q2, sum_q, scaled(P2, sum_p)),
        times(Q * Q2, difference_q, times(P * P2, difference_p, m[5])),
    ]
}

/// G g G^T of a 3x3 filter, in f64.
fn transform_filter(g: &[f32]) -> [[f64; 6]; 6] {
    let (np, nq) = (2.0 * P2 * (P2 - Q2), 2.0 * Q2 * (Q2 - P2));
    let one = |g: [f64; 3]| {
        let at = |x: f64, n: f64| (g[0] + x * g[1] + x * x * g[2]) / n;
        [g[0] / (P2 * Q2), at(P, np), at(-P, np), at(Q, nq), at(-Q, nq), g[2]]
    };
    let rows: [[f64; 6]; 3] =
        std::array::from_fn(|i| one(std::array::from_fn(|j| f64::from(g[i * 3 + j]))));
    let columns: [[f64; 6]; 6] = std::array::from_fn(|j| one(std::array::from_fn(|i| rows[i][j])));
    std::array::from_fn(|i| std::array::from_fn(|j| columns[j][i]))
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
            let conv = Conv::new(inputs.div_ceil(16), &weights, &bias);
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
