//! Dense linear algebra on `f32` slices: the few kernels that models need, over faer's matrix products.
//!
//! In: slices with stated shapes.  Out: results in place.  Work is cut into blocks of fixed size and each block is done
//! by one thread, so the number of threads never changes a bit of the result.
//! Never here: what the matrices mean.  (Bits may differ between processors with other vector widths.)
//! Start at [`negated_inverse_in_place`].

use faer::dyn_stack::{MemBuffer, MemStack, StackReq};
use faer::linalg::cholesky::llt;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use crate::kernels::{Ahead, add_gram, padded};

/// Columns eliminated at once: the whole triangle is read and written once per block, so wide ones wait less for memory;
/// narrow enough that the panels (2 · n · block floats) stay small beside the matrix. 128 takes 6 % longer at 8,000 items.
const BLOCK: usize = 256;

/// Columns that one thread updates at once; divides [`BLOCK`]. Fewer leave more to share between threads.
const COLUMNS: usize = 128;

/// Rows whose outer products are summed by one thread before partial sums are added in order.
const GRAM_ROWS: usize = 2_048;

/// Rows that stay in the first cache while they are multiplied with themselves.
const GRAM_PANEL_ROWS: usize = 64;

/// A matrix that must be positive definite is not, or holds what is not a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotPositiveDefinite;

/// A Cholesky factorisation and its solves, with scratch that is used again and again.
pub(crate) struct Cholesky {
    order: usize,
    scratch: MemBuffer,
}

impl Cholesky {
    pub(crate) fn new(order: usize) -> Self {
        let scratch = llt::factor::cholesky_in_place_scratch::<f32>(order, Par::Seq, Default::default())
            .or(llt::solve::solve_in_place_scratch::<f32>(order, 1, Par::Seq));
        Self { order, scratch: MemBuffer::new(scratch.or(StackReq::EMPTY)) }
    }

    /// Overwrites the lower triangle of `a` (order × order, column-major) by its factor L with a = L·Lᵀ.
    pub(crate) fn factor(&mut self, a: &mut [f32]) -> Result<(), NotPositiveDefinite> {
        let a = MatMut::from_column_major_slice_mut(a, self.order, self.order);
        llt::factor::cholesky_in_place(
            a,
            Default::default(),
            Par::Seq,
            MemStack::new(&mut self.scratch),
            Default::default(),
        )
        .map(|_| ())
        .map_err(|_| NotPositiveDefinite)
    }

    /// Overwrites `right` (order × columns, column-major) by the solution of L·Lᵀ·x = right.
    pub(crate) fn solve(&mut self, factor: &[f32], right: &mut [f32]) {
        let columns = right.len() / self.order;
        let factor = MatRef::from_column_major_slice(factor, self.order, self.order);
        let right = MatMut::from_column_major_slice_mut(right, self.order, columns);
        llt::solve::solve_in_place(factor, right, Par::Seq, MemStack::new(&mut self.scratch));
    }
}

/// The lower triangle of xᵀx (d × d, column-major, zero above), in parallel; `x` is rows × d, row-major.
pub(crate) fn gram(x: &[f32], d: usize) -> Vec<f32> {
    let order = padded(d);
    let parts: Vec<Vec<f32>> = x
        .par_chunks(GRAM_ROWS * d)
        .map(|rows| {
            let mut part = vec![0f32; order * order];
            if d == order {
                rows.chunks(GRAM_PANEL_ROWS * d).for_each(|panel| add_gram(&mut part, panel, order, Ahead::default()));
                return part;
            }
            let mut panel = vec![0f32; GRAM_PANEL_ROWS * order];
            for rows in rows.chunks(GRAM_PANEL_ROWS * d) {
                for (row, out) in rows.chunks_exact(d).zip(panel.chunks_exact_mut(order)) {
                    out[..d].copy_from_slice(row);
                }
                add_gram(&mut part, &panel[..rows.len() / d * order], order, Ahead::default());
            }
            part
        })
        .collect();
    // Added in the order of the rows, whatever thread made them.
    let mut sum = vec![0f32; d * d];
    for part in parts {
        for (column, (total, values)) in sum.chunks_exact_mut(d).zip(part.chunks_exact(order)).enumerate() {
            total.iter_mut().zip(values).skip(column).for_each(|(total, value)| *total += value);
        }
    }
    sum
}

