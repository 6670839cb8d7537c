//! Ridge regression from yes-or-no features to factors, in closed form.
//!
//! W = (FᵀDF + ρE)⁻¹FᵀDV with D = diag(n/(n + 10)): what few events have shown counts less (reference 2.12; regression from attributes
//! to latent factors: Gantner et al., ICDM 2010; Agarwal & Chen, KDD 2009). The last row of W belongs to a feature that everybody has.
//! ρ and the scale γ come from rows that were left out: γ = Σ D·v·v̂ / Σ D·v̂·v̂ is what predictions must be multiplied with to be as
//! long as what they stand for (the calibration slope of Copas 1983), and ρ is the one of a grid with which γ·v̂ is nearest to v.
//! Never here: what features and factors mean.
//! Start at [`fit`]; [`solve`] is the closed form alone.

use faer::dyn_stack::{MemBuffer, MemStack, StackReq};
use faer::linalg::cholesky::llt;
use faer::{MatMut, MatRef, Par};

/// Events at which an item's own factor counts as much as nothing known of it (reference 2.12).
pub(crate) const PRIOR_EVENTS: f64 = 10.0;

/// Parts of the rows; each is foretold from the others.
const FOLDS: usize = 5;

/// ρ that are tried where nobody says one: a row of weight 1 adds 1 to the diagonal of each of its features.
const GRID: [f64; 5] = [0.3, 3.0, 10.0, 30.0, 300.0];

/// Rows to learn from: features (rising), weight of the row, and what is to be foretold.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    pub(crate) features: Vec<Vec<u32>>,
    /// Events behind each row.
    pub(crate) events: Vec<usize>,
    /// rows × targets, row-major.
    pub(crate) targets: Vec<f32>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fit {
    /// (features + 1) × targets, row-major, already multiplied with the scale.
    pub(crate) coefficients: Vec<f32>,
    pub(crate) regularization: f64,
    pub(crate) scale: f64,
    /// Share of the weighted squares of the targets that rows left out were foretold by, 0 to 1.
    pub(crate) explained: f64,
}

/// The factor of a row with these features: the sum of their coefficients and of the last row.
pub(crate) fn predict(coefficients: &[f32], targets: usize, features: &[u32]) -> Vec<f32> {
    let constant = coefficients.len() / targets.max(1) - 1;
    let mut sum = vec![0f32; targets];
    for row in features.iter().map(|feature| *feature as usize).chain([constant]) {
        crate::linalg::add_scaled(&mut sum, 1.0, &coefficients[row * targets..(row + 1) * targets]);
    }
    sum
}

/// Fits coefficients, scale and, unless it is given, ρ. `None` without rows, or if the equations have no finite solution.
///
/// Cost: 6 (with ρ) or 26 systems of `features` unknowns.
pub(crate) fn fit(rows: &Rows, features: usize, targets: usize, regularization: Option<f64>) -> Option<Fit> {
    let all: Vec<usize> = (0..rows.features.len()).collect();
    if all.is_empty() || targets == 0 {
        return None;
    }
    let whole = Sums::of(rows, &all, features, targets);
    let folds: Vec<(Vec<usize>, Sums)> = (0..FOLDS)
        .map(|fold| {
            let left_out: Vec<usize> = all.iter().copied().filter(|row| fold_of(*row) == fold).collect();
            let sums = Sums::of(rows, &left_out, features, targets);
            (left_out, sums)
        })
        .collect();
    let given = regularization.map(|rho| vec![rho]);
    let tried = given.unwrap_or_else(|| GRID.to_vec()).into_iter().filter_map(|rho| {
        let (mut together, mut predicted) = (0.0, 0.0);
        for (left_out, sums) in &folds {
            let coefficients = solve(&whole.without(sums), rho)?;
            for &row in left_out {
                let guess = predict(&coefficients, targets, &rows.features[row]);
                let truth = &rows.targets[row * targets..(row + 1) * targets];
                let weight = weight(rows.events[row]);
                for (guess, truth) in guess.iter().zip(truth) {
                    together += weight * f64::from(guess * truth);
                    predicted += weight * f64::from(guess * guess);
                }
            }
        }
        // What points the wrong way foretells nothing: zero is the best of it.
        let scale = if predicted > 0.0 { (together / predicted).max(0.0) } else { 0.0 };
        // The error is Σ v² − gain.
        Some((rho, scale, scale * together))
    });
    let (regularization, scale, gain) = tried.max_by(|one, other| one.2.total_cmp(&other.2))?;
    let mut coefficients = solve(&whole, regularization)?;
    coefficients.iter_mut().for_each(|value| *value *= scale as f32);
    let squares: f64 = all
        .iter()
        .map(|&row| {
            let of_row = &rows.targets[row * targets..(row + 1) * targets];
            weight(rows.events[row]) * of_row.iter().map(|value| f64::from(value * value)).sum::<f64>()
        })
        .sum();
    let explained = if squares > 0.0 { gain / squares } else { 0.0 };
    coefficients.iter().all(|value| value.is_finite()).then_some(Fit { coefficients, regularization, scale, explained })
}

