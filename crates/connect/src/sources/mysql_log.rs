//! What has changed in a MySQL or MariaDB table between two places of the binlog.
//!
//! In: a table, the place where it was read last, the place of this run's snapshot.  Out: one file of changes in the order of the log, or
//! why the table has to be read whole: its definition changed, or rows changed in a way that the log does not hold.
//! Rows in the log are of committed transactions, with three exceptions that are looked for: XA transactions are logged when they are
//! prepared; parts of a transaction that were taken back are there when it also wrote to a table without transactions; and what
//! foreign keys pass on is not there at all.
//! A lost connection begins again at the start, and nothing of the lost attempt is kept.
//! Never here: the stream (`mysql_log_stream`), bytes (`mysql_log_events`), values (`mysql_log_values`), conditions (`mysql_log_check`).
//! Start at [`follow`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use domain::{Hasher, Progress};
use mysql_async::Value;

use super::mysql_columns::MySqlTable;
use super::mysql_log_check::{LogTable, Parent, unusable};
use super::mysql_log_events::{Change, Query, RowsEvent, TableMap, begins_prepared, inflate, kind, map_names};
use super::mysql_log_stream::{Broken, LogEvent, LogStream, Place};
use super::mysql_log_values::{LogColumn, Unreadable, next_row};
use super::mysql_log_words::{Meaning, Names, meaning};
use super::mysql_rows::RowBatcher;
use crate::changes::{mark_deleted, with_deleted};
use crate::dial::mysql::MySqlAddress;
use crate::parts::Part;
use crate::table_writer::TableWriter;
use crate::{ConnectError, ExtractRequest, Stage};

/// Attempts to get through the log before the loss of the connection is told.
const ATTEMPTS: u32 = 4;
/// Before another attempt, times the number of those before.
const PAUSE: Duration = Duration::from_millis(500);

/// What to follow, and where to put it.
pub(super) struct Follow<'a> {
    pub(super) address: &'a MySqlAddress,
    pub(super) request: &'a ExtractRequest,
    pub(super) stage: &'a Stage,
    pub(super) progress: &'a dyn Progress,
    pub(super) table: &'a MySqlTable,
    pub(super) log: &'a LogTable,
}

/// What came of it.
pub(super) enum Followed {
    /// The changes; `None` when there are none.
    Changes(Option<Part>),
    /// Why they cannot be told.
    Anew(String),
    /// The log does not reach back so far.
    Gone(String),
}

/// The hash of what makes rows of the log mean the same: names, types, order and key of the columns.
pub(super) fn hash_columns(table: &MySqlTable) -> String {
    let mut hasher = Hasher::default();
    let mut add = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    for column in &table.columns {
        add(&column.name);
        add(&column.source_type);
        add(column.collation.as_deref().unwrap_or_default());
    }
    add("key");
    table.primary_key.iter().for_each(|name| add(name));
    hasher.finish()
}

/// Reads the changes after `from` up to `to`.
pub(super) async fn follow(follow: &Follow<'_>, from: &Place, to: &Place) -> Result<Followed, ConnectError> {
    for attempt in 1.. {
        let lost = match follow.attempt(from, to).await {
            Err(Broken::Gone(reason)) => return Ok(Followed::Gone(reason)),
            Err(Broken::Other(error @ ConnectError::ConnectionLost { .. })) if attempt < ATTEMPTS => error,
            Err(Broken::Other(error)) => return Err(error),
            Ok(followed) => return Ok(followed),
        };
        tracing::warn!(%lost, "the log is read again from where the last run ended");
        tokio::time::sleep(PAUSE * attempt).await;
    }
    Err(ConnectError::internal("follow the log", "there was no attempt"))
}

impl Follow<'_> {
    async fn attempt(&self, from: &Place, to: &Place) -> Result<Followed, Broken> {
        let mut reading = Reading::new(self);
        if from == to {
            return Ok(Followed::Changes(None));
        }
        let mut stream = LogStream::open(self.address, self.log.server, (from, to)).await?;
        while let Some(event) = stream.next().await? {
            let step = reading.take(&event).await.map_err(|error| match error {
                Stop::Error(error) => Broken::Other(*error),
                Stop::Unreadable(what) => {
                    let reason = format!("{what} before {}:{} cannot be read", stream.place().0, stream.place().1);
                    Broken::Other(unusable(self.address, reason, "read the table whole with `--anew`".to_owned()))
                }
            })?;
            if let Step::Anew(why) = step {
                let (file, offset) = stream.place();
                let why = format!("{why} at {file}:{offset}");
                stream.close().await;
                return Ok(Followed::Anew(why));
            }
        }
        stream.close().await;
        reading.writer.finish().await.map(Followed::Changes).map_err(Broken::Other)
    }
}

