//! An evaluation as one page: plots, tables, what was done and what it cannot tell. Nothing is loaded, nothing runs.
//!
//! In: an [`EvaluationReport`] and what its caller knows about it.  Out: HTML text that needs no other file.
//! Read in grey, in the dark, on paper and aloud: shapes and words carry what colour would; every plot has its table.
//! Never here: measuring, files, clocks.
//! Start at [`render`].

mod figures;
mod plot;
mod scatter;
mod tables;
mod text;

use domain::Provenance;

use self::text::{count, escape, grouped, moment, share, signed, signed_interval};
use crate::{
    EvaluationReport, PairedTest, PromotionDecision, ProtocolKind, Repeats, Window, WindowReport, guard_metric,
};

/// What the caller knows about an evaluation.
#[derive(Debug, Clone, Copy)]
pub struct ReportFacts<'a> {
    /// Whose recommenders these are.
    pub project: &'a str,
    /// When the page was made, as text.
    pub made_at: &'a str,
    /// The set of table versions that the page was made with.
    pub catalog: u64,
    /// The recommender that validation chose, and whether it may go live.
    pub choice: Option<(&'a str, &'a PromotionDecision)>,
    /// Where the segments come from, such as `marts.customers.country`.
    pub segments: Option<&'a str>,
    pub provenance: &'a Provenance,
}

/// The page.
pub fn render(report: &EvaluationReport, facts: &ReportFacts<'_>) -> String {
    let title = format!("Evaluation of {}", escape(facts.project));
    let filter_seen = report.recommenders.first().is_none_or(|recommender| recommender.filter_seen);
    let repeats = Repeats::of(filter_seen);
    let shown = report.window(Window::Test, repeats).or(report.windows.last());
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n\
         <p class=\"subtitle\">Protocol <code>{}</code> · {} · seed {} · made {}</p>\n",
        include_str!("style.css"),
        report.protocol.kind,
        count(report.recommenders.len(), "recommender"),
        report.protocol.seed,
        escape(facts.made_at),
    );
    page += "<nav aria-label=\"Sections\"><a href=\"#about\">What was done</a><a href=\"#accuracy-section\">Accuracy</a>\
             <a href=\"#pairs\">Differences</a><a href=\"#width-section\">Width</a><a href=\"#groups\">Groups of users</a>\
             <a href=\"#recommenders\">Recommenders and cost</a><a href=\"#others\">Other windows</a><a href=\"#provenance\">Provenance</a></nav>\n</header>\n<main>\n";
    if let Some(window) = shown {
        page += &verdict(report, window, facts);
        page += &about(report, window, facts);
        page += &body(report, window);
    }
    page += &format!(
        "<section id=\"recommenders\">\n<h2>Recommenders and cost</h2>\n{}</section>\n",
        tables::recommenders(report)
    );
    page += &others(report, shown);
    page += &provenance(report, facts);
    page += "</main>\n";
    page + &footer(report) + "</body>\n</html>\n"
}

/// What a reader in a hurry needs: who is ahead, by how much, and whether that is sure.
fn verdict(report: &EvaluationReport, window: &WindowReport, facts: &ReportFacts<'_>) -> String {
    let guard = guard_metric();
    let value = |place: usize| window.recommenders[place].metrics.get(&guard).map_or(0.0, |found| found.value);
    let Some(best) = (0..window.recommenders.len()).max_by(|one, other| value(*one).total_cmp(&value(*other))) else {
        return String::new();
    };
    let result = &window.recommenders[best];
    let mut sentence = match result.metrics.get(&guard) {
        Some(found) => format!(
            "On the {}, <strong>{}</strong> has the highest {guard}: {} {}",
            of_window(window),
            escape(&result.name),
            share(found.value),
            text::interval(found)
        ),
        None => return format!("<p class=\"verdict\">The {} has no user to measure on.</p>\n", of_window(window)),
    };
    if let Some(difference) = result.differences.get(&guard) {
        sentence += &format!(
            ", {} {} against the baseline <code>{}</code>",
            signed(difference.value),
            signed_interval(difference),
            escape(&report.baseline)
        );
    }
    sentence += ".";
    let equals: Vec<String> = window
        .pairs
        .iter()
        .filter(|pair| pair.metric == guard && pair.p_adjusted >= 0.05)
        .filter_map(|pair| match (pair.one == result.name, pair.other == result.name) {
            (true, _) => Some(format!("<code>{}</code>", escape(&pair.other))),
            (false, true) => Some(format!("<code>{}</code>", escape(&pair.one))),
            (false, false) => None,
        })
        .collect();
    if !equals.is_empty() {
        sentence += &format!(" It is not clearly better than {}.", equals.join(", "));
    }
    let chosen = facts.choice.map_or(String::new(), |(name, decision)| {
        let verb = if decision.promote { "may go live" } else { "may not go live" };
        format!(
            "<p>Validation chose <code>{}</code>, which {verb}: {}.</p>\n",
            escape(name),
            text::marked(&decision.reason)
        )
    });
    format!("<p class=\"verdict\">{sentence}</p>\n{chosen}")
}

