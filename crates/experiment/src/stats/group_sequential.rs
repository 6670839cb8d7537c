//! A fixed number of looks at an experiment with a fixed end: how far out the effect has to be at each of them.
//!
//! In: information fractions of the looks, a spending function, alpha.  Out: bounds on the z scale.
//! Sources: Armitage, McPherson & Rowe, JRSS-A 1969 (the recursion); Lan & DeMets, Biometrika 1983 (spending); Hwang, Shih & DeCani,
//! Statistics in Medicine 1990 (their family).
//! Between looks nothing is claimed. Never here: tests that may be read at any time (see the always-valid interval); what is told of an
//! effect once it has stopped (`stage_wise`).
//! Start at [`bounds`].

use super::distributions::{normal_quantile, normal_sf};
use super::error::{StatsError, allowed, enough, finite, open_share, positive, same_length};
use super::quadrature::panels;

/// Whether an effect in either direction counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sides {
    One,
    Two,
}

impl Sides {
    /// 1 or 2.
    pub fn count(self) -> f64 {
        match self {
            Self::One => 1.0,
            Self::Two => 2.0,
        }
    }
}

/// How much of alpha may be used up by the time a share of the information is there.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Spending {
    /// Little at first: 2 − 2Φ(z_{1−α/2} / √t).
    #[default]
    ObrienFleming,
    /// Nearly even: α ln(1 + (e − 1) t).
    Pocock,
    /// α·t^ρ with ρ > 0: 3 is like O'Brien & Fleming, 1 spends evenly.
    Power(f64),
    /// α(1 − e^−γt)/(1 − e^−γ): −4 is like O'Brien & Fleming, 1 like Pocock, 0 spends evenly.
    HwangShihDecani(f64),
}

/// Beyond it e^γ leaves the range of doubles' useful digits, and nobody plans so.
const MOST_GAMMA: f64 = 40.0;

impl Spending {
    /// The part of `alpha` spent at information fraction `t`: nothing at 0, all from 1 on.
    pub fn spent(self, alpha: f64, t: f64) -> f64 {
        if t <= 0.0 {
            return 0.0;
        }
        if t >= 1.0 {
            return alpha;
        }
        match self {
            Self::ObrienFleming => 2.0 * normal_sf(normal_quantile(1.0 - alpha / 2.0) / t.sqrt()),
            Self::Pocock => alpha * ((std::f64::consts::E - 1.0) * t).ln_1p(),
            Self::Power(rho) => alpha * t.powf(rho),
            // By `exp_m1`, so that no digit is lost around the even spending of γ = 0.
            Self::HwangShihDecani(0.0) => alpha * t,
            Self::HwangShihDecani(gamma) => alpha * (-gamma * t).exp_m1() / (-gamma).exp_m1(),
        }
    }

    /// Errors: a parameter with which nothing, or not all, is spent.
    pub fn check(self) -> Result<(), StatsError> {
        match self {
            Self::ObrienFleming | Self::Pocock => Ok(()),
            Self::Power(rho) => positive("rho", rho).map(|_| ()),
            Self::HwangShihDecani(gamma) => {
                allowed("gamma", gamma, gamma.abs() <= MOST_GAMMA, "from -40 to 40").map(|_| ())
            }
        }
    }
}

/// One look.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Look {
    /// Information so far, as a share of the planned one.
    pub fraction: f64,
    /// Alpha spent so far, per side.
    pub spent: f64,
    /// Alpha spent at this look, per side.
    pub spent_now: f64,
    /// Stop when z (or |z| for two sides) is above it. Infinite where nothing may be spent yet.
    pub bound: f64,
}

/// Looks closer together than this in information are the same look; it also bounds the cost of the recursion.
pub const LEAST_STEP: f64 = 0.001;
/// Further from its mean lies less than 1e-18 of the normal law.
const EDGE_Z: f64 = 9.0;

