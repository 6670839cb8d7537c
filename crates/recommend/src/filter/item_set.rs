//! Sets of items as bits: 64 items are kept, joined or left out by one instruction.
//!
//! In: item ordinals.  Out: [`ItemSet`], one bit per item of the artefact.
//! Never here: why an item is in a set.
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

    /// The set of every item that could be a member.
    pub fn full(items: usize) -> Self {
        let mut set = Self { words: vec![u64::MAX; items.div_ceil(64)], capacity: items };
        set.clear_beyond();
        set
    }

    /// The set of the items for which `is_member` holds.
    pub fn of(items: usize, is_member: impl Fn(usize) -> bool) -> Self {
        let mut set = Self::new(items);
        (0..items).filter(|item| is_member(*item)).for_each(|item| set.words[item / 64] |= 1 << (item % 64));
        set
    }

    /// Adds every member of `other`.
    pub fn union_with(&mut self, other: &ItemSet) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, more)| *word |= more);
        self.clear_beyond();
    }

    /// Keeps only the members of `other`.
    pub fn intersect_with(&mut self, other: &ItemSet) {
        let others = other.words.iter().copied().chain(std::iter::repeat(0));
        self.words.iter_mut().zip(others).for_each(|(word, kept)| *word &= kept);
    }

    /// Every item that is not a member.
    pub fn complement(&self) -> Self {
        let mut set = Self { words: self.words.iter().map(|word| !word).collect(), capacity: self.capacity };
        set.clear_beyond();
        set
    }

    /// The members, rising.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(|(place, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(place as u32 * 64 + bit)
            })
        })
    }

    /// The bits, 64 items to a word; those beyond the capacity are 0.
    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    /// The last word is only partly used: bits beyond the capacity must stay 0.
    fn clear_beyond(&mut self) {
        if let (Some(last), used @ 1..) = (self.words.last_mut(), self.capacity % 64) {
            *last &= (1 << used) - 1;
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

    #[test]
    fn operations_equal_those_on_lists_at_every_word_edge() {
        for items in [0usize, 1, 63, 64, 65, 130] {
            let thirds = ItemSet::of(items, |item| item % 3 == 0);
            let mut both = ItemSet::of(items, |item| item % 2 == 0);
            both.intersect_with(&thirds);
            let expected: Vec<u32> = (0..items as u32).filter(|item| item.is_multiple_of(6)).collect();
            assert_eq!(both.iter().collect::<Vec<_>>(), expected);
            assert_eq!(thirds.complement().len(), items - thirds.len());
            assert_eq!(thirds.complement().complement(), thirds);
            assert_eq!(ItemSet::full(items).len(), items);
        }
    }
}
