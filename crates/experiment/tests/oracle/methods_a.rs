//! Adapters from cases of the oracle to the library: differences, sequential and Bayesian views, variance reduction.
//!
//! In: a case.  Out: its outputs under the oracle's own field names.
//! Never here: formulas; an adapter reads options and names results.
//! Start at [`compute`].

use experiment::stats::distributions;
use serde_json::{Value, json};

use crate::case::{Case, json_number, number};

/// Computes a case, or says with `None` that its method is not among ours.
pub fn compute(case: &Case) -> Option<Value> {
    Some(match case.method.as_str() {
        "special_functions" => special_functions(case),
        _ => return None,
    })
}

fn special_functions(case: &Case) -> Value {
    use distributions as d;
    let row = |name: &str, f: &dyn Fn(&[f64]) -> f64| -> Value {
        let rows = case.outputs[name].as_array().expect("rows of arguments and value");
        rows.iter()
            .map(|row| {
                let mut row: Vec<f64> = row.as_array().expect("a row").iter().map(number).collect();
                let value = row.len() - 1;
                row[value] = f(&row[..value]);
                Value::Array(row.into_iter().map(json_number).collect())
            })
            .collect()
    };
    json!({
        "t_cdf": row("t_cdf", &|a| d::t_sf(-a[0], a[1])),
        "t_ppf": row("t_ppf", &|a| d::t_quantile(a[0], a[1])),
        "norm_ppf": row("norm_ppf", &|a| d::normal_quantile(a[0])),
        "norm_sf": row("norm_sf", &|a| d::normal_sf(a[0])),
        "chi2_sf": row("chi2_sf", &|a| d::chi_square_sf(a[0], a[1])),
    })
}