/// Bounds for looks at rising information `fractions`. Two sides get half of `alpha` each, and their own spending of it.
///
/// `is_over`: the last look is the final one and spends whatever is left, even when less information came than planned, or
/// more (then its fraction is above 1): the overrun changes the correlation of the looks, never the alpha.
/// Cost: per look, the number of points times the points within reach; about a millisecond for ten looks.
/// Errors: no look, fractions that do not rise by [`LEAST_STEP`], one above 1 that is not the final look.
pub fn bounds(
    fractions: &[f64],
    spending: Spending,
    alpha: f64,
    sides: Sides,
    is_over: bool,
) -> Result<Vec<Look>, StatsError> {
    check_fractions(fractions)?;
    open_share("alpha", alpha)?;
    spending.check()?;
    let last = fractions.len() - 1;
    let early = if is_over { &fractions[..last] } else { fractions };
    let furthest = early.last().copied().unwrap_or(0.0);
    allowed("information fraction", furthest, furthest <= 1.0, "at most 1 before the final look")?;
    let per_side = alpha / sides.count();
    let mut walk = Walk::new(sides);
    let (mut looks, mut before) = (Vec::with_capacity(fractions.len()), 0.0);
    for (index, &fraction) in fractions.iter().enumerate() {
        let is_final = is_over && index == last;
        let spent = if is_final { per_side } else { spending.spent(per_side, fraction) };
        let bound = walk.bound_for(fraction, spent - before);
        looks.push(Look { fraction, spent, spent_now: spent - before, bound });
        before = spent;
        if let Some(&next) = fractions.get(index + 1) {
            walk.go_on(fraction, bound, next);
        }
    }
    Ok(looks)
}

/// The chance, without any effect, that z (or |z|) is above its bound at one look or another.
pub fn crossing_probability(fractions: &[f64], z_bounds: &[f64], sides: Sides) -> Result<f64, StatsError> {
    check_fractions(fractions)?;
    same_length("bounds", z_bounds.len(), fractions.len())?;
    for &bound in z_bounds {
        allowed("bound", bound, bound > 0.0, "above 0")?;
    }
    let mut walk = Walk::new(sides);
    let mut crossed = 0.0;
    for (index, (&fraction, &bound)) in fractions.iter().zip(z_bounds).enumerate() {
        crossed += sides.count() * walk.tail(fraction, bound);
        if let Some(&next) = fractions.get(index + 1) {
            walk.go_on(fraction, bound, next);
        }
    }
    Ok(crossed)
}

/// The chance to cross a bound at one look or another when there is an effect: the power of planned looks.
///
/// `shift`: the effect in standard errors of the last look; z drifts to it as the information grows (Jennison & Turnbull 2000, § 3.1, the
/// canonical joint distribution). For two sides, crossings on the wrong side count, as in a fixed test.
pub fn drifted_crossing(looks: &[Look], shift: f64, sides: Sides) -> Result<f64, StatsError> {
    let fractions: Vec<f64> = looks.iter().map(|look| look.fraction).collect();
    check_fractions(&fractions)?;
    finite("shift", shift)?;
    let last = looks[looks.len() - 1];
    let mut walk = Walk::drifting(sides, shift / last.fraction.sqrt());
    let mut crossed = 0.0;
    for (index, look) in looks.iter().enumerate() {
        crossed += walk.crossed(look.fraction, look.bound);
        if let Some(next) = looks.get(index + 1) {
            walk.go_on(look.fraction, look.bound, next.fraction);
        }
    }
    Ok(crossed.min(1.0))
}

/// The chance that |z| is above `critical` at one of `looks` evenly spaced looks although there is no effect.
pub fn peeking_probability(critical: f64, looks: usize) -> Result<f64, StatsError> {
    crossing_probability(&even(looks)?, &vec![critical; looks], Sides::Two)
}

/// Pocock's constant (Biometrika 1977): the same two-sided bound at each of `looks` evenly spaced looks.
pub fn pocock_constant(looks: usize, alpha: f64) -> Result<f64, StatsError> {
    let fractions = even(looks)?;
    solve_constant(&fractions, alpha, |_| 1.0)
}

/// O'Brien & Fleming's constant C (Biometrics 1979): the two-sided bound at look k of K is C·√(K/k).
pub fn obrien_fleming_constant(looks: usize, alpha: f64) -> Result<f64, StatsError> {
    let fractions = even(looks)?;
    solve_constant(&fractions, alpha, |fraction| fraction.sqrt().recip())
}

