//! A statement whose rows are a table, as MySQL and MariaDB describe it.
//!
//! In: a connection, a [`Query`].  Out: a [`MySqlTable`] with the columns of its result, which is read and proven as any other.
//! Nothing is run here: the server prepares the statement, alone and as a table of another one.
//! Never here: what a type becomes (`mysql_columns`), reading rows (`mysql_reader`).
//! Start at [`describe`].

use mysql_async::consts::{ColumnFlags, ColumnType};
use mysql_async::prelude::Queryable;
use mysql_async::{Column, Conn, Error, Value};
use mysql_common::named_params::ParsedNamedParams;

use super::mysql_columns::{Described, MySqlColumn, MySqlKind, MySqlTable};
use super::query::Query;
use crate::dial::mysql::MySqlAddress;
use crate::{ConnectError, InvalidDates};

/// The character set that stands for bytes. Source: MySQL and MariaDB, "Character Sets and Collations", collation 63.
const BINARY: u16 = 63;
/// Bytes of a character of `utf8mb4`, in which a session of ours is answered.
const CHARACTER_BYTES: u64 = 4;
/// Most digits of a DECIMAL. What is computed may be announced with more.
const MAX_DIGITS: u64 = 65;
/// Most digits of a second. More mean that their number is not fixed.
const MAX_SECOND_DIGITS: u8 = 6;

/// The table that the rows of a query are.
///
/// Errors: `BadQuery` unless it is one statement that answers with rows and nothing else, in columns that can be told apart.
pub(crate) async fn describe(
    connection: &mut Conn,
    address: &MySqlAddress,
    query: Query,
    dates: InvalidDates,
) -> Result<MySqlTable, ConnectError> {
    let server = address.server.as_str();
    // The driver would put `?` in the place of such a name, also in a text that it takes for something else.
    if ParsedNamedParams::parse(query.text.as_bytes()).is_ok_and(|found| !found.params().is_empty()) {
        return Err(query.refuse_values(server, ":name"));
    }
    let prepared = connection.prep(query.text.as_str()).await.map_err(|error| problem(address, error, &query))?;
    if prepared.num_params() > 0 {
        return Err(query.refuse_values(server, "?"));
    }
    let columns = prepared.columns();
    let names: Vec<_> = columns.iter().map(|column| (column.name_str(), column)).collect();
    let names: Vec<(&str, bool)> =
        names.iter().map(|(name, column)| (name.as_ref(), is_named(name, column, &query.text))).collect();
    query.check_names(server, &names)?;
    let nested = format!("SELECT * FROM {}", query.as_table());
    let nested = connection.prep(nested).await.map_err(|error| problem(address, error, &query))?;
    // It was for the server's word alone; one that does not forget it loses a few bytes.
    let _ = connection.close(nested).await;
    let columns = columns_of(&columns, dates);
    let name = query.shown.clone();
    Ok(MySqlTable { name, columns, is_stored: true, query: Some(query), ..MySqlTable::default() })
}

/// Whether somebody has named the column. The server calls what is computed by the text that computes it, such as `count(*)`.
fn is_named(name: &str, column: &Column, text: &str) -> bool {
    let mut characters = name.chars();
    let starts_well = characters.next().is_some_and(|first| first.is_alphabetic() || first == '_');
    if starts_well && characters.all(|character| character.is_alphanumeric() || matches!(character, '_' | '$')) {
        return true;
    }
    let is_written = |quote: char| text.contains(&format!("{quote}{name}{quote}"));
    !name.is_empty() && (!column.org_name_ref().is_empty() || ['`', '"', '\''].into_iter().any(is_written))
}

/// An error of the server about a query, or of the way to it.
pub(crate) fn problem(address: &MySqlAddress, error: Error, query: &Query) -> ConnectError {
    match &error {
        // A place in memory, a lock, time: what is wrong is not the statement. Numbers: MariaDB error code reference, the same in MySQL.
        Error::Server(refusal) if is_about_statement(&refusal.state, refusal.code) => {
            query.refused(&address.server, format!("error {}: {}", refusal.code, refusal.message))
        }
        Error::Server(_) | Error::Io(_) | Error::Driver(_) | Error::Other(_) | Error::Url(_) => {
            address.problem(error, &format!("answering the query of `{}`", query.shown), &query.shown)
        }
    }
}

