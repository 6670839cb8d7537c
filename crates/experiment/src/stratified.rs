//! The effect over strata of units: what is known of them before exposure takes its share of the noise away.
//!
//! In: the slices of the dimension that the plan names.  Out: the effect of one metric in one arm over them.
//! Never here: the formula (`stats::post_stratify`), which slices there are.
//! Start at [`stratify`].

use crate::results::{Observed, ObservedMetric, Sample};
use crate::stats::covariates::CovariateMoments;
use crate::stats::moments::{Cuped, CupedRatio, Mean, Ratio};
use crate::stats::post_stratify::{PostStratified, Stratum, post_stratify};
use crate::stats::{Scale, Statistic, StatsError};

/// R7 over the slices of the planned dimension; `None` without one, where no slices were read, and for quantiles, which have none.
///
/// The covariate is what the value was before; who has no history is not asked, for in a small stratum that may be everybody.
pub(crate) fn stratify(
    observed: &Observed,
    metric: &ObservedMetric,
    arm: usize,
    scale: Scale,
) -> Result<Option<PostStratified>, StatsError> {
    let Some(name) = &observed.post_stratify else { return Ok(None) };
    let dimension = observed.dimensions.iter().find(|dimension| dimension.name == *name);
    let place = observed.metrics.iter().position(|other| other.name == metric.name);
    let (Some(dimension), Some(place)) = (dimension, place) else { return Ok(None) };
    let Some(whole) = metric.samples.iter().flatten().next() else { return Ok(None) };
    let of = |samples: &[Option<Sample>], at: usize| match samples.get(at).and_then(Option::as_ref) {
        Some(sample) => statistic(sample),
        // Nobody of this stratum is in this arm.
        None => empty(whole).as_ref().and_then(statistic),
    };
    let samples = dimension.slices.iter().filter_map(|slice| slice.samples.get(place));
    let strata: Option<Vec<Stratum>> = samples.map(|of_slice| Some((of(of_slice, 0)?, of(of_slice, arm)?))).collect();
    match strata {
        Some(strata) if !strata.is_empty() => post_stratify(&strata, scale).map(Some),
        Some(_) | None => Ok(None),
    }
}

/// The same kind of sample without units; `None` for quantiles.
fn empty(sample: &Sample) -> Option<Sample> {
    let none = |moments: &CovariateMoments| CovariateMoments {
        n: 0,
        means: vec![0.0; moments.means.len()],
        comoments: vec![0.0; moments.comoments.len()],
    };
    match sample {
        Sample::Mean(moments) => Some(Sample::Mean(none(moments))),
        Sample::Ratio(moments) => Some(Sample::Ratio(none(moments))),
        Sample::Quantile(_) | Sample::QuantileOfEvents(_) => None,
    }
}

/// Sums of a sample with as many covariates as strata can have; `None` for quantiles.
fn statistic(sample: &Sample) -> Option<Statistic> {
    let (moments, is_ratio) = match sample {
        Sample::Mean(moments) => (moments, false),
        Sample::Ratio(moments) => (moments, true),
        Sample::Quantile(_) | Sample::QuantileOfEvents(_) => return None,
    };
    let (n, width) = (moments.n, moments.means.len());
    let product =
        |i: usize, j: usize| moments.comoments[i * width + j] + n as f64 * moments.means[i] * moments.means[j];
    let mean = |i: usize| Mean { n, sum: n as f64 * moments.means[i], sum_squares: product(i, i) };
    Some(match (is_ratio, width) {
        (false, 1) => Statistic::Mean(mean(0)),
        (false, _) => Statistic::Cuped(Cuped {
            n,
            post_statistic: mean(0),
            pre_statistic: mean(1),
            post_pre_sum_of_products: product(0, 1),
        }),
        (true, 0..4) => Statistic::Ratio(Ratio {
            n,
            m_statistic: mean(0),
            d_statistic: mean(1),
            m_d_sum_of_products: product(0, 1),
        }),
        (true, _) => Statistic::CupedRatio(CupedRatio {
            n,
            m_statistic_post: mean(0),
            d_statistic_post: mean(1),
            m_statistic_pre: mean(2),
            d_statistic_pre: mean(3),
            m_post_m_pre_sum_of_products: product(0, 2),
            d_post_d_pre_sum_of_products: product(1, 3),
            m_pre_d_pre_sum_of_products: product(2, 3),
            m_post_d_post_sum_of_products: product(0, 1),
            m_post_d_pre_sum_of_products: product(0, 3),
            m_pre_d_post_sum_of_products: product(2, 1),
        }),
    })
}
