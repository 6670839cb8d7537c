//! The columns of a table: those of its files at first, then its own, and new ones where that is wanted.
//!
//! In: the planned files, the table.  Out: the schema that rows are loaded under.
//! A source may declare its columns; else Parquet says them, and of text every row of every file is asked.
//! A column that vanishes while another of its type appears looks renamed, and stops the load.
//! Never here: reading rows into the table (`load`).
//! Start at [`Loader::schema`].

use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use domain::{DELETED_COLUMN, DeclaredColumn, FileFormat, StageMode, StagedFile, TableName};
use futures::StreamExt;

use super::convert::Wanted;
use super::error::CopyError;
use super::load::{Loader, blocking};
use super::options::{ColumnType, MatchByColumnName, MissingColumns, NewColumns};
use super::plan::Plan;
use super::report::{InferReport, InferReportColumn, InferredColumn};
use super::rows::{self, Header};
use super::{parquet, text};
use crate::error::{Result, WarehouseError};
use crate::infer::ColumnInference;
use crate::table::{COPY_APP, Table};
use crate::widen::{SOURCE_NAME, column_names, table_schema};

/// Files that inference reads at a time: reading is cheap, so a few are enough to keep a few cores busy.
const FILES_AT_ONCE: usize = 4;
/// Column metadata: the `strftime` format that inference found.
pub(super) const FORMAT: &str = "montauk.format";
/// Columns that one load may add: more is a mistake, such as data in the place of names.
const MAX_ADDED_COLUMNS: usize = 100;

