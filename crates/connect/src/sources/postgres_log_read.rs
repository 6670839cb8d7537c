//! Reads a source's replication slot once for all tables of a run: which rows have changed, by their keys.
//!
//! In: a [`LogSession`], the snapshot of the run.  Out: a [`RunLog`]: the keys that each table's changes name, and the place in the log from
//! where the next run goes on.
//! The log is read up to a place that was written after the snapshot was taken, so that everything the snapshot sees is before it. What a
//! transaction did that the snapshot does not see is left to the next run, which therefore begins at the first such commit; what it
//! then reads twice does no harm, because rows are taken from its snapshot and not from the log (`postgres_lookup`).
//! The server puts together what it sends on its own disk, and keeps the slot where it is: a run that dies has changed nothing.
//! Never here: the slot (`postgres_log`), the messages' bytes (`postgres_log_messages`).
//! Start at [`read_log`].

use std::collections::{BTreeSet, HashMap};
use std::io::{self, BufReader, Read, Seek, Write};

use domain::quote_identifier;
use futures::TryStreamExt;
use sqlx::postgres::PgConnection;
use sqlx::{Executor, Row};
use tempfile::SpooledTempFile;

use super::postgres_log::LogSession;
use super::postgres_log_check::KEY_OF;
use super::postgres_log_messages::{Cell, Lsn, Message};
use crate::ConnectError;
use crate::dial::postgres::statement;

/// Bytes of a table's keys that are held in memory; beyond, they go to a temporary file.
const KEYS_IN_MEMORY: usize = 8 * 1024 * 1024;

/// Every published table.
const TABLES: &str = "FROM pg_publication_tables p JOIN pg_namespace n ON n.nspname = p.schemaname \
     JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename WHERE p.pubname = $1";
/// A message that says nothing, and whose commit puts on disk whatever the log holds before it: only that much can be read.
const MARK: &str = "SELECT pg_logical_emit_message(true, 'montauk', '')::text";
const PEEK: &str = "SELECT data FROM pg_logical_slot_peek_binary_changes($1, $2::text::pg_lsn, NULL, 'proto_version', '1', 'publication_names', $3)";

/// What the log says between the slot's beginning and the snapshot of the run.
#[derive(Debug)]
pub(crate) struct RunLog {
    /// Every transaction that commits before it is in the snapshot.
    pub(crate) position: Lsn,
    tables: HashMap<u32, TableLog>,
}

/// What has happened to one table.
#[derive(Debug)]
struct TableLog {
    /// The columns of its key.
    key: Vec<String>,
    /// Where these stand among the columns that come next; `None` while one of them is not there.
    places: Option<Vec<usize>>,
    keys: SpooledTempFile,
    /// The last thing that cannot be told row by row, and when it was committed.
    whole: Option<(Lsn, &'static str)>,
}

impl RunLog {
    /// Why the table must be read whole, since it was read at `from`; `None` when its changes can be told row by row.
    pub(crate) fn whole(&self, relation: u32, from: Lsn) -> Option<&'static str> {
        let (at, why) = self.tables.get(&relation)?.whole?;
        (at >= from).then_some(why)
    }

    /// The keys of the rows that have changed since `from`.
    ///
    /// Errors: those of the temporary file.
    pub(crate) fn keys(&mut self, relation: u32, from: Lsn) -> io::Result<Option<Keys<'_>>> {
        let Some(table) = self.tables.get_mut(&relation) else { return Ok(None) };
        table.keys.rewind()?;
        let columns = table.key.len();
        Ok(Some(Keys { key: &table.key, columns, from, bytes: BufReader::new(&mut table.keys) }))
    }
}

/// Keys on their way out of the log.
#[derive(Debug)]
pub(crate) struct Keys<'a> {
    /// Names of the columns.
    pub(crate) key: &'a [String],
    columns: usize,
    from: Lsn,
    bytes: BufReader<&'a mut SpooledTempFile>,
}

