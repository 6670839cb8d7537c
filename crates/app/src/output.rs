//! How Montauk speaks: data to standard output, talk to standard error, colours only where they are wanted.
//!
//! In: reports, errors, the global options.  Out: text or JSON.
//! Never here: what a report means (`commands`), progress bars (`progress`).
//! Start at [`Output`].
#![expect(clippy::print_stdout, reason = "this is the one place that writes to standard output")]

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::Duration;

use domain::{ErrorKind, Problem};
use pipeline::FileProblem;

use crate::cli::Globals;
use crate::error::AppError;

/// Width of the verb in front of a closing line; cargo's, so that eyes find it.
const VERB_WIDTH: usize = 12;

/// Where and how to print.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    pub json: bool,
    pub quiet: bool,
    /// Standard error takes colours.
    colour: bool,
    /// Standard output takes colours.
    data_colour: bool,
    /// Standard error takes moving progress bars.
    pub moving: bool,
}

/// The environment that decides about colours; taken apart so that it can be tested.
#[derive(Debug, Clone, Copy, Default)]
struct Surroundings {
    is_terminal: bool,
    no_color: bool,
    force_color: bool,
    is_dumb: bool,
}

impl Surroundings {
    fn read(is_terminal: bool) -> Self {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
        Self {
            is_terminal,
            // no-color.org: set and not empty, whatever it holds.
            no_color: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
            force_color: is_set("CLICOLOR_FORCE"),
            is_dumb: std::env::var_os("TERM").is_some_and(|value| value == "dumb"),
        }
    }

    fn wants_colour(self) -> bool {
        !self.no_color && (self.force_color || (self.is_terminal && !self.is_dumb))
    }
}

impl Output {
    /// From the options and the terminal.
    pub fn new(globals: &Globals) -> Self {
        let surroundings = Surroundings::read(std::io::stderr().is_terminal());
        let data = Surroundings { is_terminal: std::io::stdout().is_terminal(), ..surroundings };
        Self {
            json: globals.json,
            quiet: globals.quiet,
            colour: !globals.no_color && surroundings.wants_colour(),
            data_colour: !globals.no_color && data.wants_colour(),
            moving: surroundings.is_terminal && !surroundings.is_dumb && !globals.quiet,
        }
    }

    /// Before the options are known to be right: JSON, nothing else.
    pub fn for_json() -> Self {
        Self { json: true, quiet: true, colour: false, data_colour: false, moving: false }
    }

    /// Data: a text that ends in a newline. A reader that went away (`| head`) ends the run quietly.
    pub fn data(&self, text: &str) -> Result<(), AppError> {
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(AppError::io("write to standard output", &error)),
        }
    }

    /// The one JSON object of a command.
    pub fn json<T: serde::Serialize>(&self, value: &T) -> Result<(), AppError> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| AppError::Internal { what: "the report has no JSON form", reason: error.to_string() })?;
        self.data(&format!("{text}\n"))
    }

    /// A report: JSON when that was asked for, otherwise what `draw` makes of it.
    pub fn report<T: serde::Serialize>(
        &self,
        report: &T,
        draw: impl FnOnce(&Self) -> Result<(), AppError>,
    ) -> Result<(), AppError> {
        if self.json { self.json(report) } else { draw(self) }
    }

    /// A line of talk.
    pub fn say(&self, line: &str) {
        if !self.quiet && !self.json {
            eprintln!("{line}");
        }
    }

    /// A closing line: `      Loaded  541,909 rows into raw.retail_lines in 3.2 s`.
    pub fn done(&self, verb: &str, what: &str) {
        self.say(&format!("{}  {what}", self.green(&format!("{verb:>VERB_WIDTH$}"))));
    }

    /// A line about something that a person should look at.
    pub fn warn(&self, what: &str) {
        if !self.json {
            eprintln!("{}: {what}", self.paint("33;1", "warning"));
        }
    }

    /// Something that a report found wrong, in the format of errors: code and sentence, place, facts.
    pub fn finding(&self, is_error: bool, code: &str, message: &str, at: &str, notes: &[String]) {
        if self.json {
            return;
        }
        let (style, word) = if is_error { ("31;1", "error") } else { ("33;1", "warning") };
        let mut text =
            self.paint(style, &format!("{word}[{code}]")) + &self.paint("1", &format!(": {}\n", clean(message)));
        if !at.is_empty() {
            let _ = writeln!(text, "  {} {at}", self.paint("34;1", "-->"));
        }
        for note in notes {
            let _ = writeln!(text, "   {} {}", self.paint("34;1", "="), clean(note));
        }
        eprint!("{text}");
    }

    /// An error, as text to standard error or as JSON to standard output, where the report would have been.
    pub fn error(&self, error: &AppError) {
        if self.json {
            let shown = serde_json::json!({ "error": json_error(error) });
            println!("{shown:#}");
        } else {
            eprint!("{}", self.render_error(error));
        }
    }

    /// The error format: code and sentence, place, source line, facts, help.
    fn render_error(&self, error: &AppError) -> String {
        let headline = |message: &str| {
            format!(
                "{}{}\n",
                self.paint("31;1", &format!("error[{}]", error.code())),
                self.paint("1", &format!(": {message}"))
            )
        };
        let mut text = match file_problem(error) {
            Some(problem) => headline(&clean(&problem.message)) + &self.render_place(problem),
            None => headline(&clean(&error.to_string())),
        };
        if let Some(help) = error.help() {
            let _ = writeln!(text, "{}: {help}", self.paint("36;1", "help"));
        }
        if error.kind() == ErrorKind::Internal {
            let _ = writeln!(
                text,
                "{}: this is a fault of Montauk; run again with -vv and report it",
                self.paint("36;1", "help")
            );
        }
        text
    }

    fn render_place(&self, problem: &FileProblem) -> String {
        let number = problem.line.to_string();
        let margin = " ".repeat(number.len());
        let arrow = self.paint("34;1", "-->");
        let mut text = format!("{margin} {arrow} {}:{}:{}\n", problem.file, problem.line, problem.column);
        if !problem.source.trim().is_empty() {
            let bar = self.paint("34;1", "|");
            let _ = writeln!(text, "{margin} {bar}\n{} {bar} {}", self.paint("34;1", &number), clean(&problem.source));
            let before: String = problem
                .source
                .chars()
                .take(problem.column.saturating_sub(1))
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            let _ = writeln!(text, "{margin} {bar} {before}{}", self.paint("31;1", "^"));
        }
        for note in &problem.notes {
            let _ = writeln!(text, "{margin} {} {note}", self.paint("34;1", "="));
        }
        text
    }

    /// Something that went well.
    pub fn green(&self, text: &str) -> String {
        self.paint("32;1", text)
    }

    /// A word of a report, for standard output: good, doubtful, bad.
    pub fn verdict(&self, verdict: Verdict, text: &str) -> String {
        let code = match verdict {
            Verdict::Good => "32;1",
            Verdict::Doubtful => "33;1",
            Verdict::Bad => "31;1",
        };
        if self.data_colour { painted(code, text) } else { text.to_owned() }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { painted(code, text) } else { text.to_owned() }
    }
}

