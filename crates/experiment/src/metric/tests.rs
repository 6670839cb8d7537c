//! Metrics as people write them, and the mistakes they make.

use super::*;

fn read(text: &str) -> Result<UnitPlan, String> {
    let file: MetricFile = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    file.plan().map_err(|error| format!("{}: {error}", error.key()))
}

fn check(text: &str, expected: &str) {
    assert_eq!(read(text).unwrap_err(), expected, "{text}");
}

const FACT: &str = "[fact]\ntable = \"marts.orders\"\n";

#[test]
fn a_mean_reads_its_values_in_the_window_after_the_delay() {
    let text = format!(
        "kind = \"mean\"\nwindow_days = 14\ndelay_hours = 2\n{FACT}value = \"amount\"\nwhere = \"not returned\"\n"
    );
    let plan = read(&text).unwrap();
    assert_eq!(plan.statistic, Statistic::Mean);
    let [measure] = plan.measures.as_slice() else { panic!("{plan:?}") };
    assert_eq!(measure.span, Span { from_hours: 2, to_hours: 2 + 14 * 24 });
    assert_eq!((measure.unit.as_str(), measure.time.as_str()), ("user_id", "occurred_at"));
    let reading = Reading::Values {
        aggregate: Aggregate::Sum,
        value: Some("amount".to_owned()),
        filter: Some("not returned".to_owned()),
    };
    assert_eq!(measure.reading, reading);
    assert_eq!((plan.covariate_days, plan.mature_only), (14, false));
}

#[test]
fn retention_looks_at_a_later_window_and_waits_for_its_end() {
    let plan = read(&format!("kind = \"retention\"\nafter_days = 7\nwindow_days = 7\n{FACT}")).unwrap();
    assert_eq!(plan.measures[0].span, Span { from_hours: 168, to_hours: 336 });
    assert!(plan.mature_only);
    assert_eq!(plan.statistic, Statistic::Proportion);
}

#[test]
fn a_ratio_has_two_measures_and_a_funnel_one() {
    let ratio = "kind = \"ratio\"\nfact = { table = \"marts.orders\", value = \"amount\" }\ndenominator = { table = \"marts.visits\", aggregate = \"count\" }\n";
    assert_eq!(read(ratio).unwrap().measures.len(), 2);
    let funnel = "kind = \"funnel\"\nsteps = [{ table = \"marts.events\", where = \"kind = 'view'\" }, { table = \"marts.events\", where = \"kind = 'buy'\" }]\n";
    let plan = read(funnel).unwrap();
    let [Measure { reading: Reading::Steps { filters }, .. }] = plan.measures.as_slice() else { panic!("{plan:?}") };
    assert_eq!(filters.len(), 2);
}

#[test]
fn keys_that_are_missing_or_belong_to_other_kinds_are_named() {
    check("kind = \"mean\"\n", "fact: a metric of kind `mean` needs `fact`");
    check(&format!("kind = \"mean\"\n{FACT}"), "fact.value: a metric of kind `mean` needs `fact.value`");
    check(
        &format!("kind = \"ratio\"\n{FACT}value = \"x\"\n"),
        "denominator: a metric of kind `ratio` needs `denominator`",
    );
    check(&format!("kind = \"count\"\nquantile = 0.5\n{FACT}"), "quantile: a metric of kind `count` has no `quantile`");
    check(
        &format!("kind = \"proportion\"\n{FACT}value = \"x\"\n"),
        "fact.value: a metric of kind `proportion` has no `fact.value`",
    );
    check(
        &format!("kind = \"count\"\nquantile_of = \"events\"\n{FACT}"),
        "quantile_of: a metric of kind `count` has no `quantile_of`",
    );
    check(
        &format!(
            "kind = \"quantile\"\nquantile = 0.5\nquantile_of = \"events\"\n{FACT}value = \"x\"\naggregate = \"max\"\n"
        ),
        "fact.aggregate: a metric of kind `quantile` has no `fact.aggregate`",
    );
    check("kind = \"funnel\"\n", "steps: a metric of kind `funnel` needs `steps`");
    check(
        &format!("kind = \"quantile\"\n{FACT}value = \"x\"\n"),
        "quantile: a metric of kind `quantile` needs `quantile`",
    );
    check(
        &format!("kind = \"retention\"\ndelay_hours = 1\n{FACT}"),
        "delay_hours: a metric of kind `retention` has no `delay_hours`",
    );
}

#[test]
fn values_outside_of_their_range_are_named() {
    check(
        &format!("kind = \"count\"\nwindow_days = 0\n{FACT}"),
        "window_days: `window_days` is `0`, but must be 1 to 3660",
    );
    check(
        &format!("kind = \"count\"\nmin_effect = -1\n{FACT}"),
        "min_effect: `min_effect` is `-1`, but must be above 0",
    );
    check(
        &format!("kind = \"count\"\n{FACT}[cap]\n"),
        "cap: `cap` is `{}`, but must be one of `value` and `percentile`",
    );
    check(
        &format!("kind = \"count\"\n{FACT}[cap]\npercentile = 1.0\n"),
        "cap.percentile: `cap.percentile` is `1`, but must be between 0 and 1, both excluded",
    );
    let mixed = "kind = \"funnel\"\nsteps = [{ table = \"marts.a\" }, { table = \"marts.b\" }]\n";
    check(
        mixed,
        "steps: `steps` is `marts.b`, but must be the same table, unit and time for all steps: put their rows into one mart",
    );
    assert!(read(&format!("kind = \"mean\"\nwidow_days = 3\n{FACT}")).unwrap_err().contains("widow_days"));
}

#[test]
fn sums_are_capped_unless_the_file_says_otherwise() {
    let cap = |text: &str| read(text).unwrap().cap;
    let sum = format!("kind = \"mean\"\n{{}}{FACT}value = \"amount\"\n");
    assert_eq!(cap(&sum.replace("{}", "")), Some(DEFAULT_CAP));
    assert_eq!(cap(&sum.replace("{}", "cap = false\n")), None);
    let largest = format!("{}aggregate = \"max\"\n", sum.replace("{}", ""));
    assert_eq!(cap(&largest), None);
    assert_eq!(cap(&format!("kind = \"count\"\n{FACT}")), None);
    let error = read(&sum.replace("{}", "cap = true\n")).unwrap_err();
    assert!(error.contains("`false`, or a table"), "{error}");
}

/// Against the days of a unit of every minute of day 0 whose first and last minute inside are looked up.
#[test]
fn a_span_touches_the_days_that_units_of_some_minute_have_in_it() {
    for (from_hours, to_hours) in [(0, 1), (0, 24), (0, 36), (0, 25), (24, 48), (30, 47), (36, 168), (5, 6)] {
        let first = (0..1_440).map(|minute| (minute + from_hours * 60) / 1_440).min().unwrap();
        let last = (0..1_440).map(|minute| (minute + to_hours * 60 - 1) / 1_440).max().unwrap();
        assert_eq!(Span { from_hours, to_hours }.days(), first..=last, "{from_hours} to {to_hours}");
    }
}
