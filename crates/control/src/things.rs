//! What experiments stand on: layers, holdouts, flags, groups, connections, and the people and policies around them.
//!
//! In: a [`ThingEdit`].  Out: a [`Stored`] thing.
//! Never here: experiments (see `experiments`).
//! Start at [`Control::put`].

use base64::Engine as _;
use chrono::{DateTime, Utc};
use domain::SdkConnection;
use experiment::assign::Value;
use experiment::layer::Layer;
use experiment::lifecycle::{ApprovalPolicy, State};
use experiment::program::{Flag, Holdout, named_groups};
use serde::{Deserialize, Serialize};
use sqlx::SqlStr;

use crate::control::{Control, check_key, check_size};
use crate::error::ControlError;
use crate::people::{Actor, Permission, Person, Role};
use crate::secret::{hex, random};
use crate::store::{Change, Document, Entry, View, snapshot};
use crate::surroundings::{Surroundings, experiments};

/// What a record is of; the word of the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Experiment,
    Layer,
    Holdout,
    Flag,
    Group,
    Connection,
    Person,
    Policy,
    Token,
    QaEntry,
    Power,
}

impl Kind {
    /// The word in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Experiment => "experiment",
            Self::Layer => "layer",
            Self::Holdout => "holdout",
            Self::Flag => "flag",
            Self::Group => "group",
            Self::Connection => "connection",
            Self::Person => "person",
            Self::Policy => "policy",
            Self::Token => "token",
            Self::QaEntry => "qa_entry",
            Self::Power => "power",
        }
    }

    pub(crate) fn table(self) -> &'static str {
        match self {
            Self::Experiment => "experiments",
            Self::Layer => "layers",
            Self::Holdout => "holdouts",
            Self::Flag => "flags",
            Self::Group => "saved_groups",
            Self::Connection => "sdk_connections",
            Self::Person => "people",
            Self::Policy => "policies",
            Self::Token => "tokens",
            Self::QaEntry => "qa_entries",
            Self::Power => "power_reports",
        }
    }

    pub(crate) fn find_sql(self) -> SqlStr {
        let statement = format!("SELECT key, revision, document FROM {} WHERE key = $1", self.table());
        sqlx::SqlSafeStr::into_sql_str(sqlx::AssertSqlSafe(statement))
    }

    pub(crate) fn list_sql(self) -> SqlStr {
        let statement = format!("SELECT key, revision, document FROM {} ORDER BY key", self.table());
        sqlx::SqlSafeStr::into_sql_str(sqlx::AssertSqlSafe(statement))
    }

    /// Who may change, and who may remove. `None`: not by [`Control::put`].
    fn permissions(self) -> Option<(Permission, Permission)> {
        match self {
            Self::Layer => Some((Permission::EditLayer, Permission::DeleteLayer)),
            Self::Holdout => Some((Permission::EditHoldout, Permission::EditHoldout)),
            Self::Flag => Some((Permission::EditFlag, Permission::DeleteFlag)),
            Self::Group => Some((Permission::EditGroup, Permission::DeleteGroup)),
            Self::Connection => Some((Permission::EditConnection, Permission::EditConnection)),
            Self::Person => Some((Permission::EditPeople, Permission::EditPeople)),
            Self::Policy => Some((Permission::EditPolicy, Permission::EditPolicy)),
            Self::Experiment | Self::Token | Self::QaEntry | Self::Power => None,
        }
    }

    /// Whether it changes who sees what.
    fn is_served(self) -> bool {
        matches!(self, Self::Layer | Self::Holdout | Self::Flag | Self::Group)
    }
}

/// A group of units that audiences name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SavedGroup {
    /// What conditions name: `{"id": {"$inGroup": "<key>"}}`.
    pub key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its members: values of the attribute that a condition looks at.
    pub values: Vec<Value>,
}

/// When launches of a project need an approval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectPolicy {
    /// `*` for all that have none of their own.
    pub project: String,
    pub approval: ApprovalPolicy,
}

/// One record of those that share one form. In JSON `{"kind": "layer", "name": …}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Thing {
    Layer(Layer),
    Holdout(Holdout),
    Flag(Flag),
    Group(SavedGroup),
    /// An empty `client_key` asks for a new one, an empty `encryption_key` as well.
    Connection(SdkConnection),
    Person(Person),
    Policy(ProjectPolicy),
}

