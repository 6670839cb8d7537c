//! The results of an experiment: every metric in every treatment arm, the health of the data, and what to do.
//!
//! In: [`Observed`]: units and sufficient statistics per variant, and the plan.  Out: [`Results`].
//! Never here: where statistics come from; words for people.
//! Start at [`results`].

use serde::Serialize;

use crate::decision::{ArmFacts, Clock, Decision, Facts, Health, MetricFact, Role, decide};
use crate::judged::{Claim, judge};
use crate::looks::Looks;
use crate::plan::Sequential;
use crate::quality::{Quality, quality};
use crate::slices::{DimensionResults, ObservedDimension, slice};
use crate::stats::always_valid::DEFAULT_TUNING_N;
use crate::stats::analysis::{Figures, Settings, View, figures, view};
use crate::stats::covariates::{CovariateMoments, compare_ratio_with_covariates, compare_with_covariates};
use crate::stats::group_sequential::Spending;
use crate::stats::multiple::benjamini_hochberg;
use crate::stats::non_inferiority::Preference;
use crate::stats::post_stratify::PostStratified;
use crate::stats::quantile::{Quantile, QuantileClustered};
use crate::stats::sample_ratio::{
    SampleRatio, SequentialSampleRatio, check_sample_ratio, default_concentration, multiple_exposure_share,
};
use crate::stats::{Alternative, Comparison, Interval, Scale, Statistic, StatsError, compare};
use crate::stratified::stratify;

pub use crate::judged::AtLook;

/// Power to plan for, as is usual: Cohen, Statistical Power Analysis (1988), § 2.4.
pub(crate) const TARGET_POWER: f64 = 0.8;

/// One variant's share of a metric.
#[derive(Debug, Clone, PartialEq)]
pub enum Sample {
    /// Entry 0 is the value, the others are covariates.
    Mean(CovariateMoments),
    /// Entries 0 and 1 are numerator and denominator, the others covariates.
    Ratio(CovariateMoments),
    /// Over units.
    Quantile(Quantile),
    /// Over events, of which a unit has several.
    QuantileOfEvents(QuantileClustered),
}

/// One metric as it was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedMetric {
    pub name: String,
    pub role: Role,
    /// Of a goal: its share of α beside the other goals', above 0 and relative.
    pub weight: f64,
    pub preference: Preference,
    /// Whether its values are zeros and ones.
    pub is_proportion: bool,
    /// In the order of the variants; `None` where no unit was seen.
    pub samples: Vec<Option<Sample>>,
    /// The smallest relative effect worth finding.
    pub min_effect: f64,
    pub cap: Option<f64>,
    /// Values that were no finite numbers.
    pub bad_values: u64,
    /// Added after the start: never part of the verdict, nor of the corrections of what was planned.
    pub is_post_hoc: bool,
}

/// Everything that was seen of an experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// Key and planned share, control first.
    pub variants: Vec<(String, f64)>,
    /// Units by the day of their first exposure, rising, and on each in the order of the variants; those of several variants left out or
    /// not, as planned.
    pub daily_units: Vec<Vec<u64>>,
    /// Units of variants that the experiment does not have.
    pub unknown_units: u64,
    /// Units that saw several variants, whether they count or not.
    pub multiple_units: u64,
    /// All units that were seen.
    pub seen_units: u64,
    pub exposures: u64,
    /// Share of units of which some table of the metrics knows something.
    pub join_rate: f64,
    pub data_age_hours: f64,
    pub metrics: Vec<ObservedMetric>,
    pub dimensions: Vec<ObservedDimension>,
    /// Name of the dimension whose values are strata.
    pub post_stratify: Option<String>,
    pub clock: Clock,
    pub has_ended: bool,
    pub alpha: f64,
    pub running_alpha: f64,
    pub sequential: Sequential,
    /// Of `group`.
    pub looks: Looks,
    /// Of `group`.
    pub spending: Spending,
    pub planned_units: Option<u64>,
    /// Less than this share known to the metrics' tables, or older data, is a fault.
    pub least_join_rate: f64,
    pub most_data_age_hours: f64,
}

impl Observed {
    /// Units in the order of the variants.
    pub fn units(&self) -> Vec<u64> {
        let of_variant = |variant: usize| self.daily_units.iter().filter_map(|day| day.get(variant)).sum();
        (0..self.variants.len()).map(of_variant).collect()
    }

