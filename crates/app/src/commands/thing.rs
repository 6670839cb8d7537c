//! `montauk thing`: layers, holdouts, flags, groups, connections of SDKs, people and policies.
//!
//! In: JSON with its kind.  Out: what is stored.
//! Never here: what a thing may be (`control`).
//! Start at [`run`].

use control::{ControlError, Stored, Thing, ThingEdit};

use super::{Outcome, Shell};
use crate::cli::{self, ThingAction};
use crate::error::AppError;
use crate::store::{self, failed};
use crate::table::Table;

pub async fn run(shell: &Shell, arguments: cli::Thing) -> Result<Outcome, AppError> {
    let desk = store::desk(shell).await?;
    match arguments.action {
        ThingAction::List { kind } => {
            let things = desk.control.things(&desk.actor, kind).await.map_err(failed)?;
            shell.output.report(&things, |output| output.data(&table(&things).render()))?;
        }
        ThingAction::Put { thing, project, reason, revision } => {
            let thing: Thing = serde_json::from_str(&thing).map_err(|error| AppError::Usage {
                message: format!("this is no thing: {error}"),
                help: "see `montauk thing put --help` for one of each".to_owned(),
            })?;
            // Whose it is stays as it was, unless something else is said.
            let (seen, project) = match desk.control.thing(&desk.actor, thing.kind(), thing.key()).await {
                Ok(stored) => (revision.or(Some(stored.revision)), project.or(stored.project)),
                Err(ControlError::NotFound { .. }) => (revision, project),
                Err(error) => return Err(failed(error)),
            };
            let edit = ThingEdit { thing, project, seen, reason };
            let stored = desk.control.put(&desk.actor, edit, shell.now).await.map_err(failed)?;
            desk.publish(shell).await?;
            shell.output.report(&stored, |output| {
                // The key may have been made just now, as that of a connection.
                output.data(&format!("{}\n", stored.thing.key()))?;
                output.done("Stored", &format!("{} `{}`", stored.thing.kind().name(), stored.thing.key()));
                Ok(())
            })?;
        }
        ThingAction::Remove { kind, key, reason } => {
            let seen = desk.control.thing(&desk.actor, kind, &key).await.map_err(failed)?.revision;
            desk.control.remove(&desk.actor, kind, &key, seen, &reason, shell.now).await.map_err(failed)?;
            desk.publish(shell).await?;
            shell.output.report(&serde_json::json!({ "removed": key }), |output| {
                output.done("Removed", &format!("{} `{key}`", kind.name()));
                Ok(())
            })?;
        }
    }
    Ok(Outcome::Done)
}

fn table(things: &[Stored]) -> Table {
    let mut table = Table::new(&["key", "#revision", "project", "changed", "what"]);
    for stored in things {
        let what = serde_json::to_string(&stored.thing).unwrap_or_default();
        table.row(vec![
            stored.thing.key().to_owned(),
            stored.revision.to_string(),
            stored.project.clone().unwrap_or_default(),
            stored.updated_at.format("%Y-%m-%d %H:%M").to_string(),
            what,
        ]);
    }
    table
}
