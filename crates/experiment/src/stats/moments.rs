//! Sufficient statistics of one arm: all that leaves the warehouse.
//!
//! In: counts, sums and sums of products per arm.  Out: means, variances, covariances; sums of two disjoint parts.
//! Never here: comparisons of arms (see `compare`); quantiles (see `quantile`).
//! Start at [`Mean`].

use serde::{Deserialize, Serialize};

use super::error::{StatsError, finite};

/// Below this share of the mean square a variance is the rounding of the sums: the outcome is constant.
/// (A hundred million additions of 0.1 are off by 2e-8 of their sum in the worst case and by about 1e-12 in practice.)
const ROUNDING_SHARE: f64 = 1e-12;

/// Sample covariance (n − 1) from sums; 0 below two units.
pub(super) fn covariance(n: u64, sum_a: f64, sum_b: f64, sum_of_products: f64) -> f64 {
    if n < 2 {
        return 0.0;
    }
    let units = n as f64;
    (sum_of_products - sum_a * sum_b / units) / (units - 1.0)
}

/// A value per unit: revenue, visits, minutes.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Mean {
    pub n: u64,
    pub sum: f64,
    pub sum_squares: f64,
}

impl Mean {
    pub fn from_values(values: &[f64]) -> Self {
        Self { n: values.len() as u64, sum: values.iter().sum(), sum_squares: values.iter().map(|x| x * x).sum() }
    }

    /// Σy/n; 0 for no unit.
    pub fn mean(&self) -> f64 {
        if self.n == 0 { 0.0 } else { self.sum / self.n as f64 }
    }

    /// s² with n − 1; 0 below two units and where it cannot be told from the rounding of the sums.
    pub fn variance(&self) -> f64 {
        let variance = covariance(self.n, self.sum, self.sum, self.sum_squares);
        let floor = ROUNDING_SHARE * self.sum_squares / (self.n.max(1)) as f64;
        if variance <= floor { 0.0 } else { variance }
    }

    #[must_use]
    pub fn merged(&self, other: &Self) -> Self {
        Self { n: self.n + other.n, sum: self.sum + other.sum, sum_squares: self.sum_squares + other.sum_squares }
    }

    pub(super) fn check(&self) -> Result<(), StatsError> {
        finite("sum", self.sum)?;
        finite("sum_squares", self.sum_squares)?;
        if self.sum_squares < 0.0 {
            return Err(StatsError::OutOfRange { name: "sum_squares", value: self.sum_squares, allowed: "at least 0" });
        }
        Ok(())
    }
}

/// A yes or no per unit.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Proportion {
    pub n: u64,
    /// How many said yes.
    pub sum: f64,
}

impl Proportion {
    pub fn mean(&self) -> f64 {
        if self.n == 0 { 0.0 } else { self.sum / self.n as f64 }
    }

    /// p(1 − p), the population form.
    pub fn variance(&self) -> f64 {
        self.mean() * (1.0 - self.mean())
    }

    #[must_use]
    pub fn merged(&self, other: &Self) -> Self {
        Self { n: self.n + other.n, sum: self.sum + other.sum }
    }

    pub(super) fn check(&self) -> Result<(), StatsError> {
        finite("sum", self.sum)?;
        if self.sum < 0.0 || self.sum > self.n as f64 {
            return Err(StatsError::OutOfRange { name: "sum", value: self.sum, allowed: "between 0 and the units" });
        }
        Ok(())
    }
}

/// Sum of one value over sum of another, both per unit: clicks per page view, revenue per order.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Ratio {
    pub n: u64,
    pub m_statistic: Mean,
    pub d_statistic: Mean,
    pub m_d_sum_of_products: f64,
}

impl Ratio {
    /// R = M/D; 0 where the denominator is.
    pub fn mean(&self) -> f64 {
        if self.d_statistic.sum == 0.0 { 0.0 } else { self.m_statistic.sum / self.d_statistic.sum }
    }

    pub fn covariance(&self) -> f64 {
        covariance(self.n, self.m_statistic.sum, self.d_statistic.sum, self.m_d_sum_of_products)
    }

