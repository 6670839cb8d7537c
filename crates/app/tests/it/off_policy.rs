//! A policy judged from another one's log through the real program, beside a computation over the raw rows.
//!
//! In: the example `examples/open-bandit`, and a log of two rows.  Out: figures of `montauk off-policy` and `montauk analyze`, equal to those made here.
//! Never here: whether estimators are right on average (`experiment` simulates it).

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use experiment::ranking::cells::fold_of;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{montauk, open_bandit, repository, run};

/// A row as the file has it.
struct Impression {
    unit: String,
    item: String,
    position: usize,
    click: f64,
    propensity: f64,
}

fn read(project: &Path, policy: &str, campaign: &str) -> Vec<Impression> {
    let file = fs::File::open(project.join(format!("data/{policy}-{campaign}.csv.gz"))).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        Impression {
            unit: format!("{campaign}/{policy}/{}", cells[2]),
            item: cells[4].to_owned(),
            position: cells[5].parse().unwrap(),
            click: cells[6].parse().unwrap(),
            propensity: cells[7].parse().unwrap(),
        }
    };
    text.lines().skip(1).map(row).collect()
}

fn load(project: &Path) {
    for verb in ["extract", "copy", "build"] {
        run(montauk().arg("-C").arg(project).arg(verb));
    }
}

fn project() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    open_bandit(dir.path());
    load(dir.path());
    dir
}

fn write(project: &Path, name: &str, text: &str) {
    let path = project.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn close(found: &Value, expected: f64, what: &str) {
    let found = found.as_f64().unwrap_or_else(|| panic!("{what}: {found}"));
    assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1e-6), "{what}: {found}, not {expected}");
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}

/// π_e by place and item: the shares in the policy's own log.
fn shares(own: &[Impression]) -> BTreeMap<(usize, &str), f64> {
    let mut found = BTreeMap::new();
    for row in own {
        *found.entry((row.position, row.item.as_str())).or_insert(0.0) += 1.0;
    }
    let places: Vec<f64> = (0..=3).map(|place| own.iter().filter(|row| row.position == place).count() as f64).collect();
    found.into_iter().map(|((place, item), rows)| ((place, item), rows / places[place])).collect()
}

/// The six values, from the definitions: Σ over rows, the model of each row from the rows of other folds.
fn expected(log: &[Impression], policy: &BTreeMap<(usize, &str), f64>) -> BTreeMap<&'static str, f64> {
    let items: std::collections::BTreeSet<&str> =
        log.iter().map(|row| row.item.as_str()).chain(policy.keys().map(|(_, item)| *item)).collect();
    let mut cells: BTreeMap<(usize, usize, &str), (f64, f64)> = BTreeMap::new();
    for row in log {
        for fold in (0..5).filter(|fold| *fold != fold_of(&row.unit)) {
            let cell = cells.entry((fold, row.position, row.item.as_str())).or_default();
            *cell = (cell.0 + row.click, cell.1 + 1.0);
        }
    }
    let modelled = |row: &Impression, item| {
        let (clicks, rows) = cells.get(&(fold_of(&row.unit), row.position, item)).copied().unwrap();
        clicks / rows
    };
    let chance = |row: &Impression, item| policy.get(&(row.position, item)).copied().unwrap_or(0.0);
    let weights: Vec<f64> = log.iter().map(|row| chance(row, row.item.as_str()) / row.propensity).collect();
    let direct: Vec<f64> =
        log.iter().map(|row| items.iter().map(|item| chance(row, item) * modelled(row, item)).sum()).collect();
    let residuals: Vec<f64> = log.iter().map(|row| row.click - modelled(row, row.item.as_str())).collect();
    let rows =
        || log.iter().zip(&weights).zip(&residuals).map(|((row, weight), residual)| (row.click, *weight, *residual));
    let total: f64 = weights.iter().sum();
    let model = mean(direct.iter().copied());
    BTreeMap::from([
        ("ips", mean(rows().map(|(click, weight, _)| click * weight))),
        ("snips", rows().map(|(click, weight, _)| click * weight).sum::<f64>() / total),
        ("direct_method", model),
        ("doubly_robust", model + mean(rows().map(|(_, weight, residual)| weight * residual))),
        (
            "self_normalized_doubly_robust",
            model + rows().map(|(_, weight, residual)| weight * residual).sum::<f64>() / total,
        ),
        (
            "switch_doubly_robust",
            model + mean(rows().map(|(_, weight, residual)| if weight > 4.0 { 0.0 } else { weight * residual })),
        ),
    ])
}

