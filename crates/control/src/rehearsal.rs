//! What would be served if an experiment ran: for trying it before anybody sees it.
//!
//! In: an experiment's key.  Out: the program of everything that is served, with this experiment running.
//! Never here: made-up units (`experiment::simulate`).
//! Start at [`Control::program`].

use chrono::{DateTime, Utc};
use experiment::lifecycle::State;
use experiment::program::Program;

use crate::control::Control;
use crate::error::ControlError;
use crate::people::Actor;
use crate::surroundings::Surroundings;

impl Control {
    /// The program with one experiment as if it ran; a decided one stays decided, an archived one is not in it. Errors: `NotFound`.
    pub async fn program(&self, actor: &Actor, key: &str, now: DateTime<Utc>) -> Result<Program, ControlError> {
        self.experiment(actor, key).await?;
        let mut around = Surroundings::load(&mut self.store.view().await?).await?;
        for record in around.records.iter_mut().filter(|record| record.key == key) {
            if matches!(record.course.state, State::Draft | State::Review | State::Paused) {
                record.course.state = State::Running;
            }
        }
        Ok(around.program(now).0)
    }
}
