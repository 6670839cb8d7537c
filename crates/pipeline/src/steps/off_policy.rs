//! `off-policy`: what a policy would have earned, from what another one logged.
//!
//! In: names of `off_policy/<name>.toml`.  Out: per name the value by every estimator, with its interval, beside what the policy earned itself.
//! Never here: estimators and models (`experiment::ranking`).
//! Start at [`run`].

use std::collections::{BTreeMap, BTreeSet};

use domain::{Dialect, TableName, quote_identifier};
use experiment::ranking::cells::fold_of;
use experiment::ranking::policy_evaluation::{Decisions, Model, Observed, PolicyEvaluation, PolicyFile, evaluate};
use warehouse::{Catalog, QueryResult};

use super::Context;
use crate::PipelineError;
use crate::rows::Columns;

/// Rows × actions, most: 64-bit numbers of policy and model are 0.8 GB then, and the log has to be cut.
const MOST_CELLS: usize = 50_000_000;

/// By rounding of what was written down, as in `experiment`.
const SUM_WITHIN: f64 = 1e-6;

/// What to evaluate.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Names of `off_policy/<name>.toml`; empty means all.
    pub policies: Vec<String>,
}

/// What is known of one policy.
#[derive(Debug, Clone, serde::Serialize)]
pub struct PolicyReport {
    /// Name of its file.
    pub name: String,
    /// The catalog number that the rows were read at.
    pub catalog: u64,
    pub rows: usize,
    /// Actions that the log or the policy knows.
    pub actions: usize,
    /// Combinations of context columns in the log.
    pub contexts: usize,
    /// Intervals hold with 1 − alpha.
    pub alpha: f64,
    pub clip: Option<f64>,
    pub tau: f64,
    #[serde(flatten)]
    pub evaluation: PolicyEvaluation,
}

/// Evaluates the selected policies, one after the other.
pub async fn run(context: &Context, request: Request) -> Result<Vec<PolicyReport>, PipelineError> {
    let project = &context.project;
    let names: Vec<String> = match request.policies.as_slice() {
        [] => project.policies.keys().cloned().collect(),
        some => some.to_vec(),
    };
    if names.is_empty() {
        return Err(PipelineError::NoPolicies);
    }
    let catalog = context.warehouse.catalog().await?;
    let mut reports = Vec::with_capacity(names.len());
    for name in names {
        let file = project.policy(&name)?;
        reports.push(one(context, &catalog, &name, file).await?);
    }
    Ok(reports)
}

async fn one(
    context: &Context,
    catalog: &Catalog,
    name: &str,
    file: &PolicyFile,
) -> Result<PolicyReport, PipelineError> {
    let refuse = |reason: String| PipelineError::Unjudgeable { policy: name.to_owned(), reason };
    let log = &file.log;
    let order = [&log.unit, &log.action, &log.propensity, &log.reward].map(|column| quoted(column));
    let result = select(context, catalog, &log.table, log.filter.as_deref(), &order).await?;
    let table = log.table.to_string();
    let rows = read_log(file, &table, &result).map_err(|fault| fault.place(&refuse))?;
    let probabilities = match &file.policy.table {
        Some(policy) => {
            let found = select(context, catalog, policy, file.policy.filter.as_deref(), &[]).await?;
            Some(read_policy(file, &policy.to_string(), &found).map_err(|fault| fault.place(&refuse))?)
        }
        None => None,
    };
    let columns = Columns::new(&table, &result);
    let decisions = decisions(file, &rows, probabilities, &columns).map_err(|fault| fault.place(&refuse))?;
    let observed = match &file.observed {
        Some(observed) => Some(read_observed(context, catalog, observed).await?.map_err(refuse)?),
        None => None,
    };
    let evaluation = evaluate(file, &decisions, observed.as_deref()).map_err(|error| refuse(error.to_string()))?;
    let contexts = rows.contexts.iter().collect::<BTreeSet<_>>().len();
    Ok(PolicyReport {
        name: name.to_owned(),
        catalog: catalog.number,
        rows: rows.units.len(),
        actions: decisions.action_count,
        contexts,
        alpha: file.alpha,
        clip: file.clip,
        tau: file.tau,
        evaluation,
    })
}

/// A mistake in the rows, or an error that has its place already.
enum Fault {
    Rows(String),
    Other(PipelineError),
}

impl Fault {
    fn place(self, refuse: &impl Fn(String) -> PipelineError) -> PipelineError {
        match self {
            Self::Rows(reason) => refuse(reason),
            Self::Other(error) => error,
        }
    }
}

impl From<PipelineError> for Fault {
    fn from(error: PipelineError) -> Self {
        Self::Other(error)
    }
}

fn quoted(column: &str) -> String {
    quote_identifier(Dialect::Standard, column)
}