fn even(looks: usize) -> Result<Vec<f64>, StatsError> {
    enough("looks", looks, 1)?;
    Ok((1..=looks).map(|k| k as f64 / looks as f64).collect())
}

fn solve_constant(fractions: &[f64], alpha: f64, shape: impl Fn(f64) -> f64) -> Result<f64, StatsError> {
    open_share("alpha", alpha)?;
    // Between the bound of one look and Bonferroni's over all of them.
    let mut low = normal_quantile(1.0 - alpha / 2.0).max(1e-9);
    let mut high = normal_quantile(1.0 - alpha / (2.0 * fractions.len() as f64)) + 1.0;
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        let z_bounds: Vec<f64> = fractions.iter().map(|fraction| middle * shape(*fraction)).collect();
        if crossing_probability(fractions, &z_bounds, Sides::Two)? > alpha {
            low = middle
        } else {
            high = middle
        }
        if high - low < 1e-12 {
            break;
        }
    }
    Ok(0.5 * (low + high))
}

pub(super) fn check_fractions(fractions: &[f64]) -> Result<(), StatsError> {
    enough("looks", fractions.len(), 1)?;
    let mut before = 0.0;
    for &fraction in fractions {
        let rises = fraction >= before + LEAST_STEP && fraction.is_finite();
        allowed("information fraction", fraction, rises, "above the one before by at least 0.001")?;
        before = fraction;
    }
    Ok(())
}

/// Brownian motion that has stayed inside the bounds so far: where it may be, and how likely.
///
/// At information t the statistic is S = z·√t; it moves on by a normal step of variance Δt and mean drift·Δt.
#[derive(Clone)]
pub(super) struct Walk {
    sides: Sides,
    /// 0 without an effect.
    drift: f64,
    t: f64,
    /// Points in ascending order, with the mass that each stands for.
    mass: Vec<(f64, f64)>,
}

impl Walk {
    pub(super) fn new(sides: Sides) -> Self {
        Self::drifting(sides, 0.0)
    }

    /// With an effect: z at information t has mean drift·√t.
    pub(super) fn drifting(sides: Sides, drift: f64) -> Self {
        Self { sides, drift, t: 0.0, mass: vec![(0.0, 1.0)] }
    }

    /// P(still inside, and beyond `bound` at the look at `t`), on either side for two.
    fn crossed(&self, t: f64, bound: f64) -> f64 {
        let (edge, step, moved) = (bound * t.sqrt(), (t - self.t).sqrt(), self.drift * (t - self.t));
        let beyond = |s: f64| match self.sides {
            Sides::One => normal_sf((edge - s - moved) / step),
            Sides::Two => normal_sf((edge - s - moved) / step) + normal_sf((edge + s + moved) / step),
        };
        self.mass.iter().map(|(s, mass)| mass * beyond(*s)).sum()
    }

    /// P(still inside, and above `bound` at the look at `t`), without drift.
    fn tail(&self, t: f64, bound: f64) -> f64 {
        self.tail_with(t, bound, 0.0)
    }

    /// The same with a drift of `theta` per information, near that of the walk. With d the drift of the walk the path so far gets the weight
    /// exp((θ − d)s − (θ² − d²)t/2), the likelihood ratio of the drifts (Cameron & Martin 1944).
    pub(super) fn tail_with(&self, t: f64, bound: f64, theta: f64) -> f64 {
        let (edge, ahead) = (bound * t.sqrt(), t - self.t);
        let step = ahead.sqrt();
        let weight = |s: f64| ((theta - self.drift) * (s - 0.5 * (theta + self.drift) * self.t)).exp();
        self.mass.iter().map(|(s, mass)| mass * weight(*s) * normal_sf((edge - s - theta * ahead) / step)).sum()
    }

