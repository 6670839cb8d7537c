//! Dots with whiskers, panel beside panel: one row per recommender, read without colour.
//!
//! In: panels of estimates.  Out: SVG with title and description; every number also stands in it as text.
//! Never here: which panels a page has (see `figures`), points in a plane (see `scatter`).
//! Start at [`dots`].

use super::text::{escape, share, shortened, width};
use crate::Estimate;

/// One set of rows with its own heading.
pub(super) struct Panel {
    pub(super) title: String,
    /// Under the title: how many users, and the like.
    pub(super) note: String,
    /// In the order of the names; none where nothing was measured.
    pub(super) rows: Vec<Option<Estimate>>,
}

/// A figure of panels that share their rows.
pub(super) struct Dots<'a> {
    /// Unique on the page: ties title and description to the picture.
    pub(super) id: &'a str,
    pub(super) title: &'a str,
    pub(super) description: &'a str,
    pub(super) names: &'a [&'a str],
    /// Drawn hollow.
    pub(super) baseline: &'a str,
    pub(super) panels: &'a [Panel],
    /// Panels in a line.
    pub(super) across: usize,
    /// Whether all panels have one scale, so that they compare with each other.
    pub(super) one_scale: bool,
}

/// All figures are as wide as the page's column; what is drawn is scaled to it.
pub(super) const WIDTH: f64 = 960.0;
const ROW: f64 = 24.0;
const HEAD: f64 = 44.0;
const FOOT: f64 = 30.0;
const GAP: f64 = 26.0;
/// Width of a column of digits at the font size of the style.
const DIGIT: f64 = 7.4;
/// Space for `0.1234` at the right of a row.
const VALUE: f64 = 48.0;
/// Names beyond so many columns are cut; the table beneath has them whole.
const NAME_COLUMNS: usize = 26;

/// An axis from zero to a round number.
pub(super) struct Scale {
    pub(super) ticks: Vec<f64>,
    digits: usize,
}

impl Scale {
    /// Ticks at 1, 2 or 5 times a power of ten, about `wanted` of them, from 0 to the first at or above `largest`.
    pub(super) fn new(largest: f64, wanted: usize) -> Self {
        Self::between(0.0, largest, wanted)
    }

    /// The same from the last tick at or below `least`.
    pub(super) fn between(least: f64, largest: f64, wanted: usize) -> Self {
        let span = if largest - least > 1e-9 { largest - least } else { 0.1 };
        let rough = span / wanted.max(1) as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|step| *step >= rough * 0.999);
        let step = step.unwrap_or(rough);
        let (first, mut last) = ((least / step + 1e-9).floor(), (largest / step - 1e-9).ceil());
        if last <= first {
            last = first + 1.0;
        }
        let digits = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
        let count = (last - first).round() as usize;
        Self { ticks: (0..=count).map(|tick| (first + tick as f64) * step).collect(), digits }
    }

    /// The place of a value between 0 and 1.
    pub(super) fn place(&self, value: f64) -> f64 {
        let (first, last) = (self.ticks[0], self.ticks[self.ticks.len() - 1]);
        ((value - first) / (last - first)).clamp(0.0, 1.0)
    }

    /// A tick as text, all with the same digits.
    pub(super) fn text(&self, tick: f64) -> String {
        // Adding zero turns -0.0 into 0.0.
        format!("{:.*}", self.digits, tick + 0.0)
    }
}

/// `<svg>` with title and description for those who hear it.
pub(super) fn svg(id: &str, title: &str, description: &str, height: f64, content: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH:.0} {height:.0}\" role=\"img\" aria-labelledby=\"{id}-title {id}-description\">\
         <title id=\"{id}-title\">{}</title><desc id=\"{id}-description\">{}</desc>{content}</svg>\n",
        escape(title),
        escape(description)
    )
}

pub(super) fn text(x: f64, y: f64, class: &str, escaped: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{escaped}</text>")
}