#[test]
fn figures_are_those_of_the_raw_rows() {
    let dir = project();
    let project = dir.path();
    let reports = run(montauk().arg("-C").arg(project).args(["off-policy", "--json"]));
    let reports = reports.as_array().unwrap();
    let names: Vec<&str> = reports.iter().map(|report| report["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["thompson_all", "thompson_men", "thompson_women"]);
    for (report, campaign) in reports.iter().zip(["all", "men", "women"]) {
        let (log, own) = (read(project, "random", campaign), read(project, "bts", campaign));
        let policy = shares(&own);
        let expected = expected(&log, &policy);
        let estimates = report["estimates"].as_array().unwrap();
        assert_eq!(estimates.len(), expected.len());
        for estimate in estimates {
            let name = estimate["estimator"].as_str().unwrap();
            close(&estimate["value"], expected[name], &format!("{campaign} {name}"));
            assert_eq!(estimate["refusal"], Value::Null, "{estimate}");
        }
        let weights =
            |row: &Impression| policy.get(&(row.position, row.item.as_str())).copied().unwrap_or(0.0) / row.propensity;
        let (sum, squares) = log.iter().map(weights).fold((0.0, 0.0), |(a, b), w| (a + w, b + w * w));
        close(&estimates[0]["effective_rows"], sum * sum / squares, campaign);
        close(&report["logged"]["value"], mean(log.iter().map(|row| row.click)), campaign);
        close(&report["observed"]["value"], mean(own.iter().map(|row| row.click)), campaign);
        close(&estimates[0]["difference"]["value"], expected["ips"] - mean(own.iter().map(|row| row.click)), campaign);
        // What the policy earned refutes no estimator; with so few clicks a gap of half the value would not be refuted either.
        for estimate in estimates.iter().filter(|estimate| estimate["estimator"] != "direct_method") {
            assert_eq!(estimate["difference"]["holds_zero"], true, "{estimate}");
        }
        let direct = &estimates[2];
        assert!(direct["interval"].is_null() && direct["difference"].is_null(), "{direct}");
    }
}

#[test]
fn the_same_policies_are_an_a_b_test() {
    let dir = project();
    let project = dir.path();
    let reports = run(montauk().arg("-C").arg(project).args(["analyze", "--until", "2019-12-01", "--json"]));
    for (report, campaign) in reports.as_array().unwrap().iter().zip(["all", "men", "women"]) {
        let row = &report["results"]["rows"][0];
        for (arm, policy) in [("control", "random"), ("treatment", "bts")] {
            let clicks = mean(read(project, policy, campaign).iter().map(|row| row.click));
            close(&row["absolute"]["comparison"][arm]["mean"], clicks, &format!("{campaign} {arm}"));
            assert_eq!(row["absolute"]["comparison"][arm]["n"], 10_000);
        }
    }
    let men = &reports[1]["results"];
    // 69 clicks against 46, of 10,000 impressions each.
    close(&men["rows"][0]["absolute"]["figures"]["fixed"]["effect"], 0.0023, "men");
    assert_eq!(reports[0]["results"]["decision"]["verdict"]["code"], "no_difference", "{}", reports[0]);
}

/// Files and output of docs/how-to/evaluate-a-policy-from-logs.md.
#[test]
fn the_page_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let project = dir.path();
    open_bandit(project);
    fs::remove_dir_all(project.join("off_policy")).unwrap();
    let page = fs::read_to_string(repository().join("docs/how-to/evaluate-a-policy-from-logs.md")).unwrap();
    let (mut files, mut shown) = (Vec::new(), Vec::new());
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else { continue };
        let code: String = lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
        let first = code.lines().next().unwrap().to_owned();
        let file = first.strip_prefix("-- ").or(first.strip_prefix("# "));
        match (language, file) {
            ("toml" | "sql", Some(file)) => {
                write(project, file, &code);
                files.push(file.to_owned());
            }
            ("", None) if first.starts_with("$ montauk ") => shown.push(code),
            _ => {}
        }
    }
    assert_eq!(files, ["models/marts/thompson_policy.sql", "off_policy/thompson_men.toml"]);
    load(project);
    for block in &shown {
        let (command, expected) = block.split_once('\n').unwrap();
        let words: Vec<&str> = command.trim_start_matches("$ montauk ").split(' ').collect();
        let output = montauk().arg("-C").arg(project).args(words).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim_end(), expected.trim_end(), "{command}");
    }
    assert_eq!(shown.len(), 1);
}

const LOG: &str =
    "id,a,r,p,e_x,e_y,q_x,q_y,place\n1,x,true,0.25,0.5,0.5,0.5,0.25,top\n2,y,false,0.5,0.75,0.25,0.5,0.25,end\n";
