//! An S3 server for tests: `moto_server` from its own Python environment.
//!
//! In: nothing.  Out: an endpoint, and the environment variables that a child process needs.
//! It answers conditional puts (412) as S3 does; it does not check credentials.
//! Never here: the installation; `make test` makes the environment.
//! Start at [`Moto::shared`].

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::server::{Server, accepts, free_port, new_directory};

/// Names the Python environment when it is not in the repository's root.
const VENV_VARIABLE: &str = "MONTAUK_TEST_VENV";
/// Where `make test` makes it.
const VENV_NAME: &str = ".venv-test";

/// A running S3 server.
#[derive(Debug)]
pub struct Moto {
    _server: Server,
    port: u16,
}

impl Moto {
    /// The server that all tests of this process share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Moto> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Starts a server of one's own; it stops when dropped.
    pub fn start() -> Self {
        let program = find_moto();
        let directory = new_directory("montauk-moto-");
        let port = free_port();
        let command: Vec<OsString> =
            vec![program.into(), "-H".into(), "127.0.0.1".into(), "-p".into(), port.to_string().into()];
        let server = Server::start("KILL", &directory, &command);
        server.wait_until("moto_server", || accepts(port));
        Self { _server: server, port }
    }

    /// `http://127.0.0.1:<port>`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The variables with which a process reaches it.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT", self.endpoint()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_ACCESS_KEY_ID", "testing".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "testing".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }

    /// Makes a bucket (at least 3 characters); one that exists stays as it is.
    pub fn create_bucket(&self, name: &str) {
        let request = format!(
            "PUT /{name} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.port
        );
        let mut answer = String::new();
        let sent = TcpStream::connect(("127.0.0.1", self.port)).and_then(|mut stream| {
            stream.write_all(request.as_bytes())?;
            stream.read_to_string(&mut answer)
        });
        if let Err(error) = sent {
            panic!("make bucket {name}: {error}");
        }
        assert!(answer.starts_with("HTTP/1.1 200"), "make bucket {name}: {answer}");
    }
}

fn find_moto() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let venv = std::env::var_os(VENV_VARIABLE).map_or_else(|| root.join(VENV_NAME), PathBuf::from);
    let program = venv.join("bin/moto_server");
    assert!(
        program.is_file(),
        "`{}` is missing: run `make test`, or `python3 -m venv {VENV_NAME} && {VENV_NAME}/bin/pip install 'moto[server,s3]==5.2.5'` in the repository",
        program.display()
    );
    program
}
