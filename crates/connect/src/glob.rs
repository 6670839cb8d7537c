//! Finds the files that a pattern such as `data/*.csv.gz` names.
//!
//! In: a directory and a pattern.  Out: paths sorted by name, each with the name relative to the pattern's fixed part.
//! `*` and `?` match inside one name, `**` any number of directories; a leading dot is matched only by a dot, as in a shell.
//! Never here: opening the files.
//! Start at [`find_files`].

use std::io;
use std::path::{Path, PathBuf};

/// Directories that one `**` may go down: deeper trees are loops of links or not data.
const MAX_DEPTH: usize = 32;

/// A file that a pattern matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundFile {
    /// Relative to the directory in front of the first wildcard, with `/`; unique for one pattern.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// Files under `directory` that match `pattern`, sorted by name. A missing directory matches nothing.
///
/// Errors: when a directory exists and cannot be listed.
pub(crate) fn find_files(directory: &Path, pattern: &str) -> io::Result<Vec<FoundFile>> {
    let mut base = if pattern.starts_with('/') { PathBuf::from("/") } else { directory.to_path_buf() };
    let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    // The last part is always matched against a listing, so that a plain file name behaves like a pattern of one.
    let fixed = parts.iter().take(parts.len().saturating_sub(1)).take_while(|part| !is_wild(part)).count();
    base.extend(&parts[..fixed]);
    let mut found = Vec::new();
    collect(&base, "", &parts[fixed..], MAX_DEPTH, &mut found)?;
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found.dedup();
    Ok(found)
}

pub(crate) fn is_wild(part: &str) -> bool {
    part.contains(['*', '?'])
}

fn collect(directory: &Path, name: &str, parts: &[&str], depth: usize, found: &mut Vec<FoundFile>) -> io::Result<()> {
    let Some((part, rest)) = parts.split_first() else { return Ok(()) };
    if depth == 0 {
        return Ok(());
    }
    if *part == "**" {
        collect(directory, name, rest, depth - 1, found)?;
    }
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.kind() == io::ErrorKind::NotADirectory => {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        // A name that is not UTF-8 cannot stand in a manifest; it is skipped like one that does not match.
        let Ok(entry_name) = entry.file_name().into_string() else { continue };
        let full_name = if name.is_empty() { entry_name.clone() } else { format!("{name}/{entry_name}") };
        let path = entry.path();
        let is_directory = path.is_dir();
        if *part == "**" {
            // Links to directories are not followed below `**`: they can form loops.
            if entry.file_type()?.is_dir() && !entry_name.starts_with('.') {
                collect(&path, &full_name, parts, depth - 1, found)?;
            }
        } else if matches(part, &entry_name) {
            if rest.is_empty() && !is_directory {
                found.push(FoundFile { name: full_name, path });
            } else if !rest.is_empty() && is_directory {
                collect(&path, &full_name, rest, depth - 1, found)?;
            }
        }
    }
    Ok(())
}

/// Whether the path `name` matches the parts of a pattern, for stores that list paths and have no directories.
pub(crate) fn matches_path(parts: &[&str], name: &str) -> bool {
    let names: Vec<&str> = name.split('/').collect();
    path_matches(parts, &names)
}

fn path_matches(parts: &[&str], names: &[&str]) -> bool {
    match (parts.split_first(), names.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), first) => {
            let deeper = first.filter(|(name, below)| !name.starts_with('.') && !below.is_empty());
            path_matches(rest, names) || deeper.is_some_and(|(_, below)| path_matches(parts, below))
        }
        (Some((part, rest)), Some((name, below))) => matches(part, name) && path_matches(rest, below),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// Whether `name` matches one part of a pattern. Iterative, so that `*a*a*a*` costs no exponential time.
fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where to go on when the last `*` has to swallow one character more.
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        if p < pattern.len() && pattern[p] == '*' {
            retry = Some((p + 1, n));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == '?' || pattern[p] == name[n]) {
            p += 1;
            n += 1;
        } else if let Some((after_star, swallowed)) = retry {
            p = after_star;
            n = swallowed + 1;
            retry = Some((after_star, n));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|character| *character == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_match_as_directories_do() {
        for (pattern, name, expected) in [
            ("*.csv", "a.csv", true),
            ("*.csv", "x/a.csv", false),
            ("2026-*/*.csv", "2026-01/a.csv", true),
            ("**/*.csv", "a.csv", true),
            ("**/*.csv", "x/y/a.csv", true),
            ("x/**/a.csv", "x/a.csv", true),
            ("**/*.csv", ".hidden/a.csv", false),
            ("a.csv", "a.csv", true),
        ] {
            assert_eq!(matches_path(&pattern.split('/').collect::<Vec<_>>(), name), expected, "{pattern} {name}");
        }
    }

    fn check(pattern: &str, expected: &[&str]) {
        let root = tempfile::tempdir().unwrap();
        for file in ["b.csv", "a.csv", ".hidden.csv", "a.csv.gz", "y/2011/x.csv", "y/2010/x.csv", "y/deep/er/z.csv"] {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let found = find_files(root.path(), pattern).unwrap();
        let names: Vec<&str> = found.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, expected, "{pattern}");
    }

    #[test]
    fn patterns_find_files_sorted_by_name() {
        check("*.csv", &["a.csv", "b.csv"]);
        check("a.csv", &["a.csv"]);
        check("./?.csv*", &["a.csv", "a.csv.gz", "b.csv"]);
        check("y/*/x.csv", &["2010/x.csv", "2011/x.csv"]);
        check("y/2010/x.csv", &["x.csv"]);
        check("y/**/*.csv", &["2010/x.csv", "2011/x.csv", "deep/er/z.csv"]);
        check(".*.csv", &[".hidden.csv"]);
        check("nothing/*.csv", &[]);
        check("y", &[]);
    }

    #[test]
    fn stars_match_greedily_and_lazily() {
        for (pattern, name, is_match) in [
            ("*a*b", "xxaxxb", true),
            ("*a*b", "xxaxxbc", false),
            ("*", "", true),
            ("a?c", "añc", true),
            ("a**c", "abbc", true),
        ] {
            assert_eq!(matches(pattern, name), is_match, "{pattern} {name}");
        }
    }
}
