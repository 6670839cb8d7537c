//! Order statistics around quantiles: of one value per unit, or of events of which a unit has several.
//!
//! In: rows with a value, apart by slice and variant.  Out: a [`Sample`] for each.
//! Never here: which rows count (`values`, `events`), what the bounds mean (`experiment::stats::quantile`).
//! Start at [`read_quantiles`].

use experiment::metric::{QuantileOf, QuantilePlan};
use experiment::results::Sample;
use experiment::stats::quantile::{Quantile, QuantileClustered, bound_ranks};
use warehouse::{Catalog, Warehouse};

use super::events::events_source;
use super::statistics::{VALUES, kept_for};
use super::units::kept;
use super::values::value_column;
use super::{Subject, text};
use crate::PipelineError;
use crate::rows::Columns;

/// A quantile of the rows of one variant, in one slice.
pub(super) struct Found {
    pub(super) slice: String,
    pub(super) variant: String,
    pub(super) sample: Sample,
}

/// The rows of a metric, `values` being those of units.
pub(super) fn source(
    subject: &Subject<'_>,
    metric: usize,
    plan: QuantilePlan,
    values: &str,
) -> Result<String, PipelineError> {
    match plan.of {
        QuantileOf::Units => Ok(values.to_owned()),
        QuantileOf::Events => events_source(subject, metric),
    }
}

/// Rows of one variant in one slice, and the ranks that are asked of them.
struct Group {
    slice: String,
    variant: String,
    n: u64,
    /// Of the bounds.
    bounds: (u64, u64),
    /// Of the neighbours of the quantile, and how far it lies from the first to the second (Hyndman & Fan 1996, type 7).
    around: (u64, u64, f64),
    values: Vec<(u64, f64)>,
}

impl Group {
    fn new(slice: String, variant: String, n: u64, share: f64) -> Self {
        let place = share * (n.max(1) - 1) as f64;
        let below = place.floor();
        let around = (below as u64 + 1, (below as u64 + 2).min(n.max(1)), place - below);
        Self { slice, variant, n, bounds: bound_ranks(n, share), around, values: Vec::new() }
    }

    fn condition(&self) -> String {
        format!("slice = {} and variant = {}", text(&self.slice), text(&self.variant))
    }

    fn value(&self, rank: u64) -> f64 {
        self.values.iter().find(|(found, _)| *found == rank).map_or(f64::NAN, |(_, value)| *value)
    }

    fn quantile(&self, nu: f64) -> Quantile {
        let (below, above, share) = self.around;
        let (low, high) = (self.value(below), self.value(above));
        Quantile {
            n: self.n,
            n_star: self.n,
            nu,
            quantile_hat: low + (high - low) * share,
            quantile_lower: self.value(self.bounds.0),
            quantile_upper: self.value(self.bounds.1),
        }
    }
}

/// Reads the quantile of a metric from `source` (see [`source()`]); `slice` is an expression over its columns. One query for sizes, one for
/// order statistics, and of events one for how many each unit has below the quantile.
pub(super) async fn read_quantiles(
    warehouse: &Warehouse,
    catalog: &Catalog,
    subject: &Subject<'_>,
    source: &str,
    (metric, plan): (usize, QuantilePlan),
    slice: Option<&str>,
) -> Result<Vec<Found>, PipelineError> {
    let (slice, of_metric) = (slice.unwrap_or("''"), &subject.metrics[metric].1);
    let value = match plan.of {
        QuantileOf::Units => value_column(subject, metric, 0),
        QuantileOf::Events => "value".to_owned(),
    };
    let rows = format!(
        "(select {slice} as slice, variant, unit, {value} as value from {source} where {} and {})",
        kept(subject),
        kept_for(subject, of_metric),
    );
    let sizes = format!("select slice, variant, count(*) as n from {rows} group by 1, 2 order by 1, 2");
    let result = warehouse.query(catalog, &sizes).await?;
    let columns = Columns::new(VALUES, &result);
    let names = columns.text("slice")?.into_iter().zip(columns.text("variant")?);
    let mut groups: Vec<Group> = names
        .zip(columns.number("n")?)
        .map(|((slice, variant), n)| {
            let n = n.unwrap_or_default() as u64;
            Group::new(slice.unwrap_or_default(), variant.unwrap_or_default(), n, plan.share)
        })
        .collect();
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    read_ranks(warehouse, catalog, &rows, &mut groups).await?;
    match plan.of {
        QuantileOf::Units => Ok(groups
            .into_iter()
            .map(|group| Found {
                sample: Sample::Quantile(group.quantile(plan.share)),
                slice: group.slice,
                variant: group.variant,
            })
            .collect()),
        QuantileOf::Events => read_clusters(warehouse, catalog, &rows, &groups, plan.share).await,
    }
}

