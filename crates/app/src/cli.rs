//! Arguments as typed: the commands, their options and their help. Every help ends in an example.
//!
//! In: `argv`.  Out: [`Cli`].
//! Never here: what an argument means; `commands` turns it into a step's request.
//! Start at [`Cli`].

mod experiment;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use experiment::*;

/// Turns a company's own data into recommendations that can be trusted, served and proven.
#[derive(Debug, Parser)]
#[command(
    name = "montauk",
    version,
    propagate_version = false,
    disable_help_subcommand = true,
    arg_required_else_help = false,
    max_term_width = 100,
    long_about = "Turns a company's own data into recommendations that can be trusted, served and proven.\n\n\
                  The line of data: extract → copy → build → train → evaluate → publish → serve.\n\
                  Without a command: what the project holds, and what to do next.",
    after_help = "Exit codes: 0 ok, 1 unexpected, 2 usage, 3 configuration or connection, 4 checks failed, 6 refused by a guard, \
                  130 interrupted.\n\nExample:\n  montauk demo"
)]
pub struct Cli {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What every command understands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Globals {
    /// Work in this project [default: the nearest directory with a montauk.toml]
    #[arg(short = 'C', long = "directory", value_name = "DIR", global = true)]
    pub directory: Option<PathBuf>,
    /// Print one JSON object instead of text; errors too
    #[arg(long, global = true)]
    pub json: bool,
    /// Say only what went wrong
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more; twice for everything
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// No colours (as do NO_COLOR and TERM=dumb)
    #[arg(long, global = true)]
    pub no_color: bool,
    /// Where decisions are kept, instead of `.montauk/control.db`: postgres://user:password@host/database
    #[arg(long, value_name = "URL", env = "MONTAUK_CONTROL_URL", hide_env_values = true, global = true)]
    pub control: Option<String>,
    /// Go past a guard that would otherwise refuse
    #[arg(short, long, global = true)]
    pub yes: bool,
}

/// The commands, in the order of the line of data.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole line on the shipped example, real purchases of a gift shop, and serve the result
    #[command(after_help = "Example:\n  montauk demo --once")]
    Demo(Demo),
    /// Make a project from a template, or from what a database holds
    #[command(
        after_help = "Example:\n  SHOP_DB_URL='mysql://reader:secret@db:3306/shop' montauk init my-shop --from '${SHOP_DB_URL}'"
    )]
    Init(Init),
    /// Bring what the sources hold to the stage
    #[command(after_help = "Example:\n  montauk extract retail.lines")]
    Extract(Extract),
    /// Load staged files into raw tables, each file once
    #[command(after_help = "Example:\n  montauk copy raw.retail_lines")]
    Copy(Copy),
    /// Build the models, check them, and make them visible together
    #[command(after_help = "Example:\n  montauk build -s +marts.interactions")]
    Build(Build),
    /// Run the checks over the tables that are visible now
    #[command(after_help = "Example:\n  montauk check marts.interactions --rows 20")]
    Check(Check),
    /// See the rows that COPY set aside, mend them, load them after all, or dismiss them
    #[command(after_help = "Example:\n  montauk quarantine list raw.retail_lines --limit 20")]
    Quarantine(Quarantine),
    /// Train recommenders from the interactions mart
    #[command(after_help = "Example:\n  montauk train ease --seed 7")]
    Train(Train),
    /// Search for better settings on the validation window, and propose them as a change of the recommender's file
    #[command(after_help = "Example:\n  montauk tune ease --trials 27 --minutes 10")]
    Tune(Tune),
    /// Measure recommenders on a period they have not seen, and promote the best
    #[command(after_help = "Example:\n  montauk evaluate ease popularity --report evaluation.html")]
    Evaluate(Evaluate),
    /// See what was trained, compare two of it, choose which one serves, and go back
    #[command(after_help = "Example:\n  montauk rec promote ease --reason 'better in spring'")]
    Rec(Rec),
    /// Recommend to one user and say why; without a user, fill the mart with everybody's list
    #[command(after_help = "Example:\n  montauk recommend 17850 -n 5")]
    Recommend(Recommend),
    /// Say what experiments have done to their metrics, whether the data can be trusted, and what to do
    #[command(after_help = "Example:\n  montauk analyze checkout --until 2026-12-01")]
    Analyze(Analyze),
    /// Make, launch, stop and decide experiments
    #[command(after_help = "Example:\n  montauk experiment apply && montauk experiment submit checkout")]
    Experiment(Experiment),
    /// See what experiments are judged by, and try it on the past
    #[command(after_help = "Example:\n  montauk metric test revenue")]
    Metric(Metric),
    /// Layers, holdouts, flags, groups, connections of SDKs, people and policies
    #[command(after_help = "Example:\n  montauk thing list flag")]
    Thing(Thing),
    /// Make and end tokens of the API
    #[command(after_help = "Example:\n  montauk token create yuna")]
    Token(Token),
    /// Answer what people decide over HTTP, or print how
    #[command(after_help = "Example:\n  montauk api serve")]
    Api(Api),
    /// Say what a policy would have earned, from what another one logged
    #[command(name = "off-policy", after_help = "Example:\n  montauk off-policy thompson_men --json")]
    OffPolicy(OffPolicy),
    /// Send marts to databases by difference, and write the feed that serving loads
    #[command(after_help = "Example:\n  montauk publish recommendations --plan")]
    Publish(Publish),
    /// Answer recommendation requests over HTTP
    #[command(after_help = "Example:\n  montauk serve --listen 0.0.0.0:8080")]
    Serve(Serve),
    /// Ask the tables of one catalog number, read-only
    #[command(after_help = "Example:\n  montauk query \"select count(*) from marts.interactions\"")]
    Query(Query),
    /// Show what the project holds and what to do next
    #[command(after_help = "Example:\n  montauk status")]
    Status,
    /// Look for what is wrong with the project, its stores, its sources and this machine
    #[command(after_help = "Example:\n  montauk doctor")]
    Doctor,
    /// Print the completion script of a shell
    #[command(after_help = "Example:\n  montauk completions bash > ~/.local/share/bash-completion/completions/montauk")]
    Completions(Completions),
}

