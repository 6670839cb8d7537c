//! Looks planned before anybody looked: when they are, and how much was known at each of them.
//!
//! In: what the plan says, units by the day of their first exposure.  Out: [`Looks`].
//! Never here: bounds (`stats::group_sequential`), what is claimed at a look (`judged`).
//! Start at [`looks`].

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::stats::group_sequential::LEAST_STEP;

/// One look before the end: a moment, or a share of the planned units.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum PlannedLook {
    /// Above 0.0 and below 1.0; the look is at the first midnight with so many units.
    Share(f64),
    /// The look is at the first midnight that is not before it.
    Date(DateTime<Utc>),
}

/// A visitor of our own: of an untagged enum, errors would name neither key nor place.
impl<'de> Deserialize<'de> for PlannedLook {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = PlannedLook;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a share such as `0.5`, or a moment such as `\"2026-11-08T00:00:00Z\"`")
            }
            fn visit_f64<E: Error>(self, share: f64) -> Result<PlannedLook, E> {
                Ok(PlannedLook::Share(share))
            }
            fn visit_i64<E: Error>(self, share: i64) -> Result<PlannedLook, E> {
                Ok(PlannedLook::Share(share as f64))
            }
            fn visit_u64<E: Error>(self, share: u64) -> Result<PlannedLook, E> {
                Ok(PlannedLook::Share(share as f64))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<PlannedLook, E> {
                let moment = DateTime::parse_from_rfc3339(text).map_err(E::custom)?;
                Ok(PlannedLook::Date(moment.to_utc()))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// The looks so far.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Looks {
    /// Information of earlier looks, as shares of the planned units, each above the one before by at least [`LEAST_STEP`].
    pub before: Vec<f64>,
    /// The same of now.
    pub now: f64,
    /// Whether now is one of them.
    pub is_now: bool,
}

/// Which of the planned looks have been, at `until`, a midnight. `days`: units by the day of their first exposure, rising.
///
/// A look at which hardly more is known than at the one before is none, and so is one before anybody was seen.
pub fn looks(
    planned: &[PlannedLook],
    planned_units: u64,
    days: &[(DateTime<Utc>, u64)],
    until: DateTime<Utc>,
) -> Looks {
    let day = TimeDelta::days(1);
    let units_at = |moment: DateTime<Utc>| days.iter().filter(|(from, _)| *from < moment).map(|(_, units)| units).sum();
    let share_at = |moment: DateTime<Utc>| {
        let units: u64 = units_at(moment);
        units as f64 / planned_units.max(1) as f64
    };
    let midnight = |moment: DateTime<Utc>| {
        let start = moment.date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
        if start == moment { start } else { start + day }
    };
    let at = |look: &PlannedLook| match look {
        PlannedLook::Date(moment) => Some(midnight(*moment)),
        PlannedLook::Share(share) => days.iter().map(|(from, _)| *from + day).find(|end| share_at(*end) >= *share),
    };
    let mut moments: Vec<DateTime<Utc>> = planned.iter().filter_map(at).filter(|moment| *moment <= until).collect();
    moments.sort_unstable();
    moments.dedup();
    let mut found = Looks { now: share_at(until), ..Looks::default() };
    for moment in moments {
        let share = share_at(moment);
        if share < found.before.last().copied().unwrap_or(0.0) + LEAST_STEP || share > 1.0 {
            continue;
        }
        if moment == until {
            found.is_now = true;
        } else {
            found.before.push(share);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: u32) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(&format!("2026-03-{day:02}T00:00:00Z")).unwrap().to_utc()
    }

    #[test]
    fn looks_are_at_midnights_and_know_the_units_before_them() {
        let days = [(day(1), 200), (day(2), 0), (day(3), 300), (day(4), 100)];
        let planned =
            [PlannedLook::Share(0.25), PlannedLook::Date(day(3) + TimeDelta::hours(9)), PlannedLook::Share(0.2)];
        let at = |until| looks(&planned, 1_000, &days, until);
        assert_eq!(at(day(1)), Looks { before: vec![], now: 0.0, is_now: false });
        assert_eq!(at(day(2)), Looks { before: vec![], now: 0.2, is_now: true });
        assert_eq!(at(day(3)), Looks { before: vec![0.2], now: 0.2, is_now: false });
        // A quarter and nine o'clock of the third are one look, at the midnight after it.
        assert_eq!(at(day(4)), Looks { before: vec![0.2], now: 0.5, is_now: true });
        assert_eq!(at(day(5)), Looks { before: vec![0.2, 0.5], now: 0.6, is_now: false });
    }

    #[test]
    fn a_look_at_which_nothing_is_new_is_none() {
        let planned = [PlannedLook::Date(day(1)), PlannedLook::Date(day(2)), PlannedLook::Date(day(3))];
        let found = looks(&planned, 1_000, &[(day(1), 500)], day(3));
        assert_eq!(found, Looks { before: vec![0.5], now: 0.5, is_now: false });
    }

    #[test]
    fn shares_and_moments_are_read_and_nothing_else() {
        let read = |text: &str| serde_json::from_str::<Vec<PlannedLook>>(text);
        let text = r#"[0.5,"2026-03-01T00:00:00Z"]"#;
        let found = read(text).unwrap();
        assert_eq!(found, [PlannedLook::Share(0.5), PlannedLook::Date(day(1))]);
        assert_eq!(serde_json::to_string(&found).unwrap(), text);
        assert!(read(r#"["soon"]"#).is_err());
        assert!(read("[true]").unwrap_err().to_string().contains("a share such as"));
    }
}
