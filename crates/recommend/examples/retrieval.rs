//! Milliseconds of the best k of many items by inner product, one query at a time on one thread; run by `make bench-recsys`.
//!
//! In: files of little-endian f32, items × d and queries × d, and the number d and k.  Out: name, least and median, by tabs.
//! Every list is compared with that of all scores: a difference ends the run.
//! Never here: training; the factors are made elsewhere.
//! Start at `main`:  `cargo run --release -p recommend --example retrieval -- FACTORS QUERIES D K`

#![expect(clippy::print_stdout, reason = "a bench script prints its table")]

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use recommend::{FactorIndex, FactorRows, ItemSet};

type Failure = Box<dyn Error>;

/// Calls of each way, over the queries in turn.
const ROUNDS: usize = 256;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [factors, queries, d, k] = arguments.as_slice() else {
        return Err("usage: retrieval FACTORS QUERIES D K".into());
    };
    let (d, k): (usize, usize) = (d.parse()?, k.parse()?);
    let (factors, queries) = (read(factors)?, read(queries)?);
    let rows = FactorRows::new(d, &factors, &[]);
    let index = FactorIndex::new(rows).ok_or("the factors cannot be indexed")?;
    let items = rows.items();
    let query = |round: usize| &queries[round * d % queries.len()..][..d];
    for (name, share) in
        [("all items", 100), ("half of the items", 50), ("10 % of the items", 10), ("2 % of the items", 2)]
    {
        // Multiplied by a prime, so that the members are spread over the words.
        let allowed = ItemSet::of(items, |item| item * 7_919 % 100 < share);
        for round in 0..queries.len() / d {
            if index.best(rows, query(round), k, &allowed) != rows.best(query(round), k, &allowed) {
                return Err(format!("query {round}: the lists differ").into());
            }
        }
        let (least, median) = milliseconds(|round| index.best(rows, query(round), k, &allowed));
        println!("Montauk, {name}\t{least:.3}\t{median:.3}");
    }
    let all = ItemSet::full(items);
    for many in [8, 32] {
        let batch = |round: usize| -> Vec<(&[f32], &ItemSet, usize)> {
            (round..round + many).map(|at| (query(at), &all, k)).collect()
        };
        let (least, median) = milliseconds(|round| index.best_of_each(rows, &batch(round)));
        println!("Montauk, {many} queries at once, each\t{:.3}\t{:.3}", least / many as f64, median / many as f64);
    }
    let (least, median) = milliseconds(|round| rows.best(query(round), k, &all));
    println!("Montauk, all scores in f32\t{least:.3}\t{median:.3}");
    Ok(())
}

fn read(path: &str) -> Result<Vec<f32>, Failure> {
    let bytes = std::fs::read(path)?;
    Ok(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// The least and the median of many calls.
fn milliseconds<T>(work: impl Fn(usize) -> T) -> (f64, f64) {
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|round| {
            let start = Instant::now();
            black_box(work(round));
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_unstable_by(f64::total_cmp);
    (times[0], times[ROUNDS / 2])
}
