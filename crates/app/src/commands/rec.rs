//! `montauk rec`: what was trained, how two differ, which one serves, and going back.
//!
//! In: an action, names.  Out: a table, two columns side by side, or one closing line; exit code 6 when the guard refuses.
//! Never here: the guard and the pointer (`pipeline`).
//! Start at [`run`].

use chrono::{DateTime, Utc};
use pipeline::steps::rec::{
    self, ArtefactEntry, Comparison, Difference, EvaluatedBoth, Measure, Promoted, Report, Request, ServingState,
};
use serde_json::Value;

use super::{Outcome, Shell};
use crate::cli::{self, RecAction};
use crate::error::AppError;
use crate::output::{Output, bytes, grouped};
use crate::table::Table;

/// Digits of a content hash that tell two apart on a screen; all of them are in `--json`.
const HASH_SHOWN: usize = 12;

pub async fn run(shell: &Shell, arguments: cli::Rec) -> Result<Outcome, AppError> {
    let request = request(arguments, shell.globals.yes);
    let verb = match &request {
        Request::List | Request::Compare { .. } => None,
        Request::Promote { .. } => Some("promote"),
        Request::Rollback { .. } => Some("rollback"),
    };
    let step = async |context: &pipeline::steps::Context| rec::run(context, request).await;
    let report = match verb {
        None => shell.read(step).await?,
        Some(verb) => shell.decide(verb, step).await?,
    };
    shell.output.report(&report, |output| draw(output, &report))?;
    Ok(Outcome::Done)
}

fn request(arguments: cli::Rec, yes: bool) -> Request {
    match arguments.action.unwrap_or(RecAction::List) {
        RecAction::List => Request::List,
        RecAction::Compare { one, other } => Request::Compare { one, other },
        RecAction::Promote { name, reason, force } => Request::Promote { name, reason, force: force || yes },
        RecAction::Rollback { to, reason } => Request::Rollback { to, reason },
    }
}

fn draw(output: &Output, report: &Report) -> Result<(), AppError> {
    match report {
        Report::List { artefacts, unreadable } => {
            for directory in unreadable {
                output.warn(&format!("`{}` is left out: {}", directory.artefact, directory.reason));
            }
            output.data(&list(artefacts).render())
        }
        Report::Compare(comparison) => output.data(&compare(comparison)),
        Report::Promote(promoted) => {
            draw_promoted(output, "Promoted", promoted);
            Ok(())
        }
        Report::Rollback(promoted) => {
            draw_promoted(output, "Rolled back", promoted);
            Ok(())
        }
    }
}

fn draw_promoted(output: &Output, verb: &str, promoted: &Promoted) {
    let Promoted { recommender, artefact, number, reason, .. } = promoted;
    if promoted.forced {
        output.warn("the guard was overruled");
    }
    let verb = if promoted.changed { verb } else { "Serving" };
    output.done(verb, &format!("{recommender} ({artefact}) as promotion {number}: {reason}"));
    if let Some(replaced) = &promoted.replaced {
        let back = format!("montauk rec rollback --to {}", replaced.number);
        output.say(&format!("before: {} ({}); back: {back}", replaced.recommender, replaced.artefact));
    }
}

fn list(artefacts: &[ArtefactEntry]) -> Table {
    let mut table = Table::new(&[
        "artefact",
        "recommender",
        "serves",
        "trained",
        "data until",
        "#users",
        "#items",
        "#events",
        "#recall@20",
        "#ndcg@100",
        "#coverage@10",
        "#size",
    ]);
    for entry in artefacts {
        let figure = |name: &str| entry.metrics.get(name).map(|value| format!("{value:.4}")).unwrap_or_default();
        table.row(vec![
            entry.artefact.clone(),
            entry.recommender.clone(),
            state(entry),
            time(entry.trained_at),
            time(entry.data_until),
            grouped(entry.users),
            grouped(entry.items),
            grouped(entry.events),
            figure("test.recall@20"),
            figure("test.ndcg@100"),
            figure("test.coverage@10"),
            bytes(entry.bytes),
        ]);
    }
    table
}

