//! The running service: one current snapshot behind an atomic pointer, and what is known about it.
//!
//! In: a state directory.  Out: routes ([`Service::routes`]), the first load ([`Service::load`]), the follower
//! ([`Service::follow`]), figures and readiness.
//! Never here: what a list contains (`snapshot`), HTTP (`routes`), files (`load`).
//! Start at [`Service`].

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use domain::Problem;
use http_server::{ComponentState, Readiness, Telemetry};
use metrics::{Counter, Gauge};
use recommend::ListSource;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::ServingError;
use crate::flags::{FlagLimits, Flags};
use crate::load::{self, Loaded, Newest, Refused};
use crate::snapshot::{Reason, Snapshot};
use crate::state_dir::StateDir;

/// Name of our part in `/readyz`.
const COMPONENT: &str = "recommendations";

/// Longest wait for requests that still hold a replaced snapshot: above the request timeout.
const RETIRE_TIMEOUT: Duration = Duration::from_secs(30);

/// What to serve, and from where.
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// The project's state directory, `.montauk`.
    pub state_dir: PathBuf,
    /// Name of the recommender to follow; `None`: whichever was promoted last.
    pub recommender: Option<String>,
    /// How often to look for newer numbers; for experiments four times as often.
    pub poll_interval: Duration,
    /// What clients of flags may take.
    pub flags: FlagLimits,
}

/// Answers from the current snapshot and follows newer ones.
#[derive(Debug)]
pub struct Service {
    config: ServiceConfig,
    state: StateDir,
    current: ArcSwapOption<Snapshot>,
    readiness: Readiness,
    telemetry: Telemetry,
    figures: Figures,
    /// Held while loading, so that two loads cannot overtake each other and go back to the older one. Never on an async thread.
    loading: Mutex<()>,
    /// One permit per core, for lists that are computed off the async threads.
    long_work: Arc<Semaphore>,
    /// Experiments, which come and go on their own.
    pub(crate) flags: Arc<Flags>,
}

#[derive(Debug)]
struct Figures {
    swaps: Counter,
    promotion: Gauge,
    feed: Gauge,
    catalog: Gauge,
    users: Gauge,
    items: Gauge,
    /// By route, source and reason (none first), made when first needed.
    lists: [[[OnceLock<Counter>; 1 + Reason::COUNT]; 4]; 2],
}

/// Which of the two lists.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ListRoute {
    Recommendations,
    Similar,
}

impl ListRoute {
    fn as_str(self) -> &'static str {
        match self {
            Self::Recommendations => "recommendations",
            Self::Similar => "similar",
        }
    }
}

impl Figures {
    fn new(telemetry: &Telemetry) -> Self {
        let gauge = |name, help| telemetry.gauge(name, help, &[]);
        Self {
            swaps: telemetry.counter("montauk_serving_swaps_total", "Snapshots put into service.", &[]),
            promotion: gauge("montauk_serving_promotion", "Number of the promotion that serves."),
            feed: gauge("montauk_serving_feed", "Number of the feed that serves."),
            catalog: gauge("montauk_serving_catalog", "Catalog number that the feed was read from."),
            users: gauge("montauk_serving_users", "Users in the feed that serves."),
            items: gauge("montauk_serving_items", "Items in the artefact that serves."),
            lists: Default::default(),
        }
    }
}

