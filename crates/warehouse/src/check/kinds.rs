//! How each kind of check finds its bad rows: one function, one plan.
//!
//! In: a session that knows the tables.  Out: a lazy frame of bad rows.
//! Never here: running the plan, severity.
//! Start at [`bad_rows`].

use datafusion::common::{JoinType, ScalarValue};
use datafusion::dataframe::DataFrame;
use datafusion::execution::context::SessionContext;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Expr, ident, lit};
use domain::TableName;
use serde_json::Value;

use super::{Check, CheckKind};
use crate::engine::{Engine, reference};
use crate::error::{Result, WarehouseError};
use crate::sql_error::engine_error;

/// The rows that break the check. `Sql` returns what its query returns.
pub(super) async fn bad_rows(engine: &Engine, session: &SessionContext, check: &Check) -> Result<DataFrame> {
    let table = frame(session, &check.table).await?;
    let found = match &check.kind {
        CheckKind::NotNull { columns } => not_null(table, columns),
        CheckKind::Unique { columns } => unique(table, columns),
        CheckKind::Accepted { column, values } => accepted(table, column, values),
        CheckKind::Relationship { column, to, to_column } => {
            relationship(table, column, frame(session, to).await?, to_column)
        }
        CheckKind::Range { column, min, max } => range(table, column, min.as_ref(), max.as_ref()),
        CheckKind::Sql { sql, .. } => {
            let plan = engine.plan(session, sql, &check.at).await?;
            Ok(DataFrame::new(session.state(), plan))
        }
    };
    found.map_err(|error| engine_error(error, &check.at))
}

async fn frame(session: &SessionContext, table: &TableName) -> Result<DataFrame> {
    let missing = |_| WarehouseError::NoSuchTable { table: table.to_string(), nearest: None, at: String::new() };
    session.table(reference(table)).await.map_err(missing)
}

type Found = datafusion::common::Result<DataFrame>;

fn not_null(table: DataFrame, columns: &[String]) -> Found {
    let is_null = columns.iter().map(|column| ident(column).is_null()).reduce(Expr::or);
    table.filter(is_null.unwrap_or_else(|| lit(false)))
}

fn unique(table: DataFrame, columns: &[String]) -> Found {
    let keys: Vec<Expr> = columns.iter().map(ident).collect();
    let has_keys = columns.iter().map(|column| ident(column).is_not_null()).reduce(Expr::and);
    table
        .filter(has_keys.unwrap_or_else(|| lit(true)))?
        .aggregate(keys, vec![count(lit(1_i64)).alias("rows")])?
        .filter(ident("rows").gt(lit(1_i64)))
}

fn accepted(table: DataFrame, column: &str, values: &[Value]) -> Found {
    let values = values.iter().map(|value| lit(scalar(value))).collect();
    table.filter(ident(column).is_not_null().and(ident(column).in_list(values, true)))
}

fn relationship(table: DataFrame, column: &str, to: DataFrame, to_column: &str) -> Found {
    // The other side gets a name of its own, because both sides may be one table or share column names.
    let keys = to.select(vec![ident(to_column).alias("montauk_key")])?;
    let table = table.filter(ident(column).is_not_null())?;
    table.join(keys, JoinType::LeftAnti, &[column], &["montauk_key"], None)
}

fn range(table: DataFrame, column: &str, min: Option<&Value>, max: Option<&Value>) -> Found {
    let below = min.map(|min| ident(column).lt(lit(scalar(min))));
    let above = max.map(|max| ident(column).gt(lit(scalar(max))));
    let outside = below.into_iter().chain(above).reduce(Expr::or).unwrap_or_else(|| lit(false));
    table.filter(outside)
}

/// A JSON value as the engine's; the engine converts it to the type of the column it meets.
fn scalar(value: &Value) -> ScalarValue {
    match value {
        Value::Null => ScalarValue::Null,
        Value::Bool(truth) => ScalarValue::Boolean(Some(*truth)),
        Value::Number(number) => match number.as_i64() {
            Some(number) => ScalarValue::Int64(Some(number)),
            None => ScalarValue::Float64(number.as_f64()),
        },
        Value::String(text) => ScalarValue::Utf8(Some(text.clone())),
        Value::Array(_) | Value::Object(_) => ScalarValue::Utf8(Some(value.to_string())),
    }
}
