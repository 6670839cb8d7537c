//! What streams a connector has, and what it is told to read.
//!
//! In: the answer to `discover`; the wanted streams.  Out: [`CatalogStream`]s; the configured catalog for `read`.
//! Never here: asking the connector (`verbs`), rows.
//! Start at [`read_catalog`] and [`Choice::of`].

use serde::Deserialize;
use serde_json::value::RawValue;

use super::column_type::{source_type, type_word};
use super::messages::Descriptor;
use super::ordered::Ordered;
use super::problem::{ConnectorProblem, Fault};
use super::{StreamChoice, StreamMode};
use crate::source::DiscoveredColumn;
use crate::{ConnectError, DiscoveredTable};

/// A stream as the connector describes it.
#[derive(Debug, Clone)]
pub(super) struct CatalogStream {
    pub(super) descriptor: Descriptor,
    /// The whole description, which goes back to the connector unchanged.
    raw: Box<RawValue>,
    /// Top-level properties in their order.
    pub(super) columns: Vec<StreamColumn>,
    sync_modes: Vec<String>,
    is_cursor_defined: bool,
    default_cursor: Vec<String>,
    primary_key: Vec<Vec<String>>,
}

/// A top-level property of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StreamColumn {
    pub(super) name: String,
    /// The type that COPY gives it.
    pub(super) type_word: &'static str,
    source_type: String,
}

#[derive(Deserialize)]
struct RawCatalog {
    streams: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Description {
    name: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    json_schema: JsonSchema,
    #[serde(default)]
    supported_sync_modes: Option<Vec<String>>,
    #[serde(default)]
    source_defined_cursor: Option<bool>,
    #[serde(default)]
    default_cursor_field: Option<Vec<String>>,
    #[serde(default)]
    source_defined_primary_key: Option<Vec<Vec<String>>>,
}

#[derive(Default, Deserialize)]
struct JsonSchema {
    #[serde(default)]
    properties: Ordered<serde_json::Value>,
}

/// Reads the body of a CATALOG message.
///
/// Errors: why it is none.
pub(super) fn read_catalog(catalog: &RawValue) -> Result<Vec<CatalogStream>, String> {
    let catalog: RawCatalog = serde_json::from_str(catalog.get()).map_err(|error| error.to_string())?;
    catalog.streams.into_iter().map(read_stream).collect()
}

fn read_stream(raw: Box<RawValue>) -> Result<CatalogStream, String> {
    let described: Description = serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
    let mut columns: Vec<StreamColumn> = Vec::new();
    for (name, schema) in described.json_schema.properties.0 {
        // Of a property that is described twice, the last description counts, as for every JSON parser.
        columns.retain(|column| column.name != name);
        columns.push(StreamColumn { name, type_word: type_word(&schema), source_type: source_type(&schema) });
    }
    Ok(CatalogStream {
        descriptor: Descriptor::new(described.name, described.namespace),
        columns,
        sync_modes: described.supported_sync_modes.unwrap_or_else(|| vec!["full_refresh".to_owned()]),
        is_cursor_defined: described.source_defined_cursor.unwrap_or_default(),
        default_cursor: described.default_cursor_field.unwrap_or_default(),
        primary_key: described.source_defined_primary_key.unwrap_or_default(),
        raw,
    })
}

/// The stream that `choice` means.
///
/// Errors: `NoSuchStream`, with the nearest name; `Stream` when several namespaces have one of that name.
pub(super) fn find<'a>(
    connector: &str,
    streams: &'a [CatalogStream],
    choice: &StreamChoice,
) -> Result<&'a CatalogStream, ConnectError> {
    let has_name = |stream: &&CatalogStream| stream.descriptor.name == choice.stream;
    let has_namespace =
        |stream: &&CatalogStream| choice.namespace.is_none() || stream.descriptor.namespace == choice.namespace;
    let found: Vec<&CatalogStream> = streams.iter().filter(has_name).filter(has_namespace).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => {
            let wanted = choice.location();
            let names: Vec<String> = streams.iter().map(|stream| location_of(&stream.descriptor)).collect();
            let near = |name: &&String| strsim::damerau_levenshtein(name, &wanted) <= 2.max(wanted.len() / 4);
            let nearest =
                names.iter().filter(near).min_by_key(|name| strsim::damerau_levenshtein(name, &wanted)).cloned();
            let what = format!("has no stream `{wanted}` among its {}", streams.len());
            Err(ConnectorProblem::new(connector, Fault::NoSuchStream { nearest }, what).into())
        }
        several => {
            let namespaces: Vec<&str> =
                several.iter().filter_map(|stream| stream.descriptor.namespace.as_deref()).collect();
            let what = format!("has {} streams `{}`", several.len(), choice.stream);
            let next = format!("say which one: `namespace = …`, one of {}", namespaces.join(", "));
            Err(ConnectorProblem::new(connector, Fault::Stream { next }, what).into())
        }
    }
}

