//! Connections to PostgreSQL.
//!
//! In: `postgres://user:password@host:5432/database`.  Out: an `sqlx` connection whose session is set up the same everywhere.
//! Never here: statements on tables.
//! Start at [`PostgresAddress::connect`].

use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Error, Executor};

use super::{CONNECT_TIMEOUT, decoded, parse_url};
use crate::ConnectError;

/// Port of PostgreSQL when the URL names none.
const DEFAULT_PORT: u16 = 5432;

/// Where a server is and who asks.
#[derive(Clone)]
pub(crate) struct PostgresAddress {
    options: PgConnectOptions,
    /// `host:port`.
    pub(crate) server: String,
    pub(crate) user: String,
    pub(crate) database: String,
}

impl std::fmt::Debug for PostgresAddress {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "postgres://{}@{}/{}", self.user, self.server, self.database)
    }
}

impl PostgresAddress {
    /// Reads a URL; `postgresql://` means the same.
    pub(crate) fn parse(text: &str) -> Result<Self, ConnectError> {
        let url = parse_url(text, &["postgres", "postgresql"])?;
        let shown = format!("{}://…", url.scheme());
        let options = PgConnectOptions::from_str(text)
            // The driver's message may repeat parts of the URL, so that only its kind is told.
            .map_err(|_| ConnectError::BadUrl { url: shown, reason: "a part of it cannot be read".to_owned() })?;
        Ok(Self {
            server: format!("{}:{}", url.host_str().unwrap_or_default(), url.port().unwrap_or(DEFAULT_PORT)),
            user: decoded(url.username()),
            database: decoded(url.path().trim_start_matches('/')),
            options: options.application_name("montauk"),
        })
    }

    /// Connects, and runs `setup` in the new session.
    pub(crate) async fn connect(&self, setup: &'static str) -> Result<PgConnection, ConnectError> {
        let mut connection = match tokio::time::timeout(CONNECT_TIMEOUT, self.options.connect()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(Error::Io(error))) => return Err(self.unreachable(&error.to_string())),
            Ok(Err(Error::Tls(error))) => return Err(self.unreachable(&format!("TLS: {error}"))),
            Ok(Err(error)) => return Err(self.problem(error, "connecting", "")),
            Err(_) => return Err(self.unreachable(&format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))),
        };
        connection.execute(setup).await.map_err(|error| self.problem(error, "setting up the session", ""))?;
        Ok(connection)
    }

    fn unreachable(&self, reason: &str) -> ConnectError {
        ConnectError::DatabaseUnreachable { server: self.server.clone(), reason: reason.to_owned() }
    }

    /// Sorts a driver's error by what can be done; `action` continues "error … while", `table` is what it was about.
    pub(crate) fn problem(&self, error: Error, action: &str, table: &str) -> ConnectError {
        let (server, user, table) = (self.server.clone(), self.user.clone(), table.to_owned());
        let Some(found) = error.as_database_error() else {
            if matches!(error, Error::Io(_) | Error::Protocol(_)) {
                return ConnectError::ConnectionLost { server, reason: error.to_string() };
            }
            let (number, action) = ("of the driver".to_owned(), action.to_owned());
            return ConnectError::Database { server, number, action, reason: error.to_string() };
        };
        let reason = found.message().to_owned();
        let state = found.code().unwrap_or_default().into_owned();
        // SQLSTATE: PostgreSQL documentation, appendix A.
        match state.as_str() {
            "28P01" | "28000" => ConnectError::LoginRefused { server, user, reason },
            "3D000" => ConnectError::NoSuchDatabase { server, database: self.database.clone() },
            "42P01" | "3F000" => ConnectError::NoSuchTable { server, table, nearest: None },
            "42501" => ConnectError::NotAllowed { server, user, action: "use".to_owned(), table, reason },
            "57P03" | "53300" => self.unreachable(&reason),
            "57P01" | "57P02" | "57P05" => ConnectError::ConnectionLost { server, reason },
            "42703" => ConnectError::TableChanged { table },
            _ => ConnectError::Database { server, number: state, action: action.to_owned(), reason },
        }
    }
}

/// A statement that was put together from quoted identifiers only; values are always bound.
pub(crate) fn statement(text: String) -> AssertSqlSafe<String> {
    AssertSqlSafe(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_never_shown_with_their_password() {
        let address = PostgresAddress::parse("postgresql://shop:p%40ss@db.example/my%20shop").unwrap();
        assert_eq!(format!("{address:?}"), "postgres://shop@db.example:5432/my shop");
        for bad in
            ["mysql://u:hunter2@h/d", "postgres://u:hunter2@h:port/d", "postgres://u:hunter2@h/d?sslmode=hunter2"]
        {
            let error = PostgresAddress::parse(bad).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert_eq!(domain::Problem::code(&error), "bad_url", "{bad}");
        }
    }
}
