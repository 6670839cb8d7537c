//! The SQL functions that Montauk adds to the engine.
//!
//! In: a session.  Out: the same session, knowing every function of this folder.
//! `row_hash` is for models that watch for change, `moments` for whoever compares groups. The others are the sums and solutions with which a recommender is trained
//! where the data lives (docs/how-to/a-recommender-in-30-lines-of-sql.md); `recommend` has the same in memory, and a test of
//! the program compares both.
//! Never here: functions that one process knows and another does not; all processes register through [`register_all`].
//! State that is not in the rows: a plan may run in several processes.
//! Start at [`register_all`].

mod als_init;
mod als_solve;
mod arguments;
mod dot;
mod gram;
mod grouped;
mod item_similarity;
mod moments;
mod row_hash;
#[cfg(test)]
mod tests;
mod triangle;

use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

/// Registers every function. The one place, so that plans may travel between processes by name.
pub(crate) fn register_all(session: &SessionContext) {
    session.register_udf(ScalarUDF::from(row_hash::RowHash::new()));
    session.register_udf(ScalarUDF::from(item_similarity::ItemSimilarity::new()));
    session.register_udf(ScalarUDF::from(dot::Dot::new()));
    session.register_udf(ScalarUDF::from(als_init::AlsInit::new()));
    session.register_udaf(AggregateUDF::from(gram::Gram::new()));
    session.register_udaf(AggregateUDF::from(moments::Moments::new()));
    session.register_udaf(AggregateUDF::from(als_solve::AlsSolve::new()));
}
