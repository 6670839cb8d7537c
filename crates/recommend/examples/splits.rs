//! Quality and CPU seconds per recommender on published splits, beside the reference table; run by `make bench`.
//!
//! In: a directory of `<set>_strong_*.csv.gz`, `<set>_time_*.csv.gz`, `<set>_lastout_*.csv.gz` and the name of the set.
//! Out: one line per protocol and recommender on standard output; with `--lists DIR` the lists, for other evaluators.
//! Never here: hard-coded paths, parameters chosen on the test part.
//! Start at `main`:  `cargo run --release -p recommend --example splits -- DIR or`

#![expect(clippy::print_stdout, reason = "a bench script prints its table")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use domain::{ItemId, NoProgress, Provenance, UserId};
use recommend::{
    BlendParameters, BprParameters, Case, EaseParameters, HistoryItem, HistoryParameters, IalsParameters,
    InteractionRow, Interactions, ItemKnnParameters, LlrParameters, Parameters, PopularityParameters, Protocol,
    RankRequest, Ranker, RecommenderKind, RecommenderSpec, Repeats, Rp3betaParameters, SequenceParameters, evaluate,
    run_cases, train,
};

type Failure = Box<dyn Error>;

const CUTOFFS: [usize; 4] = [10, 20, 50, 100];

const USAGE: &str = "usage: splits DIRECTORY SET(or|ml1m|ml100k4) [--split strong|valid|time|last|own] [--kind KIND] \
                     [--with PARAMETER=NUMBER]... [--parameters JSON] [--seed NUMBER] [--lists DIRECTORY]";

/// What the command line says.
struct Options {
    directory: PathBuf,
    set: String,
    split: Option<String>,
    kind: Option<RecommenderKind>,
    /// Parameters that differ from the reference table's: for choosing them on `valid`.
    with: Vec<(String, f64)>,
    /// All parameters of `--kind`, in the place of the reference table's.
    given: Option<Parameters>,
    seed: u64,
    lists: Option<PathBuf>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let (Some(directory), Some(set)) = (arguments.next(), arguments.next()) else {
            return Err(USAGE.into());
        };
        let directory = PathBuf::from(directory);
        let mut options =
            Self { directory, set, split: None, kind: None, with: Vec::new(), given: None, seed: 1, lists: None };
        let mut json = None;
        while let Some(option) = arguments.next() {
            let value = arguments.next().ok_or(USAGE)?;
            match option.as_str() {
                "--split" => options.split = Some(value),
                "--kind" => options.kind = Some(value.parse()?),
                "--with" => {
                    let (name, number) = value.split_once('=').ok_or(USAGE)?;
                    options.with.push((name.to_owned(), number.parse()?));
                }
                "--parameters" => json = Some(value),
                "--seed" => options.seed = value.parse()?,
                "--lists" => options.lists = Some(PathBuf::from(value)),
                _ => return Err(USAGE.into()),
            }
        }
        if let Some(json) = json {
            let kind = options.kind.ok_or(USAGE)?;
            options.given = Some(Parameters::resolve(kind, &serde_json::from_str(&json)?)?);
        }
        Ok(options)
    }

    fn wants(&self, split: &str) -> bool {
        self.split.as_deref().is_none_or(|wanted| wanted == split)
    }

    /// The reference table's parameters, changed as asked.
    fn recommenders(&self) -> Result<Vec<Parameters>, Failure> {
        if let Some(given) = &self.given {
            return Ok(vec![given.clone()]);
        }
        let mut chosen = Vec::new();
        for parameters in parameters(&self.set) {
            let kind = parameters.kind();
            if self.kind.is_some_and(|wanted| wanted != kind) {
                continue;
            }
            let mut map = parameters.to_map();
            for (name, number) in &self.with {
                let whole = number.fract() == 0.0;
                map.insert(name.clone(), if whole { (*number as u64).into() } else { (*number).into() });
            }
            chosen.push(Parameters::resolve(kind, &map)?);
        }
        Ok(chosen)
    }
}

