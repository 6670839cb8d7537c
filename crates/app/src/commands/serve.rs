//! `montauk serve`: the server of `montauk-edge`, inside this binary.
//!
//! In: an address.  Out: a running server until SIGTERM or Ctrl-C, then a drain.
//! Never here: answers (`serving`), the accept loop (`http_server`).
//! Start at [`serve`].

use std::net::SocketAddr;
use std::time::Duration;

use edge::EdgeConfig;
use pipeline::project::Project;

use super::{Outcome, Shell};
use crate::cli::{self, FlagOptions};
use crate::error::AppError;

pub async fn run(shell: &Shell, arguments: cli::Serve) -> Result<Outcome, AppError> {
    let project = shell.project()?;
    let listen = arguments.listen.unwrap_or(project.settings.serve.listen);
    serve(shell, &project, listen, arguments.recommender, arguments.flags, None).await
}

/// The limits of flags, where something else was said than what they are.
fn limit(config: &mut EdgeConfig, given: FlagOptions) {
    let flags = &mut config.service.flags;
    let count = |given: u32| usize::try_from(given).unwrap_or(usize::MAX);
    flags.max_streams = given.max_streams.map_or(flags.max_streams, count);
    flags.max_streams_per_address = given.max_streams_per_address.map_or(flags.max_streams_per_address, count);
    flags.evaluations_per_second = given.flags_per_second.unwrap_or(flags.evaluations_per_second);
}

/// Serves `project` until somebody stops it. `user` is somebody to try it with.
pub async fn serve(
    shell: &Shell,
    project: &Project,
    listen: SocketAddr,
    recommender: Option<String>,
    flags: FlagOptions,
    user: Option<&str>,
) -> Result<Outcome, AppError> {
    if let Some(name) = &recommender {
        project.recommender(name)?;
    }
    let mut config = EdgeConfig::new(project.dir());
    config.listen = listen.to_string();
    config.service.recommender = recommender;
    limit(&mut config, flags);
    config.service.poll_interval = Duration::from_millis(project.settings.serve.poll_ms);
    config.limits.drain_timeout = Duration::from_millis(project.settings.serve.drain_ms);
    let user = user.unwrap_or("USER");
    let report = edge::run(config, |edge| {
        let address = edge.address();
        // The address is what a script that starts the server waits for: data, on its own line.
        let _ = if shell.output.json {
            shell.output.json(&serde_json::json!({ "address": format!("http://{address}") }))
        } else {
            shell.output.data(&format!("listening on http://{address}\n"))
        };
        shell.output.say(&format!("try it:  curl -s 'http://{address}/v1/users/{user}/recommendations?limit=5'"));
        shell.output.say("stop it: Ctrl-C");
    })
    .await
    .map_err(|error| AppError::room(&error))?;
    if report.cut > 0 {
        shell.output.warn(&format!("{} open connections were cut", report.cut));
    }
    shell.output.done("Stopped", &format!("after {}", shell.took()));
    Ok(Outcome::Done)
}
