//! Every layer against its definition in f64, on every instruction set that the machine has.

use super::conv::Conv;
use super::dense::Dense;
use super::first::First;
use super::isa::Isa;
use super::lines::Line;
use super::network::{Layer, Network};
use crate::VggConfig;

/// Numbers in [-1, 1) that look random.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(next).collect()
}

/// ||found - expected|| / ||expected||.
fn relative_error(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let (mut error, mut norm) = (0.0, 0.0);
    for (&found, expected) in found.iter().zip(expected) {
        error += (f64::from(found) - expected).powi(2);
        norm += expected.powi(2);
    }
    (error / norm).sqrt()
}

/// Convolution, bias and ReLU by the definition: x `[N][S][S][C]` to `[N][S][S][K]`.
fn convolve(x: &[f64], weights: &[f32], bias: &[f32], side: usize, inputs: usize) -> Vec<f64> {
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
                    sum += f64::from(weights[(k * inputs + c) * 9 + tap]) * x[at * inputs + c];
                }
            }
            y.push(sum.max(0.0));
        }
    }
    y
}

/// 2x2 maxima of x `[N][S][S][C]`.
fn pool(x: &[f64], side: usize, channels: usize) -> Vec<f64> {
    let (small, mut y) = (side / 2, Vec::new());
    for i in 0..x.len() / 4 {
        let (c, column, row) = (i % channels, i / channels % small, i / channels / small % small);
        let image = i / channels / (small * small);
        let at = |r: usize, s: usize| {
            x[((image * side + 2 * row + r) * side + 2 * column + s) * channels + c]
        };
        y.push(at(0, 0).max(at(0, 1)).max(at(1, 0)).max(at(1, 1)));
    }
    y
}

/// W x + b with ReLU: x `[N, D]` to `[N, K]`.
fn connect(x: &[f64], weights: &[f32], bias: &[f32]) -> Vec<f64> {
    let inputs = weights.len() / bias.len();
    let output = |x: &[f64], k: usize| {
        let products = x.iter().zip(&weights[k * inputs..]).map(|(x, &w)| x * f64::from(w));
        (products.sum::<f64>() + f64::from(bias[k])).max(0.0)
    };
    x.chunks(inputs).flat_map(|x| (0..bias.len()).map(move |k| output(x, k))).collect()
}

