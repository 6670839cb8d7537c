//! `montauk tune`: what a search for better settings found, as a change of the file that a person agrees to.
//!
//! In: recommenders, trials, minutes.  Out: a diff per recommender; the changed files, once somebody said yes.
//! Never here: the search (`recommend`), the change itself (`pipeline`).
//! Start at [`run`].

use std::io::{BufRead, IsTerminal};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipeline::steps::tune::{self, Budget, Report, Request};

use super::{Outcome, Shell};
use crate::cli;
use crate::error::AppError;
use crate::output::{Output, count};

pub async fn run(shell: &Shell, arguments: cli::Tune) -> Result<Outcome, AppError> {
    if arguments.suggest {
        return suggest(shell, arguments.recommenders.first().map(String::as_str)).await;
    }
    let output = shell.output;
    let command = command(&arguments);
    let request = Request { recommenders: arguments.recommenders, trials: arguments.trials, seed: arguments.seed };
    let (budget, apply) = (budget(arguments.minutes), arguments.apply);
    let can_ask = !apply && can_ask(&output);
    let report = shell
        .write("tune", async |context| {
            let mut report = tune::run(context, request, budget).await?;
            for tuned in &mut report.recommenders {
                let diff = tuned.diff.as_deref().unwrap_or_default();
                let is_agreed = apply || (can_ask && !diff.is_empty() && agrees(&output, &tuned.file, diff));
                if is_agreed {
                    tune::apply(context, tuned)?;
                }
            }
            Ok(report)
        })
        .await?;
    output.report(&report, |output| draw(output, &report, &command, can_ask, shell))?;
    Ok(Outcome::Done)
}

async fn suggest(shell: &Shell, recommender: Option<&str>) -> Result<Outcome, AppError> {
    let suggestion = shell.read(async |context| tune::suggest(context, recommender).await).await?;
    shell.output.report(&suggestion, |output| {
        output.data(&suggestion.file)?;
        output.say(
            "next: write this to a file in recommenders/, then `montauk train`, `montauk tune` and `montauk evaluate`",
        );
        Ok(())
    })?;
    Ok(Outcome::Done)
}

/// The one clock of a search.
fn budget(minutes: Option<f64>) -> Budget {
    let begun = Instant::now();
    let time = minutes.map(|minutes| Duration::from_secs_f64(60.0 * minutes));
    Arc::new(move |share| time.is_none_or(|time| begun.elapsed() < time.mul_f64(share)))
}

/// The same search again.
fn command(arguments: &cli::Tune) -> String {
    let mut words = vec!["montauk tune".to_owned()];
    words.extend(arguments.recommenders.iter().cloned());
    if arguments.trials != cli::DEFAULT_TRIALS {
        words.push(format!("--trials {}", arguments.trials));
    }
    words.extend(arguments.seed.map(|seed| format!("--seed {seed}")));
    words.join(" ")
}

/// Whether somebody sits there who can answer.
fn can_ask(output: &Output) -> bool {
    !output.json && !output.quiet && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Shows the change and asks.
fn agrees(output: &Output, file: &str, diff: &str) -> bool {
    output.say(diff.trim_end());
    output.say(&format!("change {file}? [y/N]"));
    let mut answer = String::new();
    let is_read = std::io::stdin().lock().read_line(&mut answer).is_ok();
    is_read && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// `was_shown`: the diffs, when asking.
fn draw(output: &Output, report: &Report, command: &str, was_shown: bool, shell: &Shell) -> Result<(), AppError> {
    let mut is_open = false;
    for tuned in &report.recommenders {
        let resumed = if tuned.tuned.resumed == 0 {
            String::new()
        } else {
            format!(" ({} from before)", count(tuned.tuned.resumed as u64, "measurement"))
        };
        output.done("Tuned", &format!("{}: {}{resumed}", tuned.recommender, tuned.verdict));
        if !was_shown {
            output.data(tuned.diff.as_deref().unwrap_or_default())?;
        }
        if tuned.applied {
            output.done("Wrote", &tuned.file);
        }
        is_open |= tuned.diff.is_some() && !tuned.applied;
    }
    if is_open {
        output.say(&format!("nothing is written yet; to change the files: `{command} --apply`"));
    } else if report.recommenders.iter().any(|tuned| tuned.applied) {
        output.say("next: montauk train && montauk evaluate");
    }
    output.done("Finished", &format!("in {}", shell.took()));
    Ok(())
}
