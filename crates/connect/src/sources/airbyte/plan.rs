//! Settles, per table, whether a run goes on from the state of the one before or reads everything.
//!
//! In: the wanted tables, the streams there are, the newest manifests.  Out: [`Planned`] tables; the state that the connector is told.
//! A table goes on when its settings and its key are the same and a state is there. Of streams that share a state, those go on that
//! hold the newest one; the others are left out of it, so that the connector reads them from their beginning.
//! Never here: running the connector.
//! Start at [`plan`], then [`agree`].

use domain::{Resume, StageManifest};

use super::catalog::{CatalogStream, Choice, find};
use super::messages::Descriptor;
use super::process::Connector;
use super::row::RAW_ID;
use super::state::{self, Owner};
use super::{AirbyteTable, StreamMode};
use crate::{ConnectError, ExtractMode, ExtractRequest, Stage};

/// One table of a run.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) request: ExtractRequest,
    pub(super) choice: Choice,
    pub(super) latest: Option<StageManifest>,
    /// The state to go on from; `None` when everything is read.
    pub(super) state: Option<String>,
    pub(super) read_anew: Option<String>,
}

impl Planned {
    /// The rows change what is there, instead of being all there is.
    pub(super) fn goes_on(&self) -> bool {
        self.state.is_some()
    }

    /// Columns that say which row a change is of; none where the table is replaced each time.
    pub(super) fn key(&self) -> Vec<String> {
        match self.choice.mode {
            StreamMode::Full => Vec::new(),
            StreamMode::Append => vec![RAW_ID.to_owned()],
            StreamMode::Changes => self.choice.key.clone(),
        }
    }

    /// Rises with each run that replaces the table.
    pub(super) fn generation(&self) -> u64 {
        let before = match self.latest.as_ref().and_then(|latest| latest.resume.as_ref()) {
            Some(Resume::Airbyte { generation, .. }) => *generation,
            Some(Resume::Cursor { .. } | Resume::Log { .. }) | None => 0,
        };
        if self.goes_on() { before } else { before + 1 }
    }

    /// As a configured stream. Rows of earlier generations are replaced when there are any and everything is read.
    pub(super) fn configured(&self) -> Result<String, String> {
        let is_replaced = !self.goes_on() && self.latest.is_some();
        let minimum = if is_replaced { self.generation() } else { 0 };
        self.choice.configured(self.generation(), minimum, self.request.now.timestamp_millis())
    }

    /// What a repetition of this run would have in common with it.
    pub(super) fn origin(&self) -> String {
        let number = self.latest.as_ref().map_or(0, |latest| latest.number);
        format!("{}\n{}\n{}\n{number}", self.request.source, self.request.table, self.generation())
    }

    fn start_anew(&mut self, reason: &str) {
        self.state = None;
        self.read_anew = Some(reason.to_owned());
    }
}

/// The request for another table of the same run.
pub(super) fn request_of(table: &AirbyteTable, request: &ExtractRequest) -> ExtractRequest {
    ExtractRequest {
        table: table.name.clone(),
        target: table.target.clone(),
        location: table.choice.location(),
        query: None,
        config_hash: table.config_hash.clone(),
        mode: ExtractMode::Full,
        ..request.clone()
    }
}

/// Plans each of `tables` by itself.
///
/// Errors: those of a stream that is not there or cannot be read as wanted, and the stage's.
pub(super) async fn plan(
    connector: &Connector,
    streams: &[CatalogStream],
    tables: &[&AirbyteTable],
    request: &ExtractRequest,
    stage: &Stage,
) -> Result<Vec<Planned>, ConnectError> {
    let mut planned = Vec::with_capacity(tables.len());
    for table in tables {
        let stream = find(&connector.name, streams, &table.choice)?.clone();
        let choice = Choice::of(&connector.name, stream, &table.choice)?;
        let request = request_of(table, request);
        let latest = stage.latest(&request.source, &request.table).await?;
        let mut table = Planned { request, choice, latest, state: None, read_anew: None };
        if table.choice.mode != StreamMode::Full {
            match state_of(&table) {
                Ok(state) => table.state = state,
                Err(reason) => table.read_anew = Some(reason.to_owned()),
            }
        }
        planned.push(table);
    }
    Ok(planned)
}

/// The state that a table goes on from; `None` the first time and when it was asked to be read anew, an error when something prevents it.
fn state_of(table: &Planned) -> Result<Option<String>, &'static str> {
    let Some(latest) = table.latest.as_ref().filter(|_| !table.request.anew) else { return Ok(None) };
    if latest.provenance.config_hash != table.request.config_hash {
        return Err("the settings of the source have changed");
    }
    let Some(Resume::Airbyte { state: Some(state), .. }) = &latest.resume else {
        return Err("the connector gave no state to go on from");
    };
    // Of a table that only grows, the rows that are there tell nothing.
    let key = latest.changes.as_ref().map(|changes| &changes.key);
    if table.choice.mode == StreamMode::Changes && key != Some(&table.choice.key) {
        return Err("the key of the stream has changed");
    }
    Ok(Some(state.clone()))
}

/// Whether the newest manifest of a table holds a state that all streams share.
pub(super) fn shares_state(latest: &StageManifest) -> bool {
    let Some(Resume::Airbyte { state: Some(state), .. }) = &latest.resume else { return false };
    state::is_shared(state)
}

/// Brings the states of all tables together, and says what the connector is told.
pub(super) fn agree(planned: &mut [Planned]) -> Result<Option<String>, String> {
    let is_shared = |table: &Planned| table.latest.as_ref().is_some_and(shares_state);
    let going_on = planned.iter().filter(|table| table.goes_on());
    let newest = going_on
        .filter(|table| is_shared(table))
        .max_by_key(|table| table.latest.as_ref().map(|latest| latest.extracted_at));
    let Some(shared) = newest.and_then(|table| table.state.clone()) else {
        let states: Vec<&str> = planned.iter().filter_map(|table| table.state.as_deref()).collect();
        return state::file(&states, &[]);
    };
    let differs = |table: &&mut Planned| table.state.as_ref().is_some_and(|state| *state != shared);
    planned.iter_mut().filter(differs).for_each(|table| table.start_anew(OTHER_STATE));
    let incremental = |table: &&Planned| table.choice.mode != StreamMode::Full;
    let left_out: Vec<&Descriptor> = planned
        .iter()
        .filter(incremental)
        .filter(|table| !table.goes_on())
        .map(|table| &table.choice.stream.descriptor)
        .collect();
    let is_legacy = matches!(state::read(&shared)?.owner, Owner::Legacy(_));
    if is_legacy && !left_out.is_empty() {
        // It cannot be taken apart.
        planned.iter_mut().filter(|table| table.goes_on()).for_each(|table| table.start_anew(OTHER_STATE));
        return Ok(None);
    }
    state::file(&[&shared], &left_out)
}

/// Why a table cannot go on beside the others.
const OTHER_STATE: &str = "the streams of the source share one state, and not all hold the same";
