//! Inner products of bytes, 64 items at once: which of them reach a threshold.
//!
//! In: items in bytes with a scale each, a query in bytes.  Out: a bit for each of 64 items, and the integer products.
//! All twins (AVX-512 with VNNI, AVX2, plain loops) give the same bits: integers are exact, and the few operations on `f32`
//! are the same. Which one runs is found out at run time.
//! Never here: what the bounds mean (see `retrieval`).
//! Start at [`ByteScan::reaching`].

/// Items that are scanned at once: a word of an item set.
pub(crate) const WORD: usize = 64;

/// Factors that one instruction multiplies and adds up for one item.
const GROUP: usize = 4;

/// Bytes are stored with this offset: the instruction takes the items unsigned.
const OFFSET: i32 = 128;

/// Items in bytes. Words of 64 items lie one after the other; in a word, groups of four factors; in a group, items.
#[derive(Debug, Clone)]
pub(crate) struct ByteScan {
    groups: usize,
    bytes: Vec<u8>,
    /// One for each item, filled up with zeros to whole words; biases are empty if there are none.
    scales: Vec<f32>,
    biases: Vec<f32>,
    twin: Twin,
}

/// A query in bytes, four to a word, and what they are to be multiplied by.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    groups: Vec<i32>,
    sum: i32,
    scale: f32,
}

impl Query {
    pub(crate) fn new(levels: &[i8], scale: f32) -> Self {
        let group = |levels: &[i8]| {
            let mut bytes = [0u8; GROUP];
            bytes.iter_mut().zip(levels).for_each(|(byte, level)| *byte = *level as u8);
            i32::from_le_bytes(bytes)
        };
        let sum = levels.iter().map(|level| i32::from(*level)).sum();
        Self { groups: levels.chunks(GROUP).map(group).collect(), sum, scale }
    }
}

/// How the products are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Twin {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Plain,
}

impl Twin {
    /// The twins that this processor can run, fastest first.
    fn available() -> Vec<Self> {
        let mut twins = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if pulp::x86::V4::try_new().is_some() && std::arch::is_x86_feature_detected!("avx512vnni") {
                twins.push(Self::Avx512);
            }
            if pulp::x86::V3::try_new().is_some() {
                twins.push(Self::Avx2);
            }
        }
        twins.push(Self::Plain);
        twins
    }
}

/// What one word is measured by.
#[derive(Clone, Copy)]
struct Word<'a> {
    bytes: &'a [u8],
    scales: &'a [f32; WORD],
    /// Absent for most models.
    biases: Option<&'a [f32; WORD]>,
    query: &'a Query,
    error: f32,
    threshold: f32,
}

impl ByteScan {
    /// Zero everywhere, until items are set.
    pub(crate) fn new(items: usize, d: usize, biases: &[f32]) -> Self {
        let (words, groups) = (items.div_ceil(WORD), d.div_ceil(GROUP));
        let mut biases = biases.to_vec();
        if !biases.is_empty() {
            biases.resize(words * WORD, 0.0);
        }
        let bytes = vec![OFFSET as u8; words * groups * WORD * GROUP];
        let twin = Twin::available()[0];
        Self { groups, bytes, scales: vec![0.0; words * WORD], biases, twin }
    }

    /// Levels from −127 to 127.
    pub(crate) fn set(&mut self, item: usize, scale: f32, levels: &[i8]) {
        self.scales[item] = scale;
        let (word, place) = (item / WORD, item % WORD);
        for (number, group) in levels.chunks(GROUP).enumerate() {
            let start = ((word * self.groups + number) * WORD + place) * GROUP;
            for (byte, level) in self.bytes[start..].iter_mut().zip(group) {
                *byte = (i32::from(*level) + OFFSET) as u8;
            }
        }
    }