fn main() -> Result<(), Failure> {
    let options = Options::parse(std::env::args().skip(1))?;
    println!(
        "{:<8}{:<8}{:<12}{:>6}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}{:>9}{:>9}{:>9}",
        "set",
        "split",
        "recommender",
        "users",
        "R@20",
        "R@50",
        "N@100",
        "HR@10",
        "N@10",
        "cov@20",
        "CPU s",
        "p50 us",
        "p99 us"
    );
    for protocol in ["strong", "valid", "time", "last"].into_iter().filter(|split| options.wants(split)) {
        let Some(split) = Split::read(&options.directory, &options.set, protocol)? else {
            continue;
        };
        for parameters in options.recommenders()? {
            run(&options, protocol, &split, &parameters)?;
        }
    }
    if options.wants("own") && options.kind.is_none() { own_protocol(&options) } else { Ok(()) }
}

/// Our own protocol on the events of the time split: both windows, paired intervals, no basket split.
fn own_protocol(options: &Options) -> Result<(), Failure> {
    let table = |name: &str| Table::read(&options.directory.join(format!("{}_time_{name}.csv.gz", options.set)));
    let (Some(mut events), Some(valid), Some(test)) = (table("train")?, table("valid")?, table("test")?) else {
        return Ok(());
    };
    events.rows.extend(valid.rows.into_iter().chain(test.rows));
    let specs: Vec<RecommenderSpec> = options
        .recommenders()?
        .into_iter()
        .map(|parameters| RecommenderSpec {
            name: parameters.kind().to_string(),
            parameters,
            filter_seen: true,
            rerank: Default::default(),
        })
        .collect();
    let (before, start) = (cpu_seconds(), Instant::now());
    let protocol = Protocol { seed: options.seed, ..Protocol::default() };
    let evaluation = evaluate(&events.interactions()?, &specs, "popularity", &protocol, &NoProgress)?;
    let spent = cpu_seconds().zip(before).map_or(f64::NAN, |(after, before)| after - before);
    println!("\nown protocol on {}: {:.1} s, {spent:.1} CPU s", options.set, start.elapsed().as_secs_f64());
    for window in evaluation.report.windows.iter().filter(|window| window.repeats == Repeats::Excluded) {
        let (users, cold) = (window.users, window.cold_users);
        println!("{:?}: {users} users, {} held out, {cold} cold users", window.window, window.held_out);
        for result in &window.recommenders {
            let own = result.metrics["ndcg@100"];
            print!("  {:<12} ndcg@100 {:.4} [{:.4}, {:.4}]", result.name, own.value, own.low, own.high);
            match result.differences.get("ndcg@100") {
                Some(over) => println!("  over popularity {:+.4} [{:+.4}, {:+.4}]", over.value, over.low, over.high),
                None => println!(),
            }
        }
    }
    for name in specs.iter().map(|spec| spec.name.as_str()) {
        println!("  {}", evaluation.promotion(name, &["popularity", "item_knn"])?.reason);
    }
    Ok(())
}

/// As in the reference table, but for iALS on `or`; a history is never shortened there.
fn parameters(set: &str) -> Vec<Parameters> {
    let history = HistoryParameters { max_history: u32::MAX as usize, ..HistoryParameters::default() };
    let (lambda, neighbours, exponent) = match set {
        "ml1m" => (500.0, 200, 0.6),
        "ml100k4" => (200.0, 100, 0.5),
        _ => (200.0, 200, 0.5),
    };
    let (alpha, ials_lambda, epochs) = match set {
        // Chosen on the validation users: N@100 .4750 after 7 epochs, .4742 after 10 with the table's .002.
        "ml1m" => (0.6, 0.003, 7),
        "ml100k4" => (0.5, 0.005, 10),
        // Chosen on the validation users (`--split valid --kind ials --with alpha=…`): better than the table's .1, .005, 8.
        _ => (0.2, 0.005, 10),
    };
    vec![
        Parameters::Popularity(PopularityParameters::default()),
        Parameters::ItemKnn(ItemKnnParameters { neighbours, exponent, history: history.clone(), ..Default::default() }),
        Parameters::Llr(LlrParameters { history: history.clone(), ..Default::default() }),
        Parameters::Rp3beta(Rp3betaParameters { history: history.clone(), ..Default::default() }),
        Parameters::Ease(EaseParameters { lambda, history: history.clone(), ..Default::default() }),
        Parameters::Ials(IalsParameters {
            alpha,
            lambda: ials_lambda,
            epochs,
            history: history.clone(),
            ..Default::default()
        }),
        Parameters::Sequence(SequenceParameters { max_history: history.max_history, ..Default::default() }),
        Parameters::Blend(BlendParameters::default()),
        Parameters::Bpr(BprParameters { history, ..Default::default() }),
    ]
}

