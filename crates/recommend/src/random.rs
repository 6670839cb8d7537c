//! Seeded randomness that is ours, so that a seed means the same numbers in every version of every library.
//!
//! In: a seed.  Out: uniform and normal numbers.
//! Never here: entropy, clocks, anything that needs to be secret.
//! Start at [`Random`].

/// SplitMix64 (Steele, Lea & Flood, OOPSLA 2014): one 64-bit word of state, passes BigCrush.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    /// A stream for `seed`; different `stream` numbers give unrelated sequences.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        // The odd multiplier spreads neighbouring streams over the whole range before the first step.
        let mut random = Self { state: seed ^ stream.wrapping_mul(0xD134_2543_DE82_EF95) };
        random.state = random.next_u64();
        random
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// Uniform below `limit` (Lemire's multiply and shift; the bias is below `limit` / 2^64).
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next_u64()) * limit as u128) >> 64) as usize
    }

    /// Uniform in (0, 1]: never zero, so that its logarithm is finite.
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal (Box & Muller 1958; the second number of the pair is dropped for simplicity).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.unit().ln()).sqrt();
        radius * (2.0 * std::f64::consts::PI * self.unit()).cos()
    }
}

/// Fisher & Yates, in Durstenfeld's form (1964).
pub(crate) fn shuffle<T>(values: &mut [T], random: &mut Random) {
    for last in (1..values.len()).rev() {
        values.swap(last, random.below(last + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_mean_zero_and_variance_one() {
        let mut random = Random::new(7, 0);
        let draws: Vec<f64> = (0..20_000).map(|_| random.normal()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        // Standard errors at n = 20,000: .007 and .010; four of them are allowed.
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.04, "{mean} {variance}");
    }

    #[test]
    fn below_reaches_every_value_and_no_other() {
        let mut random = Random::new(1, 1);
        let mut seen = [0u32; 5];
        for _ in 0..1_000 {
            seen[random.below(5)] += 1;
        }
        assert!(seen.iter().all(|&count| count > 120), "{seen:?}");
    }
}
