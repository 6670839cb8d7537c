//! A statement whose rows are a table: what it is in SQL, and whether its columns can be told apart.
//!
//! In: `query` of a source file.  Out: the statement without what stands behind its end, also as a table of another statement.
//! Whether it only reads is for the server to say: it prepares the statement alone, which takes no second one, then as a table of another
//! one, which takes nothing but a `SELECT`, and runs it in a transaction that is read only.
//! Never here: columns and types (`mysql_query`, `postgres_query`).
//! Start at [`Query::of`].

use domain::Dialect;

use crate::{ConnectError, ExtractRequest};

/// What the server knows the rows by, inside other statements.
const NAME: &str = "montauk_query";
/// What to do about a statement that the server does not take.
const CORRECT: &str =
    "correct `query` in the source file: one SELECT that only reads, of tables that the user of `url` may read";

/// A statement whose rows are a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    /// As it is sent.
    pub(crate) text: String,
    /// `source.table`, as people know it.
    pub(crate) shown: String,
}

impl Query {
    /// The statement of a request; `None` when it names a table.
    pub(crate) fn of(request: &ExtractRequest, dialect: Dialect) -> Option<Self> {
        let text = request.query.as_deref()?;
        Some(Self::new(format!("{}.{}", request.source, request.table), text, dialect))
    }

    pub(crate) fn new(shown: String, text: &str, dialect: Dialect) -> Self {
        Self { text: without_end(text, dialect).to_owned(), shown }
    }

    /// The statement where another one has a table.
    pub(crate) fn as_table(&self) -> String {
        // A comment in the last line must not take the parenthesis with it.
        format!("(\n{}\n) AS {NAME}", self.text)
    }

    /// The server, or this room, does not take the statement.
    pub(crate) fn refused(&self, server: &str, reason: String) -> ConnectError {
        self.bad(server, reason, CORRECT.to_owned())
    }

    fn bad(&self, server: &str, reason: String, next: String) -> ConnectError {
        ConnectError::BadQuery { table: self.shown.clone(), server: server.to_owned(), reason, next }
    }

    /// Refuses what answers without columns, and columns that cannot be told apart. With each name, whether somebody has given it.
    pub(crate) fn check_names(&self, server: &str, names: &[(&str, bool)]) -> Result<(), ConnectError> {
        if names.is_empty() {
            return Err(self.refused(server, "it answers without columns".to_owned()));
        }
        for (at, (name, is_named)) in names.iter().enumerate() {
            if !is_named {
                let next = format!("name it in `query` of the source file: `{name} AS …`");
                return Err(self.bad(server, format!("column {} has no name but `{name}`", at + 1), next));
            }
            if names[..at].iter().any(|(before, _)| before == name) {
                let next = format!("give one of them another name in `query` of the source file: `… AS other_{name}`");
                return Err(self.bad(server, format!("two of its columns are called `{name}`"), next));
            }
        }
        Ok(())
    }

    /// Refuses a statement with places for values.
    pub(crate) fn refuse_values(&self, server: &str, place: &str) -> ConnectError {
        let next = format!("write the value itself where `query` of the source file has `{place}`");
        self.bad(server, format!("it has places for values (`{place}`), and nobody gives them"), next)
    }
}

/// The statement without the semicolons, comments and spaces behind it.
fn without_end(text: &str, dialect: Dialect) -> &str {
    let bytes = text.as_bytes();
    let (mut at, mut end) = (0, 0);
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match gap(rest, dialect) {
            Some(length) => at += length,
            None => {
                at += token(&bytes[..at], rest, dialect).min(rest.len());
                end = at;
            }
        }
    }
    &text[..end]
}

/// Bytes of a space, semicolon or comment at the beginning of `rest`.
fn gap(rest: &[u8], dialect: Dialect) -> Option<usize> {
    let is_mysql = dialect == Dialect::MySql;
    let line = || rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    match rest {
        [b';', ..] => Some(1),
        [first, ..] if first.is_ascii_whitespace() => Some(1),
        [b'#', ..] if is_mysql => Some(line()),
        // For MySQL two dashes begin a comment only before a space.
        [b'-', b'-'] => Some(2),
        [b'-', b'-', next, ..] if !is_mysql || next.is_ascii_whitespace() || next.is_ascii_control() => Some(line()),
        // MySQL runs what stands in these.
        [b'/', b'*', b'!', ..] | [b'/', b'*', b'M', b'!', ..] if is_mysql => None,
        [b'/', b'*', ..] => Some(block(rest, !is_mysql)),
        _ => None,
    }
}

