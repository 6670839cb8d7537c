//! Sums that stand for integrals: Gauss's rule on panels.
//!
//! In: an interval and a number of panels.  Out: points and weights.
//! Never here: what is integrated.
//! Start at [`panels`].

use std::sync::OnceLock;

/// Points of one panel. A smooth function that changes on the scale of the panel is integrated to about 1e-14.
const ORDER: usize = 16;

/// Points in ascending order, and the weight of each, that integrate over [`low`, `high`].
pub(crate) fn panels(low: f64, high: f64, count: usize) -> Vec<(f64, f64)> {
    let rule = rule();
    let half = (high - low) / (2 * count) as f64;
    let mut points = Vec::with_capacity(count * ORDER);
    for panel in 0..count {
        let center = low + (2 * panel + 1) as f64 * half;
        points.extend(rule.iter().map(|(x, weight)| (center + half * x, half * weight)));
    }
    points
}

/// The rule on [−1, 1]: roots of the Legendre polynomial by Newton's method, from the guess of Abramowitz & Stegun 22.16.6.
fn rule() -> &'static [(f64, f64); ORDER] {
    static RULE: OnceLock<[(f64, f64); ORDER]> = OnceLock::new();
    RULE.get_or_init(|| {
        let mut rule = [(0.0, 0.0); ORDER];
        for (place, point) in rule.iter_mut().enumerate() {
            let mut x = -(std::f64::consts::PI * (place as f64 + 0.75) / (ORDER as f64 + 0.5)).cos();
            let mut slope = 1.0;
            for _ in 0..8 {
                let (mut before, mut value) = (1.0, x);
                for k in 2..=ORDER {
                    let k = k as f64;
                    (before, value) = (value, ((2.0 * k - 1.0) * x * value - (k - 1.0) * before) / k);
                }
                slope = ORDER as f64 * (x * value - before) / (x * x - 1.0);
                x -= value / slope;
            }
            *point = (x, 2.0 / ((1.0 - x * x) * slope * slope));
        }
        rule
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_and_bells_are_integrated_exactly() {
        let cube: f64 = panels(0.0, 2.0, 1).iter().map(|(x, w)| w * x.powi(31)).sum();
        assert!((cube / (2f64.powi(32) / 32.0) - 1.0).abs() < 1e-13, "{cube}");
        let bell: f64 = panels(-9.0, 9.0, 12).iter().map(|(x, w)| w * (-0.5 * x * x).exp()).sum();
        assert!((bell / std::f64::consts::TAU.sqrt() - 1.0).abs() < 1e-13, "{bell}");
    }
}
