//! Arguments of what people decide: experiments, metrics, flags, people and tokens, and the API over them.
//!
//! In: `argv`.  Out: the structs that [`super::Command`] holds.
//! Never here: what an argument means; `commands` turns it into a request.
//! Start at [`Experiment`].

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// `montauk experiment`
#[derive(Debug, Args)]
pub struct Experiment {
    #[command(subcommand)]
    pub action: Option<ExperimentAction>,
}

/// What to do with experiments.
#[derive(Debug, Subcommand)]
pub enum ExperimentAction {
    /// List experiments: state, share of traffic, owner
    #[command(after_help = "Example:\n  montauk experiment list --state running")]
    List {
        /// Only those in this state
        #[arg(long, value_name = "STATE", value_parser = state)]
        state: Option<experiment::lifecycle::State>,
    },
    /// Show one whole, with what it still needs to start
    #[command(after_help = "Example:\n  montauk experiment show checkout")]
    Show {
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// Make a draft from a file like those in experiments/; for files that stay, use `plan` and `apply`
    #[command(after_help = "Example:\n  montauk experiment create checkout.toml")]
    Create {
        /// TOML; `-` is standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Change one by a file; while it runs only words, its schedule and exploratory metrics
    #[command(after_help = "Example:\n  montauk experiment update checkout.toml")]
    Update {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        seen: Seen,
    },
    /// Say how long it takes to see what, from the last weeks of the warehouse
    #[command(after_help = "Example:\n  montauk experiment power checkout --history-days 28")]
    Power {
        #[arg(value_name = "KEY")]
        key: String,
        #[command(flatten)]
        history: History,
    },
    /// Show how experiments/*.toml differ from what is decided
    #[command(after_help = "Example:\n  montauk experiment plan")]
    Plan,
    /// Make what is decided follow experiments/*.toml
    #[command(after_help = "Example:\n  montauk experiment apply")]
    Apply {
        /// Begin new phases where a file needs them: what runs ends and becomes a draft
        #[arg(long)]
        new_phases: bool,
        /// Do everything else where something cannot be done
        #[arg(long)]
        skip_blocked: bool,
        /// Kept in the audit log
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
    /// Ask for review
    #[command(after_help = "Example:\n  montauk experiment submit checkout")]
    Submit(One),
    /// Agree to somebody else's experiment
    #[command(after_help = "Example:\n  MONTAUK_TOKEN=mtk_… montauk experiment approve checkout --up-to 0.5")]
    Approve {
        #[command(flatten)]
        one: One,
        /// Share of all units up to which it may be ramped without asking again; with 1.0 a treatment may be shipped as well
        /// [default: what it takes now, or by its ramp]
        #[arg(long, value_name = "SHARE")]
        up_to: Option<f64>,
    },
    /// Give it back to its author
    #[command(after_help = "Example:\n  montauk experiment reject checkout --reason 'no guardrail on refunds'")]
    Reject(Because),
    /// Begin to assign units
    #[command(after_help = "Example:\n  montauk experiment start checkout")]
    Start(One),
    /// Let more of the audience take part; nobody's variant changes
    #[command(after_help = "Example:\n  montauk experiment ramp checkout --coverage 0.5")]
    Ramp {
        #[command(flatten)]
        one: One,
        /// Share of the audience, 0.0–1.0
        #[arg(long, value_name = "SHARE")]
        coverage: f64,
    },
    /// Serve the default to everybody for a while
    #[command(after_help = "Example:\n  montauk experiment pause checkout --reason 'incident 4711'")]
    Pause(Because),
    /// Go on after a pause
    #[command(after_help = "Example:\n  montauk experiment resume checkout")]
    Resume(One),
    /// End it without deciding; never needs an approval
    #[command(after_help = "Example:\n  montauk experiment stop checkout --reason 'planned end'")]
    Stop(Because),
    /// Choose what everybody gets; the results are kept with it
    #[command(after_help = "Example:\n  montauk experiment decide checkout --ship short --reason 'more orders'")]
    Decide {
        #[arg(value_name = "KEY")]
        key: String,
        /// This variant won
        #[arg(long, value_name = "VARIANT", conflicts_with_all = ["roll_back", "no_difference"], required_unless_present_any = ["roll_back", "no_difference"])]
        ship: Option<String>,
        /// The control stays, because the others do harm
        #[arg(long)]
        roll_back: bool,
        /// The control stays, because the others do no better
        #[arg(long, conflicts_with = "roll_back")]
        no_difference: bool,
        /// Needed where it differs from the verdict
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
        /// Leave out what happened on this day (UTC) and after it [default: tomorrow]
        #[arg(long, value_name = "DATE")]
        until: Option<chrono::NaiveDate>,
    },
    /// Begin a new phase as a draft: units are assigned anew, results start from zero
    #[command(after_help = "Example:\n  montauk experiment reopen checkout --reason 'with the new form'")]
    Reopen {
        #[command(flatten)]
        because: Because,
        /// What it serves now becomes the flag's default
        #[arg(long)]
        make_default: bool,
    },
    /// Take it out of what is served
    #[command(after_help = "Example:\n  montauk experiment archive checkout --make-default")]
    Archive {
        #[command(flatten)]
        because: Because,
        /// What it serves now becomes the flag's default
        #[arg(long)]
        make_default: bool,
    },
    /// Analyze one, in a file or not
    #[command(after_help = "Example:\n  montauk experiment results checkout")]
    Results {
        #[arg(value_name = "KEY")]
        key: String,
        /// Leave out what happened on this day (UTC) and after it [default: tomorrow]
        #[arg(long, value_name = "DATE")]
        until: Option<chrono::NaiveDate>,
    },
    /// Compute results that are due, and do what the schedule or harm asks for: start, ramp, stop. For cron
    #[command(
        after_help = "Ends with 4 when an experiment could not be refreshed; the others were.\n\nExamples:\n  montauk experiment refresh\n  montauk experiment refresh checkout --dry-run"
    )]
    Refresh {
        /// All when none is named
        #[arg(value_name = "KEY")]
        keys: Vec<String>,
        /// Act as if it were this moment, such as 2026-11-02T09:00:00Z; what is served and swept goes by the clock [default: now]
        #[arg(long, value_name = "TIME")]
        at: Option<chrono::DateTime<chrono::Utc>>,
        /// Say what would be read and what is due by the clock; change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Make a link that shows a variant, in a draft as well, without being counted
    #[command(after_help = "Example:\n  montauk experiment preview checkout short --url https://shop.example/checkout")]
    Preview {
        #[arg(value_name = "KEY")]
        key: String,
        #[arg(value_name = "VARIANT")]
        variant: String,
        /// Days until it ends
        #[arg(long, value_name = "N", default_value_t = 14, value_parser = clap::value_parser!(u32).range(1..=366))]
        days: u32,
        /// Where it leads; without one only `montauk_preview=…` is printed
        #[arg(long, value_name = "URL")]
        url: Option<String>,
    },
    /// Try it on made-up units: shares, and whom they meet in other experiments
    #[command(after_help = "Example:\n  montauk experiment simulate checkout --attribute country=KR")]
    Simulate {
        #[arg(value_name = "KEY")]
        key: String,
        #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
        units: u64,
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
        #[command(flatten)]
        attributes: Attributes,
    },
    /// Say which variant units see, and why
    #[command(
        after_help = "Examples:\n  montauk experiment assign checkout 4711 --attribute country=KR\n  montauk query 'select user_id from marts.customers' --format csv | montauk experiment assign checkout --units -"
    )]
    Assign {
        #[arg(value_name = "KEY")]
        key: String,
        #[arg(value_name = "UNIT")]
        units: Vec<String>,
        /// Units from the first column of a CSV file with a header; `-` is standard input. Prints CSV
        #[arg(long = "units", value_name = "FILE", conflicts_with = "units")]
        file: Option<PathBuf>,
        #[command(flatten)]
        attributes: Attributes,
    },
    /// Print experiments with all their phases and decisions as JSON
    #[command(after_help = "Example:\n  montauk experiment export > experiments.json")]
    Export {
        #[arg(value_name = "KEY")]
        keys: Vec<String>,
    },
    /// Print who changed what, when and why
    #[command(after_help = "Example:\n  montauk experiment audit checkout --format csv")]
    Audit {
        #[arg(value_name = "KEY")]
        key: Option<String>,
        #[arg(long, value_enum, default_value_t = AuditFormat::Table)]
        format: AuditFormat,
    },
}

