//! What each unit was worth to a metric in the past: the one place where values of single units leave the warehouse.
//!
//! In: a [`Subject`] of the past.  Out: a [`Past`] to be split at random.
//! Never here: splits (`experiment::a_a`), who was there (`history`).
//! Start at [`read_past`].

use experiment::a_a::{Past, every};
use experiment::metric::{QuantileOf, Statistic};
use warehouse::{Catalog, Warehouse};

use super::Subject;
use super::moments::entries;
use super::quantiles;
use super::statistics::{VALUES, kept_for};
use super::units::kept;
use super::values::value_column;
use crate::PipelineError;
use crate::rows::Columns;

/// Reads the units of a metric in the order of their names, so that the same seed splits them the same.
pub(crate) async fn read_past(
    warehouse: &Warehouse,
    catalog: &Catalog,
    subject: &Subject<'_>,
    metric: usize,
    cap: Option<f64>,
) -> Result<Past, PipelineError> {
    let plan = &subject.metrics[metric].1;
    let values = subject.table("values")?.to_string();
    let (source, columns, width) = match plan.statistic {
        Statistic::Quantile(quantile) if quantile.of == QuantileOf::Events => {
            (quantiles::source(subject, metric, quantile, &values)?, "value as e0".to_owned(), 1)
        }
        Statistic::Quantile(_) => (values, format!("{} as e0", value_column(subject, metric, 0)), 1),
        Statistic::Mean | Statistic::Proportion | Statistic::Ratio => {
            let entries = entries(subject, metric, cap);
            let named: Vec<String> =
                entries.iter().enumerate().map(|(at, entry)| format!("{entry} as e{at}")).collect();
            (values, named.join(", "), entries.len())
        }
    };
    let condition = format!("{} and {}", kept(subject), kept_for(subject, plan));
    let count = format!("select count(distinct unit) as units, count(*) as entries from {source} where {condition}");
    let result = warehouse.query(catalog, &count).await?;
    let counts = Columns::new(VALUES, &result);
    let count = |name: &str| {
        Ok::<u64, PipelineError>(counts.number(name)?.first().copied().flatten().unwrap_or_default() as u64)
    };
    let every = every(count("units")?, count("entries")?);
    let sql = format!(
        "select * from (select unit, dense_rank() over (order by unit) as place, {columns} from {source} where {condition}) \
         where place % {every} = 0 order by place, e0"
    );
    let result = warehouse.query(catalog, &sql).await?;
    let found = Columns::new(VALUES, &result);
    let places = found.number("place")?;
    let numbers = (0..width).map(|at| found.number(&format!("e{at}"))).collect::<Result<Vec<_>, _>>()?;
    // Of events there are millions.
    drop(result);
    let number = |row: usize, at: usize| numbers[at][row].unwrap_or_default();
    let rows = numbers[0].len();
    Ok(match plan.statistic {
        Statistic::Quantile(quantile) => match quantile.of {
            QuantileOf::Units => {
                Past::Units { share: quantile.share, values: (0..rows).map(|row| number(row, 0)).collect() }
            }
            QuantileOf::Events => {
                let (mut units, mut before) = (0, None);
                let mut events = Vec::with_capacity(rows);
                // Events of one unit follow each other.
                for (row, place) in places.into_iter().enumerate() {
                    units += usize::from(row == 0 || place != before);
                    before = place;
                    events.push((units - 1, number(row, 0)));
                }
                Past::Events { share: quantile.share, units, events }
            }
        },
        Statistic::Mean | Statistic::Proportion | Statistic::Ratio => Past::Moments {
            width,
            rows: (0..rows)
                .flat_map(|row| (0..width).map(move |at| (row, at)))
                .map(|(row, at)| number(row, at))
                .collect(),
            is_ratio: plan.statistic == Statistic::Ratio,
        },
    })
}