/// `montauk demo`
#[derive(Debug, Args)]
pub struct Demo {
    /// Stop after the results instead of serving
    #[arg(long)]
    pub once: bool,
    /// Serve on this port; 0 takes a free one
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Throw away what an earlier demo made and begin again
    #[arg(long)]
    pub fresh: bool,
}

/// `montauk init`
#[derive(Debug, Args)]
pub struct Init {
    /// Where; made if it does not exist [default: here]
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Propose sources and staging models for the tables of this database; `${NAME}` takes an environment variable
    #[arg(long, value_name = "URL", conflicts_with = "template")]
    pub from: Option<String>,
    /// Environment variable that will hold the address; the address itself is never written to a file
    #[arg(long, value_name = "NAME", requires = "from", default_value = "SOURCE_DB_URL")]
    pub env: String,
    /// What to begin with
    #[arg(long, value_enum, default_value_t = Template::Retail)]
    pub template: Template,
}

/// What a new project begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Template {
    /// The shipped example with its data
    Retail,
    /// Folders and a montauk.toml
    Minimal,
}

/// `montauk extract`
#[derive(Debug, Args)]
pub struct Extract {
    /// Sources or tables; all when none is named
    #[arg(value_name = "SOURCE[.TABLE]")]
    pub selection: Vec<String>,
    /// Connections that read one table of a database at a time, instead of `workers` in the source file
    #[arg(long, value_name = "N", value_parser = workers)]
    pub workers: Option<usize>,
    /// Stage nothing: compare every loaded table with what its database holds now
    #[arg(long, conflicts_with = "no_proof")]
    pub verify: bool,
    /// Do not let the database add up its columns; the load is then not compared with it
    #[arg(long)]
    pub no_proof: bool,
    /// Read every row again, instead of what is new since the last run
    #[arg(long, conflicts_with = "verify")]
    pub anew: bool,
}

