//! Compares two arms from sufficient statistics, line by line, beside which another package can be put.
//!
//! In: NDJSON, `{kind, control, treatment}`; `kind` is `mean {n, sum, sum_squares}` or `proportion {n, sum}`.
//! Out: NDJSON, `{absolute, relative}`, each `{effect, se, p_value, lower, upper, always_valid_p}`.
//! Never here: comparing with the other package (see `bench/experiments.py`).
//! Start at `main`.

use std::io::{BufRead, Write};

use experiment::stats::analysis::{Settings, analyze};
use experiment::stats::moments::{Mean, Proportion};
use experiment::stats::{Scale, Statistic};
use serde_json::{Value, json};

fn arm(kind: &str, arm: &Value) -> Result<Statistic, Box<dyn std::error::Error>> {
    let number = |name: &str| arm[name].as_f64().ok_or(format!("`{name}` is no number"));
    let n = arm["n"].as_u64().ok_or("`n` is no whole number")?;
    match kind {
        "mean" => Ok(Statistic::Mean(Mean { n, sum: number("sum")?, sum_squares: number("sum_squares")? })),
        "proportion" => Ok(Statistic::Proportion(Proportion { n, sum: number("sum")? })),
        other => Err(format!("there is no kind `{other}`").into()),
    }
}

fn compare(line: &str) -> Result<Value, Box<dyn std::error::Error>> {
    let input: Value = serde_json::from_str(line)?;
    let kind = input["kind"].as_str().unwrap_or_default();
    let (control, treatment) = (arm(kind, &input["control"])?, arm(kind, &input["treatment"])?);
    let figures = |scale: Scale| -> Result<Value, Box<dyn std::error::Error>> {
        let found = analyze(&control, &treatment, &Settings { scale, ..Settings::default() })?.shown.figures;
        Ok(json!({
            "effect": found.fixed.effect, "se": found.estimate.se, "p_value": found.fixed.p_value,
            "lower": found.fixed.ci.lower, "upper": found.fixed.ci.upper, "always_valid_p": found.always_valid.p_value,
        }))
    };
    Ok(json!({ "absolute": figures(Scale::Absolute)?, "relative": figures(Scale::Relative)? }))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        writeln!(out, "{}", compare(&line?)?)?;
    }
    Ok(out.flush()?)
}
