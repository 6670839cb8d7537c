//! `item_similarity(kind, k11, g, n_i, n_j, d_i, d_j, users, a, shrink)`: how strongly item i speaks for item j.
//!
//! In: what a self-join of interactions counts. i stands in the history, j is scored; k11 users chose both, n_i and n_j chose
//! one; g = Σ_u c_ui·c_uj; d_i = Σ_u c_ui², d_j likewise; `users` in all.  Out: a double, 0 for what speaks for nothing.
//!
//! | kind | similarity | arguments it uses |
//! |---|---|---|
//! | `cosine` | g / (d_i^a · d_j^(1−a) + shrink); a = ½ and shrink = 0 make the cosine | g, d_i, d_j, a, shrink |
//! | `llr` | Dunning's log-likelihood ratio (Computational Linguistics 1993); 0 for pairs no more frequent than by chance | k11, n_i, n_j, users |
//! | `jaccard` | k11 / (n_i + n_j − k11) | k11, n_i, n_j |
//!
//! Null where an argument that the kind uses is null; the others are not looked at.
//! Never here: which pairs are kept; that is the statement's `row_number`.
//! Start at [`Similarity::of`].

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array};
use arrow::datatypes::DataType;
use datafusion::common::cast::as_string_array;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::arguments::{Kind, check, coerced, numbers};

const NAME: &str = "item_similarity";
const ARGUMENTS: [(&str, Kind); 10] = [
    ("kind", Kind::Text),
    ("k11", Kind::Number),
    ("g", Kind::Number),
    ("n_i", Kind::Number),
    ("n_j", Kind::Number),
    ("d_i", Kind::Number),
    ("d_j", Kind::Number),
    ("users", Kind::Number),
    ("a", Kind::Number),
    ("shrink", Kind::Number),
];

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ItemSimilarity {
    signature: Signature,
}

impl ItemSimilarity {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for ItemSimilarity {
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
        let kinds = as_string_array(&columns[0])?;
        let pairs = Pairs { columns: columns[1..].iter().map(numbers).collect::<Result<_>>()? };
        let similarity = |row: usize| {
            if kinds.is_null(row) {
                return Ok(None);
            }
            Ok(Similarity::parse(kinds.value(row))?.of(&pairs, row))
        };
        let similarities: Float64Array = (0..kinds.len()).map(similarity).collect::<Result<_>>()?;
        let similarities: ArrayRef = Arc::new(similarities);
        Ok(ColumnarValue::Array(similarities))
    }
}

/// The numbers of every pair, in the order of the arguments.
struct Pairs<'a> {
    columns: Vec<&'a Float64Array>,
}

impl Pairs<'_> {
    /// These arguments of a row, by place after `kind`; `None` if one is null.
    fn get<const N: usize>(&self, row: usize, places: [usize; N]) -> Option<[f64; N]> {
        let is_null = places.iter().any(|&place| self.columns[place].is_null(row));
        (!is_null).then(|| places.map(|place| self.columns[place].value(row)))
    }
}

/// How a pair is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Similarity {
    Cosine,
    Llr,
    Jaccard,
}

impl Similarity {
    fn parse(kind: &str) -> Result<Self> {
        match kind {
            "cosine" => Ok(Self::Cosine),
            "llr" => Ok(Self::Llr),
            "jaccard" => Ok(Self::Jaccard),
            unknown => exec_err!(
                "kind `{unknown}` of `item_similarity` does not exist; there are `cosine`, `llr` and `jaccard`"
            ),
        }
    }

    fn of(self, pairs: &Pairs<'_>, row: usize) -> Option<f64> {
        match self {
            Self::Cosine => pairs
                .get(row, [1, 4, 5, 7, 8])
                .map(|[g, d_i, d_j, a, shrink]| ratio(g, d_i.powf(a) * d_j.powf(1.0 - a) + shrink)),
            Self::Llr => {
                pairs.get(row, [0, 2, 3, 6]).map(|[k11, n_i, n_j, users]| log_likelihood_ratio(k11, n_i, n_j, users))
            }
            Self::Jaccard => pairs.get(row, [0, 2, 3]).map(|[k11, n_i, n_j]| ratio(k11, n_i + n_j - k11)),
        }
    }
}

/// 0 where there is nothing to divide by: two items that nobody chose have nothing in common.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}

/// Dunning's ratio, with f(x) = x·ln x: 2 [Σ f(cells) − Σ f(row sums) − Σ f(column sums) + f(users)].
fn log_likelihood_ratio(k11: f64, n_i: f64, n_j: f64, users: f64) -> f64 {
    // Less often together than by chance is as significant, but speaks against the pair.
    if k11 * users <= n_i * n_j {
        return 0.0;
    }
    let f = |x: f64| if x > 0.0 { x * x.ln() } else { 0.0 };
    let cells = f(k11) + f(n_i - k11) + f(n_j - k11) + f(users - n_i - n_j + k11);
    let rows = f(n_i) + f(users - n_i);
    let columns = f(n_j) + f(users - n_j);
    (2.0 * (cells - rows - columns + f(users))).max(0.0)
}
