//! How many streams are open, in all and from each client, and the places that they hold.
//!
//! In: a client that wants a stream.  Out: a [`Place`], given back when it is dropped; or a [`Full`].
//! Never here: what is sent (`stream`).
//! Start at [`Streams::enter`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use metrics::Gauge;

use super::address::Client;

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    Server,
    Client,
}

/// The counts.
#[derive(Debug)]
pub(crate) struct Streams {
    max: usize,
    max_per_client: usize,
    open: Mutex<Open>,
    gauge: Gauge,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_client: HashMap<Client, usize>,
}

/// A place for one stream.
#[derive(Debug)]
pub(crate) struct Place {
    streams: Arc<Streams>,
    client: Client,
}

impl Streams {
    pub(crate) fn new(max: usize, max_per_client: usize, gauge: Gauge) -> Self {
        gauge.set(0.0);
        Self { max, max_per_client, open: Mutex::default(), gauge }
    }

    /// A place for a stream to `client`. Errors: the limit that is reached; a client's own comes first, for it can do something about it.
    pub(crate) fn enter(self: &Arc<Self>, client: Client) -> Result<Place, Full> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Open { all, by_client } = &mut *open;
        if by_client.get(&client).copied().unwrap_or(0) >= self.max_per_client {
            return Err(Full::Client);
        }
        if *all >= self.max {
            return Err(Full::Server);
        }
        *by_client.entry(client).or_default() += 1;
        *all += 1;
        self.gauge.set(*all as f64);
        Ok(Place { streams: Arc::clone(self), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all = open.all.saturating_sub(1);
        self.streams.gauge.set(open.all as f64);
        if let Some(count) = open.by_client.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                open.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_given_back() {
        let streams = Arc::new(Streams::new(3, 2, Gauge::noop()));
        let client = |n: u8| Client::V4([192, 0, 2, n]);
        let first = streams.enter(client(1)).unwrap();
        let _second = streams.enter(client(1)).unwrap();
        assert_eq!(streams.enter(client(1)).err(), Some(Full::Client));
        let _third = streams.enter(client(2)).unwrap();
        assert_eq!(streams.enter(client(2)).err(), Some(Full::Server));
        drop(first);
        let fourth = streams.enter(client(1)).unwrap();
        drop(fourth);
        assert_eq!(streams.open.lock().unwrap().by_client.len(), 2);
    }
}
