//! Draws how far a step is: bars on a terminal, one closing line per part everywhere.
//!
//! In: calls of [`domain::Progress`] from the rooms.  Out: standard error.
//! Never here: what is counted.
//! Start at [`Bars`].

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use domain::Progress;
use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use crate::output::{self, Output};

/// How often a bar moves: fast enough to look alive, slow enough to cost nothing.
const TICK: Duration = Duration::from_millis(120);

/// Bars for the parts that are running; the newest gets the rows.
#[derive(Debug)]
pub struct Bars {
    output: Output,
    multi: MultiProgress,
    running: Mutex<Vec<Part>>,
}

/// One part of a step.
#[derive(Debug)]
struct Part {
    /// First word of what was begun: `copy`.
    verb: String,
    /// The rest: `raw.retail_lines`.
    what: String,
    since: Instant,
    rows: u64,
    /// None where nothing moves.
    bar: Option<ProgressBar>,
}

impl Bars {
    /// Draws as `output` allows.
    pub fn new(output: Output) -> Self {
        Self { output, multi: MultiProgress::new(), running: Mutex::new(Vec::new()) }
    }

    fn running(&self) -> MutexGuard<'_, Vec<Part>> {
        // A panic elsewhere does not make a list of bars wrong.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bar(&self, verb: &str, what: &str, total_rows: Option<u64>) -> ProgressBar {
        let bar = match total_rows {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::no_length(),
        };
        let template = match total_rows {
            Some(_) if verb == "tune" => "{verb}  {msg}  [{bar:24}] {human_pos}/{human_len} trials, {left} left",
            Some(_) => "{verb}  {msg}  [{bar:24}] {human_pos}/{human_len} rows, {rate}, {left} left",
            None => "{verb}  {msg}  {spinner} {human_pos} rows, {rate}, {elapsed}",
        };
        let verb = self.output.green(&format!("{:>12}", capital(verb)));
        // The template is a constant of ours: a bar that cannot be styled is drawn plainly.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let style = style
            .progress_chars("━╸ ")
            .with_key("verb", move |_: &ProgressState, writer: &mut dyn std::fmt::Write| {
                let _ = writer.write_str(&verb);
            })
            .with_key("rate", |state: &ProgressState, writer: &mut dyn std::fmt::Write| {
                let _ = write!(writer, "{}/s", output::grouped(state.per_sec() as u64));
            })
            .with_key("left", |state: &ProgressState, writer: &mut dyn std::fmt::Write| {
                let _ = writer.write_str(&output::seconds(state.eta()));
            });
        let bar = self.multi.add(bar.with_style(style).with_message(what.to_owned()));
        bar.enable_steady_tick(TICK);
        bar
    }
}

impl Progress for Bars {
    fn begin(&self, what: &str, total_rows: Option<u64>) {
        let (verb, what) = what.split_once(' ').unwrap_or((what, ""));
        let bar = self.output.moving.then(|| self.bar(verb, what, total_rows));
        let part = Part { verb: verb.to_owned(), what: what.to_owned(), since: Instant::now(), rows: 0, bar };
        self.running().push(part);
    }

    fn advance(&self, rows: u64) {
        if let Some(part) = self.running().last_mut() {
            part.rows += rows;
            if let Some(bar) = &part.bar {
                bar.inc(rows);
            }
        }
    }

    fn note(&self, what: &str) {
        if let Some(part) = self.running().last()
            && let Some(bar) = &part.bar
        {
            bar.set_message(format!("{}: {what}", part.what));
        }
    }

    fn finish(&self, summary: &str) {
        let Some(part) = self.running().pop() else { return };
        if let Some(bar) = &part.bar {
            bar.finish_and_clear();
            self.multi.remove(bar);
        }
        let line = part.closing(summary, part.since.elapsed());
        self.multi.suspend(|| self.output.done(&capital(&part.verb), &line));
    }
}

impl Part {
    /// `raw.retail_lines: 13 files, 541,909 rows in 3.2 s`; rows are added when the summary does not count them.
    fn closing(&self, summary: &str, took: Duration) -> String {
        let mut facts = output::grouped_words(summary.trim());
        if self.rows > 0 && !facts.contains(" row") && !facts.contains(&output::grouped(self.rows)) {
            let rows = output::count(self.rows, "row");
            facts = if facts.is_empty() { rows } else { format!("{facts}, {rows}") };
        }
        let separator = if self.what.is_empty() || facts.is_empty() { "" } else { ": " };
        format!("{}{separator}{facts} in {}", self.what, output::seconds(took))
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        // An error leaves parts unfinished: their bars must not stay on the screen beside it.
        for part in self.running().drain(..) {
            if let Some(bar) = part.bar {
                bar.finish_and_clear();
            }
        }
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closing(what: &str, rows: u64, summary: &str) -> String {
        let part = Part { verb: "copy".into(), what: what.into(), since: Instant::now(), rows, bar: None };
        part.closing(summary, Duration::from_millis(3_210))
    }

    #[test]
    fn a_closing_line_has_rows_and_seconds() {
        assert_eq!(closing("raw.lines", 541_909, "13 files"), "raw.lines: 13 files, 541,909 rows in 3.2 s");
        assert_eq!(closing("ease", 1_166, "1166 users"), "ease: 1,166 users in 3.2 s");
        assert_eq!(closing("raw.lines", 7, "7 rows sent"), "raw.lines: 7 rows sent in 3.2 s");
        assert_eq!(closing("", 0, "nothing to do"), "nothing to do in 3.2 s");
        assert_eq!(capital("copy"), "Copy");
    }
}
