//! docs/how-to/analyze-an-experiment.md, followed as a reader would: its files are written, its commands run, and what it prints is compared
//! with what it says.
//!
//! In: the page, and a shop of 9,000 customers in November.  Out: nothing.
//! Never here: figures against the events themselves (`analyzed`).
//! Start at `the_page_is_followed`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::analyzed::{load, project, shop_of_the_page, write};
use crate::support::{page, repository};

const PAGE: &str = "docs/how-to/analyze-an-experiment.md";

/// What a command prints where the project is.
fn shell(dir: &Path, command: &str) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_montauk")).parent().unwrap();
    let path = std::env::join_paths(
        std::iter::once(program.to_owned()).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let mut shell = Command::new("sh");
    shell.args(["-euc", command]).current_dir(dir).env("PATH", path.unwrap()).env("NO_COLOR", "1");
    let output = shell.env_remove("MONTAUK_LOG").output().unwrap();
    assert!(output.status.success(), "{command}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_page_is_followed() {
    let dir = project(&shop_of_the_page());
    let project = dir.path();
    fs::remove_dir_all(project.join("metrics")).unwrap();
    let blocks = page(&repository().join(PAGE));
    let mut experiment = String::new();
    for (language, code) in &blocks {
        let first = code.lines().next().unwrap();
        let file = first.strip_prefix("-- ").or(first.strip_prefix("# "));
        match (language.as_str(), file) {
            ("toml", Some(file)) if file.starts_with("experiments/") => experiment.push_str(code),
            ("toml", Some(file)) | ("sql", Some(file)) => write(project, file, code),
            // The other keys of `[analysis]`, with their defaults.
            ("toml", None) => experiment.push_str(code),
            _ => {}
        }
    }
    let visits = "kind = \"count\"\n[fact]\ntable = \"marts.events\"\nwhere = \"kind = 'view'\"\n";
    write(project, "metrics/visits.toml", visits);
    let events = "-- materialized: view\nselect *, cast(false as boolean) as returned from raw.events\n";
    write(project, "models/marts/events.sql", events);
    write(project, "experiments/checkout.toml", &experiment);
    load(project);
    let mut said = Vec::new();
    let printed = blocks.iter().filter(|(language, code)| language.is_empty() && code.starts_with("$ "));
    for (_, code) in printed {
        let (command, expected) = code[2..].split_once('\n').unwrap();
        let found = shell(project, command);
        if found.trim_end() != expected.trim_end() {
            said.push(format!("$ {command}\n{found}"));
        }
    }
    assert!(said.is_empty(), "{PAGE} says something else than\n{}", said.join("\n"));
    assert!(blocks.iter().filter(|(_, code)| code.starts_with("$ montauk")).count() >= 4);
}
