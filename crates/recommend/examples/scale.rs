//! Speed of training on synthetic matrices of MovieLens-20M's shape (136,677 × 20,108 at 10 million interactions).
//!
//! In: kind, sizes in millions, threads, parameters.  Out: processor seconds and peak memory (of iALS per sweep), and the
//! time of one user: of a fold-in for iALS, of the scores for other kinds.
//! The distribution is that of the peers' `speed_scale.py`: user lengths log-normal, items Zipf-like; users grow with the size.
//! Never here: quality (`splits.rs`); a synthetic matrix says nothing about it.
//! Start at [`main`]: `cargo run --release -p recommend --example scale -- [--kind ials] [--millions 1,10] [--with factors=64]`

#![expect(clippy::print_stdout, reason = "the table is this program's result")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::time::Instant;

use recommend::{Attributes, Csr, Interactions, Model, Parameters, RecommenderKind, WeightedItem};

type Failure = Box<dyn Error>;

const USAGE: &str = "usage: scale [--kind ials|ease|item_knn|llr|rp3beta] [--millions LIST] [--items NUMBER] [--threads LIST] [--sweeps NUMBER] \
                     [--with PARAMETER=NUMBER|WORD]...";

/// Users per interaction, items, and the parameters of the two distributions: as in `speed_scale.py`.
const USERS_AT_10_MILLION: f64 = 136_677.0;
const INTERACTIONS_AT_10_MILLION: f64 = 9_990_682.0;
const ITEMS_OF_MOVIELENS: usize = 20_108;
const LENGTH_LOG_MEAN: f64 = 3.62;
const LENGTH_LOG_DEVIATION: f64 = 1.06;
const POPULARITY_SHIFT: f64 = 30.0;
const POPULARITY_EXPONENT: f64 = 1.25;
/// Draws per kept interaction: repeated items are dropped.
const DRAWS: f64 = 1.55;
const SEED: u64 = 7;

/// Length of the history of the one user.
const HISTORY_EVENTS: usize = 100;

struct Options {
    millions: Vec<f64>,
    items: usize,
    threads: Vec<usize>,
    /// Of iALS; 1 for other kinds.
    sweeps: usize,
    parameters: Parameters,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let (mut millions, mut threads, mut sweeps) = (vec![1.0, 10.0], vec![1, 2], 3);
        let mut items = ITEMS_OF_MOVIELENS;
        let (mut kind, mut with) = (RecommenderKind::Ials, BTreeMap::new());
        while let Some(option) = arguments.next() {
            let value = arguments.next().ok_or(USAGE)?;
            match option.as_str() {
                "--kind" => kind = value.parse()?,
                "--millions" => millions = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
                "--items" => items = value.parse()?,
                "--threads" => threads = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
                "--sweeps" => sweeps = value.parse()?,
                "--with" => {
                    let (name, value) = value.split_once('=').ok_or(USAGE)?;
                    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
                    with.insert(name.to_owned(), value);
                }
                _ => return Err(USAGE.into()),
            }
        }
        match kind {
            RecommenderKind::Ials => {
                // Equal weight for seen and unseen cells, as the peer's `alpha = 2` means.
                with.entry("alpha".to_owned()).or_insert(1.0.into());
                with.insert("epochs".to_owned(), sweeps.into());
            }
            RecommenderKind::Ease => {
                with.entry("max_items".to_owned()).or_insert(items.into());
            }
            RecommenderKind::ItemKnn | RecommenderKind::Llr | RecommenderKind::Cco | RecommenderKind::Rp3beta => {}
            RecommenderKind::Popularity | RecommenderKind::Sequence | RecommenderKind::Bpr | RecommenderKind::Blend => {
                return Err(USAGE.into());
            }
        }
        let sweeps = if kind == RecommenderKind::Ials { sweeps } else { 1 };
        Ok(Self { millions, items, threads, sweeps, parameters: Parameters::resolve(kind, &with)? })
    }
}

fn main() -> Result<(), Failure> {
    let options = Options::parse(std::env::args().skip(1))?;
    println!(
        "{:>10}{:>12}{:>9}{:>8}{:>5}{:>9}{:>12}{:>12}{:>14}{:>10}{:>12}{:>18}",
        "kind",
        "pairs",
        "users",
        "items",
        "d",
        "threads",
        "CPU s/sweep",
        "s/sweep",
        "ns/pair,sweep",
        "+MiB",
        "user us",
        "hash"
    );
    for &millions in &options.millions {
        let matrix = synthetic(millions, options.items);
        for &threads in &options.threads {
            run(&options, &matrix, threads)?;
        }
    }
    Ok(())
}