    /// The error rate of the family of tests that is asked at this look: of a hybrid (S6) α₁ while it runs and α − α₁ at the planned end, all
    /// of α otherwise (of planned looks the bounds say how much of it is spent when).
    pub fn alpha_now(&self) -> f64 {
        match (self.sequential, self.has_ended) {
            (Sequential::Hybrid, false) => self.running_alpha,
            (Sequential::Hybrid, true) => self.alpha - self.running_alpha,
            (Sequential::AlwaysValid | Sequential::Group | Sequential::None, _) => self.alpha,
        }
    }

    /// What may be claimed now.
    pub(crate) fn claim(&self) -> Claim {
        match (self.sequential, self.has_ended) {
            (Sequential::Hybrid | Sequential::None, true) => Claim::Fixed,
            (Sequential::Hybrid, false) | (Sequential::AlwaysValid, _) => Claim::AlwaysValid,
            (Sequential::Group, true) => Claim::AtLook,
            (Sequential::Group, false) if self.looks.is_now => Claim::AtLook,
            (Sequential::Group | Sequential::None, false) => Claim::Nothing,
        }
    }

    /// Units at which always-valid intervals are tightest.
    pub fn tuning_n(&self) -> f64 {
        self.planned_units.map_or(DEFAULT_TUNING_N, |units| units as f64)
    }
}

/// One metric in one treatment arm, beside control.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    pub metric: String,
    pub role: Role,
    pub preference: Preference,
    pub arm: String,
    pub cap: Option<f64>,
    pub bad_values: u64,
    /// Added after the start: never part of the verdict, nor of the corrections of what was planned.
    pub post_hoc: bool,
    /// `None` where nothing can be said; `problem` says why.
    pub relative: Option<View>,
    pub absolute: Option<View>,
    /// The relative effect without covariates, where there are some.
    pub unadjusted: Option<View>,
    /// The relative effect put together from the strata, where the plan has some. The figures of `relative` and `absolute` are made of it, and
    /// it is what is judged.
    pub post_stratified: Option<PostStratified>,
    /// The relative figures without strata, where there are some.
    pub unstratified: Option<Figures>,
    /// The level of `shown`: what of α this metric may spend now, and of planned looks over all of them; 0 where nothing is claimed.
    pub shown_alpha: f64,
    /// The relative interval that decides; `None` also where there are figures and the plan lets nothing be claimed yet.
    pub shown: Option<Interval>,
    /// At one of the planned looks: how far out the effect has to be, and what is told of it if this is where the experiment stops.
    pub look: Option<AtLook>,
    /// Of goals: that of `shown`, corrected over the goals of the arm (weighted Holm), to be held against the part of α that may be
    /// spent now. Of metrics that decide nothing: the fixed one, corrected over all of them (Benjamini & Hochberg), the
    /// planned ones and those added later each among themselves.
    pub adjusted_p: Option<f64>,
    pub problem: Option<String>,
    /// Too few units yet: there is nothing wrong, and nothing to say.
    pub is_pending: bool,
}

/// What is known of the data's health.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HealthReport {
    pub sample_ratio: SampleRatio,
    pub unknown_units: u64,
    pub multiple_units: u64,
    /// What the verdict rests on.
    pub facts: Health,
}

/// The results.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Results {
    pub variants: Vec<(String, u64)>,
    pub health: HealthReport,
    pub rows: Vec<Row>,
    pub dimensions: Vec<DimensionResults>,
    /// `None` where the plan itself cannot be decided by; `problem` says why.
    pub decision: Option<Decision>,
    pub problem: Option<String>,
    /// How well it is made, 0 to 100; it decides nothing.
    pub quality: Quality,
}

