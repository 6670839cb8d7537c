//! Vector kernels on small symmetric systems: gather, outer products, Cholesky, solve. One system fits a core's cache.
//!
//! In: `f32` slices; a system is `order` × `order`, column-major, lower triangle, `order` a multiple of [`BLOCK`].
//! Out: results in place. Each kernel is written once over pulp's vectors and compiled for AVX-512, for AVX2 with FMA,
//! for NEON and for scalars; which one runs is found out at run time, so a binary needs no flags for its processor.
//! A kernel runs on one thread and adds in one order: the same processor gives the same bits, whatever the thread count.
//! Never here: threads, what the matrices mean, `unsafe` (it stays in pulp).
//! Start at [`factor`].
//!
//! Measured at order 64 on one core with AVX-512 (faer 0.24 in brackets): see `docs` of each kernel.

use pulp::{Arch, Simd, WithSimd};

use crate::linalg::NotPositiveDefinite;

/// Rows and columns of a system are worked on in blocks of so many: one AVX-512 register, two of AVX2, four of NEON.
pub(crate) const BLOCK: usize = 16;

/// The order of the system that holds `d` unknowns; the rest is padding with a unit diagonal.
pub(crate) fn padded(d: usize) -> usize {
    d.next_multiple_of(BLOCK)
}

/// Copies rows of a matrix side by side, scaled by the root of their weights, and adds the weighted rows to `sums`.
pub(crate) struct Gather<'a> {
    /// rows × d, row-major.
    pub(crate) from: &'a [f32],
    pub(crate) d: usize,
    /// Which rows, and the weight of each.
    pub(crate) rows: &'a [u32],
    pub(crate) weights: &'a [f32],
    /// Out: one row of padded(d) for each; what is beyond d stays as it was.
    pub(crate) panel: &'a mut [f32],
    /// Out: d sums.
    pub(crate) sums: &'a mut [f32],
}

impl Gather<'_> {
    /// Cost: a read of every row; random reads of memory if the matrix is larger than the cache.
    pub(crate) fn run(self) {
        Arch::new().dispatch(self);
    }
}

impl WithSimd for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (d, order) = (self.d, padded(self.d));
        let (sums, sums_tail) = S::as_mut_simd_f32s(&mut self.sums[..d]);
        for ((&row, &weight), out) in self.rows.iter().zip(self.weights).zip(self.panel.chunks_exact_mut(order)) {
            let (values, values_tail) = S::as_simd_f32s(&self.from[row as usize * d..(row as usize + 1) * d]);
            let (out, out_tail) = S::as_mut_simd_f32s(&mut out[..d]);
            let root = weight.sqrt();
            let (root_lanes, weight_lanes) = (simd.splat_f32s(root), simd.splat_f32s(weight));
            for ((value, out), sum) in values.iter().zip(out).zip(sums.iter_mut()) {
                *out = simd.mul_f32s(root_lanes, *value);
                *sum = simd.mul_add_e_f32s(weight_lanes, *value, *sum);
            }
            for ((value, out), sum) in values_tail.iter().zip(out_tail).zip(sums_tail.iter_mut()) {
                *out = root * value;
                *sum += weight * value;
            }
        }
    }
}

/// Adds xᵀx to the lower triangle of `system`; `panel` is rows × order, row-major.
///
/// Blocks on the diagonal are filled whole. Cost: rows · order² / 2 multiply-adds, at the speed of the multiply units
/// while the panel stays in the first cache.
pub(crate) fn add_gram(system: &mut [f32], panel: &[f32], order: usize) {
    Arch::new().dispatch(AddGram { system, panel, order });
}

struct AddGram<'a> {
    system: &'a mut [f32],
    panel: &'a [f32],
    order: usize,
}

impl WithSimd for AddGram<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for (block, columns) in self.system.chunks_exact_mut(BLOCK * self.order).enumerate() {
            add_block_column::<S, true>(simd, columns, self.panel, self.order, block * BLOCK);
        }
    }
}

/// Adds (or subtracts) Σ x·xᵀ over the rows x of `panel` to [`BLOCK`] columns, from row `first` = their own number down.
#[inline(always)]
fn add_block_column<S: Simd, const ADD: bool>(simd: S, columns: &mut [f32], panel: &[f32], order: usize, first: usize) {
    let mut row = first;
    while row < order {
        // Tiles as large as the registers allow: sums, one column of rows, one broadcast value.
        row += match (S::F32_LANES, (order - row) / S::F32_LANES) {
            (16, 1) => add_tiles::<S, ADD, 1, 16>(simd, columns, panel, order, first, row),
            (16, 2) => add_tiles::<S, ADD, 2, 8>(simd, columns, panel, order, first, row),
            (16, 3) => add_tiles::<S, ADD, 3, 4>(simd, columns, panel, order, first, row),
            (8, _) => add_tiles::<S, ADD, 2, 4>(simd, columns, panel, order, first, row),
            _ => add_tiles::<S, ADD, 4, 4>(simd, columns, panel, order, first, row),
        };
    }
}