impl Keys<'_> {
    /// The next keys, at most `limit` different ones, in the order of their text; none at the end.
    pub(crate) fn next(&mut self, limit: usize) -> io::Result<BTreeSet<Vec<String>>> {
        let mut keys = BTreeSet::new();
        while keys.len() < limit {
            let mut commit = [0; 8];
            match self.bytes.read_exact(&mut commit) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
            let key = (0..self.columns).map(|_| self.value()).collect::<io::Result<Vec<_>>>()?;
            if Lsn(u64::from_be_bytes(commit)) >= self.from {
                keys.insert(key);
            }
        }
        Ok(keys)
    }

    fn value(&mut self) -> io::Result<String> {
        let mut length = [0; 4];
        self.bytes.read_exact(&mut length)?;
        let mut value = vec![0; usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?];
        self.bytes.read_exact(&mut value)?;
        String::from_utf8(value).map_err(io::Error::other)
    }
}

/// Which transactions a snapshot sees, as `pg_current_snapshot` writes it: `xmin:xmax:xip,xip`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    /// The first number that was not given yet. Only its low half is compared, as in the server itself.
    next: u32,
    open: BTreeSet<u32>,
}

impl Seen {
    fn read(text: &str) -> Option<Self> {
        let low = |number: &str| number.parse::<u64>().ok().map(|number| (number & u64::from(u32::MAX)) as u32);
        let mut parts = text.split(':');
        let (_, next, open) = (parts.next()?, low(parts.next()?)?, parts.next()?);
        let open = open.split(',').filter(|number| !number.is_empty()).map(low).collect::<Option<_>>()?;
        Some(Self { next, open })
    }

    /// Whether a transaction that has been committed by now is in the snapshot.
    fn sees(&self, xid: u32) -> bool {
        xid.wrapping_sub(self.next).cast_signed() < 0 && !self.open.contains(&xid)
    }
}

