//! What every source shares that goes on from where its last extraction ended.
//!
//! In: the newest manifest of a table, a request.  Out: whether to go on from it, and the manifest of what has changed since.
//! Never here: reading changes (`sources`), merging them into a table (COPY).
//! Start at [`start`].

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use domain::{ChangeRules, DELETED_COLUMN, LogPosition, Resume, SourceProof, StageManifest, StageMode, StagedFile};
use object_store::ObjectStoreExt;
use parquet::arrow::parquet_to_arrow_schema;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaDataReader;

use crate::parts::Part;
use crate::stage::staged_path;
use crate::{ConnectError, ExtractMode, ExtractOutcome, ExtractRequest, Stage};

/// Bytes of a Parquet file's end that are read first: the description of a common table is in them.
const FOOTER_BYTES: u64 = 64 * 1024;

/// How an extraction begins.
#[derive(Debug)]
pub(crate) enum Start {
    /// With all rows; and why, when the table could have been gone on with.
    Whole(Option<String>),
    /// With what has changed since this manifest.
    From(Box<StageManifest>),
}

/// Decides how to begin, with the newest manifest of the table.
pub(crate) fn start(latest: Option<&StageManifest>, request: &ExtractRequest) -> Start {
    let Some(latest) = latest else { return Start::Whole(None) };
    let fits = match (&request.mode, &latest.resume) {
        (ExtractMode::Cursor { column, .. }, Some(Resume::Cursor { column: before, .. })) => column == before,
        (ExtractMode::Changes, Some(Resume::Log { .. })) => latest.position.is_some(),
        (ExtractMode::Full | ExtractMode::Cursor { .. } | ExtractMode::Changes, _) => return Start::Whole(None),
    };
    let why = if request.anew {
        "that was asked for"
    } else if !fits || latest.provenance.config_hash != request.config_hash || latest.target != request.target {
        "its settings have changed"
    } else {
        return Start::From(Box::new(latest.clone()));
    };
    Start::Whole(Some(why.to_owned()))
}

/// The manifest of `files`, which change the table as `latest` left it. `key` names the columns that say which row a change is of.
///
/// Errors: `BadValue` when a cell of the key could not be carried over, so that it says of no row which one it is.
pub(crate) fn manifest(
    request: &ExtractRequest,
    latest: &StageManifest,
    files: Vec<StagedFile>,
    (key, deleted): (Vec<String>, Option<&str>),
) -> Result<StageManifest, ConnectError> {
    let mut rejects = files.iter().flat_map(|file| &file.rejects);
    if let Some(reject) = rejects.find(|reject| key.contains(&reject.column)) {
        return Err(ConnectError::BadValue {
            table: request.location.clone(),
            column: reject.column.clone(),
            value: reject.original.clone(),
            reason: format!("{}, and the key must say which row has changed; in text it could", reject.reason),
        });
    }
    let unproven = unproven(latest, &files);
    let rules = ChangeRules { key, deleted: deleted.map(str::to_owned), version: None, unproven };
    Ok(StageManifest { changes: Some(rules), ..request.manifest(StageMode::Changes, files) })
}

/// What a cursor has found since `before`.
pub(crate) struct NewRows {
    pub(crate) part: Option<Part>,
    /// Columns that say which row a change is of.
    pub(crate) key: Vec<String>,
    pub(crate) position: Option<LogPosition>,
    pub(crate) proof: Option<SourceProof>,
    pub(crate) resume: Resume,
}

