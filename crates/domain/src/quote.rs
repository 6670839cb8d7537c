//! The one way in which Montauk writes an identifier into SQL text.
//!
//! In: a name as the source knows it.  Out: the quoted form for a dialect.
//! Never here: values; those are always bound parameters.
//! Start at [`quote_identifier`].

/// Whose quoting rules apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// MySQL and MariaDB: backticks, doubled inside.
    MySql,
    /// PostgreSQL and the SQL standard (DataFusion too): double quotes, doubled inside.
    Standard,
}

/// Quotes `name` so that the dialect reads it back as exactly that name.
///
/// A NUL character is dropped: neither server accepts it inside an identifier.
pub fn quote_identifier(dialect: Dialect, name: &str) -> String {
    let quote = match dialect {
        Dialect::MySql => '`',
        Dialect::Standard => '"',
    };
    let mut quoted = String::with_capacity(name.len() + 2);
    quoted.push(quote);
    for character in name.chars().filter(|character| *character != '\0') {
        if character == quote {
            quoted.push(quote);
        }
        quoted.push(character);
    }
    quoted.push(quote);
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled_per_dialect() {
        assert_eq!(quote_identifier(Dialect::MySql, "a`b\"c"), "`a``b\"c`");
        assert_eq!(quote_identifier(Dialect::Standard, "a`b\"c"), "\"a`b\"\"c\"");
        assert_eq!(quote_identifier(Dialect::Standard, "日本 語"), "\"日本 語\"");
    }
}
