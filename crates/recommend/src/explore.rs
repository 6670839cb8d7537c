//! Exploration: some places of a list go to items further down, by lot, and every item says how probable its place was.
//!
//! In: the list as it is ranked, the items that come after it, [`Explore`], a seed.  Out: the list with the lot's items in it.
//! Of N places after the first `protect`, n are open. A lot gives x = min(share · N, n, M) of them away in expectation (⌊x⌋ or
//! ⌈x⌉, the fraction by lot), to items drawn without replacement from the next M. So an open place keeps its item with
//! probability 1 − x/n and holds one of the M with x/(n·M) each, which adds up to 1: what inverse propensity scoring divides by
//! (Horvitz & Thompson 1952; Swaminathan & Joachims 2015).
//! Never here: clocks, users; the caller's seed decides, so that a user's list stays the same for a day.
//! Start at [`mix`].

use domain::{Explore, UserId};

use crate::RankedItem;
use crate::random::{Random, shuffle};

/// The stream of the lot.
const STREAM: u64 = 0x65_78_70_6c;

/// A seed that stays the same for a user and a day (or any other period that the caller counts).
pub fn exploration_seed(user: &UserId, day: i64) -> u64 {
    let hash = domain::hash_bytes(format!("{user}\n{day}").as_bytes());
    // SHA-256 in hex: its first 64 bits.
    hash.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default()
}

/// Gives places of `list` to items of `next`, and states the propensity of every item in its place.
pub(crate) fn mix(mut list: Vec<RankedItem>, mut next: Vec<RankedItem>, rules: &Explore, seed: u64) -> Vec<RankedItem> {
    next.truncate(rules.from);
    let protected = rules.protect.min(list.len());
    let (open, pool) = (list.len() - protected, next.len());
    let expected = (rules.share * list.len() as f64).min(open as f64).min(pool as f64);
    let share = if open == 0 { 0.0 } else { expected / open as f64 };
    for (place, entry) in list.iter_mut().enumerate() {
        entry.propensity = Some(if place < protected { 1.0 } else { 1.0 - share });
    }
    let mut random = Random::new(seed, STREAM);
    let whole = expected.floor();
    // `unit` is above 0, so a fraction of 0 never wins.
    let given = whole as usize + usize::from(random.unit() <= expected - whole);
    let mut places: Vec<usize> = (protected..list.len()).collect();
    shuffle(&mut places, &mut random);
    shuffle(&mut next, &mut random);
    for (place, mut entry) in places.into_iter().zip(next).take(given) {
        entry.propensity = Some(share / pool as f64);
        list[place] = entry;
    }
    list
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ItemSource;

    fn items(range: std::ops::Range<u32>) -> Vec<RankedItem> {
        let item = |item| RankedItem {
            item,
            score: -(item as f32),
            source: ItemSource::Recommender,
            because: Vec::new(),
            propensity: None,
        };
        range.map(item).collect()
    }

    #[test]
    fn how_often_an_item_stands_in_a_place_is_what_it_says() {
        // Expected numbers of places given away: 2; .2; 1.5; all that are open; no more than there are items.
        let cases =
            [(0.2, 3, 5, 10), (0.02, 3, 20, 10), (0.15, 0, 7, 10), (1.0, 8, 20, 10), (0.5, 0, 2, 10), (0.5, 9, 5, 4)];
        for (share, protect, from, length) in cases {
            let rules = Explore { share, protect, from };
            let mut counted: BTreeMap<(usize, u32), u32> = BTreeMap::new();
            let mut stated: BTreeMap<(usize, u32), f64> = BTreeMap::new();
            const SEEDS: u64 = 40_000;
            for seed in 0..SEEDS {
                let list = mix(items(0..length), items(100..130), &rules, seed);
                for (place, entry) in list.iter().enumerate() {
                    *counted.entry((place, entry.item)).or_default() += 1;
                    let known = *stated.entry((place, entry.item)).or_insert(entry.propensity.unwrap());
                    assert_eq!(known, entry.propensity.unwrap(), "it does not depend on the seed");
                    assert!(place >= protect || entry.item == place as u32, "a protected place was given away");
                }
                let mut distinct: Vec<u32> = list.iter().map(|entry| entry.item).collect();
                distinct.sort_unstable();
                distinct.dedup();
                assert_eq!(distinct.len(), length as usize);
            }
            for (key, propensity) in &stated {
                let error = 3.0 * (propensity * (1.0 - propensity) / SEEDS as f64).sqrt();
                let frequency = f64::from(counted[key]) / SEEDS as f64;
                // Some of hundreds of cells are beyond three standard errors by chance; none is beyond five.
                assert!((frequency - propensity).abs() <= error * 5.0 / 3.0 + 1e-12, "{rules:?} {key:?} {frequency}");
            }
            let beyond = stated.iter().filter(|(key, propensity)| {
                let error = 3.0 * (*propensity * (1.0 - *propensity) / SEEDS as f64).sqrt();
                (f64::from(counted[key]) / SEEDS as f64 - *propensity).abs() > error + 1e-12
            });
            assert!(beyond.count() <= 1 + stated.len() / 50, "{rules:?}");
            for place in 0..length as usize {
                let of_place =
                    stated.iter().filter(|((other, _), _)| *other == place).map(|(_, propensity)| propensity);
                assert!((of_place.sum::<f64>() - 1.0).abs() < 1e-9, "{rules:?}: place {place} adds up to 1");
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_list_and_nothing_to_explore_the_list_itself() {
        let rules = Explore { share: 0.3, protect: 1, from: 10 };
        let of = |seed| mix(items(0..10), items(100..120), &rules, seed);
        assert_eq!(of(7), of(7));
        assert!((0..20).any(|seed| of(seed) != of(7)));
        let alone = mix(items(0..10), Vec::new(), &rules, 7);
        assert!(alone.iter().all(|entry| entry.propensity == Some(1.0) && entry.item < 10));
        assert!(mix(Vec::new(), items(100..120), &rules, 7).is_empty());
        let user: UserId = "u".parse().unwrap();
        assert_eq!(exploration_seed(&user, 3), exploration_seed(&user, 3));
        assert_ne!(exploration_seed(&user, 3), exploration_seed(&user, 4));
    }
}
