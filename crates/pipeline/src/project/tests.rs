//! Every kind of mistake in a project file, and the exact sentence that answers it.
//!
//! In: small projects in temporary directories.  Out: what a user would be told.
//! Never here: colours and layout (`app`).
//! Start at [`check`].

use std::fs;

use super::*;
use domain::{ErrorKind, Problem};

/// A project without a fault; each case replaces one file.
const SOUND: &[(&str, &str)] = &[
    ("montauk.toml", "[project]\nname = \"shop\"\n"),
    (
        "sources/shop.toml",
        "kind = \"file\"\n[tables.lines]\npath = \"data/*.csv\"\n[tables.lines.copy]\non_error = \"continue\"\n",
    ),
    ("models/marts/interactions.sql", "-- materialized: table\nselect 1 as user_id\n"),
    ("checks/lines.toml", "[[check]]\ntable = \"marts.interactions\"\nnot_null = [\"user_id\"]\n"),
    ("recommenders/ease.toml", "kind = \"ease\"\ninteractions = \"marts.interactions\"\n"),
    (
        "publish/out.toml",
        "from = \"marts.interactions\"\nkind = \"mariadb\"\nurl = \"${SHOP_DB_URL}\"\ntable = \"shop.recs\"\nkey = [\"user_id\"]\n",
    ),
];

fn open(file: &str, text: &str) -> Result<Project, PipelineError> {
    let dir = tempfile::tempdir().unwrap();
    let replaced = [(file, text)];
    for (name, text) in SOUND.iter().filter(|(name, _)| *name != file).chain(&replaced) {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    Project::open(dir.path())
}

/// Opens the sound project with one file replaced, and compares the answer: place, sentence, facts, help.
fn check(file: &str, text: &str, expected: &str) {
    let error = open(file, text).unwrap_err();
    let mut answer = format!("{} {error}", error.code());
    if let Some(problem) = error.file_problem() {
        for note in &problem.notes {
            answer.push_str(&format!("\n= {note}"));
        }
    }
    if let Some(help) = error.help() {
        answer.push_str(&format!("\nhelp: {help}"));
    }
    assert_eq!(answer, expected, "\n--- got\n{answer}\n--- wanted\n{expected}");
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[test]
fn a_sound_project_opens_with_defaults_filled_in() {
    let project =
        open("sources/more.toml", "kind = \"mysql\"\nurl = \"${DB}\"\n[tables.\"shop.Order Lines\"]\n").unwrap();
    assert_eq!(project.name(), "shop");
    let table = &project.source("more").unwrap().tables["shop.Order Lines"];
    assert_eq!(
        (table.location.as_str(), table.target.to_string().as_str()),
        ("shop.Order Lines", "raw.more_shop_order_lines")
    );
    assert_eq!(project.syncs["out"].max_change, project.settings.publish.max_change);
    let names: Vec<String> = project.table_names().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["marts.interactions", "marts.recommendations", "raw.more_shop_order_lines", "raw.shop_lines"]);
}

#[test]
fn a_query_is_part_of_what_a_table_is() {
    let hash = |table: &str| {
        let project =
            open("sources/more.toml", &format!("kind = \"mysql\"\nurl = \"${{DB}}\"\n[tables.a]\n{table}\n")).unwrap();
        let table = &project.source("more").unwrap().tables["a"];
        (table.config_hash.clone(), table.query.clone(), table.target.to_string())
    };
    let (plain, none, target) = hash("");
    let (one, text, its_target) = hash("query = \"select 1 as a\"");
    let (other, ..) = hash("query = \"select 2 as a\"");
    assert_eq!((none, text.as_deref(), target), (None, Some("select 1 as a"), its_target));
    assert!(plain != one && one != other);
}

#[test]
fn the_shipped_example_opens() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/retail");
    let project = Project::open(&example).unwrap();
    assert!(project.models.len() >= 6 && project.checks.len() >= 6 && project.recommenders.len() >= 4);
}

