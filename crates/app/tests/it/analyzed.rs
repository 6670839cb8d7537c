//! An experiment through the real program: exposures and events as files, figures beside those computed here, event by event.
//!
//! In: 1,200 units with events around their exposure.  Out: `montauk analyze`'s figures, equal to sums over the events themselves.
//! Never here: what a figure means (`experiment` tests it against other packages).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use experiment::stats::covariates::{CovariateMoments, compare_ratio_with_covariates, compare_with_covariates};
use experiment::stats::quantile::{Quantile, QuantileMethod, bound_ranks, sample_quantile};
use experiment::stats::{Alternative, Comparison, Scale, Statistic, compare};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Dice, montauk, run};

const UNITS: u64 = 1_200;
pub(crate) const UNTIL: &str = "2026-03-20";

#[derive(Debug, Clone)]
struct Event {
    user: String,
    kind: &'static str,
    item: u64,
    amount: f64,
    at: DateTime<Utc>,
}

#[derive(Debug, Clone)]
struct Exposure {
    user: String,
    experiment: &'static str,
    variant: &'static str,
    at: DateTime<Utc>,
    forced: bool,
}

/// What the first exposure of a unit says; later ones say something else. Nothing of every seventh.
pub(crate) fn country(user: &str) -> &'static str {
    ["KR", "KR", "KR", "DE", "DE", "FR", ""][user[1..].parse::<usize>().unwrap_or(0) % 7]
}

pub(crate) fn tier(user: &str) -> &'static str {
    if user.ends_with('3') { "gold" } else { "plain" }
}

pub(crate) struct Shop {
    exposures: Vec<Exposure>,
    events: Vec<Event>,
}

