//! Who and what is new: factors of items and users of whom nothing was seen, foretold from what is known of them.
//!
//! In: a trained factor model, its interactions, attributes of items and users.  Out: the model with more items and a
//! [`UserPrior`], and how well the regression foretells what it had not seen.
//! An item with n events keeps n/(n + 10) of its own factor where it has fewer than `min_events` (reference 2.12). A user's first
//! factor comes from attributes alone; a history of any length replaces it (regression as the prior's mean: Agarwal & Chen, KDD 2009).
//! Known users and items are scored as before: nothing here changes what a history is turned into.
//! Never here: lists by popularity (`models::popularity`), what is done with new items on a list (`rerank`: quotas).
//! Start at [`learn`].

pub(crate) mod encoder;
pub(crate) mod ridge;

use std::collections::{BTreeMap, HashMap};

use domain::{FeedItem, FeedUser, ItemId, Profile, UserId};
use rayon::prelude::*;
use serde_json::Value;

use crate::models::Model;
use crate::parameters::ContentParameters;
use crate::tensors::{NamedTensor, TensorFile};
use crate::weighting::WeightedItem;
use crate::{Csr, Interactions, Parameters, RecommendError};
use encoder::{Encoder, MAX_FEATURES};
use ridge::{PRIOR_EVENTS, Rows};

/// The regression of users looks at so many, evenly spaced: more change coefficients by less than a hundredth of their spread.
const MAX_USERS: usize = 100_000;

/// Name of the item's title among its attributes.
const TITLE: &str = "title";

/// What is known of items and users beside interactions: rows of the items and users tables.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attributes<'a> {
    pub items: &'a [FeedItem],
    pub users: &'a [FeedUser],
}

impl<'a> Attributes<'a> {
    /// The columns of each user, by id.
    pub(crate) fn profiles(&self) -> HashMap<&'a UserId, &'a Profile> {
        self.users.iter().map(|user| (&user.id, &user.attributes)).collect()
    }
}

/// A user's first factor from what is known of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct UserPrior {
    pub(crate) encoder: Encoder,
    /// (features + 1) × factors, row-major.
    pub(crate) coefficients: Vec<f32>,
}

impl UserPrior {
    /// `None` if no feature of the profile is known: then everybody's mean says no more than popularity does.
    pub(crate) fn factor(&self, profile: &Profile) -> Option<Vec<f32>> {
        let features = self.encoder.encode(profile);
        let width = self.coefficients.len() / (self.encoder.len() + 1);
        (!features.is_empty()).then(|| ridge::predict(&self.coefficients, width, &features))
    }
}

/// Rows of the items that a model has after it has grown, by new ordinal.
#[derive(Debug)]
pub(crate) struct Growth {
    /// The ordinal of each item before; none for a new one.
    pub(crate) before: Vec<Option<u32>>,
    /// As wide as a row of the model; none where the model's own stays.
    pub(crate) rows: Vec<Option<Vec<f32>>>,
    /// Events that each item was trained on.
    pub(crate) events: Vec<u32>,
}

impl Growth {
    /// The rows of a tensor after growing: `width` values of each item, which stand from `offset` on in a row of the model.
    pub(crate) fn factors(&self, old: &[f32], width: usize, offset: usize) -> Vec<f32> {
        let mut grown = Vec::with_capacity(self.before.len() * width);
        for (before, row) in self.before.iter().zip(&self.rows) {
            match (row, before) {
                (Some(row), _) => grown.extend_from_slice(&row[offset..offset + width]),
                (None, Some(item)) => {
                    grown.extend_from_slice(&old[*item as usize * width..(*item as usize + 1) * width])
                }
                (None, None) => grown.resize(grown.len() + width, 0.0),
            }
        }
        grown
    }
}

/// What a factor model keeps of this: `events` [items], `user_coefficients` [features + 1, factors].
pub(crate) fn tensors<'a>(events: Option<&'a [u32]>, users: Option<&'a UserPrior>) -> Vec<NamedTensor<'a>> {
    let events = events.map(|events| NamedTensor::u32("events", vec![events.len()], events));
    let users = users.map(|prior| {
        let rows = prior.encoder.len() + 1;
        let shape = vec![rows, prior.coefficients.len() / rows];
        NamedTensor::f32("user_coefficients", shape, &prior.coefficients)
    });
    events.into_iter().chain(users).collect()
}

/// The events behind each item, if the model has grown.
pub(crate) fn read_events(has_grown: bool, items: usize, tensors: &TensorFile<'_>) -> Result<Option<Vec<u32>>, String> {
    has_grown.then(|| tensors.u32("events", &[items])).transpose()
}