/// Publishes what a cursor has found, unless it is what was found last time. Sums alone would not tell: two rows may have swapped values.
pub(crate) async fn publish_new(
    (request, stage): (&ExtractRequest, &Stage),
    before: StageManifest,
    new: NewRows,
) -> Result<ExtractOutcome, ConnectError> {
    let part = new.part.filter(|part| part.written.rows() > 0);
    let staged: Vec<&str> = before.files.iter().map(|file| file.sha256.as_str()).collect();
    let read: Vec<&str> = part.iter().map(|part| part.written.sha256()).collect();
    let is_same = staged == read && before.resume.as_ref() == Some(&new.resume);
    if is_same && (new.proof.is_none() || new.proof == before.proof) {
        return Ok(ExtractOutcome::of(before, true));
    }
    let mut files = Vec::new();
    if let Some(part) = part {
        files.push(part.written.keep(request, stage, file_name(request, &before), part.rejects).await?);
    }
    let mut manifest = manifest(request, &before, files, (new.key, None))?;
    manifest.position = new.position;
    manifest.proof = new.proof;
    manifest.resume = Some(new.resume);
    request.publish_changes(stage, before, manifest).await
}

/// Name of the file of the changes that follow `latest`: another one for each manifest, since a file is loaded once.
pub(crate) fn file_name(request: &ExtractRequest, latest: &StageManifest) -> String {
    format!("{}-changes-{}.parquet", request.table, latest.number + 1)
}

/// Columns in which a cell was rejected since the table was last read whole.
fn unproven(latest: &StageManifest, files: &[StagedFile]) -> Vec<String> {
    let before = latest.changes.iter().flat_map(|rules| &rules.unproven);
    let rejects = latest.files.iter().chain(files).flat_map(|file| &file.rejects);
    let columns: BTreeSet<&String> = before.chain(rejects.map(|reject| &reject.column)).collect();
    columns.into_iter().cloned().collect()
}

/// The schema of a file of changes: the table's columns, and at the end [`DELETED_COLUMN`].
pub(crate) fn with_deleted(schema: &SchemaRef) -> SchemaRef {
    let mark = Arc::new(Field::new(DELETED_COLUMN, DataType::Boolean, false));
    let fields = schema.fields().iter().cloned().chain(std::iter::once(mark));
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
}

/// The batch with its [`DELETED_COLUMN`]; `schema` is that of [`with_deleted`], and `deleted` says for each row whether it is gone.
pub(crate) fn mark_deleted(
    batch: &RecordBatch,
    schema: &SchemaRef,
    deleted: Vec<bool>,
) -> Result<RecordBatch, ConnectError> {
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(BooleanArray::from(deleted)));
    let marked = RecordBatch::try_new(Arc::clone(schema), columns);
    marked.map_err(|error| ConnectError::internal("mark deleted rows", error))
}

/// The columns of the newest staged file of a table, without [`DELETED_COLUMN`]; `None` when no file is left to tell.
pub(crate) async fn staged_columns(stage: &Stage, latest: &StageManifest) -> Result<Option<Schema>, ConnectError> {
    let mut manifest = latest.clone();
    while manifest.files.is_empty() && manifest.mode == StageMode::Changes {
        let before = stage.manifest(&latest.source, &latest.table, manifest.number - 1).await?;
        let Some(before) = before else { return Ok(None) };
        manifest = before;
    }
    let Some(file) = manifest.files.last() else { return Ok(None) };
    let mut length = FOOTER_BYTES.min(file.bytes);
    loop {
        let range = file.bytes - length..file.bytes;
        let end: Bytes = match stage.store().object_store.get_range(&staged_path(file), range).await {
            Ok(end) => end,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(stage.store().problem(error)),
        };
        let mut reader = ParquetMetaDataReader::new();
        let parsed = match reader.try_parse_sized(&end, file.bytes) {
            Err(ParquetError::NeedMoreData(needed)) if needed as u64 > length => {
                length = file.bytes.min(needed as u64);
                continue;
            }
            parsed => parsed.and_then(|()| reader.finish()),
        };
        let schema = parsed.and_then(|found| {
            let found = found.file_metadata();
            parquet_to_arrow_schema(found.schema_descr(), found.key_value_metadata())
        });
        let schema = schema.map_err(|error| ConnectError::internal("read a staged file's columns", error))?;
        let fields: Vec<_> = schema.fields().iter().filter(|field| field.name() != DELETED_COLUMN).cloned().collect();
        return Ok(Some(Schema::new(fields)));
    }
}
