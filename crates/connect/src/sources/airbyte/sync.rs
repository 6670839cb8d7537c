//! Hears one `read` of a connector: rows into files, states beside them, and whether each stream came to its end.
//!
//! In: the lines of `read`.  Out: per stream its file, the last state that covers a part of it, and what went wrong.
//! A state counts only when the rows before it are as many as the connector says. A stream is whole only when the connector says so;
//! that a command ends well says nothing about its streams.
//! Never here: what is published of it (`publish`).
//! Start at [`Reading::take`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::log;
use super::messages::{self, Descriptor, Estimate, Message, Record, StreamStatus, TraceError};
use super::problem::{ConnectorProblem, Fault};
use super::process::{Connector, Ended, Listener, Verb};
use super::row::RowWriter;
use super::state::{self, Owner};
use super::stream_file::StreamFile;
use super::verbs::{explained, keep_config};
use crate::ConnectError;

/// One stream that is being read.
#[derive(Debug)]
pub(super) struct StreamRun {
    descriptor: Descriptor,
    pub(super) file: StreamFile,
    rows: RowWriter,
    /// Rows since the last state of this stream.
    since_state: u64,
    /// The last state that covers rows of this stream.
    pub(super) state: Option<String>,
    /// The connector said that all is there.
    is_complete: bool,
    /// The connector said that it is not.
    is_incomplete: bool,
    problem: Option<ConnectorProblem>,
}

impl StreamRun {
    pub(super) fn new(descriptor: Descriptor, file: StreamFile, rows: RowWriter) -> Self {
        Self {
            descriptor,
            file,
            rows,
            since_state: 0,
            state: None,
            is_complete: false,
            is_incomplete: false,
            problem: None,
        }
    }

    fn is(&self, name: &str, namespace: Option<&str>) -> bool {
        self.descriptor.name == name && self.descriptor.namespace.as_deref() == namespace
    }

    /// Whether everything of the stream was read.
    pub(super) fn is_whole(&self) -> bool {
        self.is_complete && !self.is_incomplete && self.problem.is_none()
    }

    /// Keeps a state that covers all rows so far.
    fn cover(&mut self, state: &str) {
        if self.problem.is_none() {
            self.state = Some(state.to_owned());
            self.file.mark();
        }
    }
}

/// All streams of one `read`.
pub(super) struct Reading {
    connector: Connector,
    streams: Vec<StreamRun>,
    /// Where the last row went: rows of a stream come in a row.
    last: usize,
    /// Rows of all streams since the last state that they share.
    since_shared_state: u64,
    /// Rows in all, for whoever watches.
    counted: Arc<AtomicU64>,
    lines: u64,
    /// Rows of streams that nobody asked for.
    strays: u64,
    failure: Option<ConnectorProblem>,
}

impl Reading {
    pub(super) fn new(connector: &Connector, streams: Vec<StreamRun>, counted: Arc<AtomicU64>) -> Self {
        Self {
            connector: connector.clone(),
            streams,
            last: 0,
            since_shared_state: 0,
            counted,
            lines: 0,
            strays: 0,
            failure: None,
        }
    }

    fn place(&mut self, name: &str, namespace: Option<&str>) -> Option<usize> {
        if !self.streams.get(self.last).is_some_and(|stream| stream.is(name, namespace)) {
            self.last = self.streams.iter().position(|stream| stream.is(name, namespace))?;
        }
        Some(self.last)
    }

    fn stream(&mut self, descriptor: &Descriptor) -> Option<&mut StreamRun> {
        let place = self.place(&descriptor.name, descriptor.namespace.as_deref())?;
        self.streams.get_mut(place)
    }

    fn record(&mut self, record: &Record<'_>) -> Result<(), ConnectError> {
        self.since_shared_state += 1;
        let place = self.place(&record.stream, record.namespace.as_deref());
        let Some(stream) = place.and_then(|place| self.streams.get_mut(place)) else {
            if self.strays == 0 {
                tracing::warn!(connector = self.connector.name, stream = %record.stream, "rows of a stream that was not asked for are left out");
            }
            self.strays += 1;
            return Ok(());
        };
        stream.since_state += 1;
        self.counted.fetch_add(1, Ordering::Relaxed);
        let rows = &mut stream.rows;
        stream.file.add(|line| rows.write(record, line))
    }

