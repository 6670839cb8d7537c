//! Who decided what, when: the append-only log.
//!
//! In: a filter.  Out: entries, newest first; as JSON or CSV.
//! Never here: writing entries (see `store`): that is part of every change.
//! Start at [`AuditFilter`].

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::Row;

use crate::control::Control;
use crate::error::ControlError;
use crate::people::{Actor, Permission};
use crate::store::number;
use crate::things::Kind;

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AuditEntry {
    /// Rises by one with every change. It is the order: clocks are put back, and `at` with them.
    pub sequence: u64,
    pub at: DateTime<Utc>,
    pub person: String,
    /// `api`, `cli`, `console` or `rule`.
    pub via: String,
    /// `create`, `edit`, `delete`, `issue`, `revoke`, `force`, or a verb of the lifecycle.
    pub verb: String,
    pub kind: Kind,
    pub key: String,
    /// Empty for what belongs to no project.
    pub project: String,
    /// The record before; `null` when there was none.
    pub before: Option<serde_json::Value>,
    /// The record after; `null` when it was removed.
    pub after: Option<serde_json::Value>,
    pub reason: String,
}

/// Which entries; all where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditFilter {
    pub kind: Option<Kind>,
    pub key: Option<String>,
    pub person: Option<String>,
    pub verb: Option<String>,
    pub project: Option<String>,
    pub from: Option<DateTime<Utc>>,
    /// Exclusive.
    pub to: Option<DateTime<Utc>>,
    /// Entries with a smaller number: the last one of the page before.
    pub before: Option<u64>,
    /// At most so many, up to 10,000; 1,000 if it is not given.
    pub limit: Option<usize>,
}

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditFormat {
    /// A list of entries.
    Json,
    /// RFC 4180, with a head; `before` and `after` are JSON in a cell.
    Csv,
}

/// A page; more at once is an export.
const DEFAULT_LIMIT: usize = 1_000;
/// Records before and after are whole documents: more at once is an export.
const MOST_LIMIT: usize = 10_000;
/// Rows that are fetched at once.
const BATCH: i64 = 1_000;
/// Rows of an export that are in memory at once. A record may have a megabyte, before and after.
const EXPORT_BATCH: i64 = 100;

const SELECT: &str = "SELECT sequence, at, person, via, verb, kind, key, project, before, after, reason FROM audit \
     WHERE ($1 = '' OR kind = $1) AND ($2 = '' OR key = $2) AND ($3 = '' OR person = $3) AND ($4 = '' OR verb = $4) \
     AND ($5 = '' OR project = $5) AND at >= $6 AND at < $7 AND sequence < $8 ORDER BY sequence DESC LIMIT $9";

fn entry(row: &sqlx::any::AnyRow) -> Result<AuditEntry, ControlError> {
    let sequence = row.try_get::<i64, _>(0)?.unsigned_abs();
    let unreadable = |source| ControlError::Document { kind: "audit entry", key: sequence.to_string(), source };
    let json = |text: String| -> Result<Option<serde_json::Value>, ControlError> {
        if text.is_empty() { Ok(None) } else { serde_json::from_str(&text).map(Some).map_err(unreadable) }
    };
    let kind: String = row.try_get(5)?;
    Ok(AuditEntry {
        sequence,
        at: DateTime::from_timestamp_micros(row.try_get(1)?).unwrap_or_default(),
        person: row.try_get(2)?,
        via: row.try_get(3)?,
        verb: row.try_get(4)?,
        kind: serde_json::from_value(serde_json::Value::String(kind)).map_err(unreadable)?,
        key: row.try_get(6)?,
        project: row.try_get(7)?,
        before: json(row.try_get(8)?)?,
        after: json(row.try_get(9)?)?,
        reason: row.try_get(10)?,
    })
}

impl Control {
    /// Changes, newest first, of the actor's projects and of what belongs to no project.
    pub async fn audit(&self, actor: &Actor, filter: &AuditFilter) -> Result<Vec<AuditEntry>, ControlError> {
        actor.require(Permission::ReadAudit, filter.project.as_deref())?;
        self.audit_entries(actor, filter, filter.limit.unwrap_or(DEFAULT_LIMIT).min(MOST_LIMIT)).await
    }

    /// All changes that the filter takes, newest first, as text that comes a piece at a time.
    pub fn export_audit(
        &self,
        actor: &Actor,
        filter: AuditFilter,
        format: AuditFormat,
    ) -> Result<AuditExport, ControlError> {
        actor.require(Permission::ReadAudit, filter.project.as_deref())?;
        let left = filter.limit.unwrap_or(usize::MAX);
        Ok(AuditExport { control: self.clone(), actor: actor.clone(), filter, format, left, part: Part::Head })
    }