/// R vectors of rows from `row` down in every one of the [`BLOCK`] columns, C columns at a time. Returns the rows done.
#[inline(always)]
fn add_tiles<S: Simd, const ADD: bool, const R: usize, const C: usize>(
    simd: S,
    columns: &mut [f32],
    panel: &[f32],
    order: usize,
    first: usize,
    row: usize,
) -> usize {
    let height = R * S::F32_LANES;
    for column in (0..BLOCK).step_by(C) {
        let mut sums = [[simd.splat_f32s(0.0); R]; C];
        for event in panel.chunks_exact(order) {
            let (left, _) = S::as_simd_f32s(&event[row..row + height]);
            let right = &event[first + column..first + column + C];
            for c in 0..C {
                let value = simd.splat_f32s(right[c]);
                for r in 0..R {
                    sums[c][r] = simd.mul_add_e_f32s(left[r], value, sums[c][r]);
                }
            }
        }
        for c in 0..C {
            let start = (column + c) * order + row;
            let (out, _) = S::as_mut_simd_f32s(&mut columns[start..start + height]);
            for r in 0..R {
                out[r] = if ADD { simd.add_f32s(out[r], sums[c][r]) } else { simd.sub_f32s(out[r], sums[c][r]) };
            }
        }
    }
    height
}

/// Overwrites the lower triangle of `system` by a factorisation for [`solve`]: L with system = L·Lᵀ below the diagonal
/// blocks, and in place of each diagonal block the inverse of L's, row-major.
///
/// Left-looking by blocks of [`BLOCK`] columns; inverses of diagonal blocks turn the triangular solves into products.
/// Errors: when a pivot is not positive, or not a number. Cost: order³/6 multiply-adds.
pub(crate) fn factor(system: &mut [f32], order: usize) -> Result<(), NotPositiveDefinite> {
    if Arch::new().dispatch(Factor { system, order }) { Ok(()) } else { Err(NotPositiveDefinite) }
}

struct Factor<'a> {
    system: &'a mut [f32],
    order: usize,
}

impl WithSimd for Factor<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let order = self.order;
        for first in (0..order).step_by(BLOCK) {
            let (done, rest) = self.system.split_at_mut(first * order);
            let columns = &mut rest[..BLOCK * order];
            // The columns of L so far take the place of events.
            add_block_column::<S, false>(simd, columns, done, order, first);
            let mut block = [0f32; BLOCK * BLOCK];
            for (column, from) in block.chunks_exact_mut(BLOCK).zip(columns.chunks_exact(order)) {
                column.copy_from_slice(&from[first..first + BLOCK]);
            }
            let mut inverse = [0f32; BLOCK * BLOCK];
            if !invert_block(simd, &mut block, &mut inverse) {
                return false;
            }
            for (row, out) in inverse.chunks_exact(BLOCK).zip(columns.chunks_exact_mut(order)) {
                out[first..first + BLOCK].copy_from_slice(row);
            }
            scale_rows_below(simd, columns, &inverse, order, first + BLOCK);
        }
        true
    }
}

/// The inverse of the Cholesky factor of one block: `block` column-major (spoilt), `inverse` row-major, zero at first.
///
/// Elimination without roots (L·D·Lᵀ) on the block and on the identity together: only one division stands between a
/// pivot and the next; roots are taken at the end, all together.
#[inline(always)]
fn invert_block<S: Simd>(simd: S, block: &mut [f32; BLOCK * BLOCK], inverse: &mut [f32; BLOCK * BLOCK]) -> bool {
    let mut pivots = [0f32; BLOCK];
    (0..BLOCK).for_each(|i| inverse[i * BLOCK + i] = 1.0);
    for j in 0..BLOCK {
        let pivot = block[j * BLOCK + j];
        pivots[j] = pivot;
        let reciprocal = 1.0 / pivot;
        let (block, below) = block.split_at_mut((j + 1) * BLOCK);
        let (inverse, inverse_below) = inverse.split_at_mut((j + 1) * BLOCK);
        let pivot_column = &block[j * BLOCK..];
        let (pivot_lanes, _) = S::as_simd_f32s(pivot_column);
        let (inverse_lanes, _) = S::as_simd_f32s(&inverse[j * BLOCK..]);
        let columns = below.chunks_exact_mut(BLOCK).zip(inverse_below.chunks_exact_mut(BLOCK));
        for ((column, row), value) in columns.zip(&pivot_column[j + 1..]) {
            let multiple = simd.splat_f32s(value * reciprocal);
            let ((column, _), (row, _)) = (S::as_mut_simd_f32s(column), S::as_mut_simd_f32s(row));
            for (out, lanes) in column.iter_mut().zip(pivot_lanes).chain(row.iter_mut().zip(inverse_lanes)) {
                *out = simd.negate_mul_add_e_f32s(multiple, *lanes, *out);
            }
        }
    }
    // A pivot that is not a number is not above zero either.
    if !pivots.iter().all(|&pivot| pivot > 0.0 && pivot.is_finite()) {
        return false;
    }
    for (row, pivot) in inverse.chunks_exact_mut(BLOCK).zip(pivots) {
        let scale = simd.splat_f32s(1.0 / pivot.sqrt());
        let (row, _) = S::as_mut_simd_f32s(row);
        row.iter_mut().for_each(|lanes| *lanes = simd.mul_f32s(scale, *lanes));
    }
    true
}

