//! The matrix product of packed f32 operands, 32 columns at a time.
//!
//! Every element is one chain of fused multiply-adds over the depth, whatever the number of rows beside it: no result
//! depends on the batch it sits in.

use pulp::Simd;

use super::lines::{Line, Wide};

/// C `[T, 32]` = A `[T, D]` x B `[D, 32]`. A is stored `[D/16][T]` in lines, B as D rows.
#[inline(always)]
pub(crate) fn product<S: Simd>(simd: S, a: &[Line], b: &[Wide], c: &mut [Wide]) {
    // As many rows and vectors as the registers hold, with room for one row of B.
    match S::F32_LANES {
        16 => rows::<S, 14, 2>(simd, a, b, c),
        8 => rows::<S, 6, 2>(simd, a, b, c),
        4 => rows::<S, 6, 4>(simd, a, b, c),
        _ => rows::<S, 2, 8>(simd, a, b, c),
    }
}

/// Cuts the rows into even panels of at most R and the columns into W vectors.
#[inline(always)]
fn rows<S: Simd, const R: usize, const W: usize>(simd: S, a: &[Line], b: &[Wide], c: &mut [Wide]) {
    let t = c.len();
    let panels = t.div_ceil(R);
    for column in (0..32 / S::F32_LANES).step_by(W) {
        for panel in 0..panels {
            let (from, to) = (panel * t / panels, (panel + 1) * t / panels);
            macro_rules! of_height {
                ($($height:literal)*) => {
                    match to - from {
                        $($height if R >= $height => kernel::<S, $height, W>(simd, a, t, from, b, c, column),)*
                        _ => unreachable!(),
                    }
                };
            }
            of_height!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
        }
    }
}

/// R rows from `from` on, W vectors from `column` on, in registers.
#[inline(always)]
fn kernel<S: Simd, const R: usize, const W: usize>(
    simd: S,
    a: &[Line],
    t: usize,
    from: usize,
    b: &[Wide],
    c: &mut [Wide],
    column: usize,
) {
    let mut sums = [[simd.splat_f32s(0.0); W]; R];
    for (a, b) in a.chunks_exact(t).zip(b.as_chunks::<16>().0) {
        let Some(a) = a[from..].first_chunk::<R>() else { return };
        for (p, b) in b.iter().enumerate() {
            let b = &b.vectors::<S>()[column..column + W];
            for (sums, a) in sums.iter_mut().zip(a) {
                let x = simd.splat_f32s(a.0[p]);
                for (sum, &y) in sums.iter_mut().zip(b) {
                    *sum = simd.mul_add_f32s(x, y, *sum);
                }
            }
        }
    }
    for (c, sums) in c[from..from + R].iter_mut().zip(&sums) {
        c.vectors_mut::<S>()[column..column + W].copy_from_slice(sums);
    }
}
