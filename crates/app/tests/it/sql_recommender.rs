//! The recommenders of docs/how-to/a-recommender-in-30-lines-of-sql.md: its statements run as they stand there, and what they
//! make is what `recommend` makes in memory from the same rows.
//!
//! In: the page, two months of Online Retail.  Out: neighbours and factors of both executions, side by side.
//! The artefact is read by its published format (safetensors), so nothing of `recommend` has to be opened for this.
//! Never here: the functions' own cases (`warehouse`).
//! Start at [`followed`].

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use domain::Provenance;
use recommend::{
    Artefact, IalsParameters, InteractionRow, Interactions, ItemKnnParameters, LlrParameters, Parameters,
    PopularityParameters, RankRequest, Ranker, SequenceParameters, train,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{csv, example, montauk, page, repository, run};

/// The smallest months with returning customers.
const MONTHS: [&str; 2] = ["2011-01.csv.gz", "2011-02.csv.gz"];

const PAGE: &str = "docs/how-to/a-recommender-in-30-lines-of-sql.md";

/// Of the page's `als_init` and `als_solve`.
const FACTORS: usize = 16;
const SEED: u64 = 42;

/// A block of code of the page.
enum Block {
    Model { path: String, sql: String },
    Query(String),
    Shell(String),
}

/// Every block that is SQL or shell, in the page's order.
fn blocks() -> Vec<Block> {
    let block = |(language, code): (String, String)| {
        let file = code.lines().next().and_then(|first| first.strip_prefix("-- models/"));
        match (language.as_str(), file) {
            ("sql", Some(file)) => Block::Model { path: format!("models/{file}"), sql: code },
            ("sql", None) => Block::Query(code),
            ("sh", _) => Block::Shell(code),
            (other, _) => panic!("the page has a block of `{other}`, which nobody tests"),
        }
    };
    page(&repository().join(PAGE)).into_iter().map(block).collect()
}

/// A project in which the page has been followed from top to bottom, shared by the tests of this process: they only read it.
fn followed() -> &'static Path {
    static PROJECT: OnceLock<TempDir> = OnceLock::new();
    PROJECT.get_or_init(follow).path()
}

fn follow() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let project = dir.path();
    example(project, &["data"]);
    fs::create_dir(project.join("data")).unwrap();
    for month in MONTHS {
        fs::copy(repository().join("examples/retail/data").join(month), project.join("data").join(month)).unwrap();
    }
    for step in ["extract", "copy", "build"] {
        run(montauk().arg("-C").arg(project).arg(step));
    }
    for block in blocks() {
        match block {
            Block::Model { path, sql } => {
                let path = project.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, sql).unwrap();
            }
            Block::Query(sql) => {
                let rows = query_from_stdin(project, &sql);
                assert!(rows.lines().count() > 1, "no rows:\n{sql}");
                assert!(!rows.contains("NaN"), "{sql}\n{rows}");
            }
            Block::Shell(script) => shell(project, &script),
        }
    }
    dir
}

