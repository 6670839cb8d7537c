//! Writes Parquet files aside: under the directory of a table, invisible until a commit names them.
//!
//! In: record batches in the table's schema.  Out: [`DataFile`]s, durable on disk or in the bucket.
//! Never here: commits, deciding what is visible.
//! Start at [`Aside`]: it leaves a note first, so that the files of a dead writer can be told from those of a live one.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};
use domain::TableName;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

use crate::RunContext;
use crate::encode::{Encoder, ROW_GROUP_BYTES};
use crate::error::{Result, WarehouseError, innermost};
use crate::stats::delta_stats;
use crate::store::Store;
use crate::table::{DataFile, file_path};

/// Size at which a file is closed and the next one begun: large enough for few requests, small enough to read in parallel.
const TARGET_FILE_BYTES: usize = 128 << 20;
/// Encoded bytes that many writers hold together, as far as row groups do not become too small for it.
const OPEN_BYTES: usize = 256 << 20;
const LEAST_GROUP_BYTES: usize = 1 << 20;

/// One piece of work that writes files aside for one table.
#[derive(Debug, Clone)]
pub(crate) struct Aside {
    store: Store,
    note: AsideNote,
}

/// What stands in `_montauk/aside/<id>.json` while the files of a writer may be unclaimed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AsideNote {
    /// The files are `<id>-<k>.zstd.parquet` in the directory of the table.
    pub id: String,
    pub table: TableName,
    pub run_id: String,
    pub started_at: DateTime<Utc>,
}

impl AsideNote {
    /// Folder of the notes.
    pub(crate) fn folder() -> Path {
        Path::from_iter(["_montauk", "aside"])
    }

    pub(crate) fn path(&self) -> Path {
        Self::folder().join(format!("{}.json", self.id))
    }

    /// Whether a file of the table's directory was written under this note.
    pub(crate) fn owns(&self, file: &str) -> bool {
        file.strip_prefix(self.id.as_str()).is_some_and(|rest| rest.starts_with('-'))
    }
}

impl Aside {
    /// Leaves the note. Its name is new at each call, so that two runs never write the same file.
    pub(crate) async fn begin(store: &Store, table: &TableName, run: &RunContext) -> Result<Self> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let note = AsideNote { id, table: table.clone(), run_id: run.run_id.clone(), started_at: run.now };
        store.put_json(&note.path(), &note).await?;
        Ok(Self { store: store.clone(), note })
    }

    /// A writer of files with this schema. Several may be open at once; `part` keeps their names apart.
    pub(crate) fn writer(&self, schema: SchemaRef, part: &str) -> AsideWriter {
        let prefix = if part.is_empty() { self.note.id.clone() } else { format!("{}-{part}", self.note.id) };
        AsideWriter {
            store: self.store.clone(),
            table: self.note.table.clone(),
            schema,
            prefix,
            group_bytes: ROW_GROUP_BYTES,
            open: None,
            done: Vec::new(),
        }
    }

    /// Takes the note back, once a commit names the files. A note that stays is harmless: the sweep sees the commit.
    pub(crate) async fn settle(self) {
        if let Err(error) = self.store.delete(&self.note.path()).await {
            tracing::debug!(note = self.note.id, %error, "note of written files stays until the next sweep");
        }
    }

    /// Whether the note is still there: a sweep that takes it away has taken the files as well.
    pub(crate) async fn is_there(&self) -> Result<bool> {
        Ok(self.store.get(&self.note.path()).await?.is_some())
    }

    /// The id that the names of all files begin with.
    pub(crate) fn id(&self) -> &str {
        &self.note.id
    }
}

/// Writes rows into zstd Parquet files of bounded size, with bounded memory.
pub(crate) struct AsideWriter {
    store: Store,
    table: TableName,
    schema: SchemaRef,
    prefix: String,
    group_bytes: usize,
    open: Option<OpenFile>,
    done: Vec<DataFile>,
}

struct OpenFile {
    name: String,
    path: Path,
    encoder: Encoder,
    sink: BufWriter,
}

impl AsideWriter {
    /// One of so many writers that are open at once: together they hold what a few would.
    pub(crate) fn among(mut self, writers: usize) -> Self {
        self.group_bytes = (OPEN_BYTES / writers.max(1)).clamp(LEAST_GROUP_BYTES, ROW_GROUP_BYTES);
        self
    }

    /// Adds rows. Encodes on the calling thread: call it from a runtime that is meant for computing.
    pub(crate) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open_file()?,
        };
        open.encoder.add(batch).map_err(|error| failed(&open.path, &error))?;
        open.pass_on().await?;
        let is_full = open.encoder.len() >= TARGET_FILE_BYTES;
        if is_full {
            self.close(open).await
        } else {
            self.open = Some(open);
            Ok(())
        }
    }

    /// Closes the last file and returns all of them; none when no row came.
    pub(crate) async fn finish(mut self) -> Result<Vec<DataFile>> {
        if let Some(open) = self.open.take() {
            self.close(open).await?;
        }
        Ok(self.done)
    }

    fn open_file(&self) -> Result<OpenFile> {
        let name = format!("{}-{:05}.zstd.parquet", self.prefix, self.done.len());
        let path = file_path(&self.table, &name);
        // Level 1 of zstd: a third of the time of the default 3 at nearly its size on columns that are already encoded.
        let level = ZstdLevel::try_new(1).map_err(|error| failed(&path, &error))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_created_by(concat!("montauk ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let sink = BufWriter::new(self.store.objects(), path.clone());
        let encoder = Encoder::new(Arc::clone(&self.schema), properties, self.group_bytes);
        let encoder = encoder.map_err(|error| failed(&path, &error))?;
        Ok(OpenFile { name, path, encoder, sink })
    }

    async fn close(&mut self, mut open: OpenFile) -> Result<()> {
        let footer = open.encoder.finish().map_err(|error| failed(&open.path, &error))?;
        open.pass_on().await?;
        open.sink.shutdown().await.map_err(|error| failed(&open.path, &error))?;
        self.store.sync(&open.path).await?;
        self.done.push(DataFile {
            bytes: open.encoder.bytes_written() as u64,
            rows: u64::try_from(footer.file_metadata().num_rows()).unwrap_or_default(),
            stats: Some(delta_stats(&self.schema, &footer)),
            path: open.name,
        });
        Ok(())
    }
}

impl OpenFile {
    /// Hands finished row groups to the store.
    async fn pass_on(&mut self) -> Result<()> {
        let bytes = self.encoder.take_bytes();
        if bytes.is_empty() {
            return Ok(());
        }
        self.sink.put(bytes.into()).await.map_err(|error| failed(&self.path, &error))
    }
}

fn failed(path: &Path, error: &(dyn std::error::Error + 'static)) -> WarehouseError {
    WarehouseError::Store { what: format!("write `{path}`"), message: innermost(error), missing: false }
}

impl std::fmt::Debug for AsideWriter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("AsideWriter")
            .field("table", &self.table)
            .field("files", &self.done)
            .finish_non_exhaustive()
    }
}