/// How audit records are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AuditFormat {
    /// Columns for people
    Table,
    /// With the state before and after
    Csv,
    /// The same as an array of objects
    Json,
}

/// One experiment.
#[derive(Debug, Args)]
pub struct One {
    #[arg(value_name = "KEY")]
    pub key: String,
    #[command(flatten)]
    pub seen: Seen,
}

/// What a change was decided on.
#[derive(Debug, Clone, Copy, Args)]
pub struct Seen {
    /// Refuse when it is no longer at this revision, as `show` prints it [default: the one that stands]
    #[arg(long, value_name = "N")]
    pub revision: Option<u64>,
}

/// One experiment, and why.
#[derive(Debug, Args)]
pub struct Because {
    #[command(flatten)]
    pub one: One,
    /// Kept in the audit log
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
}

/// What clients of flags may take from a server; docs/reference/flags.md says why so much.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct FlagOptions {
    /// Streams of flags that are open at once; more are refused with 503 [default: 500]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_streams: Option<u32>,
    /// From one address, else 429; behind a balancer as many as --max-streams [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_streams_per_address: Option<u32>,
    /// Evaluations for one client key in a second; more are refused with 429 [default: 5000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub flags_per_second: Option<u32>,
}

/// What is known of units.
#[derive(Debug, Clone, Args)]
pub struct Attributes {
    /// What the units are, for audiences: `country=KR`, `age=30`; JSON values are read as such; may be repeated
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = pair)]
    pub attributes: Vec<(String, String)>,
}