#[test]
fn a_wrong_key_is_named_with_the_nearest_right_one() {
    check(
        "montauk.toml",
        "[project]\nname = \"shop\"\n\n[serve]\nlisen = \"127.0.0.1:1\"\n",
        "unknown_key montauk.toml:5:1: unknown key `lisen`\n\
         = expected one of `listen`, `poll_ms`, `drain_ms`\nhelp: did you mean `listen`?",
    );
    check(
        "sources/shop.toml",
        "kind = \"file\"\n[tables.lines]\npaht = \"a.csv\"\n",
        "unknown_key sources/shop.toml:3:1: unknown key `paht`\n= expected one of `path`, `into`, `copy`\nhelp: did you mean `path`?",
    );
    check(
        "sources/shop.toml",
        "kind = \"postgres\"\nurl = \"${DB}\"\npassword = \"x\"\n[tables.a]\n",
        "unknown_key sources/shop.toml:3:1: unknown key `password`\n= expected one of `kind`, `url`, `workers`, `proof`, `tables`",
    );
    check(
        "publish/out.toml",
        "from = \"marts.interactions\"\nkind = \"mysql\"\nurl = \"x\"\ntable = \"t\"\nkeys = [\"a\"]\n",
        "unknown_key publish/out.toml:5:1: unknown key `keys`\n\
         = expected one of `from`, `kind`, `url`, `table`, `key`, `mode`, `nulls`, `max_change`\nhelp: did you mean `key`?",
    );
}

#[test]
fn a_mode_has_what_belongs_to_it_and_nothing_else() {
    let source = |table: &str| format!("kind = \"mysql\"\nurl = \"${{DB}}\"\n[tables.a]\n{table}\n");
    for (table, expected) in [
        (
            "mode = \"cursor\"",
            "bad_value sources/shop.toml:4:8: mode \"cursor\" needs a column to go by\nhelp: add one that only grows: `cursor = \"updated_at\"`",
        ),
        (
            "cursor = \"id\"",
            "bad_value sources/shop.toml:4:10: `cursor` belongs to mode \"cursor\"\nhelp: add `mode = \"cursor\"`, or remove it",
        ),
        (
            "mode = \"changes\"\nlook_back = \"5m\"",
            "bad_value sources/shop.toml:5:13: `look_back` belongs to mode \"cursor\"\nhelp: add `mode = \"cursor\"`, or remove it",
        ),
        (
            "table = \"shop.a\"\nquery = \"select 1 as a\"",
            "bad_value sources/shop.toml:5:9: `query` and `table` both say what is read\nhelp: remove one of them",
        ),
        (
            "query = \" \"",
            "bad_value sources/shop.toml:4:9: `query` is empty\nhelp: write a statement: `query = \"select …\"`",
        ),
        (
            "query = \"select 1 as a\"\nmode = \"cursor\"\ncursor = \"a\"",
            "bad_value sources/shop.toml:5:8: mode \"cursor\" needs a table: the rows of a query have no primary key by which new ones replace old ones\n\
             help: remove `mode`, or name the table and put the query into a model",
        ),
        (
            "query = \"select 1 as a\"\nmode = \"changes\"",
            "bad_value sources/shop.toml:5:8: mode \"changes\" needs a table: the server's log does not say which rows of a query have changed\n\
             help: remove `mode`, or name the table and put the query into a model",
        ),
    ] {
        check("sources/shop.toml", &source(table), expected);
    }
}

#[test]
fn a_missing_key_says_where_it_belongs() {
    check(
        "montauk.toml",
        "# nothing\n[project]\n",
        "missing_key montauk.toml:2:1: key `name` is missing\nhelp: add `name = …` here",
    );
    check(
        "montauk.toml",
        "[serve]\n",
        "missing_key montauk.toml:1:1: key `project` is missing\nhelp: add a section `[project]`",
    );
    check(
        "recommenders/ease.toml",
        "kind = \"ease\"\n",
        "missing_key recommenders/ease.toml:1:1: key `interactions` is missing\nhelp: add `interactions = …` here",
    );
}