    /// The bits of the items of a word whose score can reach the threshold: scale · (product · query's scale + error) + bias.
    ///
    /// `products` receives the integer product of each of the 64 items, whether it reaches or not.
    pub(crate) fn reaching(
        &self,
        word: usize,
        query: &Query,
        error: f32,
        threshold: f32,
        products: &mut [i32; WORD],
    ) -> u64 {
        let width = self.groups * WORD * GROUP;
        let part = |values: &'_ [f32]| values.get(word * WORD..).and_then(|rest| rest.first_chunk::<WORD>().copied());
        let Some(scales) = part(&self.scales) else {
            return 0;
        };
        let biases = part(&self.biases);
        let bytes = &self.bytes[word * width..(word + 1) * width];
        let word = Word { bytes, scales: &scales, biases: biases.as_ref(), query, error, threshold };
        run(self.twin, word, products)
    }

    /// The least and the largest score that an item with this product can have.
    pub(crate) fn bounds(&self, item: usize, product: i32, query_scale: f32, error: f32) -> (f32, f32) {
        let (middle, scale) = (product as f32 * query_scale, self.scales[item]);
        let bias = self.biases.get(item).copied().unwrap_or(0.0);
        (scale * (middle - error) + bias, scale * (middle + error) + bias)
    }
}

#[cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "a function for one instruction set is called after the processor was asked")
)]
fn run(twin: Twin, word: Word<'_>, products: &mut [i32; WORD]) -> u64 {
    match twin {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Twin::available` names it only where the processor has AVX-512 F, BW, VL and VNNI.
        Twin::Avx512 => unsafe { x86::reaching_avx512(word, products) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Twin::available` names it only where the processor has AVX2.
        Twin::Avx2 => unsafe { x86::reaching_avx2(word, products) },
        Twin::Plain => reaching_plain(word, products),
    }
}

