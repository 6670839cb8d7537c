//! A ratio over strata, by hand: every mean, covariance and gradient written out from rows, and what repeated experiments do.
//!
//! In: visits and what was spent on them, in two strata.  Out: effect and standard error of `post_stratify`.
//! Never here: means (the oracle has them), which strata there are (`slices`).

mod draws;

use draws::Draws;
use experiment::stats::moments::{Mean, Ratio};
use experiment::stats::post_stratify::{Stratum, post_stratify};
use experiment::stats::{Scale, Statistic, compare};

/// (numerator, denominator) of each unit.
type Rows = Vec<(f64, f64)>;

fn ratio(rows: &Rows) -> Statistic {
    let n = rows.len() as u64;
    let sum = |of: &dyn Fn(&(f64, f64)) -> f64| rows.iter().map(of).sum::<f64>();
    let mean = |of: fn(&(f64, f64)) -> f64| Mean { n, sum: sum(&of), sum_squares: sum(&|row| of(row).powi(2)) };
    Statistic::Ratio(Ratio {
        n,
        m_statistic: mean(|row| row.0),
        d_statistic: mean(|row| row.1),
        m_d_sum_of_products: sum(&|row| row.0 * row.1),
    })
}

fn mean(rows: &Rows, of: usize) -> f64 {
    rows.iter().map(|row| [row.0, row.1][of]).sum::<f64>() / rows.len() as f64
}

fn covariance(rows: &Rows, a: usize, b: usize) -> f64 {
    let (mean_a, mean_b) = (mean(rows, a), mean(rows, b));
    let product = |row: &(f64, f64)| ([row.0, row.1][a] - mean_a) * ([row.0, row.1][b] - mean_b);
    rows.iter().map(product).sum::<f64>() / (rows.len() as f64 - 1.0)
}

/// Means of numerator and denominator over strata, in control and in treatment: each stratum has the weight of its units, in both arms.
fn overall(strata: &[(Rows, Rows)]) -> [f64; 4] {
    let total: f64 = strata.iter().map(|(c, t)| (c.len() + t.len()) as f64).sum();
    let mut found = [0.0; 4];
    for (c, t) in strata {
        let share = (c.len() + t.len()) as f64 / total;
        for of in 0..2 {
            found[of] += share * mean(c, of);
            found[2 + of] += share * mean(t, of);
        }
    }
    found
}

fn lift([m_c, d_c, m_t, d_t]: [f64; 4]) -> f64 {
    (m_t / d_t) / (m_c / d_c) - 1.0
}

/// Effect, and variance: by numerical gradient, over the covariance of the four means, of within and between strata.
fn by_hand(strata: &[(Rows, Rows)], value: impl Fn([f64; 4]) -> f64) -> (f64, f64) {
    let at = overall(strata);
    let step = 1e-6;
    let gradient: Vec<f64> = (0..4)
        .map(|i| {
            let moved = |by: f64| {
                let mut moved = at;
                moved[i] += by;
                value(moved)
            };
            (moved(step) - moved(-step)) / (2.0 * step)
        })
        .collect();
    let total: f64 = strata.iter().map(|(c, t)| (c.len() + t.len()) as f64).sum();
    let mut variance = 0.0;
    for (c, t) in strata {
        let share = (c.len() + t.len()) as f64 / total;
        for i in 0..4 {
            for j in 0..4 {
                // Within: different arms have different units.
                let arm = if i < 2 { c } else { t };
                let within = if (i < 2) == (j < 2) { covariance(arm, i % 2, j % 2) / arm.len() as f64 } else { 0.0 };
                // Between: the shares of the strata are themselves a sample of as many units.
                let mean_of = |at: usize| mean(if at < 2 { c } else { t }, at % 2);
                let between = (mean_of(i) - at[i]) * (mean_of(j) - at[j]) / total;
                variance += gradient[i] * gradient[j] * (share * share * within + share * between);
            }
        }
    }
    (value(at), variance.sqrt())
}

/// Two strata, of which the second visits and spends three times as much.
fn draw(draws: &mut Draws, units: usize, gain: f64) -> Vec<(Rows, Rows)> {
    let mut row = |level: f64, gain: f64| {
        let visits = (level * (2.0 + draws.normal().abs() * 2.0)).ceil();
        (visits * level * gain * (1.0 + 0.2 * draws.normal()), visits)
    };
    let mut arm = |level: f64, units: usize, gain: f64| -> Rows { (0..units).map(|_| row(level, gain)).collect() };
    vec![(arm(1.0, units, 1.0), arm(1.0, units + 3, gain)), (arm(3.0, units / 2, 1.0), arm(3.0, units / 2 + 1, gain))]
}

fn strata(rows: &[(Rows, Rows)]) -> Vec<Stratum> {
    rows.iter().map(|(c, t)| (ratio(c), ratio(t))).collect()
}

#[test]
fn a_ratio_over_strata_is_that_of_its_rows() {
    let rows = draw(&mut Draws::new(9), 60, 1.1);
    let absolute = |[m_c, d_c, m_t, d_t]: [f64; 4]| m_t / d_t - m_c / d_c;
    for (scale, (effect, se)) in [(Scale::Relative, by_hand(&rows, lift)), (Scale::Absolute, by_hand(&rows, absolute))]
    {
        let found = post_stratify(&strata(&rows), scale).unwrap();
        assert!((found.estimate.effect - effect).abs() < 1e-12, "{scale:?}: {found:?}, not {effect}");
        // R7 writes the covariance per unit of each stratum, n_k·(s²/n): share·(n_k/N)·s²/n is the share² of here. The gradient is numerical.
        assert!((found.estimate.se / se - 1.0).abs() < 1e-7, "{scale:?}: {found:?}, not {se}");
        assert_eq!(found.strata, 2);
    }
}

/// Over 2,000 experiments whose strata fall as they fall: the spread of the estimates is the standard error, and less than without strata.
#[test]
fn the_standard_error_is_the_spread_of_repeated_experiments() {
    let mut draws = Draws::new(10);
    let (mut effects, mut errors, mut plain) = (Vec::new(), 0.0, Vec::new());
    for _ in 0..2_000 {
        let mut rows = vec![(Rows::new(), Rows::new()), (Rows::new(), Rows::new())];
        for unit in 0..240 {
            let at = usize::from(draws.normal() > 0.43);
            let one = draw(&mut draws, 2, 1.0).swap_remove(at);
            let arm = if unit % 2 == 0 { &mut rows[at].0 } else { &mut rows[at].1 };
            arm.push(one.0[0]);
        }
        let found = post_stratify(&strata(&rows), Scale::Relative).unwrap().estimate;
        effects.push(found.effect);
        errors += found.se / 2_000.0;
        let merged = |of: fn(&(Rows, Rows)) -> &Rows| ratio(&rows.iter().flat_map(|it| of(it).clone()).collect());
        plain
            .push(compare(&merged(|it| &it.0), &merged(|it| &it.1)).unwrap().estimate(Scale::Relative).unwrap().effect);
    }
    let spread = |of: &[f64]| {
        let mean = of.iter().sum::<f64>() / of.len() as f64;
        (of.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / (of.len() as f64 - 1.0)).sqrt()
    };
    // Three standard errors of a standard deviation over 2,000: 5 %.
    assert!((errors / spread(&effects) - 1.0).abs() < 0.05, "{errors} {}", spread(&effects));
    assert!(spread(&effects) < 0.8 * spread(&plain), "{} {}", spread(&effects), spread(&plain));
}
