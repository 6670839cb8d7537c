//! The best k items of a factor model without a score for every item, and still exactly the list that all scores give.
//!
//! In: factors of items, a user's factor, the set of items that may be shown.  Out: ordinals and scores, best first.
//! A copy of the factors in bytes is scanned; its score lies within a proven distance of the true one. Whoever can still be
//! among the best k by that distance is scored again from the factors themselves, so nothing is approximate in the end.
//! Never here: user factors (see `models`), what an item is hidden for, anything that is stored.
//! Start at [`FactorIndex::best`].

use crate::ItemSet;
use crate::kernels::bytes::{ByteScan, Query, WORD};
use crate::linalg::dot;
use crate::top_k::Best;

/// Below this share of items that may be shown, their factors are read one by one instead: fewer bytes than the scan.
const GATHER_BELOW: f64 = 0.05;

/// More factors than this overflow the 24 bits in which f32 holds the integer products exactly: 1,024 · 127² < 2²⁴.
const MAX_FACTORS: usize = 1_024;

/// Magnitudes between which no product of two factors leaves the range of f32.
const MAX_MAGNITUDE: f32 = 1e15;
const MIN_ITEM_MAGNITUDE: f32 = 1e-10;
const MIN_QUERY_MAGNITUDE: f32 = 1e-20;

/// The largest integer of a quantised factor.
const LEVELS: f32 = 127.0;

/// Rounding of one f32 operation, relative.
const EPSILON: f64 = f32::EPSILON as f64 / 2.0;

/// The item side of a factor model: score_j = w·h_j + b_j.
#[derive(Debug, Clone, Copy)]
pub struct FactorRows<'a> {
    d: usize,
    rows: &'a [f32],
    biases: &'a [f32],
}

impl<'a> FactorRows<'a> {
    /// `rows` is items × d, row-major; `biases` one per item, or none.
    pub fn new(d: usize, rows: &'a [f32], biases: &'a [f32]) -> Self {
        Self { d, rows, biases }
    }

    /// Number of items.
    pub fn items(&self) -> usize {
        self.rows.len() / self.d.max(1)
    }

    /// The score of one item for a user's factor.
    fn score(&self, query: &[f32], item: u32) -> f32 {
        let product = dot(query, &self.rows[item as usize * self.d..(item as usize + 1) * self.d]);
        self.biases.get(item as usize).map_or(product, |bias| product + bias)
    }

    /// One score per item.
    pub(crate) fn scores(&self, query: &[f32]) -> Vec<f32> {
        (0..self.items() as u32).map(|item| self.score(query, item)).collect()
    }

    /// The best `k` of the items of a set, from the factors alone; scores that are not numbers are left out.
    ///
    /// Cost: d multiply-adds and a read of the factors for each item of the set.
    pub fn best(&self, query: &[f32], k: usize, allowed: &ItemSet) -> Vec<(u32, f32)> {
        let mut best = Best::new(k);
        for item in allowed.iter() {
            let entry = (item, self.score(query, item));
            if best.would_take(entry) {
                best.take(entry);
            }
        }
        best.finish()
    }
}

/// Factors in bytes, a scale for each item, and how far the bytes are from the factors. One quarter of their size.
#[derive(Debug, Clone)]
pub struct FactorIndex {
    scan: ByteScan,
    /// For each 64 items: the largest ‖h − s·q‖ / s and the largest ‖q‖, where s·q stands for h.
    errors: Vec<WordError>,
    largest_bias: f32,
}

#[derive(Debug, Clone, Copy, Default)]
struct WordError {
    rounding: f64,
    length: f64,
}

impl FactorIndex {
    /// `None` if a factor is not a number or of a size that f32 cannot square: such a model is scored item by item.
    pub fn new(rows: FactorRows<'_>) -> Option<Self> {
        let fits = |value: &f32| value.abs() <= MAX_MAGNITUDE;
        if rows.d == 0 || rows.d > MAX_FACTORS || !rows.rows.iter().chain(rows.biases).all(fits) {
            return None;
        }
        let mut scan = ByteScan::new(rows.items(), rows.d, rows.biases);
        let mut errors = vec![WordError::default(); rows.items().div_ceil(WORD)];
        let mut levels = vec![0i8; rows.d];
        for (item, factor) in rows.rows.chunks_exact(rows.d).enumerate() {
            let largest = factor.iter().fold(0f32, |largest, value| largest.max(value.abs()));
            // Without scale the score is zero, as it is for a factor of zeros.
            let scale = if largest > 0.0 { largest.max(MIN_ITEM_MAGNITUDE) / LEVELS } else { 0.0 };
            let (rounding, length) = quantise(factor, scale, &mut levels);
            scan.set(item, scale, &levels);
            let error = &mut errors[item / WORD];
            if scale > 0.0 {
                error.rounding = error.rounding.max(rounding / f64::from(scale));
            }
            error.length = error.length.max(length);
        }
        let largest_bias = rows.biases.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        Some(Self { scan, errors, largest_bias })
    }