fn moment(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

/// Exposures over ten days of March, and one of a variant that nobody planned.
pub(crate) fn shop() -> Shop {
    let mut shop = shop_of(77, UNITS, "2026-03-01", 10);
    shop.exposures.push(Exposure {
        user: "stray".to_owned(),
        experiment: "checkout",
        variant: "old",
        at: moment("2026-03-02T00:00:00Z"),
        forced: false,
    });
    shop
}

/// The shop of the page: 9,000 customers over three weeks of November, of whom few saw both variants.
pub(crate) fn shop_of_the_page() -> Shop {
    let mut shop = shop_of(11, 9_000, "2026-11-01", 21);
    let mut first: BTreeMap<String, &'static str> = BTreeMap::new();
    shop.exposures.retain(|exposure| {
        let is_counted = exposure.experiment == "checkout" && !exposure.forced;
        let variant =
            if is_counted { *first.entry(exposure.user.clone()).or_insert(exposure.variant) } else { exposure.variant };
        variant == exposure.variant || exposure.user.ends_with('0')
    });
    shop
}

/// Exposures over so many days, events from three weeks before to some two weeks after. Second 0 to 59 of a minute, so that times differ.
pub(crate) fn shop_of(seed: u64, units: u64, first: &str, days: u64) -> Shop {
    let mut dice = Dice::new(seed);
    let (first, mut exposures, mut events) = (moment(&format!("{first}T00:00:00Z")), Vec::new(), Vec::new());
    for unit in 0..units {
        let user = format!("u{unit}");
        let at = first + TimeDelta::seconds(dice.below(days * 86_400) as i64);
        let variant = if dice.below(2) == 0 { "control" } else { "short" };
        let exposure =
            |variant, at, forced, experiment| Exposure { user: user.clone(), experiment, variant, at, forced };
        exposures.push(exposure(variant, at, false, "checkout"));
        let later = at + TimeDelta::hours(1 + dice.below(90) as i64);
        match dice.below(40) {
            0 => {
                exposures.push(exposure(if variant == "short" { "control" } else { "short" }, later, false, "checkout"))
            }
            1 => exposures.push(exposure("short", at - TimeDelta::hours(30), true, "checkout")),
            2 => exposures.push(exposure("short", at - TimeDelta::hours(30), false, "search")),
            3..=20 => exposures.push(exposure(variant, later, false, "checkout")),
            _ => {}
        }
        let busy = 1 + dice.below(24);
        let start = at;
        for _ in 0..dice.below(1 + busy) {
            let at = first - TimeDelta::days(21) + TimeDelta::seconds(dice.below((33 + days) * 86_400) as i64);
            let kind = ["view", "view", "cart", "buy"][dice.below(4) as usize];
            let lift = if variant == "short" && at >= start { 1.2 } else { 1.0 };
            let amount = ((1 + dice.below(4_000)) as f64 * lift).round() / 100.0;
            events.push(Event { user: user.clone(), kind, item: dice.below(9), amount, at });
        }
    }
    Shop { exposures, events }
}

const METRICS: [(&str, &str); 10] = [
    (
        "revenue",
        "kind = \"mean\"\nwindow_days = 7\n[fact]\ntable = \"marts.events\"\nvalue = \"amount\"\nwhere = \"kind = 'buy'\"\n",
    ),
    (
        "capped",
        "kind = \"mean\"\nwindow_days = 7\n[fact]\ntable = \"marts.events\"\nvalue = \"amount\"\nwhere = \"kind = 'buy'\"\n[cap]\nvalue = 20\n",
    ),
    (
        "orders",
        "kind = \"count\"\nwindow_days = 3\ndelay_hours = 5\n[fact]\ntable = \"marts.events\"\nwhere = \"kind = 'buy'\"\n",
    ),
    (
        "items",
        "kind = \"count\"\ncovariate_days = 0\n[fact]\ntable = \"marts.events\"\nvalue = \"item\"\naggregate = \"distinct\"\n",
    ),
    (
        "largest",
        "kind = \"mean\"\ncovariate_days = 7\n[fact]\ntable = \"marts.events\"\nvalue = \"amount\"\naggregate = \"max\"\n",
    ),
    (
        "first",
        "kind = \"mean\"\ncovariate_days = 0\n[fact]\ntable = \"marts.events\"\nvalue = \"amount\"\naggregate = \"first\"\n",
    ),
    ("high", "kind = \"quantile\"\nquantile = 0.8\n[fact]\ntable = \"marts.events\"\nvalue = \"amount\"\n"),
    (
        "basket",
        "kind = \"ratio\"\nfact = { table = \"marts.events\", value = \"amount\", where = \"kind = 'buy'\" }\ndenominator = { table = \"marts.events\", aggregate = \"count\" }\n",
    ),
    (
        "back",
        "kind = \"retention\"\nafter_days = 4\nwindow_days = 5\ncovariate_days = 0\n[fact]\ntable = \"marts.events\"\n",
    ),
    (
        "path",
        "kind = \"funnel\"\ncovariate_days = 0\nsteps = [{ table = \"marts.events\", where = \"kind = 'view'\" }, { table = \"marts.events\", where = \"kind = 'cart'\" }, { table = \"marts.events\", where = \"kind = 'buy'\" }]\n",
    ),
];

pub(crate) fn write(project: &Path, name: &str, text: &str) {
    let path = project.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn write_events(project: &Path, name: &str, events: &[Event]) {
    let mut text = "user_id,kind,item,amount,occurred_at\n".to_owned();
    for event in events {
        let Event { user, kind, item, amount, at } = event;
        writeln!(text, "{user},{kind},{item},{amount},{}", at.format("%Y-%m-%d %H:%M:%S")).unwrap();
    }
    write(project, &format!("data/events/{name}.csv"), &text);
}

pub(crate) fn project(shop: &Shop) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let project = dir.path();
    write(project, "montauk.toml", "[project]\nname = \"shop\"\n");
    write(
        project,
        "sources/shop.toml",
        "kind = \"file\"\n[tables.exposures]\npath = \"data/exposures/*\"\ninto = \"raw.exposures\"\n[tables.events]\npath = \"data/events/*\"\ninto = \"raw.events\"\n",
    );
    write(project, "models/marts/exposures.sql", "-- materialized: view\nselect * from raw.exposures\n");
    write(project, "models/marts/events.sql", "-- materialized: view\nselect * from raw.events\n");
    for (name, text) in METRICS {
        write(project, &format!("metrics/{name}.toml"), text);
    }
    write(
        project,
        "experiments/checkout.toml",
        "[assignment]\nkey = \"checkout\"\nvariants = [{ key = \"control\", value = false }, { key = \"short\", value = true }]\n\
         [analysis]\nexposures = \"marts.exposures\"\nstart = \"2026-03-01T00:00:00Z\"\nend = \"2026-03-15T00:00:00Z\"\n\
         goals = [\"revenue\"]\nguardrails = [{ metric = \"orders\", margin = 0.2 }]\n\
         secondary = [\"first\", \"high\", \"capped\", \"items\", \"largest\", \"basket\", \"back\", \"path\"]\nmax_data_age_hours = 200\n",
    );
    let mut text = "unit_id,experiment,variant,occurred_at,forced,country\n".to_owned();
    let mut seen = std::collections::BTreeSet::new();
    for Exposure { user, experiment, variant, at, forced } in &shop.exposures {
        // The first of a unit in the list is its first in time, but for those that do not count.
        let country = if seen.insert(user) { country(user) } else { "XX" };
        writeln!(text, "{user},{experiment},{variant},{},{forced},{country}", at.format("%Y-%m-%d %H:%M:%S")).unwrap();
    }
    write(project, "data/exposures/all.csv", &text);
    write_events(project, "all", &shop.events);
    load(project);
    dir
}

pub(crate) fn load(project: &Path) {
    for verb in ["extract", "copy", "build"] {
        run(montauk().arg("-C").arg(project).arg(verb));
    }
}

pub(crate) fn analyze(project: &Path, until: &str) -> Value {
    analyze_with(project, &["--until", until])
}

pub(crate) fn analyze_with(project: &Path, arguments: &[&str]) -> Value {
    let mut command = montauk();
    command.arg("-C").arg(project).args(["--json", "analyze", "checkout"]).args(arguments);
    run(&mut command)[0].take()
}

/// What a unit did in hours `from..to` after its exposure, or on whole days before it.
pub(crate) type Values = BTreeMap<&'static str, Vec<Vec<f64>>>;

/// Rows of values per metric and variant: the value, and what it was before where the metric has a covariate.
/// Of users that `is_meant`, as of `until`.
pub(crate) fn expected(shop: &Shop, until: &str, is_meant: impl Fn(&str) -> bool) -> BTreeMap<&'static str, Values> {
    let until = moment(&format!("{until}T00:00:00Z"));
    let (firsts, by_user) = (firsts(shop), events_of(shop));
    let mut found: BTreeMap<&'static str, Values> = BTreeMap::new();
    let mut all_bought = Vec::new();
    for (user, (start, variant)) in firsts {
        if start >= until {
            continue;
        }
        let none = Vec::new();
        let events = by_user.get(user).unwrap_or(&none);
        let within = |from: i64, to: i64| {
            let (from, to) = (start + TimeDelta::hours(from), start + TimeDelta::hours(to));
            events.iter().copied().filter(move |event| event.at >= from && event.at < to.min(until))
        };
        let before = |days: i64| {
            let day = start.date_naive();
            events.iter().copied().filter(move |event| {
                event.at.date_naive() < day && event.at.date_naive() >= day - TimeDelta::days(days)
            })
        };
        all_bought.push(bought(within(0, 168)));
        if !is_meant(user) {
            continue;
        }
        let mut add = |metric: &'static str, row: Vec<f64>| {
            found.entry(metric).or_default().entry(variant).or_default().push(row);
        };
        // Nothing known of the days before: neither views nor anything else.
        let none_in = |days: i64| f64::from(u8::from(before(days).next().is_none()));
        let new = none_in(14);
        add("revenue", vec![bought(within(0, 168)), bought(before(14)), new]);
        add("capped", vec![bought(within(0, 168)).min(20.0), bought(before(14)).min(20.0), new]);
        add("orders", vec![orders(within(5, 77)), orders(before(14)), new]);
        add(
            "items",
            vec![within(0, 168).map(|event| event.item).collect::<std::collections::BTreeSet<_>>().len() as f64],
        );
        add("largest", vec![largest(within(0, 168)), largest(before(7)), none_in(7)]);
        add("first", vec![within(0, 168).next().map_or(0.0, |event| event.amount)]);
        add("high", vec![within(0, 168).map(|event| event.amount).sum()]);
        let (now, then) = (within(0, 168).count() as f64, before(14).count() as f64);
        add("basket", vec![bought(within(0, 168)), now, bought(before(14)), then, new]);
        if start + TimeDelta::days(9) <= until {
            add("back", vec![f64::from(u8::from(within(96, 216).next().is_some()))]);
        }
        let mut steps = ["view", "cart", "buy"].into_iter().peekable();
        for event in within(0, 168) {
            steps.next_if_eq(&event.kind);
        }
        add("path", vec![f64::from(u8::from(steps.peek().is_none()))]);
    }
    // The default of sums: the 99.9th percentile of those that bought something, of all variants and slices.
    all_bought.retain(|value| *value != 0.0);
    all_bought.sort_by(f64::total_cmp);
    let place = 0.999 * (all_bought.len().max(1) - 1) as f64;
    // The engine interpolates in whole millionths.
    let share = ((place - place.floor()) * 1e6).floor() / 1e6;
    let at = |place: f64| all_bought.get(place as usize).copied().unwrap_or(f64::INFINITY);
    let cap = if share > 0.0 { at(place) + share * (at(place + 1.0) - at(place)) } else { at(place) };
    for metric in ["revenue", "basket"] {
        let rows = found.entry(metric).or_default().values_mut().flatten();
        // Numerators, now and before.
        rows.for_each(|row| row.iter_mut().step_by(row_step(metric)).take(2).for_each(|value| *value = value.min(cap)));
    }
    found
}