/// Which part of the past.
#[derive(Debug, Clone, Args)]
pub struct History {
    /// Days in which units come for the first time; their windows end after them
    #[arg(long, value_name = "N", default_value_t = pipeline::steps::power::DEFAULT_HISTORY_DAYS, value_parser = clap::value_parser!(u32).range(1..=366))]
    pub history_days: u32,
    /// Leave out what happened on this day (UTC) and after it [default: today]
    #[arg(long, value_name = "DATE")]
    pub until: Option<chrono::NaiveDate>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, such as country=KR")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn state(text: &str) -> Result<experiment::lifecycle::State, String> {
    let states = experiment::lifecycle::State::ALL;
    let names = || states.map(|state| state.name()).join(", ");
    states.into_iter().find(|state| state.name() == text).ok_or_else(|| format!("write one of {}", names()))
}

/// `montauk metric`
#[derive(Debug, Args)]
pub struct Metric {
    #[command(subcommand)]
    pub action: Option<MetricAction>,
}

/// What to do with metrics.
#[derive(Debug, Subcommand)]
pub enum MetricAction {
    /// List metrics, and which experiments use them
    #[command(after_help = "Example:\n  montauk metric list")]
    List,
    /// Show one: what is counted, and in which window
    #[command(after_help = "Example:\n  montauk metric show revenue")]
    Show {
        #[arg(value_name = "METRIC")]
        name: String,
    },
    /// Compute metrics on the last weeks: typical value, noise, and what an experiment could see
    #[command(after_help = "Example:\n  montauk metric test revenue orders")]
    Test {
        /// All when none is named
        #[arg(value_name = "METRIC")]
        names: Vec<String>,
        #[command(flatten)]
        history: History,
    },
    /// Split the past at random, again and again: how often does a metric find a difference where there is none?
    #[command(after_help = "Example:\n  montauk metric trust --all")]
    Trust {
        #[arg(value_name = "METRIC", required_unless_present = "all")]
        names: Vec<String>,
        /// Every metric of the project
        #[arg(long, conflicts_with = "names")]
        all: bool,
        /// Splits of each metric's units
        #[arg(long, value_name = "N", default_value_t = experiment::a_a::DEFAULT_DRAWS, value_parser = clap::value_parser!(u32).range(100..=10_000))]
        draws: u32,
        /// The same seed splits the same past in the same way
        #[arg(long, value_name = "SEED", default_value_t = 1)]
        seed: u64,
        #[command(flatten)]
        history: History,
    },
}

