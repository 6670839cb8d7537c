//! One half of a sweep: every row of one side solved while the other side is held fixed.
//!
//! In: the fixed side's factors and Gram matrix, and sparse rows.  Out: the rows' factors, exact or improved by blocks.
//! Rows are independent and each is summed in its own order, so the number of threads changes no bit.
//! Never here: the order of sweeps (see `ials`), vector code (see `kernels`).
//! Start at [`HalfStep::solve_all`].

use std::mem;
use std::ops::Range;

use rayon::prelude::*;

use crate::kernels::{self, Ahead, BLOCK, Gather, RowProducts, padded};
use crate::linalg::{NotPositiveDefinite, gram};
use crate::{Csr, IalsParameters};

/// Factor rows gathered before their outer products are added: 16 KiB of them, a third of a core's first cache.
const PANEL_FLOATS: usize = 4_096;

/// Rows solved by one task; small enough to share the work out, large enough to keep its scratch warm.
const ROWS_PER_TASK: usize = 32;

/// Added to the diagonal, relative to its mean, if a pivot fails once (reference 2.3).
const JITTER: f32 = 1e-6;

/// λ (n + α0·others)^ν: regularisation scaled by frequency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ridge {
    lambda: f64,
    nu: f64,
    alpha_others: f64,
}

impl Ridge {
    pub(super) fn new(parameters: &IalsParameters, others: usize) -> Self {
        Self { lambda: parameters.lambda, nu: parameters.nu, alpha_others: parameters.alpha * others as f64 }
    }

    pub(super) fn of(&self, count: usize) -> f32 {
        (self.lambda * (count as f64 + self.alpha_others).powf(self.nu)) as f32
    }
}

/// One side held fixed while the other is solved.
pub(super) struct HalfStep<'a> {
    pub(super) d: usize,
    /// rows × d, row-major.
    pub(super) fixed: &'a [f32],
    /// α0·(fixedᵀ·fixed): d × d, column-major, lower triangle.
    pub(super) gram: &'a [f32],
    pub(super) ridge: Ridge,
}

/// One sparse row: which rows of the fixed side it meets, and with what weight.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    columns: &'a [u32],
    values: &'a [f32],
    /// What will be read after this row: fetched while it is computed.
    next: &'a [u32],
}

impl<'a> Row<'a> {
    pub(super) fn new(columns: &'a [u32], values: &'a [f32]) -> Self {
        Self { columns, values, next: &[] }
    }
}

/// What a thread uses again for every row.
pub(super) struct Scratch {
    /// The padded system of one block, factored in place.
    pub(super) system: Vec<f32>,
    right: Vec<f32>,
    panel: Vec<f32>,
    /// By blocks only: w·h of every event of the row, what each event adds to the right side, and α0·G·w.
    predictions: Vec<f32>,
    targets: Vec<f32>,
    gram_product: Vec<f32>,
}

impl Scratch {
    /// For blocks of at most `width` factors. 4·width² bytes and 16 KiB.
    pub(super) fn new(width: usize) -> Self {
        let order = padded(width);
        let panel_rows = (PANEL_FLOATS / order).max(BLOCK);
        Self {
            system: vec![0.0; order * order],
            right: vec![0.0; order],
            panel: vec![0.0; panel_rows * order],
            predictions: Vec::new(),
            targets: Vec::new(),
            gram_product: Vec::new(),
        }
    }
}

