//! The numbers behind the pictures, and everything that has no picture.
//!
//! In: parts of a report.  Out: `<table>`s with captions and scopes, so that they read aloud as well.
//! Never here: sections and sentences (see `page`).
//! Start at [`metrics`].

use super::figures::{is_of_histories, is_of_items, is_segment, slice_title};
use super::text::{NONE, count, escape, grouped, interval, p_value, share, signed, signed_interval};
use crate::{Estimate, EvaluationReport, ListMetric, Metric, PairedTest, Slice, WindowReport, guard_metric};

/// Columns of words, which begin at the left.
const WORDS: [&str; 4] = ["verdict at 5 %", "kind", "parameters", "seen items"];

fn table(caption: &str, head: &[String], body: &str) -> String {
    wrapped("scroll", caption, head, body)
}

fn wrapped(class: &str, caption: &str, head: &[String], body: &str) -> String {
    // The first column names the rows; others that hold words say so.
    let is_text = |place: usize, name: &str| place == 0 || WORDS.contains(&name);
    let head: String = head
        .iter()
        .enumerate()
        .map(|(place, name)| {
            format!("<th scope=\"col\"{}>{name}</th>", if is_text(place, name) { " class=\"text\"" } else { "" })
        })
        .collect();
    format!(
        "<div class=\"{class}\" tabindex=\"0\">\n<table>\n<caption>{caption}</caption>\n<thead><tr>{head}</tr></thead>\n{body}</table>\n</div>\n"
    )
}

fn row(name: &str, cells: &str) -> String {
    format!("<tr><th scope=\"row\">{}</th>{cells}</tr>\n", escape(name))
}

fn heads(first: &str, others: impl Iterator<Item = String>) -> Vec<String> {
    std::iter::once(first.to_owned()).chain(others).collect()
}

/// A value above its interval; the best of its column is bold.
fn estimate(estimate: Option<&Estimate>, is_best: bool) -> String {
    let Some(estimate) = estimate else { return format!("<td>{NONE}</td>") };
    let class = if is_best { " class=\"best\"" } else { "" };
    format!("<td{class}>{}<span class=\"interval\">{}</span></td>", share(estimate.value), interval(estimate))
}

/// Every metric of every recommender, with intervals.
pub(super) fn metrics(report: &EvaluationReport, window: &WindowReport) -> String {
    // The guard's cut-off is measured even where nobody asked for it.
    let mut cutoffs = report.protocol.cutoffs.clone();
    cutoffs.extend(
        window
            .recommenders
            .first()
            .into_iter()
            .flat_map(|result| result.metrics.keys())
            .filter_map(|name| name.rsplit('@').next().and_then(|k| k.parse::<usize>().ok())),
    );
    cutoffs.sort_unstable();
    cutoffs.dedup();
    let mut body = String::new();
    for metric in Metric::ALL {
        body += &format!("<tbody>\n<tr><th scope=\"rowgroup\" colspan=\"{}\">{metric}</th></tr>\n", cutoffs.len() + 1);
        let value = |name: &str, place: usize| window.recommenders[place].metrics.get(name).map(|found| found.value);
        let places = 0..window.recommenders.len();
        let best: Vec<Option<f64>> = cutoffs
            .iter()
            .map(|k| places.clone().filter_map(|place| value(&metric.at(*k), place)).reduce(f64::max))
            .collect();
        for result in &window.recommenders {
            let cells: String = cutoffs
                .iter()
                .zip(&best)
                .map(|(k, best)| {
                    let found = result.metrics.get(&metric.at(*k));
                    estimate(found, best.is_some_and(|best| found.is_some_and(|found| found.value >= best)))
                })
                .collect();
            body += &row(&result.name, &cells);
        }
        body += "</tbody>\n";
    }
    let caption =
        format!("Means over {} with 95 % intervals; the highest of each column is bold.", count(window.users, "user"));
    table(&caption, &heads("recommender", cutoffs.iter().map(|k| format!("@{k}"))), &body)
}

/// Coverage, Gini, novelty, diversity, popularity lift.
pub(super) fn lists(report: &EvaluationReport, window: &WindowReport) -> String {
    let cutoffs = &report.protocol.cutoffs;
    let mut body = String::new();
    for metric in ListMetric::ALL {
        body += &format!(
            "<tbody>\n<tr><th scope=\"rowgroup\" colspan=\"{}\">{metric} <span class=\"note\">{}</span></th></tr>\n",
            cutoffs.len() + 1,
            meaning(metric)
        );
        for result in &window.recommenders {
            let cell = |k: &usize| {
                let value = result.list_metrics.get(&metric.at(*k));
                format!("<td>{}</td>", value.map_or(NONE.to_owned(), |value| share(*value)))
            };
            body += &row(&result.name, &cutoffs.iter().map(cell).collect::<String>());
        }
        body += "</tbody>\n";
    }
    let caption = "What all lists of a recommender are like together. None of these says whether a list is right.";
    table(caption, &heads("recommender", cutoffs.iter().map(|k| format!("@{k}"))), &body)
}

