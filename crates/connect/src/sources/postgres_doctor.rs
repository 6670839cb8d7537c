//! What a PostgreSQL server lets an extraction do: `montauk doctor` shows it before a run finds out.
//!
//! In: a connection, the wanted tables and their modes.  Out: [`Finding`]s.
//! Never here: reading rows, changing anything.
//! Start at [`examine`].

use domain::{Dialect, Problem, quote_identifier};
use sqlx::Row;
use sqlx::postgres::PgConnection;

use super::postgres_log_check::{check_server, look};
use crate::dial::postgres::PostgresAddress;
use crate::{ConnectError, Finding};

/// A slot that has kept that much is not read any more, or by too few runs: 16 GiB fill many a disk.
const MUCH_LOG_BYTES: i64 = 16 << 30;

/// Whether the user may read a table, of those that are there.
const MAY_READ: &str = "SELECT has_schema_privilege(n.oid, 'USAGE') AND has_any_column_privilege(c.oid, 'SELECT') FROM pg_class c \
     JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2";
/// Amazon's servers give the right by a role of theirs.
const MAY_FOLLOW: &str = "SELECT rolsuper OR rolreplication OR EXISTS (SELECT FROM pg_roles g WHERE g.rolname = 'rds_replication' \
     AND pg_has_role(current_user, g.oid, 'MEMBER')) FROM pg_roles WHERE rolname = current_user";
/// The slots of Montauk in this database, and how many more there could be.
const SLOTS: &str = "SELECT slot_name::text, wal_status, COALESCE(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::int8 \
     FROM pg_replication_slots WHERE database = current_database() AND slot_name LIKE 'montauk\\_%' ORDER BY 1";
const FREE_SLOTS: &str = "SELECT current_setting('max_replication_slots')::int8 - count(*) FROM pg_replication_slots";

/// A wanted table.
pub(crate) struct Wanted {
    pub(crate) schema: String,
    pub(crate) name: String,
    /// Whether it is followed by the log.
    pub(crate) is_followed: bool,
}

impl Wanted {
    fn shown(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// Quoted.
    fn full_name(&self) -> String {
        let quote = |name| quote_identifier(Dialect::Standard, name);
        format!("{}.{}", quote(&self.schema), quote(&self.name))
    }
}

/// Looks at the server, and at `tables`.
pub(crate) async fn examine(
    connection: &mut PgConnection,
    address: &PostgresAddress,
    tables: &[Wanted],
) -> Result<Vec<Finding>, ConnectError> {
    let mut findings = vec![rights(connection, address, tables).await?];
    if tables.iter().any(|table| table.is_followed) {
        findings.extend(log(connection, address, tables).await?);
    }
    Ok(findings)
}

async fn rights(
    connection: &mut PgConnection,
    address: &PostgresAddress,
    tables: &[Wanted],
) -> Result<Finding, ConnectError> {
    let mut unreadable = Vec::new();
    for table in tables {
        let problem = |error| address.problem(error, "looking at rights", &table.shown());
        let found = sqlx::query(MAY_READ).bind(&table.schema).bind(&table.name).fetch_optional(&mut *connection).await;
        if let Some(row) = found.map_err(problem)?
            && !row.try_get::<bool, _>(0).map_err(problem)?
        {
            unreadable.push(table.shown());
        }
    }
    let Some(first) = unreadable.first() else {
        return Ok(Finding::fine("rights", "every wanted table may be read".to_owned()));
    };
    let detail = format!("{} of the wanted tables may not be read, such as `{first}`", unreadable.len());
    let next = format!("`GRANT SELECT ON {first} TO {}`, and USAGE on its schema", address.user);
    Ok(Finding::mend("rights", detail, next))
}

/// Whether the log can be followed, for those tables that want it, and what it costs the server.
async fn log(
    connection: &mut PgConnection,
    address: &PostgresAddress,
    tables: &[Wanted],
) -> Result<Vec<Finding>, ConnectError> {
    match check_server(connection, address).await {
        Ok(_) => {}
        Err(error @ ConnectError::LogUnusable { .. }) => return Ok(vec![finding("log", &error)]),
        Err(error) => return Err(error),
    }
    let mut findings = Vec::new();
    for table in tables.iter().filter(|table| table.is_followed) {
        match look(connection, address, "", (&table.full_name(), &table.shown())).await {
            Ok(_) => {}
            Err(error @ (ConnectError::LogUnusable { .. } | ConnectError::NoKey { .. })) => {
                findings.push(finding("log", &error));
            }
            // Said above, and where it is looked for.
            Err(ConnectError::NotAllowed { .. } | ConnectError::NoSuchTable { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let problem = |error| address.problem(error, "looking at replication slots", "");
    let may_follow = sqlx::query(MAY_FOLLOW).fetch_one(&mut *connection).await;
    let may_follow: bool = may_follow.and_then(|row| row.try_get(0)).map_err(problem)?;
    if !may_follow {
        let detail = format!("user `{}` may not use replication slots", address.user);
        let next = format!("`ALTER ROLE {0} REPLICATION` (`GRANT rds_replication TO {0}` on Amazon RDS)", address.user);
        findings.push(Finding::mend("log", detail, next));
    }
    let slots = sqlx::query(SLOTS).fetch_all(&mut *connection).await.map_err(problem)?;
    for row in &slots {
        let (name, status): (String, Option<String>) =
            (row.try_get(0).map_err(problem)?, row.try_get(1).map_err(problem)?);
        let kept: i64 = row.try_get(2).map_err(problem)?;
        findings.push(slot(&name, status.as_deref().unwrap_or("lost"), kept));
    }
    if slots.is_empty() {
        let free = sqlx::query(FREE_SLOTS).fetch_one(&mut *connection).await;
        let free: i64 = free.and_then(|row| row.try_get(0)).map_err(problem)?;
        if free < 1 {
            let detail = "every replication slot of the server is taken".to_owned();
            let next = "raise `max_replication_slots` and restart it, or drop one that nobody reads".to_owned();
            findings.push(Finding::mend("log", detail, next));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::fine("log", "it can be followed; the first run makes a replication slot".to_owned()));
    }
    Ok(findings)
}

fn slot(name: &str, status: &str, kept_bytes: i64) -> Finding {
    let detail = format!("slot `{name}` keeps {} MiB of the server's log ({status})", kept_bytes >> 20);
    let drop_slot = format!("`SELECT pg_drop_replication_slot('{name}')` when its source is gone");
    if status == "lost" || status == "unreserved" {
        let next = format!("raise `max_slot_wal_keep_size`, extract with `--anew`; or {drop_slot}");
        return Finding::mend("log", detail, next);
    }
    if kept_bytes > MUCH_LOG_BYTES {
        return Finding::mend("log", detail, format!("extract more often; or {drop_slot}"));
    }
    Finding::fine("log", detail)
}

fn finding(what: &'static str, error: &ConnectError) -> Finding {
    Finding { what, detail: error.to_string(), next: error.help() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_is_in_order_needs_nothing() {
        assert_eq!(slot("montauk_shop", "reserved", 5 << 20).next, None);
        assert!(slot("montauk_shop", "extended", 17 << 30).next.unwrap().contains("more often"));
        assert!(slot("montauk_shop", "unreserved", 1).next.unwrap().contains("max_slot_wal_keep_size"));
        assert!(slot("montauk_shop", "lost", 0).next.unwrap().contains("pg_drop_replication_slot('montauk_shop')"));
    }
}
