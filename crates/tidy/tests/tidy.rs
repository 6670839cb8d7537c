//! Runs the house rules over this repository, and each rule over a made-up repository that breaks it.
//!
//! In: the files of the repository.  Out: a list of violations, empty when all is well.
//! Never here: the rules (see `tidy::RULES`).
//! Start at [`the_repository_keeps_the_house_rules`].

use std::path::Path;

use tidy::{RULES, Repository};

#[test]
fn the_repository_keeps_the_house_rules() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let repository = Repository::load(&top).unwrap();
    let mut report = String::new();
    for (name, rule) in RULES {
        for violation in rule(&repository) {
            report.push_str(&format!("{name}: {violation}\n"));
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

/// Runs one rule over a made-up repository and compares what it says, one violation a line.
fn check(rule: &str, files: &[(&str, &str)], expected: &[&str]) {
    let Some((_, run)) = RULES.iter().find(|(name, _)| *name == rule) else { panic!("there is no rule `{rule}`") };
    let said: Vec<String> = run(&Repository::of(files)).iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), expected.len(), "{rule}: {said:#?}");
    for (said, expected) in said.iter().zip(expected) {
        assert!(said.contains(expected), "{rule}: `{said}` does not contain `{expected}`");
    }
}

#[test]
fn a_crate_depends_only_on_lower_floors() {
    let rule = "a crate depends only on lower floors";
    let domain = ("crates/domain/Cargo.toml", "[dependencies]\nserde = \"1\"\n");
    check(
        rule,
        &[
            domain,
            (
                "crates/connect/Cargo.toml",
                "[dependencies]\ndomain.workspace = true\nwarehouse.workspace = true\n[dev-dependencies]\ntestbed.workspace = true\n",
            ),
            ("crates/warehouse/Cargo.toml", "[dependencies]\ndomain.workspace = true\npipeline.workspace = true\n"),
            ("crates/pipeline/Cargo.toml", "[dependencies]\nwarehouse.workspace = true\ntestbed.workspace = true\n"),
            ("crates/testbed/Cargo.toml", "[dependencies]\ndomain.workspace = true\n"),
            ("crates/attic/Cargo.toml", "[dependencies]\n"),
            ("crates/tidy/Cargo.toml", "[dev-dependencies]\nregex = \"1\"\n"),
        ],
        &[
            "`attic` has no floor",
            "connect/Cargo.toml:3: `connect` (floor 1) depends on `warehouse`",
            "`testbed` is for tests",
            "`tidy` depends on `regex`",
            "`warehouse` (floor 1) depends on `pipeline`",
        ],
    );
    check(rule, &[domain, ("crates/edge/Cargo.toml", "[dependencies]\ndomain.workspace = true\n")], &[]);
}

#[test]
fn each_library_has_its_room() {
    check(
        "each library has its room",
        &[
            ("crates/serving/Cargo.toml", "[dependencies]\narrow.workspace = true\ndatafusion-expr = \"55\"\n"),
            ("crates/app/Cargo.toml", "[dev-dependencies]\nparquet = \"59\"\ndeltalake = \"1\"\n"),
            (
                "crates/app/src/table.rs",
                "//! Arrow in words only.\n// arrow::array is not code here\nuse arrow::array::Array;\nlet arrow = my_arrow::new();\n",
            ),
            (
                "crates/app/tests/it.rs",
                "//! Head.\nuse parquet::file::reader::FileReader;\nuse datafusion::prelude::*;\n",
            ),
            ("crates/pipeline/src/steps/train.rs", "//! Head.\nuse arrow::array::Array;\n"),
            (
                "crates/pipeline/src/plan.rs",
                "//! Head.\nfn plan(batch: &arrow::array::RecordBatch) {}\nfn other(store: &x::arrow::Y) {}\n",
            ),
            ("crates/warehouse/src/engine.rs", "//! Head.\nuse datafusion::prelude::*;\n"),
        ],
        &[
            "`serving` depends on `datafusion-expr`",
            "app/tests/it.rs:3: names `datafusion`",
            "`app` depends on `deltalake`",
            "`serving` depends on `arrow`",
            "app/src/table.rs:3: names `arrow`",
            "pipeline/src/plan.rs:2: names `arrow`",
        ],
    );
}

#[test]
fn closures_stay_small() {
    let lock = "[[package]]\nname = \"edge\"\nversion = \"0.1.0\"\ndependencies = [\n \"serving\",\n \"testbed\",\n]\n\n\
                [[package]]\nname = \"serving\"\nversion = \"0.1.0\"\ndependencies = [\n \"cache\",\n]\n\n\
                [[package]]\nname = \"cache\"\nversion = \"1.0.0\"\nsource = \"r\"\ndependencies = [\n \"arrow-schema\",\n]\n\n\
                [[package]]\nname = \"arrow-schema\"\nversion = \"59.0.0\"\nsource = \"r\"\n\n\
                [[package]]\nname = \"testbed\"\nversion = \"0.1.0\"\ndependencies = [\n \"sqlx\",\n]\n\n\
                [[package]]\nname = \"sqlx\"\nversion = \"0.9.0\"\nsource = \"r\"\n";
    check(
        "closures stay small",
        &[
            ("Cargo.lock", lock),
            (
                "crates/edge/Cargo.toml",
                "[dependencies]\nserving.workspace = true\n[dev-dependencies]\ntestbed.workspace = true\n",
            ),
            ("crates/serving/Cargo.toml", "[dependencies]\ncache = \"1\"\n"),
            ("crates/testbed/Cargo.toml", "[dependencies]\nsqlx = \"0.9\"\n"),
        ],
        &[
            "`serving` brings `arrow-schema` along: serving -> cache -> arrow-schema",
            "`edge` brings `arrow-schema` along: edge -> serving -> cache",
        ],
    );
}

