//! Seeded chance: the same seed draws the same in every version of every library.
//!
//! In: a seed.  Out: uniform numbers.
//! Never here: entropy, clocks, assignment of units (that is a hash, see `assign`).
//! Start at [`Coin`].

/// SplitMix64 (Steele, Lea & Flood, OOPSLA 2014): one 64-bit word of state, passes BigCrush.
#[derive(Debug, Clone)]
pub struct Coin {
    state: u64,
}

impl Coin {
    /// A sequence of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Any of 2^64 numbers.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform below `limit` > 0 (multiply and shift; the bias is below `limit` / 2^64).
    pub fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next_u64()) * limit as u128) >> 64) as usize
    }

    /// Moves a random choice of `count` entries to the front (Fisher & Yates, stopped early).
    pub fn choose_front(&mut self, entries: &mut [usize], count: usize) {
        for at in 0..count.min(entries.len()) {
            let other = at + self.below(entries.len() - at);
            entries.swap(at, other);
        }
    }

    /// Any order (Fisher & Yates, in Durstenfeld's form of 1964).
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            values.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_that_of_the_authors() {
        // The first outputs of SplitMix64 seeded with 1234567, as its authors' C code prints them.
        let mut coin = Coin::new(1_234_567);
        assert_eq!(coin.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(coin.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn every_order_comes_up() {
        let mut coin = Coin::new(1);
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..6_000 {
            let mut order = [0, 1, 2];
            coin.shuffle(&mut order);
            *seen.entry(order).or_insert(0) += 1;
        }
        // 1,000 each, standard deviation 29.
        assert!(seen.len() == 6 && seen.values().all(|count| (850..1_150).contains(count)), "{seen:?}");
    }
}
