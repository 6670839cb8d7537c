//! PostgreSQL followed by its log: after every run the chain of manifests is the snapshot, whoever writes meanwhile and whatever was done.
//!
//! In: a real server with `wal_level=logical`.  Out: verdicts.
//! Never here: what is refused, and what has to be read anew (`postgres_log_limits`).
//! Start at [`transfers_and_their_entries_are_exact_after_every_run`].

use std::sync::OnceLock;
use std::thread::JoinHandle;

use connect::sources::postgres::PostgresSource;
use connect::{ConnectError, ExtractMode, ExtractOutcome, ExtractRequest, Source, Stage};
use domain::{LogPosition, NoProgress, StageMode};
use testbed::Postgres;

use crate::fold::{Rows, apply};
use crate::postgres_source::TYPES;
use crate::support::{install_tls, request, stage_in};

/// A server whose log can be followed.
pub fn logical() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        let settings =
            ["wal_level=logical", "max_replication_slots=60", "max_wal_senders=10", "max_prepared_transactions=5"];
        Postgres::start_with(&settings)
    })
}

/// A database that is followed as the source of its own name, since slots are of the whole server.
pub struct Shop {
    pub source: PostgresSource,
    pub name: String,
    _root: tempfile::TempDir,
    pub stage: Stage,
}

impl Shop {
    pub fn new(name: &str, script: &str) -> Self {
        install_tls();
        logical().create_database(name);
        logical().sql(name, script);
        let root = tempfile::tempdir().unwrap();
        let source = PostgresSource::new(&logical().url(name)).unwrap();
        Self { source, name: name.to_owned(), stage: stage_in(root.path()), _root: root }
    }

    pub fn sql(&self, script: &str) -> String {
        logical().sql(&self.name, script)
    }

    pub fn request(&self, table: &str) -> ExtractRequest {
        ExtractRequest { source: self.name.clone(), mode: ExtractMode::Changes, ..request(table, table) }
    }

    /// One table in the run that is under way.
    pub async fn extract(&self, request: &ExtractRequest) -> Result<ExtractOutcome, ConnectError> {
        self.source.extract(request, &self.stage, &NoProgress).await
    }

    /// A run of one table.
    pub async fn run(&self, table: &str) -> Result<ExtractOutcome, ConnectError> {
        let outcome = self.extract(&self.request(table)).await;
        self.source.close().await;
        outcome
    }

    /// The table after all its manifests.
    pub async fn fold(&self, table: &str, key: &[&str]) -> Rows {
        self.fold_in(&self.stage, table, key).await
    }

    async fn fold_in(&self, stage: &Stage, table: &str, key: &[&str]) -> Rows {
        let mut rows = Rows::new();
        for manifest in stage.pending(&self.name, table, None).await.unwrap() {
            apply(stage, &manifest, key, &mut rows).await;
        }
        rows
    }

    /// A run, after which the chain of manifests is the table as it is read whole; nobody writes meanwhile.
    pub async fn run_and_compare(&self, table: &str, key: &[&str]) -> ExtractOutcome {
        let outcome = self.run(table).await.unwrap();
        let root = tempfile::tempdir().unwrap();
        let whole = stage_in(root.path());
        let all = ExtractRequest { mode: ExtractMode::Full, ..self.request(table) };
        let read = self.source.extract(&all, &whole, &NoProgress).await.unwrap();
        self.source.close().await;
        assert_eq!(self.fold(table, key).await, self.fold_in(&whole, table, key).await);
        assert_eq!(outcome.manifest.proof, read.manifest.proof);
        outcome
    }

    /// Where the slot begins.
    pub fn confirmed(&self) -> String {
        self.sql(&format!(
            "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'montauk_{}'",
            self.name
        ))
    }
}

pub fn mode(outcome: &ExtractOutcome) -> StageMode {
    outcome.manifest.mode
}

pub fn rows(outcome: &ExtractOutcome) -> u64 {
    outcome.manifest.files.iter().map(|file| file.rows.unwrap()).sum()
}