    /// n·Var(R) by the delta method at the level of randomised units.  Source: Deng, Knoblich & Lu, KDD 2018, § 3.
    pub fn variance(&self) -> f64 {
        let (m, d) = (self.m_statistic.mean(), self.d_statistic.mean());
        if self.n < 2 || d == 0.0 {
            return 0.0;
        }
        let ratio = m / d;
        let spread = self.m_statistic.variance() + ratio * ratio * self.d_statistic.variance();
        let variance = spread - 2.0 * ratio * self.covariance();
        // Numerator and denominator in proportion leave only rounding.
        if variance <= ROUNDING_SHARE * spread { 0.0 } else { variance / (d * d) }
    }

    #[must_use]
    pub fn merged(&self, other: &Self) -> Self {
        Self {
            n: self.n + other.n,
            m_statistic: self.m_statistic.merged(&other.m_statistic),
            d_statistic: self.d_statistic.merged(&other.d_statistic),
            m_d_sum_of_products: self.m_d_sum_of_products + other.m_d_sum_of_products,
        }
    }

    pub(super) fn check(&self) -> Result<(), StatsError> {
        self.m_statistic.check()?;
        self.d_statistic.check()?;
        finite("m_d_sum_of_products", self.m_d_sum_of_products)?;
        if self.d_statistic.sum == 0.0 { Err(StatsError::ZeroDenominator) } else { Ok(()) }
    }
}

/// A value per unit with the same unit's value before exposure.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Cuped {
    pub n: u64,
    pub post_statistic: Mean,
    pub pre_statistic: Mean,
    pub post_pre_sum_of_products: f64,
}

impl Cuped {
    pub fn covariance(&self) -> f64 {
        covariance(self.n, self.post_statistic.sum, self.pre_statistic.sum, self.post_pre_sum_of_products)
    }

    #[must_use]
    pub fn merged(&self, other: &Self) -> Self {
        Self {
            n: self.n + other.n,
            post_statistic: self.post_statistic.merged(&other.post_statistic),
            pre_statistic: self.pre_statistic.merged(&other.pre_statistic),
            post_pre_sum_of_products: self.post_pre_sum_of_products + other.post_pre_sum_of_products,
        }
    }

    /// θ = cov(y, x)/var(x), for pooled arms; 0 where the covariate or the outcome is constant, which leaves the plain metric.
    /// Source: Deng, Xu, Kohavi & Walker, WSDM 2013, eq. 4.
    pub fn theta(&self) -> f64 {
        let pre = self.pre_statistic.variance();
        if pre == 0.0 || self.post_statistic.variance() == 0.0 { 0.0 } else { self.covariance() / pre }
    }

    /// s²_y + θ²s²_x − 2θs_xy.
    pub fn adjusted_variance(&self, theta: f64) -> f64 {
        let spread = self.post_statistic.variance() + theta * theta * self.pre_statistic.variance();
        let variance = spread - 2.0 * theta * self.covariance();
        if variance <= ROUNDING_SHARE * spread { 0.0 } else { variance }
    }

    pub(super) fn check(&self) -> Result<(), StatsError> {
        self.post_statistic.check()?;
        self.pre_statistic.check()?;
        finite("post_pre_sum_of_products", self.post_pre_sum_of_products)?;
        Ok(())
    }
}

/// A ratio with the same units' ratio before exposure: M/D after, M′/D′ before.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct CupedRatio {
    pub n: u64,
    pub m_statistic_post: Mean,
    pub d_statistic_post: Mean,
    pub m_statistic_pre: Mean,
    pub d_statistic_pre: Mean,
    pub m_post_m_pre_sum_of_products: f64,
    pub d_post_d_pre_sum_of_products: f64,
    pub m_pre_d_pre_sum_of_products: f64,
    pub m_post_d_post_sum_of_products: f64,
    pub m_post_d_pre_sum_of_products: f64,
    pub m_pre_d_post_sum_of_products: f64,
}