/// Classes: SQL:2016, part 2, "SQLSTATE class and subclass values": features, cardinality, data, transactions, syntax and rights. Then what
/// has no class of its own: unknown to prepared statements, collations that do not fit, a view that has lost its table.
fn is_about_statement(state: &str, code: u16) -> bool {
    ["0A", "21", "22", "25", "42"].iter().any(|class| state.starts_with(class))
        || matches!(code, 1267 | 1270 | 1271 | 1295 | 1356)
}

/// The columns of a result. Names of `information_schema` stand for the numbers of the protocol, so that each type is read as a table's.
pub(crate) fn columns_of(columns: &[Column], dates: InvalidDates) -> Vec<MySqlColumn> {
    columns.iter().map(|column| described(column).into_column(false, dates)).collect()
}

fn described(column: &Column) -> Described {
    let (length, flags) = (u64::from(column.column_length()), column.flags());
    let is_unsigned = flags.contains(ColumnFlags::UNSIGNED_FLAG);
    let is_null = column.column_type() == ColumnType::MYSQL_TYPE_NULL;
    let is_text = is_null || column.character_set() != BINARY;
    let data_type = type_word(column, is_text);
    let digits = column.decimals().min(MAX_SECOND_DIGITS);
    let scale = u64::from(column.decimals());
    let precision = match data_type {
        // The length has room for a point and a sign.
        "decimal" => {
            length.saturating_sub(u64::from(scale > 0) + u64::from(!is_unsigned)).clamp(scale.max(1), MAX_DIGITS)
        }
        _ => length,
    };
    let column_type = match data_type {
        "decimal" => format!("decimal({precision},{scale})"),
        "bit" => format!("bit({length})"),
        "char" | "varchar" => format!("{data_type}({})", length / CHARACTER_BYTES),
        "binary" | "varbinary" => format!("{data_type}({length})"),
        "datetime" | "timestamp" | "time" if digits > 0 => format!("{data_type}({digits})"),
        _ => data_type.to_owned(),
    };
    let is_number = data_type.ends_with("int") || matches!(data_type, "decimal" | "float" | "double");
    let sign = if is_unsigned && is_number { " unsigned" } else { "" };
    let zeros = if flags.contains(ColumnFlags::ZEROFILL_FLAG) && is_number { " zerofill" } else { "" };
    Described {
        table: String::new(),
        name: column.name_str().into_owned(),
        data_type: data_type.to_owned(),
        column_type: format!("{column_type}{sign}{zeros}"),
        is_nullable: !flags.contains(ColumnFlags::NOT_NULL_FLAG),
        is_text,
        precision,
        scale,
        digits: u64::from(digits),
        is_generated: false,
        collation: None,
    }
}