/// `test window without repeats (1,087 users)`
fn of_window(window: &WindowReport) -> String {
    format!("{} ({})", window_name(window), count(window.users, "user"))
}

fn window_name(window: &WindowReport) -> &'static str {
    match (window.window, window.repeats) {
        (Window::Test, Repeats::Excluded) => "test window without repeats",
        (Window::Test, Repeats::Included) => "test window with repeats",
        (Window::Validation, Repeats::Excluded) => "validation window without repeats",
        (Window::Validation, Repeats::Included) => "validation window with repeats",
    }
}

fn definitions(pairs: &[(&str, String)]) -> String {
    let rows: String = pairs.iter().map(|(name, value)| format!("<dt>{name}</dt><dd>{value}</dd>\n")).collect();
    format!("<dl>\n{rows}</dl>\n")
}

/// The protocol, its cuts and counts.
fn about(report: &EvaluationReport, window: &WindowReport, facts: &ReportFacts<'_>) -> String {
    let data = &report.data;
    let mut pairs = vec![
        (
            "Data",
            format!(
                "{} of {} with {}, {} to {}",
                count(data.events, "event"),
                count(data.users, "user"),
                count(data.items, "item"),
                moment(data.first_at),
                moment(data.last_at)
            ),
        ),
        (
            "Events",
            format!(
                "{} for training, {} for validation, {} for the test; no basket is split",
                grouped(report.train_events),
                grouped(report.validation_events),
                grouped(report.test_events)
            ),
        ),
    ];
    if let Some(cuts) = report.cuts {
        let cut = format!("validation from {}, test from {}", moment(cuts.validation_from), moment(cuts.test_from));
        pairs.push(("Cuts", cut));
    } else if report.protocol.kind == ProtocolKind::Strong {
        let protocol = &report.protocol;
        let percent = |share: f64| format!("{:.0} %", 100.0 * share);
        let shares = format!(
            "{} trained on, {} for validation, {} for the test, of those with two baskets or more, drawn by lot",
            percent(protocol.train_share),
            percent(protocol.validation_share - protocol.train_share),
            percent(1.0 - protocol.validation_share)
        );
        pairs.push(("Users", shares));
    }
    let repeats = match window.repeats {
        Repeats::Excluded => "items that a user already had are neither recommended nor counted",
        Repeats::Included => "items that a user already had are recommended and counted like any other",
    };
    pairs.push(("Shown here", format!("{}; {repeats}", window_name(window))));
    pairs.push((
        "Measured on",
        format!(
            "{} with a history and something to be found, {}; recommenders trained on {} and {}",
            count(window.users, "user"),
            count(window.held_out, "such item"),
            count(window.train_users, "user"),
            count(window.train_items, "item")
        ),
    ));
    pairs.push((
        "Not measured",
        format!(
            "{} without history (a group of their own below), {} that training does not know",
            count(window.cold_users, "user"),
            count(window.cold_items, "chosen item")
        ),
    ));
    pairs.push(("Ranking", "over all items, never against a sample; equal scores in the order of item ids".to_owned()));
    if let Some(segments) = facts.segments {
        pairs.push(("Segments", format!("<code>{}</code>", escape(segments))));
    }
    let explanation = escape(&report.explanation);
    format!("<section id=\"about\">\n<h2>What was done</h2>\n<p>{explanation}</p>\n{}</section>\n", definitions(&pairs))
}

