//! `montauk analyze`: what an experiment has done to its metrics, and what to do about it.
//!
//! In: experiments, a day.  Out: per experiment a verdict and a table of effects with intervals.
//! Never here: statistics and rules (`experiment`), SQL (`pipeline`).
//! Start at [`run`].

use ::experiment::decision::{Code, Reason, Role};
use ::experiment::interactions::InteractionRow;
use ::experiment::results::{Results, Row};
use ::experiment::slices::{DimensionResults, SliceDifference};
use ::experiment::stats::Interval;
use chrono::NaiveTime;
use pipeline::steps::analyze::{self, ExperimentReport, Request};

use super::{Outcome, Shell};
use crate::cli;
use crate::error::AppError;
use crate::output::{Output, count, grouped};
use crate::table::Table;

pub async fn run(shell: &Shell, arguments: cli::Analyze) -> Result<Outcome, AppError> {
    let until = arguments.until.map(|day| day.and_time(NaiveTime::MIN).and_utc());
    let request = Request {
        experiments: arguments.experiments,
        until,
        by_day: arguments.by_day,
        interactions: arguments.interactions,
        ..Request::default()
    };
    let reports = shell.write("analyze", async |context| analyze::run(context, request).await).await?;
    shell.output.report(&reports, |output| {
        for report in &reports {
            draw(output, report)?;
        }
        output.done("Analyzed", &format!("{} in {}", count(reports.len() as u64, "experiment"), shell.took()));
        Ok(())
    })?;
    Ok(Outcome::Done)
}

pub(super) fn draw(output: &Output, report: &ExperimentReport) -> Result<(), AppError> {
    let results = &report.results;
    let state = if report.has_ended { "at its end" } else { "running" };
    let mut text = format!("{}, {state}, until {}\n", report.key, report.until.format("%Y-%m-%d"));
    text.push_str(&verdict(results));
    text.push_str(&format!("units: {}\n", units(results)));
    text.push_str(&look(results));
    text.push_str(&quality(results));
    text.push('\n');
    let mut table = Table::with_kinds(
        [
            ("metric", false),
            ("arm", false),
            ("control", true),
            ("value", true),
            ("lift", true),
            ("interval", true),
            ("p", true),
            ("", false),
        ]
        .map(|(name, is_number)| (name.to_owned(), is_number)),
    );
    for row in &results.rows {
        table.row(cells(row));
    }
    text.push_str(&table.render());
    results.dimensions.iter().for_each(|dimension| text.push_str(&slices(dimension, report.alpha)));
    report.interactions.iter().for_each(|row| text.push_str(&interaction(row)));
    if !report.days.is_empty() {
        text.push_str(&days(report));
    }
    output.data(&text)
}

/// The score, and the parts that lost something.
fn quality(results: &Results) -> String {
    let lost = results.quality.parts.iter().filter(|part| part.points < part.most);
    let lost: Vec<String> = lost.map(|part| format!("{} {:.0} of {:.0}", part.name, part.points, part.most)).collect();
    let because = if lost.is_empty() { String::new() } else { format!(" ({})", lost.join(", ")) };
    format!("quality: {:.0} of 100{because}\n", results.quality.score)
}

/// Where the primary metric stands at a planned look, arm by arm; nothing at other times.
fn look(results: &Results) -> String {
    let mut text = String::new();
    for row in results.rows.iter().filter(|row| row.role == Role::Primary) {
        let (Some(look), Some(relative)) = (row.look, &row.relative) else { continue };
        let estimate = &relative.figures.estimate;
        let bound = look.bound.map_or_else(|| "no bound yet".to_owned(), |bound| format!("bound {bound:.3}"));
        text.push_str(&format!(
            "look at {:.1} % of the planned units: {} in {} at {:+.3} standard errors, {bound}",
            100.0 * look.fraction,
            row.metric,
            row.arm,
            estimate.effect / estimate.se,
        ));
        if let Some(stopped) = look.stopped {
            text.push_str(&format!(
                "; if this is the first beyond, lift {:+.2} % ({:+.2} to {:+.2} %), p {:.4}",
                100.0 * stopped.estimate,
                100.0 * stopped.ci.lower,
                100.0 * stopped.ci.upper,
                stopped.p_value,
            ));
        }
        text.push('\n');
    }
    text
}

/// Where effects differ, and where the split is wrong; all slices are in the JSON.
fn slices(found: &DimensionResults, alpha: f64) -> String {
    let mut text = format!("\nby {}: {}", found.dimension, count(found.slices.len() as u64, "value"));
    for slice in found.slices.iter().filter(|slice| slice.has_mismatch) {
        text.push_str(&format!("; wrong split in `{}`, p {:.4}", slice.value, slice.sample_ratio_p.unwrap_or(0.0)));
    }
    let differing: Vec<_> = found.differences.iter().filter(|it| it.adjusted_p <= alpha).collect();
    if differing.is_empty() {
        text.push_str("; no effect differs between them");
    }
    for difference in differing {
        let SliceDifference { metric, arm, adjusted_p, .. } = difference;
        text.push_str(&format!("; the effect on {metric} in {arm} differs, p {adjusted_p:.4}"));
    }
    text.push('\n');
    text
}

