//! The matrix product of packed f32 operands, 32 columns at a time.
//!
//! Every element is one chain of multiply-adds over the depth, whatever the number of rows beside it: no result depends
//! on the batch it sits in.

use pulp::Simd;

use super::lines::{Line, Wide};

/// Rows of the left operand that are stored together: with two vectors of 32 columns and an element of the row they fill
/// AVX-512's 32 registers.
pub(crate) const ROWS: usize = 14;

/// Up to [`ROWS`] rows, each a line or a wide, of F matrices that are multiplied one by one.
pub(crate) type Rows<T, const F: usize> = [[T; ROWS]; F];

/// Cuts `count` rows into as few parts of at most [`ROWS`] as there can be, of even lengths: part `index` begins here.
pub(crate) fn start_of_rows(index: usize, count: usize) -> usize {
    index * count / count.div_ceil(ROWS)
}

/// C `[T, 32]` = A `[T, D]` x B `[D, 32]`, or C += A x B where `onto`, for T <= [`ROWS`]. A is matrix `f` of
/// `[D/16][F][ROWS]` lines, B is D rows.
#[inline(always)]
pub(crate) fn product<S: Simd, const F: usize>(
    simd: S,
    a: &[Rows<Line, F>],
    f: usize,
    b: &[Wide],
    c: &mut [Wide],
    onto: bool,
) {
    // As many rows and vectors as the registers hold, with room for one row of B.
    match S::F32_LANES {
        16 => panels::<S, F, ROWS, 2>(simd, a, f, b, c, onto),
        8 => panels::<S, F, 6, 2>(simd, a, f, b, c, onto),
        4 if cfg!(target_arch = "aarch64") => panels::<S, F, 6, 4>(simd, a, f, b, c, onto),
        4 => panels::<S, F, 6, 2>(simd, a, f, b, c, onto),
        _ => panels::<S, F, 2, 8>(simd, a, f, b, c, onto),
    }
}

/// Cuts the rows into even panels of at most R and the columns into W vectors.
#[inline(always)]
fn panels<S: Simd, const F: usize, const R: usize, const W: usize>(
    simd: S,
    a: &[Rows<Line, F>],
    f: usize,
    b: &[Wide],
    c: &mut [Wide],
    onto: bool,
) {
    let t = c.len();
    let panels = t.div_ceil(R);
    for column in 0..32 / S::F32_LANES / W {
        for panel in 0..panels {
            let (from, to) = (panel * t / panels, (panel + 1) * t / panels);
            let c = &mut c[from..to];
            macro_rules! of_height {
                ($($height:literal)*) => {
                    match c.len() {
                        $($height if R >= $height => {
                            kernel::<S, F, $height, W>(simd, a, f, from, b, c, column, onto);
                        })*
                        _ => unreachable!(),
                    }
                };
            }
            of_height!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
        }
    }
}

/// R rows from `from` on, the W vectors number `column`, in registers.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "one product, in all its sizes")]
fn kernel<S: Simd, const F: usize, const R: usize, const W: usize>(
    simd: S,
    a: &[Rows<Line, F>],
    f: usize,
    from: usize,
    b: &[Wide],
    c: &mut [Wide],
    column: usize,
    onto: bool,
) {
    let mut sums = [[simd.splat_f32s(0.0); W]; R];
    if onto {
        for (sums, c) in sums.iter_mut().zip(c.iter()) {
            *sums = c.vectors::<S>().as_chunks::<W>().0[column];
        }
    }
    for (a, b) in a.iter().zip(b.as_chunks::<16>().0) {
        let Some(a) = a[f][from..].first_chunk::<R>() else { return };
        for (p, b) in b.iter().enumerate() {
            let b = &b.vectors::<S>().as_chunks::<W>().0[column];
            for (sums, a) in sums.iter_mut().zip(a) {
                let x = simd.splat_f32s(a.0[p]);
                for (sum, &y) in sums.iter_mut().zip(b) {
                    *sum = simd.mul_add_e_f32s(x, y, *sum);
                }
            }
        }
    }
    for (c, sums) in c.iter_mut().zip(sums) {
        c.vectors_mut::<S>().as_chunks_mut::<W>().0[column] = sums;
    }
}