/// Scattered by multiplication (Knuth, TAOCP 3, 6.4), because rows stand in the order of ids, and ids often have a rhythm.
fn fold_of(row: usize) -> usize {
    ((row as u32).wrapping_mul(2_654_435_769) >> 16) as usize % FOLDS
}

/// n/(n + 10).
fn weight(events: usize) -> f64 {
    events as f64 / (events as f64 + PRIOR_EVENTS)
}

/// FᵀDF and FᵀDV, the constant feature last.
#[derive(Debug, Clone)]
pub(crate) struct Sums {
    order: usize,
    targets: usize,
    /// order × order, column-major, all of it.
    gram: Vec<f64>,
    /// order × targets, column-major.
    right: Vec<f64>,
}

impl Sums {
    pub(crate) fn of(rows: &Rows, chosen: &[usize], features: usize, targets: usize) -> Self {
        let order = features + 1;
        let mut sums = Self { order, targets, gram: vec![0.0; order * order], right: vec![0.0; order * targets] };
        for &row in chosen {
            let weight = weight(rows.events[row]);
            let of_row: Vec<usize> =
                rows.features[row].iter().map(|feature| *feature as usize).chain([features]).collect();
            for &feature in &of_row {
                of_row.iter().for_each(|&other| sums.gram[feature * order + other] += weight);
                for (target, value) in rows.targets[row * targets..(row + 1) * targets].iter().enumerate() {
                    sums.right[target * order + feature] += weight * f64::from(*value);
                }
            }
        }
        sums
    }

    fn without(&self, other: &Self) -> Self {
        let less = |all: &[f64], part: &[f64]| all.iter().zip(part).map(|(all, part)| all - part).collect();
        Self { gram: less(&self.gram, &other.gram), right: less(&self.right, &other.right), ..*self }
    }
}

