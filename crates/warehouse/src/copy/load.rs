//! Parses the planned files and writes their rows aside, one file of the table per staged file.
//!
//! In: a [`Plan`].  Out: [`Loaded`], everything that the commit needs; nothing of it is visible yet.
//! Never here: the commit and the ledger (`copy`).
//! Start at [`Loader::load`].

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use domain::{FileFormat, StageMode, StagedFile, TableName};
use futures::{StreamExt, pin_mut};
use tokio::sync::mpsc;

use super::convert::Wanted;
use super::error::CopyError;
use super::merge::{change_schema, numbered, read_schema};
use super::options::{AsciiChar, ColumnType, NewColumns, OnError};
use super::plan::Plan;
use super::report::{FileReport, FileStatus, FirstError, InferredColumn};
use super::rows;
use super::schema::FORMAT;
use super::text::{self, Origin, Piece, Target, TargetColumn};
use super::{Job, parquet};
use crate::Warehouse;
use crate::error::{Result, WarehouseError};
use crate::ledger::LoadedFile;
use crate::quarantine::{QuarantineWriter, Reject, RejectKind};
use crate::table::Table;
use crate::write::{Aside, AsideWriter};

/// Batches that wait between the parsing thread and the writer.
const PIECES_IN_FLIGHT: usize = 2;

/// What was written aside.
pub(crate) struct Loaded {
    /// The table's schema with this load.
    pub(crate) schema: SchemaRef,
    pub(crate) files: Vec<LoadedFile>,
    pub(crate) rejects: QuarantineWriter,
    pub(crate) aside: Aside,
    pub(crate) inferred: Vec<InferredColumn>,
    /// Why nothing of it may be committed.
    pub(crate) stopped: Option<CopyError>,
}

pub(crate) struct Loader<'a> {
    warehouse: &'a Warehouse,
    pub(super) job: &'a Job<'a>,
}

/// Where the rows of a file go: changes are numbered, over all files of a load.
struct Sink<'w> {
    writer: &'w mut AsideWriter,
    changes: Option<SchemaRef>,
    next_row: &'w mut u64,
}

impl Sink<'_> {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let Some(schema) = &self.changes else { return self.writer.write(batch).await };
        let numbered = numbered(batch, *self.next_row, schema)?;
        *self.next_row += batch.num_rows() as u64;
        self.writer.write(&numbered).await
    }
}

/// One file on its way: what became of it so far, and where its rows and rejects go.
struct Tally<'w> {
    report: FileReport,
    sink: Sink<'w>,
    rejects: &'w mut QuarantineWriter,
}

impl<'a> Loader<'a> {
    pub(crate) fn new(warehouse: &'a Warehouse, job: &'a Job<'a>) -> Self {
        Self { warehouse, job }
    }

    /// Loads every file of the plan aside, as load `number`.
    ///
    /// Errors: those of the store, and files from which no schema can be had. What is wrong with single files is in the result.
    pub(crate) async fn load(&self, table: Option<&Table>, plan: &Plan, number: u64) -> Result<Loaded> {
        let target = &self.job.manifest.target;
        let (schema, inferred) = self.schema(table, plan).await?;
        let aside = Aside::begin(self.warehouse.store(), target, self.job.run).await?;
        let rejects = QuarantineWriter::new(number, self.job.run.now);
        let mut loaded = Loaded { schema, files: Vec::new(), rejects, aside, inferred, stopped: None };
        let mut next_row = 0;
        for (part, file) in plan.files.iter().enumerate() {
            let rules = self.job.manifest.changes.as_ref();
            let schema = rules.map_or_else(|| loaded.schema.clone(), |rules| change_schema(&loaded.schema, rules));
            let mut writer = loaded.aside.writer(schema.clone(), &format!("f{part}"));
            let sink = Sink { writer: &mut writer, changes: rules.map(|_| schema), next_row: &mut next_row };
            let mut tally = Tally { report: FileReport::begun(&file.name), sink, rejects: &mut loaded.rejects };
            let ended = match self.file(file, &loaded.schema, &mut tally).await {
                Ok(()) => None,
                Err(WarehouseError::Copy(error)) => Some(error),
                Err(error) => return Err(error),
            };
            let mut report = tally.report;
            loaded.stopped = self.judge(&mut report, ended);
            let mut data_files = writer.finish().await?;
            if !report.is_loaded() || loaded.stopped.is_some() {
                self.warehouse.discard(&self.job.manifest.target, std::mem::take(&mut data_files)).await;
            }
            let (header, delimiter) =
                if report.rows_rejected > 0 { self.header(file, &loaded.schema).await? } else { (Vec::new(), None) };
            loaded.files.push(LoadedFile {
                sha256: file.sha256.clone(),
                bytes: file.bytes,
                format: file.format,
                report,
                delimiter,
                header,
                data_files,
            });
            if loaded.stopped.is_some() {
                for before in &mut loaded.files {
                    if before.report.is_loaded() {
                        before.report.fail(format!("`{}` stopped the load", file.name));
                    }
                }
                break;
            }
        }
        Ok(loaded)
    }