pub fn lsn(outcome: &ExtractOutcome) -> String {
    match outcome.manifest.position.as_ref().unwrap() {
        LogPosition::Wal { lsn } => lsn.clone(),
        other @ LogPosition::Binlog { .. } => panic!("{other:?}"),
    }
}

const ACCOUNTS: i64 = 300;

/// Money moves between accounts, and each move is written down in another table; some are undone, in whole or in part.
const BANK: &str = "
    CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL, note text);
    CREATE TABLE entry (id uuid, account int, amount bigint NOT NULL, PRIMARY KEY (account, id));
    CREATE TABLE stop (id int);
    INSERT INTO account SELECT n, 100, repeat('x', n % 50) FROM generate_series(1, 300) n;
    CREATE PROCEDURE move(lazy boolean) LANGUAGE plpgsql AS $$
    DECLARE a int; b int; m bigint; n int := 0;
    BEGIN
      WHILE NOT EXISTS (SELECT FROM stop) LOOP
        n := n + 1;
        PERFORM set_config('synchronous_commit', CASE WHEN lazy THEN 'off' ELSE 'local' END, true);
        a := 1 + floor(random() * 300); b := 1 + floor(random() * 300); m := floor(random() * 50);
        PERFORM pg_advisory_xact_lock(least(a, b)); PERFORM pg_advisory_xact_lock(greatest(a, b));
        UPDATE account SET balance = balance - m WHERE id = least(a, b);
        UPDATE account SET balance = balance + m WHERE id = greatest(a, b);
        INSERT INTO entry VALUES (gen_random_uuid(), least(a, b), -m), (gen_random_uuid(), greatest(a, b), m);
        BEGIN
          DELETE FROM account WHERE id = a;
          IF n % 3 = 0 THEN RAISE EXCEPTION 'undone'; END IF;
          INSERT INTO account SELECT a, 100 + COALESCE(sum(amount), 0), 'back' FROM entry WHERE account = a;
        EXCEPTION WHEN raise_exception THEN NULL;
        END;
        IF n % 7 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
        IF n % 5 = 0 THEN PERFORM pg_sleep(random() / 50); END IF;
      END LOOP;
    END $$;";

fn writers(database: &'static str, count: usize) -> Vec<JoinHandle<()>> {
    let call = |at: usize| format!("CALL move({})", at.is_multiple_of(2));
    (0..count).map(|at| std::thread::spawn(move || drop(logical().sql(database, &call(at))))).collect()
}

fn number(cell: &str) -> i64 {
    cell.parse().unwrap()
}

/// Every balance is what the entries of its account add up to: both tables are from one moment, and none of their changes is missing.
fn balances_are_their_entries(accounts: &Rows, entries: &Rows) {
    let mut sums = std::collections::BTreeMap::new();
    for entry in entries.values() {
        *sums.entry(number(&entry[1])).or_insert(100) += number(&entry[2]);
    }
    assert_eq!(accounts.len() as i64, ACCOUNTS);
    let mut total = 0;
    for account in accounts.values() {
        let (id, balance) = (number(&account[0]), number(&account[1]));
        assert_eq!(balance, sums.get(&id).copied().unwrap_or(100), "account {id}");
        total += balance;
    }
    assert_eq!(total, ACCOUNTS * 100);
}

