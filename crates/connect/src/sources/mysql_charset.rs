//! Text in the character sets of MySQL and MariaDB, made UTF-8 exactly as the server makes it.
//!
//! In: the name of a character set, bytes.  Out: UTF-8.
//! In the log, text stands as it is stored. What a byte means is asked of the server, once for each character set of a table: its tables
//! differ from those that programs share (in its `sjis`, 81 5F is a backslash), and a `SELECT` goes by the server's.
//! Never here: which column has which character set (`mysql_log_values`).
//! Start at [`Charset::load`].

use std::collections::HashMap;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};

/// What stands for a character that UTF-8 does not have, and for bytes that are none: the server's own choice.
const UNKNOWN: &str = "?";

/// How the bytes of a text are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Charset {
    /// UTF-8 already.
    Utf8,
    Utf16 {
        is_little_endian: bool,
    },
    Utf32,
    Listed(Listed),
}

/// Characters as the server lists them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Listed {
    one: Vec<Option<String>>,
    two: HashMap<[u8; 2], String>,
    /// Three bytes, of which the first is always [`THREE`].
    three: HashMap<[u8; 2], String>,
}

/// Begins the characters of three bytes in both character sets that have them (`ujis`, `eucjpms`).
const THREE: u8 = 0x8F;

impl Charset {
    /// Asks the server about a character set; `None` when it is one that cannot be read here.
    pub(super) async fn load(connection: &mut Conn, name: &str) -> Result<Option<Self>, Error> {
        let known = match name {
            "utf8mb4" | "utf8mb3" | "utf8" => Some(Self::Utf8),
            "ucs2" | "utf16" => Some(Self::Utf16 { is_little_endian: false }),
            "utf16le" => Some(Self::Utf16 { is_little_endian: true }),
            "utf32" => Some(Self::Utf32),
            _ => None,
        };
        // The name goes into statements below.
        if known.is_some() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Ok(known);
        }
        let select = "SELECT MAXLEN FROM information_schema.CHARACTER_SETS WHERE CHARACTER_SET_NAME = ?";
        let longest: Option<u32> = connection.exec_first(select, (name,)).await?;
        let mut listed = Listed::default();
        let Some(longest @ 1..=3) = longest else { return Ok(None) };
        let single = select_characters("l.n", name, "b l");
        let found: Vec<(u8, u8, Option<Vec<u8>>)> = connection.query(single).await?;
        listed.one = vec![None; 256];
        for (_, byte, text) in found {
            let text = character(text.as_deref()).filter(|text| text != UNKNOWN || byte == b'?');
            listed.one[usize::from(byte)] = text;
        }
        if longest >= 2 {
            listed.two = pairs(connection, &select_characters("h.n, l.n", name, "b h JOIN b l ON h.n > 127")).await?;
        }
        if longest == 3 {
            let select =
                select_characters(&format!("{THREE}, h.n, l.n"), name, "b h JOIN b l ON h.n > 127 AND l.n > 127");
            listed.three = pairs(connection, &select).await?;
        }
        Ok(Some(Self::Listed(listed)))
    }

    /// The text as UTF-8. Bytes that are already so are not looked at: who takes them checks them.
    pub(super) fn decode(&self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Utf8 => bytes.to_vec(),
            Self::Utf16 { is_little_endian } => {
                let unit = |pair: &[u8; 2]| {
                    if *is_little_endian { u16::from_le_bytes(*pair) } else { u16::from_be_bytes(*pair) }
                };
                let (pairs, _) = bytes.as_chunks::<2>();
                let characters = char::decode_utf16(pairs.iter().map(unit));
                characters.map(|character| character.unwrap_or('?')).collect::<String>().into_bytes()
            }
            Self::Utf32 => {
                let (words, _) = bytes.as_chunks::<4>();
                let characters = words.iter().map(|word| char::from_u32(u32::from_be_bytes(*word)).unwrap_or('?'));
                characters.collect::<String>().into_bytes()
            }
            Self::Listed(listed) => listed.decode(bytes),
        }
    }
}

impl Listed {
    fn decode(&self, mut bytes: &[u8]) -> Vec<u8> {
        let mut text = Vec::with_capacity(bytes.len() * 2);
        while let Some((first, rest)) = bytes.split_first() {
            let (found, taken) = if let Some(Some(character)) = self.one.get(usize::from(*first)) {
                (Some(character), 1)
            } else if let (THREE, false, [second, third, ..]) = (*first, self.three.is_empty(), rest) {
                (self.three.get(&[*second, *third]), 3)
            } else if let [second, ..] = rest {
                (self.two.get(&[*first, *second]), 2)
            } else {
                (None, 1)
            };
            let taken = if found.is_some() { taken } else { 1 };
            text.extend_from_slice(found.map_or(UNKNOWN, String::as_str).as_bytes());
            bytes = &bytes[taken..];
        }
        text
    }
}

/// `SELECT` of all characters of the bytes `of`, which are made of `h.n` and `l.n`. Answers both and the text in UTF-8.
fn select_characters(of: &str, charset: &str, from: &str) -> String {
    let high = if from.contains("b h") { "h.n" } else { "0" };
    format!(
        "WITH RECURSIVE b(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM b WHERE n < 255) \
         SELECT {high}, l.n, CONVERT(CONVERT(CHAR({of}) USING {charset}) USING utf8mb4) FROM {from}"
    )
}

async fn pairs(connection: &mut Conn, select: &str) -> Result<HashMap<[u8; 2], String>, Error> {
    let found: Vec<(u8, u8, Option<Vec<u8>>)> = connection.query(select).await?;
    Ok(found.into_iter().filter_map(|(high, low, text)| Some(([high, low], character(text.as_deref())?))).collect())
}

/// The text when it is one character: bytes that are none come back as one sign each.
fn character(text: Option<&[u8]>) -> Option<String> {
    let text = std::str::from_utf8(text?).ok()?;
    (text.chars().count() == 1).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_server_become_utf8() {
        let mut one = vec![None; 256];
        one[0x61] = Some("a".to_owned());
        let listed = Listed {
            one,
            two: HashMap::from([([0x82, 0xA0], "あ".to_owned())]),
            three: HashMap::from([([0xA2, 0xAF], "˘".to_owned())]),
        };
        let text = Charset::Listed(listed).decode(&[0x61, 0x82, 0xA0, THREE, 0xA2, 0xAF, 0xFF, 0x61, 0x82]);
        assert_eq!(String::from_utf8(text).unwrap(), "aあ˘?a?");
        let utf16 = Charset::Utf16 { is_little_endian: true };
        assert_eq!(String::from_utf8(utf16.decode(&[0x3D, 0xD8, 0x00, 0xDE])).unwrap(), "😀");
        assert_eq!(String::from_utf8(Charset::Utf32.decode(&[0, 1, 0xF6, 0])).unwrap(), "😀");
    }
}
