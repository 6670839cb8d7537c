//! What a model's text means, and what is said when it means nothing.
//!
//! In: texts.  Out: the model in short, or the error.  Never here: running SQL.  Start at [`read`].

use domain::Problem;

use super::*;
use crate::check::Severity;

fn read(text: &str) -> String {
    match Model::parse("marts", "a", "models/marts/a.sql", text) {
        Ok(model) => {
            let inputs: Vec<_> = model.inputs.iter().map(ToString::to_string).collect();
            let checks: Vec<_> = model.checks.iter().map(|check| check.name.clone()).collect();
            format!(
                "{} <- {} | {}",
                serde_json::to_value(&model.materialization).unwrap()["kind"],
                inputs.join(" "),
                checks.join(" ")
            )
        }
        Err(error) => format!("{} {error} = {}", error.code(), error.help().unwrap_or_default()),
    }
}

fn model(name: &str, sql: &str) -> Model {
    Model::parse("marts", name, &format!("models/marts/{name}.sql"), sql).unwrap()
}

#[test]
fn the_header_says_how_it_is_made() {
    let text = "-- One row per (user_id, item_id): how strongly.\n-- materialized: view      grain: user_id, item_id\n\
        -- checks: unique(user_id, item_id)  not_null(user_id)\n--         range(weight, 0, 1000) warn\nselect 1 as one from raw.events";
    assert_eq!(
        read(text),
        r#""view" <- raw.events | unique(user_id, item_id) not_null(user_id) range(weight, 0, 1000)"#
    );
    let model = Model::parse("marts", "a", "p", text).unwrap();
    assert_eq!(model.grain, ["user_id", "item_id"]);
    assert_eq!(model.description, "One row per (user_id, item_id): how strongly.");
    assert_eq!(model.checks[2].severity, Severity::Warn);
    assert_eq!(model.checks[2].at, "p:4");
}

