//! The worked example, degenerate input, and properties of comparisons.
//!
//! In: the worked data set's sufficient statistics; drawn statistics with fixed seeds.  Out: pass.
//! Never here: cases of the oracle (see `oracle`); long-run error rates (see `coverage`, `long_runs`).
//! Start at [`the_worked_example_has_its_published_figures`].

mod draws;

use draws::Draws;
use experiment::stats::always_valid::{always_valid, hybrid, msprt_multiplier, multiplier, rho, running_minimum};
use experiment::stats::analysis::{Settings, analyze};
use experiment::stats::bayes::{Prior, posterior};
use experiment::stats::difference::FiellerSet;
use experiment::stats::mid_experiment::{Judgement, Progress, days_left, outlook, power_at, scaled_impact};
use experiment::stats::moments::{Cuped, CupedRatio, Mean, Proportion, Ratio};
use experiment::stats::quantile::{Quantile, QuantileMethod, bound_ranks, sample_quantile};
use experiment::stats::{Alternative, Comparison, Scale, Statistic, StatsError, compare};

const TWO_SIDED: Alternative = Alternative::TwoSided;

fn close(actual: f64, expected: f64) {
    assert!((actual - expected).abs() <= 1e-9 * expected.abs().max(1e-12), "expected {expected:e}, got {actual:e}");
}

fn mean(n: u64, sum: f64, sum_squares: f64) -> Mean {
    Mean { n, sum, sum_squares }
}

/// Control and treatment of the worked example: revenue with the value before exposure.
fn worked() -> [Cuped; 2] {
    [
        Cuped {
            n: 2016,
            post_statistic: mean(2016, 29004.457693291493, 630438.4822221685),
            pre_statistic: mean(2016, 23860.63277681402, 501394.0072415327),
            post_pre_sum_of_products: 522596.09388092696,
        },
        Cuped {
            n: 1984,
            post_statistic: mean(1984, 30800.61363061557, 672793.0140454618),
            pre_statistic: mean(1984, 24061.261824722766, 504474.32380454155),
            post_pre_sum_of_products: 539254.8804473818,
        },
    ]
}

fn compare_pair<T: Copy>(arms: [T; 2], kind: fn(T) -> Statistic) -> Comparison {
    compare(&kind(arms[0]), &kind(arms[1])).expect("comparable arms")
}

#[test]
fn the_worked_example_has_its_published_figures() {
    let settings = Settings { scale: Scale::Absolute, ..Settings::default() };
    let [control, treatment] = worked().map(Statistic::Cuped);
    let found = analyze(&control, &treatment, &settings).expect("figures");
    let (cuped, plain) = (found.shown, found.unadjusted.expect("a covariate"));
    close(cuped.comparison.theta.expect("a covariate"), 0.7999185270880631);
    close(cuped.figures.fixed.effect, 0.9037782041358877);
    close(cuped.figures.fixed.se, 0.18170943528259675);
    close(cuped.figures.fixed.p_value, 6.842768600634486e-7);
    close(cuped.figures.always_valid.p_value, 6.197853672378415e-5);
    close(cuped.figures.always_valid.ci.lower, 0.35131361379635806);
    close(plain.figures.fixed.df, 3996.1649478324957);
    close(plain.figures.fixed.p_value, 3.7193002396440633e-4);
    close(plain.figures.fixed.ci.upper, 1.7633404445102694);
    close(plain.figures.always_valid.p_value, 0.011285027554736714);
    let relative = analyze(&control, &treatment, &Settings::default()).expect("figures");
    let plain = relative.unadjusted.expect("a covariate");
    close(plain.figures.posterior.mean, 0.07858831959948052);
    close(plain.figures.posterior.chance_to_win, 0.9996756986704647);
    close(plain.figures.posterior.risk_control, 0.07859023708187865);
    // Variances of means, so that the ratio is close to, not equal to, the 1 − ρ² of pooled variances (.3247).
    assert!((relative.variance_ratio().expect("a covariate") - 0.3247).abs() < 0.003);
}

#[test]
fn the_tuning_of_the_reference_gives_its_rho_and_multiplier() {
    close(rho(0.05, 5000.0, TWO_SIDED).expect("valid"), 630.028048962817);
    close(multiplier(4000.0, 0.05, 5000.0, TWO_SIDED).expect("valid"), 3.0403737124620407);
    // The published comparison: Statsig's mixture gives 3.5844 where ours gives 3.0404.
    let c = compare_pair(worked().map(|s| s.post_statistic), Statistic::Mean);
    let estimate = c.estimate(Scale::Absolute).expect("an estimate");
    let variance_sum = c.control.variance + c.treatment.variance;
    let msprt = msprt_multiplier(estimate.se, variance_sum, 4000.0, 0.05).expect("valid");
    assert!((msprt - 3.5844).abs() < 5e-4, "{msprt}");
}

