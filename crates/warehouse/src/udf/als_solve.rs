//! `als_solve(f, c, gram, alpha0, lambda, nu, n_others)`: one vector of alternating least squares, per group.
//!
//! In: the vectors f of what a user (or an item) met, their weights c, and what all groups share: `gram(f)` over all vectors,
//! the weight α0 of what was not met, λ, ν, and the number of all vectors. The last five are the same in every row of a group.
//! Out: x = A⁻¹ b with A = α0·G + Σ c·f·fᵀ + λ(n + α0·N)^ν E and b = Σ c·f, n the rows of the group; null for no rows.
//! (Hu, Koren & Volinsky, ICDM 2008; Rendle et al. 2021.) Rows whose f or c is null are left out.
//! Sums are kept in `f32`, as the kernel in memory does, the system is solved in `f64`. The same rows in the same order give the
//! same bits; in another order, what `f32` rounds differently.
//! Memory: a group of n rows takes 4·n(d+1) bytes until that is as much as a triangle, then 4·d(d+1)/2 and eight rows: 11 kB at
//! d = 64, 36 kB at d = 128. Over input sorted by the group key that is held once per partition. Over other input it is held for
//! every group (137,000 at d = 64: up to 1.5 GB), counted against the engine's limit and spilled beyond it; between the two
//! stages of an aggregation `gram` travels beside each state, 19 kB at d = 64. A window over the group key sorts:
//! `row_number() over (partition by k order by …)` with a condition on its result (a test looks at the plan).
//! The engine repeats `gram` for every row of a batch of 8,192 while it is summed up: 68 MB at d = 64.
//! Never here: which rows belong together; a second try with more regularisation.
//! Start at [`AlsState`].

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Float32Builder, Float64Array, Float64Builder, Int64Array, ListBuilder, PrimitiveArray,
};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility};

use super::arguments::{Kind, Vectors, check, coerced, numbers, vector_type, wholes};
use super::grouped::{Alone, GroupState, Groups, refuse_distinct};
use super::triangle::{add_outer, factor, order_of, packed_len, solve};

const NAME: &str = "als_solve";
const ARGUMENTS: [(&str, Kind); 7] = [
    ("f", Kind::Vector),
    ("c", Kind::Number),
    ("gram", Kind::Vector),
    ("alpha0", Kind::Number),
    ("lambda", Kind::Number),
    ("nu", Kind::Number),
    ("n_others", Kind::Number),
];

/// Rows gathered before a triangle that exists is touched: it is then read from memory once for all of them.
const ROWS_PER_FOLD: usize = 8;

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct AlsSolve {
    signature: Signature,
}

impl AlsSolve {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for AlsSolve {
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
        let field = |(name, kind): (&str, DataType)| {
            Arc::new(Field::new(format_state_name(arguments.name, name), kind, true)) as FieldRef
        };
        let lists = ["rows", "sums", "gram"].map(|name| (name, vector_type()));
        let numbers = ["alpha0", "lambda", "nu", "n_others"].map(|name| (name, DataType::Float64));
        Ok(lists.into_iter().chain(numbers).chain([("count", DataType::Int64)]).map(field).collect())
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        refuse_distinct(NAME, &arguments)?;
        Ok(Box::new(Alone::<AlsState>::default()))
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs<'_>) -> bool {
        !arguments.is_distinct
    }

    fn create_groups_accumulator(&self, _arguments: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups::<AlsState>::default()))
    }
}

/// What is known of one group.
#[derive(Debug, Default, Clone)]
struct AlsState {
    count: u64,
    /// Rows that are not summed yet: c, then f.
    rows: Vec<f32>,
    /// b, then the lower triangle of Σ c·f·fᵀ; empty while there are few rows.
    sums: Vec<f32>,
    /// From the first row on.
    system: Option<System>,
}

/// What all groups share, as far as one group knows.
#[derive(Debug, Clone)]
struct System {
    d: usize,
    gram: Arc<[f32]>,
    /// α0, λ, ν, N.
    parameters: [f64; 4],
}

/// Columns of rows.
struct Rows<'a> {
    vectors: Vectors<'a>,
    weights: &'a Float64Array,
    grams: Vectors<'a>,
    parameters: [&'a Float64Array; 4],
}

/// Columns of stored states.
struct StoredStates<'a> {
    rows: Vectors<'a>,
    sums: Vectors<'a>,
    grams: Vectors<'a>,
    parameters: [&'a Float64Array; 4],
    counts: &'a PrimitiveArray<Int64Type>,
}