/// What an event leads to.
enum Step {
    On,
    /// The table must be read whole.
    Anew(String),
}

/// Why an event leads to nothing.
enum Stop {
    Error(Box<ConnectError>),
    /// Its bytes are not what they should be.
    Unreadable(&'static str),
}

impl From<ConnectError> for Stop {
    fn from(error: ConnectError) -> Self {
        Self::Error(Box::new(error))
    }
}

/// What a number in the log stands for until it is mapped again.
enum Mapped {
    /// The table whose changes are wanted, and the bytes of its map.
    Ours(Vec<LogColumn>),
    /// The same, and why its rows cannot be read.
    Misfit(String),
    /// Tables that foreign keys pass changes on from: places of the columns referred to, `None` when they are not known.
    Parent {
        columns: Option<Vec<LogColumn>>,
        watched: Option<Vec<usize>>,
        on_delete: bool,
        on_update: bool,
    },
    Other,
}

/// The state of one attempt.
struct Reading<'a> {
    follow: &'a Follow<'a>,
    maps: HashMap<u64, Arc<Mapped>>,
    /// The last map of the table with its bytes: most are the same as the one before.
    last: Option<(Vec<u8>, Arc<Mapped>)>,
    /// Places of the key's columns.
    key: Vec<usize>,
    /// In an XA transaction that is not committed here.
    is_prepared: bool,
    /// Rows of the table have come in this transaction.
    is_touched: bool,
    /// XA transactions that were prepared, and whether rows of the table are in them.
    prepared: HashMap<String, bool>,
    writer: ChangeWriter<'a>,
}

impl<'a> Reading<'a> {
    fn new(follow: &'a Follow<'a>) -> Self {
        let place = |name: &String| follow.table.columns.iter().position(|column| column.name == *name);
        Self {
            follow,
            maps: HashMap::new(),
            last: None,
            key: follow.table.primary_key.iter().filter_map(place).collect(),
            is_prepared: false,
            is_touched: false,
            prepared: HashMap::new(),
            writer: ChangeWriter::new(follow),
        }
    }

    async fn take(&mut self, event: &LogEvent) -> Result<Step, Stop> {
        let data = event.data();
        match event.kind {
            kind::TABLE_MAP => self.map(data).map(|()| Step::On),
            kind::QUERY | kind::EXECUTE_LOAD_QUERY => {
                let query = Query::parse(event.kind, data).ok_or(Stop::Unreadable("a statement"))?;
                Ok(self.statement(&query))
            }
            kind::QUERY_COMPRESSED => {
                let query = Query::parse(event.kind, data).ok_or(Stop::Unreadable("a statement"))?;
                let text = inflate(query.text).ok_or(Stop::Unreadable("a compressed statement"))?;
                Ok(self.statement(&Query { text: &text, ..query }))
            }
            kind::XID => {
                self.begin(false);
                Ok(Step::On)
            }
            kind::MARIADB_GTID => {
                self.begin(begins_prepared(data));
                Ok(Step::On)
            }
            kind::MYSQL_GTID | kind::MYSQL_ANONYMOUS_GTID | kind::MYSQL_TAGGED_GTID => {
                self.begin(false);
                Ok(Step::On)
            }
            kind::XA_PREPARE => {
                // One that is committed in the same step was never applied here.
                let is_committed = data.first().is_some_and(|one_phase| *one_phase != 0);
                let is_missed = is_committed && self.is_prepared && self.is_touched;
                self.begin(false);
                Ok(if is_missed { Step::Anew("an XA transaction changed it".to_owned()) } else { Step::On })
            }
            kind::INCIDENT => Ok(Step::Anew("the server says that its log has a gap".to_owned())),
            kind::TRANSACTION_PAYLOAD => Err(Stop::Unreadable("a compressed transaction")),
            kind::PARTIAL_UPDATE => self.partial(data),
            packed if kind::ROWS_COMPRESSED.contains(&packed) => {
                let rows = RowsEvent::parse(packed, data).ok_or(Stop::Unreadable("rows"))?;
                let plain = inflate(rows.rows).ok_or(Stop::Unreadable("compressed rows"))?;
                self.rows(&RowsEvent { rows: &plain, ..rows }).await
            }
            plain if RowsEvent::change_of(plain).is_some() => {
                let rows = RowsEvent::parse(plain, data).ok_or(Stop::Unreadable("rows"))?;
                self.rows(&rows).await
            }
            silent if kind::SILENT.contains(&silent) || event.is_ignorable() => Ok(Step::On),
            _ => Err(Stop::Unreadable("an event of a type that is not known")),
        }
    }