/// A stream as a `location` names it.
pub(super) fn location_of(descriptor: &Descriptor) -> String {
    match &descriptor.namespace {
        Some(namespace) => format!("{namespace}.{}", descriptor.name),
        None => descriptor.name.clone(),
    }
}

impl CatalogStream {
    /// As `discover` of a source tells it.
    pub(super) fn discovered(&self) -> DiscoveredTable {
        let primary_key: Vec<String> = self.primary_key.iter().map(|path| path.join(".")).collect();
        let column = |column: &StreamColumn| DiscoveredColumn {
            name: column.name.clone(),
            source_type: column.source_type.clone(),
            staged_type: column.type_word.to_owned(),
            // Any field may be missing, whatever the schema says.
            is_nullable: !primary_key.contains(&column.name),
        };
        let columns = self.columns.iter().map(column).collect();
        DiscoveredTable { name: location_of(&self.descriptor), columns, primary_key, approximate_rows: None }
    }

    fn supports(&self, mode: &str) -> bool {
        self.sync_modes.iter().any(|supported| supported == mode)
    }

    fn column(&self, name: &str) -> Option<&StreamColumn> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// A stream and how it is read.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    pub(super) stream: CatalogStream,
    pub(super) mode: StreamMode,
    /// Top-level columns; empty unless the mode is `Changes`.
    pub(super) key: Vec<String>,
    cursor: Vec<String>,
}

/// The words of the protocol for a mode.
fn words(mode: StreamMode) -> (&'static str, &'static str) {
    match mode {
        StreamMode::Full => ("full_refresh", "overwrite"),
        StreamMode::Append => ("incremental", "append"),
        StreamMode::Changes => ("incremental", "append_dedup"),
    }
}

/// Column that is set where a row is gone, in streams that follow a database's log.
const DELETED_AT: &str = "_ab_cdc_deleted_at";

impl Choice {
    /// Settles how `stream` is read.
    ///
    /// Errors: `Stream`, `NoKey` and `BadCursor` where it cannot be read in that way.
    pub(super) fn of(connector: &str, stream: CatalogStream, choice: &StreamChoice) -> Result<Self, ConnectError> {
        let shown = choice.location();
        let mode = choice.mode;
        if stream.columns.is_empty() {
            tracing::warn!(
                connector,
                stream = shown,
                "the connector declares no columns: the fields of its rows are in no table"
            );
        }
        if mode == StreamMode::Full && stream.supports("full_refresh") {
            return Ok(Self { stream, mode, key: Vec::new(), cursor: Vec::new() });
        }
        if !stream.supports("incremental") {
            let what = format!("cannot read `{shown}` incrementally");
            let next = "set `mode = \"full\"` in the source file".to_owned();
            return Err(ConnectorProblem::new(connector, Fault::Stream { next }, what).into());
        }
        let cursor = cursor(connector, &stream, choice)?;
        let key = if mode == StreamMode::Changes { key(connector, &stream, &shown)? } else { Vec::new() };
        Ok(Self { stream, mode, key, cursor })
    }

