//! When units were assigned: the clock of an experiment, which stands still while it is paused.
//!
//! In: the spans of a phase, a period.  Out: days.
//! Never here: verbs that begin and end a span (see `course`).
//! Start at [`days_assigned`].

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

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
///
/// A period that is over before the first span began is all counted. What was seen in it, another system assigned, or it is the past that
/// somebody tries an experiment on: of both, the plan is all that is known.
pub fn days_assigned(spans: &[Span], from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    if spans.first().is_none_or(|first| first.from >= to) {
        return days_between(from, to);
    }
    spans.iter().map(|span| days_between(span.from.max(from), span.to.map_or(to, |end| end.min(to)))).sum()
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

    #[test]
    fn a_period_before_the_first_start_is_all_counted() {
        assert_eq!(days_assigned(&[span(100, None)], at(0), at(48)), 2.0);
        assert_eq!(days_assigned(&[], at(0), at(48)), 2.0);
        assert_eq!(days_assigned(&[span(48, None)], at(0), at(48)), 2.0);
    }
}