    /// A transaction begins, or ends.
    fn begin(&mut self, is_prepared: bool) {
        self.is_prepared = is_prepared;
        self.is_touched = false;
        self.maps.clear();
    }

    fn statement(&mut self, query: &Query<'_>) -> Step {
        match meaning(query, &self.follow.log.names) {
            Meaning::Nothing => {}
            Meaning::Begin => {
                // MariaDB has said before whether it is one that is only prepared.
                let is_xa = query.text.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(b"XA"));
                self.begin(self.is_prepared || is_xa);
            }
            Meaning::Rollback if self.is_touched => return Step::Anew("changes of it were taken back".to_owned()),
            Meaning::Rollback => {}
            Meaning::XaEnd(name) => {
                self.prepared.insert(name, self.is_touched);
            }
            Meaning::XaRollback(name) => {
                self.prepared.remove(&name);
            }
            // One that was prepared before these changes begin may have changed any table.
            Meaning::XaCommit(name) => {
                if self.prepared.remove(&name) != Some(false) {
                    return Step::Anew("an XA transaction changed it".to_owned());
                }
            }
            Meaning::Defines => return Step::Anew("its definition changed".to_owned()),
            Meaning::ChangesRows => {
                return Step::Anew("a session changed rows with `binlog_format` other than ROW".to_owned());
            }
        }
        Step::On
    }

    fn map(&mut self, data: &[u8]) -> Result<(), Stop> {
        let unreadable = || Stop::Unreadable("the description of a table");
        let (number, database, table) = map_names(data).ok_or_else(unreadable)?;
        let log = self.follow.log;
        let is = |names: &Names| same(database, &names.database, log) && same(table, &names.table, log);
        let is_ours = is(&log.names);
        let parents: Vec<&Parent> = log.parents.iter().filter(|parent| is(&parent.names)).collect();
        if !is_ours && parents.is_empty() {
            self.maps.insert(number, Arc::new(Mapped::Other));
            return Ok(());
        }
        // A table that refers to itself passes changes on to itself.
        let described = data.get(6..).unwrap_or_default();
        if let Some((_, mapped)) = self.last.as_ref().filter(|(bytes, _)| is_ours && bytes == described) {
            self.maps.insert(number, Arc::clone(mapped));
            return Ok(());
        }
        let map = TableMap::parse(data).ok_or_else(unreadable)?;
        let mapped = Arc::new(if is_ours { self.ours(&map) } else { parent(&map, &parents) });
        if is_ours {
            self.last = Some((described.to_vec(), Arc::clone(&mapped)));
        }
        self.maps.insert(number, mapped);
        Ok(())
    }

    /// How the rows of the table are read, when they are of the columns that it has now.
    fn ours(&self, map: &TableMap) -> Mapped {
        let (columns, charsets) = (&self.follow.table.columns, &self.follow.log.charsets);
        if map.columns.iter().any(|column| column.name.is_empty()) {
            return Mapped::Misfit(
                "its rows were logged without names, as `binlog_row_metadata` was not FULL".to_owned(),
            );
        }
        if !map.columns.iter().map(|mapped| &mapped.name).eq(columns.iter().map(|column| &column.name)) {
            return Mapped::Misfit("its rows were logged with other columns".to_owned());
        }
        let mut found = Vec::with_capacity(columns.len());
        for (mapped, column) in map.columns.iter().zip(columns) {
            match LogColumn::of(mapped, column, charsets) {
                Ok(column) => found.push(column),
                Err(Unreadable::Differs) => {
                    return Mapped::Misfit(format!("`{}` was logged with another type", column.name));
                }
                Err(Unreadable::Unknown) => {
                    return Mapped::Misfit(format!("`{}` was logged with a type that is not known", column.name));
                }
            }
        }
        Mapped::Ours(found)
    }

    /// What a partial change is of decides whether it matters.
    fn partial(&mut self, data: &[u8]) -> Result<Step, Stop> {
        let (number, ..) =
            RowsEvent::parse(31, data).map(|rows| (rows.table_id, ())).ok_or(Stop::Unreadable("rows"))?;
        match self.maps.get(&number).map(Arc::as_ref) {
            Some(Mapped::Other) => Ok(Step::On),
            Some(Mapped::Ours(_) | Mapped::Misfit(_) | Mapped::Parent { .. }) => {
                Ok(Step::Anew("parts of its documents were logged alone".to_owned()))
            }
            None => Err(Stop::Unreadable("rows of a table that was not described")),
        }
    }

    async fn rows(&mut self, event: &RowsEvent<'_>) -> Result<Step, Stop> {
        let Some(mapped) = self.maps.get(&event.table_id) else {
            // An event without rows ends a statement whose tables are gone.
            return if event.rows.is_empty() {
                Ok(Step::On)
            } else {
                Err(Stop::Unreadable("rows of an unknown table"))
            };
        };
        let mapped = Arc::clone(mapped);
        match mapped.as_ref() {
            Mapped::Other => Ok(Step::On),
            Mapped::Misfit(why) => Ok(Step::Anew(why.clone())),
            Mapped::Parent { .. } => passes_on(&mapped, event),
            Mapped::Ours(columns) => {
                self.is_touched = true;
                if self.is_prepared {
                    return Ok(Step::On);
                }
                if !event.is_whole || event.columns != columns.len() {
                    let why = "a session logged only some of its columns (`binlog_row_image` was not FULL)";
                    return Ok(Step::Anew(why.to_owned()));
                }
                if let Some(why) = self.passes_on_to_itself(columns, event)? {
                    return Ok(Step::Anew(why));
                }
                self.write(columns, event).await?;
                Ok(Step::On)
            }
        }
    }

    /// Why rows of the table change others of it without being logged: it may refer to itself.
    fn passes_on_to_itself(&self, columns: &[LogColumn], event: &RowsEvent<'_>) -> Result<Option<String>, Stop> {
        let log = self.follow.log;
        let mut is_passed_on = false;
        for own in log.parents.iter().filter(|parent| parent.names == log.names) {
            is_passed_on |= match event.change {
                Change::Insert => false,
                Change::Delete => own.on_delete,
                Change::Update if !own.on_update => false,
                Change::Update => {
                    let place =
                        |name: &String| self.follow.table.columns.iter().position(|column| column.name == *name);
                    changes_any(columns, &own.columns.iter().filter_map(place).collect::<Vec<_>>(), event.rows)?
                }
            };
        }
        Ok(is_passed_on.then(|| PASSED_ON.to_owned()))
    }

    async fn write(&mut self, columns: &[LogColumn], event: &RowsEvent<'_>) -> Result<(), Stop> {
        let mut rest = event.rows;
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let mut count = 0;
        while !rest.is_empty() {
            let unreadable = || Stop::Unreadable("a row");
            next_row(columns, &mut rest, &mut before).ok_or_else(unreadable)?;
            if event.change == Change::Update {
                next_row(columns, &mut rest, &mut after).ok_or_else(unreadable)?;
            }
            count += 1;
            match event.change {
                Change::Insert => self.writer.put(row(columns, &before)?).await?,
                Change::Delete => self.writer.take_away(self.key_row(columns, &before)?).await?,
                Change::Update => {
                    if self.key.iter().any(|at| before[*at] != after[*at]) {
                        self.writer.take_away(self.key_row(columns, &before)?).await?;
                    }
                    self.writer.put(row(columns, &after)?).await?;
                }
            }
        }
        self.follow.progress.advance(count);
        Ok(())
    }

    /// The key of a row, and nulls.
    fn key_row(&self, columns: &[LogColumn], cells: &[Option<&[u8]>]) -> Result<Vec<Value>, Stop> {
        let mut values = vec![Value::NULL; columns.len()];
        for at in &self.key {
            values[*at] = value(&columns[*at], cells[*at])?;
        }
        Ok(values)
    }
}

