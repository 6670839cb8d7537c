//! `query`: one read-only SQL statement over the tables of one catalog number.
//!
//! In: SQL text.  Out: Arrow batches; the command line draws them.
//! Never here: planning or execution (`warehouse`).
//! Start at [`run`].

use warehouse::QueryResult;

use super::Context;
use crate::PipelineError;

/// What to ask.
#[derive(Debug, Clone)]
pub struct Request {
    pub sql: String,
    /// The catalog number to read; the newest when absent.
    pub catalog: Option<u64>,
    /// Most rows to return.
    pub limit: Option<usize>,
}

/// The answer and the catalog number it comes from.
#[derive(Debug)]
pub struct Report {
    pub catalog: u64,
    pub result: QueryResult,
    /// Whether rows were left out because of the limit.
    pub truncated: bool,
}

/// Runs the statement on one catalog number.
pub async fn run(context: &Context, request: Request) -> Result<Report, PipelineError> {
    let catalog = match request.catalog {
        Some(number) => context.warehouse.catalog_at(number).await?,
        None => context.warehouse.catalog().await?,
    };
    // One row more than asked for tells whether there are more.
    let limit = request.limit.map(|limit| limit.saturating_add(1));
    let mut result = context.warehouse.query_limited(&catalog, &request.sql, limit).await?;
    let truncated = request.limit.is_some_and(|limit| result.cut_to(limit));
    Ok(Report { catalog: catalog.number, result, truncated })
}
