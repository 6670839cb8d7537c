//! Everything that decides who sees what, as it stands in the store, and the program that it makes.
//!
//! In: documents.  Out: a [`Program`] that always compiles, because no change is made after which it would not.
//! Never here: writing; files.
//! Start at [`Surroundings::program`].

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::SdkConnection;
use experiment::assign::{Object, Value};
use experiment::definition::Experiment;
use experiment::layer::Layer;
use experiment::lifecycle::{Course, State, checklist};
use experiment::program::{Flag, Holdout, Program, check_audience, named_groups};

use crate::error::ControlError;
use crate::experiments::ExperimentRecord;
use crate::publish::LeftOut;
use crate::qa::{QaEntry, qa_entries};
use crate::store::{Document, View};
use crate::things::{Kind, Stored, Thing};

/// What stands in the store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surroundings {
    /// In the order in which they were made.
    pub(crate) records: Vec<ExperimentRecord>,
    pub(crate) layers: Vec<Layer>,
    pub(crate) holdouts: Vec<Holdout>,
    pub(crate) flags: Vec<Flag>,
    pub(crate) groups: Object,
    /// The change that made each of the groups what it is.
    group_revisions: BTreeMap<String, u64>,
    pub(crate) connections: Vec<SdkConnection>,
    pub(crate) qa: Vec<QaEntry>,
}

/// All experiments, in the order in which they were made.
pub(crate) async fn experiments(change: &mut View) -> Result<Vec<ExperimentRecord>, ControlError> {
    records(&change.list(Kind::Experiment).await?)
}

pub(crate) fn records(documents: &[Document]) -> Result<Vec<ExperimentRecord>, ControlError> {
    let mut records = documents.iter().map(ExperimentRecord::of).collect::<Result<Vec<_>, _>>()?;
    records.sort_by_key(|record| record.created);
    Ok(records)
}

async fn things<T>(change: &mut View, kind: Kind, pick: impl Fn(Thing) -> Option<T>) -> Result<Vec<T>, ControlError> {
    let mut found = Vec::new();
    for document in change.list(kind).await? {
        found.extend(pick(document.read::<Stored>(kind)?.thing));
    }
    Ok(found)
}

impl Surroundings {
    pub(crate) async fn load(change: &mut View) -> Result<Self, ControlError> {
        let groups = things(change, Kind::Group, |thing| {
            if let Thing::Group(group) = thing { Some((group.key, Value::Array(group.values))) } else { None }
        });
        let groups = groups.await?;
        let of_groups = change.list(Kind::Group).await?;
        Ok(Self {
            groups: groups.into_iter().collect(),
            group_revisions: of_groups.into_iter().map(|document| (document.key, document.revision)).collect(),
            records: experiments(change).await?,
            layers: things(
                change,
                Kind::Layer,
                |thing| if let Thing::Layer(layer) = thing { Some(layer) } else { None },
            )
            .await?,
            holdouts: things(change, Kind::Holdout, |thing| {
                if let Thing::Holdout(holdout) = thing { Some(holdout) } else { None }
            })
            .await?,
            flags: things(change, Kind::Flag, |thing| if let Thing::Flag(flag) = thing { Some(flag) } else { None })
                .await?,
            connections: things(change, Kind::Connection, |thing| {
                if let Thing::Connection(connection) = thing { Some(connection) } else { None }
            })
            .await?,
            qa: qa_entries(change).await?,
        })
    }

    pub(crate) fn flag(&self, key: &str) -> Option<&Flag> {
        self.flags.iter().find(|flag| flag.key == key)
    }

    /// What is missing for a launch.
    pub(crate) fn checklist(&self, record: &ExperimentRecord, facts: &checklist::LaunchFacts) -> checklist::Checklist {
        let others: Vec<Course> =
            self.records.iter().filter(|other| other.key != record.key).map(|other| other.course.clone()).collect();
        let holdouts: Vec<String> = self.holdouts.iter().map(|holdout| holdout.key.clone()).collect();
        let around =
            checklist::Surroundings { others: &others, layers: &self.layers, holdouts: &holdouts, flags: &self.flags };
        let mut found = checklist::checklist(&record.course, around, facts);
        if let Err(error) = self.check_audience(&record.course.assignment) {
            found.blockers.push(checklist::Blocker::Assignment { problem: error.to_string() });
        }
        found
    }

    /// See [`By::groups`](experiment::lifecycle::By).
    pub(crate) fn groups_of(&self, experiment: &Experiment) -> Result<String, ControlError> {
        let named = experiment.audience.as_ref().map(named_groups).unwrap_or_default();
        if named.is_empty() {
            return Ok(String::new());
        }
        let held: Vec<(&str, Option<&Value>)> = named.into_iter().map(|key| (key, self.groups.get(key))).collect();
        domain::hash_json(&held).map_err(|source| ControlError::Document {
            kind: "group",
            key: experiment.key.clone(),
            source,
        })
    }

