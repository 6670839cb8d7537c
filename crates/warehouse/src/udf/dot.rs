//! `dot(a, b)`: the inner product of two vectors, which is the score of an item for a user.
//!
//! In: two lists of numbers, as `f32`.  Out: a double; null where a vector is null.
//! The engine's own `inner_product` takes lists of doubles: over factors it would copy both to twice their size first.
//! Never here: nearest neighbours.
//! Start at [`Dot`].

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array};
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::arguments::{Kind, Vectors, check, coerced};

const NAME: &str = "dot";
const ARGUMENTS: [(&str, Kind); 2] = [("a", Kind::Vector), ("b", Kind::Vector)];

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Dot {
    signature: Signature,
}

impl Dot {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Dot {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        Ok(coerced(NAME, &ARGUMENTS, given))
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        check(NAME, &ARGUMENTS, given)?;
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let (left, right) = (Vectors::new(NAME, "a", &columns[0])?, Vectors::new(NAME, "b", &columns[1])?);
        let products: Float64Array =
            (0..columns[0].len()).map(|row| product(&left, &right, row)).collect::<Result<_>>()?;
        let products: ArrayRef = Arc::new(products);
        Ok(ColumnarValue::Array(products))
    }
}

fn product(left: &Vectors<'_>, right: &Vectors<'_>, row: usize) -> Result<Option<f64>> {
    let (Some(left), Some(right)) = (left.get(row)?, right.get(row)?) else { return Ok(None) };
    if left.len() != right.len() {
        return exec_err!(
            "`dot` got vectors of `{}` and of `{}` numbers; give two of one length",
            left.len(),
            right.len()
        );
    }
    Ok(Some(left.iter().zip(right).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()))
}