fn run(options: &Options, protocol: &str, split: &Split, parameters: &Parameters) -> Result<(), Failure> {
    let set = &options.set;
    let fallback =
        train(&split.train, &Parameters::Popularity(PopularityParameters::default()), 0, Provenance::default())?;
    let before = cpu_seconds();
    let artefact = train(&split.train, parameters, options.seed, Provenance::default())?;
    let spent = cpu_seconds().zip(before).map(|(after, before)| after - before);
    let ranker = Ranker::new(Arc::new(artefact), &fallback)?;
    let results = run_cases(&ranker, &split.cases, &CUTOFFS, true);
    let mean = |name: &str| results.mean(name).unwrap_or(f64::NAN);
    println!(
        "{set:<8}{protocol:<8}{:<12}{:>6}{:>8.4}{:>8.4}{:>8.4}{:>8.4}{:>8.4}{:>8.4}{:>9}{:>9.0}{:>9.0}",
        parameters.kind().as_str(),
        split.cases.len(),
        mean("recall@20"),
        mean("recall@50"),
        mean("ndcg@100"),
        mean("hit_rate@10"),
        mean("ndcg@10"),
        results.coverage(20, ranker.items().len()),
        spent.map_or("n/a".to_owned(), |seconds| format!("{seconds:.2}")),
        latency(&ranker, &split.cases, 0.5),
        latency(&ranker, &split.cases, 0.99),
    );
    if let Some(directory) = &options.lists {
        fs::create_dir_all(directory)?;
        let mut file = File::create(directory.join(format!("{set}_{protocol}_{}.csv", parameters.kind())))?;
        writeln!(file, "u,rank,i")?;
        for (case, list) in split.cases.iter().zip(&results.lists) {
            for (rank, item) in list.iter().enumerate() {
                writeln!(file, "{},{},{}", case.user, rank + 1, ranker.items()[*item as usize])?;
            }
        }
    }
    Ok(())
}

/// Microseconds of one request (10 items, 3 reasons) at a quantile over users, one thread, wall clock.
///
/// The least of three tries per user: on a shared machine the scheduler's pauses are longer than any request.
fn latency(ranker: &Ranker, cases: &[Case], quantile: f64) -> f64 {
    let mut times: Vec<f64> = cases
        .iter()
        .map(|case| {
            let once = || {
                let start = Instant::now();
                std::hint::black_box(ranker.recommend(&case.history, &RankRequest::new(10)));
                start.elapsed().as_secs_f64() * 1e6
            };
            once().min(once()).min(once())
        })
        .collect();
    times.sort_unstable_by(f64::total_cmp);
    times.get((quantile * times.len() as f64) as usize).copied().unwrap_or(f64::NAN)
}

/// CPU seconds of this process, all threads: fields 14 and 15 of /proc/self/stat, in ticks of 1/100 s. Linux only.
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / 100.0)
}

/// A published split: what is trained on, and whom to recommend to.
struct Split {
    train: Interactions,
    cases: Vec<Case>,
}

impl Split {
    /// `None` if the set does not have this split.
    fn read(directory: &Path, set: &str, protocol: &str) -> Result<Option<Self>, Failure> {
        let table = |name: &str| Table::read(&directory.join(format!("{set}_{name}.csv.gz")));
        Ok(match protocol {
            "strong" | "valid" => {
                let (Some(train), Some(held)) = (table("strong_train")?, table("strong_heldout")?) else {
                    return Ok(None);
                };
                let part = if protocol == "valid" { "val" } else { "test" };
                Some(Self::strong(&train, &held, part)?)
            }
            "time" => {
                let (Some(mut train), Some(valid), Some(test)) =
                    (table("time_train")?, table("time_valid")?, table("time_test")?)
                else {
                    return Ok(None);
                };
                train.rows.extend(valid.rows);
                Some(Self::later(&train, &test)?)
            }
            _ => {
                let (Some(train), Some(test)) = (table("lastout_train")?, table("lastout_test")?) else {
                    return Ok(None);
                };
                Some(Self::later(&train, &test)?)
            }
        })
    }