impl CupedRatio {
    /// The ratio after exposure alone.
    pub fn post(&self) -> Ratio {
        Ratio {
            n: self.n,
            m_statistic: self.m_statistic_post,
            d_statistic: self.d_statistic_post,
            m_d_sum_of_products: self.m_post_d_post_sum_of_products,
        }
    }

    /// The ratio before exposure alone.
    pub fn pre(&self) -> Ratio {
        Ratio {
            n: self.n,
            m_statistic: self.m_statistic_pre,
            d_statistic: self.d_statistic_pre,
            m_d_sum_of_products: self.m_pre_d_pre_sum_of_products,
        }
    }

    /// The covariance matrix of (M, D, M′, D′) per unit.
    pub fn covariance_matrix(&self) -> [[f64; 4]; 4] {
        let parts = [&self.m_statistic_post, &self.d_statistic_post, &self.m_statistic_pre, &self.d_statistic_pre];
        let products = [
            [
                0.0,
                self.m_post_d_post_sum_of_products,
                self.m_post_m_pre_sum_of_products,
                self.m_post_d_pre_sum_of_products,
            ],
            [0.0, 0.0, self.m_pre_d_post_sum_of_products, self.d_post_d_pre_sum_of_products],
            [0.0, 0.0, 0.0, self.m_pre_d_pre_sum_of_products],
        ];
        let mut matrix = [[0.0; 4]; 4];
        for i in 0..4 {
            matrix[i][i] = parts[i].variance();
            for j in i + 1..4 {
                let value = covariance(self.n, parts[i].sum, parts[j].sum, products[i][j]);
                matrix[i][j] = value;
                matrix[j][i] = value;
            }
        }
        matrix
    }

    #[must_use]
    pub fn merged(&self, other: &Self) -> Self {
        Self {
            n: self.n + other.n,
            m_statistic_post: self.m_statistic_post.merged(&other.m_statistic_post),
            d_statistic_post: self.d_statistic_post.merged(&other.d_statistic_post),
            m_statistic_pre: self.m_statistic_pre.merged(&other.m_statistic_pre),
            d_statistic_pre: self.d_statistic_pre.merged(&other.d_statistic_pre),
            m_post_m_pre_sum_of_products: self.m_post_m_pre_sum_of_products + other.m_post_m_pre_sum_of_products,
            d_post_d_pre_sum_of_products: self.d_post_d_pre_sum_of_products + other.d_post_d_pre_sum_of_products,
            m_pre_d_pre_sum_of_products: self.m_pre_d_pre_sum_of_products + other.m_pre_d_pre_sum_of_products,
            m_post_d_post_sum_of_products: self.m_post_d_post_sum_of_products + other.m_post_d_post_sum_of_products,
            m_post_d_pre_sum_of_products: self.m_post_d_pre_sum_of_products + other.m_post_d_pre_sum_of_products,
            m_pre_d_post_sum_of_products: self.m_pre_d_post_sum_of_products + other.m_pre_d_post_sum_of_products,
        }
    }

    pub(super) fn check(&self) -> Result<(), StatsError> {
        self.post().check()?;
        self.m_statistic_pre.check()?;
        self.d_statistic_pre.check()?;
        for (name, value) in [
            ("m_post_m_pre_sum_of_products", self.m_post_m_pre_sum_of_products),
            ("d_post_d_pre_sum_of_products", self.d_post_d_pre_sum_of_products),
            ("m_pre_d_pre_sum_of_products", self.m_pre_d_pre_sum_of_products),
            ("m_post_d_pre_sum_of_products", self.m_post_d_pre_sum_of_products),
            ("m_pre_d_post_sum_of_products", self.m_pre_d_post_sum_of_products),
        ] {
            finite(name, value)?;
        }
        Ok(())
    }
}

/// vᵀ·A·w for small square matrices.
pub(super) fn bilinear<const K: usize>(v: &[f64; K], matrix: &[[f64; K]; K], w: &[f64; K]) -> f64 {
    let mut sum = 0.0;
    for i in 0..K {
        for j in 0..K {
            sum += v[i] * matrix[i][j] * w[j];
        }
    }
    sum
}
