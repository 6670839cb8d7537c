//! A PostgreSQL server for tests.
//!
//! In: nothing.  Out: a URL with user and password.  PostgreSQL refuses root, so a root test runs it as Debian's user `postgres`.
//! Never here: schemas of tests.
//! Start at [`Postgres::shared`].

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::server::{Server, find_program, free_port, is_root, new_directory, run};

const PACKAGE: &str = "postgresql";
/// Debian keeps the server's programs here, per version, outside of `PATH`.
const DEBIAN_ROOT: &str = "/usr/lib/postgresql";
/// Holds characters that a URL must encode, so that every test also tests that.
const PASSWORD: &str = "p@ss:w/rd";
const PASSWORD_IN_URL: &str = "p%40ss%3Aw%2Frd";

/// A running PostgreSQL server whose superuser is `montauk`.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    port: u16,
    programs: PathBuf,
}

impl Postgres {
    /// The server that all tests of this process share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Starts a server of one's own; it stops when dropped.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with further settings, such as `wal_level=logical`.
    pub fn start_with(settings: &[&str]) -> Self {
        let programs = find_programs();
        let directory = new_directory("montauk-postgres-");
        let data = directory.join("data");
        let password = directory.join("password");
        std::fs::write(&password, PASSWORD).unwrap_or_else(|error| panic!("write {}: {error}", password.display()));
        let as_user = if is_root() {
            run(Command::new("chown").args(["-R", "postgres"]).arg(&directory), "");
            let setpriv = find_program(&["setpriv"], "util-linux");
            vec![setpriv.into(), OsString::from("--reuid=postgres"), "--regid=postgres".into(), "--clear-groups".into()]
        } else {
            Vec::new()
        };
        let mut initialise = as_user.clone();
        initialise.push(programs.join("initdb").into());
        let [program, arguments @ ..] = initialise.as_slice() else { panic!("no initdb") };
        run(
            Command::new(program)
                .args(arguments)
                .args(["--no-sync", "--username=montauk", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"])
                .arg(format!("--pwfile={}", password.display()))
                .arg("-D")
                .arg(&data)
                .current_dir(&directory),
            "",
        );
        let port = free_port();
        let mut command = as_user;
        command.push(programs.join("postgres").into());
        command.extend(["-D".into(), data.into(), "-p".into(), port.to_string().into()]);
        let options = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={}", directory.display()),
            "fsync=off".to_owned(),
            "max_connections=50".to_owned(),
        ];
        let options = options.into_iter().chain(settings.iter().map(|setting| (*setting).to_owned()));
        command.extend(options.flat_map(|option| [OsString::from("-c"), option.into()]));
        let server = Server::start("QUIT", &directory, &command);
        let started = Self { server, port, programs };
        started.server.wait_until("PostgreSQL", || {
            started.client("postgres").args(["-c", "select 1"]).output().is_ok_and(|output| output.status.success())
        });
        started
    }

    fn client(&self, database: &str) -> Command {
        let mut client = Command::new(self.programs.join("psql"));
        client.env("PGPASSWORD", PASSWORD);
        client.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            "127.0.0.1",
            "-U",
            "montauk",
            "-d",
            database,
        ]);
        client.arg("-p").arg(self.port.to_string());
        client
    }

    /// `postgres://montauk:…@127.0.0.1:<port>/<database>`.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://montauk:{PASSWORD_IN_URL}@127.0.0.1:{}/{database}", self.port)
    }

    /// The password in [`Self::url`], to look for where it must not appear.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A directory that lives as long as the server.
    pub fn directory(&self) -> &std::path::Path {
        self.server.directory()
    }

    /// Makes a database, dropping one of that name.
    pub fn create_database(&self, name: &str) {
        // Two scripts: neither statement may stand in the transaction that psql makes of one.
        run(self.client("postgres").arg("-c").arg(format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)")), "");
        run(self.client("postgres").arg("-c").arg(format!("CREATE DATABASE \"{name}\"")), "");
    }

    /// Runs statements in `database`; panics on an error. Answers rows as lines with `|` between columns.
    pub fn sql(&self, database: &str, script: &str) -> String {
        run(&mut self.client(database), script)
    }
}

/// The directory of `initdb` and `postgres`: the newest of Debian's, or the one in `PATH`.
fn find_programs() -> PathBuf {
    let versions = std::fs::read_dir(DEBIAN_ROOT).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, programs)| programs.join("initdb").is_file())
        .collect();
    found.sort();
    match found.pop() {
        Some((_, programs)) => programs,
        None => {
            let initdb = find_program(&["initdb"], PACKAGE);
            initdb.parent().unwrap_or_else(|| panic!("{} has no directory", initdb.display())).to_path_buf()
        }
    }
}