    /// The bound whose tail at `t` is `alpha`.
    fn bound_for(&self, t: f64, alpha: f64) -> f64 {
        // Below the smallest normal double's tail no bound can be told from infinity.
        let (mut low, mut high) = (-EDGE_Z, 37.0);
        if alpha <= 0.0 || self.tail(t, high) >= alpha {
            return f64::INFINITY;
        }
        while high - low > 1e-13 * high.abs().max(1.0) {
            let middle = 0.5 * (low + high);
            if self.tail(t, middle) > alpha { low = middle } else { high = middle }
        }
        0.5 * (low + high)
    }

    /// Moves to the look at `t`, keeps what is inside `bound`, in points fine enough for the step to `next`.
    pub(super) fn go_on(&mut self, t: f64, bound: f64, next: f64) {
        let (root, step) = (t.sqrt(), (t - self.t).sqrt());
        // Where it may be lies around the drift, and not around 0: an early bound can be far beyond the edge, and the drift as well.
        let (middle, edge) = (self.drift * t, bound * root);
        let high = edge.min(middle + EDGE_Z * root);
        let low = match self.sides {
            Sides::One => middle - EDGE_Z * root,
            Sides::Two => (-edge).max(middle - EDGE_Z * root),
        };
        if low >= high {
            // It has crossed for certain.
            (self.mass, self.t) = (Vec::new(), t);
            return;
        }
        let width = step.min((next - t).sqrt());
        let count = ((high - low) / width).ceil().max(1.0) as usize;
        let scale = (step * std::f64::consts::TAU.sqrt()).recip();
        let (reach, moved) = (EDGE_Z * step, self.drift * (t - self.t));
        let mass_at = |s: f64| -> f64 {
            let s = s - moved;
            let first = self.mass.partition_point(|(from, _)| *from < s - reach);
            let near = self.mass[first..].iter().take_while(|(from, _)| *from <= s + reach);
            near.map(|(from, mass)| mass * (-0.5 * ((s - from) / step).powi(2)).exp()).sum()
        };
        self.mass = panels(low, high, count).into_iter().map(|(s, weight)| (s, weight * scale * mass_at(s))).collect();
        self.t = t;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(found: f64, expected: f64, within: f64) {
        assert!((found - expected).abs() <= within, "{found} is not {expected}");
    }

    #[test]
    fn one_look_is_the_fixed_test() {
        let look = bounds(&[1.0], Spending::ObrienFleming, 0.05, Sides::Two, true).unwrap()[0];
        check(look.bound, 1.959_963_984_540_054, 1e-9);
        check(
            bounds(&[1.0], Spending::Pocock, 0.05, Sides::One, true).unwrap()[0].bound,
            1.644_853_626_951_472_6,
            1e-9,
        );
    }

    #[test]
    fn published_constants_to_their_digits() {
        let pocock = [2.17827, 2.28948, 2.36130, 2.41318];
        let obrien_fleming = [1.97743, 2.00404, 2.02430, 2.04007];
        for looks in 2..=5 {
            check(pocock_constant(looks, 0.05).unwrap(), pocock[looks - 2], 5e-6);
            check(obrien_fleming_constant(looks, 0.05).unwrap(), obrien_fleming[looks - 2], 5e-6);
        }
    }

    #[test]
    fn published_spending_bounds_to_their_digits() {
        let looks = bounds(&[0.2, 0.4, 0.6, 0.8, 1.0], Spending::ObrienFleming, 0.05, Sides::Two, true).unwrap();
        for (look, published) in looks.iter().zip([4.87688, 3.35701, 2.68028, 2.28982, 2.03103]) {
            check(look.bound, published, 5e-6);
        }
    }

    /// The default design of gsDesign (Anderson): three looks, one-sided .025, Hwang, Shih & DeCani at −4; and the Pocock type of Lan & DeMets
    /// at five looks, two-sided .05, as DeMets & Lan, Statistics in Medicine 13 (1994) and the programs after it print them. More digits by
    /// the multivariate normal law of scipy.
    #[test]
    fn published_bounds_of_other_spending() {
        let thirds = [1.0 / 3.0, 2.0 / 3.0, 1.0];
        let looks = bounds(&thirds, Spending::HwangShihDecani(-4.0), 0.025, Sides::One, true).unwrap();
        for (look, (bound, spent)) in looks.iter().zip([(3.01, 0.0013), (2.55, 0.0049), (2.00, 0.0188)]) {
            check(look.bound, bound, 0.005);
            check(look.spent_now, spent, 0.00005);
        }
        for (look, bound) in looks.iter().zip([3.010_739_5, 2.546_530_6, 1.999_226_4]) {
            check(look.bound, bound, 2e-7);
        }
        let looks = bounds(&[0.2, 0.4, 0.6, 0.8, 1.0], Spending::Pocock, 0.05, Sides::Two, true).unwrap();
        for (look, published) in looks.iter().zip([2.438, 2.427, 2.410, 2.397, 2.386]) {
            check(look.bound, published, 0.0006);
        }
    }

    #[test]
    fn the_families_meet_where_they_should() {
        for t in [0.1, 0.5, 0.9] {
            check(Spending::HwangShihDecani(0.0).spent(0.05, t), 0.05 * t, 1e-15);
            check(Spending::HwangShihDecani(1e-9).spent(0.05, t), 0.05 * t, 1e-10);
            check(Spending::Power(1.0).spent(0.05, t), 0.05 * t, 1e-15);
        }
        let read = |text: &str| serde_json::from_str::<Spending>(text);
        assert_eq!(read("\"obrien_fleming\"").unwrap(), Spending::ObrienFleming);
        assert_eq!(read(r#"{"hwang_shih_decani":-4}"#).unwrap(), Spending::HwangShihDecani(-4.0));
        assert_eq!(read(r#"{"power":3}"#).unwrap(), Spending::Power(3.0));
        assert!(read("\"haybittle\"").is_err());
    }

    #[test]
    fn published_chances_of_peeking() {
        let z = normal_quantile(0.975);
        for (looks, published) in
            [(1, 0.05), (2, 0.08312), (3, 0.10726), (4, 0.12617), (5, 0.14169), (10, 0.19336), (20, 0.24791)]
        {
            check(peeking_probability(z, looks).unwrap(), published, 5e-6);
        }
    }

    /// Jennison & Turnbull 2000, tables 2.2 and 2.4: by what a fixed sample has to grow for the same power, α .05 on two sides.
    #[test]
    fn published_inflation_of_samples() {
        let pocock = [(2, 1.110, 1.100), (3, 1.166, 1.151), (4, 1.202, 1.183), (5, 1.229, 1.207)];
        let obrien_fleming = [(2, 1.008, 1.007), (3, 1.017, 1.016), (4, 1.024, 1.022), (5, 1.028, 1.026)];
        let looks_of = |count: usize, at: &dyn Fn(f64) -> f64| -> Vec<Look> {
            let look = |fraction: f64| Look { fraction, spent: 0.0, spent_now: 0.0, bound: at(fraction) };
            even(count).unwrap().into_iter().map(look).collect()
        };
        let power = |looks: &[Look], wanted: f64, factor: f64| {
            let shift = (normal_quantile(0.975) + normal_quantile(wanted)) * factor.sqrt();
            check(drifted_crossing(looks, shift, Sides::Two).unwrap(), wanted, 4e-4);
        };
        for (table, is_pocock) in [(pocock, true), (obrien_fleming, false)] {
            for (count, at_80, at_90) in table {
                let constant =
                    if is_pocock { pocock_constant(count, 0.05) } else { obrien_fleming_constant(count, 0.05) }
                        .unwrap();
                let bound = |t: f64| if is_pocock { constant } else { constant / t.sqrt() };
                let looks = looks_of(count, &bound);
                power(&looks, 0.8, at_80);
                power(&looks, 0.9, at_90);
            }
        }
    }

    #[test]
    fn without_an_effect_the_power_is_alpha_and_with_a_huge_one_all() {
        for sides in [Sides::One, Sides::Two] {
            let looks = bounds(&[0.001, 0.3, 0.31, 1.0], Spending::ObrienFleming, 0.05, sides, true).unwrap();
            check(drifted_crossing(&looks, 0.0, sides).unwrap(), 0.05, 1e-9);
            for shift in [9.0, 11.0, 500.0] {
                check(drifted_crossing(&looks, shift, sides).unwrap(), 1.0, 1e-9);
            }
        }
        let one = bounds(&[1.0], Spending::ObrienFleming, 0.05, Sides::One, true).unwrap();
        check(drifted_crossing(&one, 2.0, Sides::One).unwrap(), normal_sf(normal_quantile(0.95) - 2.0), 1e-9);
        assert!(drifted_crossing(&[], 1.0, Sides::One).is_err());
    }

    /// By Simpson's rule over z at the first look, apart from this program: both tails there, and those of the second look given the first.
    #[test]
    fn early_bounds_far_out_leave_room_for_a_strong_effect() {
        let look = |fraction: f64, bound: f64| Look { fraction, spent: 0.0, spent_now: 0.0, bound };
        let inf = f64::INFINITY;
        for (bounds, shift, expected) in [
            ([12.6, 14.0], 14.0, 0.500_000_000_175_1),
            ([12.6, 30.0], 24.0, 0.707_240_625_417_3),
            ([inf, 14.0], 15.0, 0.841_344_746_068_5),
        ] {
            let looks = [look(0.03, bounds[0]), look(0.1, bounds[1])];
            check(drifted_crossing(&looks, shift, Sides::Two).unwrap(), expected, 1e-10);
        }
    }

    #[test]
    fn bounds_spend_what_they_say() {
        for spending in
            [Spending::ObrienFleming, Spending::Pocock, Spending::Power(2.0), Spending::HwangShihDecani(-4.0)]
        {
            for sides in [Sides::One, Sides::Two] {
                let looks = bounds(&[0.1, 0.35, 0.36, 0.9, 1.0], spending, 0.05, sides, true).unwrap();
                let fractions: Vec<f64> = looks.iter().map(|look| look.fraction).collect();
                let z_bounds: Vec<f64> = looks.iter().map(|look| look.bound).collect();
                check(crossing_probability(&fractions, &z_bounds, sides).unwrap(), 0.05, 1e-9);
            }
        }
    }

    #[test]
    fn an_overrun_uses_the_remaining_alpha_and_no_more() {
        for end in [0.93, 1.0, 1.25] {
            let looks = bounds(&[0.5, end], Spending::Pocock, 0.05, Sides::Two, true).unwrap();
            check(looks[1].spent, 0.025, 1e-15);
            check(
                crossing_probability(&[0.5, end], &[looks[0].bound, looks[1].bound], Sides::Two).unwrap(),
                0.05,
                1e-9,
            );
        }
        // The looks before do not move when the end does.
        let open = bounds(&[0.5], Spending::Pocock, 0.05, Sides::Two, false).unwrap();
        assert!(open[0].spent < 0.025);
    }

    #[test]
    fn where_nothing_may_be_spent_nothing_stops() {
        let looks = bounds(&[0.001, 1.0], Spending::ObrienFleming, 0.05, Sides::Two, true).unwrap();
        assert_eq!(looks[0].bound, f64::INFINITY);
        check(looks[1].bound, 1.959_963_984_540_054, 1e-9);
    }

    #[test]
    fn looks_that_are_none_are_errors() {
        let with = |fractions: &[f64], is_over| bounds(fractions, Spending::Pocock, 0.05, Sides::Two, is_over);
        assert!(with(&[], true).is_err() && with(&[0.5, 0.5], true).is_err() && with(&[0.0], true).is_err());
        assert!(
            with(&[0.5, 1.1], false).is_err() && with(&[1.1, 1.2], true).is_err() && with(&[f64::NAN], true).is_err()
        );
        for spending in [Spending::Power(0.0), Spending::HwangShihDecani(50.0), Spending::HwangShihDecani(f64::NAN)] {
            assert!(bounds(&[1.0], spending, 0.05, Sides::Two, true).is_err());
        }
        assert!(bounds(&[1.0], Spending::Pocock, 1.0, Sides::Two, true).is_err());
        assert!(pocock_constant(0, 0.05).is_err() && crossing_probability(&[1.0], &[], Sides::One).is_err());
        assert!(crossing_probability(&[1.0], &[f64::NAN], Sides::One).is_err());
    }
}
