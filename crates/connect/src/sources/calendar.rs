//! Dates and times of the proleptic Gregorian calendar as the integers that Arrow keeps.
//!
//! In: year, month, day, hour … as a server sends them, valid or not.  Out: days or microseconds since 1970-01-01, or `None`.
//! Never here: time zones; servers are asked for UTC.
//! Start at [`days_since_1970`].

/// Microseconds of a day.
pub(crate) const DAY_US: i64 = 86_400_000_000;

/// Days since 1970-01-01, or `None` when there is no such day. Years 0 to 9999.
///
/// Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
pub(crate) fn days_since_1970(year: u16, month: u8, day: u8) -> Option<i32> {
    if !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) || year > 9999 {
        return None;
    }
    let shifted_year = i32::from(year) - i32::from(month <= 2);
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let month_from_march = (i32::from(month) + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + i32::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// Microseconds since midnight, or `None` when there is no such time.
pub(crate) fn microseconds_of_day(hour: u8, minute: u8, second: u8, micros: u32) -> Option<i64> {
    let is_time = hour < 24 && minute < 60 && second < 60 && micros < 1_000_000;
    let seconds = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    is_time.then_some(seconds * 1_000_000 + i64::from(micros))
}

fn days_in_month(year: u16, month: u8) -> u8 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{Datelike, NaiveDate};

    #[test]
    fn days_agree_with_chrono_over_all_years() {
        let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
        let mut day = NaiveDate::from_ymd_opt(0, 1, 1).unwrap();
        while day.year() <= 9999 {
            let ours = days_since_1970(u16::try_from(day.year()).unwrap(), day.month() as u8, day.day() as u8);
            assert_eq!(ours.map(i64::from), Some((day - epoch).num_days()), "{day}");
            day = day.succ_opt().unwrap();
        }
    }

    #[test]
    fn days_that_do_not_exist_are_none() {
        for (year, month, day) in
            [(0, 0, 0), (2024, 0, 10), (2024, 2, 30), (2023, 2, 29), (1900, 2, 29), (2024, 13, 1), (2024, 4, 31)]
        {
            assert_eq!(days_since_1970(year, month, day), None, "{year}-{month}-{day}");
        }
        assert_eq!(microseconds_of_day(23, 59, 59, 999_999), Some(DAY_US - 1));
        assert_eq!(microseconds_of_day(24, 0, 0, 0), None);
    }
}