    async fn audit_entries(
        &self,
        actor: &Actor,
        filter: &AuditFilter,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, ControlError> {
        let mut filter = filter.clone();
        let mut entries = Vec::new();
        while entries.len() < limit
            && let Some(page) = self.audit_page(actor, &mut filter, BATCH).await?
        {
            entries.extend(page);
        }
        entries.truncate(limit);
        Ok(entries)
    }

    /// The entries of the next `rows` rows that the actor may see, and the filter behind them; `None` at the end.
    async fn audit_page(
        &self,
        actor: &Actor,
        filter: &mut AuditFilter,
        rows: i64,
    ) -> Result<Option<Vec<AuditEntry>>, ControlError> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let rows = sqlx::query(SELECT)
            .bind(filter.kind.map_or("", Kind::name))
            .bind(text(&filter.key))
            .bind(text(&filter.person))
            .bind(text(&filter.verb))
            .bind(text(&filter.project))
            .bind(filter.from.map_or(i64::MIN, |at| at.timestamp_micros()))
            .bind(filter.to.map_or(i64::MAX, |at| at.timestamp_micros()))
            .bind(filter.before.map_or(i64::MAX, number))
            .bind(rows)
            .fetch_all(self.store.pool())
            .await?;
        let Some(last) = rows.last() else { return Ok(None) };
        filter.before = Some(last.try_get::<i64, _>(0)?.unsigned_abs());
        let mut entries = rows.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        entries.retain(|entry| entry.project.is_empty() || actor.projects.hold(&entry.project));
        Ok(Some(entries))
    }
}

/// Which piece of an export is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Head,
    /// The entries before any was written, which separates them in JSON.
    First,
    Rest,
    End,
}

/// An export that is going on. However long the log is, only [`EXPORT_BATCH`] rows of it are in memory.
#[derive(Debug)]
pub struct AuditExport {
    control: Control,
    actor: Actor,
    filter: AuditFilter,
    format: AuditFormat,
    left: usize,
    part: Part,
}

impl AuditExport {
    /// The next piece of text; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<String>, ControlError> {
        match self.part {
            Part::Head => {
                self.part = Part::First;
                Ok(Some(match self.format {
                    AuditFormat::Json => "[".to_owned(),
                    AuditFormat::Csv => format!("{CSV_HEAD}\r\n"),
                }))
            }
            Part::First | Part::Rest => {
                let page = match self.left {
                    0 => None,
                    _ => self.control.audit_page(&self.actor, &mut self.filter, EXPORT_BATCH).await?,
                };
                let Some(mut page) = page else {
                    self.part = Part::End;
                    return Ok((self.format == AuditFormat::Json).then(|| "\n]\n".to_owned()));
                };
                page.truncate(self.left);
                self.left -= page.len();
                let text = self.write(&page)?;
                if !page.is_empty() {
                    self.part = Part::Rest;
                }
                Ok(Some(text))
            }
            Part::End => Ok(None),
        }
    }

    fn write(&self, page: &[AuditEntry]) -> Result<String, ControlError> {
        let mut text = String::new();
        for (at, entry) in page.iter().enumerate() {
            match self.format {
                AuditFormat::Csv => text.push_str(&csv_line(entry)),
                AuditFormat::Json => {
                    let key = || entry.sequence.to_string();
                    let json = serde_json::to_string(entry).map_err(|source| ControlError::Document {
                        kind: "audit entry",
                        key: key(),
                        source,
                    })?;
                    text.push_str(if at == 0 && self.part == Part::First { "\n" } else { ",\n" });
                    text.push_str(&json);
                }
            }
        }
        Ok(text)
    }
}

/// A cell of RFC 4180. What a spreadsheet would run as a formula is given a quote in front (OWASP, CSV injection).
fn cell(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

const CSV_HEAD: &str = "sequence,at,person,via,verb,kind,key,project,before,after,reason";

fn csv_line(entry: &AuditEntry) -> String {
    let json = |value: &Option<serde_json::Value>| value.as_ref().map_or_else(String::new, ToString::to_string);
    let (before, after) = (json(&entry.before), json(&entry.after));
    let cells = [
        entry.person.as_str(),
        &entry.via,
        &entry.verb,
        entry.kind.name(),
        &entry.key,
        &entry.project,
        &before,
        &after,
        &entry.reason,
    ];
    let cells: Vec<String> = cells.into_iter().map(cell).collect();
    format!("{},{},{}\r\n", entry.sequence, entry.at.to_rfc3339(), cells.join(","))
}