#[test]
fn an_always_valid_p_value_is_the_level_at_which_the_interval_touches_zero() {
    // ρ stays that of α = .05 by the definition of S2 and S3; at p = α both agree.
    let c = compare_pair(worked().map(|s| s.post_statistic), Statistic::Mean);
    let mut estimate = c.estimate(Scale::Absolute).expect("an estimate");
    for alternative in [TWO_SIDED, Alternative::Greater, Alternative::Less] {
        let half_width = multiplier(estimate.units, 0.05, 5000.0, alternative).expect("valid") * estimate.se;
        estimate.effect = if alternative == Alternative::Less { -half_width } else { half_width };
        close(always_valid(&estimate, alternative, 0.05, 5000.0).expect("a test").p_value, 0.05);
    }
    assert_eq!(running_minimum(&[0.4, 0.6, 0.1, 0.2]), [0.4, 0.4, 0.1, 0.1]);
}

#[test]
fn the_hybrid_keeps_most_of_alpha_for_the_end_and_remembers_earlier_looks() {
    let c = compare_pair(worked().map(|s| s.post_statistic), Statistic::Mean);
    let estimate = c.estimate(Scale::Absolute).expect("an estimate");
    let look = |has_ended, before| hybrid(&estimate, TWO_SIDED, 0.05, 0.01, 5000.0, has_ended, before).expect("a look");
    let running = look(false, 1.0);
    assert!(!running.is_significant && running.alpha == 0.01);
    let ended = look(true, 1.0);
    assert!(ended.is_significant && ended.shown.ci.lower > running.shown.ci.lower);
    close(ended.alpha, 0.04);
    assert!(look(false, 0.009).is_significant);
    let refused = hybrid(&estimate, TWO_SIDED, 0.05, 0.05, 5000.0, false, 1.0);
    assert!(matches!(refused, Err(StatsError::OutOfRange { name: "running_alpha", .. })));
}

fn ratio_of(n: u64, m: f64, d: f64) -> Ratio {
    let units = n as f64;
    Ratio {
        n,
        m_statistic: mean(n, m * units, (m * m + 4.0) * units),
        d_statistic: mean(n, d * units, (d * d + 1.0) * units),
        m_d_sum_of_products: (m * d + 0.5) * units,
    }
}

#[test]
fn what_does_not_exist_is_an_error_with_its_reason() {
    let fine = mean(100, 500.0, 3000.0);
    let against = |other: Mean| compare(&Statistic::Mean(other), &Statistic::Mean(fine));
    assert_eq!(against(Mean::default()).unwrap_err(), StatsError::TooFewUnits { n: 0, least: 2 });
    assert_eq!(against(mean(1, 5.0, 25.0)).unwrap_err(), StatsError::TooFewUnits { n: 1, least: 2 });
    assert!(matches!(against(mean(9, f64::NAN, 1.0)).unwrap_err(), StatsError::NotFinite { name: "sum", .. }));
    assert!(matches!(against(mean(9, 1.0, f64::INFINITY)).unwrap_err(), StatsError::NotFinite { .. }));
    let zero = against(mean(100, 0.0, 300.0)).expect("comparable");
    assert_eq!(zero.estimate(Scale::Relative).unwrap_err(), StatsError::ZeroBaseline);
    assert!(zero.estimate(Scale::Absolute).is_ok());
    // 0.1 a hundred times in both arms: the sums leave a variance of rounding only.
    let constant = Mean::from_values(&[0.1; 100]);
    let same = compare_pair([constant, constant], Statistic::Mean);
    assert_eq!(same.estimate(Scale::Absolute).unwrap_err(), StatsError::NoVariance);
    let no_denominator = Statistic::Ratio(Ratio { d_statistic: mean(9, 0.0, 0.0), ..ratio_of(9, 1.0, 1.0) });
    assert_eq!(compare(&no_denominator, &no_denominator).unwrap_err(), StatsError::ZeroDenominator);
    let mixed = compare(&Statistic::Mean(fine), &Statistic::Proportion(Proportion { n: 10, sum: 4.0 }));
    assert_eq!(mixed.unwrap_err(), StatsError::MixedStatistics { control: "mean", treatment: "proportion" });
    let impossible = Statistic::Proportion(Proportion { n: 10, sum: 11.0 });
    assert!(matches!(impossible.check(), Err(StatsError::OutOfRange { name: "sum", .. })));
    let narrow = Quantile { n: 20, n_star: 20, nu: 0.99, quantile_hat: 1.0, quantile_lower: 1.0, quantile_upper: 1.0 };
    assert!(matches!(Statistic::Quantile(narrow).check(), Err(StatsError::TooFewUnits { n: 20, least: 381 })));
    let tied = Statistic::Quantile(Quantile { n: 1000, n_star: 1000, ..narrow });
    let tied = compare(&tied, &tied).expect("comparable").estimate(Scale::Absolute);
    assert_eq!(tied.unwrap_err(), StatsError::NoVariance);
    let estimate = zero.estimate(Scale::Absolute).expect("an estimate");
    assert!(estimate.test(TWO_SIDED, 0.0).is_err() && estimate.test(TWO_SIDED, f64::NAN).is_err());
    assert!(always_valid(&estimate, Alternative::Less, 0.6, 5000.0).is_err());
    assert_eq!(posterior(&estimate, Some(Prior::WIDE), false, 0.05).unwrap_err(), StatsError::ZeroBaseline);
}