/// W = (G + ρE)⁻¹R as (features + 1) × targets, row-major. `None` if the system is not positive definite.
pub(crate) fn solve(sums: &Sums, regularization: f64) -> Option<Vec<f32>> {
    let (order, targets) = (sums.order, sums.targets);
    let mut system = sums.gram.clone();
    (0..order).for_each(|place| system[place * order + place] += regularization);
    let mut right = sums.right.clone();
    let scratch = llt::factor::cholesky_in_place_scratch::<f64>(order, Par::Seq, Default::default())
        .or(llt::solve::solve_in_place_scratch::<f64>(order, targets, Par::Seq));
    let mut memory = MemBuffer::new(scratch.or(StackReq::EMPTY));
    let factor = MatMut::from_column_major_slice_mut(&mut system, order, order);
    llt::factor::cholesky_in_place(
        factor,
        Default::default(),
        Par::Seq,
        MemStack::new(&mut memory),
        Default::default(),
    )
    .ok()?;
    let factor = MatRef::from_column_major_slice(&system, order, order);
    let solution = MatMut::from_column_major_slice_mut(&mut right, order, targets);
    llt::solve::solve_in_place(factor, solution, Par::Seq, MemStack::new(&mut memory));
    let by_row = (0..order).flat_map(|row| right.iter().skip(row).step_by(order).map(|value| *value as f32));
    Some(by_row.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: &[f32], expected: &[f64], tolerance: f64) {
        assert_eq!(found.len(), expected.len());
        let near = |(found, expected): (&f32, &f64)| (f64::from(*found) - expected).abs() <= tolerance;
        assert!(found.iter().zip(expected).all(near), "{found:?} {expected:?}");
    }

    #[test]
    fn two_rows_by_hand() {
        // One feature, had by the first row only; n = 10 and 30, so D = ½ and ¾; targets 3 and 1; ρ = 1.
        // FᵀDF + E = [[½ + 1, ½], [½, 5/4 + 1]], FᵀDV = [3/2, 9/4]; determinant 3/2 · 9/4 − ¼ = 25/8.
        // W = 8/25 · [9/4 · 3/2 − ½ · 9/4, 3/2 · 9/4 − ½ · 3/2] = 8/25 · [9/4, 21/8] = [0.72, 0.84].
        let rows = Rows { features: vec![vec![0], vec![]], events: vec![10, 30], targets: vec![3.0, 1.0] };
        let coefficients = solve(&Sums::of(&rows, &[0, 1], 1, 1), 1.0).unwrap();
        close(&coefficients, &[0.72, 0.84], 1e-6);
        close(&predict(&coefficients, 1, &[0]), &[1.56], 1e-6);
        close(&predict(&coefficients, 1, &[]), &[0.84], 1e-6);
    }

    /// Twelve rows of three features and two targets.
    fn twelve() -> Rows {
        let features: [&[u32]; 4] = [&[0], &[1], &[0, 2], &[1, 2]];
        Rows {
            features: (0..12).map(|row| features[row % 4].to_vec()).collect(),
            events: (0..12).map(|row| 3 + 5 * row).collect(),
            targets: (0..12u32)
                .flat_map(|row| {
                    let noise = |place: u32| (place * 7 % 11) as f32 / 10.0;
                    let has = |feature: u32| features[row as usize % 4].contains(&feature);
                    [if has(0) { 1.5 } else { -0.5 } + noise(2 * row), f32::from(u8::from(has(2))) + noise(2 * row + 1)]
                })
                .collect(),
        }
    }

    #[test]
    fn a_fit_equals_numpy() {
        // The same sums with numpy 2: np.linalg.solve(F.T @ D @ F + rho * I, F.T @ D @ V), the rows of a fold left out.
        let plain = solve(&Sums::of(&twelve(), &(0..12).collect::<Vec<_>>(), 3, 2), 2.0).unwrap();
        let expected = [0.8746049, 0.2394753, -0.4171783, 0.1741246, 0.3171059, 0.583547, 0.4574266, 0.4135999];
        close(&plain, &expected, 1e-6);
        let given = fit(&twelve(), 3, 2, Some(2.0)).unwrap();
        let expected = [1.1094232, 0.3037708, -0.5291844, 0.2208744, 0.4022441, 0.7402206, 0.5802388, 0.5246452];
        close(&given.coefficients, &expected, 1e-5);
        assert!((given.scale - 1.268_485).abs() < 1e-5 && (given.explained - 0.888_938_7).abs() < 1e-5, "{given:?}");
        let chosen = fit(&twelve(), 3, 2, None).unwrap();
        assert_eq!(chosen.regularization, 0.3);
        assert!(
            (chosen.scale - 1.028_633_5).abs() < 1e-5 && (chosen.explained - 0.910_338_4).abs() < 1e-5,
            "{chosen:?}"
        );
    }

    #[test]
    fn noise_gives_a_small_scale_and_a_rule_is_found() {
        // Targets follow the features exactly: nearly everything is foretold. With the order of the targets broken, little is.
        let features: Vec<Vec<u32>> = (0..200u32).map(|row| vec![row % 5]).collect();
        let targets: Vec<f32> = (0..200).map(|row| if row % 5 < 2 { 1.0 } else { -1.0 }).collect();
        let rows = Rows { features: features.clone(), events: vec![50; 200], targets };
        let rule = fit(&rows, 5, 1, None).unwrap();
        assert!(rule.explained > 0.99 && (rule.scale - 1.0).abs() < 0.05, "{rule:?}");
        let alternating = (0..200).map(|row| if (row * 7 % 13) % 2 == 0 { 1.0 } else { -1.0 }).collect();
        let noise = fit(&Rows { features, events: vec![50; 200], targets: alternating }, 5, 1, None).unwrap();
        assert!(noise.explained < 0.1, "{noise:?}");
    }

    #[test]
    fn nothing_to_learn_from_is_no_fit() {
        let none = Rows { features: Vec::new(), events: Vec::new(), targets: Vec::new() };
        assert_eq!(fit(&none, 0, 2, None), None);
        let zero = Rows { features: vec![vec![0]], events: vec![0], targets: vec![0.0] };
        let fitted = fit(&zero, 1, 1, Some(1.0)).unwrap();
        assert_eq!((fitted.coefficients, fitted.scale, fitted.explained), (vec![0.0, 0.0], 0.0, 0.0));
    }
}
