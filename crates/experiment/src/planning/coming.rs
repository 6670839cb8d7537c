//! How many units take part by when: as they came in the history, by coverage and ramp.
//!
//! In: what is planned, the history.  Out: units after days, days until units.
//! Never here: how many are needed (see `planning`).
//! Start at [`Intent::units_at_end`].

use super::{History, Intent};

impl Intent {
    /// Units of all variants at the first planned end; `None` where none is planned.
    pub(super) fn units_at_end(&self, history: &History) -> Option<f64> {
        let by_day = self.days.map(|days| self.units_after(history, f64::from(days)));
        let planned = self.planned_units.map(|units| units as f64);
        [by_day, planned].into_iter().flatten().reduce(f64::min)
    }

    /// Units of all variants after so many days. Who is taken in by a step of the ramp comes for the first time from then on: of what each step adds,
    /// as many come after it as of all after a start.
    pub(super) fn units_after(&self, history: &History, days: f64) -> f64 {
        let (mut units, mut before) = (0.0, 0.0);
        for (from, share) in &self.coverage {
            units += (share - before).max(0.0) * seen_after(history, days - from);
            before = share.max(before);
        }
        units
    }
}

/// Days until so many units take part; `None` beyond ten years.
pub(super) fn days_until(history: &History, intent: &Intent, units: f64) -> Option<u32> {
    (1..=10 * 366).find(|days| intent.units_after(history, f64::from(*days)) >= units)
}

/// Units that come in the first `days` days, evenly within each: as they came in the history, and beyond it as in its last week. None before the first.
fn seen_after(history: &History, days: f64) -> f64 {
    let days = days.max(0.0);
    let week = &history.new_units[history.new_units.len().saturating_sub(7)..];
    let rate = week.iter().sum::<u64>() as f64 / week.len().max(1) as f64;
    let of_day = |(day, units): (usize, &u64)| *units as f64 * (days - day as f64).clamp(0.0, 1.0);
    let seen: f64 = history.new_units.iter().enumerate().map(of_day).sum();
    seen + rate * (days - history.new_units.len() as f64).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::ExperimentFile;

    fn file(coverage: f64, plan: &str, schedule: &str) -> ExperimentFile {
        toml::from_str(&format!(
            "[assignment]\nkey = 'x'\ncoverage = {coverage}\nvariants = [{{ key = 'a', value = 0 }}, {{ key = 'b', value = 1 }}]\n\
             [analysis]\nexposures = 'm.e'\nstart = '2026-03-01T00:00:00Z'\ngoals = ['revenue']\n{plan}\n[schedule]\n{schedule}\n"
        ))
        .unwrap()
    }

    fn history(new_units: Vec<u64>) -> History {
        History { new_units, metrics: Vec::new() }
    }

    /// By hand: 100 a day; of 28 days a tenth for all, and nine tenths more for the last 21.
    #[test]
    fn units_come_from_the_scheduled_start_by_the_ramp() {
        let ramp = "start = '2026-03-03T00:00:00Z'\nramp = [{ at = '2026-03-10T00:00:00Z', coverage = 1.0 }]";
        let given = history(vec![100; 14]);
        let found = Intent::of(&file(0.1, "end = '2026-03-31T00:00:00Z'", ramp), &given);
        assert_eq!((found.days, found.coverage.clone()), (Some(28), vec![(0.0, 0.1), (7.0, 1.0)]));
        assert!((found.units_at_end(&given).unwrap() - (280.0 + 1_890.0)).abs() < 1e-9);
        // 70 after the first week, then 100 a day.
        assert_eq!((days_until(&given, &found, 70.0), days_until(&given, &found, 169.0)), (Some(7), Some(8)));
        // A schedule that began before the plan counts from the plan.
        let early = "start = '2026-02-01T00:00:00Z'";
        let found = Intent::of(&file(0.5, "end = '2026-03-29T00:00:00Z'", early), &given);
        assert_eq!(found.units_at_end(&given), Some(1_400.0));
    }

    /// Who comes often comes on the first day: of what a step adds as well. 300 on the first day and 100 on each one after it, half of them from the
    /// start and half from the eighth day on: .5 (300 + 27 · 100) + .5 (300 + 20 · 100).
    #[test]
    fn what_a_step_adds_comes_as_after_a_start() {
        let mut units = vec![100; 14];
        units[0] = 300;
        let given = history(units);
        let ramp = "ramp = [{ at = '2026-03-08T00:00:00Z', coverage = 1.0 }]";
        let found = Intent::of(&file(0.5, "end = '2026-03-29T00:00:00Z'", ramp), &given);
        assert!((found.units_at_end(&given).unwrap() - 2_650.0).abs() < 1e-9);
    }

    /// 1,400 units come until the end, .7 of the 2,000 that were planned: looks at more are none.
    #[test]
    fn looks_after_the_end_are_none() {
        let plan = "end = '2026-03-29T00:00:00Z'\nsequential = 'group'\nspending = 'pocock'\nplanned_units = 2000\n\
                    looks = [0.35, 0.8, 0.6995]";
        let given = history(vec![100; 14]);
        let found = Intent::of(&file(0.5, plan, ""), &given);
        assert_eq!((found.looks, found.end), (vec![0.35], 0.7));
        let none = history(Vec::new());
        let found = Intent::of(&file(0.5, plan, ""), &none);
        assert!(found.looks.is_empty() && found.end > 0.0);
    }
}