    /// Users that training never saw: a part of each history is folded in, the rest is held out.
    fn strong(train: &Table, held: &Table, part: &str) -> Result<Self, Failure> {
        let train = train.interactions()?;
        let [part_column, user_column, item_column, foldin_column] =
            ["part", "u", "i", "foldin"].map(|name| held.column(name));
        let (part_column, foldin_column) = (part_column?, foldin_column?);
        let (user_column, item_column) = (user_column?, item_column?);
        let mut users: BTreeMap<UserId, (Vec<HistoryItem>, Vec<u32>)> = BTreeMap::new();
        for row in held.rows.iter().filter(|row| row[part_column] == part) {
            let Some(item) = train.item_ordinal(&row[item_column].parse::<ItemId>()?) else {
                continue;
            };
            let (history, held_out) = users.entry(row[user_column].parse()?).or_default();
            if row[foldin_column] == "1" {
                history.push(HistoryItem { item, weight: 1.0, at: 0 });
            } else {
                held_out.push(item);
            }
        }
        Ok(Self { cases: cases(users), train })
    }

    /// Users that training saw; only warm users and items count.
    fn later(train: &Table, test: &Table) -> Result<Self, Failure> {
        let train = train.interactions()?;
        let (user_column, item_column) = (test.column("u")?, test.column("i")?);
        let mut users: BTreeMap<UserId, (Vec<HistoryItem>, Vec<u32>)> = BTreeMap::new();
        for row in &test.rows {
            let user: UserId = row[user_column].parse()?;
            let (Some(ordinal), Some(item)) =
                (train.user_ordinal(&user), train.item_ordinal(&row[item_column].parse()?))
            else {
                continue;
            };
            let history = || train.history(ordinal).iter().map(HistoryItem::from).collect();
            users.entry(user).or_insert_with(|| (history(), Vec::new())).1.push(item);
        }
        Ok(Self { cases: cases(users), train })
    }
}

/// Users without held-out items are skipped, as in the reference.
fn cases(users: BTreeMap<UserId, (Vec<HistoryItem>, Vec<u32>)>) -> Vec<Case> {
    users
        .into_iter()
        .filter(|(_, (_, held_out))| !held_out.is_empty())
        .map(|(user, (history, mut held_out))| {
            held_out.sort_unstable();
            held_out.dedup();
            Case { user, history, held_out, cold_items: 0, profile: None }
        })
        .collect()
}

/// A small CSV of numbers and words: no quoting in these files.
struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn read(path: &Path) -> Result<Option<Self>, Failure> {
        if !path.exists() {
            return Ok(None);
        }
        let mut text = String::new();
        flate2::read::GzDecoder::new(File::open(path)?).read_to_string(&mut text)?;
        let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect());
        let header = lines.next().ok_or("empty file")?;
        Ok(Some(Self { header, rows: lines.collect() }))
    }

    fn column(&self, name: &str) -> Result<usize, Failure> {
        self.header.iter().position(|known| known == name).ok_or_else(|| format!("no column {name}").into())
    }

    fn interactions(&self) -> Result<Interactions, Failure> {
        let (user, item, at) = (self.column("u")?, self.column("i")?, self.column("ts").ok());
        let rows: Result<Vec<InteractionRow>, Failure> = self
            .rows
            .iter()
            .map(|row| {
                Ok(InteractionRow {
                    user: row[user].clone(),
                    item: row[item].clone(),
                    at: at.map_or(Ok(0), |at| row[at].parse())?,
                    weight: 1.0,
                    basket: None,
                })
            })
            .collect();
        Ok(Interactions::from_rows(rows?).0)
    }
}
