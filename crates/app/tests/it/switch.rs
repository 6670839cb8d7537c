//! The switch, proven on the real binary: two projects copy and build into one warehouse at the same time, processes are
//! killed with SIGKILL at random moments, and a Python reader polls. Nobody ever sees an unchecked row, a row twice, or
//! marts whose sums disagree; and in the end every row is there exactly once. In a local directory, and in a bucket.
//!
//! `MONTAUK_SWITCH_KILLS` sets how many kills (default 12 and 6; `make test-long` runs 200 and 200).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{self, Dice, python};

const ROWS_PER_FILE: u64 = 200;

struct Scene {
    root: PathBuf,
    data: PathBuf,
    /// Directory or bucket of the warehouse.
    warehouse: String,
    /// Directory or bucket of each project's stage; `None` is the project's own.
    stage: Option<String>,
    environment: Vec<(&'static str, String)>,
}

/// One of the two projects, and what its processes need to reach the warehouse.
struct Project<'a> {
    dir: PathBuf,
    environment: &'a [(&'static str, String)],
}

impl Scene {
    fn project(&self, name: &str) -> Project<'_> {
        let dir = self.root.join(name);
        let write = |file: &str, text: &str| {
            let path = dir.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let mut settings = format!("[project]\nname = \"{name}\"\n\n[warehouse]\nlocation = \"{}\"\n", self.warehouse);
        if let Some(stage) = &self.stage {
            settings += &format!("\n[stage]\nlocation = \"{stage}/{name}\"\n");
        }
        write("montauk.toml", &settings);
        write(
            "sources/shop.toml",
            "kind = \"file\"\n\n[tables.lines]\npath = \"data/*.csv\"\n\n[tables.lines.copy]\n\
             columns = { id = \"bigint\", shop = \"text\", day = \"date\", amount = \"bigint\" }\n",
        );
        write(
            "models/staging/stg_lines.sql",
            "-- One row per line sold.\n-- materialized: table      grain: id\n\
             -- checks: unique(id)  not_null(id, amount)  range(amount, 0, 100)\n\
             select id, shop, day, amount from raw.shop_lines\n",
        );
        for (mart, group) in [("by_shop", "shop"), ("by_day", "day"), ("by_both", "shop, day")] {
            write(
                &format!("models/marts/{mart}.sql"),
                &format!(
                    "-- Amounts by {group}.\n-- materialized: table      grain: {group}\n-- checks: unique({group})\n\
                     select {group}, sum(amount) as amount, count(*) as lines from staging.stg_lines group by {group}\n"
                ),
            );
        }
        std::os::unix::fs::symlink(&self.data, dir.join("data")).unwrap();
        Project { dir, environment: &self.environment }
    }

    fn add_file(&self, number: u64, amount: impl Fn(u64) -> u64) {
        let mut text = String::from("id,shop,day,amount\n");
        for row in 0..ROWS_PER_FILE {
            let id = number * 1_000 + row;
            text += &format!("{id},shop-{},2026-01-{:02},{}\n", row % 7, row % 28 + 1, amount(row));
        }
        let aside = self.root.join("aside.tmp");
        fs::write(&aside, text).unwrap();
        fs::rename(aside, self.data.join(format!("{number:06}.csv"))).unwrap();
    }
}