fn row(columns: &[LogColumn], cells: &[Option<&[u8]>]) -> Result<Vec<Value>, Stop> {
    columns.iter().zip(cells).map(|(column, cell)| value(column, *cell)).collect()
}

fn value(column: &LogColumn, cell: Option<&[u8]>) -> Result<Value, Stop> {
    cell.map_or(Some(Value::NULL), |cell| column.value(cell)).ok_or(Stop::Unreadable("a cell"))
}

/// Whether a name in the log is the wanted one, as the server compares names.
fn same(found: &[u8], wanted: &str, log: &LogTable) -> bool {
    if log.server.ignores_case {
        return String::from_utf8_lossy(found).to_lowercase() == wanted.to_lowercase();
    }
    found == wanted.as_bytes()
}

fn parent(map: &TableMap, parents: &[&Parent]) -> Mapped {
    let columns: Option<Vec<LogColumn>> = map.columns.iter().map(LogColumn::unread).collect();
    let place = |name: &String| map.columns.iter().position(|column| column.name == *name);
    let updated = parents.iter().filter(|parent| parent.on_update).flat_map(|parent| &parent.columns);
    Mapped::Parent {
        columns,
        watched: updated.map(place).collect(),
        on_delete: parents.iter().any(|parent| parent.on_delete),
        on_update: parents.iter().any(|parent| parent.on_update),
    }
}