/// Adds `factor` · `row` to `sums`.
pub(crate) fn add_scaled(sums: &mut [f32], factor: f32, row: &[f32]) {
    sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += factor * value);
}

/// Inner product, in 16 lanes so that the compiler can use vectors; the order of additions is fixed.
pub(crate) fn dot(left: &[f32], right: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut lanes = [0f32; LANES];
    let (left_chunks, right_chunks) = (left.chunks_exact(LANES), right.chunks_exact(LANES));
    let rest: f32 = left_chunks.remainder().iter().zip(right_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in left_chunks.zip(right_chunks) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// Cosine of each row (row-major, as long as `of`) with `of`; NaN where either is zero.
pub(crate) fn cosines(rows: &[f32], of: &[f32]) -> Vec<f32> {
    let length = dot(of, of).sqrt();
    rows.chunks_exact(of.len()).map(|row| dot(of, row) / (length * dot(row, row).sqrt())).collect()
}

/// Overwrites the lower triangle of a symmetric positive definite matrix `a` (n × n, column-major) by that of −a⁻¹.
///
/// The block form of the symmetric sweep operator (Goodnight 1979; Gauss–Jordan without pivoting, which a positive
/// definite matrix does not need): for each block of columns K with pivot D = a_KK and panel C = a_·K
/// `a_RR −= C_R D⁻¹ C_Rᵀ`, `a_RK = C_R D⁻¹`, `a_KK = −D⁻¹`.
/// Chosen over potrf + potri because it has the same n³ flops, one kind of product, equal work in every step,
/// and needs no second matrix: memory is a itself and two panels of n × 256.
/// Errors: when a pivot is not positive definite; `a` is then spoilt.
pub(crate) fn negated_inverse_in_place(a: &mut [f32], n: usize) -> Result<(), NotPositiveDefinite> {
    let mut panel = vec![0f32; n * BLOCK.min(n)];
    let mut scaled = panel.clone();
    for from in (0..n).step_by(BLOCK) {
        let to = (from + BLOCK).min(n);
        let width = to - from;
        let (panel, scaled) = (&mut panel[..n * width], &mut scaled[..n * width]);
        copy_panel(a, n, from, to, panel);
        let pivot_inverse = inverse(&panel[from * width..to * width], width)?;
        panel.par_chunks(BLOCK * width).zip(scaled.par_chunks_mut(BLOCK * width)).for_each(|(rows, out)| {
            let count = rows.len() / width;
            matmul(
                MatMut::from_row_major_slice_mut(out, count, width),
                Accum::Replace,
                MatRef::from_row_major_slice(rows, count, width),
                MatRef::from_column_major_slice(&pivot_inverse, width, width),
                1.0,
                Par::Seq,
            );
        });
        update_trailing(a, n, width, panel, scaled, from);
        store_panel(a, n, from, to, scaled, &pivot_inverse);
    }
    Ok(())
}

/// Copies columns `from..to` of the symmetric matrix into `panel` (n × width, row-major), reading only lower entries.
fn copy_panel(a: &[f32], n: usize, from: usize, to: usize, panel: &mut [f32]) {
    let width = to - from;
    for row in 0..from {
        panel[row * width..(row + 1) * width].copy_from_slice(&a[row * n + from..row * n + to]);
    }
    for column in from..to {
        for row in column..n {
            panel[row * width + column - from] = a[column * n + row];
        }
    }
    for row in from..to {
        for column in row + 1..to {
            panel[row * width + column - from] = panel[column * width + row - from];
        }
    }
}

/// Inverse of a small symmetric matrix (both triangles given and returned).
fn inverse(matrix: &[f32], order: usize) -> Result<Vec<f32>, NotPositiveDefinite> {
    let mut factor = matrix.to_vec();
    let mut cholesky = Cholesky::new(order);
    cholesky.factor(&mut factor)?;
    let mut result = vec![0f32; order * order];
    (0..order).for_each(|i| result[i * order + i] = 1.0);
    cholesky.solve(&factor, &mut result);
    if result.iter().all(|value| value.is_finite()) { Ok(result) } else { Err(NotPositiveDefinite) }
}

/// `a −= scaled · panelᵀ` on the lower triangle, block column by block column; the pivot's own column is left out.
fn update_trailing(a: &mut [f32], n: usize, width: usize, panel: &[f32], scaled: &[f32], pivot_from: usize) {
    let is_pivot = |first: usize| (pivot_from..pivot_from + width).contains(&first);
    a.par_chunks_mut(n * COLUMNS).enumerate().filter(|(block, _)| !is_pivot(block * COLUMNS)).for_each(
        |(block, columns)| {
            let (first, count) = (block * COLUMNS, columns.len() / n);
            let target = MatMut::from_column_major_slice_mut(columns, n, count).subrows_mut(first, n - first);
            let left = MatRef::from_row_major_slice(&scaled[first * width..], n - first, width);
            let right = MatRef::from_row_major_slice(&panel[first * width..(first + count) * width], count, width);
            matmul(target, Accum::Add, left, right.transpose(), -1.0, Par::Seq);
        },
    );
}

/// Writes the panel's new values back: `scaled` outside the pivot, −D⁻¹ inside.
fn store_panel(a: &mut [f32], n: usize, from: usize, to: usize, scaled: &[f32], pivot_inverse: &[f32]) {
    let width = to - from;
    for row in 0..from {
        a[row * n + from..row * n + to].copy_from_slice(&scaled[row * width..(row + 1) * width]);
    }
    for column in from..to {
        for row in column..to {
            a[column * n + row] = -pivot_inverse[(column - from) * width + row - from];
        }
        for row in to..n {
            a[column * n + row] = scaled[row * width + column - from];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// xᵀx + E for random x, both triangles.
    fn positive_definite(n: usize) -> Vec<f32> {
        let mut random = Random::new(11, n as u64);
        let x: Vec<f32> = (0..n * n).map(|_| random.normal() as f32 / (n as f32).sqrt()).collect();
        let mut a = vec![0f32; n * n];
        for i in 0..n {
            for j in 0..n {
                a[j * n + i] = (0..n).map(|row| x[row * n + i] * x[row * n + j]).sum::<f32>();
            }
            a[i * n + i] += 1.0;
        }
        a
    }

    #[test]
    fn the_inverse_times_the_matrix_is_the_identity_at_every_block_edge() {
        for n in [1, 2, 127, 128, 129, 255, 256, 257, 400] {
            let a = positive_definite(n);
            let mut negated = a.clone();
            negated_inverse_in_place(&mut negated, n).unwrap();
            let lower = |i: usize, j: usize| negated[i.min(j) * n + i.max(j)];
            for i in (0..n).step_by(7) {
                for j in 0..n {
                    let product: f32 = (0..n).map(|k| -lower(i, k) * a[j * n + k]).sum();
                    let identity = if i == j { 1.0 } else { 0.0 };
                    assert!((product - identity).abs() < 1e-3, "n {n} at {i} {j}: {product}");
                }
            }
        }
    }

    #[test]
    fn a_matrix_that_is_not_positive_definite_is_an_error() {
        assert_eq!(negated_inverse_in_place(&mut [1.0, 2.0, 2.0, 1.0], 2), Err(NotPositiveDefinite));
        assert!(negated_inverse_in_place(&mut [f32::NAN], 1).is_err());
        assert!(negated_inverse_in_place(&mut [], 0).is_ok());
    }

    #[test]
    fn dot_equals_the_plain_sum() {
        let left: Vec<f32> = (0..37).map(|i| i as f32).collect();
        assert_eq!(dot(&left, &left), (0..37).map(|i| (i * i) as f32).sum::<f32>());
    }
}
