//! The binlog of a MySQL or MariaDB server from one place to another, event by event.
//!
//! In: two places.  Out: events with the place they end at.
//! The server is asked as a replica asks it, by file and offset, and to stop when there is no more: the end is in the log already.
//! Never here: what the events mean (`mysql_log`).
//! Start at [`LogStream::open`].

use std::time::Duration;

use futures::StreamExt;
use mysql_async::binlog::BinlogChecksumAlg;
use mysql_async::binlog::events::Event;
use mysql_async::{BinlogStream, BinlogStreamRequest, Error};

use super::mysql_log_check::{LogServer, refused, server_code, unusable};
use super::mysql_log_events::{kind, rotation};
use super::mysql_snapshot::SESSION;
use crate::ConnectError;
use crate::dial::mysql::MySqlAddress;

/// A server that is asked for its log has it on disk; one that sends nothing for so long counts as lost.
const STALL: Duration = Duration::from_secs(300);
/// Marks an event that is not in the log, but was made up for the replica. Source: MySQL internals, `LOG_EVENT_ARTIFICIAL_F`.
const ARTIFICIAL: u16 = 0x20;
/// Marks an event that those who do not know its type may pass over, `LOG_EVENT_IGNORABLE_F`.
const IGNORABLE: u16 = 0x80;
/// Says that events of MariaDB's own are understood, so that it sends what is in the log and no replacements.
const CAPABILITY: &str = "SET @mariadb_slave_capability = 4";
/// Replicas have small numbers; another one with ours would be cut off by the server. The connection's number tells ours apart.
const OUR_REPLICAS: u32 = 0x8000_0000;
/// Errors of a server that was told to end the connection, or itself.
const ENDED: [u16; 4] = [1053, 1079, 1317, 1927];
/// The server cannot read its log from there.
const NOT_THERE: u16 = 1236;

/// A place in the log: file, offset.
pub(super) type Place = (String, u64);

/// Events on their way here.
pub(super) struct LogStream<'a> {
    address: &'a MySqlAddress,
    server: LogServer,
    stream: BinlogStream,
    place: Place,
    to: Place,
    /// The log has said how its events are built. Before that, the driver takes the checksum of a rotation for a part of the name.
    is_described: bool,
}

/// One event.
pub(super) struct LogEvent {
    event: Event,
    pub(super) kind: u8,
}

impl LogEvent {
    /// What follows the header.
    pub(super) fn data(&self) -> &[u8] {
        self.event.data()
    }

    /// Whether it may be passed over when its type is not known.
    pub(super) fn is_ignorable(&self) -> bool {
        self.event.header().flags_raw() & IGNORABLE != 0
    }
}

/// Why there are no more events.
pub(super) enum Broken {
    /// The log does not reach back so far.
    Gone(String),
    Other(ConnectError),
}

impl<'a> LogStream<'a> {
    /// Asks for the log after `from`.
    pub(super) async fn open(
        address: &'a MySqlAddress,
        server: LogServer,
        (from, to): (&Place, &Place),
    ) -> Result<Self, Broken> {
        let setup: Vec<&str> = SESSION.iter().copied().chain(server.is_mariadb.then_some(CAPABILITY)).collect();
        let connection = address.connect_for_log(&setup).await.map_err(Broken::Other)?;
        let request = BinlogStreamRequest::new(OUR_REPLICAS | connection.id())
            .with_filename(from.0.as_bytes())
            .with_pos(from.1)
            .with_non_blocking();
        let stream = connection.get_binlog_stream(request).await;
        let stream = stream.map_err(|error| Broken::Other(refused(address, server.is_mariadb, error)))?;
        Ok(Self { address, server, stream, place: from.clone(), to: to.clone(), is_described: false })
    }