/// `montauk thing`
#[derive(Debug, Args)]
pub struct Thing {
    #[command(subcommand)]
    pub action: ThingAction,
}

/// What to do with what experiments stand on.
#[derive(Debug, Subcommand)]
pub enum ThingAction {
    /// List everything of a kind: layer, holdout, flag, group, connection, person, policy
    #[command(after_help = "Example:\n  montauk thing list connection")]
    List {
        #[arg(value_name = "KIND", value_parser = kind)]
        kind: control::Kind,
    },
    /// Make or change one, given as JSON with its kind in it
    #[command(after_help = "Examples:\n  montauk thing put '{\"kind\": \"layer\", \"name\": \"home_page\"}'\n  \
                      montauk thing put '{\"kind\": \"flag\", \"key\": \"new_search\", \"value_type\": \"boolean\", \"default\": false}'\n  \
                      montauk thing put '{\"kind\": \"connection\", \"client_key\": \"\", \"name\": \"web shop\"}'\n  \
                      montauk thing put '{\"kind\": \"person\", \"name\": \"yuna\", \"role\": \"approver\"}'")]
    Put {
        #[arg(value_name = "JSON")]
        thing: String,
        /// The project whose people may change it [default: whose it is; of a new one, all projects]
        #[arg(long, value_name = "NAME")]
        project: Option<String>,
        /// Refuse when it is no longer at this revision, as `list` prints it [default: the one that stands]
        #[arg(long, value_name = "N")]
        revision: Option<u64>,
        /// Kept in the audit log
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
    /// Remove one that nothing names
    #[command(after_help = "Example:\n  montauk thing remove layer home_page")]
    Remove {
        #[arg(value_name = "KIND", value_parser = kind)]
        kind: control::Kind,
        #[arg(value_name = "KEY")]
        key: String,
        /// Kept in the audit log
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
}

fn kind(text: &str) -> Result<control::Kind, String> {
    let parsed = serde_json::from_value(serde_json::Value::String(text.to_owned()));
    parsed.map_err(|_| "write layer, holdout, flag, group, connection, person or policy".to_owned())
}

/// `montauk token`
#[derive(Debug, Args)]
pub struct Token {
    #[command(subcommand)]
    pub action: TokenAction,
}

/// What to do with tokens of the API.
#[derive(Debug, Subcommand)]
pub enum TokenAction {
    /// List tokens, without their secrets
    #[command(after_help = "Example:\n  montauk token list")]
    List,
    /// Make one and print it, this once
    #[command(after_help = "Example:\n  MONTAUK_TOKEN=$(montauk token create yuna --name laptop)")]
    Create {
        /// Whose; must be among the people (`montauk thing put '{\"kind\": \"person\", …}'`)
        #[arg(value_name = "PERSON")]
        person: String,
        /// What it is for
        #[arg(long, value_name = "TEXT", default_value = "command line")]
        name: String,
        /// Days until it ends [default: never]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3_660))]
        days: Option<u32>,
    },
    /// End one
    #[command(after_help = "Example:\n  montauk token revoke 5f0c1b2a3d4e5f60 --reason 'laptop lost'")]
    Revoke {
        #[arg(value_name = "ID")]
        id: String,
        /// Kept in the audit log
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
}

/// `montauk api`
#[derive(Debug, Args)]
pub struct Api {
    #[command(subcommand)]
    pub action: ApiAction,
}

/// What to do with the API.
#[derive(Debug, Subcommand)]
pub enum ApiAction {
    /// Answer what people decide as JSON over HTTP; the first start prints a token for the first admin
    #[command(after_help = "Example:\n  montauk api serve --listen 127.0.0.1:8081")]
    Serve {
        /// Address and port; port 0 takes a free one
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
        listen: SocketAddr,
    },
    /// Print its description, OpenAPI 3.1
    #[command(after_help = "Example:\n  montauk api spec > openapi.json")]
    Spec,
}
