//! The strongest partners of every item when a pair counts the same from both sides: each pair is counted once.
//!
//! In: users × items, and what turns the sum over users of one pair into strengths.  Out: for each item its best partners.
//! Item by item, the items after it in the histories of its users are added up in one dense row; a pass over the row then
//! compares each pair with the weakest partner that either side has kept so far.
//! Never here: strengths themselves; pairs that count differently from both sides (see `neighbours`).
//! Start at [`strongest_pairs`].

use std::ops::{AddAssign, Range};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::neighbours::{keep_best, strongest_partners};
use crate::Csr;
use crate::kernels::prefetch;
use crate::top_k::by_rank;

/// Pairs that are weighed at once: their strengths stay in the first cache.
const CHUNK: usize = 512;

/// Pairs among which one look decides whether any is kept.
const LANES: usize = 32;

/// Users whose histories are fetched before they are read, and how much of each.
const AHEAD: usize = 6;
const AHEAD_ITEMS: usize = 128;

/// Items that one thread counts before it asks for more.
const ITEMS_AT_ONCE: usize = 64;

/// The sums of one item with a run of others, and where their strengths go.
pub(crate) struct Weigh<'a> {
    pub(crate) item: u32,
    pub(crate) others: Range<usize>,
    /// Zero for those that nobody chose together with the item.
    pub(crate) sums: &'a [f32],
    /// Out: how much the others speak for the item.
    pub(crate) for_item: &'a mut [f32],
    /// Out: how much the item speaks for the others.
    pub(crate) for_others: &'a mut [f32],
}

impl Weigh<'_> {
    /// Both sides by `strength`, which is given target, item and sum, one pair after the other.
    pub(crate) fn each(self, strength: impl Fn(u32, u32, f32) -> f32) {
        for (place, (other, &sum)) in (self.others.start as u32..).zip(self.sums).enumerate() {
            let is_pair = sum > 0.0;
            self.for_item[place] = if is_pair { strength(self.item, other, sum) } else { 0.0 };
            self.for_others[place] = if is_pair { strength(other, self.item, sum) } else { 0.0 };
        }
    }
}