#[test]
fn a_covariate_that_says_nothing_leaves_the_plain_metric() {
    // No unit has history: x = 0 throughout.
    let without = worked().map(|s| Cuped { pre_statistic: mean(s.n, 0.0, 0.0), post_pre_sum_of_products: 0.0, ..s });
    let adjusted = compare_pair(without, Statistic::Cuped);
    let plain = compare_pair(worked().map(|s| s.post_statistic), Statistic::Mean);
    assert_eq!(adjusted.theta, Some(0.0));
    for scale in [Scale::Absolute, Scale::Relative] {
        assert_eq!(adjusted.estimate(scale), plain.estimate(scale));
    }
    let post = [ratio_of(100, 3.0, 7.0), ratio_of(110, 3.1, 7.0)];
    let ratios = post.map(|r| CupedRatio {
        n: r.n,
        m_statistic_post: r.m_statistic,
        d_statistic_post: r.d_statistic,
        m_statistic_pre: mean(r.n, 0.0, 0.0),
        d_statistic_pre: mean(r.n, 0.0, 0.0),
        m_post_d_post_sum_of_products: r.m_d_sum_of_products,
        ..CupedRatio::default()
    });
    let (adjusted, plain) = (compare_pair(ratios, Statistic::CupedRatio), compare_pair(post, Statistic::Ratio));
    assert_eq!(adjusted.theta, Some(0.0));
    let (adjusted, plain) =
        (adjusted.estimate(Scale::Relative).expect("one"), plain.estimate(Scale::Relative).expect("one"));
    close(adjusted.effect, plain.effect);
    close(adjusted.se, plain.se);
}

#[test]
fn negative_denominators_and_baselines_keep_the_sign_of_the_effect() {
    let positive = compare_pair([ratio_of(100, 3.0, 7.0), ratio_of(100, 4.0, 7.0)], Statistic::Ratio);
    let negative = compare_pair([ratio_of(100, 3.0, -7.0), ratio_of(100, 4.0, -7.0)], Statistic::Ratio);
    close(negative.difference(), -positive.difference());
    assert!(negative.estimate(Scale::Relative).expect("an estimate").effect < 0.0);
    // Losses that shrink are a positive lift of a negative mean.
    let losses = compare_pair([mean(50, -100.0, 500.0), mean(50, -80.0, 500.0)], Statistic::Mean);
    close(losses.estimate(Scale::Relative).expect("an estimate").effect, 0.2);
}

