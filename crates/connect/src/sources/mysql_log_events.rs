//! The events of a binlog, as far as changes of rows need them.
//!
//! In: the bytes of an event, without header and checksum.  Out: table maps, rows, statements, transaction marks.
//! Only bytes: what is in a cell is not known here. A length that does not fit makes `None`, never a panic.
//! Sources: MySQL internals, "Binlog event structures"; MariaDB, "Replication protocol", for the types from 160.
//! Never here: the meaning of a statement (`mysql_log_words`), values (`mysql_log_values`), the stream (`mysql_log`).
//! Start at [`TableMap::parse`] and [`RowsEvent::parse`].

use std::io::Read as _;

/// Types of events, as the header names them.
pub(super) mod kind {
    pub(crate) const QUERY: u8 = 2;
    pub(crate) const ROTATE: u8 = 4;
    pub(crate) const DESCRIPTION: u8 = 15;
    pub(crate) const XID: u8 = 16;
    pub(crate) const EXECUTE_LOAD_QUERY: u8 = 18;
    pub(crate) const TABLE_MAP: u8 = 19;
    pub(crate) const INCIDENT: u8 = 26;
    pub(crate) const HEARTBEAT: u8 = 27;
    pub(crate) const MYSQL_GTID: u8 = 33;
    pub(crate) const MYSQL_ANONYMOUS_GTID: u8 = 34;
    pub(crate) const XA_PREPARE: u8 = 38;
    /// MySQL: changes inside of JSON documents.
    pub(crate) const PARTIAL_UPDATE: u8 = 39;
    /// MySQL: a whole transaction, compressed.
    pub(crate) const TRANSACTION_PAYLOAD: u8 = 40;
    pub(crate) const MYSQL_TAGGED_GTID: u8 = 42;
    pub(crate) const MARIADB_GTID: u8 = 162;
    /// MariaDB: a statement whose text is compressed.
    pub(crate) const QUERY_COMPRESSED: u8 = 165;
    /// MariaDB: rows that are compressed.
    pub(crate) const ROWS_COMPRESSED: std::ops::RangeInclusive<u8> = 166..=171;
    /// Says nothing about rows: starts and stops of logs, random seeds and variables of statements, comments, lists of GTIDs, checkpoints.
    pub(crate) const SILENT: &[u8] =
        &[3, 5, 7, 9, 10, 11, 13, 14, DESCRIPTION, 17, 28, 29, 35, 36, 37, 160, 161, 163, 164];
}

/// Mark of a MariaDB transaction that is only prepared: an XA transaction, whose end comes in another one.
const PREPARED_XA: u8 = 64;
/// MariaDB's and MySQL's types that the metadata of a table map has two bytes for.
const TWO_BYTES: [u8; 7] = [15, 16, 141, 246, 247, 248, 254];
/// … and one byte.
const ONE_BYTE: [u8; 13] = [4, 5, 17, 18, 19, 140, 242, 245, 249, 250, 251, 252, 255];
/// A type whose first byte of metadata says what it really is.
pub(super) const STRING: u8 = 254;
pub(super) const ENUM: u8 = 247;
pub(super) const SET: u8 = 248;

/// Reads bytes from the front.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// A number of so many bytes, the lowest first.
    pub(super) fn number(&mut self, bytes: usize) -> Option<u64> {
        Some(self.take(bytes)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// A number of one to nine bytes: below 251 in one, otherwise the first says how many follow.
    fn length(&mut self) -> Option<usize> {
        let number = match self.byte()? {
            small @ 0..=250 => u64::from(small),
            252 => self.number(2)?,
            253 => self.number(3)?,
            254 => self.number(8)?,
            251 | 255 => return None,
        };
        usize::try_from(number).ok()
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }
}

/// The names at the start of a table map: number, database, table.
pub(super) fn map_names(data: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let mut bytes = Bytes(data);
    let (table_id, _flags) = (bytes.number(6)?, bytes.take(2)?);
    let (database, table) = names(&mut bytes)?;
    Some((table_id, database, table))
}

fn names<'a>(bytes: &mut Bytes<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let length = bytes.byte()?;
    let database = bytes.take(usize::from(length))?;
    bytes.byte()?;
    let length = bytes.byte()?;
    let table = bytes.take(usize::from(length))?;
    bytes.byte()?;
    Some((database, table))
}

