//! The distributions against 60-digit arithmetic, also where the tails are 1e-300.
//!
//! In: values of mpmath 1.4.1 (60 digits), those of large parameters of scipy 1.17.1.  Out: pass.
//! Never here: what the distributions are used for (see `oracle`).
//! Start at [`check`].

#![expect(clippy::excessive_precision, reason = "the digits are those of the source")]

use experiment::stats::distributions as d;

/// Relative differences above 1e-10 fail.
fn check(what: &str, rows: &[(&[f64], f64)], f: impl Fn(&[f64]) -> f64) {
    let wrong: Vec<String> = rows
        .iter()
        .map(|(arguments, expected)| (arguments, expected, f(arguments)))
        .filter(|(_, expected, actual)| actual.is_nan() || (actual - *expected).abs() > 1e-10 * expected.abs())
        .map(|(arguments, expected, actual)| format!("{what}{arguments:?}: expected {expected:e}, got {actual:e}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_tail_of_t_keeps_ten_digits_down_to_1e_minus_298() {
    check(
        "t_sf",
        &[
            (&[1e-8, 1.0], 0.49999999681690114),
            (&[0.3, 0.5], 0.42242957606524541),
            (&[1.0, 3.7], 0.18907069988022622),
            (&[2.0, 17.77], 0.0305115756009629),
            (&[4.0, 3996.1649478324957], 3.2244210649256126e-5),
            (&[12.0, 250.5], 8.1799927635578087e-27),
            (&[40.0, 99.7], 1.6376825098506864e-63),
            (&[33.0, 5000.0], 1.5305247901965146e-216),
            (&[33.9, 1e6], 4.635359705321392e-252),
            (&[36.0, 1e8], 4.2002510516469541e-284),
            (&[1e60, 4.0], 3.0000000000000006e-240),
            (&[1e200, 1.0], 3.1830988618379068e-201),
            (&[2.0, 1e10], 0.022750131961676949),
            (&[900.0, 80.0], 2.6947094033838482e-162),
            (&[37.0, 1e5], 5.98731412171233e-298),
        ],
        |a| d::t_sf(a[0], a[1]),
    );
}

#[test]
fn the_quantile_of_t_keeps_ten_digits_from_one_degree_of_freedom_to_ten_million() {
    check(
        "t_quantile",
        &[
            (&[1e-250, 5.0], -1.5683925590993378e50),
            (&[1e-12, 1.0], -3.1830988618379068e11),
            (&[1e-12, 2.5], -5.5306174076515816e4),
            (&[0.001, 0.5], -1.0284911563017555e5),
            (&[0.025, 17.776473516178488], -2.1028172415698024),
            (&[0.975, 17.776473516178488], 2.1028172415698024),
            (&[0.49, 2.0], -0.028289929799333577),
            (&[1e-300, 1.0], -3.1830988618379066e299),
            (&[1e-9, 1.2], -1.2714093280850334e7),
            (&[0.025, 1.0001], -12.703202820451481),
            (&[1e-250, 100.0], -3.0619348800647641e3),
            (&[0.025, 3996.1649478324957], -1.9605577982897814),
            (&[1e-12, 1e6], -7.034572608411255),
            (&[0.2, 1e7], -0.8416212695170074),
            (&[1e-250, 1e6], -33.80925019034945),
        ],
        |a| d::t_quantile(a[0], a[1]),
    );
}

#[test]
fn the_normal_keeps_ten_digits_down_to_1e_minus_307() {
    check(
        "normal_sf",
        &[
            (&[0.1], 0.46017216272297102),
            (&[1.0], 0.15865525393145705),
            (&[2.5], 6.2096653257761352e-3),
            (&[5.0], 2.8665157187919391e-7),
            (&[8.3], 5.205569744890254e-17),
            (&[15.0], 3.6709661993127509e-51),
            (&[25.0], 3.0566967063825609e-138),
            (&[33.0], 4.0611856209158551e-239),
            (&[37.5], 4.6053530095819548e-308),
        ],
        |a| d::normal_sf(a[0]),
    );
    check(
        "normal_quantile",
        &[
            (&[1e-300], -37.047096299361199),
            (&[1e-250], -33.799586172694837),
            (&[1e-100], -21.273453560965324),
            (&[1e-20], -9.2623400897984076),
            (&[1e-9], -5.9978070150076869),
            (&[0.0005], -3.2905267314918948),
            (&[0.025], -1.9599639845400542),
            (&[0.2], -0.84162123357291417),
            (&[0.4], -0.25334710313579974),
            (&[0.4999], -2.5066283008800749e-4),
        ],
        |a| d::normal_quantile(a[0]),
    );
}

#[test]
fn chi_square_and_beta_keep_ten_digits_in_the_tails_and_at_large_parameters() {
    check(
        "chi_square_sf",
        &[
            (&[1e-9, 1.0], 0.999974768674784),
            (&[0.5, 3.0], 0.91889141165467586),
            (&[7.0, 4.5], 0.1759255544512179),
            (&[60.0, 50.0], 0.1572420272383916),
            (&[1200.0, 1.0], 6.0995688148084337e-263),
            (&[1150.0, 4.0], 1.0992472531386042e-247),
            (&[2000.0, 900.0], 2.3880884868940976e-85),
            (&[1_007_000.0, 1e6], 3.9319296357575028e-7),
            (&[900.0, 1000.0], 0.98928276190871026),
        ],
        |a| d::chi_square_sf(a[0], a[1]),
    );
    check(
        "beta_cdf",
        &[
            (&[1e-6, 2.0, 3.0], 5.9999920000029995e-12),
            (&[0.01, 120.0, 9880.0], 0.027531463080491058),
            (&[0.3, 0.5, 0.5], 0.36901011956554538),
            (&[0.5, 700.0, 300.0], 5.2866472076605861e-38),
            (&[0.2, 0.1, 50.0], 0.99999982300956435),
            (&[1e-100, 2.5, 7.0], 4.9854492187500002e-249),
            (&[0.0101, 1e4, 1e6], 0.9777875433046725),
            (&[0.011, 1001.5, 99999.5], 0.9996241368985714),
        ],
        |a| d::beta_cdf(a[0], a[1], a[2]),
    );
}

#[test]
fn quantiles_invert_their_distributions() {
    for df in [0.3, 1.0, 4.2, 30.0, 1e3, 1e5] {
        for p in [1e-200, 1e-30, 1e-5, 0.01, 0.3, 0.4999] {
            let t = -d::t_quantile(p, df);
            // At 1e-200 and df = .3 the quantile itself is beyond the largest number.
            if t.is_finite() {
                assert!((d::t_sf(t, df) / p - 1.0).abs() < 1e-9, "p {p:e}, df {df}: t {t:e}");
            }
        }
    }
    for (a, b) in [(0.5, 0.5), (2.0, 10.0), (121.0, 9881.0), (3.0, 1e6)] {
        for p in [1e-9, 0.025, 0.5, 0.975, 0.999_999] {
            let x = d::beta_quantile(p, a, b);
            assert!((d::beta_cdf(x, a, b) / p - 1.0).abs() < 1e-9, "p {p:e} of Beta({a}, {b}): {x:e}");
        }
    }
}

#[test]
fn impossible_arguments_give_nan_and_ends_give_their_limits() {
    assert!(d::t_sf(1.0, 0.0).is_nan() && d::t_sf(f64::NAN, 3.0).is_nan() && d::t_quantile(0.5, -1.0).is_nan());
    assert!(
        d::normal_quantile(1.5).is_nan() && d::chi_square_sf(1.0, 0.0).is_nan() && d::beta_cdf(0.5, 0.0, 1.0).is_nan()
    );
    assert!(d::beta_quantile(-0.1, 1.0, 1.0).is_nan() && d::t_quantile(f64::NAN, 3.0).is_nan());
    assert_eq!((d::t_sf(f64::INFINITY, 3.0), d::t_sf(f64::NEG_INFINITY, 3.0), d::t_sf(0.0, 3.0)), (0.0, 1.0, 0.5));
    assert_eq!((d::t_quantile(0.0, 3.0), d::t_quantile(1.0, 3.0)), (f64::NEG_INFINITY, f64::INFINITY));
    assert_eq!((d::chi_square_sf(0.0, 2.0), d::chi_square_sf(f64::INFINITY, 2.0)), (1.0, 0.0));
    assert_eq!(
        (d::beta_cdf(0.0, 2.0, 3.0), d::beta_cdf(1.0, 2.0, 3.0), d::beta_quantile(1.0, 2.0, 3.0)),
        (0.0, 1.0, 1.0)
    );
    assert_eq!(d::fair_coin_two_sided(0, 0), 1.0);
}
