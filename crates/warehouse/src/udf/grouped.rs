//! An aggregate over groups, from what one group does: the engine's two accumulators, written once.
//!
//! In: a [`GroupState`].  Out: [`Groups`] for `group by`, [`Alone`] for plans without groups and for windows.
//! Groups are emitted as soon as the engine knows that they are complete: over input sorted by the group key one state is held
//! at a time. Over other input all are held, their size is told truly, and the engine spills them beyond its limit.
//! Never here: what is summed.
//! Start at [`GroupState`].

use std::fmt::Debug;

use arrow::array::{Array, ArrayRef, BooleanArray};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

/// What is known of one group after some of its rows.
pub(super) trait GroupState: Debug + Default + Clone + Send + Sync + 'static {
    /// What the groups of one accumulator have in common.
    type Shared: Debug + Default + Send + Sync;
    /// Columns of rows.
    type Rows<'a>;
    /// Columns of stored states.
    type Stored<'a>;

    fn rows(columns: &[ArrayRef]) -> Result<Self::Rows<'_>>;
    fn add(&mut self, shared: &mut Self::Shared, rows: &Self::Rows<'_>, row: usize) -> Result<()>;
    fn stored(columns: &[ArrayRef]) -> Result<Self::Stored<'_>>;
    fn merge(&mut self, shared: &mut Self::Shared, stored: &Self::Stored<'_>, row: usize) -> Result<()>;
    /// One result per state.
    fn results(states: &mut [Self]) -> Result<ArrayRef>;
    /// The states as columns, which [`GroupState::merge`] reads, perhaps in another process.
    fn store(states: &[Self]) -> Result<Vec<ArrayRef>>;
    /// Bytes on the heap.
    fn bytes(&self) -> usize;
}

/// The states of all groups.
#[derive(Debug)]
pub(super) struct Groups<S: GroupState> {
    states: Vec<S>,
    shared: S::Shared,
    bytes: usize,
}

impl<S: GroupState> Default for Groups<S> {
    fn default() -> Self {
        Self { states: Vec::new(), shared: S::Shared::default(), bytes: 0 }
    }
}

impl<S: GroupState> Groups<S> {
    /// Changes the state of one group and keeps count of its size.
    fn change(&mut self, group: usize, change: impl FnOnce(&mut S, &mut S::Shared) -> Result<()>) -> Result<()> {
        let state = &mut self.states[group];
        let before = state.bytes();
        change(state, &mut self.shared)?;
        self.bytes = self.bytes + state.bytes() - before;
        Ok(())
    }

    fn take(&mut self, emit_to: EmitTo) -> Vec<S> {
        let states = emit_to.take_needed(&mut self.states);
        self.bytes -= states.iter().map(S::bytes).sum::<usize>();
        states
    }
}

impl<S: GroupState> GroupsAccumulator for Groups<S> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.states.resize_with(total_num_groups, S::default);
        let rows = S::rows(values)?;
        for (row, &group) in group_indices.iter().enumerate() {
            if is_wanted(opt_filter, row) {
                self.change(group, |state, shared| state.add(shared, &rows, row))?;
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.states.resize_with(total_num_groups, S::default);
        let stored = S::stored(values)?;
        for (row, &group) in group_indices.iter().enumerate() {
            self.change(group, |state, shared| state.merge(shared, &stored, row))?;
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        S::results(&mut self.take(emit_to))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        S::store(&self.take(emit_to))
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = S::rows(values)?;
        let mut shared = S::Shared::default();
        let mut states = vec![S::default(); values[0].len()];
        for (row, state) in states.iter_mut().enumerate() {
            if is_wanted(opt_filter, row) {
                state.add(&mut shared, &rows, row)?;
            }
        }
        S::store(&states)
    }

    fn size(&self) -> usize {
        self.states.capacity() * size_of::<S>() + self.bytes
    }
}

fn is_wanted(filter: Option<&BooleanArray>, row: usize) -> bool {
    filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}

/// One group that holds all rows.
#[derive(Debug, Default)]
pub(super) struct Alone<S: GroupState> {
    state: S,
    shared: S::Shared,
}

impl<S: GroupState> Accumulator for Alone<S> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = S::rows(values)?;
        (0..values[0].len()).try_for_each(|row| self.state.add(&mut self.shared, &rows, row))
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let stored = S::stored(states)?;
        (0..states[0].len()).try_for_each(|row| self.state.merge(&mut self.shared, &stored, row))
    }

    /// A window asks again and again while rows go on coming, so the state stays.
    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&S::results(&mut [self.state.clone()])?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let columns = S::store(std::slice::from_ref(&self.state))?;
        columns.iter().map(|column| ScalarValue::try_from_array(column, 0)).collect()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.state.bytes()
    }
}

/// Errors: `distinct` is asked for.
pub(super) fn refuse_distinct(function: &str, arguments: &AccumulatorArgs<'_>) -> Result<()> {
    if arguments.is_distinct {
        return plan_err!("`{function}` does not know `distinct`; select the distinct rows first");
    }
    Ok(())
}
