//! Prints how long all analyses of 100 metrics × 2 variants take from sufficient statistics.
//!
//! In: nothing.  Out: one line.  Run with `cargo run --release -p experiment --example analysis_speed`.
//! Never here: assertions on time.
//! Start at `main`.

use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use experiment::stats::analysis::{Settings, analyze};
use experiment::stats::moments::{Cuped, CupedRatio, Mean, Proportion, Ratio};
use experiment::stats::{Statistic, StatsError};

/// Two arms of metric number `at`; the kinds take turns.
fn arms(at: u64) -> [Statistic; 2] {
    [0.0, 0.3].map(|lift| {
        let n = 2000 + 7 * at;
        let units = n as f64;
        let mean = |m: f64| Mean { n, sum: m * units, sum_squares: (m * m + 100.0) * units };
        match at % 5 {
            0 => Statistic::Mean(mean(14.0 + lift)),
            1 => Statistic::Proportion(Proportion { n, sum: (0.2 + 0.1 * lift) * units }),
            2 => Statistic::Ratio(Ratio {
                n,
                m_statistic: mean(5.0 + lift),
                d_statistic: mean(14.0),
                m_d_sum_of_products: (70.0 + 40.0) * units,
            }),
            3 => Statistic::Cuped(Cuped {
                n,
                post_statistic: mean(14.0 + lift),
                pre_statistic: mean(12.0),
                post_pre_sum_of_products: ((14.0 + lift) * 12.0 + 80.0) * units,
            }),
            _ => Statistic::CupedRatio(CupedRatio {
                n,
                m_statistic_post: mean(5.0 + lift),
                d_statistic_post: mean(14.0),
                m_statistic_pre: mean(5.0),
                d_statistic_pre: mean(14.0),
                m_post_m_pre_sum_of_products: ((5.0 + lift) * 5.0 + 50.0) * units,
                d_post_d_pre_sum_of_products: (196.0 + 50.0) * units,
                m_pre_d_pre_sum_of_products: (70.0 + 30.0) * units,
                m_post_d_post_sum_of_products: ((5.0 + lift) * 14.0 + 30.0) * units,
                m_post_d_pre_sum_of_products: ((5.0 + lift) * 14.0 + 20.0) * units,
                m_pre_d_post_sum_of_products: (70.0 + 20.0) * units,
            }),
        }
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let metrics: Vec<[Statistic; 2]> = (0..100).map(arms).collect();
    let settings = Settings { mde: Some(0.01), ..Settings::default() };
    let run = || -> Result<(), StatsError> {
        for [control, treatment] in &metrics {
            black_box(analyze(black_box(control), black_box(treatment), &settings)?);
        }
        Ok(())
    };
    run()?;
    let mut times = Vec::with_capacity(101);
    for _ in 0..101 {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed());
    }
    times.sort();
    writeln!(
        std::io::stdout(),
        "100 metrics x 2 variants, all analyses with and without covariate: median {:?}, worst of 101 runs {:?}",
        times[50],
        times[100]
    )?;
    Ok(())
}
