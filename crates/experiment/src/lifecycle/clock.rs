//! When units were assigned: the clock of an experiment, which stands still while it is paused.
//!
//! In: the plan, the spans of a phase, a moment.  Out: a [`Clock`].
//! Never here: verbs that begin and end a span (see `course`).
//! Start at [`clock`].

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::decision::Clock;
use crate::plan::AnalysisPlan;

/// A time in which units were assigned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Span {
    pub from: DateTime<Utc>,
    /// `None` while it runs.
    pub to: Option<DateTime<Utc>>,
}

/// Days between two moments; none where a clock was put back.
pub fn days_between(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    (to - from).num_milliseconds().max(0) as f64 / 86_400_000.0
}

/// Days of a period, from `from` until `to`, in which units were assigned: a late start and pauses do not count.
pub fn days_assigned(spans: &[Span], from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    spans.iter().map(|span| days_between(span.from.max(from), span.to.map_or(to, |end| end.min(to)))).sum()
}

/// Where an experiment stands at `until` with so many units, and whether that is its end. Days before it was started, and in which it was paused,
/// are none of its days: its end comes as planned all the same, which is the days so far and those that are left.
///
/// At a moment before the first start all days since the planned one count. What was seen in them, another system assigned, or it is the past that
/// somebody tries an experiment on: of both, the plan is all that is known.
pub fn clock(plan: &AnalysisPlan, spans: &[Span], until: DateTime<Utc>, units: u64) -> (Clock, bool) {
    let now = plan.end.map_or(until, |end| end.min(until));
    let is_known = spans.first().is_some_and(|first| first.from < until);
    let days_running = if is_known { days_assigned(spans, plan.start, now) } else { days_between(plan.start, now) };
    let clock = Clock {
        days_running,
        least_days: f64::from(plan.min_days),
        most_days: f64::from(plan.max_days),
        planned_days: plan.end.map(|end| days_running + days_between(now, end)),
        has_planned_units: plan.planned_units.is_some_and(|planned| units >= planned),
    };
    let is_planned_end = plan.end.is_some_and(|end| until >= end) || clock.has_planned_units;
    (clock, is_planned_end || clock.days_running >= clock.most_days)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + chrono::TimeDelta::hours(hour)
    }

    fn span(from: i64, to: Option<i64>) -> Span {
        Span { from: at(from), to: to.map(at) }
    }

    #[test]
    fn a_late_start_and_pauses_do_not_count() {
        let check = |spans: &[Span], to: i64, hours: f64| {
            let found = 24.0 * days_assigned(spans, at(0), at(to));
            assert!((found - hours).abs() < 1e-9, "{spans:?} until {to}: {found} hours");
        };
        check(&[span(0, None)], 48, 48.0);
        check(&[span(-10, None)], 48, 48.0);
        // Started a day late, paused from 30 to 40.
        let spans = [span(24, Some(30)), span(40, None)];
        check(&spans, 28, 4.0);
        check(&spans, 35, 6.0);
        check(&spans, 100, 66.0);
        check(&[span(24, Some(30))], 100, 6.0);
        // Put back clocks make no time.
        check(&[span(24, Some(20)), span(30, None)], 40, 10.0);
    }

    fn day(day: i64) -> DateTime<Utc> {
        at(24 * day)
    }

    fn plan(end: Option<i64>) -> AnalysisPlan {
        let text = "exposures = 'm.e'\nstart = '1970-01-01T00:00:00Z'\ngoals = ['a']\n";
        AnalysisPlan { end: end.map(day), ..toml::from_str(text).unwrap() }
    }

    fn check(plan: &AnalysisPlan, spans: &[(i64, Option<i64>)], until: i64) -> (f64, Option<f64>, bool) {
        let spans: Vec<Span> = spans.iter().map(|(from, to)| Span { from: day(*from), to: to.map(day) }).collect();
        let (clock, has_ended) = clock(plan, &spans, day(until), 0);
        (clock.days_running, clock.planned_days, has_ended)
    }

    #[test]
    fn days_count_from_the_real_start_and_not_while_it_is_paused() {
        let plan = plan(Some(28));
        // As a file has it, and as it started: on time, five days late, with a pause of ten days.
        assert_eq!(check(&plan, &[], 14), (14.0, Some(28.0), false));
        assert_eq!(check(&plan, &[(0, None)], 14), (14.0, Some(28.0), false));
        assert_eq!(check(&plan, &[(5, None)], 14), (9.0, Some(23.0), false));
        let paused = [(5, Some(10)), (20, None)];
        assert_eq!(check(&plan, &paused, 15), (5.0, Some(18.0), false));
        assert_eq!(check(&plan, &paused, 28), (13.0, Some(13.0), true));
        // The end has come whatever came between; what is not seen any more does not count.
        assert_eq!(check(&plan, &paused, 60), (13.0, Some(13.0), true));
        // The past that somebody tries it on, and a start after the end.
        assert_eq!(check(&plan, &[(1_000, None)], 60), (28.0, Some(28.0), true));
        assert_eq!(check(&plan, &[(60, None)], 60), (28.0, Some(28.0), true));
        assert_eq!(check(&plan, &[(50, None)], 60), (0.0, Some(0.0), true));
    }

    #[test]
    fn the_longest_runtime_is_of_days_that_it_ran() {
        let plan = plan(None);
        assert_eq!(check(&plan, &[(0, None)], 56), (56.0, None, true));
        assert_eq!(check(&plan, &[(0, Some(10)), (20, None)], 60), (50.0, None, false));
        assert_eq!(check(&plan, &[(0, Some(10)), (20, None)], 66), (56.0, None, true));
    }
}
