//! `init`: a new project from a template or from what a database holds.
//!
//! In: a directory, and a template's name or a database URL.  Out: the files written.
//! Never here: overwriting what exists.
//! Start at [`run`].

use std::path::PathBuf;

use connect::Source;
use connect::sources::mysql::MySqlSource;
use connect::sources::postgres::PostgresSource;

use crate::{PipelineError, proposal, template};

/// What to make, and where.
#[derive(Debug, Clone)]
pub struct Request {
    pub dir: PathBuf,
    pub from: From,
}

/// What the new project starts from.
#[derive(Debug, Clone)]
pub enum From {
    /// The shipped example: Online Retail with its data.
    Retail,
    /// Folders and a `montauk.toml`, nothing else.
    Minimal,
    /// Tables of a database; `env` is the variable that will hold the URL, which is never written to a file.
    Database { url: String, env: String },
}

/// What was written.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Report {
    pub dir: PathBuf,
    pub files: Vec<String>,
}

/// Writes the files of a new project. A file that exists stays as it is.
pub async fn run(request: Request) -> Result<Report, PipelineError> {
    let files = match &request.from {
        From::Retail => template::write_retail(&request.dir)?,
        From::Minimal => proposal::write(&request.dir, &proposal::minimal(&request.dir))?,
        From::Database { url, env } => {
            let source = open(url)?;
            let tables = source.discover().await?;
            if tables.is_empty() {
                return Err(PipelineError::EmptyDatabase);
            }
            proposal::write(&request.dir, &proposal::of_database(&request.dir, scheme(url), env, &tables))?
        }
    };
    Ok(Report { dir: request.dir, files })
}

/// What the URL says the database is.
fn scheme(url: &str) -> &str {
    url.split_once("://").map_or("", |(scheme, _)| scheme)
}

fn open(url: &str) -> Result<Box<dyn Source>, PipelineError> {
    match scheme(url) {
        "mysql" | "mariadb" => Ok(Box::new(MySqlSource::new(url)?)),
        "postgres" | "postgresql" => Ok(Box::new(PostgresSource::new(url)?)),
        other => Err(PipelineError::UnknownName {
            what: "kind of database",
            name: other.to_owned(),
            available: ["mysql", "mariadb", "postgres"].map(str::to_owned).to_vec(),
        }),
    }
}
