//! What a PostgreSQL server and a table must be like for the log to be followed.
//!
//! In: a connection, a table.  Out: a [`Followed`] table, or an error that says what to change.
//! A table without a replica identity must not be published: the server would refuse its updates and deletes.
//! Never here: changing anything (`postgres_log`).
//! Start at [`check_server`], [`look`].

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Error, Executor, Row};

use crate::ConnectError;
use crate::dial::postgres::{PostgresAddress, statement};

/// PostgreSQL 13: partitions that count as their table, slots that say when they are lost, 64-bit transaction numbers.
const OLDEST: i32 = 130_000;

const SERVER: &str = "SELECT current_setting('server_version_num')::int, current_setting('server_version'), current_setting('wal_level'), \
     pg_is_in_recovery(), (SELECT system_identifier::text FROM pg_control_system())";

/// Names of the key's columns of table `c`: the index that was named as its replica identity, else the primary key; one that may be violated
/// until a commit identifies nothing.
pub(super) const KEY_OF: &str = "ARRAY(SELECT a.attname::text FROM pg_index i
      CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place)
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
      WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate AND k.place <= i.indnkeyatts
        AND (CASE WHEN c.relreplident = 'i' THEN i.indisreplident ELSE i.indisprimary END)
      ORDER BY k.place)";
/// Beside the key; `$1` is the table, `$2` the publication.
const TABLE: &str = "
    c.oid::int8, c.relkind::text, c.relpersistence::text, c.relreplident::text,
           EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid) AS has_children,
           COALESCE((SELECT string_agg(DISTINCT x.relreplident::text, '') FROM pg_partition_tree(c.oid) p JOIN pg_class x ON x.oid = p.relid
                     WHERE p.isleaf AND x.oid <> c.oid), '') AS leaves,
           EXISTS (SELECT FROM pg_publication_tables p JOIN pg_namespace n ON n.nspname = p.schemaname
                   WHERE p.pubname = $2 AND n.oid = c.relnamespace AND p.tablename = c.relname) AS is_member,
           EXISTS (SELECT FROM pg_publication_tables p JOIN pg_namespace n ON n.nspname = p.schemaname
                   WHERE p.pubname = $2 AND n.oid = c.relnamespace AND p.tablename = c.relname
                     AND to_jsonb(p) ->> 'rowfilter' IS NOT NULL) AS is_filtered,
           COALESCE((SELECT string_agg(r.oid::text, ' ') FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
                     WHERE p.pubname = $2 AND r.prrelid = c.oid), '') AS membership
    FROM pg_class c WHERE c.oid = to_regclass($1)";

/// A table whose changes the log can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Followed {
    /// Its number in the server's catalog.
    pub(crate) relation: u32,
    /// Quoted.
    pub(crate) full_name: String,
    /// As people write it.
    pub(crate) shown: String,
    /// Columns that say which row a change is of.
    pub(crate) key: Vec<String>,
    pub(crate) is_partitioned: bool,
    /// Whether the publication contains it.
    pub(crate) is_member: bool,
    /// Whether the publication leaves out some of its rows.
    pub(crate) is_filtered: bool,
    /// Another one after the table was taken out of the publication and put back.
    pub(crate) membership: String,
}

/// Why a log cannot be followed, and what to do.
#[derive(Debug)]
pub(crate) struct Unusable {
    pub(crate) reason: String,
    pub(crate) next: String,
}

/// Makes sure that the server keeps a log of rows; answers the number that it was given when it was made.
pub(crate) async fn check_server(
    connection: &mut PgConnection,
    address: &PostgresAddress,
) -> Result<String, ConnectError> {
    let row = connection.fetch_one(SERVER).await;
    let found = row.and_then(|row| server_fault(&row).map(|fault| (fault, row)));
    let (fault, row) = found.map_err(|error| address.problem(error, "looking at its settings", ""))?;
    if let Some(Unusable { reason, next }) = fault {
        return Err(ConnectError::LogUnusable { server: address.server.clone(), reason, next });
    }
    row.try_get(4).map_err(|error| address.problem(error, "looking at its settings", ""))
}