/// All columns of the rows that count. They are put in order, so that sums have the same last bits in every run.
async fn select(
    context: &Context,
    catalog: &Catalog,
    table: &TableName,
    filter: Option<&str>,
    order: &[String],
) -> Result<QueryResult, PipelineError> {
    let filter = filter.map_or(String::new(), |filter| format!(" where ({filter})"));
    let order = if order.is_empty() { String::new() } else { format!(" order by {}", order.join(", ")) };
    let sql = format!("select * from {}.{}{filter}{order}", quoted(table.schema()), quoted(table.name()));
    Ok(context.warehouse.query(catalog, &sql).await?)
}

/// Values of the context columns, in their order.
type Situation = Vec<String>;

struct Rows {
    units: Vec<String>,
    contexts: Vec<Situation>,
    actions: Vec<String>,
    rewards: Vec<f64>,
    propensities: Vec<f64>,
}

/// A column without nulls. A null has no place here: a decision of which something is not known cannot be weighted.
fn whole<T>(table: &str, column: &str, values: Vec<Option<T>>) -> Result<Vec<T>, Fault> {
    let nulls = values.iter().filter(|value| value.is_none()).count();
    match values.into_iter().collect() {
        Some(values) => Ok(values),
        None => Err(Fault::Rows(format!(
            "column `{column}` of `{table}` is null in {nulls} rows: leave them out with `where`, or mend the mart"
        ))),
    }
}

/// A column of numbers. Text that is a number counts as one, other text is a mistake and no null.
fn numbers(columns: &Columns<'_>, table: &str, column: &str) -> Result<Vec<f64>, Fault> {
    let values = columns.number(column)?;
    if values.contains(&None) {
        let texts = columns.text(column)?;
        if let Some(text) =
            texts.iter().zip(&values).find_map(|(text, value)| text.as_ref().filter(|_| value.is_none()))
        {
            return Err(Fault::Rows(format!(
                "column `{column}` of `{table}` holds `{text}`, which is no number: name another column, or mend the mart"
            )));
        }
    }
    whole(table, column, values)
}

fn situations(columns: &Columns<'_>, table: &str, names: &[String], rows: usize) -> Result<Vec<Situation>, Fault> {
    let mut found = vec![Situation::with_capacity(names.len()); rows];
    for name in names {
        for (situation, value) in found.iter_mut().zip(whole(table, name, columns.text(name)?)?) {
            situation.push(value);
        }
    }
    Ok(found)
}

fn rewards(columns: &Columns<'_>, table: &str, column: &str) -> Result<Vec<f64>, Fault> {
    // True and false have no cast to numbers everywhere.
    match columns.number(column) {
        Err(PipelineError::WrongColumnType { .. }) => {
            let values = columns.truth(column)?;
            whole(
                table,
                column,
                values.into_iter().map(|value| value.map(|value| f64::from(u8::from(value)))).collect(),
            )
        }
        Ok(_) | Err(_) => numbers(columns, table, column),
    }
}

fn read_log(file: &PolicyFile, table: &str, result: &QueryResult) -> Result<Rows, Fault> {
    let (log, columns) = (&file.log, Columns::new(table, result));
    let units = whole(table, &log.unit, columns.text(&log.unit)?)?;
    if units.is_empty() {
        return Err(Fault::Rows(format!("`{table}` has no rows that count: see `log.where`")));
    }
    let contexts = situations(&columns, table, &log.context, units.len())?;
    let actions = whole(table, &log.action, columns.text(&log.action)?)?;
    let rewards = rewards(&columns, table, &log.reward)?;
    let propensities = numbers(&columns, table, &log.propensity)?;
    if let Some((unit, propensity)) = units.iter().zip(&propensities).find(|(_, p)| !(**p > 0.0 && **p <= 1.0)) {
        return Err(Fault::Rows(format!(
            "the propensity of `{unit}` is `{propensity}`, and must be above 0 and at most 1: what never could be chosen was not chosen by this policy"
        )));
    }
    Ok(Rows { units, contexts, actions, rewards, propensities })
}

/// What the policy does in each situation: action → probability.
type Probabilities = BTreeMap<Situation, BTreeMap<String, f64>>;

fn read_policy(file: &PolicyFile, table: &str, result: &QueryResult) -> Result<Probabilities, Fault> {
    let columns = Columns::new(table, result);
    let actions = whole(table, &file.log.action, columns.text(&file.log.action)?)?;
    let contexts = situations(&columns, table, &file.log.context, actions.len())?;
    let probabilities = numbers(&columns, table, &file.policy.probability)?;
    let mut found = Probabilities::new();
    for ((situation, action), probability) in contexts.into_iter().zip(actions).zip(probabilities) {
        let said = situation.join(", ");
        if let Some(before) = found.entry(situation).or_default().insert(action.clone(), probability) {
            return Err(Fault::Rows(format!(
                "`{table}` gives action `{action}` in `{said}` the probabilities `{before}` and `{probability}`: make it one row"
            )));
        }
    }
    for (situation, actions) in &found {
        let sum: f64 = actions.values().sum();
        if (sum - 1.0).abs() > SUM_WITHIN {
            return Err(Fault::Rows(format!(
                "the probabilities of {} `{}` in `{table}` sum to `{sum}`, and must sum to 1: a policy does something everywhere",
                file.log.context.join(", "),
                situation.join(", ")
            )));
        }
    }
    Ok(found)
}

