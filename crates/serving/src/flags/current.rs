//! Which flags serve now, and how newer ones come into service.
//!
//! In: the state directory.  Out: the current [`FlagSet`]; a note to every stream when it changes or the server stops.
//! Never here: what a set holds (`set`), when to look (`follow`), HTTP.
//! Start at [`Flags`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use domain::{ExperimentSnapshot, Problem};
use http_server::{ComponentState, Readiness, Telemetry};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::figures::Figures;
use super::limits::FlagLimits;
use super::set::FlagSet;
use super::streams::Streams;
use crate::ServingError;
use crate::load::MAX_TRIES;
use crate::state_dir::StateDir;

/// Name of our part in `/readyz`.
const COMPONENT: &str = "experiments";

/// What streams wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Change {
    /// 0 before anything serves.
    pub(crate) revision: u64,
    pub(crate) is_closing: bool,
}

/// The flags of one server.
#[derive(Debug)]
pub(crate) struct Flags {
    state: StateDir,
    pub(crate) limits: FlagLimits,
    current: ArcSwapOption<FlagSet>,
    changes: watch::Sender<Change>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) figures: Figures,
    readiness: Readiness,
    telemetry: Telemetry,
    /// Held while loading, so that two loads cannot overtake each other. Never on an async thread.
    loading: Mutex<()>,
    /// One permit per core, for evaluations off the async threads.
    long_work: Arc<Semaphore>,
    started: Instant,
}

/// What a load left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refreshed {
    /// There is no snapshot.
    Nothing,
    /// What serves is the newest.
    Newest,
    /// Something newer was refused; an older one serves.
    Older,
}

impl Flags {
    /// Nothing serves until [`Flags::refresh`].
    pub(crate) fn new(state: StateDir, limits: FlagLimits, telemetry: &Telemetry, readiness: &Readiness) -> Self {
        let figures = Figures::new(telemetry);
        readiness.set(COMPONENT, ComponentState::Ready { detail: "no snapshot is published".to_owned() });
        Self {
            state,
            current: ArcSwapOption::empty(),
            changes: watch::Sender::new(Change::default()),
            streams: Arc::new(Streams::new(
                limits.max_streams,
                limits.max_streams_per_address,
                figures.streams_open.clone(),
            )),
            limits,
            figures,
            readiness: readiness.clone(),
            telemetry: telemetry.clone(),
            loading: Mutex::new(()),
            long_work: Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from))),
            started: Instant::now(),
        }
    }

    /// What serves; hold it for the length of one request.
    pub(crate) fn current(&self) -> Option<Arc<FlagSet>> {
        self.current.load_full()
    }

    /// The revision that serves; 0 if none does.
    pub(crate) fn revision(&self) -> u64 {
        self.changes.borrow().revision
    }

    /// Tells of every new revision, and of the end.
    pub(crate) fn changes(&self) -> watch::Receiver<Change> {
        self.changes.subscribe()
    }

    /// From here on streams end. Again: no effect.
    pub(crate) fn close_streams(&self) {
        self.changes.send_if_modified(|change| !std::mem::replace(&mut change.is_closing, true));
    }

    /// Time since the start in nanoseconds, for quotas. 584 years fit.
    pub(crate) fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    /// A turn for long work.
    pub(crate) async fn long_work(&self) -> Result<OwnedSemaphorePermit, ServingError> {
        let turn = Arc::clone(&self.long_work).acquire_owned().await;
        turn.map_err(|error| ServingError::Thread { detail: error.to_string() })
    }

    /// The highest revision on disk; 0 without any. Blocking.
    pub(crate) fn newest(&self) -> Result<u64, ServingError> {
        Ok(self.state.experiment_revisions()?.first().copied().unwrap_or(0))
    }

    /// Puts the highest whole revision into service, if it is higher than what serves. Blocking.
    ///
    /// Errors: why nothing serves, although there are snapshots.
    pub(crate) fn refresh(&self) -> Result<Refreshed, ServingError> {
        let _turn = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current();
        let serving = current.as_ref().map_or(0, |set| set.revision);
        let is_newer = |revision: &u64| current.is_none() || *revision > serving;
        let mut refused = Vec::new();
        for revision in self.state.experiment_revisions()?.into_iter().filter(is_newer).take(MAX_TRIES) {
            match self.compile(revision, current.as_deref()) {
                Ok(set) => {
                    self.put_into_service(set);
                    break;
                }
                Err(error) => {
                    self.report_refused(revision, &error);
                    refused.push((revision, error));
                }
            }
        }
        self.report_state(&refused);
        let is_swap = self.revision() != serving;
        if let Some(old) = current.filter(|_| is_swap) {
            crate::service::retire(old);
        }
        match (self.current.load().is_some(), refused.into_iter().next()) {
            (true, Some(_)) => Ok(Refreshed::Older),
            (true, None) => Ok(Refreshed::Newest),
            (false, Some((_, error))) => Err(error),
            (false, None) => Ok(Refreshed::Nothing),
        }
    }

    fn compile(&self, revision: u64, before: Option<&FlagSet>) -> Result<FlagSet, ServingError> {
        let path = self.state.experiments_file(revision);
        let snapshot: ExperimentSnapshot = self.state.experiments(revision)?;
        let set = FlagSet::compile(snapshot, self.limits.evaluations_per_second, before);
        set.map_err(|detail| ServingError::Experiments { path, detail })
    }

    fn put_into_service(&self, set: FlagSet) {
        let warnings = set.compiled.warnings();
        for warning in warnings.iter().take(10) {
            tracing::warn!(revision = set.revision, at = warning.at, "never matches: it {}", warning.problem);
        }
        tracing::info!(
            revision = set.revision,
            features = set.features(),
            experiments = set.experiments.len(),
            connections = set.connections(),
            "experiments now serving"
        );
        let revision = set.revision;
        self.figures.revision.set(revision as f64);
        self.figures.features.set(set.features() as f64);
        self.figures.swaps.increment(1);
        self.current.store(Some(Arc::new(set)));
        self.changes.send_modify(|change| change.revision = revision);
    }

    fn report_refused(&self, revision: u64, error: &ServingError) {
        tracing::error!(what = "experiments", revision, code = error.code(), "not loaded: {error}");
        let labels = [("what", "experiments".to_owned())];
        self.telemetry
            .counter("montauk_serving_load_failures_total", "Promotions and feeds that were not taken.", &labels)
            .increment(1);
    }

    fn report_state(&self, refused: &[(u64, ServingError)]) {
        let mut detail = match self.current.load().as_ref() {
            Some(set) => {
                format!("revision {}, {} features, {} experiments", set.revision, set.features(), set.experiments.len())
            }
            None => "no snapshot is published".to_owned(),
        };
        for (revision, error) in refused {
            detail.push_str(&format!("; revision {revision} was refused: {}", error.code()));
        }
        let state =
            if refused.is_empty() { ComponentState::Ready { detail } } else { ComponentState::Degraded { detail } };
        self.readiness.set(COMPONENT, state);
    }
}
