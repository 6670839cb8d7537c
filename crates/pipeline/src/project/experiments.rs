//! `metrics/*.toml` and `experiments/*.toml`: read, and checked against each other.
//!
//! In: documents.  Out: the files as `experiment` defines them, or the first mistake with its place.
//! Never here: what a key means (`experiment`), SQL (`analyze`).
//! Start at [`read_metric`].

use domain::Problem;
use experiment::metric::{Fact, MetricFile};
use experiment::plan::ExperimentFile;

use super::Project;
use super::document::Document;
use super::read::{at, expect_table};
use crate::analyze::table_of;
use crate::error::PipelineError;

pub(super) fn read_metric(document: &Document) -> Result<MetricFile, PipelineError> {
    let file: MetricFile = document.parse()?;
    let Err(error) = file.plan() else { return Ok(file) };
    let keys: Vec<&str> = error.key().split('.').collect();
    let problem = document.problem_at(&keys, error.code(), error.to_string());
    Err(match error.help() {
        Some(help) => problem.with_help(help).into(),
        None => problem.into(),
    })
}

pub(super) fn read_experiment(document: &Document) -> Result<ExperimentFile, PipelineError> {
    let file: ExperimentFile = document.parse()?;
    if let Some((key, message)) = file.analysis.problem() {
        return Err(document.problem_at(&["analysis", key], "bad_plan", message).into());
    }
    // A file that is applied while the experiment runs may begin where its ramp has come to.
    if let Some((key, message)) = file.schedule.problem(&file.analysis, None) {
        return Err(document.problem_at(&["schedule", key], "bad_schedule", message).into());
    }
    if let Err(error) = file.assignment.check() {
        return Err(document.problem_at(&["assignment"], "bad_experiment", error.to_string()).into());
    }
    Ok(file)
}

/// Checks that what metrics and experiments name is there.
pub(super) fn fit(project: &Project, documents: &[Document], tables: &[String]) -> Result<(), PipelineError> {
    for (name, metric) in &project.metrics {
        let path = format!("metrics/{name}.toml");
        let steps = metric.steps.iter().map(|fact| ("steps", fact));
        let facts = metric.fact.iter().map(|fact| ("fact", fact));
        let facts = facts.chain(metric.denominator.iter().map(|fact| ("denominator", fact))).chain(steps);
        for (key, Fact { table, .. }) in facts {
            expect_table(table, tables, documents, &path, &[key, "table"])?;
        }
    }
    for (name, experiment) in &project.experiments {
        let path = format!("experiments/{name}.toml");
        expect_table(&experiment.analysis.exposures, tables, documents, &path, &["analysis", "exposures"])?;
        for table in experiment.analysis.dimensions.iter().filter_map(|dimension| dimension.table.as_ref()) {
            expect_table(table, tables, documents, &path, &["analysis", "dimensions"])?;
        }
        let missing = experiment.analysis.metrics().into_iter().find(|metric| !project.metrics.contains_key(*metric));
        if let Some(metric) = missing {
            let plan = &experiment.analysis;
            let is_guardrail = plan.guardrails.iter().any(|guardrail| guardrail.metric == metric);
            let key = match (plan.goals.iter().any(|goal| goal.metric == metric), is_guardrail) {
                (true, _) => "goals",
                (false, true) => "guardrails",
                (false, false) => "secondary",
            };
            let message = format!("there is no metric `{metric}`");
            let known = project.metrics.keys().map(String::as_str);
            let problem = at(documents, &path, &["analysis", key], "no_such_metric", message);
            return Err(problem.with_nearest(metric, known).into());
        }
        let key = &experiment.assignment.key;
        let Ok(table) = table_of(key, "values") else {
            let message = format!("`{key}` is too long: the names of its tables hold it");
            return Err(at(documents, &path, &["assignment", "key"], "bad_key", message).into());
        };
        // Exposures are counted by the key itself, tables are named by what of it can stand in a name.
        let is_same =
            |other: &ExperimentFile| table_of(&other.assignment.key, "values").is_ok_and(|other| other == table);
        if let Some((other, _)) = project.experiments.iter().find(|(other, file)| *other != name && is_same(file)) {
            let message = format!("the key of experiments/{other}.toml differs in signs or capitals at most");
            return Err(at(documents, &path, &["assignment", "key"], "duplicate_key", message).into());
        }
    }
    Ok(())
}