fn decisions(
    file: &PolicyFile,
    rows: &Rows,
    probabilities: Option<Probabilities>,
    columns: &Columns<'_>,
) -> Result<Decisions, Fault> {
    let mut names: BTreeSet<&str> = rows.actions.iter().map(String::as_str).collect();
    names.extend(file.policy.columns.keys().map(String::as_str));
    names.extend(probabilities.iter().flat_map(BTreeMap::values).flat_map(BTreeMap::keys).map(String::as_str));
    let names: Vec<&str> = names.into_iter().collect();
    if rows.actions.len().saturating_mul(names.len()) > MOST_CELLS {
        return Err(Fault::Rows(format!(
            "{} rows of {} actions are more than {MOST_CELLS} pairs: take fewer rows with `log.where`",
            rows.actions.len(),
            names.len()
        )));
    }
    let place = |action: &str| names.binary_search(&action).unwrap_or_default();
    let policy = match &probabilities {
        Some(probabilities) => spread(file, rows, probabilities, &names)?,
        None => by_column(file, columns, &file.policy.columns, &names)?,
    };
    let mut decisions = Decisions {
        actions: rows.actions.iter().map(|action| place(action)).collect(),
        rewards: rows.rewards.clone(),
        propensities: rows.propensities.clone(),
        policy,
        modelled: None,
        action_count: names.len(),
    };
    match &file.model {
        None => {}
        Some(Model::Cells) => {
            let known: BTreeSet<&Situation> = rows.contexts.iter().collect();
            let numbers: BTreeMap<&Situation, usize> = known.into_iter().zip(0..).collect();
            let contexts: Vec<usize> = rows.contexts.iter().filter_map(|one| numbers.get(one).copied()).collect();
            let folds: Vec<usize> = rows.units.iter().map(|unit| fold_of(unit)).collect();
            decisions.model_cells(&contexts, &folds);
        }
        Some(Model::Columns { columns: of_actions }) => {
            if let Some(missing) = names.iter().find(|name| !of_actions.contains_key(**name)) {
                return Err(Fault::Rows(format!(
                    "`model.columns` names no column for the action `{missing}`: add one"
                )));
            }
            decisions.modelled = Some(by_column(file, columns, of_actions, &names)?);
        }
    }
    Ok(decisions)
}

/// The policy's table, laid out for every row.
fn spread(file: &PolicyFile, rows: &Rows, probabilities: &Probabilities, names: &[&str]) -> Result<Vec<f64>, Fault> {
    let mut policy = Vec::with_capacity(rows.contexts.len() * names.len());
    for situation in &rows.contexts {
        let Some(found) = probabilities.get(situation) else {
            return Err(Fault::Rows(format!(
                "the policy has no row for {} `{}`, which the log has: add it, or leave it out with `log.where`",
                file.log.context.join(", "),
                situation.join(", ")
            )));
        };
        policy.extend(names.iter().map(|name| found.get(*name).copied().unwrap_or(0.0)));
    }
    Ok(policy)
}

/// One column of the log per action; actions without one get 0.
fn by_column(
    file: &PolicyFile,
    columns: &Columns<'_>,
    of_actions: &BTreeMap<String, String>,
    names: &[&str],
) -> Result<Vec<f64>, Fault> {
    let table = file.log.table.to_string();
    let mut found: Vec<Option<Vec<f64>>> = Vec::with_capacity(names.len());
    for name in names {
        let column = of_actions.get(*name);
        found.push(column.map(|column| numbers(columns, &table, column)).transpose()?);
    }
    let rows = found.iter().flatten().map(Vec::len).next().unwrap_or(0);
    let cell = |row: usize| found.iter().map(move |column| column.as_ref().map_or(0.0, |column| column[row]));
    Ok((0..rows).flat_map(cell).collect())
}

/// Rewards of the policy's own traffic; the inner error is a mistake in the rows.
async fn read_observed(
    context: &Context,
    catalog: &Catalog,
    observed: &Observed,
) -> Result<Result<Vec<f64>, String>, PipelineError> {
    let order = [quoted(&observed.reward)];
    let result = select(context, catalog, &observed.table, observed.filter.as_deref(), &order).await?;
    let table = observed.table.to_string();
    match rewards(&Columns::new(&table, &result), &table, &observed.reward) {
        Ok(rewards) if rewards.is_empty() => Ok(Err(format!("`{table}` has no rows that count: see `observed.where`"))),
        Ok(rewards) => Ok(Ok(rewards)),
        Err(Fault::Rows(reason)) => Ok(Err(reason)),
        Err(Fault::Other(error)) => Err(error),
    }
}
