//! `montauk evaluate`: each recommender beside the baseline, with intervals, and what is promoted.
//!
//! In: recommenders, a protocol and a seed.  Out: a table of metrics, on request a page.
//! Never here: metrics (`recommend`), the promotion guard (`recommend`).
//! Start at [`run`].

use ::recommend::{EvaluationReport, ProtocolKind, RecommenderResult, Repeats, Window, WindowReport};
use pipeline::steps::evaluate::{self, Report, Request};

use super::{Outcome, Shell};
use crate::cli;
use crate::error::AppError;
use crate::output::{Output, count};
use crate::table::Table;

pub async fn run(shell: &Shell, arguments: cli::Evaluate) -> Result<Outcome, AppError> {
    let request = Request {
        recommenders: arguments.recommenders,
        seed: arguments.seed,
        no_promote: arguments.no_promote,
        protocol: arguments.protocol.map(protocol),
        report: arguments.report,
    };
    let may_promote = !request.no_promote;
    let report = shell.write("evaluate", async |context| evaluate::run(context, request).await).await?;
    shell.output.report(&report, |output| {
        draw(output, &report)?;
        let what = if report.unchanged { "measured before, read back" } else { "measured" };
        output.done("Evaluated", &format!("{what}, in {}", shell.took()));
        if may_promote && report.promotion.is_none() {
            output.done("Kept", "what is served: the project's own protocol decides about it");
        }
        if let Some(path) = &report.report {
            output.done("Wrote", &path.display().to_string());
        }
        Ok(())
    })?;
    Ok(Outcome::Done)
}

fn protocol(typed: cli::Protocol) -> ProtocolKind {
    match typed {
        cli::Protocol::Time => ProtocolKind::Time,
        cli::Protocol::Strong => ProtocolKind::Strong,
        cli::Protocol::Last => ProtocolKind::Last,
    }
}

/// The table of metrics and the promotion; the demo shows it, too.
pub fn draw(output: &Output, report: &Report) -> Result<(), AppError> {
    let evaluation = &report.evaluation;
    let Some(window) = shown_window(evaluation) else { return output.data("nothing was measured\n") };
    let what = match evaluation.protocol.kind {
        ProtocolKind::Time => "Next purchases of",
        ProtocolKind::Strong => "Untold baskets of",
        ProtocolKind::Last => "Last baskets of",
    };
    let whom = match evaluation.protocol.kind {
        ProtocolKind::Time => "after the cut",
        ProtocolKind::Strong => "who were not trained on",
        ProtocolKind::Last => "from all their others",
    };
    let heading = format!(
        "{what} {} {whom} ({}), ranked over all items; 95 % intervals in brackets.\n\n",
        count(window.users as u64, "customer"),
        count(window.held_out as u64, "held-out item"),
    );
    let legend = format!("* the 95 % interval of the difference leaves zero out\n{}\n", evaluation.explanation);
    output.data(&(heading + &metrics(evaluation, window).render() + &legend))?;
    if let Some(promotion) = &report.promotion {
        let verb = if promotion.changed { "Promoted" } else { "Serving" };
        output.done(verb, &format!("{} ({}): {}", promotion.recommender, promotion.artefact, promotion.reason));
    }
    Ok(())
}

/// The test window with what users had before left out of the lists' targets, or the nearest thing there is.
fn shown_window(evaluation: &EvaluationReport) -> Option<&WindowReport> {
    let windows = &evaluation.windows;
    let is_best = |window: &&WindowReport| window.window == Window::Test && window.repeats == Repeats::Excluded;
    windows.iter().find(is_best).or_else(|| windows.last())
}

/// The two metrics that papers compare by, with their intervals; the share of customers with a hit; how much of the shop is shown.
fn metrics(evaluation: &EvaluationReport, window: &WindowReport) -> Table {
    let columns =
        ["recommender", "#recall@20", "95 %", "#ndcg@10", "95 %", "#against baseline", "#hit_rate@10", "#coverage@10"];
    let mut table = Table::new(&columns);
    for result in &window.recommenders {
        let [recall, recall_interval] = measured(result, "recall@20");
        let [ndcg, ndcg_interval] = measured(result, "ndcg@10");
        let [hits, _] = measured(result, "hit_rate@10");
        let coverage = result.list_metrics.get("coverage@10").map(|share| format!("{:.0} %", 100.0 * share));
        table.row(vec![
            name_of(result, &evaluation.baseline),
            recall,
            recall_interval,
            ndcg,
            ndcg_interval,
            against_baseline(result, "ndcg@10"),
            hits,
            coverage.unwrap_or_default(),
        ]);
    }
    table
}

fn name_of(result: &RecommenderResult, baseline: &str) -> String {
    if result.name == baseline { format!("{} (baseline)", result.name) } else { result.name.clone() }
}

/// Value and interval; empty when the protocol does not measure it.
fn measured(result: &RecommenderResult, name: &str) -> [String; 2] {
    match result.metrics.get(name) {
        Some(value) => [format!("{:.4}", value.value), format!("[{:.3}, {:.3}]", value.low, value.high)],
        None => [String::new(), String::new()],
    }
}

/// The paired difference, with a star when its interval leaves zero out.
fn against_baseline(result: &RecommenderResult, name: &str) -> String {
    let Some(difference) = result.differences.get(name) else { return String::new() };
    let is_clear = difference.low > 0.0 || difference.high < 0.0;
    format!("{:+.4}{}", difference.value, if is_clear { "*" } else { " " })
}