impl HalfStep<'_> {
    /// A_ππ = α0·G_ππ + Σ c·h_π·h_πᵀ + ridge·E of the block π, factored in `scratch.system`;
    /// `scratch.right` = Σ t·h_π with one target t for each event.
    fn factor_system(
        &self,
        row: Row<'_>,
        block: &Range<usize>,
        targets: &[f32],
        jitter: f32,
        scratch: &mut Scratch,
    ) -> Result<(), NotPositiveDefinite> {
        let (width, order) = (block.len(), padded(block.len()));
        let system = &mut scratch.system[..order * order];
        for (i, out) in system.chunks_exact_mut(order).enumerate() {
            let kept = if i < width { width } else { 0 };
            out[kept..].fill(0.0);
            if kept > 0 {
                let start = (block.start + i) * self.d + block.start;
                out[..width].copy_from_slice(&self.gram[start..start + width]);
            }
        }
        scratch.right.fill(0.0);
        let panel_rows = (scratch.panel.len() / order).max(1);
        let panels = row.columns.chunks(panel_rows).zip(row.values.chunks(panel_rows)).zip(targets.chunks(panel_rows));
        for (number, ((columns, values), targets)) in panels.enumerate() {
            let panel = &mut scratch.panel[..columns.len() * order];
            let read = number * panel_rows + columns.len();
            // The next panel of this row, or of those that follow if it is the last.
            let ahead = if read < row.columns.len() { &row.columns[read..] } else { row.next };
            let rows = &ahead[..ahead.len().min(panel_rows)];
            let ahead = Ahead { from: self.fixed, d: self.d, block: block.clone(), rows };
            Gather {
                from: self.fixed,
                d: self.d,
                block: block.clone(),
                rows: columns,
                weights: values,
                targets,
                panel,
                sums: &mut scratch.right,
            }
            .run();
            kernels::add_gram(system, panel, order, ahead);
        }
        let diagonal = (0..width).map(|i| system[i * order + i]).sum::<f32>() / width as f32;
        let ridge = self.ridge.of(row.columns.len()) + jitter * diagonal;
        (0..width).for_each(|i| system[i * order + i] += ridge);
        (width..order).for_each(|i| system[i * order + i] = 1.0);
        kernels::factor(system, order)
    }

    /// Factors the system of a block, once more with jitter if a pivot fails.
    fn factor_or_jitter(
        &self,
        row: Row<'_>,
        block: &Range<usize>,
        targets: &[f32],
        scratch: &mut Scratch,
    ) -> Result<(), NotPositiveDefinite> {
        self.factor_system(row, block, targets, 0.0, scratch)
            .or_else(|_| self.factor_system(row, block, targets, JITTER, scratch))
    }

    /// Factors the row's whole system in `scratch.system`, padded: for solves by `kernels::solve`.
    pub(super) fn factor(&self, row: Row<'_>, scratch: &mut Scratch) -> Result<(), NotPositiveDefinite> {
        self.factor_or_jitter(row, &(0..self.d), row.values, scratch)
    }

    /// out = A⁻¹ Σ c·h, exactly. A row without events gets the zero vector. `scratch` is for d factors.
    ///
    /// Cost: n·d²/2 + d³/6 multiply-adds; 5 µs at d = 64 and n = 100 with AVX-512.
    pub(super) fn solve(
        &self,
        row: Row<'_>,
        out: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), NotPositiveDefinite> {
        if row.columns.is_empty() {
            out.fill(0.0);
            return Ok(());
        }
        self.factor(row, scratch)?;
        kernels::solve(&scratch.system, padded(self.d), &mut scratch.right);
        out.copy_from_slice(&scratch.right[..self.d]);
        all_finite(out)
    }

    /// One pass of Newton steps over blocks of `width` factors, from the factors in `out` (Rendle et al. 2021, iALS++):
    /// w_π −= A_ππ⁻¹ g_π with g_π = Σ c(s − 1)h_π + (α0·G·w)_π + ridge·w_π and the predictions s = w·h kept up to date.
    ///
    /// `gram` is the symmetric form of `self.gram`. One block of d factors gives the exact solution.
    /// Predictions live for one row only: made anew from n·d products, they need no 4 bytes per interaction.
    /// Cost: n·d·(width/2 + 3) + d² + d·width²/6 multiply-adds.
    fn improve(
        &self,
        row: Row<'_>,
        width: usize,
        gram: &[f32],
        out: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), NotPositiveDefinite> {
        if row.columns.is_empty() {
            out.fill(0.0);
            return Ok(());
        }
        let mut predictions = mem::take(&mut scratch.predictions);
        let mut targets = mem::take(&mut scratch.targets);
        predictions.clear();
        predictions.resize(row.columns.len(), 0.0);
        self.add_predictions(row, &(0..self.d), out, &mut predictions);
        for from in (0..self.d).step_by(width) {
            let block = from..(from + width).min(self.d);
            targets.clear();
            targets.extend(row.values.iter().zip(&predictions).map(|(weight, score)| weight * (1.0 - score)));
            self.factor_or_jitter(row, &block, &targets, scratch)?;
            scratch.gram_product.clear();
            scratch.gram_product.resize(block.len(), 0.0);
            let rows: Vec<u32> = block.clone().map(|i| i as u32).collect();
            let products = &mut scratch.gram_product;
            RowProducts { from: gram, d: self.d, block: 0..self.d, rows: &rows, with: out, sums: products }.run();
            let ridge = self.ridge.of(row.columns.len());
            for ((right, product), factor) in scratch.right.iter_mut().zip(products).zip(&out[block.clone()]) {
                *right -= *product + ridge * factor;
            }
            let order = padded(block.len());
            kernels::solve(&scratch.system[..order * order], order, &mut scratch.right[..order]);
            let step = &scratch.right[..block.len()];
            out[block.clone()].iter_mut().zip(step).for_each(|(factor, step)| *factor += step);
            if block.end < self.d {
                self.add_predictions(row, &block, step, &mut predictions);
            }
        }
        (scratch.predictions, scratch.targets) = (predictions, targets);
        all_finite(out)
    }

    /// Adds with·h_π to the prediction of every event of the row.
    fn add_predictions(&self, row: Row<'_>, block: &Range<usize>, with: &[f32], predictions: &mut [f32]) {
        if with.iter().any(|&value| value != 0.0) {
            let (from, block) = (self.fixed, block.clone());
            RowProducts { from, d: self.d, block, rows: row.columns, with, sums: predictions }.run();
        }
    }

    /// Solves every row of `matrix` into `solved` (rows × d): exactly if `width` is d, else by one pass over blocks from
    /// what `solved` holds.
    pub(super) fn solve_all(&self, matrix: &Csr, width: usize, solved: &mut [f32]) -> Result<(), NotPositiveDefinite> {
        if width < self.d {
            return self.improve_all(matrix, width, solved);
        }
        self.for_each_row(matrix, self.d, solved, |number, row, out, scratch| {
            self.solve(Row { next: matrix.columns_after(number), ..row }, out, scratch)
        })
    }

    /// One pass over blocks of `width` factors for every row of `matrix`, from what `solved` (rows × d) holds.
    pub(super) fn improve_all(
        &self,
        matrix: &Csr,
        width: usize,
        solved: &mut [f32],
    ) -> Result<(), NotPositiveDefinite> {
        let gram = symmetric(self.gram, self.d);
        self.for_each_row(matrix, width, solved, |_, row, out, scratch| self.improve(row, width, &gram, out, scratch))
    }

    /// Calls `solve` for each row, in parallel, with scratch for systems of `width`.
    fn for_each_row(
        &self,
        matrix: &Csr,
        width: usize,
        solved: &mut [f32],
        solve: impl Fn(usize, Row<'_>, &mut [f32], &mut Scratch) -> Result<(), NotPositiveDefinite> + Sync,
    ) -> Result<(), NotPositiveDefinite> {
        solved
            .par_chunks_mut(ROWS_PER_TASK * self.d)
            .enumerate()
            .map_init(
                || Scratch::new(width),
                |scratch, (task, rows)| {
                    rows.chunks_mut(self.d).enumerate().try_for_each(|(offset, out)| {
                        let number = task * ROWS_PER_TASK + offset;
                        let (columns, values) = matrix.row(number);
                        solve(number, Row::new(columns, values), out, scratch)
                    })
                },
            )
            .collect()
    }
}

fn all_finite(values: &[f32]) -> Result<(), NotPositiveDefinite> {
    if values.iter().all(|value| value.is_finite()) { Ok(()) } else { Err(NotPositiveDefinite) }
}

/// The lower triangle of a matrix (d × d), mirrored.
fn symmetric(lower: &[f32], d: usize) -> Vec<f32> {
    let mut full = lower.to_vec();
    for column in 0..d {
        for row in 0..column {
            full[column * d + row] = lower[row * d + column];
        }
    }
    full
}

/// α0·(xᵀx), lower triangle.
pub(super) fn scaled_gram(x: &[f32], d: usize, alpha: f64) -> Vec<f32> {
    let mut gram = gram(x, d);
    gram.iter_mut().for_each(|value| *value *= alpha as f32);
    gram
}
