//! The query string of both list routes: `?limit=10&explain=true&filter=price < 10&profile.country=Germany`.
//!
//! In: name and value pairs, as decoded.  Out: a [`ListQuery`] whose values are in range.
//! Never here: paths and ids.
//! Start at [`ListQuery::parse`].

use domain::Profile;
use recommend::Condition;

use crate::ServingError;

/// Longest list: evaluation measures to 100, so nothing is known of what lies beyond.
pub(crate) const MAX_LIMIT: usize = 100;
/// A first page, when the request does not say.
const DEFAULT_LIMIT: usize = 10;

/// A condition that a person writes or a page builds; a longer one costs more than the list.
pub(crate) const MAX_FILTER_BYTES: usize = 2_000;

/// What is asked of a list.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ListQuery {
    pub(crate) limit: usize,
    /// Name the history items behind each recommendation.
    pub(crate) explain: bool,
    /// Which items may be on the list.
    pub(crate) filter: Option<Condition>,
    /// What is known of the user, beside what the feed says.
    pub(crate) profile: Profile,
    /// Of exploration; no parameter of a request, the route sets it.
    pub(crate) seed: Option<u64>,
}

/// Before the name of a column of the users table.
const PROFILE: &str = "profile.";

/// A value of a profile is a word or a number, not a text.
pub(crate) const MAX_PROFILE_BYTES: usize = 200;

impl ListQuery {
    /// Unknown names are refused, so that `?limt=3` does not quietly mean 10; of a repeated name the last one counts.
    pub(crate) fn parse(pairs: &[(String, String)]) -> Result<Self, ServingError> {
        let mut query = Self { limit: DEFAULT_LIMIT, explain: true, filter: None, profile: Profile::new(), seed: None };
        for (name, value) in pairs {
            match name.as_str() {
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                    query.limit = limit.ok_or_else(|| ServingError::BadLimit { value: clip(value) })?;
                }
                "explain" => {
                    query.explain = match value.as_str() {
                        "true" | "1" => true,
                        "false" | "0" => false,
                        _ => return Err(ServingError::BadExplain { value: clip(value) }),
                    }
                }
                "filter" if value.len() > MAX_FILTER_BYTES => return Err(ServingError::LongFilter),
                "filter" => query.filter = Some(Condition::parse(value)?),
                name if name.starts_with(PROFILE) => {
                    let column = name[PROFILE.len()..].to_owned();
                    if value.is_empty() || value.len() > MAX_PROFILE_BYTES {
                        return Err(ServingError::BadProfile { column: clip(&column), value: clip(value) });
                    }
                    query.profile.insert(column, value.as_str().into());
                }
                _ => return Err(ServingError::UnknownParameter { name: clip(name) }),
            }
        }
        Ok(query)
    }
}

/// Enough to recognise what was typed; an answer must not repeat kilobytes.
fn clip(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let pairs: Vec<(String, String)> = text
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let found = match ListQuery::parse(&pairs) {
            Ok(query) if !query.profile.is_empty() => format!("{:?}", query.profile),
            Ok(query) if query.filter.is_some() => format!("{} {} filtered", query.limit, query.explain),
            Ok(query) => format!("{} {}", query.limit, query.explain),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn values_are_in_range_and_names_known() {
        check("", "10 true");
        check("limit=1&explain=false", "1 false");
        check("limit=100&explain=1", "100 true");
        for bad in ["0", "101", "-1", "1.5", "ten", "99999999999999999999"] {
            check(&format!("limit={bad}"), &format!("`limit` is `{bad}`, but must be a whole number from 1 to 100"));
        }
        check("explain=maybe", "`explain` is `maybe`, but must be `true` or `false`");
        check("filter=price < 10", "10 true filtered");
        check(
            "filter=price <",
            "the condition is not understood at byte 7: it ends there instead of a value, such as 'text', 10, true or now - 14 days",
        );
        check(&format!("filter={}", "a or ".repeat(500)), "`filter` is longer than 2000 bytes");
        check("profile.country=Germany", "{\"country\": String(\"Germany\")}");
        check("profile.country=", "`profile.country` is ``, but must be 1 to 200 bytes");
        check(
            &format!("profile.age={}", "9".repeat(201)),
            &format!("`profile.age` is `{}`, but must be 1 to 200 bytes", "9".repeat(100)),
        );
        check("limt=3", "`limt` is not a parameter here");
    }
}
