//! Forced variants for testing: a unit, or whoever opens a link, sees a variant whatever else holds, without being counted, for a while.
//!
//! In: a [`QaRequest`] or a [`PreviewRequest`].  Out: a [`QaEntry`].
//! Never here: forced variants of a request (see `serving`).
//! Start at [`Control::force`].

use chrono::{DateTime, TimeDelta, Utc};
use experiment::lifecycle::State;
use experiment::program::Preview;
use serde::{Deserialize, Serialize};
use sqlx::Row;

use crate::control::Control;
use crate::error::ControlError;
use crate::experiments::ExperimentRecord;
use crate::people::{Actor, Permission};
use crate::secret::{hex, random};
use crate::store::{Change, Entry, View, json, snapshot};
use crate::things::Kind;

/// Long enough for a sprint; forgotten entries do not stay.
const DEFAULT_DAYS: i64 = 14;
/// Identifiers of units are attributes; longer ones are mistakes.
const MOST_UNIT_BYTES: usize = 1_024;

/// A unit, or a link, that sees a variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct QaEntry {
    pub experiment: String,
    /// The value of the experiment's `hash_attribute`; of a link its token, the value of the attribute `montauk_preview`.
    pub unit: String,
    /// The variant's key.
    pub variant: String,
    pub expires_at: DateTime<Utc>,
    pub by: String,
    /// Whether it is a link.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_link: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !value
}

impl QaEntry {
    /// The link that it is.
    pub(crate) fn preview(&self) -> Option<Preview> {
        let Self { experiment, unit, variant, .. } = self.clone();
        self.is_link.then_some(Preview { experiment, token: unit, variant })
    }
}

/// What [`Control::force`] is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QaRequest {
    pub unit: String,
    pub variant: String,
    /// 14 days from now if it is not given.
    #[serde(default)]
    pub expires_at: Option<DateTime<Utc>>,
}

/// What [`Control::preview`] is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewRequest {
    pub variant: String,
    /// 14 days from now if it is not given.
    #[serde(default)]
    pub expires_at: Option<DateTime<Utc>>,
}

pub(crate) async fn qa_entries(change: &mut View) -> Result<Vec<QaEntry>, ControlError> {
    let rows = sqlx::query("SELECT experiment, document FROM qa_entries ORDER BY experiment, unit")
        .fetch_all(&mut *change.transaction)
        .await?;
    rows.iter().map(entry).collect()
}

fn entry(row: &sqlx::any::AnyRow) -> Result<QaEntry, ControlError> {
    let (key, text): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    serde_json::from_str(&text).map_err(|source| ControlError::Document { kind: "qa_entry", key, source })
}

impl Control {
    /// Units that see a variant of an experiment, those that have expired as well.
    pub async fn forced(&self, actor: &Actor, key: &str) -> Result<Vec<QaEntry>, ControlError> {
        self.experiment(actor, key).await?;
        let rows = sqlx::query("SELECT experiment, document FROM qa_entries WHERE experiment = $1 ORDER BY unit")
            .bind(key)
            .fetch_all(self.store.pool())
            .await?;
        rows.iter().map(entry).collect()
    }

    /// Lets a unit see a variant; replaces what was said of the unit before. Needs no approval: nobody else sees it.
    pub async fn force(
        &self,
        actor: &Actor,
        key: &str,
        request: QaRequest,
        now: DateTime<Utc>,
    ) -> Result<QaEntry, ControlError> {
        self.force_entry(actor, key, request, false, now).await
    }

    /// Makes a link: whoever brings its token as the attribute `montauk_preview` sees the variant. The token tells links apart and is no secret:
    /// it stands in the rules that SDKs are given, beside the values that it shows.
    pub async fn preview(
        &self,
        actor: &Actor,
        key: &str,
        request: PreviewRequest,
        now: DateTime<Utc>,
    ) -> Result<QaEntry, ControlError> {
        let PreviewRequest { variant, expires_at } = request;
        let request = QaRequest { unit: hex(&random::<8>()?), variant, expires_at };
        self.force_entry(actor, key, request, true, now).await
    }

