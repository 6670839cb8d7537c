//! Changes through COPY: the table is what folding them leaves, under any order, crash and race; and is compared with its source.
//!
//! In: manifests of changes, one after the other.  Out: rows, sentences.
//! Never here: where changes come from (`connect`).  Start at [`Source`].

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use domain::{
    CellForm, ChangeRules, Checksum, ColumnProof, DELETED_COLUMN, NoProgress, ProofHash, Resume, SourceProof,
    StageManifest, StageMode,
};

use super::copy_files::{Files, TABLE, options, outcome};
use super::fault::Mortal;
use super::world::{World, name, newest, run};
use crate::{CopyReport, Result, Warehouse};

/// Key, and its value unless it is deleted.
type Change = (i64, Option<i64>);

/// A source that is changed, and the manifests that its extractions publish.
struct Source {
    files: Files,
    rows: BTreeMap<i64, i64>,
    manifests: Vec<StageManifest>,
}

impl Source {
    async fn new(rows: &[(i64, i64)]) -> Self {
        let mut files = Files::new().full();
        files.manifest.resume = Some(Resume::Log { columns: String::new() });
        let mut source = Self { files, rows: rows.iter().copied().collect(), manifests: Vec::new() };
        let changes: Vec<Change> = rows.iter().map(|(id, value)| (*id, Some(*value))).collect();
        source.publish(batch(&changes, false)).await;
        source
    }

    /// Changes the source, and publishes the changes.
    async fn change(&mut self, changes: &[Change]) {
        self.files.manifest.mode = StageMode::Changes;
        let deleted = Some(DELETED_COLUMN.to_owned());
        self.files.manifest.changes = Some(ChangeRules { key: vec!["id".into()], deleted, ..ChangeRules::default() });
        for (id, value) in changes {
            match value {
                Some(value) => self.rows.insert(*id, *value),
                None => self.rows.remove(id),
            };
        }
        self.publish(batch(changes, true)).await;
    }

    async fn publish(&mut self, batch: RecordBatch) {
        let number = self.manifests.len() as u64 + 1;
        self.files.manifest.files.clear();
        self.files.manifest.number = number;
        self.files.manifest.provenance.run_id = format!("run {number}");
        if batch.num_rows() > 0 {
            self.files = self.files.clone().parquet(&format!("{number}.parquet"), &batch).await;
        }
        self.files.manifest.proof = Some(proof(&self.rows));
        self.manifests.push(self.files.manifest.clone());
    }

    async fn copy(&self, warehouse: &Warehouse, number: usize) -> Result<CopyReport> {
        let stage = Arc::clone(&self.files.stage);
        warehouse.copy(stage, &self.manifests[number - 1], &options(""), &run("copy"), &NoProgress).await
    }

    /// Loads what the table lacks, as `montauk copy` does.
    async fn catch_up(&self, warehouse: &Warehouse) -> Result<()> {
        let loaded = warehouse.loaded_manifest(&name(TABLE)).await?.map_or(0, |manifest| manifest.number);
        for number in loaded as usize + 1..=self.manifests.len() {
            self.copy(warehouse, number).await?;
        }
        Ok(())
    }

    fn shown(&self) -> String {
        self.rows.iter().map(|(id, value)| format!("{id} {value}")).collect::<Vec<_>>().join("\n")
    }
}

