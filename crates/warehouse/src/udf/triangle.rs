//! Symmetric matrices as packed lower triangles, and the linear systems they make.
//!
//! In: triangles of d(d+1)/2 numbers, row by row: entry (r, c), c ≤ r, stands at r(r+1)/2 + c.  Out: sums and solutions.
//! Row by row, because then both the update of a row and the inner products of the factorisation read memory in order.
//! Never here: columns, groups.
//! Start at [`factor`], then [`solve`].

use datafusion::common::{Result, exec_err};

/// Numbers in the lower triangle of d × d.
pub(super) fn packed_len(d: usize) -> usize {
    d * (d + 1) / 2
}

/// The d of a packed triangle of so many numbers, `None` if there is none.
pub(super) fn order_of(len: usize) -> Option<usize> {
    // √(2·len) lies between d and d + 1, so the whole part is d.
    let d = (2 * len).isqrt();
    (packed_len(d) == len).then_some(d)
}

/// Adds `weight`·x·xᵀ in `f32`.
pub(super) fn add_outer(triangle: &mut [f32], weight: f32, x: &[f32]) {
    let mut rest = triangle;
    for (r, &value) in x.iter().enumerate() {
        let (row, below) = rest.split_at_mut(r + 1);
        let scaled = weight * value;
        row.iter_mut().zip(x).for_each(|(sum, other)| *sum += scaled * other);
        rest = below;
    }
}

/// Adds x·xᵀ in `f64`: products of two `f32` are exact there, and sums of millions of rows stay good to the last bit of `f32`.
pub(super) fn add_outer_exact(triangle: &mut [f64], x: &[f32]) {
    let mut rest = triangle;
    for (r, &value) in x.iter().enumerate() {
        let (row, below) = rest.split_at_mut(r + 1);
        let value = f64::from(value);
        row.iter_mut().zip(x).for_each(|(sum, other)| *sum += value * f64::from(*other));
        rest = below;
    }
}

/// Overwrites a positive definite triangle by its Cholesky factor L, a = L·Lᵀ. Cost: d³/6 multiply-adds.
///
/// Errors: a pivot of which nothing is left beyond the rounding of `f32` sums; its solution would be noise.
pub(super) fn factor(a: &mut [f64], d: usize) -> Result<()> {
    for r in 0..d {
        let (above, rest) = a.split_at_mut(packed_len(r));
        let row = &mut rest[..=r];
        for c in 0..r {
            let other = &above[packed_len(c)..packed_len(c + 1)];
            row[c] = (row[c] - dot(&row[..c], &other[..c])) / other[c];
        }
        let pivot = row[r] - dot(&row[..r], &row[..r]);
        let least = row[r].abs() * f64::from(f32::EPSILON);
        // Written so that a pivot that is not a number is refused as well.
        if !(pivot > least && pivot.is_finite()) {
            return exec_err!(
                "the system of a group is not positive definite (pivot `{}` of `{d}` is `{pivot:e}`); raise `lambda` or `alpha0`, and look for vectors that hold what is not a number",
                r + 1
            );
        }
        row[r] = pivot.sqrt();
    }
    Ok(())
}

/// Overwrites `right` by the solution of L·Lᵀ·x = right. Cost: d² multiply-adds.
pub(super) fn solve(factor: &[f64], right: &mut [f64]) {
    let row = |r: usize| &factor[packed_len(r)..packed_len(r + 1)];
    for r in 0..right.len() {
        right[r] = (right[r] - dot(&row(r)[..r], &right[..r])) / row(r)[r];
    }
    for r in (0..right.len()).rev() {
        let value = right[r] / row(r)[r];
        right[r] = value;
        right[..r].iter_mut().zip(row(r)).for_each(|(rest, factor)| *rest -= value * factor);
    }
}

/// Inner product in 8 lanes so that the compiler can use vectors; the order of additions is fixed.
pub(super) fn dot(left: &[f64], right: &[f64]) -> f64 {
    const LANES: usize = 8;
    let mut lanes = [0f64; LANES];
    let (left_chunks, right_chunks) = (left.chunks_exact(LANES), right.chunks_exact(LANES));
    let rest: f64 = left_chunks.remainder().iter().zip(right_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in left_chunks.zip(right_chunks) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_lengths_belong_together() {
        for d in 0..300 {
            assert_eq!(order_of(packed_len(d)), Some(d));
        }
        assert_eq!([2, 4, 5, 7].map(order_of), [None; 4]);
    }

    #[test]
    fn a_system_of_two_is_solved_by_hand() {
        // [4 2; 2 3]·x = [2; 5] → det 8, x = [(6 − 10)/8, (20 − 4)/8] = [−½, 2].
        let mut a = [4.0, 2.0, 3.0];
        factor(&mut a, 2).unwrap();
        let mut x = [2.0, 5.0];
        solve(&a, &mut x);
        assert!((x[0] + 0.5).abs() < 1e-15 && (x[1] - 2.0).abs() < 1e-15, "{x:?}");
    }

    #[test]
    fn solutions_of_every_order_fulfil_their_systems() {
        for d in [1usize, 7, 8, 9, 17, 64] {
            // xᵀx + E of d rows whose entries come from a linear congruence.
            let value = |k: usize| ((k * 7_919 + 13) % 101) as f32 / 101.0 - 0.5;
            let mut triangle = vec![0f64; packed_len(d)];
            for row in 0..d {
                let x: Vec<f32> = (0..d).map(|k| value(row * d + k)).collect();
                add_outer_exact(&mut triangle, &x);
            }
            (0..d).for_each(|r| triangle[packed_len(r) + r] += 1.0);
            let right: Vec<f64> = (0..d).map(|k| k as f64 - 3.0).collect();
            let (mut factored, mut x) = (triangle.clone(), right.clone());
            factor(&mut factored, d).unwrap();
            solve(&factored, &mut x);
            let entry = |r: usize, c: usize| triangle[packed_len(r.max(c)) + r.min(c)];
            for (r, right) in right.iter().enumerate() {
                let product: f64 = (0..d).map(|c| entry(r, c) * x[c]).sum();
                assert!((product - right).abs() < 1e-10, "d {d}, row {r}: {product} {right}");
            }
        }
    }

    #[test]
    fn both_sums_of_outer_products_agree() {
        let x: Vec<f32> = (0..9).map(|k| k as f32).collect();
        let (mut narrow, mut wide) = (vec![0f32; packed_len(9)], vec![0f64; packed_len(9)]);
        add_outer(&mut narrow, 1.0, &x);
        add_outer_exact(&mut wide, &x);
        assert!(narrow.iter().zip(&wide).all(|(narrow, wide)| f64::from(*narrow) == *wide));
    }
}
