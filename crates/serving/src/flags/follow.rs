//! Looks for higher revisions of the experiments, again and again.
//!
//! In: flags, an interval.  Out: calls to `Flags::refresh`, off the async threads.
//! Never here: what is loaded.
//! Start at [`follow`].

use std::sync::Arc;
use std::time::Duration;

use super::current::{Flags, Refreshed};

/// Looks of ours for one of the others: a change must be at every client within a second, and with a look each second waiting alone could take that long.
/// One look lists a directory.
const LOOKS_PER_INTERVAL: u32 = 4;

/// Looks between two tries of the same damaged revision: a fault of the disk may pass.
const LOOKS_BETWEEN_RETRIES: u32 = 30 * LOOKS_PER_INTERVAL;

/// What the last look left for the next one.
#[derive(Debug, Clone, Copy, Default)]
struct Memory {
    refused: u64,
    looks_since: u32,
}

/// Never returns. `on_news` is called, off the async threads, after each load.
pub(crate) async fn follow(flags: &Arc<Flags>, interval: Duration, on_news: impl Fn() + Clone + Send + 'static) {
    let mut memory = Memory::default();
    loop {
        tokio::time::sleep(interval / LOOKS_PER_INTERVAL).await;
        let (flags, on_news) = (Arc::clone(flags), on_news.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let (next, has_loaded) = look(&flags, memory);
            if has_loaded {
                on_news();
            }
            next
        });
        match looked.await {
            Ok(next) => memory = next,
            Err(error) => tracing::error!(%error, "the look for newer experiments ended early"),
        }
    }
}

fn look(flags: &Flags, memory: Memory) -> (Memory, bool) {
    let newest = match flags.newest() {
        Ok(newest) => newest,
        Err(error) => {
            tracing::debug!(%error, "cannot look for newer experiments");
            return (memory, false);
        }
    };
    if newest <= flags.revision() {
        return (Memory::default(), false);
    }
    if memory.refused == newest && memory.looks_since < LOOKS_BETWEEN_RETRIES {
        return (Memory { looks_since: memory.looks_since + 1, ..memory }, false);
    }
    match flags.refresh() {
        Ok(Refreshed::Newest | Refreshed::Nothing) => (Memory::default(), true),
        Ok(Refreshed::Older) | Err(_) => (Memory { refused: newest, looks_since: 0 }, true),
    }
}