    /// False when the states can no longer be trusted.
    fn state(&mut self, text: &str) -> bool {
        let state = match state::read(text) {
            Ok(state) => state,
            Err(reason) => return self.give_up(&format!("wrote {reason}")),
        };
        match state.owner {
            Owner::Stream(descriptor) => {
                let Some(stream) = self.stream(&descriptor) else { return true };
                let found = std::mem::take(&mut stream.since_state);
                match state.record_count.filter(|counted| differs(*counted, found)) {
                    None => stream.cover(text),
                    Some(counted) => {
                        let what = miscounted(&descriptor.name, counted, found);
                        let problem = self.connector.problem(Fault::Protocol, &what);
                        self.streams[self.last].problem.get_or_insert(problem);
                    }
                }
                true
            }
            Owner::Global(_) | Owner::Legacy(_) => {
                let found = std::mem::take(&mut self.since_shared_state);
                if let Some(counted) = state.record_count.filter(|counted| differs(*counted, found)) {
                    return self.give_up(&miscounted("all together", counted, found));
                }
                self.streams.iter_mut().for_each(|stream| stream.cover(text));
                true
            }
        }
    }

    fn status(&mut self, status: &StreamStatus) -> Result<(), ConnectError> {
        let name = &status.stream_descriptor.name;
        tracing::debug!(connector = self.connector.name, stream = name, status = status.status, "stream status");
        let Some(stream) = self.stream(&status.stream_descriptor) else { return Ok(()) };
        match status.status.as_str() {
            "COMPLETE" => {
                stream.is_complete = true;
                stream.file.settle()
            }
            "INCOMPLETE" => {
                stream.is_incomplete = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn failed(&mut self, failure: &TraceError) {
        let problem = explained(&self.connector, failure);
        let stream = failure.stream_descriptor.as_ref().and_then(|descriptor| self.stream(descriptor));
        match stream {
            Some(stream) => drop(stream.problem.get_or_insert(problem)),
            None => drop(self.failure.get_or_insert(problem)),
        }
    }

    fn estimate(&self, estimate: &Estimate) {
        let stream = Descriptor::new(estimate.name.clone(), estimate.namespace.clone()).name;
        tracing::info!(
            connector = self.connector.name,
            stream,
            rows = estimate.row_estimate,
            "the connector's estimate"
        );
    }

    /// Takes nothing more: what was covered before stays covered.
    fn give_up(&mut self, what: &str) -> bool {
        let problem = self.connector.problem(Fault::Protocol, what);
        self.failure.get_or_insert(problem);
        false
    }

    /// The streams, and what is to be said of each: `None` when all is well.
    pub(super) fn finish(self, ended: &Ended) -> Vec<(StreamRun, Option<ConnectorProblem>)> {
        let connector = self.connector;
        let failure = self.failure.or_else(|| ended.failure(&connector, Verb::Read));
        let are_whole = self.streams.iter().all(StreamRun::is_whole);
        let tell = |stream: StreamRun| {
            let incomplete = || {
                let name = &stream.descriptor.name;
                let what = if stream.is_incomplete {
                    format!("says that stream `{name}` is incomplete")
                } else {
                    format!("ended without saying that stream `{name}` is complete")
                };
                connector.problem(Fault::Incomplete, &what)
            };
            // A run that fails after its last stream fails all the same.
            let problem = if stream.is_whole() && !are_whole {
                None
            } else if stream.is_whole() {
                failure.clone()
            } else {
                stream.problem.clone().or_else(|| failure.clone()).or_else(|| Some(incomplete()))
            };
            (stream, problem)
        };
        self.streams.into_iter().map(tell).collect()
    }
}

/// Counts come as doubles.
fn differs(counted: f64, found: u64) -> bool {
    (counted - found as f64).abs() >= 0.5
}

fn miscounted(stream: &str, counted: f64, found: u64) -> String {
    format!("says with a state of `{stream}` that it wrote {counted} records since the one before, and {found} arrived")
}

impl Listener for Reading {
    fn take(&mut self, line: &[u8]) -> Result<bool, ConnectError> {
        self.lines += 1;
        let message = match messages::read(line) {
            Ok(message) => message,
            Err(reason) => {
                let what =
                    format!("wrote a message that cannot be read in line {} of its output: {reason}", self.lines);
                return Ok(self.give_up(&what));
            }
        };
        match message {
            Message::Record(record) => self.record(&record)?,
            Message::State(state) => return Ok(self.state(state.get())),
            Message::Status(status) => self.status(&status)?,
            Message::Failure(failure) => self.failed(&failure),
            Message::Estimate(estimate) => self.estimate(&estimate),
            Message::NewConfig(config) => keep_config(&self.connector, config),
            Message::Log(entry) => drop(log::line(&self.connector.secrets, &entry.level, &entry.message)),
            Message::Noise => drop(log::line(&self.connector.secrets, "NOISE", &String::from_utf8_lossy(line))),
            Message::Connection(_) | Message::Catalog(_) | Message::Spec(_) | Message::Other => {}
        }
        Ok(true)
    }
}