fn workers(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=pipeline::MAX_WORKERS).contains(number));
    number.ok_or_else(|| format!("write a number from 1 to {}", pipeline::MAX_WORKERS))
}

/// `montauk copy`
#[derive(Debug, Args)]
pub struct Copy {
    /// Targets, sources or tables of sources; everything staged when none is named
    #[arg(value_name = "TABLE")]
    pub selection: Vec<String>,
    /// Load a file again that changed after it was loaded; its earlier rows are replaced
    #[arg(long)]
    pub force: bool,
    /// What a row that does not fit means, instead of `on_error` in the source file: `abort`, `skip_file`, `skip_file_10`, `skip_file_2%`, `continue`
    #[arg(long, value_name = "WHAT")]
    pub on_error: Option<warehouse::OnError>,
    /// Only this staged file, by its name; may be repeated
    #[arg(long = "file", value_name = "NAME")]
    pub files: Vec<String>,
    /// Only files whose whole name fits this regular expression
    #[arg(long, value_name = "REGEX")]
    pub pattern: Option<String>,
    /// Only files whose name begins so
    #[arg(long, value_name = "TEXT")]
    pub prefix: Option<String>,
    /// Bytes after which no further file is begun
    #[arg(long, value_name = "BYTES")]
    pub size_limit: Option<u64>,
    /// Remove files from the stage once all their rows are loaded
    #[arg(long)]
    pub purge: bool,
    /// Any other option of `[copy]`, as COPY INTO has it: `--option "csv = (delimiter = ';')"`; may be repeated
    #[arg(long = "option", value_name = "NAME = VALUE")]
    pub options: Vec<String>,
    /// Load nothing: show what would be rejected (`return_errors`, `return_all_errors`) or the first rows (`return_10_rows`)
    #[arg(long, value_name = "WHAT")]
    pub validation_mode: Option<warehouse::ValidationMode>,
    /// Load nothing: show the columns that the tables would have, and which row made each type what it is
    #[arg(long, conflicts_with_all = ["force", "on_error", "validation_mode"])]
    pub infer: bool,
}

/// `montauk build`
#[derive(Debug, Args)]
pub struct Build {
    /// A model; `+model` with everything before it, `model+` with everything after it; may be repeated
    #[arg(short, long = "select", value_name = "SELECT")]
    pub selection: Vec<String>,
    /// Build also what has not changed
    #[arg(long)]
    pub full_refresh: bool,
}

/// `montauk check`
#[derive(Debug, Args)]
pub struct Check {
    /// Tables; all when none is named
    #[arg(value_name = "TABLE")]
    pub tables: Vec<String>,
    /// Failing rows to show per check
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub rows: usize,
}

/// `montauk quarantine`
#[derive(Debug, Args)]
pub struct Quarantine {
    #[command(subcommand)]
    pub action: Option<QuarantineAction>,
}

/// What to do with rejects.
#[derive(Debug, Subcommand)]
pub enum QuarantineAction {
    /// Count the rejects of every table, and list those of the one that is named
    #[command(after_help = "Example:\n  montauk quarantine list raw.retail_lines --column UnitPrice")]
    List {
        /// Target, source or table of a source; every table is counted when none is named
        #[arg(value_name = "TABLE")]
        table: Option<String>,
        #[command(flatten)]
        rejects: Rejects,
        /// Also those that were replayed or dismissed
        #[arg(long)]
        all: bool,
        /// Rejects to show
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
    },
    /// Show one reject whole
    #[command(after_help = "Example:\n  montauk quarantine show raw.retail_lines 3.17")]
    Show {
        #[arg(value_name = "TABLE")]
        table: String,
        /// As `list` shows it
        #[arg(value_name = "ID")]
        id: warehouse::RejectId,
    },
    /// Mend rows with a `select` over `rejects`, which has their fields as text, and `_id`; nothing is loaded yet
    #[command(
        after_help = "Example:\n  montauk quarantine fix raw.retail_lines --column UnitPrice \\\n    --sql \"select _id, replace(UnitPrice, ',', '.') as UnitPrice from rejects\""
    )]
    Fix {
        #[arg(value_name = "TABLE")]
        table: String,
        /// Returns `_id` and the columns to change, or `_original`, the whole row anew
        #[arg(long, value_name = "SELECT")]
        sql: String,
        #[command(flatten)]
        rejects: Rejects,
    },
    /// Load mended rows, and those that fit since the table's options have changed
    #[command(after_help = "Example:\n  montauk quarantine replay raw.retail_lines")]
    Replay {
        #[arg(value_name = "TABLE")]
        table: String,
        #[command(flatten)]
        rejects: Rejects,
    },
    /// Say that rejects are not wanted, and why
    #[command(after_help = "Example:\n  montauk quarantine dismiss raw.retail_lines 3.17 --reason 'a test order'")]
    Dismiss {
        #[arg(value_name = "TABLE")]
        table: String,
        /// Kept with them
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        rejects: Rejects,
    },
}

