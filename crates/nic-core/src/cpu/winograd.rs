//! Winograd's F(4x4, 3x3): Y = A^T [(G g G^T) . (B^T d B)] A, 36 products for 16 outputs where the definition takes 144
//! (Lavin and Gray 2015, arXiv:1509.09308).

use pulp::Simd;

/// Output pixels along a side of a tile.
pub(crate) const TILE: usize = 4;
/// Input pixels along a side of a tile.
pub(crate) const PATCH: usize = 6;
/// Frequencies of a tile.
pub(crate) const FREQUENCIES: usize = PATCH * PATCH;

/// Interpolation points 0, +-P, +-Q, infinity. Lavin and Gray take 1 and 2; these lie closer around 1, are exact in
/// f32 with all their products here, and lose less.
const P: f64 = 0.75;
const Q: f64 = 1.5;
const P2: f64 = P * P;
const Q2: f64 = Q * Q;

/// B^T d B of a patch, by rows.
#[inline(always)]
pub(crate) fn of_input<S: Simd>(
    simd: S,
    d: [[S::f32s; PATCH]; PATCH],
) -> [[S::f32s; PATCH]; PATCH] {
    let mut half = d;
    for s in 0..PATCH {
        let column = b_t(simd, [d[0][s], d[1][s], d[2][s], d[3][s], d[4][s], d[5][s]]);
        for r in 0..PATCH {
            half[r][s] = column[r];
        }
    }
    for row in &mut half {
        *row = b_t(simd, *row);
    }
    half
}

/// A^T m A of a tile's products, by rows.
#[inline(always)]
pub(crate) fn of_products<S: Simd>(
    simd: S,
    m: [[S::f32s; PATCH]; PATCH],
) -> [[S::f32s; TILE]; TILE] {
    let mut half = [[simd.splat_f32s(0.0); PATCH]; TILE];
    for s in 0..PATCH {
        let column = a_t(simd, [m[0][s], m[1][s], m[2][s], m[3][s], m[4][s], m[5][s]]);
        for r in 0..TILE {
            half[r][s] = column[r];
        }
    }
    let [a, b, c, d] = half;
    [a_t(simd, a), a_t(simd, b), a_t(simd, c), a_t(simd, d)]
}

/// G g G^T of a 3x3 filter, by rows, in f64.
pub(crate) fn of_filter(g: &[f32]) -> [[f64; PATCH]; PATCH] {
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

/// One column of B^T d.
#[inline(always)]
fn b_t<S: Simd>(simd: S, d: [S::f32s; PATCH]) -> [S::f32s; PATCH] {
    let even_p = plus(simd, d[4], -Q2, d[2]);
    let odd_p = plus(simd, times(simd, P, d[3]), -P * Q2, d[1]);
    let even_q = plus(simd, d[4], -P2, d[2]);
    let odd_q = plus(simd, times(simd, Q, d[3]), -P2 * Q, d[1]);
    [
        plus(simd, plus(simd, d[4], -P2 - Q2, d[2]), P2 * Q2, d[0]),
        simd.add_f32s(even_p, odd_p),
        simd.sub_f32s(even_p, odd_p),
        simd.add_f32s(even_q, odd_q),
        simd.sub_f32s(even_q, odd_q),
        plus(simd, plus(simd, d[5], -P2 - Q2, d[3]), P2 * Q2, d[1]),
    ]
}

/// One column of A^T m.
#[inline(always)]
fn a_t<S: Simd>(simd: S, m: [S::f32s; PATCH]) -> [S::f32s; TILE] {
    let (sum_p, difference_p) = (simd.add_f32s(m[1], m[2]), simd.sub_f32s(m[1], m[2]));
    let (sum_q, difference_q) = (simd.add_f32s(m[3], m[4]), simd.sub_f32s(m[3], m[4]));
    [
        simd.add_f32s(simd.add_f32s(m[0], sum_p), sum_q),
        plus(simd, times(simd, P, difference_p), Q, difference_q),
        plus(simd, times(simd, P2, sum_p), Q2, sum_q),
        plus(simd, plus(simd, m[5], P * P2, difference_p), Q * Q2, difference_q),
    ]
}

/// factor * x. No closure: it would not be compiled for the instruction set of its caller.
#[inline(always)]
fn times<S: Simd>(simd: S, factor: f64, x: S::f32s) -> S::f32s {
    simd.mul_f32s(simd.splat_f32s(factor as f32), x)
}

/// sum + factor * x.
#[inline(always)]
fn plus<S: Simd>(simd: S, sum: S::f32s, factor: f64, x: S::f32s) -> S::f32s {
    simd.mul_add_e_f32s(simd.splat_f32s(factor as f32), x, sum)
}