    /// The sync mode, as the protocol calls it. A stream without a full refresh is read without a state instead.
    fn sync_mode(&self) -> &'static str {
        let (sync_mode, _) = words(self.mode);
        if self.stream.supports(sync_mode) { sync_mode } else { "incremental" }
    }

    /// The column whose larger value is the newer one, where values can be compared.
    pub(super) fn version(&self) -> Option<String> {
        let [name] = self.cursor.as_slice() else { return None };
        // A row that is gone has no cursor of a user's: only the log's own goes on.
        let is_of_log = self.deleted().is_none() || name.starts_with("_ab_cdc_");
        let column = self.stream.column(name)?;
        (is_of_log && column.type_word != "text" && column.type_word != "boolean").then(|| name.clone())
    }

    /// The column that says that a row is gone.
    pub(super) fn deleted(&self) -> Option<String> {
        self.stream.column(DELETED_AT).map(|column| column.name.clone())
    }

    /// As an entry of the configured catalog.
    pub(super) fn configured(&self, generation: u64, minimum_generation: u64, sync_id: i64) -> Result<String, String> {
        let (_, destination_sync_mode) = words(self.mode);
        let primary_key: Vec<&[String]> = self.key.iter().map(std::slice::from_ref).collect();
        let rest = serde_json::json!({
            "sync_mode": self.sync_mode(),
            "destination_sync_mode": destination_sync_mode,
            "cursor_field": self.cursor,
            "primary_key": primary_key,
            "generation_id": generation,
            "minimum_generation_id": minimum_generation,
            "sync_id": sync_id,
        });
        let rest = serde_json::to_string(&rest).map_err(|error| error.to_string())?;
        // The description goes back byte for byte, which a value read and written again would not.
        Ok(format!("{{\"stream\":{},{}", self.stream.raw.get(), rest.trim_start_matches('{')))
    }
}

/// The column that an incremental stream goes by: the connector's own, else the one of the settings, else its default.
fn cursor(connector: &str, stream: &CatalogStream, choice: &StreamChoice) -> Result<Vec<String>, ConnectError> {
    let bad = |column: &str, reason: &str, next: &str| ConnectError::BadCursor {
        table: choice.location(),
        column: column.to_owned(),
        reason: reason.to_owned(),
        next: next.to_owned(),
    };
    match &choice.cursor {
        Some(wanted) if stream.is_cursor_defined && stream.default_cursor != [wanted.clone()] => {
            Err(bad(wanted, "the connector goes by its own", "remove `cursor` in the source file"))
        }
        Some(wanted) if stream.column(wanted).is_none() => Err(bad(
            wanted,
            "there is no such column",
            "name one of the stream's columns; `montauk doctor` looks at them",
        )),
        Some(wanted) => Ok(vec![wanted.clone()]),
        None if stream.is_cursor_defined || !stream.default_cursor.is_empty() => Ok(stream.default_cursor.clone()),
        None => {
            let what = format!("leaves it open which column `{}` goes by", choice.location());
            let next = "name one that only grows: `cursor = \"updated_at\"`, or set `mode = \"full\"`".to_owned();
            Err(ConnectorProblem::new(connector, Fault::Stream { next }, what).into())
        }
    }
}

/// The columns that say which row is which.
fn key(connector: &str, stream: &CatalogStream, shown: &str) -> Result<Vec<String>, ConnectError> {
    if stream.primary_key.is_empty() {
        return Err(ConnectError::NoKey { table: shown.to_owned(), mode: "changes" });
    }
    let column = |path: &Vec<String>| match path.as_slice() {
        [name] if stream.column(name).is_some() => Ok(name.clone()),
        _ => {
            let what = format!("has a key inside a value of `{shown}`: `{}`", path.join("."));
            let next = "set `mode = \"append\"` or `mode = \"full\"`, and tell the rows apart in a model".to_owned();
            Err(ConnectorProblem::new(connector, Fault::Stream { next }, what).into())
        }
    };
    stream.primary_key.iter().map(column).collect()
}
