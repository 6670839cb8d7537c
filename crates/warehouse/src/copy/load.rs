//! Parses the planned files and writes their rows aside, one file of the table per staged file.
//!
//! In: a [`Plan`].  Out: [`Loaded`], everything that the commit needs; nothing of it is visible yet.
//! Never here: the commit and the ledger (`copy`).
//! Start at [`Loader::load`].

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use domain::{FileFormat, StageMode, StagedFile, TableName};
use futures::{StreamExt, pin_mut};
use tokio::sync::mpsc;

use super::convert::Wanted;
use super::error::CopyError;
use super::merge::{change_schema, numbered, read_schema};
use super::options::{ColumnType, OnError};
use super::plan::Plan;
use super::report::{FileReport, FileStatus, FirstError, InferReport, InferReportColumn, InferredColumn};
use super::rows::{self, Header};
use super::text::{self, Piece, Target, TargetColumn};
use super::{Job, parquet};
use crate::Warehouse;
use crate::error::{Result, WarehouseError};
use crate::infer::ColumnInference;
use crate::ledger::LoadedFile;
use crate::quarantine::{QuarantineWriter, Reject, RejectKind};
use crate::table::{COPY_APP, Table};
use crate::widen::table_schema;
use crate::write::{Aside, AsideWriter};

