//! Compares what a load has written with what the source says its rows are: count, and a checksum per column.
//!
//! In: the source's proof, the files of the load, read back as any reader would.  Out: nothing when they agree; else which column differs.
//! A cell that extraction could not carry over is null in the table, and counts with the original that its reject keeps.
//! Never here: computing the source's side (`connect`).
//! Start at [`compare`].

use std::collections::HashMap;
use std::time::Instant;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use datafusion::dataframe::DataFrame;
use domain::{
    CellForm, Checksum, ProofHash, SourceProof, StageManifest, StagedFile, TableName, date_text, mantissa_and_exponent,
    time_text,
};
use futures::TryStreamExt;
use md5::{Digest, Md5};

use super::parquet::source_name;
use crate::engine::{Engine, Scope};
use crate::error::{Result, WarehouseError};
use crate::sql_error::engine_error;
use crate::table::DataFile;

/// Days and microseconds from 1970-01-01 to 2000-01-01, from where PostgreSQL counts.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_US: i64 = 946_684_800_000_000;
/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;
/// How extraction shows a moment of PostgreSQL that no timestamp can carry: microseconds since 2000-01-01.
const FAR_MOMENT: &str = " µs after 2000-01-01";

/// What was compared, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ProofReport {
    /// Rows, equal on both sides.
    pub rows: u64,
    /// Columns whose count and checksum are equal on both sides.
    pub columns: usize,
    /// Columns that cannot be compared: they were left out of the load, or hold a reject whose original is not exact.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_compared: Vec<String>,
    /// Time the comparison took here.
    pub milliseconds: u64,
}

/// One column on its way through the comparison.
#[derive(Clone)]
struct Tracked {
    /// Place in the table; `None` when the load left it out.
    place: Option<usize>,
    form: CellForm,
    /// Of the table's cells and of the originals of rejects.
    checksum: Checksum,
    is_exact: bool,
}

/// Reads `files` back and compares them with `proof`. `Err` of the inner result is the difference, as a sentence.
pub(crate) async fn compare(
    engine: &Engine,
    (table, files, schema): (&TableName, &[DataFile], &SchemaRef),
    proof: &SourceProof,
    manifest: &StageManifest,
) -> Result<Result<ProofReport, String>> {
    let since = Instant::now();
    let mut columns = tracked(proof, schema);
    match &manifest.changes {
        Some(rules) => {
            let unproven =
                proof.columns.iter().zip(&mut columns).filter(|(column, _)| rules.unproven.contains(&column.column));
            unproven.for_each(|(_, column)| column.is_exact = false);
        }
        None => manifest.files.iter().for_each(|file| add_rejects(proof, file, &mut columns)),
    }
    let rows = add_rows(engine, table, files, schema, proof.hash, &mut columns).await?;
    if rows != proof.rows {
        return Ok(Err(format!("the source has {} rows, and {rows} were loaded", proof.rows)));
    }
    let mut not_compared = Vec::new();
    for (column, found) in proof.columns.iter().zip(&columns) {
        if found.place.is_none() || !found.is_exact {
            not_compared.push(column.column.clone());
            continue;
        }
        if found.checksum.cells != column.checksum.cells {
            let (source, here) = (column.checksum.cells, found.checksum.cells);
            let name = &column.column;
            return Ok(Err(format!("column `{name}` has {source} values at the source, and {here} were loaded")));
        }
        if found.checksum != column.checksum {
            return Ok(Err(format!("the values of column `{}` are not those of the source", column.column)));
        }
    }
    let milliseconds = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Ok(ProofReport { rows, columns: proof.columns.len() - not_compared.len(), not_compared, milliseconds }))
}

fn tracked(proof: &SourceProof, schema: &SchemaRef) -> Vec<Tracked> {
    let places: HashMap<&str, usize> =
        schema.fields().iter().enumerate().map(|(place, field)| (source_name(field), place)).collect();
    let track = |column: &domain::ColumnProof| Tracked {
        place: places.get(column.column.as_str()).copied(),
        form: column.form,
        checksum: Checksum::default(),
        is_exact: true,
    };
    proof.columns.iter().map(track).collect()
}