/// First exposure and variant of the units that saw one variant only.
fn firsts(shop: &Shop) -> BTreeMap<&str, (DateTime<Utc>, &'static str)> {
    let mut firsts: BTreeMap<&str, (DateTime<Utc>, &'static str)> = BTreeMap::new();
    let mut variants: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for exposure in shop.exposures.iter().filter(|exposure| exposure.experiment == "checkout" && !exposure.forced) {
        let first = firsts.entry(&exposure.user).or_insert((exposure.at, exposure.variant));
        *first = (*first).min((exposure.at, exposure.variant));
        variants.entry(&exposure.user).or_default().push(exposure.variant);
    }
    firsts.retain(|user, (_, variant)| variants[user].iter().all(|other| other == variant));
    firsts
}

fn events_of(shop: &Shop) -> BTreeMap<&str, Vec<&Event>> {
    let mut by_user: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    shop.events.iter().for_each(|event| by_user.entry(&event.user).or_default().push(event));
    by_user.values_mut().for_each(|events| events.sort_by_key(|event| event.at));
    by_user
}

/// Revenue on the day so many after that of exposure, inside the seven days of the metric, before `until`: rows as of [`expected`].
pub(crate) fn revenue_since(shop: &Shop, until: &str, day: i64, cap: f64) -> Values {
    let until = moment(&format!("{until}T00:00:00Z"));
    let (by_user, none, mut found) = (events_of(shop), Vec::new(), Values::new());
    for (user, (start, variant)) in firsts(shop) {
        let that_day = start.date_naive() + TimeDelta::days(day);
        if that_day >= until.date_naive() {
            continue;
        }
        let events = by_user.get(user).unwrap_or(&none).iter().copied();
        let end = start + TimeDelta::days(7);
        let now = events.clone().filter(|it| it.at.date_naive() == that_day && it.at >= start && it.at < end);
        let first_day = start.date_naive() - TimeDelta::days(14);
        let before = events.filter(|it| it.at.date_naive() < start.date_naive() && it.at.date_naive() >= first_day);
        let is_new = f64::from(u8::from(before.clone().next().is_none()));
        found.entry(variant).or_default().push(vec![bought(now).min(cap), bought(before).min(cap), is_new]);
    }
    found
}

/// Amounts of all events in the seven days after exposure, apart by variant and unit; of units that have some.
pub(crate) fn amounts_of_events(
    shop: &Shop,
    until: &str,
    is_meant: impl Fn(&str) -> bool,
) -> BTreeMap<&'static str, Vec<Vec<f64>>> {
    let until = moment(&format!("{until}T00:00:00Z"));
    let (by_user, mut found) = (events_of(shop), BTreeMap::<&str, Vec<Vec<f64>>>::new());
    for (user, (start, variant)) in firsts(shop).into_iter().filter(|(user, _)| is_meant(user)) {
        let end = (start + TimeDelta::days(7)).min(until);
        let within = |event: &&&Event| event.at >= start && event.at < end;
        let amounts: Vec<f64> = by_user.get(user).into_iter().flatten().filter(within).map(|it| it.amount).collect();
        if !amounts.is_empty() {
            found.entry(variant).or_default().push(amounts);
        }
    }
    found
}