    /// The columns of a text file in its own order: what its rejected rows are read by when they are replayed.
    async fn header(&self, file: &StagedFile, schema: &SchemaRef) -> Result<(Vec<String>, Option<AsciiChar>)> {
        match file.format {
            FileFormat::Parquet => Ok((Vec::new(), None)),
            FileFormat::JsonLines => Ok((target_of(&self.job.manifest.target, schema)?.names(), None)),
            FileFormat::Csv => {
                let (stage, staged, csv) = (self.job.stage.clone(), file.clone(), self.job.options.csv.clone());
                let delimiter = blocking(move || Ok(rows::delimiter(&stage, &staged, &csv)?)).await?;
                Ok((self.own_columns(file).await?.0, Some(delimiter)))
            }
        }
    }

    /// What the way a file ended means for it, and, as the result, for the whole COPY.
    fn judge(&self, report: &mut FileReport, ended: Option<CopyError>) -> Option<CopyError> {
        if let Some(error) = ended {
            report.fail(error.to_string());
            report.first_error = None;
            return (!self.may_go_on()).then_some(error);
        }
        if report.rows_rejected == 0 {
            return None;
        }
        if self.job.options.on_error.loads(report.rows_rejected, report.rows_parsed) {
            report.status = FileStatus::PartiallyLoaded;
            return None;
        }
        let rows = report.rows_rejected;
        let first = report.first_error.clone()?;
        report.fail(format!("{rows} of its rows cannot be loaded"));
        (!self.may_go_on()).then(|| CopyError::Aborted {
            file: report.file.clone(),
            line: first.line,
            row: first.row,
            column: first.column,
            message: first.message,
            rows,
        })
    }

    /// Whether other files are loaded although one cannot be. The files of a full load are the table only together.
    pub(super) fn may_go_on(&self) -> bool {
        self.job.options.on_error != OnError::Abort && self.job.manifest.mode == StageMode::Append
    }

    async fn file(&self, file: &StagedFile, schema: &SchemaRef, tally: &mut Tally<'_>) -> Result<()> {
        match file.format {
            FileFormat::Csv | FileFormat::JsonLines => self.text_file(file, schema, tally).await,
            FileFormat::Parquet => self.parquet_file(file, schema, tally).await,
        }
    }

    async fn text_file(&self, file: &StagedFile, schema: &SchemaRef, tally: &mut Tally<'_>) -> Result<()> {
        let target = target_of(&self.job.manifest.target, schema)?;
        let (stage, mut options, staged) = (self.job.stage.clone(), self.job.options.clone(), file.clone());
        if !self.job.manifest.column_types.is_empty() {
            // Fields that the source does not declare are no columns, and say so nowhere else either.
            options.new_columns = NewColumns::Ignore;
        }
        let at = self.job.run.now.timestamp_micros();
        let (sender, mut pieces) = mpsc::channel::<Piece>(PIECES_IN_FLIGHT);
        let parsing = blocking(move || {
            text::read(&stage, &staged, &target, (&options, at), |piece| sender.blocking_send(piece).is_ok())?;
            Ok(())
        });
        // Takes the receiving end along: an error here drops it, and the parser, which may wait for room, stops.
        let writing = async move {
            while let Some(piece) = pieces.recv().await {
                self.take(piece, tally).await?;
            }
            Ok::<(), WarehouseError>(())
        };
        let (parsed, written) = futures::join!(parsing, writing);
        written.and(parsed)
    }