fn query_from_stdin(project: &Path, sql: &str) -> String {
    let mut command = montauk();
    command.arg("-C").arg(project).args(["query", "-f", "-", "--format", "csv"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{sql}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// As a reader would type it: in the project's folder, with `montauk` on the path.
fn shell(project: &Path, script: &str) {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_montauk"));
    let mut path = program.parent().unwrap().as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut command = Command::new("sh");
    command
        .args(["-euc", script])
        .current_dir(project)
        .env("PATH", path)
        .env("NO_COLOR", "1")
        .env_remove("MONTAUK_LOG");
    run(&mut command);
}

/// The mart, as the kernels see it.
fn interactions(project: &Path) -> Interactions {
    let sql = "select user_id, item_id, to_unixtime(occurred_at) as at, weight, basket_id from marts.interactions";
    let rows = csv(project, sql);
    let rows = rows.lines().skip(1).map(|line| {
        let cells: Vec<&str> = line.split(',').collect();
        InteractionRow {
            user: cells[0].into(),
            item: cells[1].into(),
            at: cells[2].parse().unwrap(),
            weight: cells[3].parse().unwrap(),
            basket: Some(cells[4].into()),
        }
    });
    let (interactions, rejected) = Interactions::from_rows(rows);
    assert!(rejected.is_empty() && interactions.events().len() > 20_000, "{}", interactions.events().len());
    interactions
}

fn trained(interactions: &Interactions, parameters: &Parameters) -> Artefact {
    train(interactions, parameters, SEED, Provenance::default()).unwrap()
}

/// The tensors of an artefact, as they lie in `model.safetensors`: a length, a JSON header, little-endian numbers.
struct Tensors {
    header: Value,
    data: Vec<u8>,
}

impl Tensors {
    fn of(artefact: &Artefact) -> Self {
        let root = tempfile::tempdir().unwrap();
        let bytes = fs::read(artefact.write(root.path()).unwrap().join("model.safetensors")).unwrap();
        let (length, rest) = bytes.split_at(8);
        let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
        Self { header: serde_json::from_slice(&rest[..length]).unwrap(), data: rest[length..].to_vec() }
    }

    fn words(&self, name: &str) -> Vec<[u8; 4]> {
        let place = |end: usize| self.header[name]["data_offsets"][end].as_u64().unwrap() as usize;
        self.data[place(0)..place(1)].chunks_exact(4).map(|word| word.try_into().unwrap()).collect()
    }

    fn integers(&self, name: &str) -> Vec<usize> {
        self.words(name).into_iter().map(|word| u32::from_le_bytes(word) as usize).collect()
    }

    fn floats(&self, name: &str) -> Vec<f64> {
        self.words(name).into_iter().map(|word| f64::from(f32::from_le_bytes(word))).collect()
    }
}

/// Scored item → item of the history → similarity.
type Neighbours = BTreeMap<String, BTreeMap<String, f64>>;

fn neighbours_of(artefact: &Artefact) -> Neighbours {
    let tensors = Tensors::of(artefact);
    let (offsets, targets) = (tensors.integers("offsets"), tensors.integers("targets"));
    let similarities = tensors.floats("similarities");
    let id = |ordinal: usize| artefact.items()[ordinal].to_string();
    let mut neighbours = Neighbours::new();
    for (item, range) in offsets.windows(2).enumerate() {
        for place in range[0]..range[1] {
            neighbours.entry(id(targets[place])).or_default().insert(id(item), similarities[place]);
        }
    }
    neighbours
}

fn neighbours_in(project: &Path, table: &str) -> Neighbours {
    let mut neighbours = Neighbours::new();
    for line in csv(project, &format!("select i, j, s from {table}")).lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        neighbours.entry(cells[1].into()).or_default().insert(cells[0].into(), cells[2].parse().unwrap());
    }
    neighbours
}

fn is_near(left: f64, right: f64) -> bool {
    // Sums in f32 on one side, in f64 on the other.
    (left - right).abs() <= 2e-5 * left.abs().max(right.abs())
}

/// The same neighbours with the same similarities; where one has another, both stand at the edge, in a tie.
fn check_neighbours(in_memory: &Neighbours, in_sql: &Neighbours) {
    assert_eq!(in_memory.keys().collect::<Vec<_>>(), in_sql.keys().collect::<Vec<_>>());
    let (mut compared, mut ties) = (0, 0);
    for (target, kernel) in in_memory {
        let sql = &in_sql[target];
        assert_eq!(kernel.len(), sql.len(), "{target}");
        let edge = kernel.values().copied().fold(f64::INFINITY, f64::min);
        for (item, similarity) in sql {
            match kernel.get(item) {
                Some(other) => assert!(is_near(*similarity, *other), "{target} {item}: {similarity} {other}"),
                None => {
                    assert!(is_near(*similarity, edge), "{target} {item}: {similarity}, edge {edge}");
                    ties += 1;
                }
            }
            compared += 1;
        }
    }
    assert!(compared > 10_000 && ties * 100 < compared, "{compared} compared, {ties} at an edge");
}

#[test]
fn neighbours_are_those_of_item_knn() {
    let project = followed();
    let artefact = trained(&interactions(project), &Parameters::ItemKnn(ItemKnnParameters::default()));
    check_neighbours(&neighbours_of(&artefact), &neighbours_in(project, "rec.similar_items"));
}

#[test]
fn likely_neighbours_are_those_of_llr() {
    let project = followed();
    let artefact = trained(&interactions(project), &Parameters::Llr(LlrParameters::default()));
    check_neighbours(&neighbours_of(&artefact), &neighbours_in(project, "rec.likely_items"));
}

#[test]
fn successors_are_those_of_sequence() {
    let project = followed();
    let artefact = trained(&interactions(project), &Parameters::Sequence(SequenceParameters::default()));
    check_neighbours(&neighbours_of(&artefact), &neighbours_in(project, "rec.next_items"));
}

/// Id → factor.
fn factors_in(project: &Path, table: &str, key: &str) -> BTreeMap<String, Vec<f64>> {
    let sql = format!("select {key}, array_to_string(f, ' ') as f from {table}");
    let vector = |text: &str| text.split(' ').map(|number| number.parse().unwrap()).collect();
    let row = |line: &str| line.split_once(',').map(|(id, text)| (id.to_owned(), vector(text))).unwrap();
    csv(project, &sql).lines().skip(1).map(row).collect()
}

/// ‖a − b‖ / ‖b‖
fn relative_distance(a: &[f64], b: &[f64]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    assert_eq!(a.len(), b.len());
    (square(&mut a.iter().zip(b).map(|(a, b)| a - b)) / square(&mut b.iter().copied())).sqrt()
}

/// Largest relative distance that the two executions may have after a half-step; 4e-6 was seen.
const TOLERANCE: f64 = 1e-4;

/// Two epochs: the kernel's artefact after n epochs holds vₙ, and what it scores a history with is the next half-step, uₙ₊₁.
#[test]
fn factors_are_those_of_ials_after_every_half_step() {
    let project = followed();
    let interactions = interactions(project);
    let popularity = trained(&interactions, &Parameters::Popularity(PopularityParameters::default()));
    for epochs in [1, 2] {
        let parameters =
            IalsParameters { factors: FACTORS, epochs, alpha: 0.2, lambda: 0.005, nu: 1.0, ..Default::default() };
        let artefact = trained(&interactions, &Parameters::Ials(parameters));
        let kernel = Tensors::of(&artefact).floats("item_factors");
        let items = factors_in(project, &format!("als.v{epochs}"), "item_id");
        assert_eq!(artefact.items().len(), items.len());
        for (id, kernel) in artefact.items().iter().zip(kernel.chunks_exact(FACTORS)) {
            let distance = relative_distance(&items[id.as_str()], kernel);
            assert!(distance < TOLERANCE, "v{epochs} of {id}: {distance}");
        }
        let users = factors_in(project, &format!("als.u{}", epochs + 1), "user_id");
        let ranker = Ranker::new(Arc::new(artefact), &popularity).unwrap();
        assert_eq!(interactions.user_ids().len(), users.len());
        for (ordinal, id) in interactions.user_ids().iter().enumerate().step_by(20) {
            let history: Vec<_> = interactions.history(ordinal as u32).iter().map(Into::into).collect();
            let everything = RankRequest { exclude_seen: false, reasons: 0, ..RankRequest::new(ranker.items().len()) };
            let mut scores = vec![0f64; ranker.items().len()];
            for item in ranker.recommend(&history, &everything).items {
                scores[item.item as usize] = f64::from(item.score);
            }
            let user = &users[id.as_str()];
            let product = |item: &Vec<f64>| user.iter().zip(item).map(|(a, b)| a * b).sum();
            let distance = relative_distance(&items.values().map(product).collect::<Vec<f64>>(), &scores);
            assert!(distance < TOLERANCE, "u{} of {id}: {distance}", epochs + 1);
        }
    }
}

#[test]
fn another_seed_is_another_start() {
    let project = followed();
    let start = |seed: u64| {
        let sql =
            format!("select array_to_string(als_init(n, {FACTORS}, {seed}), ' ') as f from (values (0), (7)) as t (n)");
        csv(project, &sql)
    };
    assert_eq!(start(SEED), start(SEED));
    assert_ne!(start(SEED), start(SEED + 1));
}

#[test]
fn a_function_says_what_is_wrong_with_a_call() {
    let project = followed();
    let ask = |sql: &str| {
        let output = montauk().arg("-C").arg(project).args(["query", sql]).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (succeeded, said) = ask("select gram(f) from (select f from als.v1 union all select [1.0] as f)");
    assert!(!succeeded && said.contains("in one group; give vectors of one length"), "{said}");
    let (succeeded, said) = ask("select item_similarity('cosinus', 1, 1, 1, 1, 1, 1, 1, 0.5, 0)");
    assert!(!succeeded && said.contains("there are `cosine`, `llr` and `jaccard`"), "{said}");
    let singular = "select als_solve(v.f, 1, g.gram, 0, 0, 1, 9) from (select f from als.v1 limit 1) v \
                    cross join (select gram(f) as gram from als.v1) g";
    let (succeeded, said) = ask(singular);
    assert!(!succeeded && said.contains("not positive definite"), "{said}");
}
