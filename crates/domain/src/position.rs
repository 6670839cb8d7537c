//! Where in a server's log a snapshot stands, so that a change stream can go on from there and freshness has a measure.
//!
//! In: what the server says while the snapshot is taken.  Out: a value that a manifest carries.
//! Never here: reading logs (`connect`).
//! Start at [`LogPosition`].

/// A place in a server's log of changes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LogPosition {
    /// MySQL and MariaDB: file and byte offset; the GTID of the same moment when the server has one.
    Binlog {
        file: String,
        position: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gtid: Option<String>,
    },
    /// PostgreSQL: a log sequence number such as `0/16B3748`.
    Wal { lsn: String },
}

impl std::fmt::Display for LogPosition {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Binlog { file, position, gtid: Some(gtid) } => write!(formatter, "{file}:{position} (GTID {gtid})"),
            Self::Binlog { file, position, gtid: None } => write!(formatter, "{file}:{position}"),
            Self::Wal { lsn } => formatter.write_str(lsn),
        }
    }
}