/// `now (3)`, `before (1, 2)`; the numbers are those of promotions.
fn state(entry: &ArtefactEntry) -> String {
    let word = match entry.state {
        ServingState::Serving => "now",
        ServingState::Fallback => "behind it",
        ServingState::ServedBefore => "before",
        ServingState::Never => "never",
    };
    let numbers: Vec<String> = entry.promotions.iter().map(ToString::to_string).collect();
    if numbers.is_empty() { word.to_owned() } else { format!("{word} ({})", numbers.join(", ")) }
}

fn time(time: Option<DateTime<Utc>>) -> String {
    time.map(|time| time.format("%Y-%m-%d %H:%M").to_string()).unwrap_or_default()
}

fn compare(comparison: &Comparison) -> String {
    let Comparison { one, other, parameters, data, evaluation } = comparison;
    let mut table = Table::new(&["", "one", "other"]);
    let mut row = |name: &str, of: &dyn Fn(&ArtefactEntry) -> String| {
        table.row(vec![name.to_owned(), of(one), of(other)]);
    };
    row("artefact", &|entry| entry.artefact.clone());
    row("recommender", &|entry| entry.recommender.clone());
    row("serves", &state);
    row("trained", &|entry| time(entry.trained_at));
    row("size", &|entry| bytes(entry.bytes));
    let mut text = table.render();
    for (what, differences) in [("parameters", parameters), ("data", data)] {
        text.push('\n');
        text.push_str(&if differences.is_empty() {
            format!("{what}: the same\n")
        } else {
            self::differences(what, differences).render()
        });
    }
    text.push('\n');
    text.push_str(&match evaluation {
        Some(evaluation) => evaluated(evaluation),
        None if one.recommender == other.recommender && parameters.is_empty() => {
            "evaluation: both are trainings of one recommender, which an evaluation trains by itself\n".to_owned()
        }
        None => "evaluation: none has measured both; run `montauk evaluate --no-promote`\n".to_owned(),
    });
    text
}

fn differences(what: &str, differences: &[Difference]) -> Table {
    let mut table = Table::new(&[what, "one", "other"]);
    for Difference { name, one, other } in differences {
        table.row(vec![name.clone(), shown(one), shown(other)]);
    }
    table
}

/// A value as a person reads it; a long hash by its beginning.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            format!("{}…", &text[..HASH_SHOWN])
        }
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

fn evaluated(evaluation: &EvaluatedBoth) -> String {
    let mut table = Table::new(&["metric", "#one", "95 %", "#other", "95 %", "#difference", "95 %", "#p"]);
    for metric in &evaluation.metrics {
        let ([one, one_interval], [other, other_interval]) = (measure(metric.one), measure(metric.other));
        let [difference, interval] = match metric.difference {
            Some(estimate) => {
                [format!("{:+.4}", estimate.value), format!("[{:+.4}, {:+.4}]", estimate.low, estimate.high)]
            }
            None => Default::default(),
        };
        let p = metric.p_adjusted.map(|p| format!("{p:.4}")).unwrap_or_default();
        table.row(vec![metric.metric.clone(), one, one_interval, other, other_interval, difference, interval, p]);
    }
    let mut text = format!(
        "evaluation {} by `{}`: {} users of the test window; differences are paired, p is Holm's\n",
        evaluation.run_id,
        evaluation.protocol,
        grouped(evaluation.users as u64)
    );
    for (is_on_its_data, which) in evaluation.on_data_of.into_iter().zip(["one", "other"]) {
        if !is_on_its_data {
            text.push_str(&format!("it was made on other data than `{which}` was trained from\n"));
        }
    }
    text + &table.render()
}

fn measure(measure: Measure) -> [String; 2] {
    match measure {
        Measure::Estimate(estimate) => {
            [format!("{:.4}", estimate.value), format!("[{:.4}, {:.4}]", estimate.low, estimate.high)]
        }
        Measure::Plain(value) => [format!("{value:.4}"), String::new()],
    }
}