#[test]
fn fiellers_set_agrees_with_the_delta_method_on_a_strong_baseline_and_opens_on_a_weak_one() {
    let strong = compare_pair(worked().map(|s| s.post_statistic), Statistic::Mean);
    assert!(!strong.has_weak_baseline());
    let delta = strong.estimate(Scale::Relative).and_then(|e| e.test(TWO_SIDED, 0.05)).expect("a test").ci;
    let FiellerSet::Bounded(set) = strong.fieller(0.05).expect("a set") else { panic!("a strong baseline") };
    assert!((set.lower - delta.lower).abs() < 0.003 && (set.upper - delta.upper).abs() < 0.003, "{set:?} {delta:?}");
    // The ends are the lifts L at which Δ − L·m_c is exactly q standard errors from 0.
    let (b, a) = (strong.control.variance / 2016.0, strong.treatment.variance / 1984.0);
    for lift in [set.lower, set.upper] {
        let gap = strong.treatment.mean - (1.0 + lift) * strong.control.mean;
        close(gap.abs() / (a + (1.0 + lift).powi(2) * b).sqrt(), 1.9605577982897814);
    }
    // With a covariate the difference and the unadjusted control mean vary together; both ways know it.
    let cuped = compare_pair(worked(), Statistic::Cuped);
    let delta = cuped.estimate(Scale::Relative).and_then(|e| e.test(TWO_SIDED, 0.05)).expect("a test").ci;
    let FiellerSet::Bounded(set) = cuped.fieller(0.05).expect("a set") else { panic!("a strong baseline") };
    assert!((set.lower - delta.lower).abs() < 0.001 && (set.upper - delta.upper).abs() < 0.001, "{set:?} {delta:?}");
    let weak = |control: f64, treatment: f64| {
        compare_pair([mean(100, control, 10_000.0), mean(100, treatment, 10_000.0)], Statistic::Mean)
    };
    assert!(weak(50.0, 60.0).has_weak_baseline());
    assert_eq!(weak(50.0, 60.0).fieller(0.05).expect("a set"), FiellerSet::Everything);
    assert!(
        matches!(weak(50.0, 900.0).fieller(0.05).expect("a set"), FiellerSet::Outside(hole) if hole.lower < 0.0 && hole.upper > 0.0)
    );
    assert!(matches!(weak(0.0, 0.0).fieller(0.05).expect("a set"), FiellerSet::Everything));
}

#[test]
fn a_running_experiment_needs_more_units_for_smaller_effects_and_for_freedom_to_look() {
    let at = |mde, judgement| Progress { se: 0.02, units: 4000.0, mde, alpha: 0.05, judgement };
    let of = |mde, judgement| outlook(&at(mde, judgement), 0.8).expect("an outlook");
    let (small, large) = (of(0.01, Judgement::Fixed), of(0.03, Judgement::Fixed));
    assert!(small.growth > large.growth);
    // (z_.975 + z_.8)²·(SE/δ)² times the units; the far tail of the other side adds less than 1e-6 of power.
    assert!((1.0 + small.growth.expect("reached") - (2.8015852_f64 * 2.0).powi(2)).abs() < 1e-4);
    let growth = small.growth.expect("reached");
    close(power_at(&at(0.01, Judgement::Fixed), growth).expect("a power"), 0.8);
    let free = of(0.03, Judgement::AlwaysValid { tuning_n: 5000.0 });
    assert!(free.growth > large.growth && free.power_now < large.power_now);
    assert_eq!(of(0.0, Judgement::Fixed).growth, None);
    assert_eq!(of(-0.03, Judgement::Fixed), large);
    close(days_left(700.0, 100.0).expect("days"), 7.0);
    assert!(days_left(700.0, 0.0).is_err());
    let c = compare_pair(worked().map(|s| s.post_statistic), Statistic::Mean);
    let d = c.estimate(Scale::Absolute).and_then(|e| e.test(TWO_SIDED, 0.05)).expect("a test");
    assert!(scaled_impact(&d, 4000.0, 1.2, 7.0).is_err());
    close(scaled_impact(&d, 4000.0, 1.0, 1.0).expect("an impact").ci.lower, d.ci.lower * 4000.0);
}

/// Statistics of drawn units: y with its earlier value x, a denominator with its earlier value.
fn drawn(draws: &mut Draws, n: u64, shift: f64, scale: f64) -> CupedRatio {
    let mut s = CupedRatio { n, ..CupedRatio::default() };
    for part in [&mut s.m_statistic_post, &mut s.d_statistic_post, &mut s.m_statistic_pre, &mut s.d_statistic_pre] {
        part.n = n;
    }
    for _ in 0..n {
        let x = 10.0 + 3.0 * draws.normal();
        let e = 1.0 + (4.0 * draws.uniform()).floor();
        let d = e + (3.0 * draws.uniform()).floor();
        let y = scale * (0.7 * x + shift + 2.0 * draws.normal());
        for (part, v) in [
            (&mut s.m_statistic_post, y),
            (&mut s.d_statistic_post, d),
            (&mut s.m_statistic_pre, x),
            (&mut s.d_statistic_pre, e),
        ] {
            part.sum += v;
            part.sum_squares += v * v;
        }
        s.m_post_m_pre_sum_of_products += y * x;
        s.d_post_d_pre_sum_of_products += d * e;
        s.m_pre_d_pre_sum_of_products += x * e;
        s.m_post_d_post_sum_of_products += y * d;
        s.m_post_d_pre_sum_of_products += y * e;
        s.m_pre_d_post_sum_of_products += x * d;
    }
    s
}