/// Counts the originals of the cells that are null here and were not at the source.
fn add_rejects(proof: &SourceProof, file: &StagedFile, columns: &mut [Tracked]) {
    let mut bytes = Vec::new();
    for reject in &file.rejects {
        let Some(at) = proof.columns.iter().position(|column| column.column == reject.column) else { continue };
        bytes.clear();
        if original_bytes(columns[at].form, &reject.original, &mut bytes) {
            columns[at].checksum.add(hash_of(proof.hash, &bytes));
        } else {
            columns[at].is_exact = false;
        }
    }
}

/// The bytes that the source hashed for a cell, from how its reject shows it; false when that is not exact.
fn original_bytes(form: CellForm, original: &str, bytes: &mut Vec<u8>) -> bool {
    match form {
        CellForm::Date | CellForm::DateTime { .. } | CellForm::Decimal { .. } => bytes.extend(original.as_bytes()),
        CellForm::Days => match original {
            "infinity" => bytes.extend(i32::MAX.to_be_bytes()),
            "-infinity" => bytes.extend(i32::MIN.to_be_bytes()),
            _ => return false,
        },
        CellForm::Micros => match original {
            "infinity" => bytes.extend(i64::MAX.to_be_bytes()),
            "-infinity" => bytes.extend(i64::MIN.to_be_bytes()),
            _ => match original.strip_suffix(FAR_MOMENT).and_then(|micros| micros.parse::<i64>().ok()) {
                Some(micros) => bytes.extend(micros.to_be_bytes()),
                None => return false,
            },
        },
        // Text and bytes are shown in part, and as hexadecimal digits.
        CellForm::Text
        | CellForm::Bytes
        | CellForm::Integer
        | CellForm::MantissaAndExponent
        | CellForm::Float
        | CellForm::Double
        | CellForm::Time { .. }
        | CellForm::MicrosOfDay => return false,
    }
    true
}

/// Reads the files, as many at a time as the engine has partitions, and adds up their cells; answers the number of rows.
async fn add_rows(
    engine: &Engine,
    table: &TableName,
    files: &[DataFile],
    schema: &SchemaRef,
    hash: ProofHash,
    columns: &mut [Tracked],
) -> Result<u64> {
    let fail = |error| engine_error(error, "");
    let provider = engine.files(table, files, schema.clone())?;
    let session = engine.session(&Scope::new())?;
    let frame: DataFrame = session.read_table(provider).map_err(fail)?;
    let mut work = tokio::task::JoinSet::new();
    for mut stream in frame.execute_stream_partitioned().await.map_err(fail)? {
        let mut columns: Vec<Tracked> =
            columns.iter().map(|column| Tracked { checksum: Checksum::default(), ..column.clone() }).collect();
        work.spawn(async move {
            let mut rows = 0;
            while let Some(batch) = stream.try_next().await.map_err(|error| engine_error(error, ""))? {
                rows += batch.num_rows() as u64;
                add_batch(&batch, hash, &mut columns)?;
            }
            Ok::<_, WarehouseError>((rows, columns))
        });
    }
    let mut rows = 0;
    while let Some(ended) = work.join_next().await {
        let (part_rows, part) = ended.map_err(|error| WarehouseError::internal(error.to_string()))??;
        rows += part_rows;
        columns.iter_mut().zip(part).for_each(|(column, found)| column.checksum.merge(found.checksum));
    }
    Ok(rows)
}

fn add_batch(batch: &RecordBatch, hash: ProofHash, columns: &mut [Tracked]) -> Result<()> {
    for column in columns {
        let Some(place) = column.place else { continue };
        let array = batch.column(place);
        let added = add_cells(array, column.form, hash, &mut column.checksum);
        added.ok_or_else(|| {
            let name = batch.schema().field(place).name().clone();
            WarehouseError::internal(format!(
                "column `{name}` is {} and is proven as {:?}",
                array.data_type(),
                column.form
            ))
        })?;
    }
    Ok(())
}

/// Adds the cells of one column; `None` when its type has no such form.
fn add_cells(array: &dyn Array, form: CellForm, hash: ProofHash, sum: &mut Checksum) -> Option<()> {
    let mut cells = Cells { array, hash, sum, bytes: Vec::with_capacity(64) };
    match form {
        CellForm::Integer
        | CellForm::Decimal { .. }
        | CellForm::MantissaAndExponent
        | CellForm::Float
        | CellForm::Double => cells.numbers(form),
        CellForm::Date
        | CellForm::Days
        | CellForm::DateTime { .. }
        | CellForm::Micros
        | CellForm::Time { .. }
        | CellForm::MicrosOfDay => cells.moments(form),
        CellForm::Text | CellForm::Bytes => cells.texts(),
    }
}

