//! Before an experiment: what its metrics looked like lately, and so how long it takes to see what.
//!
//! In: [`History`]: a sample per metric as the analysis will take it, without variants, and how many units come.  Out: a [`PowerReport`].
//! The variance is that of the analysis, covariates and caps included, because the sample is.
//! Never here: SQL; power of an experiment that runs (`stats::mid_experiment`).
//! Start at [`power`].

use serde::Serialize;

use crate::decision::Role;
use crate::results::{Sample, TARGET_POWER, compare_samples, without_covariates};
use crate::stats::StatsError;
use crate::stats::always_valid::multiplier;
use crate::stats::difference::Alternative;
use crate::stats::distributions::normal_quantile;
use crate::stats::error::enough;
use crate::stats::group_sequential::Sides;
use crate::stats::power::{Law, Plan, power_per_test};

/// Whole weeks, because weekdays differ; the last is the longest that an experiment may take by default.
const WEEKS: [u32; 6] = [1, 2, 3, 4, 6, 8];

/// One metric as units had it before the experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricHistory {
    pub name: String,
    pub role: Role,
    /// A goal's share of the error rate beside the other goals'.
    pub weight: f64,
    /// The smallest relative effect worth finding.
    pub min_effect: f64,
    /// `None` where no unit was seen.
    pub sample: Option<Sample>,
    pub cap: Option<f64>,
}

/// What was there before the experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// Units that came for the first time, per day, oldest day first.
    pub new_units: Vec<u64>,
    pub metrics: Vec<MetricHistory>,
}

/// What is planned.
#[derive(Debug, Clone, PartialEq)]
pub struct Intent {
    /// Share of the units that take part, 0.0–1.0.
    pub coverage: f64,
    /// Share of each variant, control first; they sum to 1.
    pub shares: Vec<f64>,
    /// Two-sided error rate, and the part of it that is spent while it runs.
    pub alpha: f64,
    pub running_alpha: f64,
    /// Length, if it is planned.
    pub days: Option<u32>,
}

/// How long it takes to see what.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PowerReport {
    /// Days that the history has, and units that came in them.
    pub history_days: u32,
    pub history_units: u64,
    /// The chance to see an effect that is there, per metric: the whole experiment has .8, shared with the guardrails.
    pub power: f64,
    pub metrics: Vec<MetricPower>,
}

/// What one metric can show.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricPower {
    pub name: String,
    pub role: Role,
    /// Units that have a value.
    pub units: u64,
    /// The metric's value, and the standard deviation of what one unit adds to it.
    pub mean: Option<f64>,
    pub deviation: Option<f64>,
    pub cap: Option<f64>,
    /// What covariates leave of the variance, 0.0–1.0; absent without covariates.
    pub variance_left: Option<f64>,
    /// The relative effect that is looked for: `min_effect`, or of a guardrail its margin.
    pub effect: f64,
    /// Units of all variants, and days, that show it.
    pub units_needed: Option<f64>,
    pub days_needed: Option<u32>,
    /// The chance to see it in the planned days.
    pub planned_power: Option<f64>,
    /// By length.
    pub durations: Vec<Duration>,
    /// Why there are no figures.
    pub problem: Option<String>,
}

/// What an experiment of a length can show.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Duration {
    pub days: u32,
    /// Units of all variants.
    pub units: f64,
    /// The smallest relative effect that is seen at the end.
    pub effect: f64,
    /// The same with the interval that may be looked at every day.
    pub running_effect: f64,
}

/// What can be seen, and when. Errors: an intent that no experiment may have. A metric without figures says why itself.
pub fn power(intent: &Intent, history: &History) -> Result<PowerReport, StatsError> {
    let guardrails = history.metrics.iter().filter(|metric| matches!(metric.role, Role::Guardrail { .. })).count();
    let goals = history.metrics.iter().filter(|metric| matches!(metric.role, Role::Primary | Role::Success));
    let goals: f64 = goals.map(|goal| goal.weight).sum();
    let power = power_per_test(TARGET_POWER, guardrails)?;
    let arms = Arms::of(&intent.shares)?;
    let metrics = history.metrics.iter().map(|metric| {
        let mut found = MetricPower {
            name: metric.name.clone(),
            role: metric.role,
            units: 0,
            mean: None,
            deviation: None,
            cap: metric.cap,
            variance_left: None,
            effect: match metric.role {
                Role::Guardrail { margin } => margin,
                Role::Primary | Role::Success | Role::Watched => metric.min_effect,
            },
            units_needed: None,
            days_needed: None,
            planned_power: None,
            durations: Vec::new(),
            problem: None,
        };
        let test = Test::of(metric.role, metric.weight / goals, intent, power, &arms);
        found.problem = fill(&mut found, metric, &test, intent, history).err().map(|error| error.to_string());
        found
    });
    Ok(PowerReport {
        history_days: u32::try_from(history.new_units.len()).unwrap_or(u32::MAX),
        history_units: history.new_units.iter().sum(),
        power,
        metrics: metrics.collect(),
    })
}

