//! `row_hash(a, b, …)`: a stable 64-bit hash of the values of a row, nulls included.
//!
//! In: any columns.  Out: Int64, never null; equal rows hash equally on every machine and in every release of this engine.
//! Never here: cryptography; sums of these hashes tell changed inputs from unchanged ones, not friends from foes.
//! Start at [`hash_rows`].

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

/// FNV-1a, 64 bit: offset basis and prime as published by Fowler, Noll and Vo (RFC 9923).
const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct RowHash {
    signature: Signature,
}

impl RowHash {
    pub(crate) fn new() -> Self {
        Self { signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for RowHash {
    fn name(&self) -> &str {
        "row_hash"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _argument_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let columns: Vec<ArrayRef> =
            arguments.args.into_iter().map(|value| value.into_array(rows)).collect::<Result<_>>()?;
        Ok(ColumnarValue::Array(Arc::new(hash_rows(&columns)?)))
    }
}

/// Hashes row by row over Arrow's row format, which keeps types, nulls and lengths apart.
fn hash_rows(columns: &[ArrayRef]) -> Result<Int64Array> {
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let converter = RowConverter::new(fields)?;
    let rows = converter.convert_columns(columns)?;
    Ok(rows.iter().map(|row| Some(hash_bytes(row.as_ref()).cast_signed())).collect())
}

fn hash_bytes(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME));
    // FNV's last bytes hardly reach the high bits; the finaliser of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014) spreads them.
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;

    use super::*;

    #[test]
    fn equal_rows_hash_equally_and_nulls_are_not_empty_text() {
        let names: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("a"), Some(""), None]));
        let hashes = hash_rows(&[names]).unwrap();
        assert_eq!(hashes.value(0), hashes.value(1));
        assert_ne!(hashes.value(2), hashes.value(3));
    }

    #[test]
    fn values_do_not_run_into_each_other() {
        let hash = |a: &str, b: &str| {
            let columns: [ArrayRef; 2] = [Arc::new(StringArray::from(vec![a])), Arc::new(StringArray::from(vec![b]))];
            hash_rows(&columns).unwrap().value(0)
        };
        assert_ne!(hash("ab", "c"), hash("a", "bc"));
    }
}