impl Thing {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Layer(_) => Kind::Layer,
            Self::Holdout(_) => Kind::Holdout,
            Self::Flag(_) => Kind::Flag,
            Self::Group(_) => Kind::Group,
            Self::Connection(_) => Kind::Connection,
            Self::Person(_) => Kind::Person,
            Self::Policy(_) => Kind::Policy,
        }
    }

    /// What it is found by.
    pub fn key(&self) -> &str {
        match self {
            Self::Layer(layer) => &layer.name,
            Self::Holdout(holdout) => &holdout.key,
            Self::Flag(flag) => &flag.key,
            Self::Group(group) => &group.key,
            Self::Connection(connection) => &connection.client_key,
            Self::Person(person) => &person.name,
            Self::Policy(policy) => &policy.project,
        }
    }

    /// As the audit log keeps it: without secrets.
    fn without_secrets(&self) -> Self {
        match self {
            Self::Connection(connection) => Self::Connection(SdkConnection {
                encryption_key: connection.encryption_key.as_ref().map(|_| "…".to_owned()),
                ..connection.clone()
            }),
            Self::Layer(_) | Self::Holdout(_) | Self::Flag(_) | Self::Group(_) | Self::Person(_) | Self::Policy(_) => {
                self.clone()
            }
        }
    }
}

/// A thing with the change that made it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Stored {
    /// The number of the change that made it; what an edit has to have seen.
    #[serde(default)]
    pub revision: u64,
    /// Whose people may change it; `null` for all projects: then only people who are not limited to some.
    pub project: Option<String>,
    pub updated_at: DateTime<Utc>,
    pub thing: Thing,
}

/// What [`Control::put`] is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ThingEdit {
    pub thing: Thing,
    #[serde(default)]
    pub project: Option<String>,
    /// The revision that is edited; `null` makes a new thing.
    #[serde(default)]
    pub seen: Option<u64>,
    #[serde(default)]
    pub reason: String,
}

pub(crate) fn stored(kind: Kind, document: &Document) -> Result<Stored, ControlError> {
    Ok(Stored { revision: document.revision, ..document.read(kind)? })
}

/// Errors: `NotFound`; `Stale` names both revisions.
pub(crate) fn check_seen(kind: Kind, key: &str, found: Option<&Document>, seen: u64) -> Result<(), ControlError> {
    match found {
        None => Err(ControlError::NotFound { kind: kind.name(), key: key.to_owned() }),
        Some(document) if document.revision != seen => {
            Err(ControlError::Stale { kind: kind.name(), key: key.to_owned(), seen, current: document.revision })
        }
        Some(_) => Ok(()),
    }
}

impl Control {
    /// Everything of a kind that the actor may read, by key.
    pub async fn things(&self, actor: &Actor, kind: Kind) -> Result<Vec<Stored>, ControlError> {
        permission_of(kind, false)?;
        actor.require(Permission::Read, None)?;
        let mut found = Vec::new();
        for document in self.store.list(kind).await? {
            let thing = visible(actor, stored(kind, &document)?);
            if thing.project.as_deref().is_none_or(|name| actor.projects.hold(name)) {
                found.push(thing);
            }
        }
        Ok(found)
    }

    /// One thing. Errors: `NotFound`, also for what lies in another project.
    pub async fn thing(&self, actor: &Actor, kind: Kind, key: &str) -> Result<Stored, ControlError> {
        permission_of(kind, false)?;
        actor.require(Permission::Read, None)?;
        let absent = || ControlError::NotFound { kind: kind.name(), key: key.to_owned() };
        let document = self.store.find(kind, key).await?.ok_or_else(absent)?;
        let thing = visible(actor, stored(kind, &document)?);
        if thing.project.as_deref().is_some_and(|name| !actor.projects.hold(name)) {
            return Err(absent());
        }
        Ok(thing)
    }