/// Every kind that the drawn statistics hold.
fn kinds(s: &CupedRatio) -> [Statistic; 4] {
    let cuped = Cuped {
        n: s.n,
        post_statistic: s.m_statistic_post,
        pre_statistic: s.m_statistic_pre,
        post_pre_sum_of_products: s.m_post_m_pre_sum_of_products,
    };
    [
        Statistic::Mean(s.m_statistic_post),
        Statistic::Ratio(s.post()),
        Statistic::Cuped(cuped),
        Statistic::CupedRatio(*s),
    ]
}

#[test]
fn swapping_the_arms_mirrors_the_absolute_effect() {
    for seed in 0..50 {
        let mut draws = Draws::new(seed);
        let (a, b) = (kinds(&drawn(&mut draws, 60, 1.0, 1.0)), kinds(&drawn(&mut draws, 45, 1.4, 1.0)));
        for (a, b) in a.iter().zip(&b) {
            let one = compare(a, b).and_then(|c| c.estimate(Scale::Absolute)).expect("an estimate");
            let other = compare(b, a).and_then(|c| c.estimate(Scale::Absolute)).expect("an estimate");
            close(one.effect, -other.effect);
            close(one.se, other.se);
            close(one.df, other.df);
            let (up, down) = (one.test(Alternative::Greater, 0.05), other.test(Alternative::Less, 0.05));
            close(up.expect("a test").p_value, down.expect("a test").p_value);
        }
    }
}

#[test]
fn statistics_of_parts_add_up_to_those_of_the_whole() {
    for seed in 0..20 {
        let mut draws = Draws::new(seed);
        let parts = [drawn(&mut draws, 30, 0.0, 1.0), drawn(&mut draws, 20, 0.0, 1.0)].map(|s| kinds(&s));
        let whole = kinds(&drawn(&mut Draws::new(seed), 50, 0.0, 1.0));
        let control = kinds(&drawn(&mut draws, 40, 1.0, 1.0));
        for at in 0..4 {
            let merged = parts[0][at].merged(&parts[1][at]).expect("one kind");
            assert_eq!(merged.units(), 50);
            let of = |s| compare(&control[at], s).and_then(|c| c.estimate(Scale::Relative)).expect("an estimate");
            let (of_parts, of_whole) = (of(&merged), of(&whole[at]));
            close(of_parts.effect, of_whole.effect);
            close(of_parts.se, of_whole.se);
        }
    }
    let quantile = Quantile { n: 9, n_star: 9, nu: 0.5, quantile_hat: 1.0, quantile_lower: 0.5, quantile_upper: 2.0 };
    let quantile = Statistic::Quantile(quantile);
    assert!(matches!(quantile.merged(&quantile), Err(StatsError::Unsupported { .. })));
}

#[test]
fn relative_effects_do_not_depend_on_the_unit_of_measurement() {
    for seed in 0..50 {
        let at = |scale: f64| {
            let mut draws = Draws::new(seed);
            [drawn(&mut draws, 60, 1.0, scale), drawn(&mut draws, 45, 1.4, scale)].map(|s| kinds(&s))
        };
        let ([a, b], [c, d]) = (at(1.0), at(0.001));
        for at in 0..4 {
            let one = compare(&a[at], &b[at]).and_then(|c| c.estimate(Scale::Relative)).expect("an estimate");
            let other = compare(&c[at], &d[at]).and_then(|c| c.estimate(Scale::Relative)).expect("an estimate");
            assert!((one.effect - other.effect).abs() < 1e-9 && (one.se - other.se).abs() < 1e-9, "{one:?} {other:?}");
        }
    }
}

#[test]
fn sample_quantiles_of_nothing_do_not_exist_and_ends_are_the_extremes() {
    assert_eq!(sample_quantile(&[], 0.5, QuantileMethod::Linear), None);
    assert_eq!(sample_quantile(&[1.0], 1.5, QuantileMethod::Linear), None);
    for method in [QuantileMethod::Linear, QuantileMethod::InvertedCdf] {
        assert_eq!(sample_quantile(&[1.0, 2.0, 4.0], 0.0, method), Some(1.0));
        assert_eq!(sample_quantile(&[1.0, 2.0, 4.0], 1.0, method), Some(4.0));
    }
    // ν = .5, n = 100: .5 ± 1.96·.05 = .402, .598.
    assert_eq!((bound_ranks(100, 0.5), bound_ranks(1, 0.5)), ((41, 60), (1, 1)));
}
