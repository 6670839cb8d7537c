//! Which pictures a page has: accuracy, accuracy against width, accuracy by length of history and by segment.
//!
//! In: one window of a report.  Out: `<figure>`s with captions.
//! Never here: coordinates (see `plot`, `scatter`).
//! Start at [`accuracy`].

use super::plot::{Dots, Panel, WIDTH, dots, svg};
use super::scatter::{Plane, Point, plane};
use super::text::{count, escape};
use crate::{EvaluationReport, ListMetric, Metric, RecommenderResult, Slice, WindowReport, guard_metric};

/// What people compare lists by, where it is measured: the first 20 items.
const USUAL_CUTOFF: usize = 20;

/// 20 if it is measured, otherwise the first cut-off.
pub(super) fn usual_cutoff(report: &EvaluationReport) -> usize {
    let cutoffs = &report.protocol.cutoffs;
    cutoffs.iter().copied().find(|k| *k == USUAL_CUTOFF).or(cutoffs.first().copied()).unwrap_or(USUAL_CUTOFF)
}

/// The bootstrap of fewer users gives intervals that are too narrow (Efron & Tibshirani 1993, ch. 14).
const FEW: usize = 30;

fn figure(picture: &str, caption: &str) -> String {
    format!("<figure>\n{picture}<figcaption>{caption}</figcaption>\n</figure>\n")
}

fn names(window: &WindowReport) -> Vec<&str> {
    window.recommenders.iter().map(|result| result.name.as_str()).collect()
}

/// Recall at the usual cut-off and the guard's metric, with intervals.
pub(super) fn accuracy(report: &EvaluationReport, window: &WindowReport) -> String {
    let metrics = [Metric::Recall.at(usual_cutoff(report)), guard_metric()];
    let panels = metrics.map(|metric| Panel {
        rows: window.recommenders.iter().map(|result| result.metrics.get(&metric).copied()).collect(),
        note: "mean over users".to_owned(),
        title: metric,
    });
    let picture = dots(&Dots {
        id: "accuracy",
        title: &format!("{} and {} per recommender", panels[0].title, panels[1].title),
        description: "One row per recommender: a dot at the mean over users, a whisker over its 95 % interval. The numbers \
                      stand in the table of all metrics.",
        names: &names(window),
        baseline: &report.baseline,
        panels: &panels,
        across: 2,
        one_scale: false,
    });
    let caption = format!(
        "Dots are means over {}, whiskers 95 % intervals; the baseline <code>{}</code> is hollow. Whiskers that overlap do not \
         say that two recommenders are equal: the paired differences below do.",
        count(window.users, "user"),
        escape(&report.baseline)
    );
    figure(&picture, &caption)
}

/// The guard's metric against coverage and against novelty.
pub(super) fn width(report: &EvaluationReport, window: &WindowReport) -> String {
    const HEIGHT: f64 = 360.0;
    let k = usual_cutoff(report);
    let panel_width = WIDTH / 2.0 - 12.0;
    let panels = [
        (ListMetric::Coverage, "share of all items that anybody is shown", 0.0),
        (ListMetric::Novelty, "higher is less known", panel_width + 24.0),
    ];
    let content: String = panels
        .into_iter()
        .map(|(metric, meaning, left)| {
            let x = metric.at(k);
            let points = points(report, window, &x);
            let place = Plane {
                left,
                width: panel_width,
                height: HEIGHT,
                title: &format!("{} against {x}", guard_metric()),
                x_label: &format!("{x}: {meaning}"),
            };
            plane(&place, &points)
        })
        .collect();
    let title = format!("Quality against coverage and novelty of the first {k}");
    let description = "One point per recommender, with its name. Higher is more often right, further right is a wider or less \
                       known choice. The numbers stand in the tables.";
    let caption = "Up and to the right is better on both counts. The axes begin near the least value.";
    figure(&svg("width", &title, description, HEIGHT, &content), caption)
}

fn points<'a>(report: &EvaluationReport, window: &'a WindowReport, x: &str) -> Vec<Point<'a>> {
    let place = |(shape, result): (usize, &'a RecommenderResult)| {
        let (x, y) = (result.list_metrics.get(x)?, result.metrics.get(&guard_metric())?);
        let is_baseline = result.name == report.baseline;
        Some(Point { name: &result.name, x: *x, y: y.value, shape, is_baseline })
    };
    window.recommenders.iter().enumerate().filter_map(place).collect()
}

/// How a slice is called on a page.
pub(super) fn slice_title(name: &str) -> String {
    match name {
        "cold_users" => "no history".to_owned(),
        "history_1_to_4" => "1 to 4 events".to_owned(),
        "history_5_to_19" => "5 to 19 events".to_owned(),
        "history_20_up" => "20 events or more".to_owned(),
        "new_items" => "new items".to_owned(),
        other => other.strip_prefix("segment:").or(other.strip_prefix("category:")).unwrap_or(other).to_owned(),
    }
}

/// Whether a slice is one of the caller's segments.
pub(super) fn is_segment(slice: &Slice) -> bool {
    slice.name.starts_with("segment:")
}

/// Whether a slice is of what was chosen, not of who chose.
pub(super) fn is_of_items(slice: &Slice) -> bool {
    slice.name == "new_items" || slice.name.starts_with("category:")
}

/// Whether a slice is of users by the length of their history.
pub(super) fn is_of_histories(slice: &Slice) -> bool {
    !is_segment(slice) && !is_of_items(slice)
}

fn sliced(
    report: &EvaluationReport,
    window: &WindowReport,
    id: &str,
    title: &str,
    wants: fn(&Slice) -> bool,
) -> String {
    let Some(first) = window.recommenders.first() else { return String::new() };
    let panels: Vec<Panel> = first
        .slices
        .iter()
        .enumerate()
        .filter(|(_, slice)| wants(slice))
        .map(|(place, slice)| Panel {
            title: slice_title(&slice.name),
            note: count(slice.users, "user") + if slice.users < FEW { ", few" } else { "" },
            rows: window.recommenders.iter().map(|result| result.slices.get(place)?.guard).collect(),
        })
        .collect();
    dots(&Dots {
        id,
        title,
        description: "One panel per group of users, one row per recommender: a dot at the mean over the group, a whisker over \
                      its 95 % interval. The numbers stand in the table of groups.",
        names: &names(window),
        baseline: &report.baseline,
        panels: &panels,
        across: 4,
        one_scale: true,
    })
}

/// The guard's metric by length of history.
pub(super) fn history(report: &EvaluationReport, window: &WindowReport) -> String {
    let title = format!("{} by length of history", guard_metric());
    let picture = sliced(report, window, "history", &title, is_of_histories);
    let caption = format!(
        "{} by how many events of a user were known, on one scale. Users without history get popularity, the list of their segment, or one by their profile. \
         <em>Few</em> is fewer than {FEW}: such an interval is narrower than it should be.",
        guard_metric()
    );
    figure(&picture, &caption)
}

/// The guard's metric by segment; empty without segments.
pub(super) fn segments(report: &EvaluationReport, window: &WindowReport) -> String {
    let has_segments = window.recommenders.iter().flat_map(|result| &result.slices).any(is_segment);
    if !has_segments {
        return String::new();
    }
    let title = format!("{} by segment", guard_metric());
    let picture = sliced(report, window, "segments", &title, is_segment);
    let caption =
        "The ten segments with the most users, and everybody else. A small segment has a long whisker: it says little.";
    figure(&picture, caption)
}
