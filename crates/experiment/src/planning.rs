//! Before an experiment: what its metrics looked like lately, and so how long it takes to see what.
//!
//! In: [`History`]: a sample per metric as the analysis will take it, without variants, and how many units come.  Out: a [`PowerReport`].
//! The variance is that of the analysis, covariates and caps included, because the sample is.
//! Never here: SQL; power of an experiment that runs (`stats::mid_experiment`).
//! Start at [`power`].

mod coming;
mod ending;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use self::coming::days_until;
use self::ending::Ending;
use crate::decision::Role;
use crate::lifecycle::{LifecycleError, days_between, traffic_share};
use crate::looks::PlannedLook;
use crate::metric::MetricFile;
use crate::plan::{ExperimentFile, Sequential};
use crate::results::{Sample, TARGET_POWER, compare_samples, without_covariates};
use crate::stats::StatsError;
use crate::stats::error::{allowed, enough, positive};
use crate::stats::group_sequential::{LEAST_STEP, Spending};
use crate::stats::power::power_per_test;

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
    /// Share of the units that take part, 0.0–1.0, and from how many days after the start on: the coverage and the steps of its ramp, both rising.
    pub coverage: Vec<(f64, f64)>,
    /// Share of each variant, control first; they sum to 1.
    pub shares: Vec<f64>,
    /// How it may be looked at while it runs.
    pub sequential: Sequential,
    /// Two-sided error rate, and of `hybrid` the part of it that is spent while it runs.
    pub alpha: f64,
    pub running_alpha: f64,
    /// Of `group`: what part of the information is there at each look before the end, rising, 0.0–1.0.
    pub looks: Vec<f64>,
    /// Of `group`: how alpha is spent at them.
    pub spending: Spending,
    /// Of `group`: what part of the planned information is there at the end, 0.0–1.0: less than all where the end comes first.
    pub end: f64,
    /// Length, if it is planned.
    pub days: Option<u32>,
    /// Units of all variants, if a number is planned. Always-valid intervals are tightest there.
    pub planned_units: Option<u64>,
}

impl Intent {
    /// What an experiment plans; `history` says how many units there are at a look that is a day.
    pub fn of(file: &ExperimentFile, history: &History) -> Self {
        let (assignment, plan) = (&file.assignment, &file.analysis);
        let begin = file.schedule.begins(plan);
        let step = |coverage: f64| traffic_share(assignment, coverage);
        let mut coverage = vec![(0.0, step(assignment.coverage))];
        coverage.extend(file.schedule.ramp.iter().map(|next| (days_between(begin, next.at), step(next.coverage))));
        let days = |to: DateTime<Utc>| u32::try_from((to - begin).num_days()).unwrap_or_default();
        let mut intent = Self {
            coverage,
            shares: assignment.shares(),
            sequential: plan.sequential,
            alpha: plan.alpha,
            running_alpha: plan.running_alpha,
            looks: Vec::new(),
            spending: plan.spending,
            end: 1.0,
            days: plan.end.map(days),
            planned_units: plan.planned_units,
        };
        let planned = plan.planned_units.unwrap_or_default().max(1) as f64;
        if let (Some(_), Some(units)) = (plan.planned_units, intent.units_at_end(history)) {
            intent.end = (units / planned).clamp(LEAST_STEP, 1.0);
        }
        let share = |look: &PlannedLook| match look {
            PlannedLook::Share(share) => *share,
            PlannedLook::Date(at) => intent.units_after(history, days_between(begin, *at)) / planned,
        };
        let mut looks: Vec<f64> = plan.looks.iter().map(share).collect();
        looks.sort_by(f64::total_cmp);
        // As `looks` has it: a look at which hardly more is known is none, nor is one after the end.
        let mut before = 0.0;
        looks.retain(|look| {
            let is_look = *look >= before + LEAST_STEP && look + LEAST_STEP <= intent.end;
            if is_look {
                before = *look;
            }
            is_look
        });
        Self { looks, ..intent }
    }
}

