//! Promises about long runs, kept on simulated experiments with fixed seeds: error rates, unbiasedness, sensitivity.
//!
//! In: seeds.  Out: shares of runs, each against its limit plus three standard errors of the simulation.
//! Where a promise could be kept by never finding anything, the same runs also show that the careless method breaks it.
//! Never here: single figures (see `oracle`).
//! Start at [`Draws`].

#![expect(clippy::unwrap_used, reason = "tests may stop at the first surprise: the panic is the report")]

mod errors;
mod interleaving;
mod policies;

use experiment::ranking::Coin;

/// Random numbers of a simulation.
#[derive(Debug)]
pub struct Draws(Coin);

impl Draws {
    pub fn new(seed: u64) -> Self {
        Self(Coin::new(seed))
    }

    pub fn unit(&mut self) -> f64 {
        self.0.unit()
    }

    pub fn seed(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub fn is(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Standard normal (Box & Muller 1958, one of the pair).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// A place drawn by probabilities that sum to 1.
    pub fn place(&mut self, probabilities: &[f64]) -> usize {
        let mut left = self.unit();
        let found = probabilities.iter().position(|probability| {
            left -= probability;
            left < 0.0
        });
        found.unwrap_or(probabilities.len() - 1)
    }
}

/// Three standard errors of a share found in `runs` runs when it is `share`.
pub fn three_errors(share: f64, runs: usize) -> f64 {
    3.0 * (share * (1.0 - share) / runs as f64).sqrt()
}

pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Standard deviation by n − 1.
pub fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt()
}
