//! Fills intervals of an incremental model: one run of its SQL per batch of adjacent ones, files per interval.
//!
//! In: the plan of the model, intervals that are open.  Out: the files of each.
//! Never here: which intervals are open, and why (`incremental`).
//! Start at [`Fill::fill`].

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, max, min, take_record_batch};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Utc};
use datafusion::common::ScalarValue;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use domain::Progress;
use futures::StreamExt;

use crate::error::{Result, WarehouseError};
use crate::model::{Interval, Model};
use crate::sql_error::engine_error;
use crate::table::DataFile;
use crate::widen::widen_batch;
use crate::write::Aside;

/// A half-open part of the time line.
pub(super) type Part = (DateTime<Utc>, DateTime<Utc>);

/// Adjacent open intervals together, at most `most` of them.
pub(super) fn batches(open: &[DateTime<Utc>], interval: Interval, most: usize) -> Vec<Vec<Part>> {
    let mut batches: Vec<Vec<Part>> = Vec::new();
    for start in open {
        let part = (*start, interval.end_of(*start));
        match batches.last_mut() {
            Some(batch) if batch.len() < most && batch.last().is_some_and(|(_, end)| end == start) => batch.push(part),
            Some(_) | None => batches.push(vec![part]),
        }
    }
    batches
}

/// What filling needs besides the intervals.
pub(super) struct Fill<'a> {
    pub model: &'a Model,
    pub session: &'a SessionContext,
    /// With `$from` and `$to` still free.
    pub plan: &'a LogicalPlan,
    pub aside: &'a Aside,
    pub schema: &'a SchemaRef,
    /// Column that says to which interval a row belongs.
    pub time: usize,
    pub progress: &'a dyn Progress,
}

impl Fill<'_> {
    /// Runs the SQL once over the whole batch and writes the rows of each interval into files of its own.
    pub(super) async fn fill(&self, batch: &[Part]) -> Result<Vec<(DateTime<Utc>, Vec<DataFile>)>> {
        let (Some((from, _)), Some((_, to))) = (batch.first(), batch.last()) else { return Ok(Vec::new()) };
        let at = &self.model.path;
        let parameters = vec![("from", instant(*from)), ("to", instant(*to))];
        let bound = self.plan.clone().with_param_values(parameters).map_err(|error| engine_error(error, at))?;
        let frame = DataFrame::new(self.session.state(), bound);
        let names = batch.iter().map(|(start, _)| format!("i{}", start.timestamp()));
        let writer = |name: String| self.aside.writer(Arc::clone(self.schema), &name).among(batch.len());
        let mut writers: Vec<_> = names.map(writer).collect();
        let mut stream = frame.execute_stream().await.map_err(|error| engine_error(error, at))?;
        while let Some(rows) = stream.next().await {
            let rows = widen_batch(&rows.map_err(|error| engine_error(error, at))?, self.schema)?;
            if rows.num_rows() == 0 {
                continue;
            }
            let times = self.times(&rows, *from, *to)?;
            for (writer, places) in writers.iter_mut().zip(by_interval(batch, times.values())) {
                match places.len() {
                    0 => {}
                    count if count == rows.num_rows() => writer.write(&rows).await?,
                    _ => {
                        let part = take_record_batch(&rows, &UInt32Array::from(places));
                        writer.write(&part.map_err(|error| engine_error(error.into(), at))?).await?;
                    }
                }
            }
            self.progress.advance(rows.num_rows() as u64);
        }
        let mut filled = Vec::with_capacity(batch.len());
        for ((start, _), writer) in batch.iter().zip(writers) {
            filled.push((*start, writer.finish().await?));
        }
        Ok(filled)
    }

    /// When each row happened. Rows outside of the batch would be doubled or lost when their own interval is made.
    fn times(
        &self,
        rows: &RecordBatch,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<arrow::array::PrimitiveArray<TimestampMicrosecondType>> {
        let fail = |message: String| WarehouseError::Model {
            message,
            at: self.model.path.clone(),
            help: Some("the `time` column must lie in `$from <= time < $to`, as in date_trunc('day', at)".into()),
        };
        let column = rows.column(self.time);
        let name = self.schema.field(self.time).name();
        if column.null_count() > 0 {
            return Err(fail(format!("column `{name}` is null in a row of the interval {from}")));
        }
        let odd = || fail(format!("column `{name}` is not a time"));
        let times = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None)).map_err(|_| odd())?;
        let times = times.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(odd)?;
        let (least, most) = (min(times), max(times));
        if least.is_some_and(|least| least < from.timestamp_micros())
            || most.is_some_and(|most| most >= to.timestamp_micros())
        {
            return Err(fail(format!("the SQL returns rows outside of the interval {from} to {to}")));
        }
        Ok(times.clone())
    }
}

/// Places of the rows of each interval; `times` lie within them.
fn by_interval(batch: &[Part], times: &[i64]) -> Vec<Vec<u32>> {
    let ends: Vec<i64> = batch.iter().map(|(_, end)| end.timestamp_micros()).collect();
    let mut places = vec![Vec::new(); batch.len()];
    for (row, time) in (0..).zip(times) {
        places[ends.partition_point(|end| end <= time)].push(row);
    }
    places
}

fn instant(at: DateTime<Utc>) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(at.timestamp_micros()), None)
}