/// Sorts once, and takes the few rows that are asked for.
async fn read_ranks(
    warehouse: &Warehouse,
    catalog: &Catalog,
    rows: &str,
    groups: &mut [Group],
) -> Result<(), PipelineError> {
    let wanted = |group: &Group| {
        let ((lower, upper), (below, above, _)) = (group.bounds, group.around);
        format!("({} and place in ({lower}, {below}, {above}, {upper}))", group.condition())
    };
    let wanted: Vec<String> = groups.iter().map(wanted).collect();
    let sql = format!(
        "select slice, variant, place, value from \
         (select slice, variant, value, row_number() over (partition by slice, variant order by value) as place from {rows}) where {}",
        wanted.join(" or "),
    );
    let result = warehouse.query(catalog, &sql).await?;
    let columns = Columns::new(VALUES, &result);
    let names = columns.text("slice")?.into_iter().zip(columns.text("variant")?);
    for ((slice, variant), (place, value)) in
        names.zip(columns.number("place")?.into_iter().zip(columns.number("value")?))
    {
        let is_meant =
            |group: &&mut Group| Some(&group.slice) == slice.as_ref() && Some(&group.variant) == variant.as_ref();
        if let (Some(group), Some(place), Some(value)) = (groups.iter_mut().find(is_meant), place, value) {
            group.values.push((place as u64, value));
        }
    }
    Ok(())
}

/// Q2: of each unit how many of its events are at most the quantile of its group, added up.
async fn read_clusters(
    warehouse: &Warehouse,
    catalog: &Catalog,
    rows: &str,
    groups: &[Group],
    nu: f64,
) -> Result<Vec<Found>, PipelineError> {
    let limits: Vec<String> = groups
        .iter()
        .map(|group| format!("when {} then {:?}", group.condition(), group.quantile(nu).quantile_hat))
        .collect();
    let sql = format!(
        "select slice, variant, count(*) as units, sum(m) as m, sum(m * m) as mm, sum(d) as d, sum(d * d) as dd, sum(m * d) as md from \
         (select slice, variant, unit, cast(count(*) as double) as d, \
         cast(count(*) filter (where value <= case {} end) as double) as m from {rows} group by 1, 2, 3) group by 1, 2",
        limits.join(" "),
    );
    let result = warehouse.query(catalog, &sql).await?;
    let columns = Columns::new(VALUES, &result);
    let mut sums = Vec::new();
    for name in ["units", "m", "mm", "d", "dd", "md"] {
        sums.push(columns.number(name)?);
    }
    let mut found = Vec::new();
    for (row, (slice, variant)) in columns.text("slice")?.into_iter().zip(columns.text("variant")?).enumerate() {
        let (slice, variant) = (slice.unwrap_or_default(), variant.unwrap_or_default());
        let Some(group) = groups.iter().find(|group| group.slice == slice && group.variant == variant) else {
            continue;
        };
        let sum = |at: usize| sums[at][row].unwrap_or_default();
        let clustered = QuantileClustered {
            quantile: group.quantile(nu),
            n_clusters: sum(0) as u64,
            main_sum: sum(1),
            main_sum_squares: sum(2),
            denominator_sum: sum(3),
            denominator_sum_squares: sum(4),
            main_denominator_sum_product: sum(5),
        };
        found.push(Found { slice, variant, sample: Sample::QuantileOfEvents(clustered) });
    }
    Ok(found)
}
