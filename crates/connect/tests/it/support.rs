//! What the tests share: requests, reading staged Parquet back as text, the TLS provider.
//!
//! In: names.  Out: requests and rows.  Never here: assertions.  Start at [`request`].

use std::path::Path;
use std::sync::{Arc, Once};

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use connect::{ConnectError, Examined, ExtractMode, ExtractRequest, InvalidDates, Stage, open_store};
use domain::{Problem, StagedFile};
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// A request for one table.
pub fn request(table: &str, location: &str) -> ExtractRequest {
    ExtractRequest {
        source: "shop".to_owned(),
        table: table.to_owned(),
        target: "raw.shop_table".parse().unwrap(),
        location: location.to_owned(),
        query: None,
        now: "2026-11-23T12:00:00Z".parse().unwrap(),
        run_id: "run-1".to_owned(),
        config_hash: "c".to_owned(),
        invalid_dates: InvalidDates::default(),
        workers: 4,
        with_proof: true,
        mode: ExtractMode::default(),
        anew: false,
        is_purged: false,
    }
}

/// A request for the rows of a statement.
pub fn query(table: &str, statement: &str) -> ExtractRequest {
    ExtractRequest { query: Some(statement.to_owned()), ..request(table, table) }
}

/// A table that a source is asked about.
pub fn examined<'a>(location: &'a str, mode: &'a ExtractMode) -> Examined<'a> {
    Examined { name: location, location, query: None, mode }
}

/// A stage in a directory.
pub fn stage_in(directory: &Path) -> Stage {
    Stage::new(open_store("stage", directory).unwrap())
}

/// As `main` of the program does: the tree enables two providers, so one must be chosen.
pub fn install_tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// The batches of a staged Parquet file.
pub async fn read_parquet(stage: &Stage, file: &StagedFile) -> Vec<RecordBatch> {
    let path = object_store::path::Path::from(file.path.as_str());
    let bytes = stage.store().object_store.get(&path).await.unwrap().bytes().await.unwrap();
    assert_eq!(domain::hash_bytes(&bytes), file.sha256);
    assert_eq!(bytes.len() as u64, file.bytes);
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let schema = builder.schema().clone();
    let mut batches: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(schema));
    }
    batches
}

/// One line per column: `name: type <source type> = value | value …`, nulls as `∅`.
pub fn columns_as_text(batches: &[RecordBatch]) -> Vec<String> {
    let schema = batches[0].schema();
    let options = FormatOptions::new().with_null("∅");
    let column = |position: usize| {
        let field = schema.field(position);
        let values: Vec<String> = batches
            .iter()
            .flat_map(|batch| {
                // Named zones need a table that this tree does not carry; shown as UTC they are the same text with a Z.
                let column = batch.column(position);
                let (array, mark) = if let DataType::Timestamp(unit, Some(zone)) = column.data_type() {
                    assert_eq!(zone.as_ref(), "UTC");
                    (arrow::compute::cast(column, &DataType::Timestamp(*unit, None)).unwrap(), "Z")
                } else {
                    (column.clone(), "")
                };
                let formatter = ArrayFormatter::try_new(&array, &options).unwrap();
                let show =
                    |row| if array.is_null(row) { "∅".to_owned() } else { format!("{}{mark}", formatter.value(row)) };
                (0..batch.num_rows()).map(show).collect::<Vec<_>>()
            })
            .collect();
        let source_type = field.metadata().get("source_type").cloned().unwrap_or_default();
        format!("{}: {} <{source_type}> = {}", field.name(), field.data_type(), values.join(" | "))
    };
    (0..schema.fields().len()).map(column).collect()
}

/// The code of an error that also says what to do next and never shows `secret`.
pub fn code_of<T: std::fmt::Debug>(result: Result<T, ConnectError>, secret: &str) -> &'static str {
    let error = result.expect_err("an error");
    let shown = format!("{error} {error:?} {:?}", error.help());
    assert!(secret.is_empty() || !shown.contains(secret), "shows the password: {shown}");
    assert!(error.help().is_some_and(|help| !help.is_empty()), "no next step: {shown}");
    error.code()
}

/// A batch of named columns.
pub fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

/// A text column.
pub fn strings<'a>(values: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringArray>())
}

/// Starts the test `child` of this binary again and again with `CHILD_URL` and kills it at different times. After each kill
/// `check` looks for damage and answers the number reached.
pub async fn is_killed_often(child: &str, url: &str, check: impl AsyncFn() -> u64) {
    let start = || {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", child])
            .env("CHILD_URL", url)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let kill = |mut process: std::process::Child| {
        process.kill().unwrap();
        process.wait().unwrap();
    };
    // How long the child takes to get through two rounds on this machine, at this load.
    let began = std::time::Instant::now();
    let mut process = start();
    while check().await < 2 {
        assert!(process.try_wait().unwrap().is_none(), "the child ended by itself");
        assert!(began.elapsed() < std::time::Duration::from_secs(120), "the child gets nowhere");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let two_rounds = began.elapsed();
    kill(process);
    for twentieth in 5..25 {
        process = start();
        std::thread::sleep(two_rounds * twentieth / 20);
        kill(process);
        check().await;
    }
}