/// Why a table is read whole, before "at" and the place.
const PASSED_ON: &str = "foreign keys passed on changes that are not logged";

/// Whether rows of a parent change rows of the table by foreign keys.
fn passes_on(mapped: &Mapped, event: &RowsEvent<'_>) -> Result<Step, Stop> {
    let Mapped::Parent { columns, watched, on_delete, on_update } = mapped else { return Ok(Step::On) };
    let is_passed_on = match (event.change, columns, watched) {
        (Change::Insert, ..) => false,
        (Change::Delete, ..) => *on_delete,
        (Change::Update, Some(columns), Some(watched)) if *on_update && event.is_whole => {
            changes_any(columns, watched, event.rows)?
        }
        // Without the columns, any change may be one of them.
        (Change::Update, ..) => *on_update,
    };
    Ok(if is_passed_on { Step::Anew(PASSED_ON.to_owned()) } else { Step::On })
}

/// Whether one of the updated rows has another value in one of the `watched` columns.
fn changes_any(columns: &[LogColumn], watched: &[usize], mut rows: &[u8]) -> Result<bool, Stop> {
    let unreadable = || Stop::Unreadable("a row that others refer to");
    let (mut before, mut after) = (Vec::new(), Vec::new());
    while !rows.is_empty() {
        next_row(columns, &mut rows, &mut before).ok_or_else(unreadable)?;
        next_row(columns, &mut rows, &mut after).ok_or_else(unreadable)?;
        if watched.iter().any(|at| before[*at] != after[*at]) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes changes into one file, which begins with the first of them.
struct ChangeWriter<'a> {
    follow: &'a Follow<'a>,
    batcher: RowBatcher,
    schema: SchemaRef,
    /// For each row of the batch being filled.
    deleted: Vec<bool>,
    writer: Option<TableWriter>,
}

impl<'a> ChangeWriter<'a> {
    fn new(follow: &'a Follow<'a>) -> Self {
        let names = &follow.log.names;
        let shown = format!("{}.{}", names.database, names.table);
        let batcher = RowBatcher::new(&shown, follow.table.columns.clone(), follow.request.invalid_dates);
        let schema = with_deleted(&batcher.schema());
        Self { follow, batcher, schema, deleted: Vec::new(), writer: None }
    }

    async fn put(&mut self, row: Vec<Value>) -> Result<(), ConnectError> {
        self.push(row, false).await
    }

    async fn take_away(&mut self, key: Vec<Value>) -> Result<(), ConnectError> {
        self.push(key, true).await
    }

    async fn push(&mut self, row: Vec<Value>, is_deleted: bool) -> Result<(), ConnectError> {
        self.deleted.push(is_deleted);
        match self.batcher.push(row.iter())? {
            Some((batch, bytes)) => self.write(&batch, bytes).await,
            None => Ok(()),
        }
    }

    async fn write(&mut self, batch: &RecordBatch, bytes: usize) -> Result<(), ConnectError> {
        let batch = mark_deleted(batch, &self.schema, std::mem::take(&mut self.deleted))?;
        let begin = || TableWriter::begin(self.follow.stage, self.follow.request, Arc::clone(&self.schema));
        self.writer.get_or_insert_with(begin).write(batch, bytes).await
    }

    async fn finish(mut self) -> Result<Option<Part>, ConnectError> {
        if let Some((batch, bytes)) = self.batcher.take_batch()? {
            self.write(&batch, bytes).await?;
        }
        let Some(writer) = self.writer else { return Ok(None) };
        Ok(Some(Part { written: writer.finish().await?, rejects: self.batcher.into_rejects() }))
    }
}