/// The type as `information_schema` calls it.
fn type_word(column: &Column, is_text: bool) -> &'static str {
    let by_text = |text, bytes| if is_text { text } else { bytes };
    match column.column_type() {
        ColumnType::MYSQL_TYPE_TINY => "tinyint",
        ColumnType::MYSQL_TYPE_SHORT => "smallint",
        ColumnType::MYSQL_TYPE_INT24 => "mediumint",
        ColumnType::MYSQL_TYPE_LONG => "int",
        ColumnType::MYSQL_TYPE_LONGLONG => "bigint",
        ColumnType::MYSQL_TYPE_YEAR => "year",
        ColumnType::MYSQL_TYPE_BIT => "bit",
        ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL => "decimal",
        ColumnType::MYSQL_TYPE_FLOAT => "float",
        ColumnType::MYSQL_TYPE_DOUBLE => "double",
        ColumnType::MYSQL_TYPE_DATE | ColumnType::MYSQL_TYPE_NEWDATE => "date",
        ColumnType::MYSQL_TYPE_DATETIME | ColumnType::MYSQL_TYPE_DATETIME2 => "datetime",
        ColumnType::MYSQL_TYPE_TIMESTAMP | ColumnType::MYSQL_TYPE_TIMESTAMP2 => "timestamp",
        ColumnType::MYSQL_TYPE_TIME | ColumnType::MYSQL_TYPE_TIME2 => "time",
        ColumnType::MYSQL_TYPE_JSON => "json",
        ColumnType::MYSQL_TYPE_ENUM => "enum",
        ColumnType::MYSQL_TYPE_SET => "set",
        ColumnType::MYSQL_TYPE_GEOMETRY => "geometry",
        ColumnType::MYSQL_TYPE_STRING if column.flags().contains(ColumnFlags::ENUM_FLAG) => "enum",
        ColumnType::MYSQL_TYPE_STRING if column.flags().contains(ColumnFlags::SET_FLAG) => "set",
        ColumnType::MYSQL_TYPE_STRING => by_text("char", "binary"),
        ColumnType::MYSQL_TYPE_VARCHAR | ColumnType::MYSQL_TYPE_VAR_STRING => by_text("varchar", "varbinary"),
        ColumnType::MYSQL_TYPE_TINY_BLOB
        | ColumnType::MYSQL_TYPE_MEDIUM_BLOB
        | ColumnType::MYSQL_TYPE_LONG_BLOB
        | ColumnType::MYSQL_TYPE_BLOB
        | ColumnType::MYSQL_TYPE_NULL
        | ColumnType::MYSQL_TYPE_TYPED_ARRAY
        | ColumnType::MYSQL_TYPE_VECTOR
        | ColumnType::MYSQL_TYPE_UNKNOWN => by_text("text", "blob"),
    }
}

/// Gives each decimal the digits of its column: a column sends them always, and an expression may send `2` where `2.00` is announced.
///
/// Errors: `Internal` when there are more than were announced.
pub(crate) fn with_all_digits(values: &mut [Value], columns: &[MySqlColumn]) -> Result<(), ConnectError> {
    for (value, column) in values.iter_mut().zip(columns) {
        let (MySqlKind::Decimal { scale, .. }, Value::Bytes(text)) = (column.kind, value) else { continue };
        let point = text.iter().position(|byte| *byte == b'.');
        let sent = point.map_or(0, |point| text.len() - point - 1);
        let wanted = usize::try_from(scale).unwrap_or(0);
        if sent < wanted {
            if point.is_none() {
                text.push(b'.');
            }
            text.resize(text.len() + wanted - sent, b'0');
        }
        if sent > wanted {
            let reason = format!("column `{}` has {wanted} digits behind its point, and a row {sent}", column.name);
            return Err(ConnectError::internal("read a query", reason));
        }
    }
    Ok(())
}

/// Whether rows come in other columns than were announced.
pub(crate) fn have_changed(columns: &[Column], table: &MySqlTable, dates: InvalidDates) -> bool {
    let kinds = |columns: &[MySqlColumn]| columns.iter().map(|column| column.kind).collect::<Vec<_>>();
    kinds(&columns_of(columns, dates)) != kinds(&table.columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_get_the_digits_that_were_announced() {
        let kind = MySqlKind::Decimal { digits: 5, scale: 2 };
        let column = MySqlColumn {
            name: "d".to_owned(),
            source_type: String::new(),
            kind,
            is_nullable: true,
            is_generated: false,
            collation: None,
        };
        for (sent, wanted) in [("2", "2.00"), ("-2.5", "-2.50"), ("2.25", "2.25")] {
            let mut values = [Value::Bytes(sent.into())];
            with_all_digits(&mut values, std::slice::from_ref(&column)).unwrap();
            assert_eq!(values, [Value::Bytes(wanted.into())]);
        }
        assert!(with_all_digits(&mut [Value::Bytes("1.234".into())], &[column]).is_err());
    }
}
