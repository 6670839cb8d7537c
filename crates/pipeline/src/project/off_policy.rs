//! `off_policy/*.toml`: read, and checked against the tables that there are.
//!
//! In: documents.  Out: the file as `experiment` defines it, or the first mistake with its place.
//! Never here: what a key means (`experiment`), SQL (`steps::off_policy`).
//! Start at [`read_policy`].

use experiment::ranking::policy_evaluation::PolicyFile;

use super::Project;
use super::document::Document;
use super::read::expect_table;
use crate::error::PipelineError;

pub(super) fn read_policy(document: &Document) -> Result<PolicyFile, PipelineError> {
    let file: PolicyFile = document.parse()?;
    match file.problem() {
        Some((keys, message)) => Err(document.problem_at(keys, "bad_policy", message).into()),
        None => Ok(file),
    }
}

/// Checks that the tables are there.
pub(super) fn fit(project: &Project, documents: &[Document], tables: &[String]) -> Result<(), PipelineError> {
    for (name, file) in &project.policies {
        let path = format!("off_policy/{name}.toml");
        let policy = file.policy.table.iter().map(|table| ("policy", table));
        let observed = file.observed.iter().map(|observed| ("observed", &observed.table));
        for (key, table) in [("log", &file.log.table)].into_iter().chain(policy).chain(observed) {
            expect_table(table, tables, documents, &path, &[key, "table"])?;
        }
    }
    Ok(())
}
