//! How often experiments without any effect, and with one, are called a find by somebody who looks forty times.
//!
//! In: a number of experiments, a seed.  Out: a line of JSON per way of judging.
//! Never here: claims; the tests of the crate hold the bounds.
//! Start at `main`.

use std::io::Write;

use experiment::ranking::Coin;
use experiment::stats::analysis::{Settings, analyze};
use experiment::stats::distributions::normal_quantile;
use experiment::stats::group_sequential::{Look, Sides, Spending, bounds};
use experiment::stats::moments::Mean;
use experiment::stats::{Scale, Statistic, StatsError};

const LOOKS: usize = 40;
/// Units of both arms between two looks.
const BETWEEN: usize = 250;
const ALPHA: f64 = 0.05;

/// Which ways of judging called it a find at one look or another.
#[derive(Debug, Clone, Copy, Default)]
struct Finds {
    welch: bool,
    always_valid: bool,
    group_sequential: bool,
    welch_at_end: bool,
}

fn experiment(coin: &mut Coin, shift: f64, looks: &[Look]) -> Result<Finds, StatsError> {
    let settings = Settings { scale: Scale::Absolute, tuning_n: 5000.0, ..Settings::default() };
    let mut arms = [Mean { n: 0, sum: 0.0, sum_squares: 0.0 }; 2];
    let mut found = Finds::default();
    for (at, look) in looks.iter().enumerate() {
        for unit in 0..BETWEEN {
            let value = normal_quantile(coin.unit().max(f64::MIN_POSITIVE)) + shift * (unit % 2) as f64;
            let arm = &mut arms[unit % 2];
            (arm.n, arm.sum, arm.sum_squares) = (arm.n + 1, arm.sum + value, arm.sum_squares + value * value);
        }
        let figures = analyze(&Statistic::Mean(arms[0]), &Statistic::Mean(arms[1]), &settings)?.shown.figures;
        let is_find = figures.fixed.p_value < ALPHA;
        found.welch |= is_find;
        found.welch_at_end = is_find && at + 1 == looks.len();
        found.always_valid |= figures.always_valid.p_value < ALPHA;
        found.group_sequential |= (figures.estimate.effect / figures.estimate.se).abs() > look.bound;
    }
    Ok(found)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let runs: usize = arguments.next().as_deref().unwrap_or("2000").parse()?;
    let seed: u64 = arguments.next().as_deref().unwrap_or("1").parse()?;
    let fractions: Vec<f64> = (1..=LOOKS).map(|look| look as f64 / LOOKS as f64).collect();
    let looks = bounds(&fractions, Spending::ObrienFleming, ALPHA, Sides::Two, true)?;
    for shift in [0.0, 0.05, 0.1] {
        let mut coin = Coin::new(seed);
        let found = (0..runs).map(|_| experiment(&mut coin, shift, &looks)).collect::<Result<Vec<_>, _>>()?;
        let share = |is: fn(&Finds) -> bool| found.iter().filter(|one| is(one)).count() as f64 / runs as f64;
        let line = serde_json::json!({
            "effect": shift, "runs": runs, "Welch at every look": share(|one| one.welch),
            "always-valid": share(|one| one.always_valid), "group sequential": share(|one| one.group_sequential),
            "Welch at the end only": share(|one| one.welch_at_end),
        });
        writeln!(std::io::stdout(), "{line}")?;
    }
    Ok(())
}