/// What users without a history begin with, if the model was taught so.
pub(crate) fn read_prior(
    is_taught: bool,
    encoder: Encoder,
    width: usize,
    tensors: &TensorFile<'_>,
) -> Result<Option<UserPrior>, String> {
    let read = || tensors.f32("user_coefficients", &[encoder.len() + 1, width]);
    let coefficients = is_taught.then(read).transpose()?;
    Ok(coefficients.map(|coefficients| UserPrior { encoder, coefficients }))
}

/// What was learnt beside the model.
#[derive(Debug, Default)]
pub(crate) struct Learnt {
    /// The items of the model, rising; none if they are those of the interactions.
    pub(crate) items: Option<Vec<ItemId>>,
    /// `cold_items.explained` and the like, to be kept with the artefact.
    pub(crate) figures: BTreeMap<String, f64>,
}

/// Teaches a model what its parameters want of new users and items.
///
/// Errors: `BadParameter` if a column has no value in the table, `Diverged`.
pub(crate) fn learn(
    model: &mut Model,
    interactions: &Interactions,
    matrix: &Csr,
    parameters: &Parameters,
    attributes: &Attributes<'_>,
) -> Result<Learnt, RecommendError> {
    let mut learnt = Learnt::default();
    if let Some(content) = parameters.cold_users() {
        let work = Work { name: "cold_users", content, parameters };
        let prior = work.user_prior(model, interactions, matrix, attributes, &mut learnt.figures)?;
        model.set_user_prior(prior);
    }
    if let Some(content) = parameters.cold_items() {
        let work = Work { name: "cold_items", content, parameters };
        learnt.items = Some(work.grow(model, interactions, attributes, &mut learnt.figures)?);
    }
    Ok(learnt)
}

struct Work<'a> {
    /// Of the parameter, for errors and figures.
    name: &'static str,
    content: &'a ContentParameters,
    parameters: &'a Parameters,
}

