//! Sets of items as bits: what may not be shown, decided before the top-k.
//!
//! In: item ordinals.  Out: [`ItemSet`], one bit per item of the artefact.
//! Never here: why an item is hidden (availability, rules); callers decide that.
//! Start at [`ItemSet`].

/// A set of item ordinals: one bit each, 64 to a word. Ordinals at or beyond the capacity are never members.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ItemSet {
    words: Vec<u64>,
    capacity: usize,
}

impl ItemSet {
    /// An empty set over `items` items.
    pub fn new(items: usize) -> Self {
        Self { words: vec![0; items.div_ceil(64)], capacity: items }
    }

    /// The set of the given ordinals.
    pub fn from_ordinals(items: usize, ordinals: impl IntoIterator<Item = u32>) -> Self {
        let mut set = Self::new(items);
        for ordinal in ordinals {
            set.insert(ordinal);
        }
        set
    }

    /// Adds an item; ordinals beyond the capacity are ignored.
    pub fn insert(&mut self, item: u32) {
        if (item as usize) < self.capacity {
            self.words[item as usize / 64] |= 1 << (item % 64);
        }
    }

    /// Whether the item is in the set.
    pub fn contains(&self, item: u32) -> bool {
        self.words.get(item as usize / 64).is_some_and(|word| word >> (item % 64) & 1 == 1)
    }

    /// Adds every member of `other`.
    pub fn union_with(&mut self, other: &ItemSet) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, more)| *word |= more);
        // A larger `other` may have set bits in our last, partly used word.
        let used_bits = self.capacity % 64;
        if let (Some(last), 1..) = (self.words.last_mut(), used_bits) {
            *last &= (1 << used_bits) - 1;
        }
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The number of items that could be members.
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in_and_ignores_what_is_beyond() {
        let mut set = ItemSet::from_ordinals(70, [0, 63, 64, 69, 70, 1_000]);
        assert_eq!(set.len(), 4);
        assert!(set.contains(69) && !set.contains(70) && !set.contains(1_000));
        set.union_with(&ItemSet::from_ordinals(128, [1, 100]));
        assert_eq!(set.len(), 5);
        assert!(set.contains(1) && !ItemSet::new(0).contains(0));
    }
}
