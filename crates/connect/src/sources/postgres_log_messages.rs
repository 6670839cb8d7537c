//! What PostgreSQL's own output plugin (`pgoutput`) says of a transaction, message by message.
//!
//! In: bytes of one message, protocol version 1.  Out: a [`Message`].
//! Source: PostgreSQL documentation, "Logical Replication Message Formats".
//! Never here: where messages come from and what is done about them (`postgres_log_read`).
//! Start at [`Message::read`].

use std::fmt;
use std::str::FromStr;

/// A place in the write-ahead log, in bytes from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Lsn(pub(crate) u64);

impl fmt::Display for Lsn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let halves = text
            .split_once('/')
            .and_then(|(high, low)| Some((u32::from_str_radix(high, 16).ok()?, u32::from_str_radix(low, 16).ok()?)));
        let (high, low) = halves.ok_or_else(|| format!("`{text}` is no place in a log"))?;
        Ok(Self(u64::from(high) << 32 | u64::from(low)))
    }
}

/// One message. What nobody here asks for (types, origins, messages of programs) is [`Message::Other`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    /// A transaction begins, whose commit stands at `commit`.
    Begin {
        commit: Lsn,
        xid: u32,
    },
    Commit,
    /// The columns of a table as the changes after it are written.
    Relation {
        relation: u32,
        columns: Vec<&'a str>,
    },
    Insert {
        relation: u32,
        new: Vec<Cell<'a>>,
    },
    Update {
        relation: u32,
        /// The key before, when it has changed; the whole row before, under `REPLICA IDENTITY FULL`.
        old: Option<Vec<Cell<'a>>>,
        new: Vec<Cell<'a>>,
    },
    Delete {
        relation: u32,
        old: Vec<Cell<'a>>,
    },
    Truncate {
        relations: Vec<u32>,
    },
    Other,
}

/// One value of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell<'a> {
    Null,
    /// Too large to lie in the row, and as it was before: not sent.
    Unchanged,
    /// As the type's output function writes it.
    Text(&'a str),
}

/// What is wrong with a message.
type Fault = &'static str;

impl<'a> Message<'a> {
    /// Errors: a sentence, when the bytes are not such a message.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Fault> {
        let mut rest = Bytes(bytes);
        let message = match rest.u8()? {
            b'B' => {
                let commit = Lsn(rest.u64()?);
                // Microseconds since 2000 at which it was committed.
                rest.u64()?;
                Self::Begin { commit, xid: rest.u32()? }
            }
            b'C' => return Ok(Self::Commit),
            b'R' => rest.relation()?,
            b'I' => {
                let relation = rest.u32()?;
                rest.is(b'N')?;
                Self::Insert { relation, new: rest.row()? }
            }
            b'U' => {
                let relation = rest.u32()?;
                let mut mark = rest.u8()?;
                let mut old = None;
                if mark == b'K' || mark == b'O' {
                    old = Some(rest.row()?);
                    mark = rest.u8()?;
                }
                if mark != b'N' {
                    return Err("an update has no new row");
                }
                Self::Update { relation, old, new: rest.row()? }
            }
            b'D' => {
                let relation = rest.u32()?;
                // `K` for a key, `O` for the whole row: the columns are the same.
                rest.u8()?;
                Self::Delete { relation, old: rest.row()? }
            }
            b'T' => {
                let count = rest.u32()?;
                // CASCADE and RESTART IDENTITY.
                rest.u8()?;
                Self::Truncate { relations: (0..count).map(|_| rest.u32()).collect::<Result<_, _>>()? }
            }
            _ => return Ok(Self::Other),
        };
        if rest.0.is_empty() { Ok(message) } else { Err("a message is longer than it says") }
    }
}