fn batch(changes: &[Change], with_mark: bool) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(changes.iter().map(|change| change.0)));
    let values: ArrayRef = Arc::new(changes.iter().map(|change| change.1).collect::<Int64Array>());
    let mut fields = vec![Field::new("id", DataType::Int64, false), Field::new("value", DataType::Int64, with_mark)];
    let mut columns = vec![ids, values];
    if with_mark {
        fields.push(Field::new(DELETED_COLUMN, DataType::Boolean, false));
        columns.push(Arc::new(changes.iter().map(|change| Some(change.1.is_none())).collect::<BooleanArray>()));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// What the source says its rows are.
fn proof(rows: &BTreeMap<i64, i64>) -> SourceProof {
    let column = |name: &str, values: Vec<i64>| {
        let mut checksum = Checksum::default();
        values.iter().for_each(|value| checksum.add(u64::from(crc32fast::hash(value.to_string().as_bytes()))));
        ColumnProof { column: name.to_owned(), form: CellForm::Integer, checksum }
    };
    let columns = vec![column("id", rows.keys().copied().collect()), column("value", rows.values().copied().collect())];
    SourceProof { hash: ProofHash::Crc32, rows: rows.len() as u64, columns }
}

async fn shown(warehouse: &Warehouse) -> String {
    newest(warehouse, "select id, value from raw.lines order by id").await
}

/// A sequence of numbers that looks random and is the same each time.
fn numbers(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

#[tokio::test]
async fn the_table_is_what_folding_the_changes_leaves() {
    for seed in 1..=6 {
        let mut random = numbers(seed);
        let base: Vec<(i64, i64)> = (0..40).map(|id| (id, id * 10)).collect();
        let mut source = Source::new(&base).await;
        let warehouse = World::in_memory().open();
        source.copy(&warehouse, 1).await.unwrap();
        for number in 2..=12 {
            let changes: Vec<Change> =
                (0..random(30)).map(|_| (random(60) as i64, (random(3) > 0).then(|| random(1000) as i64))).collect();
            source.change(&changes).await;
            let report = source.copy(&warehouse, number).await.unwrap();
            assert_eq!(shown(&warehouse).await, source.shown(), "seed {seed}, manifest {number}");
            assert_eq!(report.proof.map(|proof| proof.rows), Some(source.rows.len() as u64));
        }
        let files = warehouse.table(&name(TABLE)).await.unwrap().unwrap().files().len();
        assert!(files <= super::super::copy::merge::SMALL_FILES, "{files} small files");
    }
}

#[tokio::test]
async fn changes_are_applied_once_and_in_their_order() {
    let mut source = Source::new(&[(1, 10), (2, 20)]).await;
    source.change(&[(1, Some(11)), (3, Some(30)), (1, Some(12)), (2, None)]).await;
    source.change(&[(1, Some(13))]).await;
    let warehouse = World::in_memory().open();
    source.copy(&warehouse, 1).await.unwrap();
    let early = outcome(&source.copy(&warehouse, 3).await);
    assert!(early.starts_with("not_next: ") && early.contains("shop.lines --anew"), "{early}");
    let report = source.copy(&warehouse, 2).await.unwrap();
    assert_eq!((report.rows_loaded, report.rows_replaced), (4, 2));
    assert_eq!(shown(&warehouse).await, "1 12\n3 30");
    assert_eq!(outcome(&source.copy(&warehouse, 2).await), "2.parquet load_skipped 0/0 (loaded before)");
    source.copy(&warehouse, 3).await.unwrap();
    // A stage that was emptied counts from 1 again: its numbers are not those that were loaded.
    let mut anew = Source::new(&[(7, 70)]).await;
    anew.change(&[(8, Some(80))]).await;
    anew.manifests.iter_mut().for_each(|manifest| manifest.provenance.run_id.insert_str(0, "another "));
    anew.copy(&warehouse, 1).await.unwrap();
    anew.copy(&warehouse, 2).await.unwrap();
    assert_eq!(shown(&warehouse).await, "7 70\n8 80");
}

#[tokio::test]
async fn a_row_that_changed_unseen_stops_the_load() {
    let mut source = Source::new(&[(1, 10), (2, 20)]).await;
    let warehouse = World::in_memory().open();
    source.copy(&warehouse, 1).await.unwrap();
    // The source lost a row, and nothing in the changes says so: what a cursor cannot see.
    source.rows.remove(&2);
    source.change(&[(1, Some(11))]).await;
    let refused = outcome(&source.copy(&warehouse, 2).await);
    assert!(refused.starts_with("not_proven: ") && refused.contains("1 rows, and 2 were loaded"), "{refused}");
    assert_eq!(shown(&warehouse).await, "1 10\n2 20");
    // A column that cannot be compared since a cell of it was rejected is left out, and named.
    let mut source = Source::new(&[(1, 10)]).await;
    let warehouse = World::in_memory().open();
    source.copy(&warehouse, 1).await.unwrap();
    source.change(&[(2, Some(20))]).await;
    let manifest = &mut source.manifests[1];
    manifest.proof = Some(proof(&[(1, 10), (2, 21)].into()));
    assert!(outcome(&source.copy(&warehouse, 2).await).contains("values of column `value`"));
    source.manifests[1].changes.as_mut().unwrap().unproven = vec!["value".into()];
    let report = source.copy(&warehouse, 2).await.unwrap();
    assert_eq!(report.proof.unwrap().not_compared, ["value"]);
}

#[tokio::test]
async fn no_changes_are_news_as_well() {
    let mut source = Source::new(&[(1, 10)]).await;
    source.change(&[]).await;
    source.change(&[(1, None)]).await;
    let warehouse = World::in_memory().open();
    source.catch_up(&warehouse).await.unwrap();
    assert_eq!(shown(&warehouse).await, "");
    assert_eq!(warehouse.loaded_manifest(&name(TABLE)).await.unwrap().unwrap().number, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_dies_at_any_write_applies_each_change_once() {
    let mut source = Source::new(&[(1, 10), (2, 20)]).await;
    source.change(&[(1, Some(11)), (3, Some(30))]).await;
    source.change(&[(2, None), (3, Some(31))]).await;
    for answer_lost in [false, true] {
        for writes in 0.. {
            let case = format!("dies after {writes} writes, answer lost: {answer_lost}");
            let world = World::in_memory();
            let mortal = Arc::new(Mortal::new(Arc::clone(&world.store), writes, answer_lost));
            let dying = World { store: mortal, url: world.url.clone() }.open();
            let ended = source.catch_up(&dying).await;
            let warehouse = world.open();
            warehouse.recover().await.unwrap();
            source.catch_up(&warehouse).await.unwrap_or_else(|error| panic!("{case}: {error}"));
            source.copy(&warehouse, 3).await.unwrap();
            assert_eq!(shown(&warehouse).await, source.shown(), "{case}");
            if ended.is_ok() {
                assert!(writes > 20, "three loads make more writes than {writes}");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn copies_of_the_same_changes_at_once_apply_them_once() {
    let mut source = Source::new(&[(1, 10)]).await;
    source.change(&[(1, Some(11)), (2, Some(20))]).await;
    for round in 0..6 {
        let world = World::in_memory();
        source.copy(&world.open(), 1).await.unwrap();
        let (one, two, three) = (world.open(), world.open(), world.open());
        let (a, b, c) = tokio::join!(source.copy(&one, 2), source.copy(&two, 2), source.copy(&three, 2));
        let loads = [a, b, c].map(|report| report.unwrap().load);
        assert_eq!(loads.iter().flatten().count(), 1, "round {round}: {loads:?}");
        assert_eq!(shown(&world.open()).await, source.shown());
    }
}

/// As sources of an API send them: JSON, several versions of a row in any order, deletions by a column of the table.
#[tokio::test]
async fn the_largest_version_of_a_row_wins_whenever_it_comes() {
    let warehouse = World::in_memory().open();
    let toml = "columns = { id = \"bigint\", v = \"bigint\", name = \"text\", gone_at = \"text\" }";
    let rules = ChangeRules {
        key: vec!["id".into()],
        deleted: Some("gone_at".into()),
        version: Some("v".into()),
        ..ChangeRules::default()
    };
    let mut files = Files::new().full();
    files.manifest.number = 1;
    files.manifest.changes = Some(rules);
    let first = "{\"id\":1,\"v\":5,\"name\":\"five\",\"gone_at\":null}\n{\"id\":1,\"v\":4,\"name\":\"four\"}\n{\"id\":2,\"v\":1,\"name\":\"b\"}\n";
    let first = files.json("1.jsonl", first).await;
    first.copy(&warehouse, toml).await.unwrap();
    assert_eq!(newest(&warehouse, "select id, v, name from raw.lines order by id").await, "1 5 five\n2 1 b");
    let mut files = first.clone();
    files.manifest.files.clear();
    files.manifest.mode = StageMode::Changes;
    files.manifest.number = 2;
    let late = "{\"id\":1,\"v\":3,\"name\":\"late\"}\n{\"id\":2,\"v\":2,\"gone_at\":\"2026-01-01\"}\n{\"id\":3,\"v\":1,\"name\":\"c\"}\n{\"id\":1,\"v\":5,\"name\":\"again\"}\n";
    files.clone().json("2.jsonl", late).await.copy(&warehouse, toml).await.unwrap();
    assert_eq!(newest(&warehouse, "select id, v, name from raw.lines order by id").await, "1 5 again\n3 1 c");
    files.manifest.number = 3;
    let keyless = files.clone().json("3.jsonl", "{\"v\":3,\"name\":\"x\"}\n").await;
    let refused = outcome(&keyless.copy(&warehouse, toml).await);
    assert!(refused.starts_with("null_key: 1 changes"), "{refused}");
    files.manifest.changes.as_mut().unwrap().key = vec!["nr".into()];
    let unknown = files.json("3.jsonl", "{\"id\":4}\n").await;
    let refused = outcome(&unknown.copy(&warehouse, toml).await);
    assert!(refused.starts_with("no_key_column: ") && refused.contains("`nr`"), "{refused}");
}

#[tokio::test]
async fn keys_may_be_texts_of_several_columns_with_strange_names() {
    let warehouse = World::in_memory().open();
    let text = |values: &[&str]| -> ArrayRef { Arc::new(StringArray::from(values.to_vec())) };
    let rows = |rows: &[(&str, &str, &str)]| {
        let column = |get: fn(&(&str, &str, &str)) -> String| {
            let values: Vec<String> = rows.iter().map(get).collect();
            text(&values.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let columns = [
            ("Land \"x\"", column(|row| row.0.to_owned())),
            ("order", column(|row| row.1.to_owned())),
            ("v", column(|row| row.2.to_owned())),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    };
    let mut files = Files::new().full();
    files.manifest.number = 1;
    files
        .clone()
        .parquet("1", &rows(&[("a", "b", "1"), ("a", "", "2"), ("ü", "b", "3")]))
        .await
        .copy(&warehouse, "")
        .await
        .unwrap();
    files.manifest.mode = StageMode::Changes;
    files.manifest.number = 2;
    files.manifest.changes =
        Some(ChangeRules { key: vec!["Land \"x\"".into(), "order".into()], ..ChangeRules::default() });
    files.parquet("2", &rows(&[("a", "", "20"), ("A", "b", "4")])).await.copy(&warehouse, "").await.unwrap();
    assert_eq!(newest(&warehouse, "select v from raw.lines order by v").await, "1\n20\n3\n4");
}
