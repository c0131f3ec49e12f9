//! 3x3 convolution, stride 1, padding 1, with bias and ReLU, by Winograd's algorithm. A worker takes some tiles through
//! all its steps, so that what lies between the steps stays in the worker's cache.

use std::cell::RefCell;
use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::isa::Isa;
use super::lines::{Line, Wide, panels};
use super::product::{ROWS, Rows, product, start_of_rows};
use super::winograd::{FREQUENCIES, PATCH, TILE, of_filter, of_input, of_products};
use crate::Result;

/// One convolution with its bias and ReLU.
#[derive(Debug)]
pub(crate) struct Conv {
    isa: Isa,
    /// Lines of 16 input channels.
    inputs: usize,
    /// Panels of 32 output channels.
    outputs: usize,
    /// The transformed weights, `[K/32][36][C]`.
    weights: Vec<Vec<Wide>>,
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
    /// `rows` gives outputs of the weight `[K, C, 3, 3]` as PyTorch stores it, `bias` is `[K]`. Inputs have `lines` lines a
    /// pixel: C is filled up with zeros to 16 times that, K to a multiple of 32.
    pub(crate) fn new(
        isa: Isa,
        lines: usize,
        bias: &[f32],
        rows: impl Fn(Range<usize>) -> Result<Vec<f32>> + Sync,
    ) -> Result<Self> {
        let depth = lines * 16;
        let weights = panels(bias.len(), |outputs| {
            let weights = rows(outputs.clone())?;
            let filters = weights.as_chunks::<9>().0;
            let inputs = filters.len() / outputs.len();
            let mut packed = vec![Wide::ZERO; FREQUENCIES * depth];
            for c in 0..inputs {
                for k in 0..outputs.len() {
                    let filter = of_filter(&filters[k * inputs + c]);
                    for (f, &x) in filter.as_flattened().iter().enumerate() {
                        packed[f * depth + c].0[k] = x as f32;
                    }
                }
            }
            Ok(packed)
        })?;
        Ok(Self {
            isa,
            inputs: lines,
            outputs: weights.len(),
            bias: Line::fill(bias, weights.len() * 2),
            weights,
            outside: vec![Line::ZERO; lines],
        })
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
            for f in 0..FREQUENCIES {
                for (panel, weights) in conv.weights.iter().enumerate() {
                    let weights = &weights[f * inputs * 16..][..inputs * 16];
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
        let places = self.places(tile);
        let vectors = 16 / S::F32_LANES;
        for (panel, results) in results.iter().enumerate() {
            for column in 0..2 * vectors {
                let mut products = [[simd.splat_f32s(0.0); PATCH]; PATCH];
                for r in 0..PATCH {
                    for s in 0..PATCH {
                        products[r][s] = results[r * PATCH + s][at].vectors::<S>()[column];
                    }
                }
                let mut values = of_products(simd, products);
                let (line, part) = (panel * 2 + column / vectors, column % vectors);
                let bias = self.conv.bias[line].vectors::<S>()[part];
                let mut outputs = TILE;
                if self.pool {
                    outputs = TILE / 2;
                    for r in 0..TILE / 2 {
                        for s in 0..TILE / 2 {
                            let [above, below] = [values[2 * r], values[2 * r + 1]];
                            let above = simd.max_f32s(above[2 * s], above[2 * s + 1]);
                            let below = simd.max_f32s(below[2 * s], below[2 * s + 1]);
                            values[r][s] = simd.max_f32s(above, below);
                        }
                    }
                }
                for r in 0..outputs {
                    for s in 0..outputs {
                        if let Some(y) = self.y.get_mut(places[r][s] + line) {
                            let value = simd.add_f32s(values[r][s], bias);
                            // in this order, for x86 and NEON then pass on what is no number, as PyTorch does
                            y.vectors_mut::<S>()[part] = simd.max_f32s(simd.splat_f32s(0.0), value);
                        }
                    }
                }
            }
        }
    }

    /// Where the lines of a tile's outputs begin, far outside the output where there is none.
    #[inline(always)]
    fn places(&self, tile: Tile) -> [[usize; TILE]; TILE] {
        let shrink = if self.pool { 2 } else { 1 };
        let side = self.side / shrink;
        let mut places = [[usize::MAX / 2; TILE]; TILE];
        for r in 0..TILE / shrink {
            for s in 0..TILE / shrink {
                let (y, x) = (tile.row / shrink + r, tile.column / shrink + s);
                if self.row / shrink + y < side && x < side {
                    places[r][s] = ((tile.image * side + y) * side + x) * self.conv.lines_out();
                }
            }
        }
        places
    }
}