/// What is left of a message.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("a message ends early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.take(N)?.try_into().map_err(|_| "a message ends early")
    }

    fn u8(&mut self) -> Result<u8, Fault> {
        self.number().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, Fault> {
        self.number().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        self.number().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Fault> {
        self.number().map(u64::from_be_bytes)
    }

    fn is(&mut self, mark: u8) -> Result<(), Fault> {
        if self.u8()? == mark { Ok(()) } else { Err("a message has another mark than it should") }
    }

    /// Text that a zero byte ends.
    fn name(&mut self) -> Result<&'a str, Fault> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or("a name has no end")?;
        let name = std::str::from_utf8(self.take(end)?).map_err(|_| "a name is not valid UTF-8")?;
        self.u8()?;
        Ok(name)
    }

    fn relation(&mut self) -> Result<Message<'a>, Fault> {
        let relation = self.u32()?;
        // Schema and name, which may change while the number stays; how a row is identified.
        self.name()?;
        self.name()?;
        self.u8()?;
        let count = self.u16()?;
        let mut columns = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            // Whether it belongs to the key.
            self.u8()?;
            columns.push(self.name()?);
            // Number and modifier of its type.
            self.u64()?;
        }
        Ok(Message::Relation { relation, columns })
    }

    fn row(&mut self) -> Result<Vec<Cell<'a>>, Fault> {
        let count = self.u16()?;
        let mut cells = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            cells.push(match self.u8()? {
                b'n' => Cell::Null,
                b'u' => Cell::Unchanged,
                b't' => {
                    let length = usize::try_from(self.u32()?).map_err(|_| "a value is too long")?;
                    Cell::Text(std::str::from_utf8(self.take(length)?).map_err(|_| "a value is not valid UTF-8")?)
                }
                _ => return Err("a value is of an unknown form"),
            });
        }
        Ok(cells)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a message as the server does.
    #[derive(Default)]
    struct Writer(Vec<u8>);

    impl Writer {
        fn new(mark: u8) -> Self {
            Self(vec![mark])
        }
        fn bytes(mut self, bytes: &[u8]) -> Self {
            self.0.extend(bytes);
            self
        }
        fn u32(self, number: u32) -> Self {
            self.bytes(&number.to_be_bytes())
        }
        fn row(mut self, mark: u8, cells: &[Cell<'_>]) -> Self {
            self = self.bytes(&[mark, 0, u8::try_from(cells.len()).unwrap()]);
            for cell in cells {
                self = match cell {
                    Cell::Null => self.bytes(b"n"),
                    Cell::Unchanged => self.bytes(b"u"),
                    Cell::Text(text) => self.bytes(b"t").u32(u32::try_from(text.len()).unwrap()).bytes(text.as_bytes()),
                };
            }
            self
        }
    }

    #[test]
    fn places_in_the_log_are_read_and_ordered() {
        let lsn: Lsn = "16/B374D848".parse().unwrap();
        assert_eq!((lsn.0, lsn.to_string().as_str()), (0x16_B374_D848, "16/B374D848"));
        assert!(lsn > "F/FFFFFFFF".parse().unwrap());
        for bad in ["", "1", "1/", "x/1", "1/1/1", "1/100000000"] {
            assert!(bad.parse::<Lsn>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_message_is_read() {
        let begin = Writer::new(b'B').u32(1).u32(2).bytes(&[0; 8]).u32(77).0;
        assert_eq!(Message::read(&begin), Ok(Message::Begin { commit: Lsn(1 << 32 | 2), xid: 77 }));
        assert_eq!(Message::read(&Writer::new(b'C').bytes(&[0; 25]).0), Ok(Message::Commit));
        let relation = Writer::new(b'R').u32(5).bytes(b"public\0t\0d\0\x02\x01id\0").u32(23).u32(u32::MAX);
        let relation = relation.bytes("\0값\0".as_bytes()).u32(25).u32(u32::MAX).0;
        assert_eq!(Message::read(&relation), Ok(Message::Relation { relation: 5, columns: vec!["id", "값"] }));
        let (one, two) = ([Cell::Text("1"), Cell::Null], [Cell::Text("é"), Cell::Unchanged]);
        let insert = Writer::new(b'I').u32(5).row(b'N', &one).0;
        assert_eq!(Message::read(&insert), Ok(Message::Insert { relation: 5, new: one.to_vec() }));
        let update = Writer::new(b'U').u32(5).row(b'N', &two).0;
        assert_eq!(Message::read(&update), Ok(Message::Update { relation: 5, old: None, new: two.to_vec() }));
        for mark in [b'K', b'O'] {
            let update = Writer::new(b'U').u32(5).row(mark, &one).row(b'N', &two).0;
            let read = Message::Update { relation: 5, old: Some(one.to_vec()), new: two.to_vec() };
            assert_eq!(Message::read(&update), Ok(read));
            let delete = Writer::new(b'D').u32(5).row(mark, &one).0;
            assert_eq!(Message::read(&delete), Ok(Message::Delete { relation: 5, old: one.to_vec() }));
        }
        let truncate = Writer::new(b'T').u32(2).bytes(&[1]).u32(5).u32(6).0;
        assert_eq!(Message::read(&truncate), Ok(Message::Truncate { relations: vec![5, 6] }));
        for other in [b'Y', b'O', b'M'] {
            assert_eq!(Message::read(&Writer::new(other).bytes(b"anything").0), Ok(Message::Other));
        }
    }

    #[test]
    fn a_message_that_is_cut_or_too_long_is_refused() {
        let whole = Writer::new(b'U').u32(5).row(b'K', &[Cell::Text("1")]).row(b'N', &[Cell::Text("22")]).0;
        for end in 0..whole.len() {
            assert!(Message::read(&whole[..end]).is_err(), "{end}");
        }
        assert!(Message::read(&[whole.as_slice(), b"x"].concat()).is_err());
        assert!(
            Message::read(&Writer::new(b'I').u32(5).bytes(b"N\0\x01b\0\0\0\0").0).is_err(),
            "binary was not asked for"
        );
    }
}
