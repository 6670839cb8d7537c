//! Runs checks and keeps what they found.
//!
//! In: checks and a session that knows the tables.  Out: [`CheckResult`]s, one per check, in their order.
//! Never here: what follows from a failure.
//! Start at [`run_checks`].

use arrow::array::RecordBatch;
use arrow::json::ArrayWriter;
use arrow::json::writer::{JsonArray, WriterBuilder};
use datafusion::execution::context::SessionContext;
use futures::StreamExt;
use serde_json::Value;

use super::kinds::bad_rows;
use super::{Check, CheckKind, CheckResult, CheckStatus};
use crate::engine::Engine;
use crate::error::{Result, WarehouseError, innermost};
use crate::sql_error::engine_error;

/// Runs the checks one after the other, each on all cores. At most `rows` bad rows of each are returned.
pub(crate) async fn run_checks(
    engine: &Engine,
    session: &SessionContext,
    checks: &[&Check],
    rows: usize,
) -> Result<Vec<CheckResult>> {
    let mut results = Vec::with_capacity(checks.len());
    for check in checks {
        results.push(run_check(engine, session, check, rows).await?);
    }
    Ok(results)
}

/// Errors: only those that say nothing about the check, such as a store that does not answer.
async fn run_check(engine: &Engine, session: &SessionContext, check: &Check, rows: usize) -> Result<CheckResult> {
    let mut result = CheckResult::unrun(check);
    match find(engine, session, check, rows).await {
        Ok((failing, found)) => {
            let allowed = match &check.kind {
                CheckKind::Sql { max_rows, .. } => *max_rows,
                CheckKind::NotNull { .. }
                | CheckKind::Unique { .. }
                | CheckKind::Accepted { .. }
                | CheckKind::Relationship { .. }
                | CheckKind::Range { .. } => 0,
            };
            result.failing = failing;
            if failing > allowed {
                result.status = CheckStatus::Failed;
                result.rows = found;
            }
        }
        Err(error @ (WarehouseError::Store { .. } | WarehouseError::Exhausted { .. })) => return Err(error),
        Err(error) => {
            result.status = CheckStatus::Error;
            result.error = Some(error.to_string());
        }
    }
    Ok(result)
}

/// All bad rows counted, the first few kept.
async fn find(engine: &Engine, session: &SessionContext, check: &Check, rows: usize) -> Result<(u64, Vec<Value>)> {
    let frame = bad_rows(engine, session, check).await?;
    let fail = |error| engine_error(error, &check.at);
    let mut stream = frame.execute_stream().await.map_err(fail)?;
    let mut failing = 0_u64;
    let mut kept = Vec::new();
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(fail)?;
        failing += batch.num_rows() as u64;
        let wanted = rows.saturating_sub(kept.len()).min(batch.num_rows());
        if wanted > 0 {
            kept.extend(json_rows(&batch.slice(0, wanted))?);
        }
    }
    Ok((failing, kept))
}

/// Rows as JSON objects; nulls are written out, so that every row shows every column.
pub(crate) fn json_rows(batch: &RecordBatch) -> Result<Vec<Value>> {
    let mut bytes = Vec::new();
    let mut writer: ArrayWriter<&mut Vec<u8>> =
        WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(&mut bytes);
    let written = writer.write(batch).and_then(|()| writer.finish());
    written.map_err(|error| WarehouseError::internal(format!("rows have no JSON form: {}", innermost(&error))))?;
    let rows: Result<Vec<Value>, _> = serde_json::from_slice(&bytes);
    rows.map_err(|error| WarehouseError::internal(format!("rows have no JSON form: {error}")))
}
