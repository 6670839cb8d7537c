//! SIGTERM and SIGINT become orders to stop: the first drains, the second cuts.
//!
//! In: signals of the operating system.  Out: calls on a `ShutdownTrigger`.
//! Never here: what stopping means (`http_server`).
//! Start at [`watch`].

use std::io;

use http_server::ShutdownTrigger;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Registered handlers; from here on the signals no longer end the process by themselves.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// Registers for both signals.
pub fn watch() -> io::Result<Signals> {
    Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
}

impl Signals {
    /// Passes orders on for ever.
    pub async fn forward(mut self, trigger: ShutdownTrigger) {
        self.next().await;
        tracing::info!("draining; a second signal stops at once");
        trigger.drain();
        self.next().await;
        tracing::warn!("stopping at once");
        trigger.stop_now();
        // The trigger lives on: dropping it would only repeat the first order.
        std::future::pending::<()>().await;
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