#[test]
fn a_wrong_value_says_what_was_expected() {
    check(
        "sources/shop.toml",
        "kind = \"postgress\"\n",
        "bad_value sources/shop.toml:1:8: `postgress` is not a value of this key\n\
         = expected one of `file`, `mysql`, `mariadb`, `postgres`, `airbyte`\nhelp: did you mean `postgres`?",
    );
    check(
        "montauk.toml",
        "[project]\nname = 3\n",
        "bad_value montauk.toml:2:8: wrong type: integer `3`\n= expected a string",
    );
    check(
        "montauk.toml",
        "[project]\nname = \"shop\"\n[serve]\nlisten = \"everywhere\"\n",
        "bad_value montauk.toml:4:10: invalid socket address syntax",
    );
    check(
        "montauk.toml",
        "[project]\nname = \"shop\"\n[publish]\nmax_change = 20\n",
        "bad_value montauk.toml:4:14: `20` is not a share\n= expected a number from 0.0 to 1.0",
    );
    check(
        "sources/shop.toml",
        "kind = \"file\"\n[tables.lines]\npath = \"a\"\ninto = \"Raw Lines\"\n",
        "bad_value sources/shop.toml:4:8: `Raw Lines` is not a table name; write `schema.table` in lower-case letters, digits and `_`",
    );
    check(
        "publish/out.toml",
        "from = \"marts.interactions\"\nkind = \"mysql\"\nurl = \"x\"\ntable = \"t\"\nkey = []\n",
        "bad_value publish/out.toml:5:7: `key` names no column\n\
         help: name the columns that identify a row: `key = [\"user_id\"]`",
    );
}

#[test]
fn a_connector_has_settings_and_streams() {
    let text = "kind = \"airbyte\"\ncommand = [\"./crm\"]\n[config]\nkey = \"${CRM_KEY}\"\nfrom = 2026-01-01\n\
                [tables.users]\nmode = \"changes\"\ninto = \"raw.people\"\n[tables.x]\nstream = \"a.b\"\nnamespace = \"n\"\n";
    let project = open("sources/crm.toml", text).unwrap();
    let source = project.source("crm").unwrap();
    let SourceKind::Airbyte(settings) = &source.kind else { panic!("{source:?}") };
    assert_eq!(settings.config, serde_json::json!({"key": "${CRM_KEY}", "from": "2026-01-01"}));
    assert_eq!((settings.command.as_slice(), settings.stall.as_secs()), (&["./crm".to_owned()][..], 600));
    let (users, other) = (&source.tables["users"], &source.tables["x"]);
    assert_eq!((users.location.as_str(), users.target.to_string().as_str()), ("users", "raw.people"));
    assert_eq!((other.location.as_str(), other.target.to_string().as_str()), ("n.a.b", "raw.crm_x"));
    // Another version of the connector reads the same data; another setting may not.
    let hash =
        |text: &str| open("sources/crm.toml", text).unwrap().source("crm").unwrap().tables["x"].config_hash.clone();
    assert_eq!(hash(&text.replace("./crm", "./crm-2")), other.config_hash);
    assert_ne!(hash(&text.replace("2026", "2025")), other.config_hash);
}

#[test]
fn mistakes_in_a_connector_are_told() {
    let head = "kind = \"airbyte\"\ncommand = [\"./crm\"]\n";
    check(
        "sources/crm.toml",
        "kind = \"airbyte\"\ncommand = []\n[tables.a]\n",
        "bad_value sources/crm.toml:2:11: `command` names no program\n\
         help: write a program and its arguments: `command = [\"docker\", \"run\", …]`",
    );
    check(
        "sources/crm.toml",
        "kind = \"airbyte\"\ncommand = [\"./crm\", \"${KEY}\"]\n[tables.a]\n",
        "bad_value sources/crm.toml:2:11: `command` is not filled in: everybody on this machine can see it\n\
         help: put it into `[config]`; a program sees the environment by itself",
    );
    check(
        "sources/crm.toml",
        &format!("{head}stall_seconds = 0\n[tables.a]\n"),
        "bad_value sources/crm.toml:3:17: `stall_seconds` is 0, and must be 1 to 86400",
    );
    check(
        "sources/crm.toml",
        &format!("{head}[tables.a]\ncursor = \"at\"\n"),
        "bad_value sources/crm.toml:4:10: `cursor` belongs to the modes \"append\" and \"changes\"\n\
         help: add `mode = \"changes\"`, or remove it",
    );
}