    /// Makes or changes a thing.
    ///
    /// Errors: `Exists`, `Stale`; `Invalid`, `Program`: what would then be served is wrong; `InUse`: units would move.
    pub async fn put(&self, actor: &Actor, edit: ThingEdit, now: DateTime<Utc>) -> Result<Stored, ControlError> {
        let ThingEdit { thing, project, seen, reason } = edit;
        let thing = complete(thing)?;
        let (kind, key) = (thing.kind(), thing.key().to_owned());
        require(actor, kind, project.as_deref(), false)?;
        check(&thing)?;
        let mut change = self.store.begin().await?;
        let found = change.find(kind, &key).await?;
        let before = match (seen, &found) {
            (None, Some(_)) => return Err(ControlError::Exists { kind: kind.name(), key }),
            (None, None) => None,
            (Some(seen), found) => {
                check_seen(kind, &key, found.as_ref(), seen)?;
                found.as_ref().map(|document| stored(kind, document)).transpose()?
            }
        };
        if let Some(before) = &before {
            require(actor, kind, before.project.as_deref(), false)?;
            check_users(&mut change, before, Some(&thing)).await?;
        }
        let mut after = Stored { revision: 0, project, updated_at: now, thing };
        after.revision = change.write(kind, &key, &after).await?;
        let entry = Entry {
            verb: if before.is_some() { "edit" } else { "create" },
            kind,
            key: &key,
            project: after.project.as_deref().unwrap_or_default(),
            reason: &reason,
        };
        audit(&mut change, actor, now, entry, (before.as_ref(), Some(&after))).await?;
        if kind.is_served() {
            Surroundings::load(&mut change).await?.check(now)?;
        }
        change.commit().await?;
        Ok(after)
    }

    /// Removes a thing. Errors: `NotFound`, `Stale`; `InUse`: an experiment names it.
    pub async fn remove(
        &self,
        actor: &Actor,
        kind: Kind,
        key: &str,
        seen: u64,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<(), ControlError> {
        actor.require(permission_of(kind, true)?, None)?;
        let mut change = self.store.begin().await?;
        let found = change.find(kind, key).await?;
        check_seen(kind, key, found.as_ref(), seen)?;
        let Some(document) = found else { return Ok(()) };
        let before = stored(kind, &document)?;
        require(actor, kind, before.project.as_deref(), true)?;
        check_users(&mut change, &before, None).await?;
        change.remove(kind, key).await?;
        let project = before.project.as_deref().unwrap_or_default();
        let entry = Entry { verb: "delete", kind, key, project, reason };
        audit(&mut change, actor, now, entry, (Some(&before), None)).await?;
        if kind.is_served() {
            Surroundings::load(&mut change).await?.check(now)?;
        }
        change.commit().await
    }
}

/// Secrets are for those who may change them.
fn visible(actor: &Actor, mut stored: Stored) -> Stored {
    if stored.thing.kind() == Kind::Connection && actor.require_everywhere(Permission::EditConnection).is_err() {
        stored.thing = stored.thing.without_secrets();
    }
    stored
}

pub(crate) async fn audit(
    change: &mut Change,
    actor: &Actor,
    now: DateTime<Utc>,
    entry: Entry<'_>,
    (before, after): (Option<&Stored>, Option<&Stored>),
) -> Result<u64, ControlError> {
    let public = |stored: &Stored| {
        let stored = Stored { thing: stored.thing.without_secrets(), ..stored.clone() };
        snapshot(entry.kind, entry.key, &stored)
    };
    let (before, after) = (before.map(public).transpose()?, after.map(public).transpose()?);
    change.record(actor, now, entry, before.as_ref(), after.as_ref()).await
}

fn permission_of(kind: Kind, is_removal: bool) -> Result<Permission, ControlError> {
    match kind.permissions() {
        Some((_, delete)) if is_removal => Ok(delete),
        Some((edit, _)) => Ok(edit),
        None => {
            let problem = "it has methods of its own".to_owned();
            Err(ControlError::Invalid { field: "kind", value: kind.name().to_owned(), problem })
        }
    }
}

/// What changes all projects is for those who act in all of them.
fn require(actor: &Actor, kind: Kind, project: Option<&str>, is_removal: bool) -> Result<(), ControlError> {
    let permission = permission_of(kind, is_removal)?;
    match permission.least() {
        Role::Admin => actor.require_everywhere(permission),
        Role::Viewer | Role::Analyst | Role::Experimenter | Role::Approver => require_of(actor, permission, project),
    }
}

/// A thing without a project is everybody's, and so only for those who act in all projects.
pub(crate) fn require_of(actor: &Actor, permission: Permission, project: Option<&str>) -> Result<(), ControlError> {
    match project {
        Some(project) => actor.require(permission, Some(project)),
        None => actor.require_everywhere(permission),
    }
}

fn complete(thing: Thing) -> Result<Thing, ControlError> {
    let Thing::Connection(mut connection) = thing else { return Ok(thing) };
    if connection.client_key.is_empty() {
        // Seen by browsers: long enough not to be guessed by chance, no more.
        connection.client_key = format!("sdk-{}", hex(&random::<8>()?));
    }
    if connection.encryption_key.as_deref() == Some("") {
        connection.encryption_key = Some(base64::engine::general_purpose::STANDARD.encode(random::<16>()?));
    }
    Ok(Thing::Connection(connection))
}

fn check(thing: &Thing) -> Result<(), ControlError> {
    check_key("key", thing.key())?;
    check_size("thing", thing.key(), thing)?;
    match thing {
        Thing::Connection(connection) => {
            if !connection.client_key.starts_with("sdk-") {
                let problem = "SDKs send keys that begin with `sdk-`; leave it empty for a new one".to_owned();
                let value = connection.client_key.clone();
                return Err(ControlError::Invalid { field: "client_key", value, problem });
            }
            let decoded = connection
                .encryption_key
                .as_ref()
                .map(|key| base64::engine::general_purpose::STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16));
            if decoded == Some(false) {
                let problem = "write base64 of 16 bytes, or leave it empty for a new one".to_owned();
                return Err(ControlError::Invalid { field: "encryption_key", value: "…".to_owned(), problem });
            }
        }
        Thing::Policy(ProjectPolicy { approval: ApprovalPolicy::Above { share }, .. })
            if !(0.0..=1.0).contains(share) =>
        {
            let problem = "write a share from 0.0 to 1.0".to_owned();
            return Err(ControlError::Invalid { field: "share", value: share.to_string(), problem });
        }
        Thing::Layer(_)
        | Thing::Holdout(_)
        | Thing::Flag(_)
        | Thing::Group(_)
        | Thing::Person(_)
        | Thing::Policy(_) => {}
    }
    Ok(())
}

