//! Many tests at once: which of them count, and at which level their intervals are to be drawn.
//!
//! In: p-values (or e-values) of one family.  Out: adjusted p-values, rejections, and a level per test.
//! An interval is drawn at a level that the procedure gave, never backwards from an adjusted p-value.
//! Never here: which metrics form a family (see `decision` for its own rule).
//! Start at [`adjust`]; the product uses [`weighted_holm`] on goals and [`benjamini_hochberg`] on the rest.

use super::error::{StatsError, allowed, enough, open_share, row_allowed, same_length};

/// How a family of p-values is corrected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Correction {
    /// m·p.
    Bonferroni,
    /// 1 − (1 − p)^m (Šidák 1967): exact for independent tests.
    Sidak,
    /// Step-down Bonferroni (Holm 1979).
    Holm,
    /// Step-down Šidák.
    HolmSidak,
    /// Step-up (Hochberg 1988), valid where Simes' inequality is.
    Hochberg,
    /// The closed test of Simes' tests (Hommel 1988).
    Hommel,
    /// False discovery rate under independence or positive dependence (Benjamini & Hochberg 1995).
    BenjaminiHochberg,
    /// False discovery rate under any dependence (Benjamini & Yekutieli 2001).
    BenjaminiYekutieli,
    /// BH with the number of true nulls estimated by a first BH (Benjamini, Krieger & Yekutieli 2006), both stages at α.
    TwoStageBenjaminiHochberg,
}

/// One test after correction.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Adjusted {
    pub p: f64,
    pub is_rejected: bool,
}

/// Adjusted p-values, in the order given. An empty family gives an empty answer.
///
/// Errors: a p-value outside [0, 1] or not a number; `alpha` outside (0, 1).
pub fn adjust(p: &[f64], correction: Correction, alpha: f64) -> Result<Vec<Adjusted>, StatsError> {
    check_family(p, alpha)?;
    let order = ascending(p);
    let sorted: Vec<f64> = order.iter().map(|&place| p[place]).collect();
    let m = p.len() as f64;
    let raised = |p: f64, tests: f64| -f64::exp_m1(tests * f64::ln_1p(-p));
    let adjusted = match correction {
        Correction::Bonferroni => sorted.iter().map(|p| p * m).collect(),
        Correction::Sidak => sorted.iter().map(|p| raised(*p, m)).collect(),
        Correction::Holm => step_down(&sorted, |rank, p| (m - rank as f64) * p),
        Correction::HolmSidak => step_down(&sorted, |rank, p| raised(p, m - rank as f64)),
        Correction::Hochberg => step_up(&sorted, |rank, p| (m - rank as f64) * p),
        Correction::Hommel => hommel(&sorted),
        Correction::BenjaminiHochberg => discovery_rate(&sorted, 1.0),
        Correction::BenjaminiYekutieli => {
            let harmonic: f64 = (1..=p.len()).map(|k| 1.0 / k as f64).sum();
            discovery_rate(&sorted, harmonic)
        }
        Correction::TwoStageBenjaminiHochberg => two_stage(&sorted, alpha),
    };
    let mut answer = vec![Adjusted { p: 1.0, is_rejected: false }; p.len()];
    for (place, p) in order.into_iter().zip(adjusted) {
        let p = f64::min(p, 1.0);
        answer[place] = Adjusted { p, is_rejected: p <= alpha };
    }
    Ok(answer)
}

fn check_family(p: &[f64], alpha: f64) -> Result<(), StatsError> {
    open_share("alpha", alpha)?;
    for (row, &value) in p.iter().enumerate() {
        row_allowed(row, "p", value, (0.0..=1.0).contains(&value), "between 0 and 1")?;
    }
    Ok(())
}

fn ascending(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|one, other| values[*one].total_cmp(&values[*other]));
    order
}

fn step_down(sorted: &[f64], raise: impl Fn(usize, f64) -> f64) -> Vec<f64> {
    let mut most = 0.0f64;
    let raised = sorted.iter().enumerate().map(|(rank, p)| {
        most = most.max(raise(rank, *p));
        most
    });
    raised.collect()
}

fn step_up(sorted: &[f64], raise: impl Fn(usize, f64) -> f64) -> Vec<f64> {
    let mut least = f64::INFINITY;
    let mut adjusted = vec![1.0; sorted.len()];
    for (rank, p) in sorted.iter().enumerate().rev() {
        least = least.min(raise(rank, *p));
        adjusted[rank] = least;
    }
    adjusted
}

fn discovery_rate(sorted: &[f64], factor: f64) -> Vec<f64> {
    let m = sorted.len() as f64;
    step_up(sorted, |rank, p| p * (factor * m / (rank + 1) as f64))
}

fn two_stage(sorted: &[f64], alpha: f64) -> Vec<f64> {
    let first = discovery_rate(sorted, 1.0);
    let (m, rejected) = (sorted.len(), first.iter().filter(|p| **p <= alpha).count());
    if rejected == 0 || rejected == m {
        return first;
    }
    let nulls = (m - rejected) as f64 / m as f64;
    first.into_iter().map(|p| p * nulls).collect()
}