/// x ← x·Wᵀ for all rows x of the [`BLOCK`] columns from `row` down; `inverse` = W, row-major.
#[inline(always)]
fn scale_rows_below<S: Simd>(
    simd: S,
    columns: &mut [f32],
    inverse: &[f32; BLOCK * BLOCK],
    order: usize,
    mut row: usize,
) {
    while row < order {
        row += match (S::F32_LANES, (order - row) / S::F32_LANES) {
            (16, 1) => scale_tiles::<S, 1, 8>(simd, columns, inverse, order, row),
            (16, 2) | (8, _) => scale_tiles::<S, 2, 4>(simd, columns, inverse, order, row),
            (16, 3) => scale_tiles::<S, 3, 4>(simd, columns, inverse, order, row),
            _ => scale_tiles::<S, 4, 4>(simd, columns, inverse, order, row),
        };
    }
}

/// R vectors of rows, C columns at a time from the last: a new column needs only old ones at its left and its own.
#[inline(always)]
fn scale_tiles<S: Simd, const R: usize, const C: usize>(
    simd: S,
    columns: &mut [f32],
    inverse: &[f32; BLOCK * BLOCK],
    order: usize,
    row: usize,
) -> usize {
    let height = R * S::F32_LANES;
    for column in (0..BLOCK).step_by(C).rev() {
        let mut sums = [[simd.splat_f32s(0.0); R]; C];
        for k in 0..column + C {
            let (left, _) = S::as_simd_f32s(&columns[k * order + row..k * order + row + height]);
            for c in 0..C {
                let value = simd.splat_f32s(inverse[(column + c) * BLOCK + k]);
                for r in 0..R {
                    sums[c][r] = simd.mul_add_e_f32s(left[r], value, sums[c][r]);
                }
            }
        }
        for c in 0..C {
            let start = (column + c) * order + row;
            let (out, _) = S::as_mut_simd_f32s(&mut columns[start..start + height]);
            out.copy_from_slice(&sums[c]);
        }
    }
    height
}

/// Overwrites `right` (order values) by the solution of system · x = right, given what [`factor`] left of the system.
///
/// Cost: order² multiply-adds.
pub(crate) fn solve(factor: &[f32], order: usize, right: &mut [f32]) {
    Arch::new().dispatch(Solve { factor, order, right });
}

struct Solve<'a> {
    factor: &'a [f32],
    order: usize,
    right: &'a mut [f32],
}

impl WithSimd for Solve<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let order = self.order;
        let block_columns = self.factor.chunks_exact(BLOCK * order).enumerate();
        for (block, columns) in block_columns.clone() {
            let (right, below) = self.right[block * BLOCK..].split_at_mut(BLOCK);
            let mut solved = [0f32; BLOCK];
            for (column, out) in columns.chunks_exact(order).zip(&mut solved) {
                *out = dot(simd, &column[block * BLOCK..(block + 1) * BLOCK], right);
            }
            right.copy_from_slice(&solved);
            for (column, value) in columns.chunks_exact(order).zip(solved) {
                add_scaled(simd, below, -value, &column[(block + 1) * BLOCK..]);
            }
        }
        for (block, columns) in block_columns.rev() {
            let (right, below) = self.right[block * BLOCK..].split_at_mut(BLOCK);
            let mut solved = [0f32; BLOCK];
            for (column, value) in columns.chunks_exact(order).zip(&*right) {
                let value = value - dot(simd, &column[(block + 1) * BLOCK..], below);
                add_scaled(simd, &mut solved, value, &column[block * BLOCK..(block + 1) * BLOCK]);
            }
            right.copy_from_slice(&solved);
        }
    }
}

/// Inner product of slices whose length is a multiple of [`BLOCK`].
#[inline(always)]
fn dot<S: Simd>(simd: S, left: &[f32], right: &[f32]) -> f32 {
    let ((left, _), (right, _)) = (S::as_simd_f32s(left), S::as_simd_f32s(right));
    let mut sum = simd.splat_f32s(0.0);
    for (left, right) in left.iter().zip(right) {
        sum = simd.mul_add_e_f32s(*left, *right, sum);
    }
    simd.reduce_sum_f32s(sum)
}