impl Rows<'_> {
    /// What the group's first row says of the system. Errors: an argument is null or out of range, the Gram matrix is another's.
    fn system(&self, shared: &mut Option<Arc<[f32]>>, row: usize, d: usize) -> Result<System> {
        let null = ARGUMENTS[3..].iter().zip(self.parameters).find(|(_, column)| column.is_null(row));
        let (gram, null) = (self.grams.get(row)?, null.map(|((name, _), _)| *name));
        let (Some(gram), None) = (gram, null) else {
            let name = null.unwrap_or("gram");
            return exec_err!("argument `{name}` of `als_solve` is null; give it a value in every row of a group");
        };
        if gram.len() != packed_len(d) {
            return exec_err!(
                "`gram` of `als_solve` has `{}` numbers, and vectors of `{d}` need `{}`; make it with `gram(f)` over the same vectors",
                gram.len(),
                packed_len(d)
            );
        }
        let parameters = self.parameters.map(|column| column.value(row));
        let [alpha0, lambda, nu, others] = parameters;
        if !(parameters.iter().all(|value| value.is_finite()) && alpha0 >= 0.0 && lambda >= 0.0 && others >= 0.0) {
            return exec_err!(
                "`als_solve` got alpha0 `{alpha0}`, lambda `{lambda}`, nu `{nu}`, n_others `{others}`; give numbers, and none but nu below 0"
            );
        }
        Ok(System { d, gram: one_of(shared, gram), parameters })
    }
}

/// The Gram matrix that the groups before had, if it is the same: one copy for all.
fn one_of(shared: &mut Option<Arc<[f32]>>, gram: &[f32]) -> Arc<[f32]> {
    match shared {
        Some(known) if known[..] == *gram => Arc::clone(known),
        Some(_) | None => Arc::clone(shared.insert(gram.into())),
    }
}

impl AlsState {
    /// Takes a row in. `row` is c, then f.
    fn push(&mut self, d: usize, row: impl IntoIterator<Item = f32>) {
        self.rows.extend(row);
        let most = if self.sums.is_empty() { (d + 2).div_ceil(2) } else { ROWS_PER_FOLD };
        if self.rows.len() >= most * (d + 1) {
            self.fold(d);
        }
    }

    /// Sums the rows that are not summed yet.
    fn fold(&mut self, d: usize) {
        if self.sums.is_empty() {
            self.sums = vec![0.0; d + packed_len(d)];
        }
        let (right, triangle) = self.sums.split_at_mut(d);
        for row in self.rows.chunks_exact(d + 1) {
            let (weight, vector) = (row[0], &row[1..]);
            right.iter_mut().zip(vector).for_each(|(sum, value)| *sum += weight * value);
            add_outer(triangle, weight, vector);
        }
        self.rows.clear();
        // From the room for the first rows down to that for eight.
        self.rows.shrink_to(ROWS_PER_FOLD * (d + 1));
    }

    /// Errors: vectors of two lengths in one group.
    fn check_length(&self, d: usize) -> Result<()> {
        match &self.system {
            Some(system) if system.d != d => exec_err!(
                "`als_solve` got vectors of `{}` and of `{d}` numbers in one group; give vectors of one length",
                system.d
            ),
            Some(_) | None => Ok(()),
        }
    }

    /// A⁻¹ b; nothing for a group without rows.
    fn solution(&mut self) -> Result<Option<Vec<f64>>> {
        let Some(System { d, gram, parameters: [alpha0, lambda, nu, others] }) = self.system.clone() else {
            return Ok(None);
        };
        self.fold(d);
        let (right, triangle) = self.sums.split_at(d);
        let mut system: Vec<f64> = triangle
            .iter()
            .zip(gram.iter())
            .map(|(sum, shared)| f64::from(*sum) + alpha0 * f64::from(*shared))
            .collect();
        let ridge = lambda * (self.count as f64 + alpha0 * others).powf(nu);
        (0..d).for_each(|r| system[packed_len(r) + r] += ridge);
        factor(&mut system, d)?;
        let mut solution: Vec<f64> = right.iter().map(|sum| f64::from(*sum)).collect();
        solve(&system, &mut solution);
        if solution.iter().any(|value| !(*value as f32).is_finite()) {
            return exec_err!(
                "the solution of a group is not finite; look for vectors and weights that are far too large"
            );
        }
        Ok(Some(solution))
    }
}