fn row_step(metric: &str) -> usize {
    if metric == "basket" { 2 } else { 1 }
}

fn bought<'a>(events: impl Iterator<Item = &'a Event>) -> f64 {
    events.filter(|event| event.kind == "buy").map(|event| event.amount).sum()
}

fn orders<'a>(events: impl Iterator<Item = &'a Event>) -> f64 {
    events.filter(|event| event.kind == "buy").count() as f64
}

fn largest<'a>(events: impl Iterator<Item = &'a Event>) -> f64 {
    events.map(|event| event.amount).fold(0.0, f64::max)
}

/// Order statistics of sorted values; their places are `experiment`'s own, tested there.
fn quantile(rows: &[Vec<f64>]) -> Statistic {
    let mut sorted: Vec<f64> = rows.iter().map(|row| row[0]).collect();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len() as u64;
    let (lower, upper) = bound_ranks(n, 0.8);
    let at = |rank: u64| sorted[rank as usize - 1];
    let quantile_hat = sample_quantile(&sorted, 0.8, QuantileMethod::Linear).unwrap();
    Statistic::Quantile(Quantile {
        n,
        n_star: n,
        nu: 0.8,
        quantile_hat,
        quantile_lower: at(lower),
        quantile_upper: at(upper),
    })
}

pub(crate) fn compared(metric: &str, values: &Values) -> Comparison {
    if metric == "high" {
        return compare(&quantile(&values["control"]), &quantile(&values["short"])).unwrap();
    }
    let moments = |variant: &str| {
        let rows = &values[variant];
        CovariateMoments::from_rows(rows[0].len(), rows.iter().map(Vec::as_slice)).unwrap()
    };
    let (control, treatment) = (moments("control"), moments("short"));
    let found = match metric {
        "basket" => compare_ratio_with_covariates(&control, &treatment, 0.0),
        _ => compare_with_covariates(&control, &treatment, 0.0),
    };
    found.unwrap().comparison
}

