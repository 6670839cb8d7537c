//! All figures of one metric and one treatment arm: what a row of the results page shows.
//!
//! In: the [`Statistic`] of both arms and [`Settings`].  Out: an [`Analysis`] with and without the covariate.
//! Never here: corrections for many metrics (they need all p-values); verdicts.
//! Start at [`analyze`].

use serde::Serialize;

use super::always_valid::{DEFAULT_TUNING_N, always_valid};
use super::bayes::{Posterior, Prior, posterior};
use super::compare::{Comparison, Estimate, Scale, Statistic, compare};
use super::difference::{Alternative, Difference, FiellerSet};
use super::error::StatsError;
use super::mid_experiment::{Judgement, Outlook, Progress, outlook};

/// How a metric is judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    pub scale: Scale,
    pub alternative: Alternative,
    /// In (0, 1).
    pub alpha: f64,
    /// Planned units of both arms.
    pub tuning_n: f64,
    /// On the relative lift; `None` = flat.
    pub prior: Option<Prior>,
    pub is_lower_better: bool,
    /// The smallest effect worth finding, on `scale`; `None` leaves the power out.
    pub mde: Option<f64>,
    pub target_power: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            scale: Scale::Relative,
            alternative: Alternative::TwoSided,
            alpha: 0.05,
            tuning_n: DEFAULT_TUNING_N,
            prior: Some(Prior::WIDE),
            is_lower_better: false,
            mde: None,
            target_power: 0.8,
        }
    }
}

/// Power of a running experiment under both judgements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Outlooks {
    pub fixed: Outlook,
    pub always_valid: Outlook,
}

/// Every test of one estimate: of a comparison as of a post-stratified effect.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures {
    pub estimate: Estimate,
    pub fixed: Difference,
    pub always_valid: Difference,
    pub posterior: Posterior,
    pub outlooks: Option<Outlooks>,
}

/// One way to look at the difference of two arms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct View {
    pub comparison: Comparison,
    pub figures: Figures,
    /// Shown in place of the interval of a relative lift when the control mean is within ten standard errors of zero.
    pub fieller: Option<FiellerSet>,
}

/// All figures of one metric and one treatment arm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Analysis {
    pub shown: View,
    /// The same without the covariate, where `shown` has one.
    pub unadjusted: Option<View>,
}

impl Analysis {
    /// The share of the variance that the covariate leaves (1 − ρ²); `None` without covariate.
    pub fn variance_ratio(&self) -> Option<f64> {
        self.unadjusted.map(|plain| self.shown.comparison.variance() / plain.comparison.variance())
    }
}

/// Computes every view of the difference between two arms.  Errors: the first reason for which a figure does not exist.
pub fn analyze(control: &Statistic, treatment: &Statistic, settings: &Settings) -> Result<Analysis, StatsError> {
    let shown = view(&compare(control, treatment)?, settings)?;
    let unadjusted = match shown.comparison.theta {
        Some(_) => Some(view(&compare(&control.unadjusted(), &treatment.unadjusted())?, settings)?),
        None => None,
    };
    Ok(Analysis { shown, unadjusted })
}

/// Computes the figures of a comparison, such as one with several covariates.  Errors: as [`analyze`].
pub fn view(comparison: &Comparison, settings: &Settings) -> Result<View, StatsError> {
    let figures = figures(&comparison.estimate(settings.scale)?, settings)?;
    let needs_fieller = settings.scale == Scale::Relative && comparison.has_weak_baseline();
    let fieller = if needs_fieller { Some(comparison.fieller(settings.alpha)?) } else { None };
    Ok(View { comparison: *comparison, figures, fieller })
}

/// Computes every test of an estimate, such as a post-stratified one.  Errors: as [`analyze`].
pub fn figures(estimate: &Estimate, settings: &Settings) -> Result<Figures, StatsError> {
    Ok(Figures {
        estimate: *estimate,
        fixed: estimate.test(settings.alternative, settings.alpha)?,
        always_valid: always_valid(estimate, settings.alternative, settings.alpha, settings.tuning_n)?,
        posterior: posterior(estimate, settings.prior, settings.is_lower_better, settings.alpha)?,
        outlooks: settings.mde.map(|mde| outlooks(estimate, mde, settings)).transpose()?,
    })
}

fn outlooks(estimate: &Estimate, mde: f64, settings: &Settings) -> Result<Outlooks, StatsError> {
    let of = |judgement| {
        let progress = Progress { se: estimate.se, units: estimate.units, mde, alpha: settings.alpha, judgement };
        outlook(&progress, settings.target_power)
    };
    Ok(Outlooks {
        fixed: of(Judgement::Fixed)?,
        always_valid: of(Judgement::AlwaysValid { tuning_n: settings.tuning_n })?,
    })
}