fn body(report: &EvaluationReport, window: &WindowReport) -> String {
    let mut page = format!(
        "<section id=\"accuracy-section\">\n<h2>Accuracy</h2>\n{}<h3>All metrics</h3>\n{}</section>\n",
        figures::accuracy(report, window),
        tables::metrics(report, window)
    );
    page +=
        &format!("<section id=\"pairs\">\n<h2>Differences between recommenders</h2>\n{}</section>\n", pairs(window));
    page += &format!(
        "<section id=\"width-section\">\n<h2>Quality against width</h2>\n{}{}</section>\n",
        figures::width(report, window),
        tables::lists(report, window)
    );
    page + &format!(
        "<section id=\"groups\">\n<h2>Groups of users</h2>\n{}{}{}</section>\n",
        figures::history(report, window),
        figures::segments(report, window),
        tables::slices(window)
    )
}

/// The guard's metric open, the others a click away.
fn pairs(window: &WindowReport) -> String {
    if window.pairs.is_empty() {
        return "<p>There is only one recommender, or no user: nothing to compare.</p>\n".to_owned();
    }
    let mut metrics: Vec<&str> = window.pairs.iter().map(|pair| pair.metric.as_str()).collect();
    metrics.dedup();
    let tables = metrics.iter().enumerate().map(|(place, metric)| {
        let tests: Vec<&PairedTest> = window.pairs.iter().filter(|pair| pair.metric == *metric).collect();
        let open = if place == 0 { " open" } else { "" };
        format!("<details{open}><summary>{}</summary>\n{}</details>\n", escape(metric), tables::pairs(metric, &tests))
    });
    "<p>Each user is compared with themself. An interval that leaves zero out and a small p say the same in two ways; after Holm, p \
     counts how many pairs were looked at.</p>\n"
        .to_owned()
        + &tables.collect::<String>()
}

/// Every window but the one that the page is about.
fn others(report: &EvaluationReport, shown: Option<&WindowReport>) -> String {
    let of = |window: &WindowReport| {
        let pairs = pairs(window);
        format!(
            "<details><summary>{}: {}</summary>\n{}{}{pairs}</details>\n",
            window_name(window),
            count(window.users, "user"),
            tables::metrics(report, window),
            tables::lists(report, window)
        )
    };
    let tables: String = report.windows.iter().filter(|window| Some(*window) != shown).map(of).collect();
    format!(
        "<section id=\"others\">\n<h2>Other windows</h2>\n<p>The validation window is for choosing, the test window for reporting: \
         a figure that a choice was made by is too good.</p>\n{tables}</section>\n"
    )
}

fn provenance(report: &EvaluationReport, facts: &ReportFacts<'_>) -> String {
    let provenance = facts.provenance;
    let code = |text: &str| format!("<code>{}</code>", escape(text));
    let mut pairs = vec![("Catalog number", facts.catalog.to_string())];
    for (name, version) in &provenance.inputs {
        pairs.push(("Input", format!("{} {}", code(name), code(version))));
    }
    pairs.extend([
        ("Configuration", code(&provenance.config_hash)),
        ("Engine", code(&provenance.engine)),
        ("Seed", report.protocol.seed.to_string()),
        ("Resamples", format!("{} per interval", grouped(report.protocol.resamples))),
        ("Measured by run", code(&provenance.run_id)),
        ("Identity", code(&provenance.identity())),
    ]);
    format!(
        "<section id=\"provenance\">\n<h2>Provenance</h2>\n<p>The same identity gives the same numbers.</p>\n{}</section>\n",
        definitions(&pairs)
    )
}

fn footer(report: &EvaluationReport) -> String {
    format!(
        "<footer><p>Intervals: percentile bootstrap over users, {} resamples, the same users drawn for all recommenders. p: two-sided, \
         signs of the users' differences flipped at random, {} draws; adjusted by Holm over the pairs of a metric. recall@k divides by \
         the smaller of k and what was to be found.</p></footer>\n",
        grouped(report.protocol.resamples),
        grouped(crate::permutation::DRAWS)
    )
}
