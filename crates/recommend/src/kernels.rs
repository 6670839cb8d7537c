//! Vector kernels on small symmetric systems: gather, outer products, Cholesky, solve. One system fits a core's cache.
//!
//! In: `f32` slices; a system is `order` × `order`, column-major, lower triangle, `order` a multiple of [`BLOCK`].
//! Out: results in place. Each kernel is written once over pulp's vectors and compiled for AVX-512, for AVX2 with FMA,
//! for NEON and for scalars; which one runs is found out at run time, so a binary needs no flags for its processor.
//! A kernel runs on one thread and adds in one order: the same processor gives the same bits, whatever the thread count.
//! Never here: threads, what the matrices mean, `unsafe` but for one prefetch (the vectors' own stays in pulp) and the
//! calls of [`bytes`], whose instructions pulp does not have.
//! Start at [`factor`]; for scanning items in bytes at [`bytes::ByteScan`].

pub(crate) mod bytes;

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use crate::linalg::NotPositiveDefinite;

/// Rows and columns of a system are worked on in blocks of so many: one AVX-512 register, two of AVX2, four of NEON.
pub(crate) const BLOCK: usize = 16;

/// The order of the system that holds `d` unknowns; the rest is padding with a unit diagonal.
pub(crate) fn padded(d: usize) -> usize {
    d.next_multiple_of(BLOCK)
}

/// Copies a block of columns of some rows side by side, scaled by the roots of the weights, and adds the rows times
/// their targets to `sums`.
pub(crate) struct Gather<'a> {
    /// rows × d, row-major.
    pub(crate) from: &'a [f32],
    pub(crate) d: usize,
    /// Which columns.
    pub(crate) block: Range<usize>,
    /// Which rows, with a weight and a target for each.
    pub(crate) rows: &'a [u32],
    pub(crate) weights: &'a [f32],
    pub(crate) targets: &'a [f32],
    /// Out: one row of padded(block) for each, zero in the padding.
    pub(crate) panel: &'a mut [f32],
    /// Out: one sum for each column of the block.
    pub(crate) sums: &'a mut [f32],
}

impl Gather<'_> {
    /// Cost: a read of every row, at the speed of memory unless [`add_gram`] fetched them before.
    pub(crate) fn run(self) {
        Arch::new().dispatch(self);
    }
}

impl WithSimd for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (width, order) = (self.block.len(), padded(self.block.len()));
        let (sums, sums_tail) = S::as_mut_simd_f32s(&mut self.sums[..width]);
        let events = self.rows.iter().zip(self.weights).zip(self.targets);
        for (((&row, &weight), &target), out) in events.zip(self.panel.chunks_exact_mut(order)) {
            let start = row as usize * self.d + self.block.start;
            let (values, values_tail) = S::as_simd_f32s(&self.from[start..start + width]);
            let (out, padding) = out.split_at_mut(width);
            let (out, out_tail) = S::as_mut_simd_f32s(out);
            let root = weight.sqrt();
            let (root_lanes, target_lanes) = (simd.splat_f32s(root), simd.splat_f32s(target));
            for ((value, out), sum) in values.iter().zip(out).zip(sums.iter_mut()) {
                *out = simd.mul_f32s(root_lanes, *value);
                *sum = simd.mul_add_e_f32s(target_lanes, *value, *sum);
            }
            for ((value, out), sum) in values_tail.iter().zip(out_tail).zip(sums_tail.iter_mut()) {
                *out = root * value;
                *sum += target * value;
            }
            padding.fill(0.0);
        }
    }
}

/// Adds to each sum the inner product of a row's block of columns with a vector.
pub(crate) struct RowProducts<'a> {
    /// rows × d, row-major.
    pub(crate) from: &'a [f32],
    pub(crate) d: usize,
    /// Which columns.
    pub(crate) block: Range<usize>,
    /// Which rows.
    pub(crate) rows: &'a [u32],
    /// One value for each column of the block.
    pub(crate) with: &'a [f32],
    /// Out: one sum for each row.
    pub(crate) sums: &'a mut [f32],
}