/// A hash of what power depends on: arms and weights, coverage, ramp and slots, the start, the plan, the meaning of its metrics. Figures of another hash are of
/// another experiment.
pub fn power_hash(file: &ExperimentFile, metrics: &BTreeMap<String, MetricFile>) -> Result<String, LifecycleError> {
    let assignment = &file.assignment;
    let arms: Vec<&str> = assignment.variants.iter().map(|variant| variant.key.as_str()).collect();
    let plan = file.analysis.clone().without_shown_dimensions();
    let named = plan.metrics();
    let metrics: BTreeMap<&String, &MetricFile> =
        metrics.iter().filter(|(name, _)| named.contains(&name.as_str())).collect();
    // Weights as they are kept: a file may have 1 and 1 where the store has halves. The last bits are those of a division.
    let shares: Vec<String> = assignment.shares().iter().map(|share| format!("{share:.12}")).collect();
    let coverage = format!("{:.12}", traffic_share(assignment, assignment.coverage));
    let schedule = (&file.schedule.start, &file.schedule.ramp);
    domain::hash_json(&(arms, shares, coverage, schedule, &plan, metrics))
        .map_err(|_| LifecycleError::Hash(assignment.key.clone()))
}

/// How long it takes to see what.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PowerReport {
    /// Days that the history has, and units that came in them.
    pub history_days: u32,
    pub history_units: u64,
    /// The chance to see an effect that is there, per metric: the whole experiment has .8, shared with the guardrails.
    pub power: f64,
    /// Days until the planned units have come, where a number of them is planned and they ever come.
    pub planned_days: Option<u32>,
    pub metrics: Vec<MetricPower>,
}

impl PowerReport {
    /// At least so likely the whole decision is right at the planned end: the primary goal is found and no guardrail stands in its way.
    ///
    /// 1 − Σ(1 − power) over them (Bonferroni's inequality): each test at the power that `power_per_test` asks for gives just the .8 of the whole.
    /// `None` without an end, or where one of them has no figures.
    pub fn decision_power(&self) -> Option<f64> {
        let decides = |metric: &&MetricPower| matches!(metric.role, Role::Primary | Role::Guardrail { .. });
        let missed = self.metrics.iter().filter(decides).map(|metric| metric.planned_power.map(|power| 1.0 - power));
        let missed: f64 = missed.sum::<Option<f64>>()?;
        self.metrics.iter().any(|metric| metric.role == Role::Primary).then(|| (1.0 - missed).max(0.0))
    }
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
    /// The smallest relative effect that is seen at the end, if that is the end.
    pub effect: f64,
    /// The same with the interval that may be looked at every day; absent where nothing is claimed before the end.
    pub running_effect: Option<f64>,
}

/// What can be seen, and when. Errors: an intent that no experiment may have. A metric without figures says why itself.
pub fn power(intent: &Intent, history: &History) -> Result<PowerReport, StatsError> {
    let guardrails = history.metrics.iter().filter(|metric| matches!(metric.role, Role::Guardrail { .. })).count();
    let goals = history.metrics.iter().filter(|metric| matches!(metric.role, Role::Primary | Role::Success));
    let goals: f64 = goals.map(|goal| goal.weight).sum();
    let power = power_per_test(TARGET_POWER, guardrails)?;
    Arms::of(&intent.shares)?;
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
        let ending = Ending::of(metric.role, metric.weight / goals, intent);
        let filled = ending.and_then(|ending| fill(&mut found, metric, (ending, power), intent, history));
        found.problem = filled.err().map(|error| error.to_string());
        found
    });
    Ok(PowerReport {
        history_days: u32::try_from(history.new_units.len()).unwrap_or(u32::MAX),
        history_units: history.new_units.iter().sum(),
        power,
        planned_days: intent.planned_units.and_then(|units| days_until(history, intent, units as f64)),
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

/// How a metric will be tested.
struct Test<'a> {
    ending: Ending<'a>,
    power: f64,
    arms: &'a Arms,
    /// Of one unit, in each arm.
    variance: f64,
}

impl Test<'_> {
    /// The standard error of a difference that all `units` take part in.
    fn se(&self, units: f64) -> f64 {
        (self.variance / (units * self.arms.control) + self.variance / (units * self.arms.treatment)).sqrt()
    }

    /// The smallest difference that all `units` show: at the end, and while it runs where that may be claimed.
    fn differences(&self, units: f64) -> Result<(f64, Option<f64>), StatsError> {
        let (se, compared) = (self.se(units), units * self.arms.share());
        let running = self.ending.running_shift(self.power, compared)?;
        Ok((self.ending.shift_for(self.power, compared)? * se, running.map(|shift| shift * se)))
    }

    /// All units that show `difference` > 0 at the end: P1 where the bound does not depend on them, and its fixed point where it does.
    fn units_needed(&self, difference: f64) -> Result<f64, StatsError> {
        positive("difference", difference)?;
        if self.ending.is_fixed() {
            let one = self.se(1.0) * self.ending.shift_for(self.power, 1.0)?;
            return Ok((one / difference).powi(2));
        }
        let shows = |units: f64| Ok::<bool, StatsError>(self.differences(units)?.0 <= difference);
        let (mut low, mut high) = (2.0, 2.0);
        while !shows(high)? {
            (low, high) = (high, 2.0 * high);
            positive("units", high)?;
        }
        while high - low > 1e-9 * high {
            let middle = 0.5 * (low + high);
            if shows(middle)? { high = middle } else { low = middle }
        }
        Ok(high)
    }
}