pub(crate) fn close(found: &Value, expected: f64, what: &str) {
    let found = found.as_f64().unwrap_or_else(|| panic!("{what}: {found}"));
    assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1e-3), "{what}: {found}, not {expected}");
}

fn check(report: &Value, shop: &Shop) {
    let expected = expected(shop, UNTIL, |_| true);
    for row in report["results"]["rows"].as_array().unwrap() {
        let metric = row["metric"].as_str().unwrap();
        let comparison = compared(metric, &expected[metric]);
        let found = &row["absolute"]["comparison"];
        for (arm, wanted) in [("control", comparison.control), ("treatment", comparison.treatment)] {
            assert_eq!(found[arm]["n"], wanted.n, "{metric} {arm}: {row}");
            close(&found[arm]["unadjusted_mean"], wanted.unadjusted_mean, &format!("{metric} {arm}"));
            close(&found[arm]["variance"], wanted.variance, &format!("{metric} {arm}"));
        }
        let estimate = comparison.estimate(Scale::Relative).unwrap();
        let test = estimate.test(Alternative::TwoSided, 0.05).unwrap();
        close(&row["relative"]["figures"]["fixed"]["effect"], test.effect, metric);
        close(&row["relative"]["figures"]["fixed"]["p_value"], test.p_value, metric);
    }
}

