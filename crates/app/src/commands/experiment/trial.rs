//! `experiment power`, `simulate` and `assign`: trying an experiment before, and asking who sees what.
//!
//! In: an experiment, units.  Out: a table by weeks; shares; a variant and why.
//! Never here: evaluation and power (`experiment`).
//! Start at [`assign`].

use std::io::Read;
use std::path::PathBuf;

use chrono::NaiveTime;
use experiment::assign::{Compiled, Context, Exposure, Log, Object, Payload, Value};
use experiment::program::Program;
use experiment::simulate::Simulation;
use pipeline::steps::power;
use serde::Serialize;

use crate::cli::{self, Attributes};
use crate::commands::Shell;
use crate::commands::metric::draw_power;
use crate::error::AppError;
use crate::output::grouped;
use crate::store::{Desk, failed, power_found};
use crate::table::Table;

pub(super) async fn power(shell: &Shell, desk: &Desk, key: &str, history: &cli::History) -> Result<(), AppError> {
    let experiment = desk.file(key).await?;
    desk.control.may_compute_power(&desk.actor, &experiment).await.map_err(failed)?;
    let request = power::Request {
        experiment: experiment.clone(),
        history_days: history.history_days,
        until: history.until.map(|day| day.and_time(NaiveTime::MIN).and_utc()),
    };
    let report = shell.write("power", async |context| power::run(context, request).await).await?;
    let found = power_found(&report)
        .map_err(|error| AppError::Internal { what: "power has no JSON form", reason: error.to_string() })?;
    desk.control.keep_power(&desk.actor, &experiment, found, shell.now).await.map_err(failed)?;
    shell.output.report(&report, |output| output.data(&draw_power(&report, true)))
}

/// JSON where it is some, else text: `30` is a number, `KR` a text.
fn attributes(given: &Attributes) -> Vec<(String, Value)> {
    let value = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
    given.attributes.iter().map(|(name, text)| (name.clone(), value(text))).collect()
}

async fn program(shell: &Shell, desk: &Desk, key: &str) -> Result<Program, AppError> {
    desk.control.program(&desk.actor, key, shell.now).await.map_err(failed)
}

pub(super) async fn simulate(
    shell: &Shell,
    desk: &Desk,
    key: &str,
    (units, seed): (u64, u64),
    given: &Attributes,
) -> Result<(), AppError> {
    let program = program(shell, desk, key).await?;
    let known: Object = attributes(given).into_iter().collect();
    let found =
        experiment::simulate::simulate(&program, key, &known, units, seed).map_err(|error| AppError::room(&error))?;
    shell.output.report(&found, |output| output.data(&draw_simulation(&found)))
}

fn draw_simulation(found: &Simulation) -> String {
    let share = |units: u64| super::show::percent(units as f64 / found.units as f64);
    let mut table = Table::new(&["of made-up units", "#units", "#share"]);
    for (variant, units) in &found.variants {
        table.row(vec![format!("see `{variant}`"), grouped(*units), share(*units)]);
    }
    table.row(vec!["take no part".to_owned(), grouped(found.outside), share(found.outside)]);
    for meeting in &found.meets {
        table.row(vec![
            format!("are in `{}` as well", meeting.experiment),
            grouped(meeting.units),
            share(meeting.units),
        ]);
    }
    format!("{}sample ratio p {:.4}\n", table.render(), found.sample_ratio.p)
}

/// What a unit gets, and why.
#[derive(Debug, Serialize)]
struct Assigned {
    unit_id: String,
    experiment: String,
    /// `None`: it takes no part.
    variant: Option<String>,
    value: Value,
    /// The rule that gave the value; empty for the default.
    rule: String,
    source: &'static str,
}

pub(super) async fn assign(
    shell: &Shell,
    desk: &Desk,
    key: &str,
    (mut units, file): (Vec<String>, Option<PathBuf>),
    given: &Attributes,
) -> Result<(), AppError> {
    let is_csv = file.is_some();
    if let Some(file) = file {
        units = read_units(&file)?;
    }
    if units.is_empty() {
        return Err(AppError::Usage {
            message: "no unit is named".to_owned(),
            help: format!("name some, or give a file: `montauk experiment assign {key} --units users.csv`"),
        });
    }
    let program = program(shell, desk, key).await?;
    let payload = Payload::compile_object(&program.payload().map_err(|error| AppError::room(&error))?)
        .map_err(|error| AppError::room(&error))?;
    let known = attributes(given);
    let found: Vec<Assigned> = units.into_iter().map(|unit| assigned(&program, &payload, key, unit, &known)).collect();
    if is_csv && !shell.output.json {
        let mut text = "unit_id,experiment,variant\n".to_owned();
        for row in found.iter().filter(|row| row.variant.is_some()) {
            let cells = [&row.unit_id, &row.experiment, row.variant.as_ref().unwrap_or(&row.experiment)];
            text.push_str(&cells.map(|cell| csv_cell(cell)).join(","));
            text.push('\n');
        }
        return shell.output.data(&text);
    }
    shell.output.report(&found, |output| {
        let mut table = Table::new(&["unit", "variant", "value", "by rule", "because"]);
        for row in &found {
            let variant = row.variant.clone().unwrap_or_else(|| "–".to_owned());
            let value = serde_json::to_string(&row.value).unwrap_or_default();
            table.row(vec![row.unit_id.clone(), variant, value, row.rule.clone(), row.source.to_owned()]);
        }
        output.data(&table.render())
    })
}

fn assigned(program: &Program, payload: &Compiled, key: &str, unit: String, known: &[(String, Value)]) -> Assigned {
    let experiment = program.experiments.iter().find(|experiment| experiment.key == key);
    let feature = experiment.map_or(key, |experiment| experiment.feature());
    let named = program.experiments.iter().map(|experiment| &experiment.hash_attribute);
    let named = named.chain(program.layers.iter().map(|layer| &layer.hash_attribute));
    // Whatever names a unit names this one, unless something else was said.
    let ids = named.map(|name| (name.clone(), Value::from(unit.as_str())));
    let attributes: Object = ids.chain(known.iter().cloned()).collect();
    let mut log = Log::new();
    let result = payload.evaluate(feature, &Context::new(&attributes), &mut log);
    let variant = log.exposures().find_map(|exposure| match exposure {
        Exposure::Evaluated { experiment, result, .. } if experiment.key() == key => Some(result.key.to_string()),
        Exposure::Evaluated { .. } | Exposure::Tracked(_) => None,
    });
    Assigned {
        experiment: key.to_owned(),
        variant,
        value: result.value.clone(),
        rule: result.rule.to_owned(),
        source: result.source.as_str(),
        unit_id: unit,
    }
}

/// Quoted where RFC 4180 asks for it.
fn csv_cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// The first column of a CSV file with a header.
fn read_units(file: &std::path::Path) -> Result<Vec<String>, AppError> {
    let mut text = String::new();
    let result = if file == std::path::Path::new("-") {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text))
    };
    result.map_err(|error| AppError::io(format!("read `{}`", file.display()), &error))?;
    let first = |line: &str| match line.strip_prefix('"') {
        Some(rest) => {
            let end = rest.replace("\"\"", "\u{0}\u{0}").find('"').unwrap_or(rest.len());
            rest[..end].replace("\"\"", "\"")
        }
        None => line.split(',').next().unwrap_or_default().to_owned(),
    };
    Ok(text.lines().skip(1).map(first).filter(|unit| !unit.is_empty()).collect())
}