fn server_fault(row: &PgRow) -> Result<Option<Unusable>, Error> {
    let (number, version): (i32, String) = (row.try_get(0)?, row.try_get(1)?);
    let (wal_level, is_standby): (String, bool) = (row.try_get(2)?, row.try_get(3)?);
    let (reason, next) = if number < OLDEST {
        (format!("it is PostgreSQL {version}, and 13 is the oldest that can be"), "set `mode = \"cursor\"`".to_owned())
    } else if is_standby {
        ("it is a standby, which cannot keep a log for others".to_owned(), "give the address of its primary".to_owned())
    } else if wal_level != "logical" {
        let set = "`ALTER SYSTEM SET wal_level = 'logical'`, then restart the server (`rds.logical_replication = 1` on Amazon RDS)";
        (format!("its `wal_level` is `{wal_level}`, so that it holds no rows"), set.to_owned())
    } else {
        return Ok(None);
    };
    Ok(Some(Unusable { reason, next }))
}

/// Looks at a table.
///
/// Errors: `NoSuchTable`, `NoKey`, and `LogUnusable` when its changes are not in the log, or not by a key.
pub(crate) async fn look(
    connection: &mut PgConnection,
    address: &PostgresAddress,
    publication: &str,
    (full_name, shown): (&str, &str),
) -> Result<Followed, ConnectError> {
    let problem = |error| address.problem(error, "looking at the table", shown);
    let found = sqlx::query(statement(format!("SELECT {KEY_OF} AS key, {TABLE}")))
        .bind(full_name)
        .bind(publication)
        .fetch_optional(connection)
        .await;
    let Some(row) = found.map_err(problem)? else {
        return Err(ConnectError::NoSuchTable {
            server: address.server.clone(),
            table: shown.to_owned(),
            nearest: None,
        });
    };
    let read = |name: &str| row.try_get::<String, _>(name).map_err(problem);
    let is = |name: &str| row.try_get::<bool, _>(name).map_err(problem);
    let kind = read("relkind")?;
    let facts = Facts {
        kind: &kind,
        persistence: &read("relpersistence")?,
        identities: &format!("{}{}", read("relreplident")?, read("leaves")?),
        has_children: is("has_children")?,
    };
    if let Some(Unusable { reason, next }) = table_fault(&facts, full_name) {
        let reason = format!("`{shown}` {reason}");
        return Err(ConnectError::LogUnusable { server: address.server.clone(), reason, next });
    }
    let key: Vec<String> = row.try_get("key").map_err(problem)?;
    if key.is_empty() {
        return Err(ConnectError::NoKey { table: shown.to_owned(), mode: "changes" });
    }
    let relation: i64 = row.try_get("oid").map_err(problem)?;
    Ok(Followed {
        relation: u32::try_from(relation).unwrap_or(0),
        full_name: full_name.to_owned(),
        shown: shown.to_owned(),
        key,
        is_partitioned: kind == "p",
        is_member: is("is_member")?,
        is_filtered: is("is_filtered")?,
        membership: read("membership")?,
    })
}

/// What the catalog says of a table, in its own letters.
struct Facts<'a> {
    kind: &'a str,
    persistence: &'a str,
    /// Its replica identity and those of its partitions.
    identities: &'a str,
    has_children: bool,
}

fn table_fault(facts: &Facts<'_>, full_name: &str) -> Option<Unusable> {
    let whole = || "set `mode = \"full\"` or `mode = \"cursor\"` for it".to_owned();
    let (reason, next) = if !["r", "p"].contains(&facts.kind) {
        ("is a view or foreign table, whose rows no log holds", "set `mode = \"full\"` for it".to_owned())
    } else if facts.persistence != "p" {
        ("is not logged", format!("`ALTER TABLE {full_name} SET LOGGED`"))
    } else if facts.kind == "r" && facts.has_children {
        ("has tables that inherit from it, whose changes come under their own names", whole())
    } else if facts.identities.contains('n') {
        let set =
            format!("`ALTER TABLE {full_name} REPLICA IDENTITY DEFAULT` (for each partition that has NOTHING, too)");
        ("has no replica identity, so that its log does not say which row was changed", set)
    } else if facts.kind == "p" && facts.identities.contains('i') {
        ("has partitions whose replica identity is another index than its primary key", whole())
    } else {
        return None;
    };
    Some(Unusable { reason: reason.to_owned(), next })
}
