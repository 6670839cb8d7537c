//! The sample ratio of arms that were to be equal.
//!
//! In: units of each arm, as arguments.  Out: `{p, sequential_p}`.
//! Never here: comparing with another package (see `bench/experiments.py`).
//! Start at `main`.

use std::io::Write;

use experiment::stats::sample_ratio::{SequentialSampleRatio, check_sample_ratio, default_concentration};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let units = std::env::args().skip(1).map(|units| units.parse()).collect::<Result<Vec<u64>, _>>()?;
    let weights = vec![1.0 / units.len() as f64; units.len()];
    let mut sequential = SequentialSampleRatio::new(&weights, default_concentration(units.iter().sum()))?;
    sequential.add(&units)?;
    let found = serde_json::json!({ "p": check_sample_ratio(&units, &weights)?.p, "sequential_p": sequential.p() });
    writeln!(std::io::stdout(), "{found}")?;
    Ok(())
}
