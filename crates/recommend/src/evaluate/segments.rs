//! Which segment each user belongs to, so that a report can show whom a recommender serves well and whom it does not.
//!
//! In: (user, value) pairs of a column of the caller's.  Out: the largest values by name, everybody else as `other`.
//! Never here: reading tables; what the values mean.
//! Start at [`Segments::new`].

use std::collections::{BTreeMap, HashMap};

use domain::UserId;

use crate::Interactions;

/// More values than this are a table of their own, not a report.
pub(super) const LARGEST: usize = 10;

/// The name of everybody else, and of users without a value.
const OTHER: &str = "other";

/// A value per user.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Segments {
    of_user: HashMap<UserId, String>,
}

impl Segments {
    /// Of a user with several values the smallest counts, whatever the order of the pairs.
    pub fn new(pairs: impl IntoIterator<Item = (UserId, String)>) -> Self {
        let mut of_user: HashMap<UserId, String> = HashMap::new();
        for (user, value) in pairs {
            match of_user.get(&user) {
                Some(known) if *known <= value => {}
                Some(_) | None => {
                    of_user.insert(user, value);
                }
            }
        }
        Self { of_user }
    }

    /// Users and values in the order of user ids: what the segments depend on.
    pub fn pairs(&self) -> BTreeMap<&UserId, &str> {
        self.of_user.iter().map(|(user, value)| (user, value.as_str())).collect()
    }

    /// The values with the most users among `interactions`, largest first; equally large ones by name.
    pub(super) fn largest(&self, interactions: &Interactions) -> Largest<'_> {
        let mut users_of: BTreeMap<&str, usize> = BTreeMap::new();
        let mut without = 0;
        for user in interactions.user_ids() {
            match self.of_user.get(user).map(String::as_str) {
                Some(value) if value != OTHER => *users_of.entry(value).or_default() += 1,
                Some(_) | None => without += 1,
            }
        }
        let mut values: Vec<(&str, usize)> = users_of.into_iter().collect();
        values.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
        let has_other = without > 0 || values.len() > LARGEST;
        values.truncate(LARGEST);
        Largest { segments: self, values: values.into_iter().map(|(value, _)| value).collect(), has_other }
    }
}

/// The segments that a report shows.
#[derive(Debug)]
pub(super) struct Largest<'a> {
    segments: &'a Segments,
    values: Vec<&'a str>,
    has_other: bool,
}

impl Largest<'_> {
    /// `segment:<value>` …, and `segment:other` if anybody is left.
    pub(super) fn names(&self) -> Vec<String> {
        let other = self.has_other.then_some(OTHER);
        self.values.iter().copied().chain(other).map(|value| format!("segment:{value}")).collect()
    }

    /// The place of the user's segment among the names.
    pub(super) fn place(&self, user: &UserId) -> usize {
        let value = self.segments.of_user.get(user);
        value.and_then(|value| self.values.iter().position(|known| known == value)).unwrap_or(self.values.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::tests::shop;

    #[test]
    fn the_largest_values_have_names_and_the_others_share_one() {
        let interactions = shop(&[1; 40]);
        let users = interactions.user_ids();
        // Values 0 … 11 with 3 users each (12 would not fit), 3 users without a value, one called `other`.
        let mut pairs: Vec<(UserId, String)> = users
            .iter()
            .take(36)
            .enumerate()
            .map(|(place, user)| (user.clone(), format!("v{:02}", place / 3)))
            .collect();
        pairs.push((users[36].clone(), "other".into()));
        pairs.push((users[0].clone(), "a-smaller-value-comes-first".into()));
        let segments = Segments::new(pairs);
        let largest = segments.largest(&interactions);
        let names = largest.names();
        assert_eq!((names.len(), names[0].as_str(), names[10].as_str()), (11, "segment:v01", "segment:other"));
        assert_eq!(names[9], "segment:v10");
        let place = |user: usize| largest.place(&users[user]);
        assert_eq!((place(0), place(3), place(35), place(36), place(39)), (10, 0, 10, 10, 10));
    }

    #[test]
    fn nobody_else_has_no_name() {
        let interactions = shop(&[1; 2]);
        let segments = Segments::new(interactions.user_ids().iter().map(|user| (user.clone(), "all".to_owned())));
        assert_eq!(segments.largest(&interactions).names(), ["segment:all"]);
        assert_eq!(segments.pairs().len(), 2);
    }
}