impl RowProducts<'_> {
    /// Cost: a read of every row and one multiply-add for each value.
    pub(crate) fn run(self) {
        Arch::new().dispatch(self);
    }
}

impl WithSimd for RowProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (with, with_tail) = S::as_simd_f32s(&self.with[..self.block.len()]);
        let place = |row: u32| row as usize * self.d + self.block.start..row as usize * self.d + self.block.end;
        for (number, (&row, sum)) in self.rows.iter().zip(self.sums).enumerate() {
            if let Some(&ahead) = self.rows.get(number + FETCH_ROWS) {
                prefetch(&self.from[place(ahead)]);
            }
            let (values, values_tail) = S::as_simd_f32s(&self.from[place(row)]);
            let mut lanes = simd.splat_f32s(0.0);
            for (value, with) in values.iter().zip(with) {
                lanes = simd.mul_add_e_f32s(*value, *with, lanes);
            }
            let tail: f32 = values_tail.iter().zip(with_tail).map(|(value, with)| value * with).sum();
            *sum += simd.reduce_sum_f32s(lanes) + tail;
        }
    }
}

/// Rows that will be gathered next, and the columns of them.
#[derive(Clone, Default)]
pub(crate) struct Ahead<'a> {
    /// rows × d, row-major.
    pub(crate) from: &'a [f32],
    pub(crate) d: usize,
    pub(crate) block: Range<usize>,
    pub(crate) rows: &'a [u32],
}

/// Rows asked for between two runs of multiplications; more at once than a core can wait for would hold it up.
const FETCH_ROWS: usize = 8;

/// Asks for the cache lines of a row of 4-byte values before they are read.
#[inline(always)]
#[cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "the safe form, `hint::prefetch_read`, is not stable yet")
)]
pub(crate) fn prefetch<T>(row: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in row.chunks(BLOCK) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: SSE is part of x86-64; a prefetch changes nothing but the cache, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = row;
}

/// Adds xᵀx to the lower triangle of `system`; `panel` is rows × order, row-major.
///
/// Blocks on the diagonal are filled whole. Cost: rows · order² / 2 multiply-adds, at the speed of the multiply units
/// while the panel stays in the first cache. Between them the rows of `ahead` are fetched into the second cache.
pub(crate) fn add_gram(system: &mut [f32], panel: &[f32], order: usize, ahead: Ahead<'_>) {
    Arch::new().dispatch(AddGram { system, panel, order, ahead });
}

struct AddGram<'a> {
    system: &'a mut [f32],
    panel: &'a [f32],
    order: usize,
    ahead: Ahead<'a>,
}

impl WithSimd for AddGram<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Ahead { from, d, block, rows } = self.ahead;
        let mut groups = rows.chunks(FETCH_ROWS);
        let mut fetch = || {
            for &row in groups.next().unwrap_or_default() {
                prefetch(&from[row as usize * d + block.start..row as usize * d + block.end]);
            }
        };
        for (number, columns) in self.system.chunks_exact_mut(BLOCK * self.order).enumerate() {
            add_block_column::<S, true>(simd, columns, self.panel, self.order, number * BLOCK, &mut fetch);
        }
    }
}