/// Control against the smallest treatment, which is the hardest to judge.
struct Arms {
    control: f64,
    treatment: f64,
}

impl Arms {
    fn of(shares: &[f64]) -> Result<Self, StatsError> {
        let smallest = |least: f64, share: &f64| if *share > 0.0 { least.min(*share) } else { least };
        let treatment = shares.iter().skip(1).fold(f64::INFINITY, smallest);
        enough("variants", shares.iter().filter(|share| **share > 0.0).count(), 2)?;
        Ok(Self { control: shares[0], treatment })
    }

    /// The part of all units that is in either.
    fn share(&self) -> f64 {
        self.control + self.treatment
    }
}

/// How a metric will be tested at the planned end.
struct Test<'a> {
    plan: Plan,
    running_alpha: f64,
    arms: &'a Arms,
}

impl<'a> Test<'a> {
    /// Goals share alpha by their weights (the first step of Holm's), less what is spent while it runs; a guardrail is tested on the harmful side alone (N1).
    fn of(role: Role, weight: f64, intent: &Intent, power: f64, arms: &'a Arms) -> Self {
        let (share, sides) = match role {
            Role::Primary | Role::Success => (weight, Sides::Two),
            Role::Guardrail { .. } => (1.0, Sides::One),
            Role::Watched => (1.0, Sides::Two),
        };
        let alpha = (intent.alpha - intent.running_alpha) * share;
        let plan = Plan { alpha, sides, power, ratio: arms.treatment / arms.control };
        Self { plan, running_alpha: intent.running_alpha * share, arms }
    }

    /// The smallest difference that all `units` show, at the end and while it runs.
    fn differences(&self, variance: f64, units: f64) -> Result<(f64, f64), StatsError> {
        let control = units * self.arms.control;
        let at_end = self.plan.detectable_difference((variance, variance), control)?;
        let compared = units * self.arms.share();
        let sequential = multiplier(compared, self.running_alpha, compared, Alternative::TwoSided)?;
        let se = (variance / control * (1.0 + 1.0 / self.plan.ratio)).sqrt();
        Ok((at_end, (sequential + normal_quantile(self.plan.power)) * se))
    }
}

fn fill(
    found: &mut MetricPower,
    metric: &MetricHistory,
    test: &Test<'_>,
    intent: &Intent,
    history: &History,
) -> Result<(), StatsError> {
    let sample = metric.sample.as_ref().ok_or(StatsError::TooFewUnits { n: 0, least: 2 })?;
    let seen = compare_samples(sample, sample)?.control;
    found.units = seen.n;
    found.mean = Some(seen.unadjusted_mean);
    found.deviation = Some(seen.variance.sqrt());
    if let Some(plain) = without_covariates(sample) {
        let plain = compare_samples(&plain, &plain)?.control;
        found.variance_left = Some(seen.variance / plain.variance);
    }
    let scale = seen.unadjusted_mean.abs();
    if scale == 0.0 {
        return Err(StatsError::ZeroBaseline);
    }
    let difference = found.effect * scale;
    let control = test.plan.units_per_arm((seen.variance, seen.variance), difference)?;
    let needed = control / test.arms.control;
    found.units_needed = Some(needed.ceil());
    let longest = 10 * 366;
    found.days_needed = (1..=longest).find(|days| units_after(history, *days) * intent.coverage >= needed);
    for weeks in WEEKS {
        let units = units_after(history, 7 * weeks) * intent.coverage;
        if units * test.arms.control.min(test.arms.treatment) < 2.0 {
            continue;
        }
        let (at_end, running) = test.differences(seen.variance, units)?;
        found.durations.push(Duration {
            days: 7 * weeks,
            units,
            effect: at_end / scale,
            running_effect: running / scale,
        });
    }
    if let Some(days) = intent.days {
        let units = units_after(history, days) * intent.coverage * test.arms.share();
        found.planned_power =
            Some(test.plan.power_at((seen.variance, seen.variance), difference, units, Law::Normal)?);
    }
    Ok(())
}