/// A column as the log describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MappedColumn {
    /// The type; what it really is, for [`STRING`].
    pub(super) code: u8,
    /// What belongs to the type: lengths, digits.
    pub(super) meta: [u8; 2],
    /// Empty when the server does not log names.
    pub(super) name: String,
    /// Of ENUM and SET, in the column's character set.
    pub(super) labels: Vec<Vec<u8>>,
}

/// What the rows that follow look like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TableMap {
    pub(super) columns: Vec<MappedColumn>,
}

impl TableMap {
    pub(super) fn parse(data: &[u8]) -> Option<Self> {
        let mut bytes = Bytes(data);
        bytes.take(8)?;
        names(&mut bytes)?;
        let count = bytes.length()?;
        let codes = bytes.take(count)?;
        let mut metas = Bytes(bytes.text()?);
        let mut columns = Vec::with_capacity(count);
        for code in codes {
            let meta = match *code {
                code if TWO_BYTES.contains(&code) => metas.take(2).map(|meta| [meta[0], meta[1]])?,
                code if ONE_BYTE.contains(&code) => [metas.byte()?, 0],
                _ => [0, 0],
            };
            // ENUM and SET are logged as STRING, and the first byte of a long CHAR lends two bits to its length.
            let code = match (*code, meta[0]) {
                (STRING, real @ (ENUM | SET)) => real,
                (code, _) => code,
            };
            columns.push(MappedColumn { code, meta, name: String::new(), labels: Vec::new() });
        }
        bytes.take(count.div_ceil(8))?;
        let mut map = Self { columns };
        map.read_optional(bytes)?;
        Some(map)
    }

    /// Names and labels, which are there with `binlog_row_metadata = FULL`.
    fn read_optional(&mut self, mut bytes: Bytes<'_>) -> Option<()> {
        while !bytes.0.is_empty() {
            let (field, mut value) = (bytes.byte()?, Bytes(bytes.text()?));
            match field {
                4 => {
                    for column in &mut self.columns {
                        column.name = String::from_utf8_lossy(value.text()?).into_owned();
                    }
                }
                5 | 6 => {
                    let wanted = if field == 5 { SET } else { ENUM };
                    for column in self.columns.iter_mut().filter(|column| column.code == wanted) {
                        let count = value.length()?;
                        column.labels = (0..count).map(|_| value.text().map(<[u8]>::to_vec)).collect::<Option<_>>()?;
                    }
                }
                _ => {}
            }
        }
        Some(())
    }
}

/// What an event does to its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Insert,
    /// Each row is there twice: as it was, and as it is.
    Update,
    Delete,
}

/// Rows of one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowsEvent<'a> {
    pub(super) table_id: u64,
    pub(super) change: Change,
    pub(super) columns: usize,
    /// Whether every column is there, in all rows.
    pub(super) is_whole: bool,
    pub(super) rows: &'a [u8],
}

impl<'a> RowsEvent<'a> {
    /// What the event of this type does, and whether its head has extra data; `None` for other types.
    pub(super) fn change_of(event_type: u8) -> Option<(Change, bool)> {
        match event_type {
            23 | 166 => Some((Change::Insert, false)),
            24 | 167 => Some((Change::Update, false)),
            25 | 168 => Some((Change::Delete, false)),
            30 | 169 => Some((Change::Insert, true)),
            31 | 170 => Some((Change::Update, true)),
            32 | 171 => Some((Change::Delete, true)),
            _ => None,
        }
    }

    pub(super) fn parse(event_type: u8, data: &'a [u8]) -> Option<Self> {
        let (change, has_extra) = Self::change_of(event_type)?;
        let mut bytes = Bytes(data);
        let table_id = bytes.number(6)?;
        bytes.take(2)?;
        if has_extra {
            let extra = usize::try_from(bytes.number(2)?).ok()?;
            bytes.take(extra.checked_sub(2)?)?;
        }
        let columns = bytes.length()?;
        let images = if change == Change::Update { 2 } else { 1 };
        let mut is_whole = true;
        for _ in 0..images {
            let present = bytes.take(columns.div_ceil(8))?;
            is_whole &= (0..columns).all(|at| is_set(present, at));
        }
        Some(Self { table_id, change, columns, is_whole, rows: bytes.0 })
    }
}

/// The bit of a column.
pub(super) fn is_set(bits: &[u8], at: usize) -> bool {
    bits.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1)
}

/// A statement, with the database it was run in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Query<'a> {
    pub(super) database: &'a [u8],
    pub(super) text: &'a [u8],
}