#[test]
fn what_is_not_toml_is_shown_where_it_breaks() {
    check(
        "checks/lines.toml",
        "[[check]]\ntable = marts.interactions\n",
        "bad_toml checks/lines.toml:2:9: not valid TOML: string values must be quoted\n= expected literal string",
    );
    check(
        "sources/shop.toml",
        "kind = \"file\"\nkind = \"file\"\n",
        "bad_toml sources/shop.toml:2:1: not valid TOML: duplicate key",
    );
}

#[test]
fn files_that_do_not_fit_each_other_are_refused() {
    check(
        "recommenders/ease.toml",
        "kind = \"ease\"\ninteractions = \"marts.interaction\"\n",
        "no_such_table recommenders/ease.toml:2:16: no source and no model makes table `marts.interaction`\n\
         help: did you mean `marts.interactions`?",
    );
    check(
        "sources/again.toml",
        "kind = \"file\"\n[tables.a]\npath = \"x\"\ninto = \"raw.shop_lines\"\n",
        "duplicate_target sources/shop.toml:2:1: `raw.shop_lines` is made by sources/again.toml [tables.a] already\n\
         help: give one of them another target: `into = \"raw.…\"`",
    );
    check(
        "models/stray.sql",
        "select 1",
        "bad_place models/stray.sql:1:1: this model has no schema\nhelp: move it to models/<schema>/stray.sql",
    );
}

#[test]
fn without_a_project_file_there_is_no_project() {
    let dir = tempfile::tempdir().unwrap();
    let error = Project::discover(dir.path()).unwrap_err();
    assert_eq!((error.code(), error.kind()), ("no_project", ErrorKind::NotFound));
    fs::write(dir.path().join("montauk.toml"), "").unwrap();
    fs::create_dir_all(dir.path().join("models/marts")).unwrap();
    assert_eq!(Project::discover(&dir.path().join("models/marts")).unwrap(), dir.path());
}

#[test]
fn a_secret_without_its_variable_names_both_files_and_variable() {
    let project = open("publish/out.toml", SOUND[5].1.replace("SHOP_DB_URL", "MONTAUK_TEST_UNSET").as_str()).unwrap();
    let error = project.sync("out").unwrap().resolve_url().unwrap_err();
    assert_eq!(
        error.to_string(),
        "environment variable `MONTAUK_TEST_UNSET` is not set, and `publish/out.toml` needs it"
    );
}

#[test]
fn selections_name_sources_tables_and_targets() {
    let project = open("sources/more.toml", "kind = \"mysql\"\nurl = \"${DB}\"\n[tables.a]\n[tables.b]\n").unwrap();
    let select = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        project
            .select_tables(&words)
            .map(|tables| tables.iter().map(|(_, table)| table.target.to_string()).collect::<Vec<_>>())
    };
    assert_eq!(select(&[]).unwrap(), ["raw.more_a", "raw.more_b", "raw.shop_lines"]);
    assert_eq!(select(&["more"]).unwrap(), ["raw.more_a", "raw.more_b"]);
    assert_eq!(select(&["raw.shop_lines", "more.b"]).unwrap(), ["raw.more_b", "raw.shop_lines"]);
    let error = select(&["mor"]).unwrap_err();
    assert_eq!(error.help().as_deref(), Some("did you mean `more`?"));
}