const FILE: &str = "clip = 4.0\ntau = 1.0\n[log]\ntable = \"raw.log\"\nunit = \"id\"\naction = \"a\"\nreward = \"r\"\npropensity = \"p\"\n";
const BY_COLUMN: &str = "[policy]\ncolumns = { x = \"e_x\", y = \"e_y\" }\n[model]\nkind = \"columns\"\ncolumns = { x = \"q_x\", y = \"q_y\" }\n";

/// The two rows that `experiment` has by hand: weights 2 and ½, rewards 1 and 0.
fn two_rows() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let project = dir.path();
    write(project, "montauk.toml", "[project]\nname = \"two\"\n");
    let table = |name: &str, columns: &str| {
        format!(
            "[tables.{name}]\npath = \"data/{name}.csv\"\ninto = \"raw.{name}\"\n[tables.{name}.copy]\ncolumns = {{ {columns} }}\n"
        )
    };
    let numbers = ["p", "e_x", "e_y", "q_x", "q_y"].map(|column| format!(", {column} = \"double\"")).concat();
    let log = table("log", &format!("id = \"bigint\", a = \"text\", r = \"boolean\"{numbers}, place = \"text\""));
    let policy = table("policy", "place = \"text\", a = \"text\", probability = \"double\"");
    write(project, "sources/files.toml", &format!("kind = \"file\"\n{log}{policy}"));
    write(project, "data/log.csv", LOG);
    write(project, "data/policy.csv", "place,a,probability\ntop,x,0.5\ntop,y,0.5\nend,x,0.7\nend,x,0.75\n");
    write(project, "off_policy/two.toml", &format!("{FILE}{BY_COLUMN}"));
    load(project);
    dir
}

#[test]
fn two_rows_by_hand() {
    let dir = two_rows();
    let report = run(montauk().arg("-C").arg(dir.path()).args(["off-policy", "two", "--json"]));
    let estimates = report[0]["estimates"].as_array().unwrap();
    let expected = [1.0, 0.8, 0.40625, 0.84375, 0.75625, 0.34375];
    for (estimate, expected) in estimates.iter().zip(expected) {
        close(&estimate["value"], expected, &estimate["estimator"].to_string());
        assert_eq!(estimate["refusal"], "few_effective_rows", "{estimate}");
    }
    assert_eq!((estimates.len(), &report[0]["observed"]), (6, &Value::Null));
    let shown = montauk().arg("-C").arg(dir.path()).arg("off-policy").output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("refused: fewer than 100 effective rows"), "{shown}");
}

#[test]
fn mistakes_name_their_place() {
    let dir = two_rows();
    let project = dir.path();
    let fails = |text: &str| {
        write(project, "off_policy/two.toml", text);
        let output = montauk().arg("-C").arg(project).args(["off-policy", "two"]).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    };
    let check = |text: &str, said: &str| {
        let found = fails(text);
        assert!(found.contains(said), "{text}\n{found}");
    };
    check(&format!("{FILE}{BY_COLUMN}").replace("tau = 1.0", "tau = 0.0"), "off_policy/two.toml:2");
    check(FILE, "key `policy` is missing");
    check(&format!("{FILE}[policy]\n"), "says neither `table` nor `columns`");
    check(&format!("{FILE}{BY_COLUMN}").replace("raw.log", "raw.lgo"), "did you mean `raw.log`?");
    check(&format!("{FILE}{BY_COLUMN}").replace("\"e_x\"", "\"x_e\""), "has no column `x_e`");
    check(&format!("{FILE}{BY_COLUMN}").replace("y = \"q_y\"", ""), "no column for the action `y`");
    check(&format!("{FILE}{BY_COLUMN}").replace("\"p\"", "\"a\""), "holds `x`, which is no number");
    let table = format!("{FILE}context = [\"place\"]\n[policy]\ntable = \"raw.policy\"\n");
    check(&table, "gives action `x` in `end` the probabilities `0.7` and `0.75`");
    let some = |filter: &str| format!("{table}where = \"{filter}\"\n");
    check(&some("place = 'top'"), "the policy has no row for place `end`");
    check(&some("probability <> 0.7"), "the probabilities of place `end` in `raw.policy` sum to `0.75`");
    check(&some("place ="), "ql");
    check(&format!("{FILE}{BY_COLUMN}").replace("\"p\"", "\"id\""), "the propensity of `2` is `2`");
    check(&format!("{FILE}where = \"id > 5\"\n{BY_COLUMN}"), "has no rows that count");
    let output = montauk().arg("-C").arg(project).args(["off-policy", "tow"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("there is no policy `tow`") && said.contains("did you mean `two`?"), "{said}");
}
