//! Rules about text: length, heads, names, leftovers, links.
//!
//! In: every text file.  Out: violations.
//! Never here: rules about dependencies (see `floors`).
//! Start at [`files_are_short`].

use crate::{Repository, Violation};

/// A file is read in one go: past 600 lines it holds two subjects.
const MAX_LINES: usize = 600;
/// What does not fit on a screen is not seen whole.
const MAX_FUNCTION_LINES: usize = 70;
/// The architecture is read by every newcomer, whole.
const MAX_ARCHITECTURE_LINES: usize = 300;
/// Names that would fit any content.
const EMPTY_NAMES: &[&str] = &["core", "common", "util", "utils", "helper", "helpers", "manager", "types", "misc"];
/// Marks of work that is not done, in two halves so that this file passes its own rule.
const LEFTOVERS: &[[&str; 2]] =
    &[["to", "do!"], ["TO", "DO"], ["FIX", "ME"], ["XX", "X"], ["unimpl", "emented!"], ["#[ig", "nore"]];
/// Package registries and the stores behind them: a mirror must be usable without a change in the repository. In two halves, as above.
const REGISTRIES: &[[&str; 2]] = &[
    ["crates", ".io"],
    ["pypi", ".org"],
    ["pythonhosted", ".org"],
    ["npmjs", ".org"],
    ["npmjs", ".com"],
    ["deb.debian", ".org"],
    ["security.debian", ".org"],
    ["docker", ".io"],
    ["ghcr", ".io"],
    ["proxy.golang", ".org"],
    ["sh.rustup", ".rs"],
    ["conda", ".anaconda.org"],
];

/// Rust files have at most 600 lines, ARCHITECTURE.md 300.
pub(crate) fn files_are_short(repository: &Repository) -> Vec<Violation> {
    let architecture = repository.text("ARCHITECTURE.md").map(|text| ("ARCHITECTURE.md", text, MAX_ARCHITECTURE_LINES));
    repository
        .ending_with(".rs")
        .map(|(path, text)| (path, text, MAX_LINES))
        .chain(architecture)
        .filter(|(_, text, limit)| text.lines().count() > *limit)
        .map(|(path, text, limit)| {
            whole(
                path,
                format!("{} lines; the limit is {limit}: split it where the subject changes", text.lines().count()),
            )
        })
        .collect()
}

/// Functions have at most 70 lines of code between `fn` and `}`; blank lines and comments do not count.
///
/// Relies on formatted code: the closing brace stands under the line that begins the function.
pub(crate) fn functions_are_short(repository: &Repository) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (path, text) in repository.ending_with(".rs") {
        let lines: Vec<&str> = text.lines().collect();
        for (start, line) in lines.iter().enumerate().filter(|(_, line)| begins_function(line)) {
            let indent = &line[..line.len() - line.trim_start().len()];
            // A declaration without a body, or one on a single line.
            if line.ends_with([';', '}']) {
                continue;
            }
            let (closing, end_of_declaration) = (format!("{indent}}}"), format!("{indent})"));
            let is_inside =
                |line: &&&str| **line != closing && !(line.starts_with(&end_of_declaration) && line.ends_with(';'));
            let body = lines[start..].iter().take_while(is_inside);
            let code = body.filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("//")).count();
            if code > MAX_FUNCTION_LINES {
                let what = format!(
                    "`{}` has {code} lines; the limit is {MAX_FUNCTION_LINES}: give its parts names",
                    line.trim()
                );
                violations.push(Violation { path: path.to_owned(), line: start + 1, what });
            }
        }
    }
    violations
}

/// `fn …`, `pub(crate) async fn …`
fn begins_function(line: &str) -> bool {
    let words = line.trim_start().split(' ');
    let mut after = words.skip_while(|word| word.starts_with("pub") || ["async", "const", "extern"].contains(word));
    after.next() == Some("fn")
}

/// Every Rust file begins with `//!`: what it is, what goes in and out, what is never there, where to start.
pub(crate) fn files_have_heads(repository: &Repository) -> Vec<Violation> {
    repository
        .ending_with(".rs")
        .filter(|(_, text)| !text.starts_with("//! ") || text.starts_with("//! x\n"))
        .map(|(path, _)| Violation {
            path: path.to_owned(),
            line: 1,
            what: "begin the file with `//!`: what it is, in and out, never here, where to start".to_owned(),
        })
        .collect()
}

/// No file or folder of Rust code has a name that would fit anything.
pub(crate) fn names_say_something(repository: &Repository) -> Vec<Violation> {
    repository
        .ending_with(".rs")
        .filter_map(|(path, _)| {
            let empty = path.trim_end_matches(".rs").split('/').find(|part| EMPTY_NAMES.contains(part))?;
            Some(whole(path, format!("`{empty}` says nothing; name the file after what it holds")))
        })
        .collect()
}

/// No marks of unfinished work, no test that is switched off.
pub(crate) fn nothing_is_left_for_later(repository: &Repository) -> Vec<Violation> {
    find_words(repository, LEFTOVERS, |word| format!("`{word}`: finish it, or leave it out and say so in an issue"))
}

/// No registry host outside of Cargo's locks.
pub(crate) fn no_registry_is_named(repository: &Repository) -> Vec<Violation> {
    find_words(repository, REGISTRIES, |word| format!("`{word}`: registries belong to the user's configuration"))
}

fn find_words(repository: &Repository, words: &[[&str; 2]], what: impl Fn(&str) -> String) -> Vec<Violation> {
    let words: Vec<String> = words.iter().map(|halves| halves.concat()).collect();
    let mut violations = Vec::new();
    for (path, text) in repository.texts().filter(|(path, _)| !is_lock_of_cargo(path)) {
        for (index, line) in text.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(word.as_str())) {
                violations.push(Violation { path: path.to_owned(), line: index + 1, what: what(word) });
            }
        }
    }
    violations
}

/// Cargo writes the name of its registry into each of them.
fn is_lock_of_cargo(path: &str) -> bool {
    path == "Cargo.lock" || path.ends_with("/Cargo.lock")
}

/// A link of a Markdown file to a place in the repository finds it.
pub(crate) fn links_lead_somewhere(repository: &Repository) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (path, text) in repository.ending_with(".md") {
        for (index, line) in text.lines().enumerate() {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let target = target.split('#').next().unwrap_or_default();
                if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                    continue;
                }
                if !resolve(path, target).is_some_and(|found| repository.holds(&found)) {
                    violations.push(Violation {
                        path: path.to_owned(),
                        line: index + 1,
                        what: format!("link to `{target}`, which is not in the repository"),
                    });
                }
            }
        }
    }
    violations
}

/// The path that `target` means when it stands in the file `from`; `None` when it leaves the repository.
fn resolve(from: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// ARCHITECTURE.md has a line for each crate.
pub(crate) fn architecture_names_every_room(repository: &Repository) -> Vec<Violation> {
    let Some(text) = repository.text("ARCHITECTURE.md") else {
        return vec![whole("ARCHITECTURE.md", "is missing".to_owned())];
    };
    repository
        .crates()
        .filter(|name| !text.contains(&format!("`{name}`")))
        .map(|name| whole("ARCHITECTURE.md", format!("says nothing of the crate `{name}`")))
        .collect()
}

fn whole(path: &str, what: String) -> Violation {
    Violation { path: path.to_owned(), line: 0, what }
}
