//! How whoever started a server tells it to stop: first gently, then at once.
//!
//! In: calls on a [`ShutdownTrigger`].  Out: the phases that [`HttpServer::serve`](crate::HttpServer::serve) waits for.
//! Never here: signals of the operating system; the door that owns the process listens to those.
//! Start at [`shutdown_channel`].

use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    Draining,
    Immediate,
}

/// The end that gives the order. Dropping it means [`ShutdownTrigger::drain`]: nobody is left who could ask for it.
#[derive(Debug)]
pub struct ShutdownTrigger(watch::Sender<Phase>);

/// The end that obeys. Clones see the same order.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<Phase>);

/// A connected pair.
pub fn shutdown_channel() -> (ShutdownTrigger, Shutdown) {
    let (sender, receiver) = watch::channel(Phase::Serving);
    (ShutdownTrigger(sender), Shutdown(receiver))
}

impl ShutdownTrigger {
    /// Readiness fails, accepting ends, requests under way are finished. Again: no effect.
    pub fn drain(&self) {
        self.raise(Phase::Draining);
    }

    /// Connections are cut.
    pub fn stop_now(&self) {
        self.raise(Phase::Immediate);
    }

    fn raise(&self, phase: Phase) {
        self.0.send_if_modified(|current| {
            let is_later = phase > *current;
            if is_later {
                *current = phase;
            }
            is_later
        });
    }
}

impl Shutdown {
    /// Returns when a drain, or more, is asked for.
    pub async fn draining(&mut self) {
        // An error means that the trigger is gone, which is an order to drain.
        let _ = self.0.wait_for(|phase| *phase >= Phase::Draining).await;
    }

    /// Returns when connections are to be cut at once; never, if the trigger is gone.
    pub async fn immediate(&mut self) {
        if self.0.wait_for(|phase| *phase == Phase::Immediate).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
