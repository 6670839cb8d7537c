//! Lengths of the intervals of an incremental model, and which interval a moment falls into.
//!
//! In: `1 day`, a moment in UTC.  Out: the start of its interval and of the next one.
//! Never here: time zones other than UTC, clocks.
//! Start at [`Interval`].

use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveTime, TimeDelta, Utc};

/// Equal parts of the UTC time line: hours, days and weeks counted from Monday 1970-01-05, months from January 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Interval {
    Hours(u32),
    Days(u32),
    Months(u32),
}

/// Longest interval: a century in hours fits, and no arithmetic below can overflow.
const MAX_COUNT: u32 = 1_000_000;

impl Interval {
    /// Reads `1 day`, `6 hours`, `2 weeks`, `1 month`.
    pub fn parse(text: &str) -> Option<Self> {
        let (count, unit) = text.split_once(char::is_whitespace)?;
        let count: u32 = count.parse().ok().filter(|count| (1..=MAX_COUNT).contains(count))?;
        match unit.trim().trim_end_matches('s') {
            "hour" => Some(Self::Hours(count)),
            "day" => Some(Self::Days(count)),
            "week" => Some(Self::Days(count * 7)),
            "month" => Some(Self::Months(count)),
            _ => None,
        }
    }

    /// The start of the interval that holds `moment`.
    pub fn start_of(self, moment: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::Hours(count) => floor(moment, 3600 * i64::from(count)),
            Self::Days(count) => floor(moment, 86_400 * i64::from(count)),
            Self::Months(count) => {
                let month = moment.year() * 12 + i32::try_from(moment.month0()).unwrap_or_default();
                let first = month - (month - 1970 * 12).rem_euclid(i32::try_from(count).unwrap_or(1));
                let date = NaiveDate::from_ymd_opt(first.div_euclid(12), first.rem_euclid(12).unsigned_abs() + 1, 1);
                date.map_or(moment, |date| date.and_time(NaiveTime::MIN).and_utc())
            }
        }
    }

    /// The start of the next interval after one that starts at `start`.
    pub fn end_of(self, start: DateTime<Utc>) -> DateTime<Utc> {
        let end = match self {
            Self::Hours(count) => start.checked_add_signed(TimeDelta::hours(i64::from(count))),
            Self::Days(count) => start.checked_add_signed(TimeDelta::days(i64::from(count))),
            Self::Months(count) => start.checked_add_months(Months::new(count)),
        };
        end.unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

/// Rounds down to a multiple of `seconds`, counted from Monday 1970-01-05.
fn floor(moment: DateTime<Utc>, seconds: i64) -> DateTime<Utc> {
    const MONDAY: i64 = 4 * 86_400;
    let since = moment.timestamp() - MONDAY;
    DateTime::from_timestamp(since - since.rem_euclid(seconds) + MONDAY, 0).unwrap_or(moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(interval: &str, moment: &str, start: &str, end: &str) {
        let interval = Interval::parse(interval).unwrap();
        let moment = DateTime::parse_from_rfc3339(moment).unwrap().to_utc();
        let found = interval.start_of(moment);
        assert_eq!(found.to_rfc3339(), start);
        assert_eq!(interval.end_of(found).to_rfc3339(), end);
    }

    #[test]
    fn every_moment_has_one_interval() {
        check("1 day", "2010-12-01T08:26:00Z", "2010-12-01T00:00:00+00:00", "2010-12-02T00:00:00+00:00");
        check("6 hours", "2010-12-01T08:26:00Z", "2010-12-01T06:00:00+00:00", "2010-12-01T12:00:00+00:00");
        check("1 week", "2026-11-24T00:00:00Z", "2026-11-23T00:00:00+00:00", "2026-11-30T00:00:00+00:00");
        check("1 month", "2012-02-29T23:59:59Z", "2012-02-01T00:00:00+00:00", "2012-03-01T00:00:00+00:00");
        check("3 months", "1969-12-31T23:00:00Z", "1969-10-01T00:00:00+00:00", "1970-01-01T00:00:00+00:00");
        check("1 day", "1969-12-31T23:00:00Z", "1969-12-31T00:00:00+00:00", "1970-01-01T00:00:00+00:00");
    }

    #[test]
    fn other_units_are_not_intervals() {
        for text in ["day", "0 days", "-1 day", "1 second", "1 fortnight", ""] {
            assert_eq!(Interval::parse(text), None, "{text}");
        }
    }
}