impl GroupState for AlsState {
    type Shared = Option<Arc<[f32]>>;
    type Rows<'a> = Rows<'a>;
    type Stored<'a> = StoredStates<'a>;

    fn rows(columns: &[ArrayRef]) -> Result<Rows<'_>> {
        Ok(Rows {
            vectors: Vectors::new(NAME, "f", &columns[0])?,
            weights: numbers(&columns[1])?,
            grams: Vectors::new(NAME, "gram", &columns[2])?,
            parameters: [numbers(&columns[3])?, numbers(&columns[4])?, numbers(&columns[5])?, numbers(&columns[6])?],
        })
    }

    fn add(&mut self, shared: &mut Self::Shared, rows: &Rows<'_>, row: usize) -> Result<()> {
        let Some(vector) = rows.vectors.get(row)? else { return Ok(()) };
        if rows.weights.is_null(row) {
            return Ok(());
        }
        let (d, weight) = (vector.len(), rows.weights.value(row));
        if !(weight >= 0.0 && (weight as f32).is_finite()) {
            return exec_err!("weight `{weight}` of `als_solve` is no weight; give numbers from 0 to 1e38");
        }
        self.check_length(d)?;
        if self.system.is_none() {
            self.system = Some(rows.system(shared, row, d)?);
        }
        self.count += 1;
        self.push(d, [weight as f32].into_iter().chain(vector.iter().copied()));
        Ok(())
    }

    fn stored(columns: &[ArrayRef]) -> Result<StoredStates<'_>> {
        Ok(StoredStates {
            rows: Vectors::new(NAME, "rows", &columns[0])?,
            sums: Vectors::new(NAME, "sums", &columns[1])?,
            grams: Vectors::new(NAME, "gram", &columns[2])?,
            parameters: [numbers(&columns[3])?, numbers(&columns[4])?, numbers(&columns[5])?, numbers(&columns[6])?],
            counts: wholes(&columns[7])?,
        })
    }

    fn merge(&mut self, shared: &mut Self::Shared, stored: &StoredStates<'_>, row: usize) -> Result<()> {
        let gram = stored.grams.stored(row);
        if gram.is_empty() {
            return Ok(());
        }
        let d = order_of(gram.len()).unwrap_or_default();
        self.check_length(d)?;
        if self.system.is_none() {
            let parameters = stored.parameters.map(|column| column.value(row));
            self.system = Some(System { d, gram: one_of(shared, gram), parameters });
        }
        self.count += stored.counts.value(row).cast_unsigned();
        let sums = stored.sums.stored(row);
        if !sums.is_empty() {
            self.fold(d);
            self.sums.iter_mut().zip(sums).for_each(|(sum, other)| *sum += other);
        }
        stored.rows.stored(row).chunks_exact(d + 1).for_each(|row| self.push(d, row.iter().copied()));
        Ok(())
    }

    fn results(states: &mut [Self]) -> Result<ArrayRef> {
        let mut solutions = ListBuilder::new(Float32Builder::new());
        for state in states {
            let solution = state.solution()?;
            solution.iter().flatten().for_each(|value| solutions.values().append_value(*value as f32));
            solutions.append(solution.is_some());
        }
        Ok(Arc::new(solutions.finish()))
    }

    fn store(states: &[Self]) -> Result<Vec<ArrayRef>> {
        let lists = |of: &dyn Fn(&Self) -> &[f32]| {
            let mut lists = ListBuilder::new(Float32Builder::new());
            for state in states {
                lists.values().append_slice(of(state));
                lists.append(!of(state).is_empty());
            }
            Arc::new(lists.finish()) as ArrayRef
        };
        let mut columns = vec![
            lists(&|state| &state.rows),
            lists(&|state| &state.sums),
            lists(&|state| state.system.as_ref().map_or(&[], |system| &system.gram)),
        ];
        for place in 0..4 {
            let mut numbers = Float64Builder::with_capacity(states.len());
            states.iter().for_each(|state| numbers.append_option(state.system.as_ref().map(|s| s.parameters[place])));
            columns.push(Arc::new(numbers.finish()));
        }
        let counts = states.iter().map(|state| state.count.cast_signed());
        columns.push(Arc::new(Int64Array::from_iter_values(counts)));
        Ok(columns)
    }

    fn bytes(&self) -> usize {
        (self.rows.capacity() + self.sums.capacity()) * size_of::<f32>()
    }
}
