//! The SQL functions that Montauk adds to the engine.
//!
//! In: a session.  Out: the same session, knowing every function of this folder.
//! Never here: functions that one process knows and another does not; all processes register through [`register_all`].
//! Start at [`register_all`].

mod row_hash;

use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::ScalarUDF;

/// Registers every function. The one place, so that plans may travel between processes by name.
pub(crate) fn register_all(session: &SessionContext) {
    session.register_udf(ScalarUDF::from(row_hash::RowHash::new()));
}