/// Wright, Biometrics 1992, algorithm of the appendix: the largest Simes p over all subsets that hold the test.
fn hommel(sorted: &[f64]) -> Vec<f64> {
    let m = sorted.len();
    let mut adjusted = sorted.to_vec();
    for size in (2..=m).rev() {
        // Subsets of this size: the largest p-values come last.
        let head = m - size;
        let least = (head..m).map(|i| size as f64 * sorted[i] / (i - head + 1) as f64).fold(f64::INFINITY, f64::min);
        // For the tests before the last `size − 1`, the rest of the subset are the largest ones.
        let tail = m + 1 - size;
        let of_tail = (tail..m).map(|i| size as f64 * sorted[i] / (i - tail + 2) as f64).fold(f64::INFINITY, f64::min);
        for (place, value) in adjusted.iter_mut().enumerate() {
            let simes = if place >= tail { least } else { of_tail.min(size as f64 * sorted[place]) };
            *value = value.max(simes);
        }
    }
    adjusted
}

/// One test after a procedure that also gives its interval a level.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct AdjustedWithLevel {
    pub p: f64,
    pub is_rejected: bool,
    /// Draw the interval at confidence 1 − this. It leaves out the null value exactly when `is_rejected`.
    pub interval_alpha: f64,
}

/// Preferential Bonferroni–Holm: tests share alpha by weight, and hand on what they used (Holm 1979, section 4).
///
/// `weights` > 0 and relative. Each test's interval is drawn at the level at which it was tested, α·wᵢ / Σ(weights not yet
/// rejected); tests after the stop at the level of the stop. So decision and interval cannot disagree; the intervals of
/// rejected tests are compatible with the decision, not simultaneous in coverage.
pub fn weighted_holm(p: &[f64], weights: &[f64], alpha: f64) -> Result<Vec<AdjustedWithLevel>, StatsError> {
    check_family(p, alpha)?;
    same_length("weights", weights.len(), p.len())?;
    for &weight in weights {
        allowed("weight", weight, weight > 0.0 && weight.is_finite(), "a finite number above 0")?;
    }
    let ratios: Vec<f64> = p.iter().zip(weights).map(|(p, weight)| p / weight).collect();
    let mut answer = vec![AdjustedWithLevel { p: 1.0, is_rejected: false, interval_alpha: alpha }; p.len()];
    let mut left: f64 = weights.iter().sum();
    let (mut most, mut has_stopped) = (0.0f64, false);
    let mut stopped_with = left;
    for place in ascending(&ratios) {
        most = most.max(ratios[place] * left).min(1.0);
        if !has_stopped {
            has_stopped = most > alpha;
            stopped_with = left;
        }
        let interval_alpha = alpha * weights[place] / stopped_with;
        answer[place] = AdjustedWithLevel { p: most, is_rejected: !has_stopped, interval_alpha };
        left -= weights[place];
    }
    Ok(answer)
}

/// BH, with the intervals of Benjamini & Yekutieli (JASA 2005): level α·R/m for R rejections of m, α/m when there are none.
///
/// The expected share of intervals of rejected tests that miss their value is at most α.
pub fn benjamini_hochberg(p: &[f64], alpha: f64) -> Result<Vec<AdjustedWithLevel>, StatsError> {
    let adjusted = adjust(p, Correction::BenjaminiHochberg, alpha)?;
    let rejected = adjusted.iter().filter(|test| test.is_rejected).count();
    let interval_alpha = alpha * rejected.max(1) as f64 / p.len().max(1) as f64;
    let with_level = |test: Adjusted| AdjustedWithLevel { p: test.p, is_rejected: test.is_rejected, interval_alpha };
    Ok(adjusted.into_iter().map(with_level).collect())
}

/// e-BH (Wang & Ramdas 2022): the k tests with the largest e, for the largest k whose k-th e is at least m / (α k).
///
/// e-values ≥ 0, infinity allowed. The false discovery rate stays below `alpha` under any dependence and at any time.
pub fn e_benjamini_hochberg(e: &[f64], alpha: f64) -> Result<Vec<bool>, StatsError> {
    open_share("alpha", alpha)?;
    for (row, &value) in e.iter().enumerate() {
        row_allowed(row, "e", value, value >= 0.0, "at least 0")?;
    }
    let mut order = ascending(e);
    order.reverse();
    let m = e.len() as f64;
    let counts = (1..=e.len()).rev().find(|&k| e[order[k - 1]] >= m / (alpha * k as f64)).unwrap_or(0);
    let mut answer = vec![false; e.len()];
    order.into_iter().take(counts).for_each(|place| answer[place] = true);
    Ok(answer)
}