impl<'a> Query<'a> {
    pub(super) fn parse(event_type: u8, data: &'a [u8]) -> Option<Self> {
        let mut bytes = Bytes(data);
        bytes.take(8)?;
        let name = usize::from(bytes.byte()?);
        bytes.take(2)?;
        let variables = usize::try_from(bytes.number(2)?).ok()?;
        if event_type == kind::EXECUTE_LOAD_QUERY {
            bytes.take(13)?;
        }
        bytes.take(variables)?;
        let database = bytes.take(name)?;
        bytes.byte()?;
        Some(Self { database, text: bytes.0 })
    }
}

/// Where the log goes on: file, offset.
pub(super) fn rotation(data: &[u8]) -> Option<(String, u64)> {
    let mut bytes = Bytes(data);
    let offset = bytes.number(8)?;
    Some((String::from_utf8_lossy(bytes.0).into_owned(), offset))
}

/// What MariaDB's `log_bin_compress` made of `packed`: a mark with the number of bytes of the length, the length, zlib.
pub(super) fn inflate(packed: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Bytes(packed);
    let mark = bytes.byte()?;
    let is_zlib = mark & 0xF0 == 0x80;
    let length = bytes.take(usize::from(mark & 7)).filter(|_| is_zlib)?;
    let length = length.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let mut plain = Vec::new();
    // One byte more would show that the length is wrong, and no more than that is made.
    flate2::read::ZlibDecoder::new(bytes.0).take(length + 1).read_to_end(&mut plain).ok()?;
    (plain.len() as u64 == length).then_some(plain)
}

/// Whether a MariaDB GTID begins an XA transaction that is only prepared.
pub(super) fn begins_prepared(data: &[u8]) -> bool {
    data.get(12).is_some_and(|flags| flags & PREPARED_XA != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_map_names_its_columns() {
        let mut data = vec![9, 0, 0, 0, 0, 0, 1, 0, 1, b'd', 0, 1, b't', 0];
        data.extend([3, 3, 254, 15, 4, 247, 1, 40, 0, 0b110]);
        data.extend([4, 8, 2, b'i', b'd', 1, b'e', 2, 0xC3, 0xA4]);
        data.extend([6, 5, 2, 1, b'x', 1, b'y']);
        assert_eq!(map_names(&data), Some((9, b"d".as_slice(), b"t".as_slice())));
        let map = TableMap::parse(&data).unwrap();
        let shown: Vec<_> = map.columns.iter().map(|column| (column.code, column.meta, column.name.as_str())).collect();
        assert_eq!(shown, [(3, [0, 0], "id"), (ENUM, [247, 1], "e"), (15, [40, 0], "ä")]);
        assert_eq!(map.columns[1].labels, [b"x".to_vec(), b"y".to_vec()]);
        for end in 0..data.len() {
            // Cut anywhere, it is unreadable or has no optional part; it never panics.
            let _ = (map_names(&data[..end]), TableMap::parse(&data[..end]));
        }
    }

    #[test]
    fn compressed_bytes_must_have_their_length() {
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut zlib, b"rows rows rows").unwrap();
        let zlib = zlib.finish().unwrap();
        let packed = |length: u8| [&[0x81, length], zlib.as_slice()].concat();
        assert_eq!(inflate(&packed(14)).as_deref(), Some(b"rows rows rows".as_slice()));
        assert_eq!((inflate(&packed(13)), inflate(&packed(15)), inflate(&[])), (None, None, None));
    }

    #[test]
    fn rows_say_whether_all_columns_are_there() {
        let data = [7, 0, 0, 0, 0, 0, 1, 0, 3, 0b111, 0b011, 0xAA];
        let rows = RowsEvent::parse(24, &data).unwrap();
        assert_eq!((rows.table_id, rows.change, rows.columns, rows.is_whole), (7, Change::Update, 3, false));
        assert_eq!(rows.rows, [0xAA]);
        let second = [7, 0, 0, 0, 0, 0, 1, 0, 4, 0, 9, 9, 3, 0b111, 0xAA];
        assert!(RowsEvent::parse(30, &second).unwrap().is_whole);
        assert_eq!(RowsEvent::parse(19, &data), None);
    }

    #[test]
    fn statements_know_their_database() {
        let data = [1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 2, 0, 0xFF, 0xFF, b'd', 0, b'x', b'y'];
        assert_eq!(Query::parse(kind::QUERY, &data), Some(Query { database: b"d", text: b"xy" }));
        assert_eq!(Query::parse(kind::QUERY, &data[..10]), None);
    }
}
