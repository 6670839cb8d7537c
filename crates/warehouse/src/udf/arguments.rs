//! What the functions are given: vectors and numbers, whatever width they come in.
//!
//! In: types and columns.  Out: `f32` slices and `f64` numbers, or one sentence that names function, argument and remedy.
//! Never here: arithmetic.
//! Start at [`Vectors`].

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float32Array, Float64Array, ListArray, PrimitiveArray};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Field, Float32Type, Float64Type, Int64Type};
use datafusion::common::cast::{as_list_array, as_primitive_array};
use datafusion::common::{Result, exec_err, plan_err};

/// What an argument has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Vector,
    Number,
    Whole,
    Text,
}

impl Kind {
    fn data_type(self) -> DataType {
        match self {
            Self::Vector => vector_type(),
            Self::Number => DataType::Float64,
            Self::Whole => DataType::Int64,
            Self::Text => DataType::Utf8,
        }
    }

    fn wanted(self) -> &'static str {
        match self {
            Self::Vector => "a list of numbers",
            Self::Number => "a number",
            Self::Whole => "a whole number",
            Self::Text => "a text",
        }
    }

    fn accepts(self, given: &DataType) -> bool {
        let is_null = given.is_null();
        match self {
            Self::Vector => is_null || element(given).is_some_and(|element| element.is_null() || element.is_numeric()),
            Self::Number => is_null || given.is_numeric(),
            // `row_number() - 1` is a decimal without places: its left side is unsigned, its right side signed.
            Self::Whole => is_null || given.is_integer() || matches!(given, DataType::Decimal128(_, 0)),
            Self::Text => is_null || given.is_string(),
        }
    }
}

/// The type in which vectors are kept and returned: a list of `f32`.
pub(super) fn vector_type() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Float32, true)))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "another crate's enum: every other type is no list")]
fn element(list: &DataType) -> Option<&DataType> {
    match list {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            Some(field.data_type())
        }
        _ => None,
    }
}

/// The types to which the engine is to cast what was given; what does not fit is left as it is, for [`check`] to refuse.
///
/// The engine would wrap an error from here into three of its own sentences.
pub(super) fn coerced(function: &str, names: &[(&str, Kind)], given: &[DataType]) -> Vec<DataType> {
    match check(function, names, given) {
        Ok(()) => names.iter().map(|(_, kind)| kind.data_type()).collect(),
        Err(_) => given.to_vec(),
    }
}

/// `names` are the arguments with what each has to be. Errors: another number of arguments, or one of the wrong kind.
pub(super) fn check(function: &str, names: &[(&str, Kind)], given: &[DataType]) -> Result<()> {
    if names.len() != given.len() {
        let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        return plan_err!("`{function}` got `{}` arguments; write `{function}({})`", given.len(), names.join(", "));
    }
    for ((name, kind), given) in names.iter().zip(given) {
        if !kind.accepts(given) {
            return plan_err!("argument `{name}` of `{function}` is `{given}`; give {}", kind.wanted());
        }
    }
    Ok(())
}

/// A column of vectors.
#[derive(Debug)]
pub(super) struct Vectors<'a> {
    function: &'static str,
    argument: &'static str,
    lists: &'a ListArray,
    elements: &'a Float32Array,
}

impl<'a> Vectors<'a> {
    pub(super) fn new(function: &'static str, argument: &'static str, column: &'a ArrayRef) -> Result<Self> {
        let lists = as_list_array(column)?;
        let elements = as_primitive_array::<Float32Type>(lists.values())?;
        Ok(Self { function, argument, lists, elements })
    }

    /// The vector of a row, `None` for null. Errors: it is empty, or one of its elements is null.
    pub(super) fn get(&self, row: usize) -> Result<Option<&'a [f32]>> {
        if self.lists.is_null(row) {
            return Ok(None);
        }
        let (from, to) = (self.lists.value_offsets()[row] as usize, self.lists.value_offsets()[row + 1] as usize);
        let (function, argument) = (self.function, self.argument);
        if from == to {
            return exec_err!("a vector `{argument}` of `{function}` is empty; leave it out, or make it null");
        }
        if self.elements.null_count() > 0 && (from..to).any(|place| self.elements.is_null(place)) {
            return exec_err!("a vector `{argument}` of `{function}` holds a null; give every place a number");
        }
        Ok(Some(&self.elements.values()[from..to]))
    }

    /// The list of a row as it stands, empty for null: for states that a function wrote itself.
    pub(super) fn stored(&self, row: usize) -> &'a [f32] {
        stored(self.lists, self.elements, row)
    }
}

/// The list of a row as it stands, empty for null.
pub(super) fn stored<'a, T: ArrowPrimitiveType>(
    lists: &ListArray,
    elements: &'a PrimitiveArray<T>,
    row: usize,
) -> &'a [T::Native] {
    if lists.is_null(row) {
        return &[];
    }
    let offsets = lists.value_offsets();
    &elements.values()[offsets[row] as usize..offsets[row + 1] as usize]
}

/// A column of numbers.
pub(super) fn numbers(column: &ArrayRef) -> Result<&Float64Array> {
    as_primitive_array::<Float64Type>(column)
}

/// A column of whole numbers.
pub(super) fn wholes(column: &ArrayRef) -> Result<&PrimitiveArray<Int64Type>> {
    as_primitive_array::<Int64Type>(column)
}