#[test]
fn figures_are_those_of_the_events_themselves() {
    let mut shop = shop();
    let dir = project(&shop);
    let project = dir.path();
    let report = analyze(project, UNTIL);
    assert_eq!(report["results"]["rows"].as_array().unwrap().len(), METRICS.len());
    check(&report, &shop);
    let health = &report["results"]["health"];
    assert_eq!(health["unknown_units"], 1, "{health}");
    assert!(health["multiple_units"].as_u64().unwrap() > 10, "{health}");
    // A unit of a variant that is none of the experiment's reached the log: no effect is to be read before that is mended.
    let verdict = &report["results"]["decision"]["verdict"];
    assert_eq!(verdict["code"], "fix_first", "{verdict}");
    assert_eq!(verdict["reasons"][0]["code"], "leak", "{verdict}");
    let changed = |report: &Value| -> Vec<String> {
        let tables = report["tables"].as_array().unwrap().iter();
        tables
            .filter(|table| table["changed"] == true)
            .map(|table| table["table"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(changed(&report).len(), 4, "{report}");
    assert_eq!(changed(&analyze(project, UNTIL)), Vec::<String>::new());
    // A day more makes no day anew.
    assert_eq!(changed(&analyze(project, "2026-03-21")), ["experiments.e_checkout_values"]);

    // Events that come late change their days, and with them the values, and nothing else.
    let late =
        Event { user: "u3".to_owned(), kind: "buy", item: 1, amount: 900.25, at: moment("2026-03-04T11:59:59Z") };
    let users = shop.exposures.iter().take(50).map(|exposure| exposure.user.clone());
    let late: Vec<Event> = users.map(|user| Event { user, ..late.clone() }).collect();
    write_events(project, "late", &late);
    shop.events.extend(late);
    load(project);
    let report = analyze(project, UNTIL);
    assert_eq!(changed(&report), ["experiments.e_checkout_days_0", "experiments.e_checkout_values"]);
    check(&report, &shop);

    // Without a window of odd hours no two bounds of a unit share a day, and the SQL is another.
    let file = project.join("experiments/checkout.toml");
    let plan = fs::read_to_string(&file).unwrap();
    fs::write(&file, plan.replace("guardrails = [{ metric = \"orders\", margin = 0.2 }]\n", "")).unwrap();
    let report = analyze(project, UNTIL);
    assert_eq!(report["results"]["rows"].as_array().unwrap().len(), METRICS.len() - 1);
    check(&report, &shop);
}

#[test]
fn an_experiment_that_nobody_saw_says_so() {
    let dir = project(&shop());
    let project = dir.path();
    let plan = fs::read_to_string(project.join("experiments/checkout.toml")).unwrap();
    write(project, "experiments/checkout.toml", &plan.replace("key = \"checkout\"", "key = \"chekout\""));
    let report = analyze(project, UNTIL);
    let verdict = &report["results"]["decision"]["verdict"];
    assert_eq!((&verdict["code"], &verdict["reasons"][0]["code"]), (&"fix_first".into(), &"no_exposure".into()));
    // Before a day has passed, that is no fault yet.
    let verdict = analyze(project, "2026-03-01")["results"]["decision"]["verdict"].take();
    assert_eq!((&verdict["code"], &verdict["reasons"][0]["code"]), (&"keep_running".into(), &"too_early".into()));
    // Half of an experiment is none: one of its variants was never seen.
    write(project, "experiments/checkout.toml", &plan.replace("key = \"short\"", "key = \"shrot\""));
    let verdict = analyze(project, UNTIL)["results"]["decision"]["verdict"].take();
    assert_eq!(verdict["code"], "fix_first", "{verdict}");
    let reasons: Vec<&str> =
        verdict["reasons"].as_array().unwrap().iter().map(|reason| reason["code"].as_str().unwrap()).collect();
    assert!(reasons.contains(&"sample_ratio") && reasons.contains(&"leak"), "{verdict}");
}

#[test]
fn mistakes_name_their_place_and_nothing_is_shown_that_is_not_there() {
    let shop = shop();
    let dir = project(&shop);
    let project = dir.path();
    let fails = |name: &str, text: &str, arguments: &[&str]| {
        let before = fs::read_to_string(project.join(name)).unwrap();
        write(project, name, text);
        let output = montauk().arg("-C").arg(project).args(arguments).output().unwrap();
        write(project, name, &before);
        assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    };
    let plan = fs::read_to_string(project.join("experiments/checkout.toml")).unwrap();
    let said = fails(
        "experiments/checkout.toml",
        &plan.replace("goals = [\"revenue\"]", "goals = [\"revenu\"]"),
        &["analyze"],
    );
    assert!(said.contains("there is no metric `revenu`") && said.contains("did you mean `revenue`?"), "{said}");
    let said = fails(
        "experiments/checkout.toml",
        &plan.replace("key = \"short\", value", "key = \"control\", value"),
        &["analyze"],
    );
    assert!(said.contains("experiments/checkout.toml"), "{said}");
    write(project, "experiments/other.toml", &plan.replace("key = \"checkout\"", "key = \"Checkout\""));
    let said = fails("experiments/checkout.toml", &plan, &["analyze"]);
    assert!(said.contains("differs in signs or capitals at most"), "{said}");
    fs::remove_file(project.join("experiments/other.toml")).unwrap();
    let metric = "kind = \"mean\"\n[fact]\ntable = \"marts.events\"\nvalue = \"amnt\"\n";
    let said = fails("metrics/revenue.toml", metric, &["analyze"]);
    assert!(said.contains("cannot be analyzed") && said.contains("amnt"), "{said}");
    let said = fails("metrics/revenue.toml", &metric.replace("mean", "median"), &["analyze"]);
    assert!(said.contains("metrics/revenue.toml:1"), "{said}");
    let output = montauk().arg("-C").arg(project).args(["analyze", "chekout"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("did you mean `checkout`?"));
    let shown = montauk().arg("-C").arg(project).args(["analyze", "--until", UNTIL]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("verdict: fix_first (leak units 1") && shown.contains("guardrail, margin 20.0 %"),
        "{shown}"
    );
}
