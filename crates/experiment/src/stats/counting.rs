//! Probabilities of counts, exact where the counts are small and without loss of digits where they are large.
//!
//! In: counts and probabilities that the caller has checked.  Out: probabilities and logarithms of them.
//! Differences of log-gamma functions lose digits when counts are in the millions; everything here is put together from
//! [`stirling_remainder`] and [`deviance`] instead, which are small numbers. Source: Loader, "Fast and accurate computation of
//! binomial probabilities", 2000.
//! Never here: tests and intervals (see `proportions`).
//! Start at [`binomial_mass`].

use super::special;

/// ln Γ(x) − [(x − ½) ln x − x + ½ ln 2π] for `x` > 0, i.e. what Stirling's formula leaves out.
///
/// Below 10, where the series is not exact yet, the recurrence Γ(x+1) = xΓ(x) leads up to it.
pub(crate) fn stirling_remainder(x: f64) -> f64 {
    let (mut x, mut below) = (x, 0.0);
    while x < 10.0 {
        below += (x + 0.5) * (1.0 / x).ln_1p() - 1.0;
        x += 1.0;
    }
    below + special::stirling_remainder(x)
}

/// x ln(x / mean) − x + mean: never negative, and exact where `x` is close to `mean`. At x = 0 it is `mean`.
pub(crate) fn deviance(x: f64, mean: f64) -> f64 {
    if x == 0.0 {
        return mean;
    }
    let relative = (x - mean) / mean;
    if relative.abs() < 0.1 {
        // (1+v) ln(1+v) − v = Σ (−v)^k / (k(k−1)), k ≥ 2.
        let (mut power, mut sum, mut k) = (relative * relative, 0.0, 2.0);
        loop {
            let term = power / (k * (k - 1.0));
            sum += term;
            if term.abs() <= f64::EPSILON * sum.abs() * 0.1 {
                return mean * sum;
            }
            power *= -relative;
            k += 1.0;
        }
    }
    x * (x / mean).ln() + mean - x
}

/// ½ ln 2πx plus the remainder: what is left of ln x! after x ln x − x. Zero for x = 0.
fn factorial_rest(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { stirling_remainder(x) + 0.5 * (std::f64::consts::TAU * x).ln() }
}

/// P(X = k) of a binomial with `n` trials and `p` in [0, 1]. Zero where k > n.
pub(crate) fn binomial_mass(k: u64, n: u64, p: f64) -> f64 {
    if k > n {
        return 0.0;
    }
    if p == 0.0 || p == 1.0 {
        let only = if p == 0.0 { 0 } else { n };
        return if k == only { 1.0 } else { 0.0 };
    }
    let (hits, misses, trials) = (k as f64, (n - k) as f64, n as f64);
    let rest = factorial_rest(trials) - factorial_rest(hits) - factorial_rest(misses);
    (rest - deviance(hits, trials * p) - deviance(misses, trials * (1.0 - p))).exp()
}

/// P(X = k) where `draws` are taken from `total` of which `marked` count. Zero outside the possible.
pub(crate) fn hypergeometric_mass(k: u64, total: u64, marked: u64, draws: u64) -> f64 {
    if k > draws || k > marked || draws - k > total - marked {
        return 0.0;
    }
    if draws == 0 || draws == total {
        return 1.0;
    }
    // The three binomials share any p; with p = draws / total none of them underflows.
    let p = draws as f64 / total as f64;
    binomial_mass(k, marked, p) * binomial_mass(draws - k, total - marked, p) / binomial_mass(draws, total, p)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64, relative: f64) {
        assert!((found - expected).abs() <= relative * expected.abs(), "{found} is not {expected}");
    }

    #[test]
    fn masses_are_those_counted_by_hand() {
        close(binomial_mass(3, 10, 0.5), 120.0 / 1024.0, 1e-14);
        close(binomial_mass(0, 4, 0.25), 0.75f64.powi(4), 1e-14);
        close(binomial_mass(4, 4, 0.25), 0.25f64.powi(4), 1e-14);
        // Tea-tasting lady: 4 of 8 cups, 3 right: 16 of 70.
        close(hypergeometric_mass(3, 8, 4, 4), 16.0 / 70.0, 1e-14);
        assert_eq!((binomial_mass(5, 4, 0.5), binomial_mass(0, 4, 0.0), binomial_mass(1, 4, 0.0)), (0.0, 1.0, 0.0));
    }

    #[test]
    fn masses_of_many_trials_add_up_to_one() {
        for (n, p) in [(10u64, 0.3), (1_000, 0.4), (100_000, 0.5)] {
            close((0..=n).map(|k| binomial_mass(k, n, p)).sum(), 1.0, 1e-12);
        }
    }

    #[test]
    fn stirling_leaves_what_the_gamma_function_has_more() {
        // ln Γ(1) = ln Γ(2) = 0, ln Γ(½) = ½ ln π.
        let half_log_tau = 0.5 * std::f64::consts::TAU.ln();
        close(stirling_remainder(1.0), 1.0 - half_log_tau, 1e-13);
        close(stirling_remainder(0.5), 0.5 * std::f64::consts::PI.ln() + 0.5 - half_log_tau, 1e-13);
    }
}