    /// Exactly [`FactorRows::best`] of the same rows, read from memory only where it can matter.
    ///
    /// Cost: a read of d bytes for each item of a word of 64 that holds one of the set; about 2k scores.
    pub fn best(&self, rows: FactorRows<'_>, query: &[f32], k: usize, allowed: &ItemSet) -> Vec<(u32, f32)> {
        self.best_of_each(rows, &[(query, allowed, k)]).pop().unwrap_or_default()
    }

    /// [`Self::best`] for several queries, each with its set of items and its k; the bytes of an item are read once for all.
    pub fn best_of_each(&self, rows: FactorRows<'_>, queries: &[(&[f32], &ItemSet, usize)]) -> Vec<Vec<(u32, f32)>> {
        let mut searches: Vec<Option<Search<'_>>> =
            queries.iter().map(|(query, allowed, k)| self.search(rows, query, *k, allowed)).collect();
        for word in 0..self.errors.len() {
            for search in searches.iter_mut().flatten() {
                search.scan(self, word);
            }
        }
        let answer = |(&(query, allowed, k), search): (&(&[f32], &ItemSet, usize), Option<Search<'_>>)| match search {
            Some(search) => search.finish(rows, query, k),
            None => rows.best(query, k, allowed),
        };
        queries.iter().zip(searches).map(answer).collect()
    }

    /// `None` where the factors themselves are the better way, or the only one.
    fn search<'a>(&self, rows: FactorRows<'_>, query: &[f32], k: usize, allowed: &'a ItemSet) -> Option<Search<'a>> {
        let largest = query.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let fits = (MIN_QUERY_MAGNITUDE..=MAX_MAGNITUDE).contains(&largest) && query.iter().all(|v| v.is_finite());
        let is_selective = (allowed.len() as f64) < GATHER_BELOW * rows.items() as f64;
        if k == 0 || !fits || is_selective || rows.items() <= k {
            return None;
        }
        let scale = largest / LEVELS;
        let mut levels = vec![0i8; rows.d];
        let (rounding, _) = quantise(query, scale, &mut levels);
        let norm = query.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        Some(Search {
            error: QueryError { d: rows.d, norm, rounding },
            bytes: Query::new(&levels, scale),
            scale,
            allowed: allowed.words(),
            candidates: Candidates::new(k, self.largest_bias * 16.0 * f32::EPSILON),
        })
    }
}

/// One query on its way through the items.
struct Search<'a> {
    error: QueryError,
    bytes: Query,
    scale: f32,
    allowed: &'a [u64],
    candidates: Candidates,
}

impl Search<'_> {
    /// Takes the items of a word that can still be among the best.
    fn scan(&mut self, index: &FactorIndex, word: usize) {
        let bits = self.allowed[word];
        if bits == 0 {
            return;
        }
        let error = self.error.within(index.errors[word]);
        let mut products = [0i32; WORD];
        let mut left = bits & index.scan.reaching(word, &self.bytes, error, self.candidates.threshold, &mut products);
        while left != 0 {
            let place = left.trailing_zeros() as usize;
            left &= left - 1;
            let item = word * WORD + place;
            let (low, high) = index.scan.bounds(item, products[place], self.scale, error);
            self.candidates.push(item as u32, low, high);
        }
    }

    /// Scores the candidates from the factors.
    fn finish(self, rows: FactorRows<'_>, query: &[f32], k: usize) -> Vec<(u32, f32)> {
        let mut best = Best::new(k);
        for item in self.candidates.finish() {
            let entry = (item, rows.score(query, item));
            if best.would_take(entry) {
                best.take(entry);
            }
        }
        best.finish()
    }
}