/// Which rejects are meant; all open ones when nothing is said.
#[derive(Debug, Clone, Default, Args)]
pub struct Rejects {
    /// Only these, as `list` shows them
    #[arg(value_name = "ID")]
    pub ids: Vec<warehouse::RejectId>,
    /// Only those of this staged file
    #[arg(long, value_name = "NAME")]
    pub file: Option<String>,
    /// Only those of this column
    #[arg(long, value_name = "NAME")]
    pub column: Option<String>,
    /// Only those with this code, as `--json` shows it
    #[arg(long, value_name = "CODE")]
    pub code: Option<String>,
}

/// `montauk train`
#[derive(Debug, Args)]
pub struct Train {
    /// Recommenders; all when none is named
    #[arg(value_name = "REC")]
    pub recommenders: Vec<String>,
    /// Seed of everything random [default: the recommender's]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// Three rungs of which a third goes on each time: 27 settings cost about as much as nine that are measured whole.
pub const DEFAULT_TRIALS: usize = 27;

/// `montauk tune`
#[derive(Debug, Args)]
pub struct Tune {
    /// Recommenders; all when none is named
    #[arg(value_name = "REC")]
    pub recommenders: Vec<String>,
    /// Begin no further trial after so many minutes [default: no limit]; run again to go on
    #[arg(long, value_name = "N", value_parser = minutes)]
    pub minutes: Option<f64>,
    /// Settings to try per recommender, the current ones included
    #[arg(long, value_name = "N", default_value_t = DEFAULT_TRIALS, value_parser = trials)]
    pub trials: usize,
    /// Seed of everything random [default: the recommender's]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Write what is proposed into recommenders/*.toml
    #[arg(long)]
    pub apply: bool,
    /// Search nothing: print a recommender's file to begin with, chosen by the catalogue, the memory and the order of events
    #[arg(long, conflicts_with_all = ["minutes", "trials", "seed", "apply"])]
    pub suggest: bool,
}

fn minutes(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| *number > 0.0 && *number <= 100_000.0);
    number.ok_or_else(|| "write a number of minutes above 0 and up to 100000".to_owned())
}

fn trials(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=10_000).contains(number));
    number.ok_or_else(|| "write a number from 1 to 10000".to_owned())
}

/// `montauk analyze`
#[derive(Debug, Args)]
pub struct Analyze {
    /// Experiments, by the names of their files; all when none is named
    #[arg(value_name = "EXPERIMENT")]
    pub experiments: Vec<String>,
    /// Leave out what happened on this day (UTC) and after it [default: tomorrow]
    #[arg(long, value_name = "DATE")]
    pub until: Option<chrono::NaiveDate>,
    /// Also say what was known on each day since the start
    #[arg(long)]
    pub by_day: bool,
    /// Also say whether the experiments act on each other: every pair that shares units
    #[arg(long)]
    pub interactions: bool,
}

/// `montauk off-policy`
#[derive(Debug, Args)]
pub struct OffPolicy {
    /// Policies, by the names of their files in `off_policy`; all when none is named
    #[arg(value_name = "POLICY")]
    pub policies: Vec<String>,
}

