//! The SQL engine: one function makes every session, one makes every table readable.
//!
//! In: limits, catalog entries.  Out: a DataFusion session that knows the tables a statement names.
//! Never here: deciding what may be read, writing.
//! Start at [`Engine::session`].
//!
//! Names in SQL are taken as they are written (`enable_ident_normalization` is off): `InvoiceNo` of a raw table is reached
//! without quotes, and `INVOICENO` is another name. Function names and keywords may be written in any case.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::view::ViewTable;
use datafusion::catalog::{MemTable, MemorySchemaProvider, TableProvider};
use datafusion::common::TableReference;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::execution::context::{SQLOptions, SessionConfig, SessionContext};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::LogicalPlan;
use domain::TableName;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use object_store::path::Path;
use url::Url;

use crate::catalog::Pin;
use crate::engine_store::EngineStore;
use crate::error::{Result, WarehouseError};
use crate::machine;
use crate::sql_error::engine_error;
use crate::store::Store;
use crate::table::{DataFile, Table, file_path};
use crate::udf;

/// Engine that results depend on; stands in every provenance. Raise it with the major version of DataFusion.
pub(crate) const ENGINE: &str = "datafusion-55";

/// The made-up address under which sessions find the warehouse's store.
const STORE_URL: &str = "montauk://warehouse/";
/// Name of the one catalog of a session, in the sense of DataFusion.
const CATALOG: &str = "montauk";
/// Consumers that an out-of-memory error names.
const NAMED_CONSUMERS: NonZeroUsize = match NonZeroUsize::new(3) {
    Some(count) => count,
    None => NonZeroUsize::MIN,
};

/// Partitions for each core. With one per core the hash tables of an aggregation of 5 M groups fit no cache, and who is done waits for who is not:
/// a million units' facts of 28 days per unit and day took 2.7 s with one, 1.1 s with four, 1.0 s with eight (2 cores, 2026-11-28).
const PARTITIONS_PER_CORE: usize = 4;
/// But no more than memory is there for: each partition of a sort keeps 10 MiB to merge by, and needs some to sort in.
const MEMORY_OF_PARTITION: usize = 64 << 20;
/// Queries may hold one part in four of the machine's memory: the rest is for caches of the system, and for whoever else is there.
const SHARE_OF_MEMORY: u64 = 4;
/// Or so much where that is little: half of the 1 GiB goal of the demo.
const LEAST_MEMORY: usize = 512 << 20;

/// What queries may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineLimits {
    /// Bytes of memory that all queries together may hold before they spill.
    pub memory_bytes: usize,
    /// Where they spill; `None`: the system's directory for temporary files.
    pub spill_directory: Option<PathBuf>,
    /// Bytes that may be spilled at a time.
    pub spill_bytes: u64,
    /// Partitions of a plan; 0: as many as cores and memory are good for.
    pub partitions: usize,
}

impl Default for EngineLimits {
    fn default() -> Self {
        let share = usize::try_from(machine::memory_bytes() / SHARE_OF_MEMORY).unwrap_or(usize::MAX);
        // 20 GiB of spill fits a small disk.
        Self { memory_bytes: share.max(LEAST_MEMORY), spill_directory: None, spill_bytes: 20 << 30, partitions: 0 }
    }
}

/// Makes sessions that share memory, spill space and caches.
#[derive(Clone)]
pub(crate) struct Engine {
    store: Store,
    files: Arc<EngineStore>,
    runtime: Arc<RuntimeEnv>,
    partitions: usize,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Engine").field("partitions", &self.partitions).finish_non_exhaustive()
    }
}

/// Tables that a statement may name.
pub(crate) type Scope = BTreeMap<TableName, Arc<dyn TableProvider>>;