impl Loader<'_> {
    /// The columns that a first load of these files would make.
    pub(crate) async fn infer(&self, plan: &Plan) -> Result<InferReport> {
        let (schema, inferred) = self.schema_of_files(plan).await?;
        let schema = self.with_metadata(&schema, false)?;
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

    /// The schema of the table after this load: its own, or on a first or full load that of the files; with new columns where the
    /// options add them.
    pub(super) async fn schema(&self, table: Option<&Table>, plan: &Plan) -> Result<(SchemaRef, Vec<InferredColumn>)> {
        let (schema, inferred) = self.schema_without_metadata(table, plan).await?;
        Ok((self.with_metadata(&schema, table.is_some_and(is_filled))?, inferred))
    }

    /// The columns, and those that `include_metadata` names.
    fn with_metadata(&self, schema: &SchemaRef, is_fixed: bool) -> Result<SchemaRef> {
        let mut fields: Vec<FieldRef> = schema.fields().iter().cloned().collect();
        for (column, metadata) in &self.job.options.include_metadata {
            let wanted = metadata.column_type().arrow();
            let place = fields.iter().position(|field| parquet::source_name(field) == column);
            let found = place.map(|place| fields[place].data_type().clone());
            match (place, found) {
                (Some(_), Some(found)) if found == wanted => {}
                (Some(_), Some(found)) if is_fixed => {
                    let (found, expected) = (found.to_string(), wanted.to_string());
                    let table = self.job.manifest.target.to_string();
                    return Err(CopyError::MetadataMisfit { table, column: column.clone(), found, expected }.into());
                }
                (Some(place), _) => fields[place] = Arc::new(fields[place].as_ref().clone().with_data_type(wanted)),
                (None, _) => fields.push(Arc::new(Field::new(column, wanted, true))),
            }
        }
        if fields.len() == schema.fields().len() && fields.iter().eq(schema.fields().iter()) {
            return Ok(schema.clone());
        }
        table_schema(&Schema::new(fields))
    }

    async fn schema_without_metadata(
        &self,
        table: Option<&Table>,
        plan: &Plan,
    ) -> Result<(SchemaRef, Vec<InferredColumn>)> {
        // A table that no load has filled is what a COPY left that died: its types came from files that may have changed.
        let Some(table) = table.filter(|table| is_filled(table)) else {
            return self.schema_of_files(plan).await;
        };
        let options = self.job.options;
        if self.job.manifest.mode == StageMode::Full {
            let found = self.schema_of_files(plan).await?;
            let found = (self.with_metadata(&found.0, false)?, found.1);
            return match (options.force, options.new_columns) {
                (true, _) => Ok(found),
                (false, NewColumns::Add) => {
                    same_columns(&self.job.manifest.target, &table.schema(), &found.0, true)?;
                    Ok((self.evolved(table, &found.0)?, found.1))
                }
                (false, NewColumns::Error | NewColumns::Ignore) => {
                    same_columns(&self.job.manifest.target, &table.schema(), &found.0, false)?;
                    // Its own metadata, so that an unchanged table stays unchanged.
                    Ok((table.schema(), found.1))
                }
            };
        }
        if !self.job.manifest.column_types.is_empty() {
            let declared = self.with_metadata(&self.declared()?, false)?;
            self.fits(table, &declared)?;
            let adds = options.new_columns == NewColumns::Add;
            return Ok((if adds { self.evolved(table, &declared)? } else { table.schema() }, Vec::new()));
        }
        // Where columns go by place, a name that is new is none.
        let adds = options.new_columns == NewColumns::Add && options.match_by_column_name != MatchByColumnName::None;
        if adds { self.with_new_columns(table, plan).await } else { Ok((table.schema(), Vec::new())) }
    }

    /// The table's columns, and those that files have beside them.
    async fn with_new_columns(&self, table: &Table, plan: &Plan) -> Result<(SchemaRef, Vec<InferredColumn>)> {
        let before = table.schema();
        let mut found: Vec<FieldRef> = Vec::new();
        let mut inferred = Vec::new();
        for file in &plan.files {
            let names = match self.names_in(file).await {
                Ok(names) => names,
                // It says nothing about columns; loading it reports why.
                Err(WarehouseError::Copy(_)) => continue,
                Err(error) => return Err(error),
            };
            let is_known = |name: &String| {
                self.has(&before, name) || found.iter().any(|field| self.is_same(parquet::source_name(field), name))
            };
            if names.iter().all(is_known) {
                let absent =
                    |field: &&FieldRef| names.iter().any(|name| self.is_same(name, parquet::source_name(field)));
                found.extend(before.fields().iter().filter(absent).cloned());
                continue;
            }
            let (of_file, types) = match file.format {
                FileFormat::Parquet => (self.parquet_schema(file).await?, Vec::new()),
                FileFormat::Csv | FileFormat::JsonLines => self.text_schema(file, plan, Some(&before)).await?,
            };
            found.extend(of_file.fields().iter().cloned());
            inferred.extend(types.into_iter().filter(|column| !self.has(&before, &column.column)));
        }
        let found = self.with_metadata(&Arc::new(Schema::new(found)), false)?;
        Ok((self.evolved(table, &found)?, inferred))
    }

    /// The columns of one file by their own names.
    async fn names_in(&self, file: &StagedFile) -> Result<Vec<String>> {
        let mut names = match file.format {
            FileFormat::Csv | FileFormat::JsonLines => self.own_columns(file).await?.0,
            FileFormat::Parquet => {
                let schema = self.parquet_schema(file).await?;
                schema.fields().iter().map(|field| parquet::source_name(field).to_owned()).collect()
            }
        };
        names.retain(|name| name != DELETED_COLUMN);
        Ok(names)
    }

    /// The table's columns, and after them those of `found` that it lacks.
    ///
    /// Errors: a column that was always filled is gone while a new one has its type, which looks like a new name for it; too many.
    fn evolved(&self, table: &Table, found: &Schema) -> Result<SchemaRef, CopyError> {
        let before = table.schema();
        let mut added: Vec<FieldRef> = Vec::new();
        for field in found.fields() {
            let name = parquet::source_name(field);
            let is_known =
                self.has(&before, name) || added.iter().any(|added| self.is_same(parquet::source_name(added), name));
            if !is_known && name != DELETED_COLUMN {
                added.push(field.clone());
            }
        }
        let target = self.job.manifest.target.to_string();
        if added.len() > MAX_ADDED_COLUMNS {
            return Err(CopyError::TooManyColumns { table: target, count: added.len(), limit: MAX_ADDED_COLUMNS });
        }
        let gone = before.fields().iter().filter(|field| !self.has(found, parquet::source_name(field)));
        for field in gone.filter(|field| !self.job.options.force && is_always_filled(table, field.name())) {
            if let Some(new) = added.iter().find(|new| new.data_type() == field.data_type()) {
                let (column, renamed_to) =
                    (parquet::source_name(field).to_owned(), parquet::source_name(new).to_owned());
                return Err(CopyError::ProbablyRenamed { table: target, column, renamed_to });
            }
        }
        if added.is_empty() {
            return Ok(before);
        }
        let names = before.fields().iter().map(|field| field.name().as_str());
        let names = column_names(names.chain(added.iter().map(|field| parquet::source_name(field))));
        let new = added.iter().zip(names.into_iter().skip(before.fields().len())).map(|(field, name)| {
            let mut metadata = field.metadata().clone();
            if name != parquet::source_name(field) {
                metadata.insert(SOURCE_NAME.to_owned(), parquet::source_name(field).to_owned());
            }
            Arc::new(field.as_ref().clone().with_name(name).with_metadata(metadata))
        });
        let fields: Vec<FieldRef> = before.fields().iter().cloned().chain(new).collect();
        Ok(Arc::new(Schema::new_with_metadata(fields, before.metadata().clone())))
    }

    fn is_same(&self, one: &str, other: &str) -> bool {
        self.job.options.match_by_column_name.is_same(one, other)
    }

    /// Whether a schema has a column of this name in files.
    fn has(&self, schema: &Schema, name: &str) -> bool {
        schema.fields().iter().any(|field| self.is_same(parquet::source_name(field), name))
    }

    /// Whether what the source declares is what the table has, as far as the options ask for it.
    fn fits(&self, table: &Table, declared: &SchemaRef) -> Result<(), CopyError> {
        let (before, options) = (table.schema(), self.job.options);
        let target = || self.job.manifest.target.to_string();
        let file = || format!("{}.{}", self.job.manifest.source, self.job.manifest.table);
        for field in declared.fields() {
            let name = parquet::source_name(field);
            let known = before.fields().iter().find(|known| parquet::source_name(known) == name);
            match known {
                Some(known) if known.data_type() != field.data_type() => {
                    let (found, expected) = (field.data_type().to_string(), known.data_type().to_string());
                    let column = name.to_owned();
                    return Err(CopyError::TypeChanged { table: target(), file: file(), column, found, expected });
                }
                None if options.new_columns == NewColumns::Error => {
                    return Err(CopyError::NewColumn { table: target(), file: file(), column: name.to_owned() });
                }
                Some(_) | None => {}
            }
        }
        let gone = before.fields().iter().find(|field| !self.has(declared, parquet::source_name(field)));
        match gone.filter(|_| options.missing_columns == MissingColumns::Error) {
            Some(field) => {
                let column = parquet::source_name(field).to_owned();
                Err(CopyError::ColumnDisappeared { table: target(), file: file(), column, renamed_to: None })
            }
            None => Ok(()),
        }
    }

    /// The columns that the source declares, unless `columns` declares another type.
    fn declared(&self) -> Result<SchemaRef> {
        let field = |column: &DeclaredColumn| {
            let declared =
                self.job.options.columns.get(&column.name).copied().map_or_else(|| column.type_name.parse(), Ok);
            let declared: ColumnType = declared.map_err(|message| CopyError::Unreadable {
                file: format!("{}.{}", self.job.manifest.source, self.job.manifest.table),
                message: format!("column `{}`: {message}", column.name),
            })?;
            Ok(Field::new(&column.name, declared.arrow(), true))
        };
        let fields = self.job.manifest.column_types.iter().map(field).collect::<Result<Vec<_>, CopyError>>()?;
        table_schema(&Schema::new(fields))
    }

    async fn schema_of_files(&self, plan: &Plan) -> Result<(SchemaRef, Vec<InferredColumn>)> {
        if !self.job.manifest.column_types.is_empty() {
            return Ok((self.declared()?, Vec::new()));
        }
        let mut first_error = None;
        for file in &plan.files {
            let found = match file.format {
                FileFormat::Parquet => self.parquet_schema(file).await.map(|schema| (schema, Vec::new())),
                FileFormat::Csv | FileFormat::JsonLines => self.text_schema(file, plan, None).await,
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

    /// Declared types, and for the others what all rows of all files say. `first` names the columns and their order; `known` are the
    /// columns of the table, when it has some.
    async fn text_schema(
        &self,
        first: &StagedFile,
        plan: &Plan,
        known: Option<&SchemaRef>,
    ) -> Result<(SchemaRef, Vec<InferredColumn>)> {
        let options = Arc::new(self.job.options.clone());
        let header = Arc::new(self.header_of(first, plan).await?);
        let is_there = |name: &String| {
            header.0.iter().any(|found| self.is_same(found, name)) || known.is_some_and(|known| self.has(known, name))
        };
        if let Some(column) = options.columns.keys().find(|name| !is_there(name)) {
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
            if !has_rows && known.is_none() {
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
                    if !header.0.iter().any(|known| self.is_same(known, &name)) {
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
                    evidence: column.evidence().cloned().map(|mut evidence| {
                        if self.job.options.mask.contains(name) {
                            evidence.value = "***".to_owned();
                        }
                        evidence
                    }),
                });
            }
            let format = wanted.format.map(|format| (FORMAT.to_owned(), format));
            fields.push(Field::new(name, wanted.column_type.arrow(), true).with_metadata(format.into_iter().collect()));
        }
        Ok((table_schema(&Schema::new(fields))?, inferred))
    }

    /// The columns that a text file has by itself.
    pub(super) async fn own_columns(&self, file: &StagedFile) -> Result<Header> {
        let (stage, file, options) = (self.job.stage.clone(), file.clone(), self.job.options.clone());
        blocking(move || Ok(rows::header(&stage, &file, &options)?)).await
    }
}

fn is_filled(table: &Table) -> bool {
    table.txn(COPY_APP).is_some() || table.rows() > 0
}

/// Whether a table has rows, and none of them is null in this column, as far as the statistics of its files say.
fn is_always_filled(table: &Table, column: &str) -> bool {
    let nulls = |file: &crate::table::DataFile| {
        let stats: serde_json::Value = serde_json::from_str(file.stats.as_deref()?).ok()?;
        stats.get("nullCount")?.get(column)?.as_u64()
    };
    table.rows() > 0 && table.files().iter().all(|file| nulls(file) == Some(0))
}

/// Whether a full load has the columns that the table has, in whatever order; it may have new ones when `adds`.
fn same_columns(table: &TableName, before: &SchemaRef, now: &SchemaRef, adds: bool) -> Result<(), CopyError> {
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
    let new = now.fields().iter().filter(|_| !adds).filter(is_new);
    differences.extend(new.map(|field| format!("`{}` is new", field.name())));
    if differences.is_empty() {
        return Ok(());
    }
    Err(CopyError::ColumnsChanged { table: table.to_string(), difference: differences.join(", ") })
}