/// Units that come in the first `days` days: as they came in the history, and beyond it as in its last week.
fn units_after(history: &History, days: u32) -> f64 {
    let known = history.new_units.len().min(days as usize);
    let seen: u64 = history.new_units[..known].iter().sum();
    let week = &history.new_units[history.new_units.len().saturating_sub(7)..];
    let rate = week.iter().sum::<u64>() as f64 / week.len().max(1) as f64;
    seen as f64 + rate * (days as usize - known) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::covariates::CovariateMoments;

    fn sample(mean: f64, variance: f64) -> Sample {
        Sample::Mean(CovariateMoments { n: 10_000, means: vec![mean], comoments: vec![variance * 9_999.0] })
    }

    fn history(role: Role, sample: Option<Sample>) -> History {
        let metric =
            MetricHistory { name: "revenue".to_owned(), role, weight: 1.0, min_effect: 0.05, sample, cap: None };
        History { new_units: vec![100; 14], metrics: vec![metric] }
    }

    fn intent() -> Intent {
        Intent { coverage: 1.0, shares: vec![0.5, 0.5], alpha: 0.06, running_alpha: 0.01, days: Some(28) }
    }

    /// Kohavi, Tang & Xu 2020, ch. 17: 16 σ²/δ² units per arm, 15.6978 before rounding. Here σ² = 4 and δ = .05 · 2.
    #[test]
    fn units_follow_the_rule_of_sixteen() {
        let report = power(&intent(), &history(Role::Primary, Some(sample(2.0, 4.0)))).unwrap();
        let metric = &report.metrics[0];
        let per_arm = metric.units_needed.unwrap() / 2.0;
        assert!((per_arm - 15.6978 * 4.0 / 0.01).abs() < 1.0, "{per_arm}");
        // 100 a day.
        assert_eq!(metric.days_needed, Some(126));
        assert_eq!(metric.durations[3].units, 2_800.0);
        assert!(metric.durations.windows(2).all(|pair| pair[1].effect < pair[0].effect));
        assert!(metric.durations.iter().all(|duration| duration.running_effect > duration.effect));
    }

    /// What a length can show, shown in the planned power: at that effect it is the power that was asked for.
    #[test]
    fn an_effect_that_a_length_shows_has_the_power_asked_for() {
        let mut given = history(Role::Primary, Some(sample(2.0, 4.0)));
        let shown = power(&intent(), &given).unwrap().metrics[0].durations[3].clone();
        given.metrics[0].min_effect = shown.effect;
        let again = power(&intent(), &given).unwrap().metrics[0].clone();
        assert!((again.planned_power.unwrap() - 0.8).abs() < 1e-3, "{again:?}");
        assert_eq!(again.days_needed, Some(28));
    }

    /// A guardrail is judged on one side, by its margin, and takes its part of the experiment's power (arXiv 2402.11609).
    #[test]
    fn guardrails_raise_the_power_each_metric_needs() {
        let mut given = history(Role::Primary, Some(sample(2.0, 4.0)));
        let margin = 0.02;
        given.metrics.push(MetricHistory { role: Role::Guardrail { margin }, ..given.metrics[0].clone() });
        let report = power(&intent(), &given).unwrap();
        assert!((report.power - 0.9).abs() < 1e-12);
        assert_eq!(report.metrics[1].effect, margin);
    }

    #[test]
    fn a_covariate_leaves_one_minus_rho_squared() {
        // Variance 4 each, covariance 3: ρ = .75.
        let n = 10_000;
        let moments = CovariateMoments {
            n,
            means: vec![2.0, 5.0],
            comoments: [4.0, 3.0, 3.0, 4.0].map(|c| c * 9_999.0).to_vec(),
        };
        let report = power(&intent(), &history(Role::Primary, Some(Sample::Mean(moments)))).unwrap();
        let left = report.metrics[0].variance_left.unwrap();
        assert!((left - (1.0 - 0.5625)).abs() < 1e-9, "{left}");
    }

    #[test]
    fn what_cannot_be_planned_says_why() {
        let problem = |sample| power(&intent(), &history(Role::Primary, sample)).unwrap().metrics[0].problem.clone();
        assert!(problem(None).is_some_and(|text| text.contains("units")));
        assert!(problem(Some(sample(0.0, 4.0))).is_some_and(|text| text.contains("zero")));
        let alone = Intent { shares: vec![1.0, 0.0], ..intent() };
        assert!(power(&alone, &history(Role::Primary, Some(sample(2.0, 4.0)))).is_err());
    }
}