fn fill(
    found: &mut MetricPower,
    metric: &MetricHistory,
    (ending, power): (Ending<'_>, f64),
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
    let test = Test { ending, power, arms: &Arms::of(&intent.shares)?, variance: seen.variance };
    let needed = test.units_needed(difference)?;
    found.units_needed = Some(needed.ceil());
    found.days_needed = days_until(history, intent, needed);
    for weeks in WEEKS {
        let units = intent.units_after(history, f64::from(7 * weeks));
        if units * test.arms.control.min(test.arms.treatment) < 2.0 {
            continue;
        }
        let (at_end, running) = test.differences(units)?;
        found.durations.push(Duration {
            days: 7 * weeks,
            units,
            effect: at_end / scale,
            running_effect: running.map(|running| running / scale),
        });
    }
    if let Some(units) = intent.units_at_end(history) {
        let compared = units * test.arms.share();
        allowed("units", units, units * test.arms.control.min(test.arms.treatment) > 1.0, "more than 1 per arm")?;
        found.planned_power = Some(test.ending.power_at(difference / test.se(units), compared)?);
    }
    Ok(())
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
        Intent {
            coverage: vec![(0.0, 1.0)],
            shares: vec![0.5, 0.5],
            sequential: Sequential::Hybrid,
            alpha: 0.06,
            running_alpha: 0.01,
            looks: Vec::new(),
            spending: Spending::ObrienFleming,
            end: 1.0,
            days: Some(28),
            planned_units: None,
        }
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
        assert!(metric.durations.iter().all(|duration| duration.running_effect.unwrap() > duration.effect));
    }

    /// Power and units by how it may be looked at, computed by hand with the formulas that are cited where they are used, from an error function and
    /// Simpson's rule: σ² = 4, δ = .05 · 2, one goal, α .06; 2,800 units have a standard error of .0755929, so that δ is 1.3228757 of them.
    /// The two planned looks have the bounds 2.8556 (at half of the information) and 1.8911.
    #[test]
    fn each_way_of_looking_has_its_price() {
        let check = |sequential, looks: &[f64], power_at_end: f64, units: f64, running: Option<f64>| {
            let given = Intent { sequential, looks: looks.to_vec(), ..intent() };
            let metric = power(&given, &history(Role::Primary, Some(sample(2.0, 4.0)))).unwrap().metrics.remove(0);
            let (found, needed) = (metric.planned_power.unwrap(), metric.units_needed.unwrap());
            assert!((found - power_at_end).abs() < 1e-6, "{sequential:?}: power {found}");
            assert!((needed - units).abs() <= 1.0, "{sequential:?}: {needed} units");
            match (metric.durations[3].running_effect, running) {
                (Some(found), Some(running)) => assert!((found - running).abs() < 1e-6, "{sequential:?}: {found}"),
                (found, running) => assert_eq!(found, running, "{sequential:?}"),
            }
        };
        check(Sequential::Hybrid, &[], 0.2625475, 12_558.2, Some(0.1678610));
        check(Sequential::None, &[], 0.2891286, 11_858.5, None);
        check(Sequential::AlwaysValid, &[], 0.0466692, 24_668.2, Some(0.1452374));
        check(Sequential::Group, &[0.5], 0.2877381, 11_912.1, None);
    }

    /// Looks that are days are shares of the planned units by what came a day; those after the end, and those beside another, are none.
    #[test]
    fn planned_looks_are_shares_of_the_planned_units() {
        let file: ExperimentFile = toml::from_str(
            "[assignment]\nkey = 'x'\ncoverage = 0.5\nvariants = [{ key = 'a', value = 0 }, { key = 'b', value = 1 }]\n\
             [analysis]\nexposures = 'm.e'\nstart = '2026-03-01T00:00:00Z'\nend = '2026-03-29T00:00:00Z'\ngoals = ['revenue']\n\
             sequential = 'group'\nplanned_units = 1000\nlooks = [0.7, '2026-03-08T00:00:00Z', 0.3505, '2026-04-30T00:00:00Z']\n",
        )
        .unwrap();
        // 100 units a day, half of them take part: 350 in the first week.
        let given = history(Role::Primary, Some(sample(2.0, 4.0)));
        let found = Intent::of(&file, &given);
        assert_eq!((found.looks.as_slice(), found.days, found.end), ([0.35, 0.7].as_slice(), Some(28), 1.0));
        assert_eq!(found.coverage, [(0.0, 0.5)]);
        // The planned units come first: 1,000 after 20 days, and not 1,400 after 28.
        assert_eq!(found.units_at_end(&given), Some(1_000.0));
        assert_eq!(power(&found, &given).unwrap().planned_days, Some(20));
    }

    #[test]
    fn the_decision_is_as_likely_right_as_its_tests_together() {
        let mut given = history(Role::Primary, Some(sample(2.0, 4.0)));
        given.metrics[0].min_effect = 0.2;
        let plain = power(&intent(), &given).unwrap();
        assert_eq!(plain.decision_power(), Some(1.0 - (1.0 - plain.metrics[0].planned_power.unwrap())));
        given.metrics.push(MetricHistory { role: Role::Guardrail { margin: 0.1 }, ..given.metrics[0].clone() });
        let report = power(&intent(), &given).unwrap();
        let missed: f64 = report.metrics.iter().map(|metric| 1.0 - metric.planned_power.unwrap()).sum();
        assert!(missed < 0.9 && (report.decision_power().unwrap() - (1.0 - missed)).abs() < 1e-12);
        given.metrics[1].sample = None;
        assert_eq!(power(&intent(), &given).unwrap().decision_power(), None);
        let endless = Intent { days: None, ..intent() };
        given.metrics.truncate(1);
        assert_eq!(power(&endless, &given).unwrap().decision_power(), None);
        let planned = Intent { planned_units: Some(2_800), ..endless };
        assert_eq!(power(&planned, &given).unwrap().decision_power(), plain.decision_power());
    }

    #[test]
    fn the_hash_is_of_what_power_depends_on() {
        let text = |weights: (u32, u32), more: &str| -> ExperimentFile {
            let (a, b) = weights;
            toml::from_str(&format!(
                "[assignment]\nkey = 'x'\nvariants = [{{ key = 'a', value = 0, weight = {a} }}, {{ key = 'b', value = 1, weight = {b} }}]\n\
                 {more}[analysis]\nexposures = 'm.e'\nstart = '2026-03-01T00:00:00Z'\ngoals = ['revenue']\n"
            ))
            .unwrap()
        };
        let metric: MetricFile = toml::from_str("kind = 'proportion'\n[fact]\ntable = 'marts.orders'\n").unwrap();
        let other: MetricFile = toml::from_str("kind = 'count'\n[fact]\ntable = 'marts.orders'\n").unwrap();
        let hash = |file: &ExperimentFile, metric: &MetricFile, name: &str| {
            power_hash(file, &[(name.to_owned(), metric.clone())].into()).unwrap()
        };
        let stands = hash(&text((1, 1), ""), &metric, "revenue");
        assert_eq!(stands, hash(&text((2, 2), ""), &metric, "revenue"));
        let mut words = text((1, 1), "");
        words.about.title = Some("another".to_owned());
        assert_eq!(stands, hash(&words, &metric, "revenue"));
        assert_ne!(stands, hash(&text((1, 2), ""), &metric, "revenue"));
        assert_ne!(stands, hash(&text((1, 1), "coverage = 0.5\n"), &metric, "revenue"));
        assert_ne!(stands, hash(&text((1, 1), ""), &other, "revenue"));
        let mut ramped = text((1, 1), "");
        ramped.schedule.start = Some(ramped.analysis.start + chrono::TimeDelta::days(3));
        assert_ne!(stands, hash(&ramped, &metric, "revenue"));
        // Another metric of the project is none of the experiment's.
        assert_eq!(hash(&text((1, 1), ""), &metric, "a"), hash(&text((1, 1), ""), &other, "b"));
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