impl Engine {
    pub(crate) fn new(store: Store, limits: &EngineLimits) -> Result<Self> {
        let mode = match &limits.spill_directory {
            Some(directory) => DiskManagerMode::Directories(vec![directory.clone()]),
            None => DiskManagerMode::OsTmpDirectory,
        };
        let disk = DiskManagerBuilder::default().with_mode(mode).with_max_temp_directory_size(limits.spill_bytes);
        let pool = TrackConsumersPool::new(FairSpillPool::new(limits.memory_bytes), NAMED_CONSUMERS);
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool)).with_disk_manager_builder(disk);
        let runtime = runtime.build_arc().map_err(|error| engine_error(error, ""))?;
        let files = Arc::new(EngineStore::new(store.objects()));
        runtime.register_object_store(&store_url()?, Arc::clone(&files) as Arc<dyn ObjectStore>);
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let partitions = match limits.partitions {
            0 => cores.max((cores * PARTITIONS_PER_CORE).min(limits.memory_bytes / MEMORY_OF_PARTITION)),
            partitions => partitions,
        };
        Ok(Self { store, files, runtime, partitions })
    }

    /// A session that knows exactly the tables of `scope`. The one place where sessions are made.
    pub(crate) fn session(&self, scope: &Scope) -> Result<SessionContext> {
        let mut config = SessionConfig::new()
            .with_target_partitions(self.partitions)
            .with_default_catalog_and_schema(CATALOG, "public")
            .with_information_schema(false);
        let options = config.options_mut();
        options.sql_parser.enable_ident_normalization = false;
        options.execution.time_zone = Some("+00:00".into());
        let session = SessionContext::new_with_config_rt(config, Arc::clone(&self.runtime));
        udf::register_all(&session);
        let catalog = session.catalog(CATALOG).ok_or_else(|| WarehouseError::internal("a session has no catalog"))?;
        for schema in scope.keys().map(TableName::schema).collect::<BTreeSet<_>>() {
            let registered = catalog.register_schema(schema, Arc::new(MemorySchemaProvider::new()));
            registered.map_err(|error| engine_error(error, ""))?;
        }
        for (name, provider) in scope {
            let registered = session.register_table(reference(name), Arc::clone(provider));
            registered.map_err(|error| engine_error(error, ""))?;
        }
        Ok(session)
    }

    /// A plan of a statement that only reads. `at` is where the statement stands, for messages.
    pub(crate) async fn plan(&self, session: &SessionContext, sql: &str, at: &str) -> Result<LogicalPlan> {
        let plan = session.state().create_logical_plan(sql).await.map_err(|error| engine_error(error, at))?;
        let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        read_only.verify_plan(&plan).map_err(|error| engine_error(error, at))?;
        Ok(plan)
    }

    /// The table or view that `pin` names, readable.
    pub(crate) fn pinned<'a>(
        &'a self,
        name: &'a TableName,
        pin: &'a Pin,
    ) -> BoxFuture<'a, Result<Arc<dyn TableProvider>>> {
        Box::pin(async move {
            match pin {
                Pin::Table { version } => {
                    let missing = || WarehouseError::NoSuchTable {
                        table: format!("{name} at version {version}"),
                        nearest: None,
                        at: String::new(),
                    };
                    let table = Table::load(&self.store, name, Some(*version)).await?.ok_or_else(missing)?;
                    self.files(name, table.files(), table.schema())
                }
                Pin::View { sql, pins } => {
                    let mut scope = Scope::new();
                    for (input, pin) in pins {
                        scope.insert(input.clone(), self.pinned(input, pin).await?);
                    }
                    self.view(&scope, sql, &name.to_string()).await
                }
            }
        })
    }

    /// A view over the tables of `scope`.
    pub(crate) async fn view(&self, scope: &Scope, sql: &str, at: &str) -> Result<Arc<dyn TableProvider>> {
        let session = self.session(scope)?;
        let plan = self.plan(&session, sql, at).await?;
        Ok(Arc::new(ViewTable::new(plan, Some(sql.to_owned()))))
    }

    /// Exactly these files of a table's directory, readable as one table.
    pub(crate) fn files(
        &self,
        name: &TableName,
        files: &[DataFile],
        schema: SchemaRef,
    ) -> Result<Arc<dyn TableProvider>> {
        let schema = plain_schema(&schema);
        if files.is_empty() {
            let empty = MemTable::try_new(schema, vec![vec![]]).map_err(|error| engine_error(error, ""))?;
            return Ok(Arc::new(empty));
        }
        let mut urls = Vec::with_capacity(files.len());
        for file in files {
            let path = file_path(name, &file.path);
            urls.push(listing_url(&path)?);
            self.files.remember(path, file.bytes);
        }
        let options = ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension("");
        let config = ListingTableConfig::new_with_multi_paths(urls).with_listing_options(options).with_schema(schema);
        let table = ListingTable::try_new(config).map_err(|error| engine_error(error, ""))?;
        // Without a cache of its own a table reads the footers of its files at each plan; the runtime's is shared.
        let cache = self.runtime.cache_manager.get_file_statistic_cache();
        Ok(Arc::new(table.with_cache(cache)))
    }
}

/// The name of a table as the engine writes it.
pub(crate) fn reference(name: &TableName) -> TableReference {
    TableReference::full(CATALOG, name.schema(), name.name())
}

/// The schema without metadata: names and types are what plans compare.
fn plain_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<_> =
        schema.fields().iter().map(|field| field.as_ref().clone().with_metadata(Default::default())).collect();
    Arc::new(Schema::new(fields))
}

fn store_url() -> Result<Url> {
    Url::parse(STORE_URL).map_err(|error| WarehouseError::internal(error.to_string()))
}

fn listing_url(path: &Path) -> Result<ListingTableUrl> {
    let mut url = store_url()?;
    // The engine decodes the address, so a `%` in a name must be written as one.
    match url.path_segments_mut() {
        Ok(mut segments) => segments.clear().extend(path.parts()),
        Err(()) => return Err(WarehouseError::internal("the address of the store holds no path")),
    };
    ListingTableUrl::try_new(url, None).map_err(|error| engine_error(error, ""))
}