impl Service {
    /// A service that is not ready; [`Service::load`] makes it so.
    pub fn new(config: ServiceConfig, telemetry: &Telemetry, readiness: &Readiness) -> Arc<Self> {
        readiness.set(COMPONENT, ComponentState::NotReady { detail: "nothing is loaded yet".to_owned() });
        let state = StateDir::new(&config.state_dir);
        let flags = Arc::new(Flags::new(state.clone(), config.flags.clone(), telemetry, readiness));
        Arc::new(Self {
            state,
            flags,
            config,
            current: ArcSwapOption::empty(),
            readiness: readiness.clone(),
            telemetry: telemetry.clone(),
            figures: Figures::new(telemetry),
            loading: Mutex::new(()),
            long_work: Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from))),
        })
    }

    /// What serves now; hold it for the length of one request.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, ServingError> {
        self.current.load_full().ok_or(ServingError::NotReady)
    }

    /// Loads the newest promotion and feed that are whole, and the newest experiments, and puts them into service if they are newer than what serves.
    ///
    /// Errors: only while nothing serves; later faults leave the old snapshot, and show in `/readyz`, log and metrics. A project may have
    /// experiments and no recommender, or the other way round; of damaged experiments beside recommendations that serve, the log tells.
    pub async fn load(self: &Arc<Self>) -> Result<(), ServingError> {
        let service = Arc::clone(self);
        let loading = tokio::task::spawn_blocking(move || {
            let experiments = service.flags.refresh();
            match (service.refresh(), experiments) {
                (Ok(_), _) => Ok(()),
                (Err(ServingError::NothingPromoted { .. }), _) if service.serves_flags_alone() => Ok(()),
                (Err(ServingError::NothingPromoted { recommender: None, .. }), Err(error)) => Err(error),
                (Err(error), _) => Err(error),
            }
        });
        loading.await.map_err(|error| ServingError::thread(&error))?
    }

    /// Experiments serve, nobody has named a recommender, and none has ever been promoted: nothing is missing.
    fn serves_flags_alone(&self) -> bool {
        self.config.recommender.is_none() && self.flags.current().is_some() && self.current.load().is_none()
    }

    /// Ends the streams of flags, so that a drain need not wait for them. New ones are short from here on.
    pub fn close_streams(&self) {
        self.flags.close_streams();
    }

    /// A turn for long work. Waiting is bounded by the request timeout.
    pub(crate) async fn long_work(&self) -> Result<OwnedSemaphorePermit, ServingError> {
        let turn = Arc::clone(&self.long_work).acquire_owned().await;
        turn.map_err(|error| ServingError::Thread { detail: error.to_string() })
    }

    /// Looks for newer numbers for ever. Give it a task of its own, and abort that to end it.
    pub async fn follow(self: Arc<Self>) {
        let interval = self.config.poll_interval;
        let service = Arc::clone(&self);
        let on_news = move || service.report_absence("not_loaded");
        tokio::join!(crate::follow::follow(&self, interval), crate::flags::follow(&self.flags, interval, on_news));
    }

    /// The newest numbers on disk. Blocking.
    pub(crate) fn newest(&self) -> Result<Newest, ServingError> {
        load::newest(&self.state, self.config.recommender.as_deref())
    }

    /// The numbers that serve.
    pub(crate) fn serving(&self) -> Newest {
        let current = self.current.load();
        current.as_ref().map_or(Newest::default(), |snapshot| Newest {
            promotion: snapshot.promotion().number,
            feed: snapshot.feed().feed,
        })
    }

    /// Loads, swaps, and waits until the old snapshot is dropped. Blocking. Returns whether anything newer was refused.
    pub(crate) fn refresh(&self) -> Result<bool, ServingError> {
        let _turn = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current.load_full();
        let outcome = load::load(&self.state, self.config.recommender.as_deref(), current.as_deref());
        let Loaded { snapshot, refused } = match outcome {
            Ok(loaded) => loaded,
            Err(error) => {
                self.report_failure(&error, current.is_some());
                return Err(error);
            }
        };
        for refused in &refused {
            self.report_refused(refused);
        }
        let is_swap = snapshot.is_some();
        if let Some(snapshot) = snapshot {
            self.put_into_service(snapshot);
        }
        self.report_state(&refused);
        if let Some(old) = current.filter(|_| is_swap) {
            retire(old);
        }
        Ok(!refused.is_empty())
    }

    fn put_into_service(&self, snapshot: Snapshot) {
        let figures = &self.figures;
        figures.swaps.increment(1);
        figures.promotion.set(snapshot.promotion().number as f64);
        figures.feed.set(snapshot.feed().feed as f64);
        figures.catalog.set(snapshot.feed().catalog as f64);
        figures.users.set(snapshot.users() as f64);
        figures.items.set(snapshot.ranker().items().len() as f64);
        tracing::info!(
            recommender = snapshot.promotion().recommender,
            promotion = snapshot.promotion().number,
            artefact = snapshot.promotion().artefact,
            feed = snapshot.feed().feed,
            catalog = snapshot.feed().catalog,
            users = snapshot.users(),
            items = snapshot.ranker().items().len(),
            hidden = snapshot.hidden().len(),
            "now serving"
        );
        self.current.store(Some(Arc::new(snapshot)));
    }

    fn report_refused(&self, refused: &Refused) {
        let Refused { what, number, error } = refused;
        tracing::error!(what, number, code = error.code(), "not loaded, the older one serves on: {error}");
        self.count_failure(what);
    }

    fn report_failure(&self, error: &ServingError, is_serving: bool) {
        self.count_failure("state");
        if is_serving {
            tracing::error!(code = error.code(), "cannot look for newer artefacts: {error}");
        } else {
            self.report_absence(error.code());
            if !(matches!(error, ServingError::NothingPromoted { .. }) && self.serves_flags_alone()) {
                tracing::warn!(code = error.code(), "nothing to serve: {error}");
            }
        }
    }

    /// No recommendations are served. Where experiments are, a project without any promotion is whole, and one whose first recommender is on
    /// its way, or does not load, must not take them out of the balancer. Paths stay in the log: this answer is public.
    fn report_absence(&self, code: &str) {
        if self.current.load().is_some() {
            return;
        }
        let has_promotions = self.newest().is_ok_and(|newest| newest.promotion > 0);
        let state = match (self.serves_flags_alone(), has_promotions) {
            (false, _) => ComponentState::NotReady { detail: code.to_owned() },
            (true, true) => ComponentState::Degraded { detail: format!("{code}; experiments alone are served") },
            (true, false) => {
                ComponentState::Ready { detail: "nothing is promoted; experiments alone are served".to_owned() }
            }
        };
        self.readiness.set(COMPONENT, state);
    }

    fn count_failure(&self, what: &str) {
        let labels = [("what", what.to_owned())];
        self.telemetry
            .counter("montauk_serving_load_failures_total", "Promotions and feeds that were not taken.", &labels)
            .increment(1);
    }

    fn report_state(&self, refused: &[Refused]) {
        let current = self.current.load();
        let Some(snapshot) = current.as_ref() else { return };
        let (promotion, feed) = (snapshot.promotion(), snapshot.feed());
        let mut detail = format!(
            "recommender `{}`, promotion {}, artefact `{}`, feed {}, catalog {}",
            promotion.recommender, promotion.number, promotion.artefact, feed.feed, feed.catalog
        );
        for Refused { what, number, error } in refused {
            detail.push_str(&format!("; {what} {number} was refused: {}", error.code()));
        }
        let state =
            if refused.is_empty() { ComponentState::Ready { detail } } else { ComponentState::Degraded { detail } };
        self.readiness.set(COMPONENT, state);
    }

    /// Counts a served list. The handle is kept: registering one takes a lock and several allocations.
    pub(crate) fn count_list(&self, route: ListRoute, source: ListSource, reason: Option<Reason>) {
        let place =
            &self.figures.lists[route as usize][source as usize][reason.map_or(0, |reason| reason as usize + 1)];
        let counter = place.get_or_init(|| {
            let source = match source {
                ListSource::Personal => "recommender",
                ListSource::Profile => "profile",
                ListSource::Segment => "segment",
                ListSource::Popularity => "popularity",
            };
            let labels = [
                ("list", route.as_str().to_owned()),
                ("source", source.to_owned()),
                ("reason", reason.map_or("none", Reason::as_str).to_owned()),
            ];
            self.telemetry.counter("montauk_lists_total", "Lists served, by where they come from.", &labels)
        });
        counter.increment(1);
    }
}

/// Drops a snapshot here, not on the async thread of the last request that holds it: freeing takes milliseconds.
pub(crate) fn retire<T>(old: Arc<T>) {
    let pause = Duration::from_millis(5);
    let mut waited = Duration::ZERO;
    while Arc::strong_count(&old) > 1 && waited < RETIRE_TIMEOUT {
        std::thread::sleep(pause);
        waited += pause;
    }
    drop(old);
}