/// The manifest's proof of a column of whole numbers, over the rows that the chain gives: the server adds them up as it does its own.
fn is_proven(outcome: &ExtractOutcome, rows: &Rows, (at, column): (usize, &str)) {
    let proof = outcome.manifest.proof.as_ref().unwrap();
    let values: Vec<&str> = rows.values().map(|row| row[at].as_str()).collect();
    let sum = format!(
        "SELECT count(*), sum(('x' || left(md5(v), 15))::bit(60)::bigint) % 18446744073709551616 FROM unnest('{{{}}}'::text[]) v",
        values.join(",")
    );
    let found = proof.columns.iter().find(|found| found.column == column).unwrap();
    let expected = format!("{}|{}", found.checksum.cells, found.checksum.sum);
    assert_eq!(logical().sql("postgres", &sum).trim(), expected, "{column}");
    assert_eq!(proof.rows as usize, rows.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_and_their_entries_are_exact_after_every_run() {
    let shop = Shop::new("bank_log", BANK);
    let writers = writers("bank_log", 4);
    let mut changed = 0;
    for round in 0..10 {
        let account = shop.extract(&shop.request("account")).await.unwrap();
        let entry = shop.extract(&shop.request("entry")).await.unwrap();
        shop.source.close().await;
        let accounts = shop.fold("account", &["id"]).await;
        let entries = shop.fold("entry", &["account", "id"]).await;
        is_proven(&account, &accounts, (1, "balance"));
        is_proven(&entry, &entries, (2, "amount"));
        if round > 0 {
            // The first time, each table is new to the log and has a snapshot of its own.
            balances_are_their_entries(&accounts, &entries);
            assert_eq!((mode(&account), mode(&entry)), (StageMode::Changes, StageMode::Changes), "round {round}");
            assert_eq!(account.manifest.position, entry.manifest.position);
            changed += rows(&entry);
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    shop.sql("INSERT INTO stop VALUES (1)");
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert!(changed > 100, "only {changed} entries were written meanwhile");
    shop.run_and_compare("account", &["id"]).await;
    shop.run_and_compare("entry", &["account", "id"]).await;
}

#[tokio::test]
async fn every_kind_of_change_arrives() {
    let shop = Shop::new(
        "kinds_log",
        "CREATE SCHEMA s; CREATE TABLE s.\"Odd \"\"name\" (\"a b\" int, \"Ç\" text, v int, PRIMARY KEY (\"Ç\", \"a b\")); \
         CREATE TABLE other (id int PRIMARY KEY); INSERT INTO s.\"Odd \"\"name\" SELECT n, 'k', n FROM generate_series(1, 9) n;",
    );
    let (table, key) = ("s.Odd \"name", ["Ç", "a b"]);
    let base = shop.run_and_compare(table, &key).await;
    assert_eq!((mode(&base), rows(&base), base.manifest.number), (StageMode::Full, 9, 1));
    shop.sql(
        "BEGIN; UPDATE s.\"Odd \"\"name\" SET v = -v WHERE \"a b\" = 1; DELETE FROM s.\"Odd \"\"name\" WHERE \"a b\" = 2; \
         UPDATE s.\"Odd \"\"name\" SET \"a b\" = 30 WHERE \"a b\" = 3; DELETE FROM s.\"Odd \"\"name\" WHERE \"a b\" = 4; \
         INSERT INTO s.\"Odd \"\"name\" VALUES (4, 'k', 44), (10, E'\\\\ \\'{}\\n\"', NULL); UPDATE s.\"Odd \"\"name\" SET v = 5 WHERE \"a b\" = 1; COMMIT; \
         INSERT INTO s.\"Odd \"\"name\" VALUES (11, 'gone', 1); DELETE FROM s.\"Odd \"\"name\" WHERE \"a b\" = 11; \
         ALTER TABLE other ADD COLUMN x int; DROP TABLE other; VACUUM FULL s.\"Odd \"\"name\";",
    );
    let second = shop.run_and_compare(table, &key).await;
    // 1, 2, 3 and 30, 4, 10, 11, each once.
    assert_eq!((mode(&second), rows(&second), second.manifest.number), (StageMode::Changes, 7, 2));
    let rules = second.manifest.changes.as_ref().unwrap();
    assert_eq!(
        (rules.key.as_slice(), rules.deleted.as_deref()),
        (["Ç".to_owned(), "a b".to_owned()].as_slice(), Some("_montauk_deleted"))
    );
    // Keys that swap their places, and a change that is undone.
    shop.sql(
        "BEGIN; UPDATE s.\"Odd \"\"name\" SET \"a b\" = -1 WHERE \"a b\" = 5; UPDATE s.\"Odd \"\"name\" SET \"a b\" = 5 WHERE \"a b\" = 6; \
         UPDATE s.\"Odd \"\"name\" SET \"a b\" = 6 WHERE \"a b\" = -1; COMMIT; BEGIN; DELETE FROM s.\"Odd \"\"name\"; ROLLBACK;",
    );
    assert_eq!(rows(&shop.run_and_compare(table, &key).await), 3);
    shop.sql("DELETE FROM s.\"Odd \"\"name\"");
    shop.run_and_compare(table, &key).await;
    assert!(shop.fold(table, &key).await.is_empty());
}

#[tokio::test]
async fn all_types_are_the_same_as_in_a_whole_read() {
    let shop = Shop::new("types_log", TYPES);
    shop.sql("CREATE TABLE empty AS SELECT * FROM kinds WITH NO DATA; DELETE FROM kinds WHERE i8 <> 5;");
    shop.run_and_compare("kinds", &["i8"]).await;
    // The rows of the fixture once more, now through the log; among them a generated column, which is in no log.
    let rows_of = TYPES.split("INSERT INTO kinds").nth(1).unwrap().split("CREATE TABLE nothing").next().unwrap();
    shop.sql(&format!(
        "DELETE FROM kinds; SET TimeZone = 'Asia/Seoul'; SET DateStyle = 'German'; INSERT INTO kinds{rows_of}"
    ));
    let outcome = shop.run_and_compare("kinds", &["i8"]).await;
    assert_eq!((mode(&outcome), rows(&outcome)), (StageMode::Changes, 3));
    let rejects: Vec<String> = outcome.manifest.files[0].rejects.iter().map(|reject| reject.column.clone()).collect();
    let unproven = &outcome.manifest.changes.as_ref().unwrap().unproven;
    assert_eq!((rejects.len(), unproven.as_slice()), (4, ["d", "n12", "ts", "tz"].map(str::to_owned).as_slice()));
}

#[tokio::test]
async fn keys_of_every_kind_find_their_rows() {
    for (name, kind, values) in [
        ("numeric", "numeric", ["1.0", "1e-30", "'NaN'"]),
        ("moment", "timestamptz", ["'2024-03-10 07:30:00.000001+09'", "'0044-03-15 BC'", "'2026-01-01'"]),
        ("double", "double precision", ["5e-324", "'NaN'", "-0.1"]),
        ("bytes", "bytea", ["'\\x00ff'", "''", "'\\x27'"]),
        ("fixed", "char(5)", ["'ab'", "''", "'a''b'"]),
        ("interval", "interval", ["'1 year 2 mons -3 days'", "'0'", "'04:05:06.7'"]),
        ("array", "text[]", ["'{\"a,b\",NULL}'", "'{}'", "'{\"\\\"\"}'"]),
        ("inet", "inet", ["'10.0.0.1/8'", "'::1'", "'10.0.0.0/8'"]),
        ("bits", "bit(3)", ["B'101'", "B'000'", "B'111'"]),
    ] {
        let shop = Shop::new(
            &format!("key_{name}"),
            &format!("CREATE TABLE t (k {kind} PRIMARY KEY, v int); INSERT INTO t VALUES ({}, 0);", values[0]),
        );
        shop.run_and_compare("t", &["k"]).await;
        shop.sql(&format!(
            "INSERT INTO t VALUES ({}, 1), ({}, 2); UPDATE t SET v = 9 WHERE k = {};",
            values[1], values[2], values[0]
        ));
        assert_eq!(rows(&shop.run_and_compare("t", &["k"]).await), 3, "{name}");
        shop.sql(&format!("DELETE FROM t WHERE k = {}", values[1]));
        shop.run_and_compare("t", &["k"]).await;
    }
    // Equal to the server, and another text: the old one goes, the new one comes.
    let shop = Shop::new("key_equal", "CREATE TABLE t (k numeric PRIMARY KEY); INSERT INTO t VALUES (1.0), (2);");
    shop.run_and_compare("t", &["k"]).await;
    shop.sql("UPDATE t SET k = 1.00 WHERE k = 1");
    shop.run_and_compare("t", &["k"]).await;
    assert_eq!(shop.fold("t", &["k"]).await.len(), 2);
}

#[tokio::test]
async fn large_values_that_are_not_touched_are_kept() {
    for identity in ["DEFAULT", "FULL"] {
        let shop = Shop::new(
            &format!("toast_{}", identity.to_lowercase()),
            &format!(
                "CREATE TABLE t (id int PRIMARY KEY, small int, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL; ALTER TABLE t REPLICA IDENTITY {identity}; \
                 INSERT INTO t SELECT n, n, repeat(md5(n::text), 1000) FROM generate_series(1, 5) n;"
            ),
        );
        shop.run_and_compare("t", &["id"]).await;
        shop.sql("UPDATE t SET small = -1 WHERE id <= 3; UPDATE t SET big = 'short' WHERE id = 3; UPDATE t SET id = 50 WHERE id = 5;");
        let outcome = shop.run_and_compare("t", &["id"]).await;
        assert_eq!((mode(&outcome), rows(&outcome)), (StageMode::Changes, 5), "{identity}");
    }
}

#[tokio::test]
async fn a_large_key_and_one_that_is_an_index_of_its_own() {
    let shop = Shop::new(
        "identity",
        "CREATE TABLE t (id int PRIMARY KEY, code text NOT NULL, v int); CREATE UNIQUE INDEX t_code ON t (code) INCLUDE (v); \
         ALTER TABLE t ALTER code SET STORAGE EXTERNAL; ALTER TABLE t REPLICA IDENTITY USING INDEX t_code; \
         INSERT INTO t SELECT n, repeat(chr(96 + n), 2400), n FROM generate_series(1, 4) n;",
    );
    shop.run_and_compare("t", &["code"]).await;
    shop.sql("UPDATE t SET v = 0 WHERE id = 1; UPDATE t SET code = 'new' WHERE id = 2; DELETE FROM t WHERE id = 3; UPDATE t SET id = 40 WHERE id = 4;");
    let outcome = shop.run_and_compare("t", &["code"]).await;
    assert_eq!((mode(&outcome), rows(&outcome)), (StageMode::Changes, 5));
}

#[tokio::test]
async fn a_partitioned_table_is_one_table() {
    let shop = Shop::new(
        "parted",
        "CREATE TABLE t (id int, day date, v int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day); \
         CREATE TABLE t1 PARTITION OF t FOR VALUES FROM ('2026-01-01') TO ('2026-02-01'); \
         CREATE TABLE t2 (v int, day date NOT NULL, id int NOT NULL, PRIMARY KEY (id, day)); ALTER TABLE t ATTACH PARTITION t2 FOR VALUES FROM ('2026-02-01') TO ('2026-03-01'); \
         INSERT INTO t SELECT n, '2026-01-01'::date + n, n FROM generate_series(1, 40) n;",
    );
    let key = ["id", "day"];
    shop.run_and_compare("t", &key).await;
    shop.sql("UPDATE t SET day = '2026-02-20' WHERE id = 1; UPDATE t2 SET v = 0 WHERE id = 35; DELETE FROM t1 WHERE id = 2; INSERT INTO t VALUES (99, '2026-02-02', 1);");
    let outcome = shop.run_and_compare("t", &key).await;
    assert_eq!((mode(&outcome), rows(&outcome)), (StageMode::Changes, 5));
    // None of these is in the log of the table.
    for change in [
        "TRUNCATE t1",
        "ALTER TABLE t DETACH PARTITION t2",
        "ALTER TABLE t ATTACH PARTITION t2 FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')",
        "DROP TABLE t2",
    ] {
        shop.sql(change);
        let outcome = shop.run_and_compare("t", &key).await;
        assert_eq!((mode(&outcome), outcome.read_anew.is_some()), (StageMode::Full, true), "{change}");
        shop.sql("INSERT INTO t VALUES (1000, '2026-01-30', 1) ON CONFLICT (id, day) DO UPDATE SET v = t.v + 1");
        assert_eq!(mode(&shop.run_and_compare("t", &key).await), StageMode::Changes, "{change}");
    }
}