/// Bytes of a `/* … */`; in PostgreSQL one may stand inside another.
fn block(rest: &[u8], is_nested: bool) -> usize {
    let (mut at, mut depth) = (2, 1);
    while depth > 0 {
        match rest.get(at..at + 2) {
            Some(b"*/") => (at, depth) = (at + 2, depth - 1),
            Some(b"/*") if is_nested => (at, depth) = (at + 2, depth + 1),
            Some(_) => at += 1,
            None => return rest.len(),
        }
    }
    at
}

/// Bytes of a quoted text, or 1 for anything else.
fn token(before: &[u8], rest: &[u8], dialect: Dialect) -> usize {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii();
    match (rest[0], dialect) {
        (quote @ (b'\'' | b'"'), Dialect::MySql) => quoted(rest, quote, true),
        (b'`', Dialect::MySql) => quoted(rest, b'`', false),
        (b'\'', Dialect::Standard) => {
            let is_alone = before.len() < 2 || !is_word(&before[before.len() - 2]);
            quoted(rest, b'\'', is_alone && matches!(before.last(), Some(b'e' | b'E')))
        }
        (b'"', Dialect::Standard) => quoted(rest, b'"', false),
        (b'$', Dialect::Standard) if !before.last().is_some_and(is_word) => dollar(rest).unwrap_or(1),
        _ => 1,
    }
}

/// Bytes up to the closing quote. A doubled one closes and opens again.
fn quoted(rest: &[u8], quote: u8, has_backslash: bool) -> usize {
    let mut at = 1;
    while let Some(byte) = rest.get(at) {
        match *byte {
            b'\\' if has_backslash => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Bytes of `$tag$ … $tag$`.
fn dollar(rest: &[u8]) -> Option<usize> {
    let inside = rest.get(1..)?;
    let length = inside.iter().position(|byte| *byte == b'$')? + 2;
    let tag = &rest[..length];
    let is_tag =
        tag[1..length - 1].iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii());
    let starts_well = !tag[1].is_ascii_digit();
    let close = rest[length..].windows(length).position(|window| window == tag)?;
    (is_tag && starts_well).then_some(length + close + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_the_end_is_left_out() {
        for (written, wanted) in [
            ("select 1", "select 1"),
            (" select 1 ;; \n", " select 1"),
            ("select 1; -- the end; really", "select 1"),
            ("select 1 -- no; \n /* or; */;", "select 1"),
            ("select ';' ; --", "select ';'"),
            ("select '--'", "select '--'"),
            ("select 'it''s; '; /* x", "select 'it''s; '"),
            ("select 1; select 2;", "select 1; select 2"),
            ("select '가';", "select '가'"),
            ("", ""),
        ] {
            assert_eq!(without_end(written, Dialect::MySql), wanted, "{written}");
            assert_eq!(without_end(written, Dialect::Standard), wanted, "{written}");
        }
    }

    #[test]
    fn each_server_has_its_own_quotes_and_comments() {
        for (written, wanted) in [
            ("select 'a\\';' ; # end", "select 'a\\';'"),
            ("select `a;`; ", "select `a;`"),
            ("select 5--1;", "select 5--1"),
            ("select 1 /*! + 1 */;", "select 1 /*! + 1 */"),
        ] {
            assert_eq!(without_end(written, Dialect::MySql), wanted, "{written}");
        }
        for (written, wanted) in [
            ("select 'a\\' ; -- '", "select 'a\\'"),
            ("select e'a\\';' ;", "select e'a\\';'"),
            ("select $x$;$$;$x$ ; ", "select $x$;$$;$x$"),
            ("select $$;$$;", "select $$;$$"),
            ("select a$1;", "select a$1"),
            ("select 1 /* a /* b */ ; */;", "select 1"),
        ] {
            assert_eq!(without_end(written, Dialect::Standard), wanted, "{written}");
        }
    }
}
