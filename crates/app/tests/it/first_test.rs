//! docs/tutorials/first-ab-test.md, walked as a newcomer would: its files are written, its commands run, and what it prints is compared
//! with what it says.
//!
//! In: the page.  Out: nothing.
//! Never here: figures of the statistics (`analyzed`), rules of the lifecycle (`control`).
//! Start at `the_first_ab_test_goes_as_the_page_says`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{montauk, page, repository};

const PAGE: &str = "docs/tutorials/first-ab-test.md";

/// Runs a block in the place where a reader stands, as `mina`, and gives what it prints.
pub(crate) fn shell(dir: &Path, script: &str) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_montauk")).parent().unwrap();
    let path = std::env::join_paths(
        std::iter::once(program.to_owned()).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let output = Command::new("sh")
        .args(["-euc", script])
        .current_dir(dir)
        .env("PATH", path.unwrap())
        .env("USER", "mina")
        .env("NO_COLOR", "1")
        .env_remove("MONTAUK_LOG")
        .env_remove("MONTAUK_TOKEN")
        .env_remove("MONTAUK_CONTROL_URL")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Moments differ from run to run.
pub(crate) fn without_moments(text: &str) -> String {
    let is_moment =
        |word: &str| word.len() == 10 && word.as_bytes()[4] == b'-' || word.len() == 8 && word.as_bytes()[2] == b':';
    let line = |line: &str| {
        let words = line.split(' ').map(|word| if is_moment(word) { "0".repeat(word.len()) } else { word.to_owned() });
        words.collect::<Vec<_>>().join(" ")
    };
    text.trim_end().lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_first_ab_test_goes_as_the_page_says() {
    let home = tempfile::tempdir().unwrap();
    let project = home.path().join("shop");
    let mut printed = String::new();
    let mut compared = 0;
    for (language, block) in page(&repository().join(PAGE)) {
        let file = block.lines().next().and_then(|line| line.strip_prefix("# ").or(line.strip_prefix("-- ")));
        match (language.as_str(), file) {
            ("sh", _) if block.starts_with("montauk init") => {
                // The page goes into the folder; every block here is a shell of its own.
                printed = shell(home.path(), &block);
            }
            ("sh", _) => printed = shell(&project, &block),
            ("toml" | "sql", Some(file)) if file.contains('/') => {
                let path = project.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, &block).unwrap();
            }
            ("", _) => {
                assert_eq!(without_moments(&printed), without_moments(&block), "{PAGE} prints something else");
                compared += 1;
            }
            (other, file) => panic!("the page has a block of `{other}` ({file:?}), which nobody tests"),
        }
    }
    assert_eq!(compared, 4);
    // What everybody gets now is the flag's default, and nothing is counted any more.
    let mut assign = montauk();
    let output = assign.arg("-C").arg(&project).args(["--json", "thing", "list", "flag"]).output().unwrap();
    let flags: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(flags[0]["thing"]["default"], serde_json::json!(true), "{flags}");
}
