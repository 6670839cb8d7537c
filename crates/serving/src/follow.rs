//! Looks for newer promotions and feeds, again and again.
//!
//! In: a service, an interval.  Out: calls to `Service::refresh`, off the async threads.
//! Never here: what is loaded.
//! Start at [`follow`].

use std::sync::Arc;
use std::time::Duration;

use crate::Service;
use crate::load::Newest;

/// Looks between two tries of the same damaged numbers: a fault of the disk may pass, and hashing a large artefact every
/// second would take a core.
const LOOKS_BETWEEN_RETRIES: u32 = 30;

/// What the last look left for the next one.
#[derive(Debug, Clone, Copy, Default)]
struct Memory {
    failed: Option<Newest>,
    looks_since: u32,
}

/// Never returns.
pub(crate) async fn follow(service: &Arc<Service>, interval: Duration) {
    let mut memory = Memory::default();
    loop {
        tokio::time::sleep(interval).await;
        let looking = Arc::clone(service);
        match tokio::task::spawn_blocking(move || look(&looking, memory)).await {
            Ok(next) => memory = next,
            Err(error) => tracing::error!(%error, "the look for newer artefacts ended early"),
        }
    }
}

fn look(service: &Service, memory: Memory) -> Memory {
    let newest = match service.newest() {
        Ok(newest) => newest,
        Err(error) => {
            tracing::debug!(%error, "cannot look for newer artefacts");
            return memory;
        }
    };
    let serving = service.serving();
    if newest.promotion <= serving.promotion && newest.feed <= serving.feed {
        return Memory::default();
    }
    if memory.failed == Some(newest) && memory.looks_since < LOOKS_BETWEEN_RETRIES {
        return Memory { looks_since: memory.looks_since + 1, ..memory };
    }
    match service.refresh() {
        Ok(false) => Memory::default(),
        // Reported there; what counts here is not to try the same again at once.
        Ok(true) | Err(_) => Memory { failed: Some(newest), looks_since: 0 },
    }
}