/// Computes everything.  Errors: variants that cannot be an experiment (fewer than two, shares that are none).
pub fn results(observed: &Observed) -> Result<Results, StatsError> {
    let shares: Vec<f64> = observed.variants.iter().map(|(_, share)| *share).collect();
    let units = observed.units();
    let sample_ratio = check_sample_ratio(&units, &shares)?;
    let planned = observed.planned_units.unwrap_or(units.iter().sum());
    let mut sequential = SequentialSampleRatio::new(&shares, default_concentration(planned))?;
    // Every day was a look, whether somebody looked or not: an alarm of last week stays one.
    for day in &observed.daily_units {
        sequential.add(day)?;
    }
    let rows = rows(observed)?;
    let multiple = multiple_exposure_share(observed.seen_units, observed.multiple_units)?;
    let facts = Health {
        sample_ratio_p: sample_ratio.p,
        sequential_sample_ratio_p: sequential.p(),
        leaked_units: sample_ratio.leaked_units + observed.unknown_units,
        multiple_exposure_share: multiple,
        pre_exposure: pre_exposure(observed),
        join_rate: observed.join_rate,
        least_join_rate: observed.least_join_rate,
        data_age_hours: observed.data_age_hours,
        most_data_age_hours: observed.most_data_age_hours,
        exposures: observed.exposures,
        missing_metrics: Vec::new(),
    };
    let (facts, decision) = verdict(observed, &rows, facts);
    let quality = quality(observed, &facts.health, &facts.arms.iter().map(|arm| arm.power).collect::<Vec<_>>());
    let facts = facts.health;
    let health = HealthReport {
        sample_ratio,
        unknown_units: observed.unknown_units,
        multiple_units: observed.multiple_units,
        facts,
    };
    let (decision, problem) = match decision {
        Ok(decision) => (Some(decision), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let variants = observed.variants.iter().map(|(name, _)| name.clone()).zip(units).collect();
    let dimensions = slice(observed)?;
    Ok(Results { variants, health, rows, dimensions, decision, problem, quality })
}

/// The figures of all metrics in all arms.  Errors: weights of goals that are none.
pub fn rows(observed: &Observed) -> Result<Vec<Row>, StatsError> {
    let mut rows = Vec::new();
    for (arm, (name, _)) in observed.variants.iter().enumerate().skip(1) {
        let mut of_arm: Vec<Row> = observed.metrics.iter().map(|metric| row(observed, metric, arm, name)).collect();
        judge(observed, &mut of_arm)?;
        rows.append(&mut of_arm);
    }
    for is_post_hoc in [false, true] {
        adjust(&mut rows, is_post_hoc, observed.alpha)?;
    }
    Ok(rows)
}

fn row(observed: &Observed, metric: &ObservedMetric, arm: usize, name: &str) -> Row {
    let mut row = Row {
        metric: metric.name.clone(),
        role: metric.role,
        preference: metric.preference,
        arm: name.to_owned(),
        cap: metric.cap,
        bad_values: metric.bad_values,
        post_hoc: metric.is_post_hoc,
        relative: None,
        absolute: None,
        unadjusted: None,
        post_stratified: None,
        unstratified: None,
        shown_alpha: 0.0,
        shown: None,
        look: None,
        adjusted_p: None,
        problem: None,
        is_pending: false,
    };
    if let Err(problem) = fill(observed, metric, arm, &mut row) {
        row.is_pending = matches!(problem, StatsError::TooFewUnits { .. });
        row.problem = Some(problem.to_string());
    }
    row
}

fn fill(observed: &Observed, metric: &ObservedMetric, arm: usize, row: &mut Row) -> Result<(), StatsError> {
    let none = StatsError::TooFewUnits { n: 0, least: 2 };
    let sample = |at: usize| metric.samples.get(at).and_then(Option::as_ref).ok_or(none.clone());
    let (control, treatment) = (sample(0)?, sample(arm)?);
    let comparison = compare_samples(control, treatment)?;
    let tuning_n = observed.tuning_n();
    let settings = |scale: Scale| Settings {
        scale,
        alpha: observed.alpha,
        tuning_n,
        is_lower_better: metric.preference == Preference::Decrease,
        mde: (scale == Scale::Relative).then_some(metric.min_effect),
        target_power: TARGET_POWER,
        ..Settings::default()
    };
    row.absolute = Some(view(&comparison, &settings(Scale::Absolute))?);
    row.relative = Some(view(&comparison, &settings(Scale::Relative))?);
    if let Some(found) = stratify(observed, metric, arm, Scale::Absolute)?
        && let Some(absolute) = &mut row.absolute
    {
        absolute.figures = figures(&found.estimate, &settings(Scale::Absolute))?;
    }
    if let Some(found) = stratify(observed, metric, arm, Scale::Relative)?
        && let Some(relative) = &mut row.relative
    {
        let stratified = figures(&found.estimate, &settings(Scale::Relative))?;
        row.unstratified = Some(std::mem::replace(&mut relative.figures, stratified));
        row.post_stratified = Some(found);
    }
    if let (Some(control), Some(treatment)) = (without_covariates(control), without_covariates(treatment)) {
        row.unadjusted = Some(view(&compare_samples(&control, &treatment)?, &settings(Scale::Relative))?);
    }
    Ok(())
}

/// A quantile whose bounds coincide has no noise that could be read, which is not to say that it has none: with the noise of the other arm alone
/// the difference would look surer than it is.
fn with_noise(found: Comparison) -> Result<Comparison, StatsError> {
    let has_noise = |variance: f64| variance > 0.0;
    if has_noise(found.control.variance) && has_noise(found.treatment.variance) {
        Ok(found)
    } else {
        Err(StatsError::NoQuantileNoise)
    }
}

/// Errors: what keeps two arms of one metric from being compared; fewer than two units, and quantiles without noise in an arm, among it.
pub(crate) fn compare_samples(control: &Sample, treatment: &Sample) -> Result<Comparison, StatsError> {
    match (control, treatment) {
        (Sample::Mean(c), Sample::Mean(t)) => Ok(compare_with_covariates(c, t, 0.0)?.comparison),
        (Sample::Ratio(c), Sample::Ratio(t)) => Ok(compare_ratio_with_covariates(c, t, 0.0)?.comparison),
        (Sample::Quantile(c), Sample::Quantile(t)) => {
            with_noise(compare(&Statistic::Quantile(*c), &Statistic::Quantile(*t))?)
        }
        (Sample::QuantileOfEvents(c), Sample::QuantileOfEvents(t)) => {
            let n = c.n_clusters.min(t.n_clusters);
            if n < 2 {
                return Err(StatsError::TooFewUnits { n, least: 2 });
            }
            let mut found = compare(&Statistic::QuantileClustered(*c), &Statistic::QuantileClustered(*t))?;
            // The same standard error by units instead of events: units are what is assigned, and what gives the degrees of freedom
            // (K1: Cameron & Miller, Journal of Human Resources 50, 2015).
            for (arm, clusters) in [(&mut found.control, c.n_clusters), (&mut found.treatment, t.n_clusters)] {
                arm.variance *= clusters as f64 / arm.n as f64;
                arm.n = clusters;
            }
            with_noise(found)
        }
        (c, t) => Err(StatsError::MixedStatistics { control: c.kind(), treatment: t.kind() }),
    }
}

impl Sample {
    /// Units in it.
    pub fn units(&self) -> u64 {
        match self {
            Self::Mean(moments) | Self::Ratio(moments) => moments.n,
            Self::Quantile(quantile) => quantile.n,
            Self::QuantileOfEvents(quantile) => quantile.n_clusters,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Mean(_) => "mean",
            Self::Ratio(_) => "ratio",
            Self::Quantile(_) => "quantile",
            Self::QuantileOfEvents(_) => "quantile_clustered",
        }
    }
}

/// The same sample without its covariates; `None` where it has none.
pub(crate) fn without_covariates(sample: &Sample) -> Option<Sample> {
    match sample {
        Sample::Mean(moments) if moments.means.len() > 1 => Some(Sample::Mean(moments.part(&[0]))),
        Sample::Ratio(moments) if moments.means.len() > 2 => Some(Sample::Ratio(moments.part(&[0, 1]))),
        Sample::Mean(_) | Sample::Ratio(_) | Sample::Quantile(_) | Sample::QuantileOfEvents(_) => None,
    }
}

/// C3: the covariates of the planned metrics must not differ between arms. One p per metric and arm.
fn pre_exposure(observed: &Observed) -> Vec<(String, f64)> {
    let mut found = Vec::new();
    for metric in &observed.metrics {
        let before = |sample: &Option<Sample>| match sample {
            Some(Sample::Mean(moments)) if moments.means.len() > 1 => Some(moments.part(&[1])),
            // Of a ratio the numerator's, which has the more of the noise.
            Some(Sample::Ratio(moments)) if moments.means.len() > 2 => Some(moments.part(&[2])),
            Some(Sample::Mean(_) | Sample::Ratio(_) | Sample::Quantile(_) | Sample::QuantileOfEvents(_)) | None => None,
        };
        let Some(control) = metric.samples.first().and_then(before) else { continue };
        for treatment in metric.samples.iter().skip(1).filter_map(before) {
            let compared = compare_with_covariates(&control, &treatment, 0.0);
            let test = compared.and_then(|found| found.comparison.estimate(Scale::Absolute));
            // A covariate without variance cannot differ.
            if let Ok(test) = test.and_then(|estimate| estimate.test(Alternative::TwoSided, observed.alpha)) {
                found.push((metric.name.clone(), test.p_value));
            }
        }
    }
    found
}

/// M2: metrics that decide nothing are many; their p-values are corrected together.
fn adjust(rows: &mut [Row], is_post_hoc: bool, alpha: f64) -> Result<(), StatsError> {
    let is_meant = |row: &&mut Row| row.role == Role::Watched && row.post_hoc == is_post_hoc && row.relative.is_some();
    let mut watched: Vec<&mut Row> = rows.iter_mut().filter(is_meant).collect();
    let p: Vec<f64> = watched.iter().filter_map(|row| Some(row.relative.as_ref()?.figures.fixed.p_value)).collect();
    if p.is_empty() {
        return Ok(());
    }
    for (row, adjusted) in watched.iter_mut().zip(benjamini_hochberg(&p, alpha)?) {
        row.adjusted_p = Some(adjusted.p);
    }
    Ok(())
}

/// What to do, and the health that it rests on. A planned metric without figures says nothing, neither for shipping nor against.
fn verdict(observed: &Observed, rows: &[Row], mut health: Health) -> (Facts, Result<Decision, StatsError>) {
    let is_missing = |row: &&Row| row.relative.is_none() && !row.is_pending && row.role != Role::Watched;
    health.missing_metrics = rows.iter().filter(is_missing).map(|row| row.metric.clone()).collect();
    health.missing_metrics.dedup();
    let arms = observed.variants.iter().enumerate().skip(1);
    let arms = arms.map(|(index, (name, _))| arm_facts(observed, rows, index, name)).collect();
    let facts = Facts { health, clock: observed.clock, arms };
    let decision = decide(&facts);
    (facts, decision)
}

fn arm_facts(observed: &Observed, rows: &[Row], index: usize, name: &str) -> ArmFacts {
    const NOTHING: Interval = Interval { lower: f64::NEG_INFINITY, upper: f64::INFINITY };
    let mine = || rows.iter().filter(|row| row.arm == name);
    let fact = |row: &Row| MetricFact {
        key: row.metric.clone(),
        role: row.role,
        preference: row.preference,
        estimate: row.relative.as_ref().map_or(0.0, |relative| relative.figures.estimate.effect),
        interval: row.shown.unwrap_or(NOTHING),
        is_post_hoc: row.post_hoc,
    };
    let primary = observed.metrics.iter().find(|metric| metric.role == Role::Primary);
    let relative = primary.and_then(|primary| mine().find(|row| row.metric == primary.name)?.relative.as_ref());
    let outlook = relative.and_then(|relative| relative.figures.outlooks);
    let is_fixed = match observed.sequential {
        Sequential::Hybrid => observed.has_ended,
        Sequential::AlwaysValid => false,
        // The bound of the last look is close to that of a fixed test: little is spent before.
        Sequential::Group | Sequential::None => true,
    };
    let outlook = outlook.map(|both| if is_fixed { both.fixed } else { both.always_valid });
    let all = observed.units();
    let units = |arm: usize| all.get(arm).copied().unwrap_or(0);
    let per_day = (units(0) + units(index)) as f64 / observed.clock.days_running.max(1.0);
    let conversions = |arm: usize, mean: Option<f64>| match mean.filter(|_| primary.is_some_and(|it| it.is_proportion))
    {
        Some(mean) => (mean * units(arm) as f64).round() as u64,
        None => units(arm),
    };
    let comparison = relative.map(|relative| &relative.comparison);
    ArmFacts {
        arm: name.to_owned(),
        conversions: conversions(index, comparison.map(|found| found.treatment.unadjusted_mean)),
        control_conversions: conversions(0, comparison.map(|found| found.control.unadjusted_mean)),
        metrics: mine().map(fact).collect(),
        mde: primary.map(|primary| primary.min_effect),
        power: outlook.map(|outlook| outlook.power_now),
        target_power: TARGET_POWER,
        days_to_power: outlook.and_then(|outlook| outlook.additional_units).map(|units| units / per_day.max(1.0)),
    }
}