fn reaching_plain(word: Word<'_>, products: &mut [i32; WORD]) -> u64 {
    products.fill(0);
    for (bytes, query) in word.bytes.chunks_exact(WORD * GROUP).zip(&word.query.groups) {
        let levels = query.to_le_bytes().map(|byte| i32::from(byte as i8));
        for (product, bytes) in products.iter_mut().zip(bytes.chunks_exact(GROUP)) {
            *product += bytes.iter().zip(levels).map(|(byte, level)| (i32::from(*byte) - OFFSET) * level).sum::<i32>();
        }
    }
    let mut bits = 0;
    for (place, (product, scale)) in products.iter().zip(word.scales).enumerate() {
        let score = scale * (*product as f32 * word.query.scale + word.error);
        let score = word.biases.map_or(score, |biases| score + biases[place]);
        bits |= u64::from(score >= word.threshold) << place;
    }
    bits
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{GROUP, OFFSET, WORD, Word};

    /// Vectors of 16 items in a word.
    const WIDE: usize = 4;
    /// Vectors of 8 items in a word.
    const NARROW: usize = 8;

    /// One instruction for four factors of 16 items. Σ (q + 128)·p is too much by 128·Σ p: the sums begin below zero.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn reaching_avx512(word: Word<'_>, products: &mut [i32; WORD]) -> u64 {
        let mut sums = [_mm512_set1_epi32(-OFFSET * word.query.sum); WIDE];
        for (bytes, query) in word.bytes.chunks_exact(WORD * GROUP).zip(&word.query.groups) {
            let query = _mm512_set1_epi32(*query);
            for (sum, bytes) in sums.iter_mut().zip(bytes.as_chunks::<64>().0) {
                *sum = _mm512_dpbusd_epi32(*sum, pulp::cast(*bytes), query);
            }
        }
        let (scale, error) = (_mm512_set1_ps(word.query.scale), _mm512_set1_ps(word.error));
        let threshold = _mm512_set1_ps(word.threshold);
        let mut bits = 0;
        for (number, sum) in sums.iter().enumerate() {
            let at = number * 16;
            products[at..at + 16].copy_from_slice(&pulp::cast::<_, [i32; 16]>(*sum));
            let part = |values: &[f32; WORD]| -> __m512 {
                pulp::cast(*values[at..].first_chunk::<16>().unwrap_or(&[0.0; 16]))
            };
            let score = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(*sum), scale), error);
            let mut score = _mm512_mul_ps(part(word.scales), score);
            if let Some(biases) = word.biases {
                score = _mm512_add_ps(score, part(biases));
            }
            bits |= u64::from(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(score, threshold)) << at;
        }
        bits
    }

    /// |p| unsigned times q with the sign of p: 2·127² fits 16 bits, so no sum of two is cut off.
    #[target_feature(enable = "avx2")]
    pub(super) fn reaching_avx2(word: Word<'_>, products: &mut [i32; WORD]) -> u64 {
        let mut sums = [_mm256_setzero_si256(); NARROW];
        let (offset, ones) = (_mm256_set1_epi8(OFFSET as i8), _mm256_set1_epi16(1));
        for (bytes, query) in word.bytes.chunks_exact(WORD * GROUP).zip(&word.query.groups) {
            let query = _mm256_set1_epi32(*query);
            let absolute = _mm256_abs_epi8(query);
            for (sum, bytes) in sums.iter_mut().zip(bytes.as_chunks::<32>().0) {
                // Adding 128 to a byte and subtracting it are the same.
                let levels = _mm256_add_epi8(pulp::cast(*bytes), offset);
                let pairs = _mm256_maddubs_epi16(absolute, _mm256_sign_epi8(levels, query));
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
            }
        }
        let (scale, error) = (_mm256_set1_ps(word.query.scale), _mm256_set1_ps(word.error));
        let threshold = _mm256_set1_ps(word.threshold);
        let mut bits = 0;
        for (number, sum) in sums.iter().enumerate() {
            let at = number * 8;
            products[at..at + 8].copy_from_slice(&pulp::cast::<_, [i32; 8]>(*sum));
            let part =
                |values: &[f32; WORD]| -> __m256 { pulp::cast(*values[at..].first_chunk::<8>().unwrap_or(&[0.0; 8])) };
            let score = _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(*sum), scale), error);
            let mut score = _mm256_mul_ps(part(word.scales), score);
            if let Some(biases) = word.biases {
                score = _mm256_add_ps(score, part(biases));
            }
            let mask = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(score, threshold));
            bits |= (mask as u64) << at;
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn every_twin_gives_the_same_bits_and_the_true_products() {
        let mut random = Random::new(17, 0);
        for (items, d) in [(1, 1), (64, 4), (65, 7), (200, 64), (130, 129)] {
            for extreme in [false, true] {
                let mut level = || if extreme { [-127i8, 127][random.below(2)] } else { random.below(255) as i8 };
                let rows: Vec<Vec<i8>> = (0..items).map(|_| (0..d).map(|_| level().max(-127)).collect()).collect();
                let of_query: Vec<i8> = (0..d).map(|_| level().max(-127)).collect();
                let biases: Vec<f32> = if d % 2 == 0 { vec![] } else { (0..items).map(|item| item as f32).collect() };
                let mut scan = ByteScan::new(items, d, &biases);
                rows.iter().enumerate().for_each(|(item, row)| scan.set(item, 0.5 + item as f32 / 64.0, row));
                let query = Query::new(&of_query, 0.01);
                for word in 0..items.div_ceil(WORD) {
                    let outputs = Twin::available().into_iter().map(|twin| {
                        let mut products = [0; WORD];
                        let with = ByteScan { twin, ..scan.clone() };
                        (with.reaching(word, &query, 0.25, 1.0, &mut products), products)
                    });
                    let outputs: Vec<_> = outputs.collect();
                    assert!(outputs.iter().all(|output| *output == outputs[0]), "{items} × {d}, word {word}");
                    for (row, product) in rows[word * WORD..].iter().zip(outputs[0].1) {
                        let expected: i32 = row.iter().zip(&of_query).map(|(q, p)| i32::from(*q) * i32::from(*p)).sum();
                        assert_eq!(product, expected);
                    }
                }
            }
        }
    }
}