/// The cells of one column on their way into its checksum.
struct Cells<'a> {
    array: &'a dyn Array,
    hash: ProofHash,
    sum: &'a mut Checksum,
    bytes: Vec<u8>,
}

impl Cells<'_> {
    /// Adds each cell that is not null; `write` gives the bytes of the one in a place.
    fn each(&mut self, write: impl Fn(usize, &mut Vec<u8>)) -> Option<()> {
        for at in (0..self.array.len()).filter(|at| self.array.is_valid(*at)) {
            self.bytes.clear();
            write(at, &mut self.bytes);
            self.sum.add(hash_of(self.hash, &self.bytes));
        }
        Some(())
    }

    fn numbers(&mut self, form: CellForm) -> Option<()> {
        let array = self.array;
        match (form, array.data_type()) {
            (CellForm::Integer, DataType::Boolean) => {
                let cells = array.as_boolean();
                self.each(|at, bytes| bytes.push(b'0' + u8::from(cells.value(at))))
            }
            (CellForm::Integer, _) => {
                let integers = integers(array)?;
                self.each(|at, bytes| push(bytes, format_args!("{}", integers(at))))
            }
            (CellForm::Decimal { scale }, DataType::Decimal128(_, found)) if i8::try_from(scale) == Ok(*found) => {
                let cells = array.as_primitive::<Decimal128Type>();
                self.each(|at, bytes| push_decimal(bytes, cells.value(at), scale))
            }
            // A decimal over 38 digits is text in a table, as exact as the source prints it.
            (CellForm::Decimal { .. }, _) => self.texts(),
            (CellForm::MantissaAndExponent, DataType::Float64) => {
                let cells = array.as_primitive::<Float64Type>();
                self.each(|at, bytes| push_double(bytes, cells.value(at)))
            }
            (CellForm::MantissaAndExponent, DataType::Float32) => {
                let cells = array.as_primitive::<Float32Type>();
                self.each(|at, bytes| push_double(bytes, f64::from(cells.value(at))))
            }
            (CellForm::Float, DataType::Float32) => {
                let cells = array.as_primitive::<Float32Type>();
                self.each(|at, bytes| bytes.extend(cells.value(at).to_be_bytes()))
            }
            (CellForm::Double, DataType::Float64) => {
                let cells = array.as_primitive::<Float64Type>();
                self.each(|at, bytes| bytes.extend(cells.value(at).to_be_bytes()))
            }
            _ => None,
        }
    }

    fn moments(&mut self, form: CellForm) -> Option<()> {
        let array = self.array;
        match (form, array.data_type()) {
            (CellForm::Date, DataType::Date32) => {
                let cells = array.as_primitive::<Date32Type>();
                self.each(|at, bytes| push_moment(bytes, i64::from(cells.value(at)), None))
            }
            (CellForm::Days, DataType::Date32) => {
                let cells = array.as_primitive::<Date32Type>();
                self.each(|at, bytes| bytes.extend(cells.value(at).wrapping_sub(EPOCH_DAYS).to_be_bytes()))
            }
            (CellForm::DateTime { digits }, DataType::Timestamp(TimeUnit::Microsecond, _)) => {
                let cells = array.as_primitive::<TimestampMicrosecondType>();
                self.each(|at, bytes| {
                    let micros = cells.value(at);
                    push_moment(bytes, micros.div_euclid(DAY_US), Some((micros.rem_euclid(DAY_US), digits)));
                })
            }
            (CellForm::Micros, DataType::Timestamp(TimeUnit::Microsecond, _)) => {
                let cells = array.as_primitive::<TimestampMicrosecondType>();
                self.each(|at, bytes| bytes.extend(cells.value(at).wrapping_sub(EPOCH_US).to_be_bytes()))
            }
            (CellForm::Time { digits }, DataType::Int64) => {
                let cells = array.as_primitive::<Int64Type>();
                self.each(|at, bytes| {
                    let mut text = String::with_capacity(20);
                    time_text(cells.value(at), digits, &mut text);
                    bytes.extend(text.as_bytes());
                })
            }
            (CellForm::MicrosOfDay, DataType::Int64) => {
                let cells = array.as_primitive::<Int64Type>();
                self.each(|at, bytes| bytes.extend(cells.value(at).to_be_bytes()))
            }
            _ => None,
        }
    }

    /// Texts and bytes as they are; a column is of one of these types, so the form needs no second look.
    fn texts(&mut self) -> Option<()> {
        let array = self.array;
        if let Some(cells) = array.as_string_opt::<i32>() {
            self.each(|at, bytes| bytes.extend(cells.value(at).as_bytes()))
        } else if let Some(cells) = array.as_string_view_opt() {
            self.each(|at, bytes| bytes.extend(cells.value(at).as_bytes()))
        } else if let Some(cells) = array.as_binary_opt::<i32>() {
            self.each(|at, bytes| bytes.extend(cells.value(at)))
        } else if let Some(cells) = array.as_binary_view_opt() {
            self.each(|at, bytes| bytes.extend(cells.value(at)))
        } else {
            None
        }
    }
}