/// Adds (or subtracts) Σ x·xᵀ over the rows x of `panel` to [`BLOCK`] columns, from row `first` = their own number down.
#[inline(always)]
fn add_block_column<S: Simd, const ADD: bool>(
    simd: S,
    columns: &mut [f32],
    panel: &[f32],
    order: usize,
    first: usize,
    between: &mut impl FnMut(),
) {
    let mut row = first;
    while row < order {
        // Tiles as large as the registers allow: sums, one column of rows, one broadcast value.
        row += match (S::F32_LANES, (order - row) / S::F32_LANES) {
            (16, 1) => add_tiles::<S, ADD, 1, 16>(simd, columns, panel, order, first, row, between),
            (16, 2) => add_tiles::<S, ADD, 2, 8>(simd, columns, panel, order, first, row, between),
            (16, 3) => add_tiles::<S, ADD, 3, 4>(simd, columns, panel, order, first, row, between),
            (8, _) => add_tiles::<S, ADD, 2, 4>(simd, columns, panel, order, first, row, between),
            _ => add_tiles::<S, ADD, 4, 4>(simd, columns, panel, order, first, row, between),
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
    between: &mut impl FnMut(),
) -> usize {
    let height = R * S::F32_LANES;
    for column in (0..BLOCK).step_by(C) {
        between();
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
        for (c, sums) in sums.iter().enumerate() {
            let start = (column + c) * order + row;
            let (out, _) = S::as_mut_simd_f32s(&mut columns[start..start + height]);
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = if ADD { simd.add_f32s(*out, *sum) } else { simd.sub_f32s(*out, *sum) };
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
            add_block_column::<S, false>(simd, columns, done, order, first, &mut || ());
            let mut block = [[0f32; BLOCK]; BLOCK];
            for (column, from) in block.iter_mut().zip(columns.chunks_exact(order)) {
                column.copy_from_slice(&from[first..first + BLOCK]);
            }
            let mut inverse = [[0f32; BLOCK]; BLOCK];
            if !invert_block(simd, &mut block, &mut inverse) {
                return false;
            }
            for (row, out) in inverse.iter().zip(columns.chunks_exact_mut(order)) {
                out[first..first + BLOCK].copy_from_slice(row);
            }
            scale_rows_below(simd, columns, &inverse, order, first + BLOCK);
        }
        true
    }
}

/// A block on the diagonal, by columns or by rows.
type Block = [[f32; BLOCK]; BLOCK];

/// The inverse of the Cholesky factor of one block: `block` by columns (spoilt), `inverse` by rows, zero at first.
///
/// Elimination without roots (L·D·Lᵀ) on the block and on the identity together: only one division stands between a
/// pivot and the next; roots are taken at the end, all together.
#[inline(always)]
fn invert_block<S: Simd>(simd: S, block: &mut Block, inverse: &mut Block) -> bool {
    let mut pivots = [0f32; BLOCK];
    (0..BLOCK).for_each(|i| inverse[i][i] = 1.0);
    for j in 0..BLOCK {
        let (block, columns) = block.split_at_mut(j + 1);
        let (inverse, rows) = inverse.split_at_mut(j + 1);
        let (pivot_column, pivot_row) = (&block[j], &inverse[j]);
        pivots[j] = pivot_column[j];
        let reciprocal = 1.0 / pivots[j];
        for ((column, row), value) in columns.iter_mut().zip(rows).zip(&pivot_column[j + 1..]) {
            let multiple = simd.splat_f32s(value * reciprocal);
            subtract(simd, column, multiple, pivot_column);
            subtract(simd, row, multiple, pivot_row);
        }
    }
    // A pivot that is not a number is not above zero either.
    if !pivots.iter().all(|&pivot| pivot > 0.0 && pivot.is_finite()) {
        return false;
    }
    for (row, pivot) in inverse.iter_mut().zip(pivots) {
        let scale = simd.splat_f32s(1.0 / pivot.sqrt());
        let (row, _) = S::as_mut_simd_f32s(row);
        row.iter_mut().for_each(|lanes| *lanes = simd.mul_f32s(scale, *lanes));
    }
    true
}

/// out −= multiple · from.
#[inline(always)]
fn subtract<S: Simd>(simd: S, out: &mut [f32; BLOCK], multiple: S::f32s, from: &[f32; BLOCK]) {
    let ((out, _), (from, _)) = (S::as_mut_simd_f32s(out), S::as_simd_f32s(from));
    for (out, from) in out.iter_mut().zip(from) {
        *out = simd.negate_mul_add_e_f32s(multiple, *from, *out);
    }
}

/// x ← x·Wᵀ for all rows x of the [`BLOCK`] columns from `row` down; `inverse` = W, by rows.
#[inline(always)]
fn scale_rows_below<S: Simd>(simd: S, columns: &mut [f32], inverse: &Block, order: usize, mut row: usize) {
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
    inverse: &Block,
    order: usize,
    row: usize,
) -> usize {
    let height = R * S::F32_LANES;
    for column in (0..BLOCK).step_by(C).rev() {
        let mut sums = [[simd.splat_f32s(0.0); R]; C];
        for k in 0..column + C {
            let (left, _) = S::as_simd_f32s(&columns[k * order + row..k * order + row + height]);
            for c in 0..C {
                let value = simd.splat_f32s(inverse[column + c][k]);
                for r in 0..R {
                    sums[c][r] = simd.mul_add_e_f32s(left[r], value, sums[c][r]);
                }
            }
        }
        for (c, sums) in sums.iter().enumerate() {
            let start = (column + c) * order + row;
            let (out, _) = S::as_mut_simd_f32s(&mut columns[start..start + height]);
            out.copy_from_slice(sums);
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

    /// Gather, outer products, factorisation and solution with the vectors of one instruction set.
    struct Everything {
        order: usize,
    }

    impl WithSimd for Everything {
        type Output = Vec<f32>;

        fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
            let order = self.order;
            let from = rows(37, order);
            let (picked, weights): (Vec<u32>, Vec<f32>) = (0..37).map(|row| (row, 0.5 + row as f32 / 37.0)).unzip();
            let (mut panel, mut right) = (vec![0f32; 37 * order], vec![0f32; order]);
            let mut system = system(order);
            let (d, block, targets) = (order, 0..order, &weights);
            let (panel_out, sums) = (&mut panel, &mut right);
            let gather = Gather {
                from: &from,
                d,
                block: block.clone(),
                rows: &picked,
                weights: &weights,
                targets,
                panel: panel_out,
                sums,
            };
            simd.vectorize(gather);
            let ahead = Ahead { from: &from, d, block: block.clone(), rows: &[36, 0] };
            simd.vectorize(AddGram { system: &mut system, panel: &panel, order, ahead });
            let mut products = vec![0f32; 37];
            simd.vectorize(RowProducts { from: &from, d, block, rows: &picked, with: &right, sums: &mut products });
            assert!(simd.vectorize(Factor { system: &mut system, order }));
            simd.vectorize(Solve { factor: &system, order, right: &mut right });
            [panel, system, right, products].concat()
        }
    }

    #[test]
    fn vectors_and_scalars_agree() {
        for order in ORDERS {
            let expected = Scalar::new().vectorize(Everything { order });
            assert_near(&Arch::new().dispatch(Everything { order }), &expected, 1e-4);
            #[cfg(target_arch = "x86_64")]
            if let Some(avx2) = pulp::x86::V3::try_new() {
                assert_near(&Simd::vectorize(avx2, Everything { order }), &expected, 1e-4);
            }
        }
    }

    #[test]
    fn gathered_rows_are_scaled_and_summed() {
        for d in [1, 8, 16, 37, 64] {
            let from = rows(5, d);
            let mut panel = vec![1f32; 2 * padded(d)];
            let mut sums = vec![0f32; d];
            let (rows, weights, targets) = (&[4u32, 1], &[4.0, 0.25], &[3.0, -1.0]);
            let (panel_out, sums_out) = (&mut panel, &mut sums);
            let from = &from;
            let block = 0..d;
            Gather { from, d, block, rows, weights, targets, panel: panel_out, sums: sums_out }.run();
            for i in 0..d {
                assert!((panel[i] - 2.0 * from[4 * d + i]).abs() < 1e-6);
                assert!((panel[padded(d) + i] - 0.5 * from[d + i]).abs() < 1e-6);
                assert!((sums[i] - 3.0 * from[4 * d + i] + from[d + i]).abs() < 1e-5);
            }
            let mut products = [1.0, 2.0];
            let with = &from[..d];
            RowProducts { from, d, block: 0..d, rows: &[4, 1], with, sums: &mut products }.run();
            let expected = |row: usize| (0..d).map(|i| from[row * d + i] * from[i]).sum::<f32>();
            assert_near(&products, &[1.0 + expected(4), 2.0 + expected(1)], 1e-4);
            assert!(panel[d..padded(d)].iter().all(|&value| value == 0.0), "padding is zero");
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