/// Whether another experiment changes the effect on the primary metric.
fn interaction(row: &InteractionRow) -> String {
    let InteractionRow { second, first_arm, second_arm, metric, units, .. } = row;
    let head = format!("\nwith {second}, {first_arm} and {second_arm}: {} share both; ", count(*units, "unit"));
    // Whether the assignments are independent is known whatever became of the metric.
    let split = row.adjusted_independence_p.map(|p| format!("; assignments independent, p {p:.4}")).unwrap_or_default();
    let (Some(found), Some(p)) = (&row.interaction, row.adjusted_p) else {
        return format!("{head}{}{split}\n", row.problem.as_deref().unwrap_or("nothing can be said"));
    };
    let effect = found.difference.effect;
    format!("{head}the effect on {metric} differs by {effect:+.4}, p {p:.4}{split}\n")
}

/// The primary metric day by day.
fn days(report: &ExperimentReport) -> String {
    let names = ["until", "metric", "arm", "lift", "interval", "least p"];
    let is_number = |name: &str| matches!(name, "lift" | "interval" | "least p");
    let mut table = Table::with_kinds(names.map(|name| (name.to_owned(), is_number(name))));
    let primary = report.results.rows.iter().find(|row| row.role == Role::Primary).map(|row| row.metric.as_str());
    for day in &report.days {
        for row in day.rows.iter().filter(|row| Some(row.metric.as_str()) == primary) {
            let percent = |share: f64| format!("{:+.2} %", 100.0 * share);
            let interval = row.shown.map(|it| format!("{:+.2} to {}", 100.0 * it.lower, percent(it.upper)));
            let none = || "–".to_owned();
            table.row(vec![
                day.until.format("%Y-%m-%d").to_string(),
                row.metric.clone(),
                row.arm.clone(),
                row.effect.map_or_else(none, percent),
                interval.unwrap_or_else(none),
                row.least_p.map_or_else(none, |p| format!("{p:.4}")),
            ]);
        }
    }
    format!("\n{}", table.render())
}

/// The verdict with its reasons, as codes: the same in every language and on every screen.
fn verdict(results: &Results) -> String {
    let Some(decision) = &results.decision else {
        let problem = results.problem.as_deref().unwrap_or("the plan cannot be decided by");
        return format!("verdict: none yet, because {problem}\n");
    };
    let reasons: Vec<String> = decision.verdict.reasons.iter().map(reason).collect();
    let because = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    let proposal = decision.proposal.as_ref().map_or(String::new(), |arm| format!(" `{arm}`"));
    let left = decision.verdict.days_left.map_or(String::new(), |days| format!(", {days:.0} days left"));
    format!("verdict: {}{proposal}{because}{left}\n", code(decision.verdict.code))
}

fn code(code: Code) -> &'static str {
    match code {
        Code::FixFirst => "fix_first",
        Code::RollBack => "roll_back",
        Code::Ship => "ship",
        Code::NoDifference => "no_difference",
        Code::KeepRunning => "keep_running",
    }
}

/// `code key value …`, as in the JSON.
fn reason(reason: &Reason) -> String {
    let Ok(serde_json::Value::Object(mut fields)) = serde_json::to_value(reason) else { return String::new() };
    let code = fields.remove("code").and_then(|code| code.as_str().map(str::to_owned)).unwrap_or_default();
    let facts: String = fields.iter().map(|(key, value)| format!(" {key} {value}")).collect();
    code + &facts
}

fn units(results: &Results) -> String {
    let arms: Vec<String> = results.variants.iter().map(|(arm, units)| format!("{} {arm}", grouped(*units))).collect();
    let health = &results.health;
    let mut text = format!("{}; sample ratio p {:.4}", arms.join(", "), health.sample_ratio.p);
    for (units, what) in
        [(health.multiple_units, "saw several variants"), (health.unknown_units, "saw an unknown variant")]
    {
        if units > 0 {
            text.push_str(&format!("; {} {what}", grouped(units)));
        }
    }
    text
}

fn cells(row: &Row) -> Vec<String> {
    let role = match row.role {
        Role::Primary => "primary".to_owned(),
        Role::Success => "goal".to_owned(),
        Role::Guardrail { margin } => format!("guardrail, margin {:.1} %", 100.0 * margin),
        Role::Watched if row.post_hoc => "added after the start".to_owned(),
        Role::Watched => String::new(),
    };
    let note = row.problem.clone().unwrap_or(role);
    let (Some(relative), Some(absolute)) = (&row.relative, &row.absolute) else {
        let none = || "–".to_owned();
        return vec![row.metric.clone(), row.arm.clone(), none(), none(), none(), none(), none(), note];
    };
    // Where the plan lets nothing be claimed yet, there is no interval to be read.
    let percents = |it: Interval| format!("{:+.2} to {:+.2} %", 100.0 * it.lower, 100.0 * it.upper);
    vec![
        row.metric.clone(),
        row.arm.clone(),
        format!("{:.4}", absolute.comparison.control.mean),
        format!("{:.4}", absolute.comparison.treatment.mean),
        format!("{:+.2} %", 100.0 * relative.figures.estimate.effect),
        row.shown.map_or_else(|| "–".to_owned(), percents),
        format!("{:.4}", relative.figures.fixed.p_value),
        note,
    ]
}
