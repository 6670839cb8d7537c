//! A disk that is full, for real: a file system of a few MiB in a mount namespace of its own. Each step that writes says so with the
//! next step, loses nothing that was there, and finishes once there is room.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::montauk;

/// Size of the file system: the project and its first load fit, the second does not.
const DISK: &str = "8m";
/// Rows of a file; random digits, so that they do not shrink.
const ROWS: u64 = 60_000;

#[test]
fn a_full_disk_is_named_and_nothing_is_lost() {
    let temp = tempfile::tempdir().unwrap();
    let disk = temp.path().join("disk");
    fs::create_dir(&disk).unwrap();
    write_data(temp.path());
    // The namespace ends with the shell, so all that is to be seen happens in one script.
    let script = format!(
        r#"
set -eu
mount -t tmpfs -o size={DISK} none "$disk"
mkdir -p "$disk/sources" "$disk/models/marts"
printf '[project]\nname = "shop"\n' > "$disk/montauk.toml"
printf 'kind = "file"\n[tables.lines]\npath = "%s/*.csv"\n' "$data" > "$disk/sources/shop.toml"
printf -- '-- All lines.\n-- materialized: table      grain: id\n-- checks: unique(id)\nselect * from raw.shop_lines\n' > "$disk/models/marts/lines.sql"
verb() {{ code=0; "$montauk" -C "$disk" --json "$@" > "$out/$step.out" 2> "$out/$step.err" || code=$?; echo "$code" > "$out/$step.code"; }}
fill() {{ dd if=/dev/zero of="$disk/filler" bs=1k 2> /dev/null || true; truncate -s -"$1" "$disk/filler"; }}
cp "$data/first" "$data/1.csv"
step=first-extract; verb extract
step=first-copy; verb copy
cp "$data/second" "$data/2.csv"
fill 64k
step=full-extract; verb extract
rm "$disk/filler"
step=second-extract; verb extract
fill 64k
step=full-copy; verb copy
rm "$disk/filler"
step=between; verb query 'select count(*) as n from raw.shop_lines'
step=second-copy; verb copy
fill 64k
step=full-build; verb build
rm "$disk/filler"
step=second-build; verb build
step=last; verb query 'select count(*) as n from marts.lines'
"#
    );
    let out = temp.path().join("out");
    fs::create_dir(&out).unwrap();
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    // Whoever is not root becomes root of a namespace of his own.
    let flags: &[&str] = if root { &["--mount"] } else { &["--mount", "--user", "--map-root-user"] };
    let binary = montauk().get_program().to_owned();
    let output = Command::new("unshare")
        .args(flags)
        .args(["sh", "-c", &script])
        .env("disk", &disk)
        .env("data", temp.path().join("data"))
        .env("out", &out)
        .env("montauk", binary)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let read = |file: String| fs::read_to_string(out.join(file)).unwrap();
    for step in ["first-extract", "first-copy", "second-extract", "second-copy", "second-build"] {
        assert_eq!(read(format!("{step}.code")).trim(), "0", "{step}: {}", read(format!("{step}.err")));
    }
    for step in ["full-extract", "full-copy", "full-build"] {
        let talk = read(format!("{step}.out"));
        let told = serde_json::from_str::<serde_json::Value>(&talk).unwrap_or_else(|_| panic!("{step}: {talk}"));
        assert!(told["error"]["code"].as_str().is_some_and(|code| code.ends_with("_full")), "{step}: {talk}");
        assert!(told["error"]["help"].as_str().is_some_and(|help| help.contains("space")), "{step}: {talk}");
    }
    let rows = |step: &str| {
        let answer: serde_json::Value = serde_json::from_str(&read(format!("{step}.out"))).unwrap();
        answer["rows"][0]["n"].as_u64()
    };
    assert_eq!(rows("between"), Some(ROWS), "what was loaded before is there");
    assert_eq!(rows("last"), Some(2 * ROWS));
}

/// Two files that are put into the watched folder one after the other.
fn write_data(root: &Path) {
    let data = root.join("data");
    fs::create_dir(&data).unwrap();
    // splitmix64 (Steele, Lea & Flood, OOPSLA 2014): digits that no compressor shortens.
    let mut state = 20_261_126_u64;
    let mut random = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    };
    for (name, first) in [("first", 0), ("second", ROWS)] {
        let mut text = String::from("id,code\n");
        for id in first..first + ROWS {
            writeln!(text, "{id},c{:016x}", random()).unwrap();
        }
        fs::write(data.join(name), text).unwrap();
    }
}
