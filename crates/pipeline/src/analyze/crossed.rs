//! Units that two experiments share: how the primary metric of the first came out by the variants of both.
//!
//! In: the tables of two experiments.  Out: [`Crossing`]s, one per pair of treatment arms.
//! Never here: what an interaction is (`experiment::interactions`).
//! Start at [`read_crossings`].

use std::collections::BTreeMap;

use experiment::interactions::Crossing;
use experiment::metric::Statistic;
use experiment::results::Sample;
use warehouse::{Catalog, Warehouse};

use super::Subject;
use super::moments::read_moments;
use super::quantiles::{self, read_quantiles};
use super::units::kept;
use crate::PipelineError;

/// Units and sample, by the variant of the first and that of the second.
type Cells = BTreeMap<(String, String), (u64, Option<Sample>)>;

/// Reads a pair. Nothing where no unit is in both.
pub(crate) async fn read_crossings(
    warehouse: &Warehouse,
    catalog: &Catalog,
    first: &Subject<'_>,
    second: &Subject<'_>,
    cap: Option<f64>,
) -> Result<Vec<Crossing>, PipelineError> {
    let Some((name, plan)) = first.metrics.first() else { return Ok(Vec::new()) };
    // Columns of the first metric have the same names whatever others there are.
    let mut plan = plan.clone();
    plan.covariate_days = 0;
    let primary = Subject { metrics: vec![(*name, plan)], ..first.clone() };
    let cells = read_cells(warehouse, catalog, &primary, second, cap).await?;
    if cells.is_empty() {
        return Ok(Vec::new());
    }
    let cell = |a: &String, b: &String| cells.get(&(a.clone(), b.clone())).cloned().unwrap_or_default();
    let keys = |subject: &Subject<'_>| -> Vec<String> {
        subject.file.assignment.variants.iter().map(|variant| variant.key.clone()).collect()
    };
    let (of_first, of_second) = (keys(first), keys(second));
    let mut crossings = Vec::new();
    for a in of_first.iter().skip(1) {
        for b in of_second.iter().skip(1) {
            let [cc, ct, tc, tt] =
                [cell(&of_first[0], &of_second[0]), cell(&of_first[0], b), cell(a, &of_second[0]), cell(a, b)];
            crossings.push(Crossing {
                first: first.file.assignment.key.clone(),
                second: second.file.assignment.key.clone(),
                metric: (*name).to_owned(),
                first_arm: a.clone(),
                second_arm: b.clone(),
                units: [[cc.0, ct.0], [tc.0, tt.0]],
                samples: [[cc.1, ct.1], [tc.1, tt.1]],
            });
        }
    }
    Ok(crossings)
}

/// The rows of the first with the variant of the second as their slice.
async fn read_cells(
    warehouse: &Warehouse,
    catalog: &Catalog,
    primary: &Subject<'_>,
    second: &Subject<'_>,
    cap: Option<f64>,
) -> Result<Cells, PipelineError> {
    const OTHER: &str = "other_variant";
    let units = second.table("units")?;
    let shared = |rows: &str| {
        format!(
            "(select a.*, b.variant as {OTHER} from {rows} a join (select unit, variant from {units} where {}) b on a.unit = b.unit)",
            kept(second),
        )
    };
    let values = primary.table("values")?.to_string();
    let read = read_moments(warehouse, catalog, primary, &shared(&values), &[cap], Some(OTHER)).await?;
    let mut cells: Cells = read
        .into_iter()
        .map(|mut cell| ((cell.variant, cell.slice), (cell.units, cell.samples.pop().flatten())))
        .collect();
    if let Statistic::Quantile(plan) = primary.metrics[0].1.statistic {
        let rows = shared(&quantiles::source(primary, 0, plan, &values)?);
        for found in read_quantiles(warehouse, catalog, primary, &rows, (0, plan), Some(OTHER)).await? {
            if let Some(cell) = cells.get_mut(&(found.variant, found.slice)) {
                cell.1 = Some(found.sample);
            }
        }
    }
    Ok(cells)
}
