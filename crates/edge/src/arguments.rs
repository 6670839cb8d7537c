//! The command line of `montauk-edge`, in two steps: words as typed → [`Command`] as meant.
//!
//! In: arguments without the program's name.  Out: a [`Command`], or a sentence about what is wrong.
//! Written by hand: eleven options do not need a library, and every one would be in the small binary.
//! Never here: reading the environment, doing what is asked.
//! Start at [`parse`].

use std::path::PathBuf;
use std::time::Duration;

use edge::EdgeConfig;

pub(crate) const HELP: &str = "\
Serves recommendations from what `montauk evaluate` promoted and `montauk publish` wrote, and flags from snapshots of experiments.

Usage: montauk-edge [OPTIONS]

Options:
  -C DIR                 project directory [default: .]
  --listen ADDRESS       address and port; port 0 takes a free one [default: 127.0.0.1:8080]
  --recommender NAME     follow this one [default: whichever was promoted last]
  --wait                 start also when nothing is promoted yet; /readyz fails until then
  --poll-ms MS           how often to look for newer artefacts and feeds, four times as often for experiments [default: 1000]
  --max-connections N    open connections; more are refused with 503 [default: 1000]
  --max-streams N        streams of flags; more are refused with 503 [default: 500]
  --max-streams-per-address N
                         from one address, 429; behind a balancer as many as --max-streams [default: 100]
  --flags-per-second N   evaluations for one client key; more are refused with 429 [default: 5000]
  --grace-ms MS          from SIGTERM to the end of accepting, for a balancer to notice [default: 0]
  --drain-ms MS          then, at most this long for requests under way [default: 10000]
  --version              print the version
  --help                 print this

Environment:
  MONTAUK_LOG            what to log, such as `info,access=off` [default: info,access=warn]

Example:
  montauk-edge -C montauk-demo --listen 127.0.0.1:8080
  curl 'http://127.0.0.1:8080/v1/users/12347/recommendations?limit=5'
";

/// What is meant.
#[derive(Debug)]
pub(crate) enum Command {
    Serve(Box<EdgeConfig>),
    Help,
    Version,
}

/// Reads `--name value` and `--name=value`.
pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Command, String> {
    let mut arguments = arguments.into_iter();
    let mut config = EdgeConfig::new(&PathBuf::from("."));
    while let Some(argument) = arguments.next() {
        let (name, inline) = match argument.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name.to_owned(), Some(value.to_owned())),
            Some(_) | None => (argument, None),
        };
        let takes_none = matches!(name.as_str(), "--help" | "-h" | "--version" | "-V" | "--wait");
        if takes_none && inline.is_some() {
            return Err(format!("`{name}` takes no value"));
        }
        let mut value = || inline.clone().or_else(|| arguments.next()).ok_or_else(|| format!("`{name}` needs a value"));
        match name.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--version" | "-V" => return Ok(Command::Version),
            "--wait" => config.wait = true,
            "-C" => config.service.state_dir = EdgeConfig::new(&PathBuf::from(value()?)).service.state_dir,
            "--listen" => config.listen = value()?,
            "--recommender" => config.service.recommender = Some(value()?),
            "--poll-ms" => config.service.poll_interval = Duration::from_millis(number(&name, &value()?, 10)?),
            "--max-streams" => config.service.flags.max_streams = count(&name, &value()?)?,
            "--max-streams-per-address" => config.service.flags.max_streams_per_address = count(&name, &value()?)?,
            "--flags-per-second" => {
                let most = number(&name, &value()?, 1)?;
                config.service.flags.evaluations_per_second = u32::try_from(most).unwrap_or(u32::MAX);
            }
            "--grace-ms" => config.limits.shutdown_grace = Duration::from_millis(number(&name, &value()?, 0)?),
            "--drain-ms" => config.limits.drain_timeout = Duration::from_millis(number(&name, &value()?, 0)?),
            "--max-connections" => config.limits.max_connections = count(&name, &value()?)?,
            _ => return Err(format!("`{name}` is not an option")),
        }
    }
    Ok(Command::Serve(Box::new(config)))
}

/// One day in milliseconds, and more connections than a process may have: larger figures are slips of the finger.
const MOST: u64 = 86_400_000;

fn number(name: &str, text: &str, least: u64) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| (least..=MOST).contains(number));
    number.ok_or_else(|| format!("`{name}` is `{text}`, but must be a whole number from {least} to {MOST}"))
}

fn count(name: &str, text: &str) -> Result<usize, String> {
    let most = number(name, text, 1)?;
    usize::try_from(most).map_err(|_| format!("`{name}` is too large: `{most}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &str) {
        let found = match parse(line.split_whitespace().map(str::to_owned)) {
            Ok(Command::Serve(config)) => format!(
                "{} {} {:?} {:?} {}",
                config.service.state_dir.display(),
                config.listen,
                config.service.recommender,
                config.service.poll_interval,
                config.limits.max_connections
            ),
            Ok(Command::Help) => "help".to_owned(),
            Ok(Command::Version) => "version".to_owned(),
            Err(error) => error,
        };
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn words_become_what_is_meant() {
        check("", "./.montauk 127.0.0.1:8080 None 1s 1000");
        check(
            "-C shop --listen=0.0.0.0:0 --recommender ease --poll-ms 50 --max-connections=9",
            "shop/.montauk 0.0.0.0:0 Some(\"ease\") 50ms 9",
        );
        check("--wait --help", "help");
        check("-V", "version");
        check("--listen", "`--listen` needs a value");
        check("--wait=yes", "`--wait` takes no value");
        check("--lisen x", "`--lisen` is not an option");
        check("serve", "`serve` is not an option");
        check("--poll-ms soon", "`--poll-ms` is `soon`, but must be a whole number from 10 to 86400000");
        check("--max-connections 0", "`--max-connections` is `0`, but must be a whole number from 1 to 86400000");
    }

    #[test]
    fn help_ends_in_an_example() {
        let (_, example) = HELP.rsplit_once("Example:\n").expect("an example");
        assert!(example.lines().all(|line| line.starts_with("  ")), "{example}");
    }
}