pub(super) fn line(class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> String {
    format!("<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>")
}

/// Draws the figure.
pub(super) fn dots(figure: &Dots<'_>) -> String {
    let columns = figure.names.iter().map(|name| width(name).min(NAME_COLUMNS)).max().unwrap_or_default();
    let left = columns as f64 * DIGIT + 14.0;
    let across = figure.across.clamp(1, figure.panels.len().max(1));
    let panel_width = (WIDTH - left - GAP * (across - 1) as f64) / across as f64;
    let line_height = HEAD + ROW * figure.names.len() as f64 + FOOT;
    let largest = |panels: &[Panel]| {
        panels.iter().flat_map(|panel| panel.rows.iter().flatten()).map(|estimate| estimate.high).fold(0.0, f64::max)
    };
    let shared = largest(figure.panels);
    let mut content = String::new();
    for (number, panels) in figure.panels.chunks(across).enumerate() {
        let top = number as f64 * line_height;
        for (row, name) in figure.names.iter().enumerate() {
            let y = top + HEAD + ROW * (row as f64 + 0.5) + 4.0;
            content += &format!(
                "<g>{}<title>{}</title></g>",
                text(0.0, y, "start", &shortened(name, NAME_COLUMNS)),
                escape(name)
            );
        }
        for (place, panel) in panels.iter().enumerate() {
            let x = left + place as f64 * (panel_width + GAP);
            let most = if figure.one_scale { shared } else { largest(std::slice::from_ref(panel)) };
            content += &panel_of(figure, panel, &Scale::new(most, 4), (x, top), panel_width);
        }
    }
    let lines = figure.panels.len().div_ceil(across);
    svg(figure.id, figure.title, figure.description, lines as f64 * line_height, &content)
}

fn panel_of(figure: &Dots<'_>, panel: &Panel, scale: &Scale, (x, top): (f64, f64), panel_width: f64) -> String {
    let plot = panel_width - VALUE - 10.0;
    let (from, to) = (top + HEAD, top + HEAD + ROW * figure.names.len() as f64);
    let at = |value: f64| x + 6.0 + scale.place(value) * (plot - 6.0);
    let fits = ((panel_width / DIGIT) as usize).max(4);
    let mut drawn = format!(
        "<g>{}<title>{}</title></g>",
        text(x, top + 16.0, "title start", &shortened(&panel.title, fits)),
        escape(&panel.title)
    );
    drawn += &text(x, top + 32.0, "soft start", &escape(&panel.note));
    for tick in &scale.ticks {
        drawn += &line("grid", (at(*tick), from), (at(*tick), to));
        drawn += &text(at(*tick), to + 17.0, "soft middle", &scale.text(*tick));
    }
    drawn += &line("line", (at(scale.ticks[0]), to), (at(scale.ticks[scale.ticks.len() - 1]), to));
    for ((row, name), estimate) in figure.names.iter().enumerate().zip(&panel.rows) {
        let y = from + ROW * (row as f64 + 0.5);
        let Some(estimate) = estimate else {
            drawn += &text(at(scale.ticks[0]) + 6.0, y + 4.0, "soft start", "no users");
            continue;
        };
        let (low, high) = (at(estimate.low), at(estimate.high));
        drawn += &line("whisker", (low, y), (high, y));
        drawn += &line("whisker", (low, y - 4.0), (low, y + 4.0));
        drawn += &line("whisker", (high, y - 4.0), (high, y + 4.0));
        let class = if *name == figure.baseline { "dot baseline" } else { "dot" };
        drawn += &format!("<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"4.5\"/>", at(estimate.value));
        drawn += &text(x + panel_width, y + 4.0, "end", &share(estimate.value));
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_hold_every_value() {
        let of = |largest: f64| {
            let scale = Scale::new(largest, 4);
            scale.ticks.iter().map(|tick| scale.text(*tick)).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of(0.163), "0.00 0.05 0.10 0.15 0.20");
        assert_eq!(of(0.2), "0.00 0.05 0.10 0.15 0.20");
        assert_eq!(of(1.0), "0.0 0.5 1.0");
        assert_eq!(of(8.2), "0 5 10");
        assert_eq!(of(0.0), "0.00 0.05");
        let between = Scale::between(3.2, 7.9, 4);
        assert_eq!((between.ticks[0], between.place(8.0), between.place(2.0)), (2.0, 1.0, 0.0));
    }
}
