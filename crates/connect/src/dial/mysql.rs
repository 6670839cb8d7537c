//! Connections to MySQL and MariaDB.
//!
//! In: `mysql://user:password@host:3306/database`.  Out: a `mysql_async` connection whose session is set up the same everywhere.
//! Never here: statements on tables.
//! Start at [`MySqlAddress::connect`].

use std::time::Duration;

use mysql_async::{Conn, Error, Opts, OptsBuilder};

use super::{CONNECT_TIMEOUT, decoded, parse_url};
use crate::ConnectError;

/// Idle time after which the system asks whether the other side is still there: a query that computes for minutes sends nothing.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// What servers send at most in one packet: the limit of the protocol's users, 1 GiB.
const LARGEST_PACKET: usize = 1 << 30;

/// Where a server is and who asks.
#[derive(Clone)]
pub(crate) struct MySqlAddress {
    options: Opts,
    /// `host:port`.
    pub(crate) server: String,
    pub(crate) user: String,
    /// The database at the end of the URL; empty when there is none.
    pub(crate) database: String,
}

impl std::fmt::Debug for MySqlAddress {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "mysql://{}@{}/{}", self.user, self.server, self.database)
    }
}

impl MySqlAddress {
    /// Reads a URL; `mariadb://` means the same as `mysql://`.
    pub(crate) fn parse(text: &str) -> Result<Self, ConnectError> {
        let url = parse_url(text, &["mysql", "mariadb"])?;
        let text = text.strip_prefix("mariadb://").map_or_else(|| text.to_owned(), |rest| format!("mysql://{rest}"));
        let options = Opts::from_url(&text).map_err(|error| ConnectError::BadUrl {
            url: format!("{}://…", url.scheme()),
            // The driver's messages name the parameter, never the whole URL.
            reason: error.to_string(),
        })?;
        Ok(Self {
            server: format!("{}:{}", options.ip_or_hostname(), options.tcp_port()),
            user: options.user().unwrap_or_default().to_owned(),
            database: decoded(url.path().trim_start_matches('/')),
            options,
        })
    }

    /// `database.table`, or `table` in the database of the URL.
    ///
    /// Errors: `BadUrl` when neither names a database.
    pub(crate) fn split<'a>(&'a self, location: &'a str) -> Result<(&'a str, &'a str), ConnectError> {
        match location.split_once('.') {
            Some((database, table)) => Ok((database, table)),
            None => Ok((self.database()?, location)),
        }
    }

    /// The database of the URL.
    pub(crate) fn database(&self) -> Result<&str, ConnectError> {
        if self.database.is_empty() {
            let url = format!("mysql://…@{}/", self.server);
            return Err(ConnectError::BadUrl { url, reason: "it names no database".to_owned() });
        }
        Ok(&self.database)
    }

    /// Connects, and runs `setup` in the new session.
    pub(crate) async fn connect(&self, setup: &[&str]) -> Result<Conn, ConnectError> {
        self.connect_as(self.options(setup)).await
    }

    /// Connects to read the log, whose events can be larger than what the server takes from a client.
    pub(crate) async fn connect_for_log(&self, setup: &[&str]) -> Result<Conn, ConnectError> {
        self.connect_as(self.options(setup).max_allowed_packet(Some(LARGEST_PACKET))).await
    }

    fn options(&self, setup: &[&str]) -> OptsBuilder {
        // A socket would be another way in, with other rights than the URL says.
        OptsBuilder::from_opts(self.options.clone())
            .prefer_socket(false)
            .tcp_keepalive(Some(KEEPALIVE))
            .setup(setup.to_vec())
    }

    async fn connect_as(&self, options: OptsBuilder) -> Result<Conn, ConnectError> {
        match tokio::time::timeout(CONNECT_TIMEOUT, Conn::new(options)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(Error::Io(error))) => Err(self.unreachable(&error.to_string())),
            Ok(Err(error)) => Err(self.problem(error, "connecting", "")),
            Err(_) => Err(self.unreachable(&format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))),
        }
    }

    fn unreachable(&self, reason: &str) -> ConnectError {
        ConnectError::DatabaseUnreachable { server: self.server.clone(), reason: reason.to_owned() }
    }

    /// Sorts a driver's error by what can be done; `action` continues "error … while", `table` is what it was about.
    pub(crate) fn problem(&self, error: Error, action: &str, table: &str) -> ConnectError {
        let (server, user, table) = (self.server.clone(), self.user.clone(), table.to_owned());
        let error = match error {
            Error::Server(error) => error,
            Error::Io(_) | Error::Driver(mysql_async::DriverError::ConnectionClosed) => {
                return ConnectError::ConnectionLost { server, reason: error.to_string() };
            }
            Error::Driver(_) | Error::Other(_) | Error::Url(_) => {
                return ConnectError::Database {
                    server,
                    number: "of the driver".to_owned(),
                    action: action.to_owned(),
                    reason: error.to_string(),
                };
            }
        };
        let reason = error.message.clone();
        // Numbers: MariaDB error code reference, the same in MySQL.
        match error.code {
            1045 | 1130 | 1251 | 1698 | 1820 | 1862 | 4151 => ConnectError::LoginRefused { server, user, reason },
            1044 if table.is_empty() => ConnectError::LoginRefused { server, user, reason },
            1044 | 1142 | 1143 | 1227 => {
                ConnectError::NotAllowed { server, user, action: verb_of(&reason).to_owned(), table, reason }
            }
            1049 => ConnectError::NoSuchDatabase { server, database: self.database.clone() },
            1146 => ConnectError::NoSuchTable { server, table, nearest: None },
            1040 | 1053 | 1203 | 1226 => self.unreachable(&reason),
            1412 | 1054 => ConnectError::TableChanged { table },
            number => ConnectError::Database { server, number: number.to_string(), action: action.to_owned(), reason },
        }
    }
}

/// The right that a "command denied" message asks for, in small letters.
fn verb_of(message: &str) -> &'static str {
    let first = message.split_whitespace().next().unwrap_or_default();
    match first {
        "SELECT" => "read",
        "INSERT" => "insert into",
        "UPDATE" => "update",
        "DELETE" => "delete from",
        "CREATE" => "create",
        _ => "use",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_never_shown_with_their_password() {
        let address = MySqlAddress::parse("mariadb://shop:p%40ss@db.example:3307/my%20shop").unwrap();
        assert_eq!(format!("{address:?}"), "mysql://shop@db.example:3307/my shop");
        for bad in ["postgres://u:hunter2@h/d", "mysql://u:hunter2@h/d?nonsense=1", "hunter2", "mysql:///d"] {
            let error = MySqlAddress::parse(bad).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert_eq!(domain::Problem::code(&error), "bad_url", "{bad}");
        }
    }
}
