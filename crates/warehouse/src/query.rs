//! `query`: one read-only statement over the tables of one catalog number.
//!
//! In: a [`Catalog`] and SQL.  Out: [`QueryResult`], or batches as they come.
//! Never here: anything that changes a table.
//! Start at [`Warehouse::query`].

use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::dataframe::DataFrame;
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use domain::TableName;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use crate::Warehouse;
use crate::catalog::{Catalog, nearest};
use crate::check::{Check, CheckResult, CheckStatus, run_checks};
use crate::engine::Scope;
use crate::error::{Result, WarehouseError};
use crate::history::HISTORY_TABLES;
use crate::model::references;
use crate::sql_error::engine_error;

/// The rows of a query.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryResult {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
}

/// The rows of a query, as they come.
pub struct QueryStream {
    pub schema: SchemaRef,
    pub batches: BoxStream<'static, Result<RecordBatch>>,
}

impl std::fmt::Debug for QueryStream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("QueryStream").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl QueryResult {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Keeps the first `limit` rows. True: there were more.
    pub fn cut_to(&mut self, limit: usize) -> bool {
        let mut left = limit;
        let is_cut = self.rows() > limit;
        for batch in &mut self.batches {
            let kept = left.min(batch.num_rows());
            if kept < batch.num_rows() {
                *batch = batch.slice(0, kept);
            }
            left -= kept;
        }
        self.batches.retain(|batch| batch.num_rows() > 0);
        is_cut
    }
}

impl Warehouse {
    /// Runs a statement that only reads. All rows are held in memory: use [`Self::query_stream`] for many.
    pub async fn query(&self, catalog: &Catalog, sql: &str) -> Result<QueryResult> {
        self.query_limited(catalog, sql, None).await
    }

    /// [`Self::query`] that stops after `limit` rows.
    pub async fn query_limited(&self, catalog: &Catalog, sql: &str, limit: Option<usize>) -> Result<QueryResult> {
        let QueryStream { schema, batches } = self.query_stream(catalog, sql, limit).await?;
        let batches = batches.try_collect().await?;
        Ok(QueryResult { schema, batches })
    }

    /// The rows as they come, at most `limit`.
    pub async fn query_stream(&self, catalog: &Catalog, sql: &str, limit: Option<usize>) -> Result<QueryStream> {
        let scope = self.scope(catalog, read_only_references(catalog, sql)?).await?;
        let session = self.engine.session(&scope)?;
        let plan = self.engine.plan(&session, sql, "").await?;
        let fail = |error| engine_error(error, "");
        let frame = DataFrame::new(session.state(), plan);
        let frame = match limit {
            Some(limit) => frame.limit(0, Some(limit)).map_err(fail)?,
            None => frame,
        };
        let stream = frame.execute_stream().await.map_err(fail)?;
        let schema = stream.schema();
        let batches = stream.map(|batch| batch.map_err(|error| engine_error(error, ""))).boxed();
        Ok(QueryStream { schema, batches })
    }

    /// Runs checks over the tables of a catalog. A check whose table is not there is an error in its own result.
    pub async fn check(&self, catalog: &Catalog, checks: &[Check], rows: usize) -> Result<Vec<CheckResult>> {
        let mut results = Vec::with_capacity(checks.len());
        for check in checks {
            let mut tables = check.other_tables()?;
            tables.insert(check.table.clone());
            let missing = tables.iter().find_map(|table| catalog.table(table).err());
            if let Some(error) = missing {
                results.push(CheckResult {
                    status: CheckStatus::Error,
                    error: Some(error.to_string()),
                    ..CheckResult::unrun(check)
                });
                continue;
            }
            let session = self.engine.session(&self.scope(catalog, tables).await?)?;
            results.extend(run_checks(&self.engine, &session, &[check], rows).await?);
        }
        Ok(results)
    }

    /// These tables of a catalog, readable.
    pub(crate) async fn scope(&self, catalog: &Catalog, tables: BTreeSet<TableName>) -> Result<Scope> {
        let mut scope = Scope::new();
        for name in tables {
            let provider = match self.history_table(catalog, &name).await? {
                Some(provider) => provider,
                None => self.engine.pinned(&name, &catalog.table(&name)?.pin()).await?,
            };
            scope.insert(name, provider);
        }
        Ok(scope)
    }
}

/// The tables of a statement that only reads.
fn read_only_references(catalog: &Catalog, sql: &str) -> Result<BTreeSet<TableName>> {
    let mut statements = DFParser::parse_sql(sql).map_err(|error| engine_error(error, ""))?;
    let one = |message: &str| WarehouseError::Sql {
        message: message.into(),
        at: String::new(),
        help: Some("write one `select`".into()),
    };
    let statement = statements.pop_front().ok_or_else(|| one("there is no statement"))?;
    if !statements.is_empty() {
        return Err(one("there is more than one statement"));
    }
    if !reads_only(&statement) {
        let word = sql.split_whitespace().next().unwrap_or_default().to_lowercase();
        return Err(WarehouseError::NotReadOnly { statement: word });
    }
    let names = || catalog.tables.keys().map(ToString::to_string).chain(HISTORY_TABLES.map(str::to_owned));
    let found = references("", &statement).map_err(|error| {
        if let WarehouseError::NoSuchTable { table, nearest: None, at } = error {
            let near = nearest(&table, names());
            WarehouseError::NoSuchTable { table, nearest: near, at }
        } else {
            error
        }
    })?;
    for name in found.iter().filter(|name| !HISTORY_TABLES.contains(&name.to_string().as_str())) {
        catalog.table(name)?;
    }
    Ok(found)
}

fn reads_only(statement: &Statement) -> bool {
    match statement {
        Statement::Statement(statement) => matches!(**statement, SqlStatement::Query(_)),
        Statement::Explain(explain) => reads_only(&explain.statement),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => false,
    }
}