/// The strongest `keep` partners of every item by (strength, smaller ordinal), in order of ordinals, in parallel.
///
/// `strength` is given target, item and Σ_u x_ui·x_uj > 0 in the order of users, so the result does not depend on
/// threads; what is not above zero is no partner. `weigh` must give the same for many pairs at once.
/// Cost: Σ_u n_u²/2 additions and items²/2 strengths from both sides; of matrices so sparse that most sums are zero,
/// Σ_u n_u² additions and a strength for each pair. Memory: 12 bytes for each stored value, 16 · keep for each item, and
/// three rows of items for each thread.
pub(crate) fn strongest_pairs(
    matrix: &Csr,
    keep: usize,
    strength: impl Fn(u32, u32, f32) -> f32 + Sync,
    weigh: impl Fn(Weigh<'_>) + Sync,
) -> Vec<Vec<(u32, f32)>> {
    let additions: f64 = (0..matrix.rows()).map(|user| (matrix.row_len(user) as f64).powi(2)).sum();
    if (matrix.columns() as f64).powi(2) <= additions {
        count_once(matrix, keep, weigh)
    } else {
        strongest_partners(matrix, &matrix.transposed(), keep, strength)
    }
}

/// The same whatever the matrix.
fn count_once(matrix: &Csr, keep: usize, weigh: impl Fn(Weigh<'_>) + Sync) -> Vec<Vec<(u32, f32)>> {
    let items = matrix.columns();
    let (by_item, places) = matrix.transposed_with_places();
    let pairs = Pairs { matrix, by_item: &by_item, places: &places };
    let partners = Partners::new(items, keep);
    let is_binary = matrix.is_binary();
    (0..items).into_par_iter().with_max_len(ITEMS_AT_ONCE).for_each_init(
        || (Row::new(items, is_binary), partners.thresholds()),
        |(row, thresholds), item| {
            row.count(&pairs, item);
            row.keep(item, &weigh, &partners, thresholds);
        },
    );
    partners.finish()
}

/// Both directions of the matrix, and where each item stands in the histories of its users.
struct Pairs<'a> {
    matrix: &'a Csr,
    by_item: &'a Csr,
    places: &'a [u32],
}

impl<'a> Pairs<'a> {
    /// The items after `item` in the histories of its users, with the values of both.
    fn tails(&self, item: usize) -> impl Iterator<Item = (&'a [u32], &'a [f32], f32)> {
        let (users, weights) = self.by_item.row(item);
        let places = &self.places[self.by_item.place(item)];
        let tail = |user: u32, place: u32| {
            let (others, values) = self.matrix.row(user as usize);
            (&others[place as usize + 1..], &values[place as usize + 1..])
        };
        let ahead = users.iter().zip(places).skip(AHEAD).map(Some).chain(std::iter::repeat(None));
        users.iter().zip(places).zip(weights).zip(ahead).map(move |(((&user, &place), &weight), ahead)| {
            if let Some((&user, &place)) = ahead {
                let (others, _) = tail(user, place);
                prefetch(&others[..others.len().min(AHEAD_ITEMS)]);
            }
            let (others, values) = tail(user, place);
            (others, values, weight)
        })
    }
}

/// The sums of one item with every other.
struct Row {
    is_binary: bool,
    /// Of whole numbers if all values are 1, because those are faster to count; small ones fit the first cache.
    small: Vec<u16>,
    large: Vec<u32>,
    sums: Vec<f32>,
    for_item: [f32; CHUNK],
    for_others: [f32; CHUNK],
}

impl Row {
    fn new(items: usize, is_binary: bool) -> Self {
        let counts = if is_binary { items } else { 0 };
        Self {
            is_binary,
            small: vec![0; counts],
            large: vec![0; counts],
            sums: vec![0.0; items],
            for_item: [0.0; CHUNK],
            for_others: [0.0; CHUNK],
        }
    }

    /// Adds up the pairs of an item with the items after it.
    fn count(&mut self, pairs: &Pairs<'_>, item: usize) {
        if !self.is_binary {
            for (others, values, weight) in pairs.tails(item) {
                for (&other, value) in others.iter().zip(values) {
                    self.sums[other as usize] += weight * value;
                }
            }
        } else if pairs.by_item.row_len(item) <= usize::from(u16::MAX) {
            count_whole(pairs, item, &mut self.small, &mut self.sums);
        } else {
            count_whole(pairs, item, &mut self.large, &mut self.sums);
        }
    }

    /// Offers every pair of the item to both sides, and clears the row.
    fn keep(&mut self, item: usize, weigh: &impl Fn(Weigh<'_>), partners: &Partners, thresholds: &mut [f32]) {
        let mut start = item + 1;
        while start < self.sums.len() {
            let others = start..(start + CHUNK).min(self.sums.len());
            let (for_item, for_others) = (&mut self.for_item[..others.len()], &mut self.for_others[..others.len()]);
            let sums = &self.sums[others.clone()];
            weigh(Weigh { item: item as u32, others: others.clone(), sums, for_item, for_others });
            for from in (0..others.len()).step_by(LANES) {
                let lanes = from..(from + LANES).min(others.len());
                let own = thresholds[item];
                let (to_item, to_others) = (&for_item[lanes.clone()], &for_others[lanes.clone()]);
                let theirs = &thresholds[start + lanes.start..start + lanes.end];
                let is_any = to_item.iter().fold(false, |any, strength| any | (*strength >= own))
                    | to_others.iter().zip(theirs).fold(false, |any, (strength, least)| any | (strength >= least));
                if is_any {
                    for lane in lanes {
                        let other = start + lane;
                        partners.offer(item, (other as u32, for_item[lane]), thresholds);
                        partners.offer(other, (item as u32, for_others[lane]), thresholds);
                    }
                }
            }
            start = others.end;
        }
        self.sums[item + 1..].fill(0.0);
    }
}

/// Counts the pairs of an item with the items after it, and leaves the counts zero.
fn count_whole<T>(pairs: &Pairs<'_>, item: usize, counts: &mut [T], sums: &mut [f32])
where
    T: Copy + Default + From<u8> + Into<u32> + AddAssign,
{
    let one = T::from(1);
    for (others, _, _) in pairs.tails(item) {
        others.iter().for_each(|&other| counts[other as usize] += one);
    }
    for (count, sum) in counts.iter_mut().zip(sums).skip(item + 1) {
        let whole: u32 = std::mem::take(count).into();
        *sum = whole as f32;
    }
}

/// The best partners so far of every item.
struct Partners {
    keep: usize,
    kept: Vec<Mutex<Vec<(u32, f32)>>>,
    /// Bits of the strength below which a partner is not kept; it only rises.
    least: Vec<AtomicU32>,
}

impl Partners {
    fn new(items: usize, keep: usize) -> Self {
        // The smallest number above zero: what is not above zero does not reach it.
        let least = (0..items).map(|_| AtomicU32::new(1)).collect();
        Self { keep, kept: (0..items).map(|_| Mutex::default()).collect(), least }
    }

    /// A copy for one thread, which may fall behind: then partners are offered that are not kept.
    fn thresholds(&self) -> Vec<f32> {
        self.least.iter().map(|bits| f32::from_bits(bits.load(Ordering::Relaxed))).collect()
    }

    fn offer(&self, target: usize, partner: (u32, f32), thresholds: &mut [f32]) {
        let reaches = |least: f32| partner.1 >= least;
        if !reaches(thresholds[target]) {
            return;
        }
        // What is kept is whole at every moment, so a panic elsewhere does not spoil it.
        let mut kept = self.kept[target].lock().unwrap_or_else(PoisonError::into_inner);
        let least = f32::from_bits(self.least[target].load(Ordering::Relaxed));
        thresholds[target] = least;
        if !reaches(least) {
            return;
        }
        kept.push(partner);
        if kept.len() >= 2 * self.keep {
            let (_, worst, _) = kept.select_nth_unstable_by(self.keep - 1, |left, right| by_rank(*left, *right));
            let least = worst.1;
            kept.truncate(self.keep);
            self.least[target].store(least.to_bits(), Ordering::Relaxed);
            thresholds[target] = least;
        }
    }

    fn finish(self) -> Vec<Vec<(u32, f32)>> {
        let keep = self.keep;
        let rows = self.kept.into_par_iter().map(|kept| kept.into_inner().unwrap_or_else(PoisonError::into_inner));
        rows.map(|mut kept| {
            keep_best(&mut kept, keep);
            kept.shrink_to_fit();
            kept
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Users of lengths up to a third of the items, who prefer small ordinals; values 1, or anything.
    fn matrix(users: usize, items: usize, is_binary: bool) -> Csr {
        let mut random = Random::new(43, (users * items) as u64);
        Csr::from_rows(
            items,
            (0..users).map(|_| {
                let length = random.below(items / 3 + 2);
                let mut taken: Vec<u32> =
                    (0..length).map(|_| random.below(1 + random.clone().below(items)) as u32).collect();
                taken.sort_unstable();
                taken.dedup();
                let value = |_| if is_binary { 1.0 } else { 0.1 + random.below(50) as f32 };
                taken.iter().copied().zip((0..taken.len()).map(value).collect::<Vec<_>>()).collect::<Vec<_>>()
            }),
        )
    }

    #[test]
    fn counting_once_gives_the_partners_of_counting_from_both_sides_bit_for_bit() {
        for (users, items) in [(1, 1), (30, 2), (200, 33), (100, 700)] {
            for is_binary in [true, false] {
                let matrix = matrix(users, items, is_binary);
                // Not the same from both sides, and none for some.
                let strength = |target: u32, item: u32, sum: f32| {
                    sum / (1.0 + (target % 7) as f32) - if item.is_multiple_of(5) { 2.0 } else { 0.0 }
                };
                for keep in [1, 3, 50] {
                    let expected = strongest_partners(&matrix, &matrix.transposed(), keep, strength);
                    for threads in [1, 3] {
                        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                        let found = pool.install(|| count_once(&matrix, keep, |pairs| pairs.each(strength)));
                        assert_eq!(found, expected, "{users} × {items}, the best {keep}");
                    }
                }
            }
        }
    }

    #[test]
    fn counts_beyond_16_bits_are_counted() {
        let matrix = Csr::from_rows(2, (0..70_000).map(|_| [(0, 1.0), (1, 1.0)]));
        let partners = count_once(&matrix, 1, |pairs| pairs.each(|_, _, sum| sum));
        assert_eq!(partners, [[(1, 70_000.0)], [(0, 70_000.0)]]);
    }
}
