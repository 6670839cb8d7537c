//! How likely a difference as large as the measured one is by chance, when two recommenders are equally good.
//!
//! In: one row of values per user, a column per recommender.  Out: two-sided p values, raw and adjusted for the number of pairs.
//! Under equality each user's difference is as likely with either sign (Fisher 1935): signs are drawn anew, many times, and
//! p = (1 + draws at least as far from zero) / (1 + draws) (Phipson & Smyth 2010). Several pairs: Holm (1979).
//! Never here: how large a difference is (see `bootstrap`).
//! Start at [`sign_flip`].

use rayon::prelude::*;

use crate::random::Random;

/// The least p is 1 / 10,000: small enough for the 45 pairs of ten recommenders.
pub(crate) const DRAWS: usize = 9_999;

/// Apart from the streams of the bootstrap, which count from 0 to the number of resamples.
const STREAMS_FROM: u64 = 1 << 40;

/// Sums in another order differ by rounding; closer than this share of the summed sizes counts as equal.
const ROUNDING: f64 = 1e-12;

/// One p value per pair of columns. `rows` is users × columns, row-major; without users every p is 1.
///
/// A draw's signs are the same for all columns, so that the sum of a difference is the difference of two sums.
/// Each draw has its own stream of randomness, so threads change nothing.
/// Cost: draws · users · columns additions, whatever the number of pairs.
pub(crate) fn sign_flip(rows: &[f64], columns: usize, pairs: &[(usize, usize)], draws: usize, seed: u64) -> Vec<f64> {
    let users = || rows.chunks_exact(columns.max(1));
    let measured: Vec<(f64, f64)> = pairs
        .iter()
        .map(|&(one, other)| {
            let differences = users().map(|row| row[one] - row[other]);
            let (sum, size) = differences.fold((0.0, 0.0), |(sum, size), d| (sum + d, size + d.abs()));
            (f64::abs(sum), ROUNDING * size)
        })
        .collect();
    let as_far = (0..draws)
        .into_par_iter()
        .map(|draw| {
            let sums = signed_sums(rows, columns, &mut Random::new(seed, STREAMS_FROM + draw as u64));
            let is_as_far = |(&(one, other), &(sum, rounding)): (&(usize, usize), &(f64, f64))| {
                usize::from((sums[one] - sums[other]).abs() >= sum - rounding)
            };
            pairs.iter().zip(&measured).map(is_as_far).collect::<Vec<usize>>()
        })
        .reduce(|| vec![0; pairs.len()], |one, other| one.iter().zip(&other).map(|(one, other)| one + other).collect());
    as_far.into_iter().map(|count| (count + 1) as f64 / (draws + 1) as f64).collect()
}

/// The sum of each column with the sign of each row drawn by lot.
fn signed_sums(rows: &[f64], columns: usize, random: &mut Random) -> Vec<f64> {
    let mut sums = vec![0f64; columns];
    for users in rows.chunks(64 * columns.max(1)) {
        let mut signs = random.next_u64();
        for row in users.chunks_exact(columns) {
            let sign = if signs & 1 == 0 { 1.0 } else { -1.0 };
            signs >>= 1;
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += sign * value);
        }
    }
    sums
}

/// Holm's step-down: the chance that any of the pairs below a threshold is there by chance stays below it.
pub(crate) fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|one, other| p[*one].total_cmp(&p[*other]));
    let mut adjusted = vec![1.0; p.len()];
    let mut least = 0.0f64;
    for (rank, place) in order.into_iter().enumerate() {
        least = least.max((p.len() - rank) as f64 * p[place]).min(1.0);
        adjusted[place] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two columns whose difference is `differences`.
    fn columns(differences: &[f64]) -> Vec<f64> {
        differences.iter().flat_map(|difference| [0.3 + difference, 0.3]).collect()
    }

    /// Every combination of signs.
    fn exact(differences: &[f64]) -> f64 {
        let measured = differences.iter().sum::<f64>().abs();
        let all = 1u32 << differences.len();
        let as_far = (0..all).filter(|signs| {
            let signed = differences.iter().enumerate().map(|(place, d)| if signs >> place & 1 == 0 { *d } else { -d });
            signed.sum::<f64>().abs() >= measured - 1e-9
        });
        as_far.count() as f64 / f64::from(all)
    }

    #[test]
    fn p_agrees_with_every_combination_of_signs() {
        let samples: [&[f64]; 4] = [
            &[0.1, 0.2, -0.1, 0.4, 0.3, 0.05, 0.2, -0.02],
            &[0.1, 0.1, 0.1, 0.1, 0.1, 0.1, -0.1, 0.1, 0.1, 0.1],
            &[0.5, -0.5, 0.2, -0.2, 0.0],
            &[0.3],
        ];
        for differences in samples {
            let p = sign_flip(&columns(differences), 2, &[(0, 1)], 40_000, 7)[0];
            let exact = exact(differences);
            // Four standard errors of a share of 40,000 draws, and the 1 that is added to both.
            let margin = 4.0 * (exact * (1.0 - exact) / 40_000.0).sqrt() + 1e-4;
            assert!((p - exact).abs() <= margin, "{differences:?}: {p} against {exact}");
        }
    }

    #[test]
    fn without_a_difference_p_is_uniform() {
        // Kolmogorov–Smirnov: the largest gap is below 1.63 / √n with probability .99.
        let trials = 400;
        let mut p: Vec<f64> = (0..trials)
            .map(|trial| {
                let mut random = Random::new(11, trial);
                let rows: Vec<f64> = (0..2 * 40).map(|_| random.normal()).collect();
                sign_flip(&rows, 2, &[(0, 1)], 499, trial)[0]
            })
            .collect();
        p.sort_unstable_by(f64::total_cmp);
        let gap = p.iter().enumerate().map(|(place, p)| (p - (place as f64 + 0.5) / trials as f64).abs());
        let largest = gap.fold(0.0, f64::max);
        assert!(largest < 1.63 / (trials as f64).sqrt(), "{largest}");
    }

    #[test]
    fn equal_columns_have_p_one_and_threads_change_nothing() {
        let mut random = Random::new(2, 0);
        let rows: Vec<f64> =
            (0..150).flat_map(|_| [random.normal(), random.normal()]).flat_map(|x| [x, x + 0.1]).collect();
        let pairs = [(0, 1), (0, 2), (1, 2), (2, 3)];
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| sign_flip(&rows, 4, &pairs, 999, 5))
        };
        assert_eq!(run(1), run(3));
        assert_eq!(run(1)[0], 0.001, "a difference that every user has");
        assert_eq!(sign_flip(&[0.25; 40], 2, &[(0, 1)], 99, 1), [1.0]);
        assert_eq!(sign_flip(&[], 2, &[(0, 1)], 99, 1), [1.0]);
    }

    #[test]
    fn holm_multiplies_by_what_is_left_and_never_falls() {
        // Sorted .01, .02, .03, .5: ×4, ×3, ×2, ×1 = .04, .06, .06, .5.
        let adjusted = holm(&[0.02, 0.5, 0.01, 0.03]);
        let expected = [0.06, 0.5, 0.04, 0.06];
        assert!(adjusted.iter().zip(expected).all(|(got, want)| (got - want).abs() < 1e-12), "{adjusted:?}");
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }
}
