//! Reproducible draws for re-randomisation tests: the same seed gives the same draws on every machine.
//!
//! In: a seed.  Out: numbers and choices.
//! Never here: assignment of units (see `assign`); anything that needs secrecy.
//! Start at [`SplitMix64`].

/// Steele, Lea & Flood, OOPSLA 2014: a counter through a mixing function.
#[derive(Debug, Clone)]
pub(super) struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A whole number below `end` > 0.  The bias of the product is below `end`/2⁶⁴ (Lemire, ACM TOMACS 29, 2019).
    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.draw()) * end as u128) >> 64) as usize
    }

    /// Moves a random choice of `count` entries to the front (Fisher–Yates, stopped early).
    pub fn choose_front(&mut self, entries: &mut [usize], count: usize) {
        for at in 0..count.min(entries.len()) {
            let other = at + self.below(entries.len() - at);
            entries.swap(at, other);
        }
    }
}