/// Whether something stands on a thing as it is. `after` is `None` where the thing goes.
async fn check_users(change: &mut View, before: &Stored, after: Option<&Thing>) -> Result<(), ControlError> {
    let in_use = |by: &str| ControlError::InUse {
        kind: before.thing.kind().name(),
        key: before.thing.key().to_owned(),
        by: by.to_owned(),
    };
    if let Thing::Person(person) = &before.thing {
        return check_last_admin(change, person, after)
            .await
            .and_then(|is_last| if is_last { Err(in_use("the store, which needs one admin")) } else { Ok(()) });
    }
    let removed = after.is_none();
    // What is only told apart by its words may change at any time.
    let moves = match (&before.thing, after) {
        (Thing::Layer(old), Some(Thing::Layer(new))) => {
            old.hash_seed() != new.hash_seed() || old.hash_attribute != new.hash_attribute
        }
        (Thing::Holdout(old), Some(Thing::Holdout(new))) => old != new,
        (Thing::Flag(old), Some(Thing::Flag(new))) => old.value_type != new.value_type,
        (Thing::Layer(_) | Thing::Holdout(_) | Thing::Flag(_) | Thing::Group(_), None) => true,
        _ => return Ok(()),
    };
    if !moves {
        return Ok(());
    }
    for record in experiments(change).await? {
        let assignment = &record.course.assignment;
        let is_named = match &before.thing {
            Thing::Layer(layer) => assignment.slots.iter().any(|slot| slot.layer == layer.name),
            Thing::Holdout(holdout) => assignment.holdout.as_ref() == Some(&holdout.key),
            Thing::Flag(flag) => assignment.feature() == flag.key,
            Thing::Group(group) => {
                assignment.audience.as_ref().is_some_and(|audience| named_groups(audience).contains(group.key.as_str()))
            }
            Thing::Connection(_) | Thing::Person(_) | Thing::Policy(_) => false,
        };
        let counts = match record.course.state {
            State::Archived => false,
            State::Draft | State::Review => removed,
            State::Running | State::Paused | State::Decided => true,
        };
        if is_named && counts {
            return Err(in_use(&format!("the {} experiment `{}`", record.course.state.name(), record.key)));
        }
    }
    Ok(())
}

/// Whether nobody would be left who can change people.
async fn check_last_admin(change: &mut View, before: &Person, after: Option<&Thing>) -> Result<bool, ControlError> {
    let rules = |person: &Person| {
        person.active && person.role == Role::Admin && person.projects == crate::people::Projects::All
    };
    let stays = matches!(after, Some(Thing::Person(person)) if rules(person));
    if !rules(before) || stays {
        return Ok(false);
    }
    for document in change.list(Kind::Person).await? {
        if let Thing::Person(other) = stored(Kind::Person, &document)?.thing
            && other.name != before.name
            && rules(&other)
        {
            return Ok(false);
        }
    }
    Ok(true)
}
