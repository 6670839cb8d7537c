//! What a PostgreSQL server says about its own rows: count, and a checksum per column.
//!
//! In: a table's columns.  Out: one statement per range, and its answer as a [`PartProof`].
//! A cell is hashed as the bytes that the server's own send function gives, or as its text; then the first 60 bits of MD5 are
//! added up. (`hashtext` is faster, and its definition may change with the version.)
//! Never here: comparing (COPY does, over what it has loaded).
//! Start at [`select_proof`].

use domain::{CellForm, Checksum, ColumnProof, Dialect, quote_identifier};
use sqlx::postgres::PgRow;
use sqlx::{Error, Row};

use super::mysql_proof::low_bits;
use super::postgres_columns::{PostgresColumn, PostgresKind};
use crate::parts::PartProof;

/// Columns of one statement: a target list takes 1,664 entries, and each column is two.
pub(crate) const COLUMNS_AT_ONCE: usize = 400;

/// The statement without its condition.
pub(crate) fn select_proof(full_name: &str, columns: &[PostgresColumn]) -> String {
    let sums: String = columns
        .iter()
        .map(|column| {
            let name = quote_identifier(Dialect::Standard, &column.name);
            let hashed = form(column, &name).1;
            format!(", count({name}), sum(('x' || left(md5({hashed}), 15))::bit(60)::bigint)::text")
        })
        .collect();
    format!("SELECT count(*){sums} FROM {full_name}")
}

/// What of a cell is hashed, and the SQL that says it: always of type `bytea`, so that the database's encoding plays no part.
fn form(column: &PostgresColumn, name: &str) -> (CellForm, String) {
    let as_text = |text: &str| format!("convert_to({text}, 'UTF8')");
    match column.kind {
        PostgresKind::Bool => (CellForm::Integer, as_text(&format!("{name}::int::text"))),
        PostgresKind::Int16 | PostgresKind::Int32 | PostgresKind::Int64 | PostgresKind::Oid => {
            (CellForm::Integer, as_text(&format!("{name}::text")))
        }
        PostgresKind::Float => (CellForm::Float, format!("float4send({name})")),
        PostgresKind::Double => (CellForm::Double, format!("float8send({name})")),
        PostgresKind::Decimal { scale, .. } => {
            (CellForm::Decimal { scale: u8::try_from(scale).unwrap_or(0) }, as_text(&format!("{name}::text")))
        }
        PostgresKind::Date => (CellForm::Days, format!("date_send({name})")),
        PostgresKind::Timestamp => (CellForm::Micros, format!("timestamp_send({name})")),
        PostgresKind::TimestampUtc => (CellForm::Micros, format!("timestamptz_send({name})")),
        PostgresKind::Time => (CellForm::MicrosOfDay, format!("time_send({name})")),
        PostgresKind::Bytes => (CellForm::Bytes, name.to_owned()),
        PostgresKind::Jsonb | PostgresKind::Uuid => (CellForm::Text, as_text(&format!("{name}::text"))),
        // Plain text and what is sent as text; a cast of char(n) would cut its padding, so it goes in as it is sent.
        PostgresKind::Text if column.is_padded() => (CellForm::Text, format!("bpcharsend({name})")),
        PostgresKind::Text => (CellForm::Text, as_text(&column.text_expression())),
    }
}

/// The server's answer.
pub(crate) fn read_proof(row: &PgRow, columns: &[PostgresColumn]) -> Result<PartProof, Error> {
    let count = |at: usize| row.try_get::<i64, _>(at).map(|count| u64::try_from(count).unwrap_or(0));
    let mut proven = Vec::with_capacity(columns.len());
    for (position, column) in columns.iter().enumerate() {
        let sum: Option<String> = row.try_get(2 + 2 * position)?;
        let sum = sum.map_or(Ok(0), |digits| digits.parse()).map_err(|error| Error::Decode(Box::new(error)))?;
        proven.push(ColumnProof {
            column: column.name.clone(),
            form: form(column, "").0,
            checksum: Checksum { cells: count(1 + 2 * position)?, sum: low_bits(sum) },
        });
    }
    Ok(PartProof { rows: count(0)?, columns: proven })
}