/// ECMA-48 "select graphic rendition".
fn painted(code: &str, text: &str) -> String {
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// How a line reads at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Good,
    Doubtful,
    Bad,
}

fn file_problem(error: &AppError) -> Option<&FileProblem> {
    if let AppError::Pipeline(error) = error { error.file_problem() } else { None }
}

/// Text that may come from data, without the control characters that could steer a terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' && c != '\n' { ' ' } else { c }).collect()
}

/// What scripts get of an error.
fn json_error(error: &AppError) -> serde_json::Value {
    let place = file_problem(error);
    serde_json::json!({
        "code": error.code(),
        "kind": error.kind(),
        "message": place.map_or_else(|| error.to_string(), |place| place.message.clone()),
        "help": error.help(),
        "file": place.map(|place| &place.file),
        "line": place.map(|place| place.line),
        "column": place.map(|place| place.column),
        "exit_code": crate::exit::exit_code(error),
    })
}

/// `541909` → `541,909`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A sentence of a step with its numbers grouped: `541909 rows` → `541,909 rows`. Only words of nothing but digits.
pub fn grouped_words(text: &str) -> String {
    let words: Vec<String> = text
        .split(' ')
        .map(|word| {
            let digits = word.trim_end_matches([',', ';']);
            match digits.parse() {
                Ok(number) if digits.len() > 3 && !digits.starts_with('0') => grouped(number) + &word[digits.len()..],
                _ => word.to_owned(),
            }
        })
        .collect();
    words.join(" ")
}

/// `1 file`, `13 files`, `541,909 rows`.
pub fn count(number: u64, word: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {word}{plural}", grouped(number))
}

/// `0.4 s`, `83 s`, `12 min 5 s`.
pub fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 10.0 {
        return format!("{seconds:.1} s");
    }
    let whole = duration.as_secs();
    if whole < 120 { format!("{whole} s") } else { format!("{} min {} s", grouped(whole / 60), whole % 60) }
}

/// `512 B`, `4.2 MB`: decimal units, as disks are sold.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1_000.0;
    let mut unit = 0;
    while size >= 999.95 && unit + 1 < UNITS.len() {
        size /= 1_000.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [0, 7, 999, 1_000, 541_909, 1_234_567].map(grouped),
            ["0", "7", "999", "1,000", "541,909", "1,234,567"]
        );
        assert_eq!(
            grouped_words("feed 1: 3798 items, 541909 rows of ease-1234"),
            "feed 1: 3,798 items, 541,909 rows of ease-1234"
        );
        assert_eq!((count(1, "file"), count(13, "file")), ("1 file".to_owned(), "13 files".to_owned()));
        assert_eq!([512, 4_200_000, 999_999].map(bytes), ["512 B", "4.2 MB", "1.0 MB"]);
        assert_eq!(
            [400, 83_000, 725_000].map(|ms| seconds(Duration::from_millis(ms))),
            ["0.4 s", "83 s", "12 min 5 s"]
        );
    }

    #[test]
    fn colours_follow_the_conventions() {
        let terminal = Surroundings { is_terminal: true, ..Surroundings::default() };
        assert!(terminal.wants_colour());
        assert!(!Surroundings::default().wants_colour());
        assert!(Surroundings { force_color: true, ..Surroundings::default() }.wants_colour());
        assert!(!Surroundings { no_color: true, force_color: true, ..terminal }.wants_colour());
        assert!(!Surroundings { is_dumb: true, ..terminal }.wants_colour());
    }
}