fn exact(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

fn lines(values: &[f32], channels: usize) -> Vec<Line> {
    values.chunks(channels).flat_map(|pixel| Line::fill(pixel, channels.div_ceil(16))).collect()
}

/// `channels` of the `per_pixel` lines of each pixel; the others must be zero.
fn values(lines: &[Line], per_pixel: usize, channels: usize) -> Vec<f32> {
    let mut values = Vec::new();
    for pixel in lines.chunks(per_pixel) {
        let all: Vec<f32> = pixel.iter().flat_map(|line| line.0).collect();
        assert!(all[channels..].iter().all(|&x| x == 0.0), "filled-up channels are not zero");
        values.extend(&all[..channels]);
    }
    values
}

const UNTOUCHED: Line = Line([f32::NAN; 16]);

#[test]
fn the_widest_is_taken() {
    let names: Vec<_> = Isa::available().iter().map(|isa| isa.name()).collect();
    assert!(names.contains(&Isa::detect().name()), "{names:?}");
    #[cfg(target_arch = "x86_64")]
    for (there, name) in [
        (is_x86_feature_detected!("avx512f"), "AVX-512"),
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"), "AVX2 and FMA"),
    ] {
        assert_eq!(there, names.contains(&name), "{names:?}");
    }
}

#[test]
fn convolutions_equal_the_definition() {
    // Whole tiles and cut ones, one image and several a job, filled-up channels, several lines and panels.
    for (images, inputs, outputs, side) in [
        (1, 3, 8, 32),
        (3, 16, 32, 14),
        (2, 20, 40, 10),
        (5, 64, 33, 6),
        (1, 16, 32, 60),
        (7, 32, 32, 2),
        (2, 300, 70, 8),
    ] {
        let x = numbers(images * side * side * inputs, 1);
        let (weights, bias) = (numbers(outputs * inputs * 9, 2), numbers(outputs, 3));
        let whole = convolve(&exact(&x), &weights, &bias, side, inputs);
        let x = lines(&x, inputs);
        for isa in Isa::available() {
            let conv = Conv::new(isa, inputs.div_ceil(16), &bias, |k| {
                Ok(weights[k.start * inputs * 9..k.end * inputs * 9].to_vec())
            })
            .unwrap();
            for pooled in [false, true] {
                let (small, expected) = match pooled {
                    false => (side, whole.clone()),
                    true => (side / 2, pool(&whole, side, outputs)),
                };
                let mut y = vec![UNTOUCHED; images * small * small * conv.lines_out()];
                conv.run(&x, &mut y, side, pooled);
                let error = relative_error(&values(&y, conv.lines_out(), outputs), &expected);
                let name = isa.name();
                assert!(
                    error < 2e-6,
                    "{images} {inputs} {outputs} {side} {pooled} {name}: {error:e}"
                );
            }
        }
    }
}

#[test]
fn the_first_convolution_equals_the_definition() {
    for (images, outputs, side) in [(1, 64, 32), (3, 5, 6), (2, 33, 31)] {
        let planes = numbers(images * 3 * side * side, 1);
        let pixel = |i: usize| {
            let (image, pixel) = (i / (side * side), i % (side * side));
            [0, 1, 2].map(|c| f64::from(planes[(image * 3 + c) * side * side + pixel]))
        };
        let x: Vec<f64> = (0..images * side * side).flat_map(pixel).collect();
        let (weights, bias) = (numbers(outputs * 27, 2), numbers(outputs, 3));
        let expected = convolve(&x, &weights, &bias, side, 3);
        for isa in Isa::available() {
            let first = First::new(isa, &weights, &bias);
            let mut y = vec![UNTOUCHED; images * side * side * first.lines_out()];
            first.run(&planes, &mut y, side);
            let error = relative_error(&values(&y, first.lines_out(), outputs), &expected);
            assert!(error < 1e-6, "{images} {outputs} {side} {}: {error:e}", isa.name());
        }
    }
}

#[test]
fn dense_layers_equal_the_definition() {
    for (n, inputs, outputs) in [(1, 5, 3), (16, 700, 65), (15, 1040, 32), (43, 16, 7)] {
        let (x, weights) = (numbers(n * inputs, 1), numbers(inputs * outputs, 2));
        let bias = numbers(outputs, 3);
        let expected = connect(&exact(&x), &weights, &bias);
        for isa in Isa::available() {
            let rows =
                |k: std::ops::Range<usize>| Ok(weights[k.start * inputs..k.end * inputs].to_vec());
            let dense = Dense::new(isa, inputs.div_ceil(16), &bias, true, |i| i, rows).unwrap();
            let y = dense.run(&lines(&x, inputs));
            let error = relative_error(&values(&y, dense.lines_out(), outputs), &expected);
            assert!(error < 1e-6, "{n} {inputs} {outputs} {}: {error:e}", isa.name());
        }
    }
}

#[test]
fn networks_equal_the_definition() {
    let config = VggConfig {
        channels: [17, 3, 5, 33, 4, 6, 8, 40, 7, 5, 6, 9, 18],
        hidden: [20, 34],
        classes: 3,
        image: 64,
    };
    let layer = |i: usize| {
        let (outputs, inputs) = match i {
            0 => (config.channels[0], 27),
            1..13 => (config.channels[i], config.channels[i - 1] * 9),
            13 => (config.hidden[0], config.channels[12] * 4),
            14 => (config.hidden[1], config.hidden[0]),
            _ => (config.classes, config.hidden[1]),
        };
        let bound = (6.0 / inputs as f32).sqrt();
        let weights: Vec<f32> =
            numbers(outputs * inputs, i as u32).iter().map(|x| x * bound).collect();
        (weights, numbers(outputs, 100 + i as u32), inputs)
    };
    let images = numbers(3 * 3 * 64 * 64, 50);
    let mut side = 64;
    let mut channels = 3;
    let plane = side * side;
    let mut x: Vec<f64> = (0..3 * plane * 3)
        .map(|i| f64::from(images[i / 3 / plane * 3 * plane + i % 3 * plane + i / 3 % plane]))
        .collect();
    for i in 0..13 {
        let (weights, bias, _) = layer(i);
        x = convolve(&x, &weights, &bias, side, channels);
        channels = bias.len();
        if [1, 3, 6, 9, 12].contains(&i) {
            x = pool(&x, side, channels);
            side /= 2;
        }
    }
    // [S][S][C] to [C][S][S]
    let flat = channels * 4;
    let mut x: Vec<f64> =
        (0..3 * flat).map(|i| x[i / flat * flat + i % 4 * channels + i % flat / 4]).collect();
    for i in [13, 14] {
        let (weights, bias, _) = layer(i);
        x = connect(&x, &weights, &bias);
    }
    for isa in Isa::available() {
        let network = Network::new(isa, &config, |i| {
            let (weights, bias, inputs) = layer(i);
            let rows = move |k: std::ops::Range<usize>| {
                Ok(weights[k.start * inputs..k.end * inputs].to_vec())
            };
            Ok(Layer { rows: Box::new(rows), bias })
        })
        .unwrap();
        let error = relative_error(&network.fc7(&images), &x);
        assert!(error < 5e-6, "{}: {error:e}", isa.name());
    }
}
