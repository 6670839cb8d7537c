//! Which version of which table belongs together: `_montauk/catalog/<n:020>.json`.
//!
//! In: entries of builds and loads.  Out: [`Catalog`], immutable once written; every run resolves one number.
//! Never here: how a new number comes to be (see `builds`), reading tables.
//! Start at [`Catalog`].

use std::collections::BTreeMap;

use arrow::datatypes::Schema;
use chrono::{DateTime, Utc};
use domain::{Provenance, TableName};
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::error::{Result, WarehouseError};
use crate::store::{Store, numbered};
use crate::widen::SOURCE_NAME;

/// Version of the catalog file; raise it when a reader of the old version would misread.
pub const CATALOG_FORMAT_VERSION: u32 = 1;

/// All tables at one number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    pub format_version: u32,
    /// 0: nothing was ever published. A higher one is newer.
    pub number: u64,
    pub created_at: DateTime<Utc>,
    /// The run that made this number.
    pub run_id: String,
    pub tables: BTreeMap<TableName, CatalogEntry>,
}

/// What a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableKind {
    /// Filled by COPY.
    Raw,
    /// Made whole by a model.
    Table,
    /// Computed when it is read, by a model, over pinned versions of its inputs.
    View,
    /// Made interval by interval by a model.
    Incremental,
}

impl TableKind {
    /// The word for the kind, as in the catalog file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Table => "table",
            Self::View => "view",
            Self::Incremental => "incremental",
        }
    }
}

/// One table or view of a catalog.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogEntry {
    pub kind: TableKind,
    /// Delta's id of the table; `None` for a view.
    pub id: Option<String>,
    /// Delta version; `None` for a view.
    pub version: Option<u64>,
    /// Directory below the root of the warehouse; `None` for a view.
    pub path: Option<String>,
    /// SQL of a view, or of the model that made the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// What a view reads: exactly what its checks read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pins: BTreeMap<TableName, Pin>,
    /// Rows of a table; `None` for a view.
    pub rows: Option<u64>,
    /// Bytes of the files of a table; `None` for a view.
    pub bytes: Option<u64>,
    pub columns: Vec<CatalogColumn>,
    /// The catalog number that brought this version, and when.
    pub changed_in: u64,
    pub changed_at: DateTime<Utc>,
    pub provenance: Provenance,
    /// Incremental only: start of the interval → what fills it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub intervals: BTreeMap<DateTime<Utc>, CatalogInterval>,
    /// Hash of the checks that this version has passed; empty when none ran.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub checked: String,
}

/// A column as readers see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogColumn {
    pub name: String,
    /// Arrow's name of the type, such as `Int64` or `Decimal128(12, 2)`.
    pub data_type: String,
    /// The name in the source, when it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_name: Option<String>,
}

/// One filled interval of an incremental table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogInterval {
    /// Hash of the input rows of this interval; another one reopens it.
    pub fingerprint: String,
    pub rows: u64,
    /// Files of the table that hold exactly this interval.
    pub files: Vec<String>,
}

/// An input of a view, frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Pin {
    Table { version: u64 },
    View { sql: String, pins: BTreeMap<TableName, Pin> },
}

impl Catalog {
    /// The catalog before the first one.
    pub(crate) fn empty() -> Self {
        Self {
            format_version: CATALOG_FORMAT_VERSION,
            number: 0,
            created_at: DateTime::UNIX_EPOCH,
            run_id: String::new(),
            tables: BTreeMap::new(),
        }
    }

    /// The entry of a table. Errors: [`WarehouseError::NoSuchTable`] with the nearest name.
    pub fn table(&self, name: &TableName) -> Result<&CatalogEntry> {
        self.tables.get(name).ok_or_else(|| WarehouseError::NoSuchTable {
            table: name.to_string(),
            nearest: nearest(&name.to_string(), self.tables.keys().map(ToString::to_string)),
            at: String::new(),
        })
    }

    /// Folder of the catalogs.
    pub(crate) fn folder() -> Path {
        Path::from_iter(["_montauk", "catalog"])
    }

    /// Reads the catalog with this number, if it exists.
    pub(crate) async fn read(store: &Store, number: u64) -> Result<Option<Self>> {
        if number == 0 {
            return Ok(Some(Self::empty()));
        }
        let path = numbered(&Self::folder(), number);
        let found: Option<Self> = store.get_json(&path).await?;
        match found {
            Some(catalog) if catalog.format_version > CATALOG_FORMAT_VERSION => Err(WarehouseError::Damaged {
                path: path.to_string(),
                message: format!(
                    "it has format {}, and this montauk reads up to {CATALOG_FORMAT_VERSION}",
                    catalog.format_version
                ),
            }),
            found => Ok(found),
        }
    }
}

impl CatalogEntry {
    /// What another table's provenance records about this one: equal text means equal rows.
    pub fn identity(&self) -> String {
        match (&self.id, self.version) {
            (Some(id), Some(version)) => format!("{id}@{version}"),
            _ => self.provenance.identity(),
        }
    }

    /// This entry as the input of a view.
    pub(crate) fn pin(&self) -> Pin {
        match (self.version, &self.sql) {
            (Some(version), _) => Pin::Table { version },
            (None, sql) => Pin::View { sql: sql.clone().unwrap_or_default(), pins: self.pins.clone() },
        }
    }
}

/// The columns of a schema as a catalog lists them.
pub(crate) fn catalog_columns(schema: &Schema) -> Vec<CatalogColumn> {
    let column = |field: &arrow::datatypes::FieldRef| CatalogColumn {
        name: field.name().clone(),
        data_type: field.data_type().to_string(),
        source_name: field.metadata().get(SOURCE_NAME).cloned(),
    };
    schema.fields().iter().map(column).collect()
}

/// The name most like `wanted`, if one is like it at all.
pub(crate) fn nearest(wanted: &str, names: impl Iterator<Item = String>) -> Option<String> {
    // 0.7 of Jaro–Winkler lets two typing errors through in names of ten letters and keeps strangers out.
    const LIKENESS: f64 = 0.7;
    let wanted = wanted.to_lowercase();
    let likeness = |name: &str| {
        let last = name.rsplit('.').next().unwrap_or(name);
        strsim::jaro_winkler(&wanted, name).max(if wanted.contains('.') {
            0.0
        } else {
            strsim::jaro_winkler(&wanted, last)
        })
    };
    let scored = names.map(|name| (likeness(&name.to_lowercase()), name)).filter(|(score, _)| *score >= LIKENESS);
    scored.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}
