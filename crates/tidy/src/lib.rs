//! The rules of the house as code: each rule reads the repository and returns what breaks it.
//!
//! In: a [`Repository`], read from disk or made up by a test.  Out: [`Violation`]s, each with a file, a line and the way out.
//! Never here: anything beyond the standard library; a rule that only a compiler can check (those are lints).
//! Start at [`RULES`]; `tests/tidy.rs` runs them.

mod floors;
mod lock;
mod manifest;
mod repository;
mod text;

pub use repository::Repository;

/// One place where the repository breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path from the top of the repository.
    pub path: String,
    /// 1-based; 0 when the whole file is meant.
    pub line: usize,
    /// What is wrong and what to do instead, one sentence.
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// A rule: its name, and what breaks it.
pub type Rule = (&'static str, fn(&Repository) -> Vec<Violation>);

/// Every rule of the house that a program can check.
pub const RULES: &[Rule] = &[
    ("a crate depends only on lower floors", floors::dependencies_go_down),
    ("each library has its room", floors::libraries_stay_in_their_room),
    ("closures stay small", floors::closures_stay_small),
    ("one version of the engine", floors::engine_has_one_version),
    ("every crate takes the workspace lints", floors::lints_are_shared),
    ("files are short", text::files_are_short),
    ("functions are short", text::functions_are_short),
    ("every file says what it is", text::files_have_heads),
    ("names say something", text::names_say_something),
    ("nothing is left for later", text::nothing_is_left_for_later),
    ("no registry is named", text::no_registry_is_named),
    ("links lead somewhere", text::links_lead_somewhere),
    ("the architecture names every room", text::architecture_names_every_room),
];