    async fn take(&self, piece: Piece, tally: &mut Tally<'_>) -> Result<()> {
        tally.report.rows_parsed += piece.rows_parsed;
        self.job.progress.advance(piece.rows_parsed);
        if let Some(batch) = &piece.batch {
            tally.report.rows_loaded += batch.num_rows() as u64;
            tally.sink.write(batch).await?;
        }
        for (reject, original) in piece.rejects {
            if reject.kind == RejectKind::Cell {
                tally.rejects.push(reject, &original)?;
                continue;
            }
            tally.report.rows_rejected += 1;
            tally.report.first_error.get_or_insert_with(|| FirstError {
                line: reject.line,
                row: reject.row,
                column: reject.column.clone(),
                message: reject.message.clone(),
            });
            tally.rejects.push(reject, &original)?;
        }
        Ok(())
    }

    async fn parquet_file(&self, file: &StagedFile, schema: &SchemaRef, tally: &mut Tally<'_>) -> Result<()> {
        let table = self.job.manifest.target.to_string();
        let rules = self.job.manifest.changes.as_ref();
        let schema = rules.map_or_else(|| schema.clone(), |rules| read_schema(schema, rules));
        let at = self.job.run.now.timestamp_micros();
        let origin = Origin { name: &file.name, sha256: &file.sha256, at };
        let rows = parquet::open(self.job.stage, file).await?.rows(&table, &schema, (self.job.options, origin))?;
        pin_mut!(rows);
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            tally.report.rows_parsed += batch.num_rows() as u64;
            tally.report.rows_loaded += batch.num_rows() as u64;
            self.job.progress.advance(batch.num_rows() as u64);
            tally.sink.write(&batch).await?;
        }
        let found = tally.report.rows_parsed;
        if let Some(staged) = file.rows.filter(|staged| *staged != found) {
            let message = format!("it holds {found} rows, and {staged} were staged");
            return Err(CopyError::Unreadable { file: file.name.clone(), message }.into());
        }
        for cell in &file.rejects {
            let reject = Reject {
                file: file.name.clone(),
                sha256: file.sha256.clone(),
                row: cell.row,
                line: 0,
                byte_offset: 0,
                kind: RejectKind::Cell,
                column: Some(cell.column.clone()),
                code: "not_carried_over".to_owned(),
                message: cell.reason.clone(),
                original: String::new(),
            };
            tally.rejects.push(reject, cell.original.as_bytes())?;
        }
        Ok(())
    }
}

/// The table's columns as text is converted to them.
pub(crate) fn target_of(table: &TableName, schema: &SchemaRef) -> Result<Target, CopyError> {
    let columns = schema.fields().iter().map(|field| match ColumnType::of_arrow(field.data_type()) {
        Some(column_type) => {
            let wanted = Wanted { column_type, format: field.metadata().get(FORMAT).cloned() };
            Ok(TargetColumn { source_name: parquet::source_name(field).to_owned(), wanted })
        }
        None => Err(CopyError::NotConvertible {
            table: table.to_string(),
            column: field.name().clone(),
            found: field.data_type().to_string(),
        }),
    });
    let columns = columns.collect::<Result<Vec<_>, CopyError>>()?;
    Ok(Target { table: table.clone(), schema: schema.clone(), columns })
}

/// Runs parsing where it does not hold up the async threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(WarehouseError::internal(format!("a parsing thread ended: {error}"))),
    }
}
