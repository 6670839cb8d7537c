//! `montauk token`: tokens of the API and of `MONTAUK_TOKEN`.
//!
//! In: whose.  Out: a token, printed this once; a list without secrets.
//! Never here: hashing and checking (`control`).
//! Start at [`run`].

use chrono::TimeDelta;
use control::{Projects, TokenRequest};

use super::{Outcome, Shell};
use crate::cli::{self, TokenAction};
use crate::error::AppError;
use crate::store::{self, failed};
use crate::table::Table;

pub async fn run(shell: &Shell, arguments: cli::Token) -> Result<Outcome, AppError> {
    let desk = store::desk(shell).await?;
    match arguments.action {
        TokenAction::List => {
            let tokens = desk.control.tokens(&desk.actor).await.map_err(failed)?;
            shell.output.report(&tokens, |output| {
                let mut table = Table::new(&["id", "person", "role", "for", "made", "ends", "last used"]);
                let day = |at: Option<chrono::DateTime<chrono::Utc>>| {
                    at.map(|at| at.format("%Y-%m-%d").to_string()).unwrap_or_default()
                };
                for token in &tokens {
                    let ends = token.revoked_at.or(token.expires_at);
                    table.row(vec![
                        token.id.clone(),
                        token.person.clone(),
                        token.role.name().to_owned(),
                        token.name.clone(),
                        day(Some(token.created_at)),
                        day(ends),
                        day(token.last_used_at),
                    ]);
                }
                output.data(&table.render())
            })?;
        }
        TokenAction::Create { person, name, days } => {
            let expires_at = days.map(|days| shell.now + TimeDelta::days(i64::from(days)));
            let request = TokenRequest { person, name, role: None, projects: Projects::All, expires_at };
            let issued = desk.control.create_token(&desk.actor, request, shell.now).await.map_err(failed)?;
            shell.output.report(&issued, |output| {
                output.data(&format!("{}\n", issued.token))?;
                output.say("keep it: it is not shown again");
                Ok(())
            })?;
        }
        TokenAction::Revoke { id, reason } => {
            let token = desk.control.revoke_token(&desk.actor, &id, &reason, shell.now).await.map_err(failed)?;
            shell.output.report(&token, |output| {
                output.done("Revoked", &format!("`{id}` of {}", token.person));
                Ok(())
            })?;
        }
    }
    Ok(Outcome::Done)
}