    async fn force_entry(
        &self,
        actor: &Actor,
        key: &str,
        request: QaRequest,
        is_link: bool,
        now: DateTime<Utc>,
    ) -> Result<QaEntry, ControlError> {
        let mut change = self.store.begin().await?;
        let record = ExperimentRecord::find(&mut change, key).await?;
        actor.require(Permission::ForceVariant, Some(&record.project))?;
        let invalid = |field, value: &str, problem: &str| ControlError::Invalid {
            field,
            value: value.chars().take(MOST_UNIT_BYTES).collect(),
            problem: problem.to_owned(),
        };
        if record.course.assignment.variant(&request.variant).is_none() {
            return Err(invalid("variant", &request.variant, "name one of the experiment's variants"));
        }
        if request.unit.is_empty() || request.unit.len() > MOST_UNIT_BYTES {
            return Err(invalid("unit", &request.unit, "write 1 to 1,024 bytes"));
        }
        if record.course.state == State::Archived {
            return Err(invalid("experiment", key, "it is archived and no longer served"));
        }
        let expires_at = request.expires_at.unwrap_or(now + TimeDelta::days(DEFAULT_DAYS));
        if expires_at <= now {
            return Err(invalid("expires_at", &expires_at.to_rfc3339(), "write a time to come"));
        }
        let before = forced(&mut change, key, &request.unit).await?;
        let after = QaEntry {
            experiment: key.to_owned(),
            unit: request.unit,
            variant: request.variant,
            expires_at,
            by: actor.person.clone(),
            is_link,
        };
        sqlx::query(
            "INSERT INTO qa_entries (experiment, unit, expires_at, document) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (experiment, unit) DO UPDATE SET expires_at = excluded.expires_at, document = excluded.document",
        )
        .bind(key)
        .bind(after.unit.as_str())
        .bind(after.expires_at.timestamp_micros())
        .bind(json(Kind::QaEntry, key, &after)?)
        .execute(&mut *change.transaction)
        .await?;
        record_entry(&mut change, actor, now, ("force", &record), (before.as_ref(), Some(&after))).await?;
        change.commit().await?;
        Ok(after)
    }

    /// Takes a forced variant back. Errors: `NotFound`.
    pub async fn unforce(&self, actor: &Actor, key: &str, unit: &str, now: DateTime<Utc>) -> Result<(), ControlError> {
        let mut change = self.store.begin().await?;
        let record = ExperimentRecord::find(&mut change, key).await?;
        actor.require(Permission::ForceVariant, Some(&record.project))?;
        let Some(before) = forced(&mut change, key, unit).await? else {
            return Err(ControlError::NotFound { kind: "qa_entry", key: unit.to_owned() });
        };
        sqlx::query("DELETE FROM qa_entries WHERE experiment = $1 AND unit = $2")
            .bind(key)
            .bind(unit)
            .execute(&mut *change.transaction)
            .await?;
        record_entry(&mut change, actor, now, ("delete", &record), (Some(&before), None)).await?;
        change.commit().await
    }
}

async fn forced(change: &mut View, key: &str, unit: &str) -> Result<Option<QaEntry>, ControlError> {
    let row = sqlx::query("SELECT experiment, document FROM qa_entries WHERE experiment = $1 AND unit = $2")
        .bind(key)
        .bind(unit)
        .fetch_optional(&mut *change.transaction)
        .await?;
    row.as_ref().map(entry).transpose()
}

async fn record_entry(
    change: &mut Change,
    actor: &Actor,
    now: DateTime<Utc>,
    (verb, record): (&str, &ExperimentRecord),
    (before, after): (Option<&QaEntry>, Option<&QaEntry>),
) -> Result<(), ControlError> {
    let json = |entry: &QaEntry| snapshot(Kind::QaEntry, &record.key, entry);
    let (before, after) = (before.map(json).transpose()?, after.map(json).transpose()?);
    let entry = Entry { verb, kind: Kind::QaEntry, key: &record.key, project: &record.project, reason: "" };
    change.record(actor, now, entry, before.as_ref(), after.as_ref()).await?;
    Ok(())
}