#[test]
fn one_version_of_the_engine() {
    let package = |name: &str, version: &str| {
        format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nsource = \"r\"\n\n")
    };
    let lock = [
        package("arrow", "58.1.0"),
        package("arrow", "59.0.0"),
        package("parquet", "59.0.0"),
        package("syn", "1.0.0"),
        package("syn", "2.0.0"),
    ];
    check("one version of the engine", &[("Cargo.lock", &lock.concat())], &["`arrow` is there as 58.1.0 and 59.0.0"]);
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    check(
        "every crate takes the workspace lints",
        &[("crates/domain/Cargo.toml", "[lints]\nworkspace = true\n"), ("crates/app/Cargo.toml", "[dependencies]\n")],
        &["crates/app/Cargo.toml:0: add `[lints]`"],
    );
}

#[test]
fn files_are_short() {
    let long = format!("//! Head.\n{}", "// line\n".repeat(600));
    let fits = format!("//! Head.\n{}", "// line\n".repeat(599));
    let architecture = "line\n".repeat(301);
    check(
        "files are short",
        &[("crates/a/src/long.rs", &long), ("crates/a/src/fits.rs", &fits), ("ARCHITECTURE.md", &architecture)],
        &["long.rs:0: 601 lines; the limit is 600", "ARCHITECTURE.md:0: 301 lines; the limit is 300"],
    );
}

#[test]
fn functions_are_short() {
    let body = |count: usize| "        let x = 1;\n\n        // a comment\n".repeat(count);
    let long = format!(
        "//! Head.\nimpl A {{\n    pub(crate) async fn long(\n        &self,\n    ) {{\n{}    }}\n}}\n",
        body(68)
    );
    let fits = format!("//! Head.\nimpl A {{\n    fn short(&self);\n    fn fits(&self) {{\n{}    }}\n}}\n", body(69));
    check(
        "functions are short",
        &[("crates/a/src/long.rs", &long), ("crates/a/src/fits.rs", &fits)],
        &["long.rs:3: `pub(crate) async fn long(` has 71 lines"],
    );
}

#[test]
fn every_file_says_what_it_is() {
    check(
        "every file says what it is",
        &[
            ("crates/a/src/lib.rs", "use std::fmt;\n"),
            ("crates/a/build.rs", "//! Embeds the console.\n"),
            ("crates/a/src/b.rs", "//! x\n"),
        ],
        &["a/src/b.rs:1: begin the file", "a/src/lib.rs:1: begin the file"],
    );
}

#[test]
fn names_say_something() {
    check(
        "names say something",
        &[
            ("crates/a/src/types.rs", "//! Head.\n"),
            ("crates/a/tests/common/mod.rs", "//! Head.\n"),
            ("crates/a/src/data_types.rs", "//! Head.\n"),
            ("docs/common.md", "A word.\n"),
        ],
        &["`types` says nothing", "`common` says nothing"],
    );
}

#[test]
fn nothing_is_left_for_later() {
    let macro_call = ["to", "do!()"].concat();
    let note = ["# FIX", "ME later"].concat();
    let switched_off = ["#[ig", "nore = \"slow\"]"].concat();
    check(
        "nothing is left for later",
        &[
            ("crates/a/src/lib.rs", &macro_call),
            ("Makefile", &note),
            ("crates/a/tests/b.rs", &switched_off),
            ("docs/a.md", "to do is not one word\n"),
        ],
        &["Makefile:1", "crates/a/src/lib.rs:1", "crates/a/tests/b.rs:1"],
    );
}

#[test]
fn no_registry_is_named() {
    let host = ["https://index.crates", ".io/config.json"].concat();
    check(
        "no registry is named",
        &[("README.md", &host), ("Cargo.lock", &host), ("a/Cargo.lock", &host)],
        &["README.md:1"],
    );
}

#[test]
fn links_lead_somewhere() {
    check(
        "links lead somewhere",
        &[
            ("README.md", "[a](docs/a.md#part) [b](https://example.com/x) [c](#here) [d](docs/b.md) [e](examples/)\n"),
            ("docs/a.md", "[up](../README.md) [out](../../elsewhere.md)\n"),
            ("examples/x.toml", "a = 1\n"),
        ],
        &["README.md:1: link to `docs/b.md`", "docs/a.md:1: link to `../../elsewhere.md`"],
    );
}

#[test]
fn the_architecture_names_every_room() {
    let files = [
        ("crates/edge/Cargo.toml", ""),
        ("crates/app/Cargo.toml", ""),
        ("ARCHITECTURE.md", "| 4 | `app` | the program |\n"),
    ];
    check("the architecture names every room", &files, &["says nothing of the crate `edge`"]);
    check("the architecture names every room", &files[..2], &["ARCHITECTURE.md:0: is missing"]);
}

#[test]
fn every_rule_is_seen_to_catch_something() {
    let source = include_str!("tidy.rs");
    for (name, _) in RULES {
        let proofs = source.matches(&format!("\"{name}\"")).count();
        assert!(proofs > 0, "rule `{name}` has no test that breaks it");
    }
}
