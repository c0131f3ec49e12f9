//! Pillow's antialiased bilinear resampling, bit for bit.

use std::ops::Range;

use crate::decode::Rgb;

/// Weights are fixed-point with this many fractional bits (Pillow's `PRECISION_BITS`).
const FRACTION: u32 = 32 - 8 - 2;

/// The input pixels that make one output pixel: the first one's index and the weights from there on.
struct Window {
    start: usize,
    weights: Vec<i32>,
}

/// Pillow's `precompute_coeffs` with the triangle filter, for the outputs in `kept` of an axis resized to `output`.
fn windows(input: usize, output: usize, kept: Range<usize>) -> Vec<Window> {
    let scale = input as f64 / output as f64;
    let support = scale.max(1.0);
    kept.map(|position| {
        let center = (position as f64 + 0.5) * scale;
        let start = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(input);
        let triangle = |x: usize| {
            let distance = (x as f64 - center + 0.5) * (1.0 / support);
            (1.0 - distance.abs()).max(0.0)
        };
        let sum: f64 = (start..end).map(triangle).sum();
        let fixed = |x| (0.5 + triangle(x) / sum * f64::from(1 << FRACTION)) as i32;
        Window { start, weights: (start..end).map(fixed).collect() }
    })
    .collect()
}

fn rounded(sum: i32) -> u8 {
    (sum >> FRACTION).clamp(0, 255) as u8
}

/// The part `columns` x `rows` of `image.resize((width, height), BILINEAR)`; the rest is never computed.
pub(crate) fn resize(
    image: &Rgb,
    (width, height): (usize, usize),
    columns: Range<usize>,
    rows: Range<usize>,
) -> Vec<u8> {
    let across = windows(image.width, width, columns);
    let down = windows(image.height, height, rows);
    let first = down.first().map_or(0, |window| window.start);
    let end = down.last().map_or(0, |window| window.start + window.weights.len());

    let stride = 3 * across.len();
    let mut narrow = Vec::with_capacity((end - first) * stride);
    for row in image.pixels.chunks_exact(3 * image.width).take(end).skip(first) {
        for window in &across {
            let mut sums = [1 << (FRACTION - 1); 3];
            for (pixel, weight) in row[3 * window.start..].chunks_exact(3).zip(&window.weights) {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(value) * weight;
                }
            }
            narrow.extend(sums.map(rounded));
        }
    }

    let mut out = Vec::with_capacity(down.len() * stride);
    let mut sums = vec![0; stride];
    for window in &down {
        sums.fill(1 << (FRACTION - 1));
        let above = narrow.chunks_exact(stride).skip(window.start - first);
        for (row, weight) in above.zip(&window.weights) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += i32::from(value) * weight;
            }
        }
        out.extend(sums.iter().copied().map(rounded));
    }
    out
}
