//! `gram(f)`: Σ f·fᵀ over vectors f, the part of every least-squares system that all groups share.
//!
//! In: lists of d numbers.  Out: the lower triangle, d(d+1)/2 numbers, row by row; null for no rows. Null vectors are left out.
//! Sums are kept in `f64`, so that the order of the rows does not change the result beyond the last bit of its `f32`.
//! Memory: 4·d(d+1) bytes per group (17 kB at d = 64).
//! Never here: weights; the caller may scale the vectors.
//! Start at [`GramState`].

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Builder, Float64Array, Float64Builder, ListArray, ListBuilder};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::cast::{as_list_array, as_primitive_array};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility};

use super::arguments::{Kind, Vectors, check, coerced, stored, vector_type};
use super::grouped::{Alone, GroupState, Groups, refuse_distinct};
use super::triangle::{add_outer_exact, order_of, packed_len};

const NAME: &str = "gram";
const ARGUMENTS: [(&str, Kind); 1] = [("f", Kind::Vector)];

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Gram {
    signature: Signature,
}

impl Gram {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for Gram {
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
        Ok(vector_type())
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let sums = DataType::List(Arc::new(Field::new_list_field(DataType::Float64, true)));
        Ok(vec![Arc::new(Field::new(format_state_name(arguments.name, "sums"), sums, true))])
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        refuse_distinct(NAME, &arguments)?;
        Ok(Box::new(Alone::<GramState>::default()))
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs<'_>) -> bool {
        !arguments.is_distinct
    }

    fn create_groups_accumulator(&self, _arguments: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups::<GramState>::default()))
    }
}

/// The lower triangle of one group; empty before its first row.
#[derive(Debug, Default, Clone)]
struct GramState {
    sums: Vec<f64>,
}

/// Columns of stored triangles.
struct StoredSums<'a> {
    lists: &'a ListArray,
    elements: &'a Float64Array,
}

impl GramState {
    /// Makes room for vectors of `d` numbers. Errors: there were others.
    fn expect_length(&mut self, len: usize) -> Result<()> {
        if self.sums.is_empty() {
            self.sums = vec![0.0; len];
        }
        if self.sums.len() != len {
            let order = |len| order_of(len).unwrap_or_default();
            return exec_err!(
                "`gram` got vectors of `{}` and of `{}` numbers in one group; give vectors of one length",
                order(self.sums.len()),
                order(len)
            );
        }
        Ok(())
    }
}

impl GroupState for GramState {
    type Shared = ();
    type Rows<'a> = Vectors<'a>;
    type Stored<'a> = StoredSums<'a>;

    fn rows(columns: &[ArrayRef]) -> Result<Vectors<'_>> {
        Vectors::new(NAME, "f", &columns[0])
    }

    fn add(&mut self, _shared: &mut (), rows: &Vectors<'_>, row: usize) -> Result<()> {
        let Some(vector) = rows.get(row)? else { return Ok(()) };
        self.expect_length(packed_len(vector.len()))?;
        add_outer_exact(&mut self.sums, vector);
        Ok(())
    }

    fn stored(columns: &[ArrayRef]) -> Result<StoredSums<'_>> {
        let lists = as_list_array(&columns[0])?;
        Ok(StoredSums { lists, elements: as_primitive_array::<Float64Type>(lists.values())? })
    }

    fn merge(&mut self, _shared: &mut (), other: &StoredSums<'_>, row: usize) -> Result<()> {
        let other = stored(other.lists, other.elements, row);
        if other.is_empty() {
            return Ok(());
        }
        self.expect_length(other.len())?;
        self.sums.iter_mut().zip(other).for_each(|(sum, other)| *sum += other);
        Ok(())
    }

    fn results(states: &mut [Self]) -> Result<ArrayRef> {
        let mut triangles = ListBuilder::new(Float32Builder::new());
        for state in states {
            state.sums.iter().for_each(|sum| triangles.values().append_value(*sum as f32));
            triangles.append(!state.sums.is_empty());
        }
        Ok(Arc::new(triangles.finish()))
    }

    fn store(states: &[Self]) -> Result<Vec<ArrayRef>> {
        let mut sums = ListBuilder::new(Float64Builder::new());
        for state in states {
            sums.values().append_slice(&state.sums);
            sums.append(!state.sums.is_empty());
        }
        Ok(vec![Arc::new(sums.finish())])
    }

    fn bytes(&self) -> usize {
        self.sums.capacity() * size_of::<f64>()
    }
}
