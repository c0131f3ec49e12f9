//! exp, sigmoid and tanh that the compiler turns into SIMD: no branches, no calls, within 1e-6 of the true value.
//!
//! No fused multiply-add: every instruction set then gives the same bits.

/// e^x; 0 below -87.3, at most e^88.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const SMALLEST: f32 = -87.3;
    // adding it rounds to an integer, which the low bits of the sum then hold
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(SMALLEST, 88.0);
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let power = shifted - ROUND;
    // ln 2 in two parts (Cody and Waite), then Cephes' polynomial for expf
    let r = clamped - power * (355.0 / 512.0) - power * -2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let mantissa = p * r * r + r + 1.0;
    let scale =
        f32::from_bits((shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127)) << 23);
    if x < SMALLEST { 0.0 } else { mantissa * scale }
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// tanh by the rational approximation of Eigen and XLA (odd polynomial of degree 13 over even of degree 6).
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let clamped = x.clamp(-7.905_311, 7.905_311);
    let s = clamped * clamped;
    let p = -2.760_768_5e-16;
    let p = p * s + 2.000_188e-13;
    let p = p * s + -8.604_672e-11;
    let p = p * s + 5.122_297e-8;
    let p = p * s + 1.485_722_4e-5;
    let p = p * s + 6.372_619e-4;
    let p = p * s + 4.893_524_5e-3;
    let q = 1.198_258_4e-6;
    let q = q * s + 1.185_347_1e-4;
    let q = q * s + 2.268_434_6e-3;
    let q = q * s + 4.893_525e-3;
    if x.abs() < 4e-4 { x } else { clamped * p / q }
}

const LANES: usize = 16;

/// ln of the sum of e^x.
#[inline(always)]
pub(crate) fn log_sum_exp(row: &[f32]) -> f32 {
    let largest = largest(row);
    let mut sums = [0.0; LANES];
    for chunk in row.chunks(LANES) {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += exp(value - largest);
        }
    }
    largest + sums.into_iter().sum::<f32>().ln()
}

/// Puts e^(x - largest) in the place of each x; gives the largest and the sum.
#[inline(always)]
pub(crate) fn exponentiate(row: &mut [f32]) -> (f32, f32) {
    let largest = largest(row);
    let mut sums = [0.0; LANES];
    for chunk in row.chunks_mut(LANES) {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *value = exp(*value - largest);
            *sum += *value;
        }
    }
    (largest, sums.into_iter().sum())
}

/// The sum of a row.
#[inline(always)]
pub(crate) fn sum(row: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    for chunk in row.chunks(LANES) {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value;
        }
    }
    sums.into_iter().sum()
}

#[inline(always)]
fn largest(row: &[f32]) -> f32 {
    let mut largest = [f32::NEG_INFINITY; LANES];
    for chunk in row.chunks(LANES) {
        for (largest, &value) in largest.iter_mut().zip(chunk) {
            *largest = largest.max(value);
        }
    }
    largest.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

#[cfg(test)]
mod tests {
    use super::{exp, sigmoid, tanh};

    fn worst(f: fn(f32) -> f32, truth: fn(f64) -> f64, range: std::ops::Range<f32>) -> f64 {
        let steps = 200_000;
        (0..=steps)
            .map(|i| {
                let x = range.start + (range.end - range.start) * i as f32 / steps as f32;
                let expected = truth(f64::from(x));
                if expected == 0.0 {
                    f64::from(f(x)).abs()
                } else {
                    (f64::from(f(x)) / expected - 1.0).abs()
                }
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn agree_with_f64() {
        assert!(worst(exp, f64::exp, -87.0..88.0) < 1e-6);
        assert!(worst(sigmoid, |x| 1.0 / (1.0 + (-x).exp()), -85.0..85.0) < 1e-6);
        assert!(worst(tanh, f64::tanh, -20.0..20.0) < 1e-6);
        assert!(worst(tanh, f64::tanh, -1e-2..1e-2) < 1e-6);
    }

    #[test]
    fn keep_what_is_not_finite() {
        assert!(exp(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(sigmoid(f32::INFINITY), 1.0);
        assert_eq!(sigmoid(f32::NEG_INFINITY), 1.0 / (1.0 + exp(88.0)));
        assert!(
            (tanh(f32::INFINITY) - 1.0).abs() < 1e-6
                && (tanh(f32::NEG_INFINITY) + 1.0).abs() < 1e-6
        );
    }
}