/// Batches that wait between the parsing thread and the writer.
const PIECES_IN_FLIGHT: usize = 2;
/// Files that inference reads at a time: reading is cheap, so a few are enough to keep a few cores busy.
const FILES_AT_ONCE: usize = 4;
/// Column metadata: the `strftime` format that inference found.
const FORMAT: &str = "montauk.format";

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
    job: &'a Job<'a>,
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

    /// The columns that a first load of these files would make.
    pub(crate) async fn infer(&self, plan: &Plan) -> Result<InferReport> {
        let (schema, inferred) = self.schema_of_files(plan).await?;
        let is_text = plan.files.iter().any(|file| file.format != FileFormat::Parquet);
        let columns = schema.fields().iter().map(|field| {
            let name = parquet::source_name(field);
            let inferred = inferred.iter().find(|column| column.column == name).cloned();
            let column_type = ColumnType::of_arrow(field.data_type());
            InferReportColumn {
                column: name.to_owned(),
                column_type: column_type.map_or_else(|| field.data_type().to_string(), |found| found.to_string()),
                origin: match (&inferred, is_text) {
                    (Some(_), _) => "inferred",
                    (None, true) => "declared",
                    (None, false) => "typed",
                },
                inferred,
            }
        });
        Ok(InferReport { files: plan.files.len(), columns: columns.collect() })
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
            let header = if report.rows_rejected > 0 { self.header(file, &loaded.schema).await? } else { Vec::new() };
            loaded.files.push(LoadedFile {
                sha256: file.sha256.clone(),
                bytes: file.bytes,
                format: file.format,
                report,
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
    async fn header(&self, file: &StagedFile, schema: &SchemaRef) -> Result<Vec<String>> {
        match file.format {
            FileFormat::Parquet => Ok(Vec::new()),
            FileFormat::JsonLines => Ok(target_of(&self.job.manifest.target, schema)?.names()),
            FileFormat::Csv => Ok(self.own_columns(file).await?.0),
        }
    }

    /// The columns that a text file has by itself.
    async fn own_columns(&self, file: &StagedFile) -> Result<Header> {
        let (stage, file, csv) = (self.job.stage.clone(), file.clone(), self.job.options.csv.clone());
        blocking(move || Ok(rows::header(&stage, &file, &csv)?)).await
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
    fn may_go_on(&self) -> bool {
        self.job.options.on_error != OnError::Abort && self.job.manifest.mode == StageMode::Append
    }

    /// The schema of the table after this load: its own, or on a first or full load that of the files.
    async fn schema(&self, table: Option<&Table>, plan: &Plan) -> Result<(SchemaRef, Vec<InferredColumn>)> {
        // A table that no load has filled is what a COPY left that died: its types came from files that may have changed.
        let filled = table.filter(|table| table.txn(COPY_APP).is_some() || table.rows() > 0);
        if let Some(table) = filled
            && self.job.manifest.mode != StageMode::Full
        {
            return Ok((table.schema(), Vec::new()));
        }
        let found = self.schema_of_files(plan).await?;
        match filled {
            Some(table) if !self.job.options.force => {
                same_columns(&self.job.manifest.target, &table.schema(), &found.0)?;
                // Its own metadata, so that an unchanged table stays unchanged.
                Ok((table.schema(), found.1))
            }
            _ => Ok(found),
        }
    }

    async fn schema_of_files(&self, plan: &Plan) -> Result<(SchemaRef, Vec<InferredColumn>)> {
        let mut first_error = None;
        for file in &plan.files {
            let found = match file.format {
                FileFormat::Parquet => self.parquet_schema(file).await.map(|schema| (schema, Vec::new())),
                FileFormat::Csv | FileFormat::JsonLines => self.text_schema(file, plan).await,
            };
            match found {
                Ok(found) => return Ok(found),
                Err(WarehouseError::Copy(error)) if self.may_go_on() && error.is_of_one_file() => {
                    first_error = first_error.or(Some(error));
                }
                Err(error) => return Err(error),
            }
        }
        let error = first_error.unwrap_or_else(|| CopyError::EmptyFile { file: self.job.manifest.table.clone() });
        Err(error.into())
    }

    async fn parquet_schema(&self, file: &StagedFile) -> Result<SchemaRef> {
        Ok(parquet::open(self.job.stage, file).await?.schema().clone())
    }

    /// Declared types, and for the others what all rows of all files say. `first` names the columns and their order.
    async fn text_schema(&self, first: &StagedFile, plan: &Plan) -> Result<(SchemaRef, Vec<InferredColumn>)> {
        let options = Arc::new(self.job.options.clone());
        let header = Arc::new(self.header_of(first, plan).await?);
        if let Some(column) = options.columns.keys().find(|name| !header.0.contains(name)) {
            let table = self.job.manifest.target.to_string();
            let available = header.0.clone();
            return Err(CopyError::NoDeclaredColumn { table, column: column.clone(), available }.into());
        }
        let undeclared = |name: &&String| !options.columns.contains_key(*name);
        let mut columns = vec![ColumnInference::default(); header.0.len()];
        if header.0.iter().any(|name| undeclared(&name)) {
            let files = plan.files.iter().filter(|file| file.format == first.format).cloned();
            // Collected, because a stream that holds the closure cannot be sent between threads.
            let looks: Vec<_> = files
                .map(|file| {
                    let (stage, options, header) = (self.job.stage.clone(), options.clone(), header.clone());
                    // A file that cannot be read says nothing about types; loading it reports why.
                    blocking(move || Ok(text::infer(&stage, &file, &options, &header).ok()))
                })
                .collect();
            let mut looks = futures::stream::iter(looks).buffered(FILES_AT_ONCE);
            let mut has_rows = false;
            while let Some(look) = looks.next().await {
                let Some(look) = look? else {
                    has_rows = true;
                    continue;
                };
                has_rows |= look.rows > 0;
                for (column, seen) in columns.iter_mut().zip(look.columns) {
                    column.merge(seen.unwrap_or_default());
                }
            }
            if !has_rows {
                let columns: Vec<&str> = header.0.iter().filter(undeclared).map(String::as_str).collect();
                let table = self.job.manifest.target.to_string();
                return Err(CopyError::NothingToInfer { table, columns: columns.join(", ") }.into());
            }
        }
        self.typed(&header, &columns)
    }

    /// The columns of all files: a CSV's header, which the others must have as well; or every key of all JSON lines.
    async fn header_of(&self, first: &StagedFile, plan: &Plan) -> Result<Header> {
        let mut header = self.own_columns(first).await?;
        if first.format != FileFormat::JsonLines {
            return Ok(header);
        }
        let others = plan.files.iter().filter(|file| file.format == first.format && file.name != first.name);
        for file in others {
            match self.own_columns(file).await {
                Ok(own) => own.0.into_iter().for_each(|name| {
                    if !header.0.contains(&name) {
                        header.0.push(name);
                    }
                }),
                // It says nothing about columns; loading it reports why.
                Err(WarehouseError::Copy(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(header)
    }

    fn typed(&self, header: &Header, columns: &[ColumnInference]) -> Result<(SchemaRef, Vec<InferredColumn>)> {
        let mut fields = Vec::with_capacity(header.0.len());
        let mut inferred = Vec::new();
        for (name, column) in header.0.iter().zip(columns) {
            let wanted = match self.job.options.columns.get(name) {
                Some(declared) => Wanted { column_type: *declared, format: None },
                None => column.wanted(),
            };
            if !self.job.options.columns.contains_key(name) {
                inferred.push(InferredColumn {
                    column: name.clone(),
                    column_type: wanted.column_type.to_string(),
                    format: wanted.format.clone(),
                    nulls: column.nulls(),
                    evidence: column.evidence().cloned(),
                });
            }
            let format = wanted.format.map(|format| (FORMAT.to_owned(), format));
            fields.push(Field::new(name, wanted.column_type.arrow(), true).with_metadata(format.into_iter().collect()));
        }
        Ok((table_schema(&Schema::new(fields))?, inferred))
    }

    async fn file(&self, file: &StagedFile, schema: &SchemaRef, tally: &mut Tally<'_>) -> Result<()> {
        match file.format {
            FileFormat::Csv | FileFormat::JsonLines => self.text_file(file, schema, tally).await,
            FileFormat::Parquet => self.parquet_file(file, schema, tally).await,
        }
    }

    async fn text_file(&self, file: &StagedFile, schema: &SchemaRef, tally: &mut Tally<'_>) -> Result<()> {
        let target = target_of(&self.job.manifest.target, schema)?;
        let (stage, options, staged) = (self.job.stage.clone(), self.job.options.clone(), file.clone());
        let (sender, mut pieces) = mpsc::channel::<Piece>(PIECES_IN_FLIGHT);
        let parsing = blocking(move || {
            text::read(&stage, &staged, &target, &options, |piece| sender.blocking_send(piece).is_ok())?;
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
        let rows = parquet::open(self.job.stage, file).await?.rows(&table, &schema, self.job.options)?;
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

/// Whether a full load has the columns that the table has, in whatever order.
fn same_columns(table: &TableName, before: &SchemaRef, now: &SchemaRef) -> Result<(), CopyError> {
    let mut differences = Vec::new();
    for field in before.fields() {
        match now.field_with_name(field.name()) {
            Err(_) => differences.push(format!("`{}` is gone", field.name())),
            Ok(found) if found.data_type() != field.data_type() => {
                differences.push(format!("`{}` was {} and is {}", field.name(), field.data_type(), found.data_type()));
            }
            Ok(_) => {}
        }
    }
    let is_new = |field: &&Arc<Field>| before.field_with_name(field.name()).is_err();
    differences.extend(now.fields().iter().filter(is_new).map(|field| format!("`{}` is new", field.name())));
    if differences.is_empty() {
        return Ok(());
    }
    Err(CopyError::ColumnsChanged { table: table.to_string(), difference: differences.join(", ") })
}

/// Runs parsing where it does not hold up the async threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(WarehouseError::internal(format!("a parsing thread ended: {error}"))),
    }
}