/// Bonferroni's level for each of `tests` > 0 tests.
pub fn bonferroni_level(alpha: f64, tests: usize) -> Result<f64, StatsError> {
    open_share("alpha", alpha)?;
    enough("tests", tests, 1)?;
    Ok(alpha / tests as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Benjamini & Hochberg 1995, section 3.2: thrombolysis, 15 comparisons.
    const THROMBOLYSIS: [f64; 15] = [
        0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.324, 0.4262, 0.5719, 0.6528, 0.759,
        1.0,
    ];

    fn rejections(correction: Correction) -> usize {
        adjust(&THROMBOLYSIS, correction, 0.05).unwrap().iter().filter(|test| test.is_rejected).count()
    }

    #[test]
    fn the_paper_rejects_four_and_bonferroni_three() {
        assert_eq!((rejections(Correction::BenjaminiHochberg), rejections(Correction::Bonferroni)), (4, 3));
    }

    #[test]
    fn equal_weights_are_plain_holm() {
        let plain = adjust(&THROMBOLYSIS, Correction::Holm, 0.05).unwrap();
        let weighted = weighted_holm(&THROMBOLYSIS, &[3.0; 15], 0.05).unwrap();
        for (one, other) in plain.iter().zip(&weighted) {
            assert!((one.p - other.p).abs() < 1e-14 && one.is_rejected == other.is_rejected);
        }
    }

    #[test]
    fn weights_move_alpha_to_the_metric_that_matters() {
        // Order by p/w: .03/.8 < .02/.2. First .0375·1 ≤ .05, then .02/.2·.2 = .02.
        let tests = weighted_holm(&[0.03, 0.02], &[0.8, 0.2], 0.05).unwrap();
        assert!((tests[0].p - 0.0375).abs() < 1e-15 && tests.iter().all(|test| test.is_rejected), "{tests:?}");
        assert!((tests[0].interval_alpha - 0.04).abs() < 1e-15 && (tests[1].interval_alpha - 0.05).abs() < 1e-15);
        // With equal weights .02·2 ≤ .05, then .03.
        let equal = weighted_holm(&[0.03, 0.02], &[1.0, 1.0], 0.05).unwrap();
        assert!((equal[1].p - 0.04).abs() < 1e-15 && (equal[1].interval_alpha - 0.025).abs() < 1e-15);
    }

    #[test]
    fn an_interval_leaves_out_zero_exactly_when_the_test_rejects() {
        // The interval at level a leaves out zero iff p ≤ a.
        let families = [&THROMBOLYSIS[..], &[0.04, 0.04, 0.04], &[0.9], &[0.01, 0.04, 0.03, 0.005], &[0.2, 0.001]];
        for p in families {
            let weights: Vec<f64> = (1..=p.len()).map(|w| w as f64).collect();
            for tests in [weighted_holm(p, &weights, 0.05).unwrap(), benjamini_hochberg(p, 0.05).unwrap()] {
                for (p, test) in p.iter().zip(tests) {
                    assert_eq!(*p <= test.interval_alpha, test.is_rejected, "{p} {test:?}");
                }
            }
        }
    }

    #[test]
    fn the_selected_share_sets_the_level_of_discovery_intervals() {
        let tests = benjamini_hochberg(&THROMBOLYSIS, 0.05).unwrap();
        assert!(tests.iter().all(|test| (test.interval_alpha - 0.05 * 4.0 / 15.0).abs() < 1e-15));
    }

    #[test]
    fn e_values_need_less_the_more_there_are() {
        // m = 4, α = .05: k = 1 needs 80, k = 2 needs 40, k = 3 needs 26.7.
        assert_eq!(e_benjamini_hochberg(&[41.0, 0.0, 40.0, 3.0], 0.05).unwrap(), [true, false, true, false]);
        assert_eq!(e_benjamini_hochberg(&[79.0, 0.0, 39.0, 3.0], 0.05).unwrap(), [false; 4]);
        assert_eq!(e_benjamini_hochberg(&[f64::INFINITY], 0.05).unwrap(), [true]);
    }

    #[test]
    fn an_empty_family_is_empty_and_a_wrong_p_is_named() {
        assert!(adjust(&[], Correction::Hommel, 0.05).unwrap().is_empty());
        assert!(weighted_holm(&[], &[], 0.05).unwrap().is_empty());
        assert!(benjamini_hochberg(&[], 0.05).unwrap().is_empty());
        assert!(e_benjamini_hochberg(&[], 0.05).unwrap().is_empty());
        let error = adjust(&[0.1, f64::NAN], Correction::Holm, 0.05).unwrap_err().to_string();
        assert_eq!(error, "`p` of row 1 is `NaN`; it must be between 0 and 1");
        assert!(adjust(&[1.1], Correction::Holm, 0.05).is_err() && adjust(&[0.1], Correction::Holm, 0.0).is_err());
        assert!(weighted_holm(&[0.1], &[0.0], 0.05).is_err() && weighted_holm(&[0.1], &[], 0.05).is_err());
        assert!(e_benjamini_hochberg(&[-1.0], 0.05).is_err() && bonferroni_level(0.05, 0).is_err());
    }
}
