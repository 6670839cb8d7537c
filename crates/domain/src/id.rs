//! Identifiers that cannot hold a bad value: users, items, tables.
//!
//! In: text.  Out: a newtype, or an [`IdError`] that names the text.
//! Never here: the meaning of an id; ids are opaque text.
//! Start at [`TableName`].

use std::fmt;
use std::str::FromStr;

/// Longest id in bytes: 256 keeps keys in caches and URLs small, and is longer than any UUID, e-mail or SKU.
const MAX_ID_BYTES: usize = 256;
/// Longest part of a table name in bytes: 128 leaves room for prefixes on file systems that stop at 255.
const MAX_NAME_BYTES: usize = 128;

/// Why a text is not an id or a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("`{0}` is not an id; ids are 1 to 256 bytes without spaces or control characters")]
    NotAnId(String),
    #[error("`{0}` is not a table name; write `schema.table` in lower-case letters, digits and `_`")]
    NotATable(String),
}

macro_rules! opaque_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                let is_id = !text.is_empty()
                    && text.len() <= MAX_ID_BYTES
                    && !text.chars().any(|c| c.is_whitespace() || c.is_control());
                if is_id { Ok(Self(text)) } else { Err(IdError::NotAnId(text)) }
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

opaque_id!(
    /// Who receives recommendations.
    UserId
);
opaque_id!(
    /// What is recommended.
    ItemId
);

/// A table or view of the warehouse, `schema.name`, both lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TableName {
    schema: String,
    name: String,
}

#[cfg(feature = "schema")]
impl utoipa::PartialSchema for TableName {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{ObjectBuilder, Type};
        let pattern = "^[a-z_][a-z0-9_]*\\.[a-z_][a-z0-9_]*$";
        ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).into()
    }
}

#[cfg(feature = "schema")]
impl utoipa::ToSchema for TableName {}

impl TableName {
    /// Joins a schema and a name.
    pub fn new(schema: &str, name: &str) -> Result<Self, IdError> {
        let is_part = |part: &str| {
            !part.is_empty()
                && part.len() <= MAX_NAME_BYTES
                && !part.starts_with(|c: char| c.is_ascii_digit())
                && part.chars().all(|c| {
                    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || (!c.is_ascii() && c.is_alphabetic())
                })
        };
        if is_part(schema) && is_part(name) {
            Ok(Self { schema: schema.to_owned(), name: name.to_owned() })
        } else {
            Err(IdError::NotATable(format!("{schema}.{name}")))
        }
    }

    /// The part before the dot.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The part after the dot.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl TryFrom<String> for TableName {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        match text.split_once('.') {
            Some((schema, name)) => Self::new(schema, name).map_err(|_| IdError::NotATable(text.clone())),
            None => Err(IdError::NotATable(text)),
        }
    }
}

impl FromStr for TableName {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::try_from(text.to_owned())
    }
}

impl From<TableName> for String {
    fn from(table: TableName) -> String {
        table.to_string()
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.schema, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str) -> String {
        match text.parse::<ItemId>() {
            Ok(id) => format!("ok  {id}"),
            Err(error) => format!("err {error}"),
        }
    }

    #[test]
    fn item_id_rejects_empty_and_spaces() {
        assert_eq!(verdict("sku-1"), "ok  sku-1");
        assert!(verdict("").starts_with("err `` is not an id"));
        assert!(verdict("a b").starts_with("err `a b` is not an id"));
    }

    #[test]
    fn table_name_reads_back_and_rejects_injection() {
        let table: TableName = "marts.interactions".parse().unwrap();
        assert_eq!((table.schema(), table.name()), ("marts", "interactions"));
        assert_eq!(table.to_string(), "marts.interactions");
        for bad in ["marts", "marts.", "a.b.c", "a.b;drop", "a.\"b\"", "../a.b", "a.1b"] {
            assert!(bad.parse::<TableName>().is_err(), "{bad}");
        }
    }
}