fn meaning(metric: ListMetric) -> &'static str {
    match metric {
        ListMetric::Coverage => "share of all items that anybody is shown",
        ListMetric::Gini => "unevenness of exposure: 0 when every item is shown as often, near 1 when a few are",
        ListMetric::Novelty => "mean −log2 of the share of users who had the item, in bits",
        ListMetric::IntraListDiversity => "1 − mean cosine of pairs in a list: 1 when no two items share a user",
        ListMetric::PopularityLift => "mean popularity of the lists over that of the histories: 1 when alike",
    }
}

/// Every pair of one metric.
pub(super) fn pairs(metric: &str, tests: &[&PairedTest]) -> String {
    let mut body = String::from("<tbody>\n");
    for test in tests {
        let is_clear = test.p_adjusted < 0.05;
        let verdict = match (is_clear, test.difference.value > 0.0) {
            (true, true) => format!("<code>{}</code> is better", escape(&test.one)),
            (true, false) => format!("<code>{}</code> is better", escape(&test.other)),
            (false, _) => "no clear difference".to_owned(),
        };
        body += &format!(
            "<tr><th scope=\"row\">{} − {}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"text\">{verdict}</td></tr>\n",
            escape(&test.one),
            escape(&test.other),
            signed(test.difference.value),
            signed_interval(&test.difference),
            p_value(test.p),
            p_value(test.p_adjusted),
        );
    }
    body += "</tbody>\n";
    let head = ["pair", "difference", "95 % interval", "p", "p, Holm", "verdict at 5 %"].map(str::to_owned);
    table(&format!("{}: paired differences, user by user.", escape(metric)), &head, &body)
}

/// A heading, and the slices beneath it.
type Group = (&'static str, fn(&Slice) -> bool);

/// The guard's metric per group of users.
pub(super) fn slices(window: &WindowReport) -> String {
    let Some(first) = window.recommenders.first() else { return String::new() };
    let names = window.recommenders.iter().map(|result| escape(&result.name));
    let mut body = String::new();
    let groups: [Group; 3] = [
        ("by length of history", is_of_histories),
        ("by segment", is_segment),
        ("by what they chose: of that alone, among users with a history", is_of_items),
    ];
    for (title, wants) in groups {
        let mut rows = String::new();
        for (place, slice) in first.slices.iter().enumerate().filter(|(_, slice)| wants(slice)) {
            let of = |result: &crate::RecommenderResult| result.slices.get(place).and_then(|slice| slice.guard);
            let best = window.recommenders.iter().filter_map(of).map(|guard| guard.value).reduce(f64::max);
            let mut cells = format!("<td>{}</td>", grouped(slice.users));
            for result in &window.recommenders {
                let guard = of(result);
                cells += &estimate(guard.as_ref(), guard.is_some_and(|guard| Some(guard.value) == best));
            }
            rows += &row(&slice_title(&slice.name), &cells);
        }
        if !rows.is_empty() {
            let columns = window.recommenders.len() + 2;
            body += &format!(
                "<tbody>\n<tr><th scope=\"rowgroup\" colspan=\"{columns}\">{title}</th></tr>\n{rows}</tbody>\n"
            );
        }
    }
    let head = heads("users", std::iter::once("count".to_owned()).chain(names));
    // One column per recommender: intervals stand beneath, so that ten of them fit.
    wrapped(
        "scroll stacked",
        &format!("{} per group of users, with 95 % intervals; the highest of each row is bold.", guard_metric()),
        &head,
        &body,
    )
}

/// Kind, parameters and cost of each recommender.
pub(super) fn recommenders(report: &EvaluationReport) -> String {
    let number = |value: Option<f64>| value.map_or(NONE.to_owned(), |value| format!("{value:.2}"));
    let mut body = String::from("<tbody>\n");
    for recommender in &report.recommenders {
        let parameters: Vec<String> = recommender
            .parameters
            .iter()
            .map(|(name, value)| format!("{}&nbsp;=&nbsp;{}", escape(name), escape(&value.to_string())))
            .collect();
        let cost = &recommender.cost;
        let memory = cost.peak_memory_bytes.map_or(NONE.to_owned(), |bytes| format!("{:.0}", bytes as f64 / 1e6));
        let cells = format!(
            "<td class=\"text\"><code>{}</code></td><td class=\"wrap\"><code>{}</code></td><td class=\"text\">{}</td>\
             <td>{}</td><td>{}</td><td>{}</td><td>{memory}</td>",
            recommender.kind,
            if parameters.is_empty() { NONE.to_owned() } else { parameters.join(", ") },
            if recommender.filter_seen { "left out" } else { "kept" },
            number(cost.train_cpu_seconds),
            number(cost.rank_cpu_seconds),
            grouped(cost.lists),
        );
        body += &row(&recommender.name, &cells);
    }
    body += "</tbody>\n";
    let head = [
        "recommender",
        "kind",
        "parameters",
        "seen items",
        "training, CPU s",
        "ranking, CPU s",
        "lists ranked",
        "peak of the process, MB",
    ]
    .map(str::to_owned);
    table("What was evaluated, and what one training and the lists of the test window took.", &head, &body)
}