fn run(options: &Options, matrix: &Csr, threads: usize) -> Result<(), Failure> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    // Forgets the peak so far; where it may not, the peak is that of the whole run.
    fs::write("/proc/self/clear_refs", "5").ok();
    let (base, cpu, start) = (memory_mib("VmRSS:"), cpu_seconds(), Instant::now());
    // These kinds read nothing but the matrix.
    let (none, _) = Interactions::from_rows([]);
    let model =
        pool.install(|| Model::train(&none, matrix, &options.parameters, &Attributes::default(), SEED, |_| None))?;
    let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let per_sweep = cpu / options.sweeps as f64;
    let (user_us, hash) = one_user(&model, matrix.columns());
    let factors = if let Parameters::Ials(parameters) = &options.parameters { parameters.factors } else { 0 };
    println!(
        "{:>10}{:>12}{:>9}{:>8}{factors:>5}{threads:>9}{per_sweep:>12.3}{:>12.3}{:>14.1}{:>10.0}{user_us:>12.1}{hash:>18x}",
        options.parameters.kind().as_str(),
        matrix.stored(),
        matrix.rows(),
        matrix.columns(),
        wall / options.sweeps as f64,
        per_sweep * 1e9 / matrix.stored() as f64,
        memory_mib("VmHWM:") - base,
    );
    Ok(())
}

/// Microseconds of one user (the least of many), and a hash of what came out: equal for any number of threads.
fn one_user(model: &Model, items: usize) -> (f64, u64) {
    let history: Vec<WeightedItem> =
        (0..HISTORY_EVENTS as u32).map(|i| WeightedItem { item: i * 37 % items as u32, weight: 1.0 }).collect();
    let mut least = f64::INFINITY;
    let mut values = None;
    for _ in 0..300 {
        let start = Instant::now();
        values = match model {
            Model::Ials(model) => model.fold_in(black_box(&history)),
            Model::Popularity(_) | Model::Neighbours(_) | Model::Cco(_) | Model::Ease(_) | Model::Bpr(_) => {
                model.scores(black_box(&history))
            }
        };
        least = least.min(start.elapsed().as_secs_f64() * 1e6);
    }
    // FNV-1a over the bits.
    let bits = values.unwrap_or_default().into_iter().map(f32::to_bits);
    let hash =
        bits.fold(0xCBF2_9CE4_8422_2325, |hash: u64, word| (hash ^ u64::from(word)).wrapping_mul(0x0100_0000_01B3));
    (least, hash)
}

/// SplitMix64, as in the library; its own copy because the library's is not for callers.
struct Draw(u64);

impl Draw {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (((word ^ (word >> 31)) >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (2.0 * std::f64::consts::PI * self.unit()).cos()
    }
}

/// Users of log-normal length who draw items by popularity; repeats are dropped, then all are thinned to the size.
fn synthetic(millions: f64, items: usize) -> Csr {
    let wanted = INTERACTIONS_AT_10_MILLION * millions / 10.0;
    let users = (USERS_AT_10_MILLION * millions / 10.0).round() as usize;
    let mut draw = Draw(SEED);
    let mut lengths: Vec<f64> = (0..users)
        .map(|_| (LENGTH_LOG_MEAN + LENGTH_LOG_DEVIATION * draw.normal()).exp().clamp(5.0, 2_500.0).floor())
        .collect();
    let scale = wanted / lengths.iter().sum::<f64>();
    lengths.iter_mut().for_each(|length| *length = (*length * scale).floor().max(5.0));
    let mut cumulative: Vec<f64> = Vec::with_capacity(items);
    for rank in 1..=items {
        let weight = (rank as f64 + POPULARITY_SHIFT).powf(-POPULARITY_EXPONENT);
        cumulative.push(cumulative.last().unwrap_or(&0.0) + weight);
    }
    let total = cumulative[items - 1];
    let mut rows: Vec<Vec<u32>> = lengths
        .iter()
        .map(|length| {
            let mut taken: Vec<u32> = (0..(length * DRAWS) as usize)
                .map(|_| draw.unit() * total)
                .map(|place| cumulative.partition_point(|&sum| sum < place).min(items - 1) as u32)
                .collect();
            taken.sort_unstable();
            taken.dedup();
            taken
        })
        .collect();
    let kept = wanted / rows.iter().map(Vec::len).sum::<usize>() as f64;
    rows.iter_mut().for_each(|items| items.retain(|_| draw.unit() <= kept));
    Csr::from_rows(items, rows.into_iter().map(|items| items.into_iter().map(|item| (item, 1.0))))
}

/// Processor seconds of this process: fields 14 and 15 of /proc/self/stat, in ticks of 1/100 s. Linux only.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = |field: usize| {
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        after_name.split(' ').nth(field).and_then(|value| value.parse::<f64>().ok()).unwrap_or(f64::NAN)
    };
    (ticks(11) + ticks(12)) / 100.0
}

/// A line of /proc/self/status, in MiB. Linux only.
fn memory_mib(name: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib / 1_024.0)
}
