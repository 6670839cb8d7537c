//! The header of a model: the comment lines before the first word of SQL.
//!
//! In: the text of a model.  Out: [`Header`]: keys, and the prose between them.
//! Never here: what the keys lead to.
//! Start at [`read`].
//!
//! A line is a line of keys when it begins with a known key; several keys may stand on one. Everything else is prose.

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};

use super::interval::Interval;
use crate::error::{Result, WarehouseError};

/// Known keys. `key` is another word for `grain`.
const KEYS: [&str; 10] =
    ["materialized", "time", "interval", "batch", "start", "grain", "key", "checks", "tags", "owner"];
/// Most intervals that one run of the SQL may fill: a year of days. Each has a file open meanwhile.
const MAX_BATCH: usize = 366;
/// The three ways in which a model is made.
const MATERIALIZATIONS: [&str; 3] = ["table", "view", "incremental"];

/// What the header says.
#[derive(Debug, Default)]
pub(super) struct Header {
    /// One of [`MATERIALIZATIONS`].
    pub materialized: String,
    /// 1-based line of that key; 1 when it is not there.
    pub materialized_line: usize,
    pub time: Option<String>,
    pub interval: Option<Interval>,
    pub batch: Option<usize>,
    pub start: Option<DateTime<Utc>>,
    pub grain: Vec<String>,
    pub tags: Vec<String>,
    pub owner: Option<String>,
    /// 1-based line and text.
    pub checks: Vec<(usize, String)>,
    pub description: String,
}

/// Reads the header. Errors name file and line.
pub(super) fn read(path: &str, text: &str) -> Result<Header> {
    let mut header = Header { materialized: "table".into(), materialized_line: 1, ..Header::default() };
    let mut prose = Vec::new();
    let mut after_checks = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let Some(comment) = line.strip_prefix("--") else { break };
        let comment = comment.trim();
        let at = format!("{path}:{}", index + 1);
        let keys = split_keys(comment);
        if keys.is_empty() {
            // A long list of checks may go on in the next line.
            if after_checks && crate::check::is_call(comment) {
                header.checks.push((index + 1, comment.to_owned()));
                continue;
            }
            after_checks = false;
            near_miss(comment, &at)?;
            prose.push(comment);
            continue;
        }
        for (key, value) in keys {
            after_checks = key == "checks";
            header.set(key, value, index + 1, &at)?;
        }
    }
    header.description = prose.join("\n").trim().to_owned();
    Ok(header)
}

impl Header {
    fn set(&mut self, key: &str, value: &str, line: usize, at: &str) -> Result<()> {
        let bad = |help: &str| WarehouseError::Model {
            message: format!("`{value}` is not a value for `{key}`"),
            at: at.to_owned(),
            help: Some(help.to_owned()),
        };
        match key {
            "materialized" => {
                if !MATERIALIZATIONS.contains(&value) {
                    return Err(bad("write table, view or incremental"));
                }
                self.materialized = value.to_owned();
                self.materialized_line = line;
            }
            "time" => self.time = Some(value.to_owned()),
            "interval" => {
                self.interval = Some(
                    Interval::parse(value)
                        .ok_or_else(|| bad("write a number and hour, day, week or month, such as `1 day`"))?,
                );
            }
            "batch" => {
                let batch = value.parse().ok().filter(|batch| (1..=MAX_BATCH).contains(batch));
                self.batch = Some(batch.ok_or_else(|| bad("write a number of intervals, 1 to 366"))?);
            }
            "start" => self.start = Some(instant(value).ok_or_else(|| bad("write a date such as 2010-12-01"))?),
            "grain" | "key" => self.grain = list(value),
            "tags" => self.tags = list(value),
            "owner" => self.owner = Some(value.to_owned()),
            "checks" => self.checks.push((line, value.to_owned())),
            other => return Err(WarehouseError::internal(format!("key `{other}` is listed and not read"))),
        }
        Ok(())
    }
}

/// Splits `a: x   b: y` into keys and values, if the line begins with a known key.
fn split_keys(comment: &str) -> Vec<(&'static str, &str)> {
    let mut starts: Vec<(usize, &'static str)> = Vec::new();
    for key in KEYS {
        for (position, _) in comment.match_indices(key) {
            let is_word = comment[..position].chars().next_back().is_none_or(char::is_whitespace);
            if is_word && comment[position + key.len()..].starts_with(':') {
                starts.push((position, key));
            }
        }
    }
    starts.sort_unstable();
    if starts.first().is_none_or(|(position, _)| *position != 0) {
        return Vec::new();
    }
    let ends = starts.iter().skip(1).map(|(position, _)| *position).chain([comment.len()]);
    starts.iter().zip(ends).map(|((start, key), end)| (*key, comment[start + key.len() + 1..end].trim())).collect()
}

/// `materialised: table` is a typing error, not prose.
fn near_miss(comment: &str, at: &str) -> Result<()> {
    // 0.9 of Jaro–Winkler: one or two letters off; prose seldom begins with such a word and a colon.
    const LIKENESS: f64 = 0.9;
    let Some((word, _)) = comment.split_once(':') else { return Ok(()) };
    let meant = KEYS.iter().find(|key| strsim::jaro_winkler(key, &word.to_lowercase()) >= LIKENESS);
    match meant {
        Some(key) => Err(WarehouseError::Model {
            message: format!("`{word}` is not a key of a model"),
            at: at.to_owned(),
            help: Some(format!("did you mean `{key}`?")),
        }),
        None => Ok(()),
    }
}

/// `a, b` or `[a, b]`.
fn list(value: &str) -> Vec<String> {
    let value = value.trim_start_matches('[').trim_end_matches(']');
    value.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
}

/// A date, or an RFC 3339 time.
fn instant(value: &str) -> Option<DateTime<Utc>> {
    if let Ok(at) = DateTime::parse_from_rfc3339(value) {
        return Some(at.to_utc());
    }
    let date = NaiveDate::parse_from_str(value, "%Y-%m-%d").ok()?;
    Some(date.and_time(NaiveTime::MIN).and_utc())
}