/// `montauk evaluate`
#[derive(Debug, Args)]
pub struct Evaluate {
    /// Recommenders; all when none is named
    #[arg(value_name = "REC")]
    pub recommenders: Vec<String>,
    /// Seed of everything random [default: the recommender's]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Only measure: leave what is being served alone
    #[arg(long)]
    pub no_promote: bool,
    /// What is held out [default: the project's]; another protocol than the project's only measures
    #[arg(long, value_name = "PROTOCOL", value_enum)]
    pub protocol: Option<Protocol>,
    /// Also write a page with plots, tables and provenance: one HTML file
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// What an evaluation holds out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Everything after a moment
    Time,
    /// Whole users, of whom a part of the history is told
    Strong,
    /// The last basket of each user
    Last,
}

/// `montauk rec`
#[derive(Debug, Args)]
pub struct Rec {
    #[command(subcommand)]
    pub action: Option<RecAction>,
}

/// What to do with artefacts.
#[derive(Debug, Subcommand)]
pub enum RecAction {
    /// List every artefact: data, figures, size, and whether it serves
    #[command(after_help = "Example:\n  montauk rec list --json")]
    List,
    /// Show how two differ: parameters, data, and what the newest evaluation found of both
    #[command(after_help = "Example:\n  montauk rec compare ease item_knn")]
    Compare {
        /// Artefact, beginning of its name, or recommender (its newest artefact)
        #[arg(value_name = "A")]
        one: String,
        #[arg(value_name = "B")]
        other: String,
    },
    /// Let an artefact serve, unless it is damaged, not measured, or surely worse than what serves
    #[command(after_help = "Example:\n  montauk rec promote ease --reason 'better in spring'")]
    Promote {
        /// Artefact, beginning of its name, or recommender (its newest artefact)
        #[arg(value_name = "NAME")]
        name: String,
        /// Kept with the promotion
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Past the guard; what the guard said is kept with the promotion
        #[arg(long)]
        force: bool,
    },
    /// Let serve again what served before; nothing is trained
    #[command(after_help = "Example:\n  montauk rec rollback --reason 'complaints since noon'")]
    Rollback {
        /// Number of the promotion to go back to [default: what served before the present one]
        #[arg(long, value_name = "NUMBER")]
        to: Option<u64>,
        /// Kept with the promotion
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

/// `montauk recommend`
#[derive(Debug, Args)]
pub struct Recommend {
    /// The user; without one, everybody's list goes into marts.recommendations
    #[arg(value_name = "USER")]
    pub user: Option<String>,
    /// Recommender [default: the promoted one]
    #[arg(long = "rec", value_name = "NAME")]
    pub recommender: Option<String>,
    /// Items in a list [default: the recommender's]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub limit: Option<u8>,
}

/// `montauk publish`
#[derive(Debug, Args)]
pub struct Publish {
    /// Names of publish/*.toml, or `feed`; everything when none is named
    #[arg(value_name = "SYNC")]
    pub syncs: Vec<String>,
    /// Show the difference and send nothing
    #[arg(long)]
    pub plan: bool,
}

/// `montauk serve`
#[derive(Debug, Args)]
pub struct Serve {
    /// Address and port; port 0 takes a free one [default: that of montauk.toml]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Recommender that answers [default: the promoted one]
    #[arg(long = "rec", value_name = "NAME")]
    pub recommender: Option<String>,
    #[command(flatten)]
    pub flags: FlagOptions,
}

/// `montauk query`
#[derive(Debug, Args)]
pub struct Query {
    /// One statement that only reads
    #[arg(value_name = "SQL", required_unless_present = "file")]
    pub sql: Option<String>,
    /// Read the statement from a file; `-` is standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "sql")]
    pub file: Option<PathBuf>,
    /// How to print the rows
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Most rows [default: that of montauk.toml for tables, no limit for csv and json]
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Read the tables as they were at this catalog number [default: the newest]
    #[arg(long, value_name = "N")]
    pub catalog: Option<u64>,
}

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people
    Table,
    /// Comma-separated values with a header
    Csv,
    /// One array of objects
    Json,
}

/// `montauk completions`
#[derive(Debug, Args)]
pub struct Completions {
    /// Which shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
