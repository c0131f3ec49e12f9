//! Matrix products over slices.

use gemm::Parallelism;
use rayon::prelude::*;

/// A row-major matrix, or its transpose.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    transposed: bool,
}

impl<'a> Matrix<'a> {
    /// `data` holds rows of `cols` values.
    pub(crate) fn new(data: &'a [f32], cols: usize) -> Self {
        assert!(
            cols > 0 && data.len().is_multiple_of(cols),
            "{} values in rows of {cols}",
            data.len()
        );
        Self { data, rows: data.len() / cols, cols, transposed: false }
    }

    /// Transposed.
    pub(crate) fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, transposed: !self.transposed, ..self }
    }

    /// The values, row by row, of the matrix that was not transposed.
    pub(crate) fn data(&self) -> &'a [f32] {
        self.data
    }

    /// Row and column stride.
    fn strides(&self) -> (isize, isize) {
        if self.transposed { (1, self.rows as isize) } else { (self.cols as isize, 1) }
    }
}

/// `out += a b`, rows of `out` one after the other.
pub(crate) fn add_product(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>) {
    product(out, a, b, true);
}

/// `out = a b`, rows of `out` one after the other.
pub(crate) fn set_product(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>) {
    product(out, a, b, false);
}

/// Every value of a product of a matrix that is not transposed is the same sum, to the bit, however many rows the
/// matrix has: an image's sentences do not depend on the batch that it is in.
fn product(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, add: bool) {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    let least = least_rows(k, n);
    if !a.transposed && (1..least).contains(&m) {
        let mut padded = a.data.to_vec();
        padded.resize(least * k, 0.0);
        let mut wide = out.to_vec();
        wide.resize(least * n, 0.0);
        gemm(&mut wide, Matrix::new(&padded, k), b, add);
        out.copy_from_slice(&wide[..m * n]);
    } else {
        gemm(out, a, b, add);
    }
}

/// From so many rows on gemm sums in one order: it takes another way for vectors and for products of up to 256 values,
/// and sums of more than 512 terms in other parts where the product has up to 64 rows and columns.
fn least_rows(depth: usize, cols: usize) -> usize {
    let least = (256 / cols + 1).max(2);
    if depth > 512 && cols <= 64 { least.max(65) } else { least }
}

fn gemm(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, add: bool) {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    assert_eq!((b.rows, out.len()), (k, m * n), "a product of [{m}, {k}] and [{}, {n}]", b.rows);
    let (a_row, a_col) = a.strides();
    let (b_row, b_col) = b.strides();
    // SAFETY: the matrices lie within their slices (checked when made), `out` holds m * n values (checked above)
    // and, borrowed mutably, overlaps neither.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            add,
            a.data.as_ptr(),
            a_col,
            a_row,
            b.data.as_ptr(),
            b_col,
            b_row,
            if add { 1.0 } else { 0.0 },
            1.0,
            false,
            false,
            false,
            Parallelism::Rayon(0),
        );
    }
}

/// Rows that are all `row`, or zero.
pub(crate) fn repeat_row(rows: usize, cols: usize, row: Option<&[f32]>) -> Vec<f32> {
    match row {
        Some(row) => row.repeat(rows),
        None => vec![0.0; rows * cols],
    }
}

/// The sum of the rows; each column is added from the first row to the last, however many threads there are.
pub(crate) fn sum_rows(data: &[f32], cols: usize) -> Vec<f32> {
    const BLOCK: usize = 256;
    let mut sums = vec![0.0; cols];
    sums.par_chunks_mut(BLOCK).enumerate().for_each(|(block, sums)| {
        for row in data.chunks_exact(cols) {
            for (sum, value) in sums.iter_mut().zip(&row[block * BLOCK..]) {
                *sum += value;
            }
        }
    });
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize, seed: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * 0.37 + seed).sin()).collect()
    }

    /// Over gemm's thresholds: a vector, up to 256 values, up to 64 rows and columns, up to 512 terms, many threads.
    #[test]
    fn rows_do_not_depend_on_how_many_there_are() {
        for (depth, cols) in
            [(3, 5), (30, 20), (100, 300), (513, 40), (700, 64), (1030, 70), (512, 2048)]
        {
            let (a, b) = (values(200 * depth, 1.0), values(cols * depth, 2.0));
            let b = Matrix::new(&b, depth).t();
            let mut all = vec![0.5; 200 * cols];
            add_product(&mut all, Matrix::new(&a, depth), b);
            for rows in [1, 2, 3, 4, 7, 16, 17, 33, 64, 65, 66, 130] {
                let from = 200 - rows;
                let mut some = vec![0.5; rows * cols];
                add_product(&mut some, Matrix::new(&a[from * depth..], depth), b);
                assert!(
                    some == all[from * cols..],
                    "{rows} of [200, {depth}] by [{depth}, {cols}]"
                );
            }
        }
    }
}