/// Reads the log from the slot's beginning to a place that is after the snapshot of `inside`.
///
/// Errors: `LogUnusable` when the slot cannot be read, and those of the connections.
pub(crate) async fn read_log(session: &mut LogSession, inside: &mut PgConnection) -> Result<RunLog, ConnectError> {
    let address = session.address.clone();
    let problem = |error| address.problem(error, "reading its log", "");
    let seen: String =
        inside.fetch_one("SELECT pg_current_snapshot()::text").await.and_then(|row| row.try_get(0)).map_err(problem)?;
    let seen = Seen::read(&seen).ok_or_else(|| ConnectError::internal("read a snapshot", &seen))?;
    // After the snapshot, so that it is behind the commit of everything in it.
    let end: String = session.connection.fetch_one(MARK).await.and_then(|row| row.try_get(0)).map_err(problem)?;
    let end: Lsn = end.parse().map_err(|reason| ConnectError::internal("read the log", reason))?;
    let keys = statement(format!("SELECT c.oid::int8, {KEY_OF} {TABLES}"));
    let rows = sqlx::query(keys).bind(&session.name).fetch_all(&mut session.connection).await.map_err(problem)?;
    let mut reading = Reading { seen, current: None, held_back: None, tables: HashMap::new() };
    for row in rows {
        let (relation, key): (i64, Vec<String>) = (row.try_get(0).map_err(problem)?, row.try_get(1).map_err(problem)?);
        let keys = SpooledTempFile::new(KEYS_IN_MEMORY);
        let table = TableLog { key, places: None, keys, whole: None };
        reading.tables.insert(u32::try_from(relation).unwrap_or(0), table);
    }
    let publication = quote_identifier(domain::Dialect::Standard, &session.name);
    let peek = sqlx::query(PEEK).bind(session.name.clone()).bind(end.to_string()).bind(publication);
    let mut failed = None;
    {
        let mut messages = peek.fetch(&mut session.connection);
        loop {
            match messages.try_next().await {
                Ok(Some(row)) => {
                    let message: &[u8] = row.try_get(0).map_err(problem)?;
                    reading.take(message).map_err(|reason| ConnectError::internal("read the log", reason))?;
                }
                Ok(None) => break,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
    }
    if let Some(error) = failed {
        return Err(session.slot_problem(error, "reading its log"));
    }
    Ok(RunLog { position: reading.held_back.unwrap_or(end), tables: reading.tables })
}

/// What has been read so far.
struct Reading {
    seen: Seen,
    /// Where the transaction commits whose messages are coming; `None` for one that the snapshot does not see.
    current: Option<Lsn>,
    /// The first commit that the snapshot does not see.
    held_back: Option<Lsn>,
    tables: HashMap<u32, TableLog>,
}

impl Reading {
    fn take(&mut self, message: &[u8]) -> Result<(), String> {
        match Message::read(message)? {
            Message::Begin { commit, xid } if self.seen.sees(xid) => self.current = Some(commit),
            Message::Begin { commit, .. } => {
                self.current = None;
                self.held_back = Some(self.held_back.map_or(commit, |first| first.min(commit)));
            }
            // Of a transaction that is not seen, too: it is said once, and holds for the others.
            Message::Relation { relation, columns } => {
                if let Some(table) = self.tables.get_mut(&relation) {
                    let place = |name: &String| columns.iter().position(|column| column == name);
                    table.places = table.key.iter().map(place).collect();
                }
            }
            Message::Insert { relation, new } => self.row(relation, None, Some(&new))?,
            Message::Update { relation, old, new } => self.row(relation, old.as_deref(), Some(&new))?,
            Message::Delete { relation, old } => self.row(relation, Some(&old), None)?,
            Message::Truncate { relations } => {
                for relation in relations {
                    if let (Some(commit), Some(table)) = (self.current, self.tables.get_mut(&relation)) {
                        table.whole = Some((commit, "it has been truncated"));
                    }
                }
            }
            Message::Commit | Message::Other => {}
        }
        Ok(())
    }

    /// Notes the keys of a row before and after a change.
    fn row(&mut self, relation: u32, old: Option<&[Cell<'_>]>, new: Option<&[Cell<'_>]>) -> Result<(), String> {
        let (Some(commit), Some(table)) = (self.current, self.tables.get_mut(&relation)) else { return Ok(()) };
        let Some(places) = &table.places else {
            table.whole = Some((commit, "its key has changed"));
            return Ok(());
        };
        let text = |row: Option<&[Cell<'_>]>, place: usize| match row.and_then(|row| row.get(place)) {
            Some(Cell::Text(text)) => Some((*text).to_owned()),
            Some(Cell::Null | Cell::Unchanged) | None => None,
        };
        let before: Option<Vec<String>> = places.iter().map(|place| text(old, *place)).collect();
        // A large value that is as it was is not sent; then the row before is, with its key.
        let after: Option<Vec<String>> =
            places.iter().map(|place| text(new, *place).or_else(|| text(old, *place))).collect();
        if old.is_some() && before.is_none() || new.is_some() && after.is_none() {
            table.whole = Some((commit, "its log does not say which row was changed"));
            return Ok(());
        }
        let after = after.filter(|_| new.is_some());
        let is_same = before == after;
        for key in before.into_iter().chain(after.filter(|_| !is_same)) {
            note(&mut table.keys, commit, &key).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

fn note(keys: &mut SpooledTempFile, commit: Lsn, key: &[String]) -> io::Result<()> {
    let mut bytes = commit.0.to_be_bytes().to_vec();
    for value in key {
        bytes.extend(u32::try_from(value.len()).map_err(io::Error::other)?.to_be_bytes());
        bytes.extend(value.as_bytes());
    }
    keys.write_all(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_sees_what_had_ended_when_it_was_taken() {
        let seen = Seen::read("100:105:100,103").unwrap();
        let sees: Vec<u32> = (98..108).filter(|xid| seen.sees(*xid)).collect();
        assert_eq!(sees, [98, 99, 101, 102, 104]);
        // Numbers are given anew after four billion; the snapshot's have 64 bits, the log's 32.
        let seen = Seen::read("4294967290:4294967300:4294967298").unwrap();
        let sees: Vec<u32> = [4_294_967_295, 0, 1, 2, 3, 4, 5].into_iter().filter(|xid| seen.sees(*xid)).collect();
        assert_eq!(sees, [4_294_967_295, 0, 1, 3]);
        assert!(Seen::read("1:2:").unwrap().open.is_empty());
        assert!(["", "1", "1:x:", "1:2:y"].iter().all(|text| Seen::read(text).is_none()));
    }

    #[test]
    fn keys_come_back_once_and_only_from_where_they_were_asked_for() {
        let mut keys = SpooledTempFile::new(40);
        for (commit, key) in [(1, "a"), (5, "ü\0"), (6, "a"), (6, "b"), (7, "a")] {
            note(&mut keys, Lsn(commit), &[key.to_owned(), String::new()]).unwrap();
        }
        let table =
            TableLog { key: vec!["k".to_owned(), "l".to_owned()], places: None, keys, whole: Some((Lsn(5), "so")) };
        let mut log = RunLog { position: Lsn(9), tables: HashMap::from([(1, table)]) };
        assert_eq!((log.whole(1, Lsn(5)), log.whole(1, Lsn(6)), log.whole(2, Lsn(0))), (Some("so"), None, None));
        for _ in 0..2 {
            let mut keys = log.keys(1, Lsn(5)).unwrap().unwrap();
            let mut firsts = |limit| -> Vec<String> {
                keys.next(limit).unwrap().into_iter().map(|mut key| key.swap_remove(0)).collect()
            };
            assert_eq!(
                (firsts(2), firsts(2), firsts(2)),
                (vec!["a".into(), "ü\0".into()], vec!["a".into(), "b".into()], vec![])
            );
        }
        assert!(log.keys(2, Lsn(0)).unwrap().is_none());
    }

    fn begin(commit: u64, xid: u32) -> Vec<u8> {
        let mut bytes = vec![b'B'];
        bytes.extend(commit.to_be_bytes());
        bytes.extend([0; 8]);
        bytes.extend(xid.to_be_bytes());
        bytes
    }

    fn insert(key: &str) -> Vec<u8> {
        let mut bytes = b"I\0\0\0\x05N\0\x01t\0\0\0".to_vec();
        bytes.push(u8::try_from(key.len()).unwrap());
        bytes.extend(key.as_bytes());
        bytes
    }

    #[test]
    fn what_the_snapshot_does_not_see_is_left_to_the_next_run() {
        let table = TableLog { key: vec!["k".to_owned()], places: None, keys: SpooledTempFile::new(0), whole: None };
        let tables = HashMap::from([(5, table)]);
        let seen = Seen::read("10:13:11").unwrap();
        let mut reading = Reading { seen, current: None, held_back: None, tables };
        let relation = b"R\0\0\0\x05s\0t\0d\0\x01\x01k\0\0\0\0\x17\xff\xff\xff\xff".to_vec();
        let truncate = b"T\0\0\0\x01\0\0\0\0\x05".to_vec();
        for message in [
            begin(100, 10),
            relation,
            insert("first"),
            // Committed after the snapshot, which had it as open; then one that had not begun.
            begin(200, 11),
            insert("second"),
            truncate,
            begin(300, 12),
            insert("third"),
            begin(400, 13),
            insert("fourth"),
        ] {
            reading.take(&message).unwrap();
        }
        assert_eq!(reading.held_back, Some(Lsn(200)));
        let mut log = RunLog { position: Lsn(200), tables: reading.tables };
        assert_eq!(log.whole(5, Lsn(0)), None);
        let keys = log.keys(5, Lsn(0)).unwrap().unwrap().next(9).unwrap();
        assert_eq!(keys.into_iter().flatten().collect::<Vec<_>>(), ["first", "third"]);
    }
}
