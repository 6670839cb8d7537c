//! Units that two experiments share: how the primary metric of the first came out by the variants of both.
//!
//! In: the tables of two experiments.  Out: [`Crossing`]s, one per pair of treatment arms.
//! Never here: what an interaction is (`experiment::interactions`).
//! Start at [`read_crossings`].

use std::collections::BTreeMap;

use experiment::interactions::Crossing;
use experiment::metric::Statistic;
use experiment::stats::heterogeneity::CrossedCell;
use warehouse::{Catalog, Warehouse};

use super::Subject;
use super::units::kept;
use super::values::value_column;
use crate::PipelineError;
use crate::rows::Columns;

/// Reads a pair. Nothing where no unit is in both, and where the primary metric is no mean: only means have cells.
pub(crate) async fn read_crossings(
    warehouse: &Warehouse,
    catalog: &Catalog,
    first: &Subject<'_>,
    second: &Subject<'_>,
    cap: Option<f64>,
) -> Result<Vec<Crossing>, PipelineError> {
    let Some((metric, plan)) = first.metrics.first() else { return Ok(Vec::new()) };
    if !matches!(plan.statistic, Statistic::Mean | Statistic::Proportion) {
        return Ok(Vec::new());
    }
    let column = value_column(first, 0, 0);
    let value = cap.map_or(column.clone(), |cap| format!("least({column}, {cap:?})"));
    let mature = super::statistics::kept_for(first, plan);
    let (values, units) = (first.table("values")?.to_string(), second.table("units")?);
    let sql = format!(
        "select a.variant as first_arm, b.variant as second_arm, count(*) as units, avg(a.value) as mean, var_samp(a.value) as variance \
         from (select unit, variant, {value} as value from {values} where {} and {mature}) a \
         join (select unit, variant from {units} where {}) b on a.unit = b.unit group by 1, 2",
        kept(first),
        kept(second),
    );
    let result = warehouse.query(catalog, &sql).await?;
    let found = Columns::new(&values, &result);
    let arms = found.text("first_arm")?.into_iter().zip(found.text("second_arm")?);
    let figures = found.number("units")?.into_iter().zip(found.number("mean")?).zip(found.number("variance")?);
    let mut cells: BTreeMap<(String, String), CrossedCell> = BTreeMap::new();
    for ((a, b), ((n, mean), variance)) in arms.zip(figures) {
        let n = n.unwrap_or_default() as u64;
        let cell = CrossedCell { n, mean: mean.unwrap_or_default(), variance: variance.unwrap_or_default() };
        cells.insert((a.unwrap_or_default(), b.unwrap_or_default()), cell);
    }
    if cells.is_empty() {
        return Ok(Vec::new());
    }
    let none = CrossedCell { n: 0, mean: 0.0, variance: 0.0 };
    let cell = |a: &str, b: &str| cells.get(&(a.to_owned(), b.to_owned())).copied().unwrap_or(none);
    let keys = |subject: &Subject<'_>| -> Vec<String> {
        subject.file.assignment.variants.iter().map(|variant| variant.key.clone()).collect()
    };
    let (of_first, of_second) = (keys(first), keys(second));
    let mut crossings = Vec::new();
    for a in of_first.iter().skip(1) {
        for b in of_second.iter().skip(1) {
            let (c, d) = (&of_first[0], &of_second[0]);
            crossings.push(Crossing {
                first: first.file.assignment.key.clone(),
                second: second.file.assignment.key.clone(),
                metric: (*metric).to_owned(),
                first_arm: a.clone(),
                second_arm: b.clone(),
                cells: [[cell(c, d), cell(c, b)], [cell(a, d), cell(a, b)]],
            });
        }
    }
    Ok(crossings)
}
