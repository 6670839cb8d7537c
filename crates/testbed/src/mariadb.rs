//! A MariaDB server for tests.
//!
//! In: nothing.  Out: a URL with user and password.  Strict SQL mode and utf8mb4, as Debian ships it.
//! Never here: schemas of tests.
//! Start at [`MariaDb::shared`].

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::server::{Server, find_program, free_port, is_root, new_directory, run};

const PACKAGE: &str = "mariadb-server mariadb-client";
/// Holds characters that a URL must encode, so that every test also tests that.
const PASSWORD: &str = "p@ss:w/rd";
const PASSWORD_IN_URL: &str = "p%40ss%3Aw%2Frd";

/// A running MariaDB server with a user `montauk` that may do everything.
#[derive(Debug)]
pub struct MariaDb {
    server: Server,
    port: u16,
    socket: PathBuf,
}

impl MariaDb {
    /// The server that all tests of this process share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<MariaDb> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Starts a server of one's own; it stops when dropped.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with further options, such as `--default-time-zone=+09:00`.
    pub fn start_with(options: &[&str]) -> Self {
        let install = find_program(&["mariadb-install-db", "/usr/bin/mariadb-install-db"], PACKAGE);
        let daemon = find_program(&["mariadbd", "/usr/sbin/mariadbd"], PACKAGE);
        let directory = new_directory("montauk-mariadb-");
        let data = directory.join("data");
        let user: &[&str] = if is_root() { &["--user=root"] } else { &[] };
        run(
            Command::new(install)
                .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
                .arg(format!("--datadir={}", data.display()))
                // A server that starts removes what it takes for its own leftovers, wherever its temporary directory is.
                .env("TMPDIR", &directory)
                .args(user),
            "",
        );
        let init = directory.join("init.sql");
        let grants = format!(
            "CREATE USER montauk@'%' IDENTIFIED BY '{PASSWORD}';\nGRANT ALL ON *.* TO montauk@'%' WITH GRANT OPTION;\n"
        );
        std::fs::write(&init, grants).unwrap_or_else(|error| panic!("write {}: {error}", init.display()));
        let (port, socket) = (free_port(), directory.join("mariadb.sock"));
        let mut command: Vec<OsString> = vec![daemon.into(), "--no-defaults".into()];
        command.extend(user.iter().map(OsString::from));
        command.extend(
            [
                format!("--datadir={}", data.display()),
                format!("--socket={}", socket.display()),
                format!("--port={port}"),
                format!("--tmpdir={}", directory.display()),
                format!("--init-file={}", init.display()),
                format!("--pid-file={}", directory.join("pid").display()),
                "--bind-address=127.0.0.1".to_owned(),
                "--skip-name-resolve".to_owned(),
                "--character-set-server=utf8mb4".to_owned(),
                "--max-allowed-packet=256M".to_owned(),
                "--innodb-buffer-pool-size=256M".to_owned(),
                "--innodb-flush-log-at-trx-commit=2".to_owned(),
            ]
            .map(OsString::from),
        );
        command.extend(options.iter().map(OsString::from));
        let server = Server::start("QUIT", &directory, &command);
        let started = Self { server, port, socket };
        started.server.wait_until("MariaDB", || started.try_sql("SELECT user FROM mysql.user WHERE user = 'montauk'"));
        started
    }

    fn client(&self) -> Command {
        let mut client = Command::new(find_program(&["mariadb", "/usr/bin/mariadb"], PACKAGE));
        client.args([
            "--no-defaults",
            "--default-character-set=utf8mb4",
            "--user=root",
            "--batch",
            "--skip-column-names",
        ]);
        client.arg("--max-allowed-packet=256M").arg(format!("--socket={}", self.socket.display()));
        client
    }

    fn try_sql(&self, statement: &str) -> bool {
        let output = self.client().args(["-e", statement]).output();
        output.is_ok_and(|output| output.status.success() && !output.stdout.is_empty())
    }

    /// `mysql://montauk:…@127.0.0.1:<port>/<database>`.
    pub fn url(&self, database: &str) -> String {
        format!("mysql://montauk:{PASSWORD_IN_URL}@127.0.0.1:{}/{database}", self.port)
    }

    /// The password in [`Self::url`], to look for where it must not appear.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A directory that lives as long as the server and that it can read files from.
    pub fn directory(&self) -> &std::path::Path {
        self.server.directory()
    }

    /// Makes a database, dropping one of that name.
    pub fn create_database(&self, name: &str) {
        self.sql("", &format!("DROP DATABASE IF EXISTS `{name}`; CREATE DATABASE `{name}`;"));
    }

    /// Runs statements as root in `database` (empty: none); panics on an error. Answers rows as tab-separated lines.
    pub fn sql(&self, database: &str, script: &str) -> String {
        let mut client = self.client();
        if !database.is_empty() {
            client.arg(database);
        }
        run(client.arg("--local-infile=1"), script)
    }
}