    /// An approval is of the groups that were read beside the experiment. Errors: `GroupChanged`: one of them was changed since.
    pub(crate) fn check_groups_seen(&self, record: &ExperimentRecord, seen: u64) -> Result<(), ControlError> {
        let named = record.course.assignment.audience.as_ref().map(named_groups).unwrap_or_default();
        for group in named {
            if let Some(changed) = self.group_revisions.get(group).copied().filter(|changed| *changed > seen) {
                let (group, key) = (group.to_owned(), record.key.clone());
                return Err(ControlError::GroupChanged { group, key, changed, seen });
            }
        }
        Ok(())
    }

    /// Errors: the audience cannot be read, or would never match, with these groups.
    pub(crate) fn check_audience(&self, experiment: &Experiment) -> Result<(), ControlError> {
        Ok(check_audience(&self.groups, experiment)?)
    }

    /// The program, what it is made of, and what is left out of it. What runs, is paused or decided is always in it.
    ///
    /// Errors: `Program`, for a change that must not be made.
    pub(crate) fn program(&self, now: DateTime<Utc>) -> (Program, Vec<&ExperimentRecord>, Vec<LeftOut>) {
        let mut program = Program {
            layers: self.layers.clone(),
            holdouts: self.holdouts.clone(),
            saved_groups: self.groups.clone(),
            flags: self.flags.clone(),
            ..Program::default()
        };
        program.previews.extend(self.qa.iter().filter(|qa| qa.expires_at > now).filter_map(QaEntry::preview));
        let (mut sources, mut left_out) = (Vec::new(), Vec::new());
        let is_draft = |record: &&ExperimentRecord| matches!(record.course.state, State::Draft | State::Review);
        // Drafts last: they fit to what is served, not the other way round.
        let served = self.records.iter().filter(|record| !is_draft(record));
        for record in served.chain(self.records.iter().filter(is_draft)) {
            match self.entry(record, &program, now) {
                Ok(Some(experiment)) => {
                    program.experiments.push(experiment);
                    sources.push(record);
                }
                Ok(None) => {}
                Err(reason) => left_out.push(LeftOut { key: record.key.clone(), reason }),
            }
        }
        (program, sources, left_out)
    }

    /// One experiment as it is served; or why it is not.
    fn entry(
        &self,
        record: &ExperimentRecord,
        program: &Program,
        now: DateTime<Utc>,
    ) -> Result<Option<Experiment>, String> {
        let mut experiment = record.course.assignment.clone();
        for qa in self.qa.iter().filter(|qa| !qa.is_link && qa.experiment == record.key && qa.expires_at > now) {
            experiment.allow_list.insert(qa.unit.clone(), qa.variant.clone());
        }
        experiment.allow_list.retain(|_, variant| record.course.assignment.variant(variant).is_some());
        let flag = self.flag(experiment.feature());
        let control = experiment.variants.first().map(|variant| &variant.value);
        match record.course.state {
            State::Archived => return Ok(None),
            State::Running => experiment.paused = false,
            State::Paused => experiment.paused = true,
            State::Decided => {
                // A winner is served until the flag's default changes; then the default says what is served.
                if flag.is_some_and(|flag| Some(&flag.default) != control) {
                    return Err("its flag has another default since it was decided".to_owned());
                }
            }
            State::Draft | State::Review => {
                experiment.check().map_err(|error| error.to_string())?;
                experiment.paused = true;
                experiment.slots.clear();
                experiment.holdout = None;
                experiment.audience = None;
                let served = program.experiments.iter().find(|other| other.feature() == experiment.feature());
                let default = flag.map(|flag| &flag.default).or(served.map(|other| &other.variants[0].value));
                if default.is_some_and(|default| Some(default) != control) {
                    return Err("its control has another value than what is served by default".to_owned());
                }
                let kind = flag.map(|flag| flag.value_type);
                if kind.is_some_and(|kind| experiment.variants.iter().any(|variant| !kind.holds(&variant.value))) {
                    return Err("one of its variants has another type than its flag".to_owned());
                }
                if self.holdouts.iter().any(|holdout| holdout.key == experiment.key) {
                    return Err("a holdout has the same key".to_owned());
                }
            }
        }
        Ok(Some(experiment))
    }

    /// Errors: what would be served is wrong.
    pub(crate) fn check(&self, now: DateTime<Utc>) -> Result<(), ControlError> {
        self.program(now).0.payload()?;
        Ok(())
    }
}