#[test]
fn inputs_come_from_the_parsed_sql_without_common_table_expressions() {
    let text = "with raw_lines as (select * from raw.lines), b as (select * from raw_lines) select * from b join staging.x on true where id in (select id from raw.z)";
    assert_eq!(read(text), r#""table" <- raw.lines raw.z staging.x | "#);
}

#[test]
fn mistakes_name_the_line_and_what_was_meant() {
    assert_eq!(
        read("-- materialised: view\nselect 1 as a"),
        "model_invalid `materialised` is not a key of a model at models/marts/a.sql:1 = did you mean `materialized`?"
    );
    assert_eq!(
        read("-- materialized: veiw\nselect 1 as a"),
        "model_invalid `veiw` is not a value for `materialized` at models/marts/a.sql:1 = write table, view or incremental"
    );
    assert_eq!(
        read("-- checks: uniqe(a)\nselect 1 as a"),
        "check_invalid `uniqe` is not a kind of check at models/marts/a.sql:1 = did you mean `unique`?"
    );
    assert_eq!(
        read("-- checks: range(a)\nselect 1 as a"),
        "check_invalid `range(a)` does not fit at models/marts/a.sql:1 = write range(column, least, greatest)"
    );
    assert!(
        read("-- a\nselect *\nfrom from raw.x").starts_with("sql_error expected"),
        "{}",
        read("-- a\nselect *\nfrom from raw.x")
    );
    assert!(read("-- a\nselect *\nfrom from raw.x").contains("at models/marts/a.sql:3"));
    assert_eq!(
        read("select 1 as a; select 2 as b"),
        "sql_error there is more than one statement at models/marts/a.sql = write one `select`"
    );
    assert_eq!(read("drop table raw.x"), "sql_error this is not a query at models/marts/a.sql = write one `select`");
    assert_eq!(
        read("select * from marts.a"),
        "model_invalid model `marts.a` reads itself at models/marts/a.sql = read the tables it is made from"
    );
    assert_eq!(
        read("select $from as a"),
        "model_invalid `$from` and `$to` belong to incremental models at models/marts/a.sql = write `-- materialized: incremental  time: …  interval: 1 day`"
    );
}

#[test]
fn the_code_hash_ignores_comments_and_spacing() {
    let one = model("x", "-- a\nselect a,   b from raw.x -- why\n");
    let two = model("x", "select a, b\nfrom raw.x;");
    let three = model("x", "select a, b from raw.x where a > 1");
    assert_eq!(one.code_hash, two.code_hash);
    assert_ne!(one.code_hash, three.code_hash);
}

fn sliced(sql: &str) -> String {
    let text = format!("-- materialized: incremental   time: day   interval: 1 day\n{sql}");
    match Model::parse("marts", "a", "p", &text) {
        Ok(Model { materialization: Materialization::Incremental { sliced, .. }, .. }) => {
            sliced.iter().map(|(table, column)| format!("{table}.{column}")).collect::<Vec<_>>().join(" ")
        }
        Ok(_) => "not incremental".into(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn an_input_is_cut_only_when_every_reference_is() {
    assert_eq!(sliced("select * from raw.e where at >= $from and at < $to"), "raw.e.at");
    assert_eq!(
        sliced("select * from raw.e as e join raw.d on e.id = d.id where $from <= e.at and ($to > e.at) and d.ok"),
        "raw.e.at"
    );
    assert_eq!(
        sliced("with c as (select * from raw.e where at >= $from and at < $to) select * from c join raw.d on true"),
        "raw.e.at"
    );
    let nothing = "no input is filtered by `$from` and `$to` at p:1";
    assert_eq!(sliced("select * from raw.e where at >= $from and at < $to or x"), nothing);
    assert_eq!(sliced("select * from raw.e where at > $from and at <= $to"), nothing);
    assert_eq!(sliced("select * from raw.e, raw.d where at >= $from and at < $to"), nothing);
    assert_eq!(sliced("select * from raw.e where at >= $from and at < $to union all select * from raw.e"), nothing);
    assert_eq!(sliced("select * from raw.e where at >= $from - interval '1 day' and at < $to"), nothing);
}

#[test]
fn models_come_after_what_they_read_and_circles_are_named_in_full() {
    let none = std::collections::BTreeMap::new();
    let models =
        [model("c", "select * from marts.b"), model("a", "select 1 as x"), model("b", "select * from marts.a")];
    let order: Vec<_> = in_order(&models, &none).unwrap().iter().map(|model| model.table.name().to_owned()).collect();
    assert_eq!(order, ["a", "b", "c"]);
    let models =
        [model("a", "select * from marts.c"), model("b", "select * from marts.a"), model("c", "select * from marts.b")];
    assert_eq!(
        in_order(&models, &none).unwrap_err().to_string(),
        "the models `marts.a` → `marts.c` → `marts.b` → `marts.a` need each other in a circle"
    );
}

#[test]
fn an_unknown_table_names_the_nearest_one_and_the_line() {
    let models = [model("a", "-- one\nselect *\nfrom raw.retial_lines")];
    let known = std::collections::BTreeSet::from(["raw.retail_lines".parse().unwrap()]);
    let error = unknown_tables(&models, &known).unwrap_err();
    assert_eq!(error.to_string(), "table `raw.retial_lines` does not exist at models/marts/a.sql:3");
    assert_eq!(error.help().unwrap(), "did you mean `raw.retail_lines`?");
}

#[test]
fn selectors_reach_up_and_down() {
    let models =
        [model("a", "select 1 as x"), model("b", "select * from marts.a"), model("c", "select * from marts.b")];
    let chosen = |selector: &str| {
        let names = with_neighbours(&models, &[selector.to_owned()]).unwrap();
        names.iter().map(|name| name.name().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(chosen("b"), "b");
    assert_eq!(chosen("+marts.b"), "a b");
    assert_eq!(chosen("b+"), "b c");
    assert!(with_neighbours(&models, &["d".into()]).is_err());
}
