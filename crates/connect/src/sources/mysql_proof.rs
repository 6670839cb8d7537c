//! What a MySQL or MariaDB server says about its own rows: count, and a checksum per column.
//!
//! In: a table's columns.  Out: one statement per range, and its answer as a [`PartProof`].
//! `SUM(CRC32(…))` over a text of each cell: every version has both functions, and sums do not depend on the order of rows.
//! Never here: comparing (COPY does, over what it has loaded).
//! Start at [`select_proof`].

use domain::{CellForm, Checksum, ColumnProof, Dialect, quote_identifier};
use mysql_async::{Row, Value};

use super::mysql_columns::{MySqlColumn, MySqlKind};
use crate::parts::PartProof;

/// The statement without its condition: `SELECT COUNT(*), COUNT(a), SUM(CRC32(a)), … FROM table`.
pub(crate) fn select_proof(full_name: &str, columns: &[MySqlColumn]) -> String {
    let sums: String = columns
        .iter()
        .map(|column| {
            let name = quote_identifier(Dialect::MySql, &column.name);
            format!(", COUNT({name}), SUM(CRC32({}))", form(column, &name).1)
        })
        .collect();
    format!("SELECT COUNT(*){sums} FROM {full_name}")
}

/// What of a cell is hashed, and the SQL that says it.
fn form(column: &MySqlColumn, name: &str) -> (CellForm, String) {
    let source_type = column.source_type.to_lowercase();
    match column.kind {
        // Adding zero takes the leading zeros from ZEROFILL and YEAR, and makes a number of BIT.
        MySqlKind::Int8
        | MySqlKind::Int16
        | MySqlKind::Int32
        | MySqlKind::Int64
        | MySqlKind::UInt8
        | MySqlKind::UInt16
        | MySqlKind::UInt32
        | MySqlKind::UInt64
        | MySqlKind::Bool
        | MySqlKind::Bits(_) => (CellForm::Integer, format!("{name} + 0")),
        MySqlKind::Decimal { scale, .. } => {
            let scale = u8::try_from(scale).unwrap_or(0);
            let sql = if source_type.contains("zerofill") { format!("{name} + 0") } else { name.to_owned() };
            (CellForm::Decimal { scale }, sql)
        }
        MySqlKind::Float | MySqlKind::Double => (CellForm::MantissaAndExponent, mantissa_and_exponent(name)),
        MySqlKind::Date => (CellForm::Date, name.to_owned()),
        MySqlKind::DateTime { digits } | MySqlKind::Timestamp { digits } => {
            (CellForm::DateTime { digits }, name.to_owned())
        }
        MySqlKind::Time => (CellForm::Time { digits: digits_of(&source_type) }, name.to_owned()),
        MySqlKind::DateText { .. } => (CellForm::Text, name.to_owned()),
        MySqlKind::Text => (CellForm::Text, format!("CONVERT({name} USING utf8mb4)")),
        MySqlKind::Binary => (CellForm::Bytes, name.to_owned()),
        MySqlKind::Geometry => (CellForm::Bytes, format!("ST_AsWKB({name})")),
    }
}

/// A double taken apart in SQL, exactly: only multiplications by powers of two, and a logarithm whose last digit is checked.
///
/// What is not normal is scaled by 2^400 first. `m` lies in [0.5, 4) however the logarithm was rounded, and is brought to [1, 2).
/// Checked against 60,000 random bit patterns, and all powers of two with their neighbours (`app/tests/it/proof.rs`).
fn mantissa_and_exponent(name: &str) -> String {
    // Adding 0e0 makes a double of a FLOAT, and drops the fixed number of digits of FLOAT(7,2).
    let size = format!("ABS({name} + 0e0)");
    let scaled = format!("IF({size} < 1e-200, {size} * POW(2, 400), {size})");
    let exponent = format!("FLOOR(LOG2({scaled}))");
    let m = format!("{scaled} * POW(2, -{exponent})");
    format!(
        "IF({name} = 0, '0', CONCAT(IF({name} < 0, '-', ''), \
         CAST(IF({m} >= 2, {m} / 2, IF({m} < 1, {m} * 2, {m})) * 4503599627370496e0 AS UNSIGNED), 'p', \
         CAST({exponent} + ({m} >= 2) - ({m} < 1) - IF({size} < 1e-200, 400, 0) AS SIGNED)))"
    )
}

/// The 6 of `time(6)`; 0 without one.
fn digits_of(source_type: &str) -> u8 {
    let inside = source_type.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    inside.and_then(|(digits, _)| digits.parse().ok()).unwrap_or(0)
}

/// The server's answer; `None` when it is not what was asked for.
pub(crate) fn read_proof(row: Row, columns: &[MySqlColumn]) -> Option<PartProof> {
    let mut values = row.unwrap().into_iter().map(count);
    let rows = u64::try_from(values.next()??).ok()?;
    let mut proven = Vec::with_capacity(columns.len());
    for column in columns {
        let (cells, sum) = (values.next()??, values.next()??);
        proven.push(ColumnProof {
            column: column.name.clone(),
            form: form(column, "").0,
            checksum: Checksum { cells: u64::try_from(cells).ok()?, sum: low_bits(sum) },
        });
    }
    Some(PartProof { rows, columns: proven })
}

/// A count or a sum as the server sends it: a number, a DECIMAL in digits, or null for a sum over nothing.
fn count(value: Value) -> Option<u128> {
    match value {
        Value::NULL => Some(0),
        Value::Int(number) => u128::try_from(number).ok(),
        Value::UInt(number) => Some(u128::from(number)),
        Value::Bytes(digits) => std::str::from_utf8(&digits).ok()?.parse().ok(),
        Value::Float(_) | Value::Double(_) | Value::Date(..) | Value::Time(..) => None,
    }
}

/// A sum modulo 2^64.
pub(crate) fn low_bits(sum: u128) -> u64 {
    (sum & u128::from(u64::MAX)) as u64
}