/// What a query adds to the distance between the scores from bytes and from factors.
struct QueryError {
    d: usize,
    norm: f64,
    rounding: f64,
}

impl QueryError {
    /// A bound on |w·h − s·t·(p·q)| / s for the items of a word, where s·q stands for h and t·p for w.
    ///
    /// w·h − s·t·(p·q) = w·(h − s·q) + (w − t·p)·s·q, and Cauchy–Schwarz bounds both. On top of it come the roundings of
    /// f32: at most d + 32 in the score itself, relative to ‖w‖·‖h‖, and fewer than 8 in the bounds.
    fn within(&self, word: WordError) -> f32 {
        let exact = self.norm * word.rounding + self.rounding * word.length;
        let of_score = (self.d + 32) as f64 * self.norm * (word.length + word.rounding);
        let of_bounds = 8.0 * ((self.norm + self.rounding) * word.length + exact);
        ((exact + EPSILON * (of_score + of_bounds)) * (1.0 + 4.0 * EPSILON)) as f32
    }
}

/// Rounds values / scale to integers. Returns the length of what is lost, and the length of the integers.
fn quantise(values: &[f32], scale: f32, levels: &mut [i8]) -> (f64, f64) {
    let (mut lost, mut length) = (0f64, 0f64);
    for (value, level) in values.iter().zip(levels) {
        let rounded = if scale > 0.0 { (value / scale).round().clamp(-LEVELS, LEVELS) } else { 0.0 };
        *level = rounded as i8;
        lost += (f64::from(*value) - f64::from(scale) * f64::from(rounded)).powi(2);
        length += f64::from(rounded).powi(2);
    }
    (lost.sqrt(), length.sqrt())
}

/// Items that may be among the best k, by the bounds of their scores.
struct Candidates {
    k: usize,
    limit: usize,
    /// Item, lower and upper bound of the score.
    kept: Vec<(u32, f32, f32)>,
    /// k items are sure to score at least as much: whoever cannot reach it is out.
    threshold: f32,
    /// Rounding where biases are added.
    slack: f32,
}

impl Candidates {
    fn new(k: usize, slack: f32) -> Self {
        let limit = k.saturating_mul(4).max(64);
        Self { k, limit, kept: Vec::with_capacity(limit.min(1 << 16)), threshold: f32::NEG_INFINITY, slack }
    }

    fn push(&mut self, item: u32, low: f32, high: f32) {
        self.kept.push((item, low, high));
        if self.kept.len() >= self.limit {
            self.prune();
            // Where bounds overlap too much to tell k items from 2k, more are kept.
            self.limit = self.limit.max(2 * self.kept.len());
        }
    }

    /// Raises the threshold to the k-th lower bound.
    fn prune(&mut self) {
        if self.kept.len() < self.k {
            return;
        }
        let (_, kth, _) = self.kept.select_nth_unstable_by(self.k - 1, |left, right| right.1.total_cmp(&left.1));
        self.threshold = kth.1 - self.slack;
        self.kept.retain(|(_, _, high)| *high >= self.threshold);
    }