impl Work<'_> {
    fn bad(&self, value: String, expected: &str) -> RecommendError {
        let (kind, name) = (self.parameters.kind(), self.name.to_owned());
        RecommendError::BadParameter { kind, name, value, expected: expected.to_owned() }
    }

    /// The features of profiles, after a look whether every column says anything.
    fn encoder(&self, all: &[&Profile], trained: &[&Profile], table: &str) -> Result<Encoder, RecommendError> {
        let has_value = |column: &String| all.iter().any(|profile| profile.get(column).is_some_and(|v| !v.is_null()));
        if let Some(column) = self.content.columns().find(|column| !has_value(column)) {
            return Err(self.bad(column.clone(), &format!("a column with values in the `{table}` table of the file")));
        }
        Ok(Encoder::fit(trained, &self.content.attributes, &self.content.words, MAX_FEATURES))
    }

    fn fit(
        &self,
        rows: &Rows,
        encoder: &Encoder,
        width: usize,
        figures: &mut BTreeMap<String, f64>,
    ) -> Result<Vec<f32>, RecommendError> {
        let Some(fit) = ridge::fit(rows, encoder.len(), width, self.content.regularization) else {
            let detail =
                format!("the regression of `{}` has no finite solution; raise its `regularization`", self.name);
            return Err(RecommendError::Diverged { kind: self.parameters.kind(), detail });
        };
        let named = [("explained", fit.explained), ("scale", fit.scale), ("regularization", fit.regularization)];
        // So few digits that a value read back from text is the same: the artefact's name depends on it.
        figures.extend(named.map(|(figure, value)| (format!("{}.{figure}", self.name), (value * 1e6).round() / 1e6)));
        figures.insert(format!("{}.features", self.name), encoder.len() as f64);
        Ok(fit.coefficients)
    }

    fn user_prior(
        &self,
        model: &Model,
        interactions: &Interactions,
        matrix: &Csr,
        attributes: &Attributes<'_>,
        figures: &mut BTreeMap<String, f64>,
    ) -> Result<UserPrior, RecommendError> {
        let profiles = attributes.profiles();
        let every = matrix.rows().div_ceil(MAX_USERS).max(1);
        let known: Vec<(usize, &Profile)> = (0..matrix.rows())
            .step_by(every)
            .filter_map(|user| Some((user, *profiles.get(&interactions.user_ids()[user])?)))
            .collect();
        let trained: Vec<&Profile> = known.iter().map(|(_, profile)| *profile).collect();
        let all: Vec<&Profile> = attributes.users.iter().map(|user| &user.attributes).collect();
        let encoder = self.encoder(&all, &trained, "users")?;
        let learnt: Vec<(Vec<u32>, usize, Vec<f32>)> = known
            .par_iter()
            .filter_map(|(user, profile)| {
                let (items, weights) = matrix.row(*user);
                let entry = |(&item, &weight)| WeightedItem { item, weight };
                let history: Vec<WeightedItem> = items.iter().zip(weights).map(entry).collect();
                let features = encoder.encode(profile);
                let factor = model.fold_in(&history).filter(|_| !features.is_empty())?;
                Some((features, history.len(), factor))
            })
            .collect();
        let Some(width) = learnt.first().map(|(_, _, factor)| factor.len()) else {
            return Err(
                self.bad("{}".to_owned(), "columns of the users table in which two users of the interactions agree")
            );
        };
        let mut rows = Rows { features: Vec::new(), events: Vec::new(), targets: Vec::new() };
        for (features, events, factor) in learnt {
            rows.features.push(features);
            rows.events.push(events);
            rows.targets.extend(factor);
        }
        let coefficients = self.fit(&rows, &encoder, width, figures)?;
        Ok(UserPrior { encoder, coefficients })
    }

    /// Adds the items that attributes alone know of, and mends those with few events. Returns all items, rising.
    fn grow(
        &self,
        model: &mut Model,
        interactions: &Interactions,
        attributes: &Attributes<'_>,
        figures: &mut BTreeMap<String, f64>,
    ) -> Result<Vec<ItemId>, RecommendError> {
        let profiles: BTreeMap<&ItemId, Profile> =
            attributes.items.iter().map(|item| (&item.id, self.profile(item))).collect();
        let mut events = vec![0u32; interactions.item_ids().len()];
        interactions.events().iter().for_each(|event| events[event.item as usize] += 1);
        let trained: Vec<(u32, &Profile)> = (0u32..)
            .zip(interactions.item_ids())
            .filter_map(|(item, id)| profiles.get(id).map(|profile| (item, profile)))
            .collect();
        let all: Vec<&Profile> = profiles.values().collect();
        let encoder = self.encoder(&all, &trained.iter().map(|(_, profile)| *profile).collect::<Vec<_>>(), "items")?;
        let mut rows = Rows { features: Vec::new(), events: Vec::new(), targets: Vec::new() };
        for (item, profile) in trained {
            let features = encoder.encode(profile);
            if !features.is_empty() {
                rows.features.push(features);
                rows.events.push(events[item as usize] as usize);
                rows.targets.extend(model.item_row(item));
            }
        }
        let width = model.item_row(0).len();
        if rows.features.is_empty() {
            return Err(
                self.bad("{}".to_owned(), "columns of the items table in which two items of the interactions agree")
            );
        }
        let coefficients = self.fit(&rows, &encoder, width, figures)?;

        let foretold = |profile: &Profile| {
            let features = encoder.encode(profile);
            (!features.is_empty()).then(|| ridge::predict(&coefficients, width, &features))
        };
        let mut grown: BTreeMap<&ItemId, (Option<u32>, Option<Vec<f32>>)> = BTreeMap::new();
        for (item, id) in (0u32..).zip(interactions.item_ids()) {
            let is_rare = (events[item as usize] as usize) < self.content.least_events();
            let foretold = profiles.get(id).filter(|_| is_rare).and_then(foretold);
            let row = foretold.map(|foretold: Vec<f32>| mixed(&model.item_row(item), &foretold, events[item as usize]));
            grown.insert(id, (Some(item), row));
        }
        for (id, profile) in &profiles {
            if let std::collections::btree_map::Entry::Vacant(place) = grown.entry(id)
                && let Some(row) = foretold(profile)
            {
                place.insert((None, Some(row)));
            }
        }
        let items: Vec<ItemId> = grown.keys().map(|id| (*id).clone()).collect();
        figures.insert(format!("{}.items", self.name), (items.len() - interactions.item_ids().len()) as f64);
        let (before, rows): (Vec<Option<u32>>, Vec<Option<Vec<f32>>>) = grown.into_values().unzip();
        let events = before.iter().map(|before| before.map_or(0, |item| events[item as usize])).collect();
        model.grow(&Growth { before, rows, events });
        Ok(items)
    }

    /// The columns that count, the title among them.
    fn profile(&self, item: &FeedItem) -> Profile {
        let value = |column: &String| match item.attributes.get(column) {
            None if column == TITLE => item.title.clone().map(Value::String),
            value => value.cloned(),
        };
        self.content.columns().filter_map(|column| Some((column.clone(), value(column)?))).collect()
    }
}

/// n/(n + 10) of what was learnt, the rest of what was foretold.
fn mixed(learnt: &[f32], foretold: &[f32], events: u32) -> Vec<f32> {
    let own = (f64::from(events) / (f64::from(events) + PRIOR_EVENTS)) as f32;
    learnt.iter().zip(foretold).map(|(learnt, foretold)| own * learnt + (1.0 - own) * foretold).collect()
}