/// sums += factor · row, for slices whose length is a multiple of [`BLOCK`].
#[inline(always)]
fn add_scaled<S: Simd>(simd: S, sums: &mut [f32], factor: f32, row: &[f32]) {
    let ((sums, _), (row, _)) = (S::as_mut_simd_f32s(sums), S::as_simd_f32s(row));
    let factor = simd.splat_f32s(factor);
    for (sum, value) in sums.iter_mut().zip(row) {
        *sum = simd.mul_add_e_f32s(factor, *value, *sum);
    }
}

#[cfg(test)]
mod tests {
    use pulp::Scalar;

    use super::*;
    use crate::random::Random;

    const ORDERS: [usize; 6] = [16, 32, 48, 64, 80, 144];

    fn rows(count: usize, d: usize) -> Vec<f32> {
        let mut random = Random::new(5, (count * d) as u64);
        (0..count * d).map(|_| random.normal() as f32).collect()
    }

    /// xᵀx + E from 2·order rows, in plain loops.
    fn system(order: usize) -> Vec<f32> {
        let x = rows(2 * order, order);
        let mut system = vec![0f32; order * order];
        for i in 0..order {
            for j in 0..order {
                system[j * order + i] = x.chunks_exact(order).map(|row| row[i] * row[j]).sum::<f32>();
            }
            system[i * order + i] += 1.0;
        }
        system
    }

    fn assert_near(left: &[f32], right: &[f32], within: f32) {
        assert_eq!(left.len(), right.len());
        for (i, (a, b)) in left.iter().zip(right).enumerate() {
            assert!((a - b).abs() <= within * (1.0 + a.abs()), "at {i}: {a} {b}");
        }
    }

    #[test]
    fn the_solution_fulfils_the_system() {
        for order in ORDERS {
            let system = system(order);
            let expected = rows(1, order);
            let mut right: Vec<f32> =
                (0..order).map(|i| (0..order).map(|j| system[j * order + i] * expected[j]).sum()).collect();
            let mut factored = system.clone();
            factor(&mut factored, order).unwrap();
            solve(&factored, order, &mut right);
            assert_near(&right, &expected, 1e-3);
        }
    }

    /// What this processor runs beside the scalar form of the same kernel.
    #[test]
    fn vectors_and_scalars_agree() {
        for order in ORDERS {
            let panel = rows(37, order);
            let (mut fast, mut slow) = (system(order), system(order));
            add_gram(&mut fast, &panel, order);
            AddGram { system: &mut slow, panel: &panel, order }.with_simd(Scalar::new());
            assert_near(&fast, &slow, 1e-4);
            factor(&mut fast, order).unwrap();
            assert!(Factor { system: &mut slow, order }.with_simd(Scalar::new()));
            assert_near(&fast, &slow, 1e-4);
            let (mut fast_right, mut slow_right) = (rows(1, order), rows(1, order));
            solve(&fast, order, &mut fast_right);
            Solve { factor: &slow, order, right: &mut slow_right }.with_simd(Scalar::new());
            assert_near(&fast_right, &slow_right, 1e-4);
        }
    }

    #[test]
    fn gathered_rows_are_scaled_and_summed() {
        for d in [1, 8, 16, 37, 64] {
            let from = rows(5, d);
            let mut panel = vec![0f32; 2 * padded(d)];
            let mut sums = vec![0f32; d];
            let (picked, weights) = ([4u32, 1], [4.0, 0.25]);
            Gather { from: &from, d, rows: &picked, weights: &weights, panel: &mut panel, sums: &mut sums }.run();
            for i in 0..d {
                assert!((panel[i] - 2.0 * from[4 * d + i]).abs() < 1e-6);
                assert!((panel[padded(d) + i] - 0.5 * from[d + i]).abs() < 1e-6);
                assert!((sums[i] - 4.0 * from[4 * d + i] - 0.25 * from[d + i]).abs() < 1e-5);
            }
            assert!(panel[d..padded(d)].iter().all(|&value| value == 0.0), "padding stays zero");
        }
    }

    #[test]
    fn a_system_that_is_not_positive_definite_is_an_error() {
        for spoil in [-1.0, 0.0, f32::NAN] {
            for at in [0, 15, 16, 31] {
                let mut system = system(32);
                (0..32).for_each(|i| system[i * 32 + at] = 0.0);
                (0..32).for_each(|i| system[at * 32 + i] = 0.0);
                system[at * 32 + at] = spoil;
                assert_eq!(factor(&mut system, 32), Err(NotPositiveDefinite), "{spoil} at {at}");
            }
        }
    }
}