    fn finish(mut self) -> impl Iterator<Item = u32> {
        self.prune();
        self.kept.into_iter().map(|(item, _, _)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::top_k::top_k;

    /// Factors whose norms are skewed as those of trained models are; some are zero, some nearly.
    fn skewed(random: &mut Random, items: usize, d: usize) -> Vec<f32> {
        let mut rows = Vec::with_capacity(items * d);
        for item in 0..items {
            let norm = match item % 17 {
                3 => 0.0,
                5 => 1e-13,
                _ => 0.3 + 1.4 * random.normal().abs(),
            };
            rows.extend((0..d).map(|_| (norm * random.normal()) as f32));
        }
        rows
    }

    /// Small integers: many scores are equal, and ordinals decide.
    fn tied(random: &mut Random, items: usize, d: usize) -> Vec<f32> {
        (0..items * d).map(|_| random.below(3) as f32 - 1.0).collect()
    }

    /// Sets of every kind: all, none, runs that leave words empty, random ones down to a few items.
    fn sets(random: &mut Random, items: usize) -> Vec<ItemSet> {
        let mut sets = vec![ItemSet::full(items), ItemSet::new(items), ItemSet::of(items, |item| item / 70 % 3 == 0)];
        for share in [50, 90, 990, 998] {
            let kept: Vec<bool> = (0..items).map(|_| random.below(1_000) >= share).collect();
            sets.push(ItemSet::of(items, |item| kept[item]));
        }
        sets
    }

    #[track_caller]
    fn check(d: usize, rows: &[f32], biases: &[f32], query: &[f32], sets: &[ItemSet]) {
        let rows = FactorRows::new(d, rows, biases);
        let index = FactorIndex::new(rows).unwrap();
        let scores = rows.scores(query);
        for allowed in sets {
            for k in [0, 1, 10, 100, rows.items()] {
                let expected = top_k(&scores, k, |item| allowed.contains(item));
                let found = index.best(rows, query, k, allowed);
                assert_eq!(found, expected, "{} × {d}, the best {k} of {}", rows.items(), allowed.len());
                assert_eq!(rows.best(query, k, allowed), expected);
            }
        }
    }

    #[test]
    fn the_list_is_that_of_all_scores_whatever_may_be_shown() {
        let mut random = Random::new(23, 0);
        for (items, d) in [(1, 1), (63, 3), (64, 16), (130, 5), (2_000, 8), (3_000, 64), (1_111, 130)] {
            let sets = sets(&mut random, items);
            for round in 0..6 {
                let rows = if round % 2 == 0 { skewed(&mut random, items, d) } else { tied(&mut random, items, d) };
                let query = if round < 3 { skewed(&mut random, 1, d) } else { tied(&mut random, 1, d) };
                let biases: Vec<f32> = (0..items).map(|_| 3.0 * random.normal() as f32).collect();
                check(d, &rows, if round < 4 { &[] } else { &biases }, &query, &sets);
            }
        }
    }

    #[test]
    fn many_queries_at_once_get_the_lists_of_one_by_one() {
        let mut random = Random::new(37, 0);
        let (items, d) = (2_500, 24);
        let rows = skewed(&mut random, items, d);
        let rows = FactorRows::new(d, &rows, &[]);
        let index = FactorIndex::new(rows).unwrap();
        let sets = sets(&mut random, items);
        let queries = skewed(&mut random, 31, d);
        let queries: Vec<(&[f32], &ItemSet, usize)> =
            queries.chunks_exact(d).enumerate().map(|(at, query)| (query, &sets[at % sets.len()], at)).collect();
        let found = index.best_of_each(rows, &queries);
        let expected: Vec<_> = queries.iter().map(|(query, allowed, k)| rows.best(query, *k, allowed)).collect();
        assert_eq!(found, expected);
        assert!(index.best_of_each(rows, &[]).is_empty());
    }

    #[test]
    fn scores_that_differ_by_less_than_a_byte_can_tell_are_told_apart() {
        let mut random = Random::new(29, 0);
        let (items, d) = (1_500, 32);
        let base: Vec<f32> = (0..d).map(|_| random.normal() as f32).collect();
        let rows: Vec<f32> =
            (0..items).flat_map(|_| base.clone()).map(|value| value + 1e-6 * random.normal() as f32).collect();
        let sets = sets(&mut random, items);
        check(d, &rows, &[], &base, &sets);
        let large: Vec<f32> = (0..items).map(|item| 1e6 + (item % 7) as f32).collect();
        check(d, &rows, &large, &base, &sets);
    }

    #[test]
    fn queries_beyond_bytes_are_answered_from_the_factors() {
        let mut random = Random::new(31, 0);
        let (items, d) = (500, 8);
        let rows = skewed(&mut random, items, d);
        let sets = sets(&mut random, items);
        for value in [0.0, 1e-30, 1e-18, 1e14, 1e18, f32::NAN, f32::INFINITY] {
            let mut query = skewed(&mut random, 1, d);
            query.fill(0.25 * value);
            query[3] = value;
            check(d, &rows, &[], &query, &sets);
        }
    }

    #[test]
    fn factors_that_are_no_numbers_have_no_index() {
        for value in [f32::NAN, f32::INFINITY, 1e20] {
            assert!(FactorIndex::new(FactorRows::new(2, &[1.0, 2.0, value, 0.0], &[])).is_none());
            assert!(FactorIndex::new(FactorRows::new(2, &[1.0, 2.0], &[value])).is_none());
        }
        assert!(FactorIndex::new(FactorRows::new(2_000, &[1.0; 2_000], &[])).is_none());
    }
}