    /// Where the last event ended.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// The next event of the log, or `None` at the end that was wanted.
    pub(super) async fn next(&mut self) -> Result<Option<LogEvent>, Broken> {
        loop {
            if self.place == self.to {
                return Ok(None);
            }
            let next = tokio::time::timeout(STALL, self.stream.next()).await;
            let event = match next {
                Ok(Some(Ok(event))) => event,
                Ok(Some(Err(error))) => return Err(self.broken(error)),
                Ok(None) => return Err(self.lost("the log ended too early")),
                Err(_) => return Err(self.lost(&format!("it sent nothing for {} s", STALL.as_secs()))),
            };
            let header = event.header();
            let kind = header.event_type_raw();
            self.is_described |= kind == kind::DESCRIPTION;
            let is_made_up = header.flags_raw() & ARTIFICIAL != 0 || header.log_pos() == 0;
            if kind == kind::ROTATE {
                self.advance(header.log_pos(), is_made_up);
                if self.is_described && self.place != self.to {
                    let next = rotation(event.data()).ok_or_else(|| self.damaged("a rotation"))?;
                    self.place = next;
                }
                continue;
            }
            if is_made_up || kind == kind::HEARTBEAT {
                continue;
            }
            let is_checked =
                event.footer().get_checksum_alg() == Ok(Some(BinlogChecksumAlg::BINLOG_CHECKSUM_ALG_CRC32));
            let sum = event.calc_checksum(BinlogChecksumAlg::BINLOG_CHECKSUM_ALG_CRC32).to_le_bytes();
            if is_checked && event.checksum().is_some_and(|checksum| checksum != sum) {
                return Err(self.damaged("an event with a wrong checksum"));
            }
            self.advance(header.log_pos(), false);
            if is_beyond(&self.place, &self.to) {
                let what = format!("`{}:{}` is inside of a transaction", self.to.0, self.to.1);
                return Err(Broken::Other(ConnectError::internal("follow the log", what)));
            }
            return Ok(Some(LogEvent { event, kind }));
        }
    }

    /// Goes to the end of an event. Its header has 32 bits for it, and a file can be larger.
    fn advance(&mut self, end: u32, is_made_up: bool) {
        if is_made_up {
            return;
        }
        let high = self.place.1 & !u64::from(u32::MAX);
        let end = high | u64::from(end);
        self.place.1 = if end < self.place.1 { end + (1 << 32) } else { end };
    }

    fn lost(&self, reason: &str) -> Broken {
        Broken::Other(ConnectError::ConnectionLost { server: self.address.server.clone(), reason: reason.to_owned() })
    }

    fn damaged(&self, what: &str) -> Broken {
        let reason = format!("{what} after {}:{}", self.place.0, self.place.1);
        Broken::Other(unusable(self.address, reason, "read the table whole with `--anew`".to_owned()))
    }

    fn broken(&self, error: Error) -> Broken {
        match server_code(&error) {
            // The size of a packet is the other reason that this error can have.
            Some(NOT_THERE) if !error.to_string().contains("max_allowed_packet") => Broken::Gone(error.to_string()),
            Some(code) if ENDED.contains(&code) => self.lost(&error.to_string()),
            Some(_) | None => Broken::Other(refused(self.address, self.server.is_mariadb, error)),
        }
    }

    /// Ends the connection.
    pub(super) async fn close(self) {
        if let Err(error) = self.stream.close().await {
            tracing::debug!(server = self.address.server, %error, "the log did not close cleanly");
        }
    }
}

/// Whether a place comes after another one: files are numbered.
pub(super) fn is_beyond((file, offset): &Place, (other, other_offset): &Place) -> bool {
    let number = |file: &str| file.rsplit_once('.').and_then(|(_, digits)| digits.parse::<u64>().ok());
    (number(file), offset) > (number(other), other_offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_the_order_of_their_numbers() {
        let place = |file: &str, offset| (file.to_owned(), offset);
        assert!(is_beyond(&place("binlog.1000000", 4), &place("binlog.999999", 900)));
        assert!(is_beyond(&place("binlog.000002", 5), &place("binlog.000002", 4)));
        assert!(!is_beyond(&place("binlog.000002", 4), &place("binlog.000002", 4)));
    }
}