/// Reads the whole numbers of a column of any width; an unsigned 64-bit one is a decimal without places in a table.
fn integers(array: &dyn Array) -> Option<Box<dyn Fn(usize) -> i128 + '_>> {
    macro_rules! of {
        ($type:ty) => {{
            let cells = array.as_primitive_opt::<$type>()?;
            Box::new(move |at| i128::from(cells.value(at)))
        }};
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other type of Arrow is no whole number")]
    Some(match array.data_type() {
        DataType::Int8 => of!(Int8Type),
        DataType::Int16 => of!(Int16Type),
        DataType::Int32 => of!(Int32Type),
        DataType::Int64 => of!(Int64Type),
        DataType::Decimal128(_, 0) => of!(Decimal128Type),
        _ => return None,
    })
}

fn push(bytes: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    // Writing into a vector cannot fail.
    let _ = bytes.write_fmt(text);
}

/// Digits with a point before the last `scale` of them, as both servers print a DECIMAL.
fn push_decimal(bytes: &mut Vec<u8>, number: i128, scale: u8) {
    let scale = usize::from(scale);
    if number < 0 {
        bytes.push(b'-');
    }
    let start = bytes.len();
    push(bytes, format_args!("{:0width$}", number.unsigned_abs(), width = scale + 1));
    if scale > 0 {
        bytes.insert(bytes.len().max(start + scale) - scale, b'.');
    }
}

fn push_double(bytes: &mut Vec<u8>, number: f64) {
    let mut text = String::with_capacity(24);
    mantissa_and_exponent(number, &mut text);
    bytes.extend(text.as_bytes());
}

/// A day, and microseconds of it with so many digits of a second.
fn push_moment(bytes: &mut Vec<u8>, days: i64, time: Option<(i64, u8)>) {
    let mut text = String::with_capacity(26);
    date_text(days, &mut text);
    if let Some((micros, digits)) = time {
        text.push(' ');
        time_text(micros, digits, &mut text);
    }
    bytes.extend(text.as_bytes());
}

/// The hash of a cell's bytes. Source of both: `domain::ProofHash`.
fn hash_of(hash: ProofHash, bytes: &[u8]) -> u64 {
    match hash {
        ProofHash::Crc32 => u64::from(crc32fast::hash(bytes)),
        ProofHash::Md5 => {
            let digest = Md5::digest(bytes);
            digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte)) >> 4
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_servers() {
        // MariaDB: SELECT CRC32('123456789'). PostgreSQL: SELECT ('x' || left(md5('abc'), 15))::bit(60)::bigint.
        assert_eq!(hash_of(ProofHash::Crc32, b"123456789"), 3_421_780_262);
        assert_eq!(hash_of(ProofHash::Md5, b"abc"), 0x0900_1509_83cd_24fb);
    }

    #[test]
    fn decimals_are_printed_as_the_servers_do() {
        let shown = |number, scale| {
            let mut bytes = Vec::new();
            push_decimal(&mut bytes, number, scale);
            String::from_utf8(bytes).unwrap()
        };
        assert_eq!(
            [shown(0, 4), shown(-1, 4), shown(123_456, 2), shown(-7, 0)],
            ["0.0000", "-0.0001", "1234.56", "-7"]
        );
    }

    #[test]
    fn moments_before_1970_are_printed_as_the_server_does() {
        let mut bytes = Vec::new();
        push_moment(&mut bytes, -1, Some((DAY_US - 1, 6)));
        assert_eq!(String::from_utf8(bytes).unwrap(), "1969-12-31 23:59:59.999999");
    }
}