impl Project<'_> {
    /// Starts one verb.
    fn start(&self, verb: &str) -> Child {
        let mut command = support::montauk();
        command.envs(self.environment.iter().cloned()).arg("-C").arg(&self.dir).arg(verb);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn count(&self, table: &str) -> u64 {
        let mut command = support::montauk();
        command.envs(self.environment.iter().cloned()).arg("-C").arg(&self.dir);
        let output =
            command.args(["query", &format!("select count(*) as n from {table}"), "--format", "csv"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .nth(1)
            .unwrap_or_default()
            .parse()
            .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// Waits for a verb; a loser of a race may say so (refused, or conflict), anything else must succeed.
fn finish(child: Child, verb: &str) {
    let output = child.wait_with_output().unwrap();
    let talk = String::from_utf8_lossy(&output.stderr);
    let lost_a_race = talk.contains("conflict") || talk.contains("run_active");
    assert!(output.status.success() || lost_a_race, "{verb} failed: {:?}\n{talk}", output.status.code());
}

/// One round of a project: the three verbs, one of which is killed if it still runs at its moment. Returns the kills made.
fn round(project: &Project<'_>, dice: &mut Dice) -> u64 {
    let victim = dice.below(3);
    let mut kills = 0;
    for (number, verb) in ["extract", "copy", "build"].into_iter().enumerate() {
        let mut child = project.start(verb);
        if number as u64 == victim {
            std::thread::sleep(Duration::from_millis(dice.below(1_500)));
            if child.try_wait().unwrap().is_none() {
                child.kill().unwrap();
                kills += 1;
            }
            child.wait().unwrap();
        } else {
            finish(child, verb);
        }
    }
    kills
}

#[test]
fn no_reader_ever_sees_an_unchecked_or_repeated_row() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().to_owned();
    let warehouse = root.join("warehouse").display().to_string();
    play(&Scene { data: root.join("data"), warehouse, stage: None, environment: Vec::new(), root }, 12);
}

#[test]
fn no_reader_of_a_bucket_ever_sees_an_unchecked_or_repeated_row() {
    let moto = testbed::Moto::shared();
    moto.create_bucket("montauk-switch");
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().to_owned();
    let scene = Scene {
        data: root.join("data"),
        warehouse: "s3://montauk-switch/warehouse".to_owned(),
        stage: Some("s3://montauk-switch/stage".to_owned()),
        environment: moto.environment(),
        root,
    };
    play(&scene, 6);
}

/// Both projects run and die until there were enough kills, while the reader watches; then the books are checked.
fn play(scene: &Scene, kills_by_default: u64) {
    let wanted: u64 = std::env::var("MONTAUK_SWITCH_KILLS").map_or(kills_by_default, |text| text.parse().unwrap());
    fs::create_dir_all(&scene.data).unwrap();
    let (first, second) = (scene.project("first"), scene.project("second"));
    let stop = scene.root.join("stop");
    let reader = Command::new(python())
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/switch_reader.py"))
        .arg(&scene.warehouse)
        .arg(&stop)
        .envs(scene.environment.iter().cloned())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();

    let (mut files, mut kills) = (0, 0);
    let mut dice = Dice::new(20_261_123);
    while kills < wanted {
        scene.add_file(files, |row| row % 101);
        files += 1;
        let mut other_dice = Dice::new(dice.below(1_000_000) + 1);
        kills += std::thread::scope(|scope| {
            let other = scope.spawn(|| round(&second, &mut other_dice));
            round(&first, &mut dice) + other.join().unwrap()
        });
    }
    // Left alone, one project finishes everything.
    for verb in ["extract", "copy", "build"] {
        let output = first.start(verb).wait_with_output().unwrap();
        assert!(output.status.success(), "{verb}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(first.count("staging.stg_lines"), files * ROWS_PER_FILE);
    assert_eq!(first.count("raw.shop_lines"), files * ROWS_PER_FILE);

    // A bad file reaches the raw table and nothing beyond it.
    scene.add_file(files, |_| 500);
    finish(first.start("extract"), "extract");
    finish(first.start("copy"), "copy");
    let refused = first.start("build").wait_with_output().unwrap();
    assert_eq!(refused.status.code(), Some(4), "{}", String::from_utf8_lossy(&refused.stderr));
    assert_eq!(first.count("staging.stg_lines"), files * ROWS_PER_FILE);

    fs::write(&stop, "").unwrap();
    let output = reader.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    eprintln!("{kills} kills over {files} files in {}: {seen}", scene.warehouse);
    assert_eq!(seen["violations"], serde_json::json!([]), "{seen}");
    assert!(seen["catalogs"].as_u64().unwrap() >= 2, "{seen}");
}
