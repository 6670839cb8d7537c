//! What a statement in a binlog means for the rows of one table.
//!
//! In: the text of a statement as the server logged it.  Out: a [`Meaning`].
//! Rows are logged as rows; statements are there for definitions, for the ends of transactions, and from sessions that log statements
//! instead of rows. This does not parse SQL: it looks for the table's name among the words. Where it errs, it says that the table is
//! concerned, which costs reading the table, and no row.
//! Never here: what is done about it (`mysql_log`).
//! Start at [`meaning`].

use super::mysql_log_events::Query;

/// What a statement does to a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing.
    Nothing,
    /// A transaction begins.
    Begin,
    /// A transaction, or a part of it, is taken back: rows that were logged before do not count.
    Rollback,
    /// The rows of an XA transaction end here; its name follows.
    XaEnd(String),
    XaCommit(String),
    XaRollback(String),
    /// It may define the table anew, or empty it.
    Defines,
    /// It changes rows, of whichever tables, and the log does not say which: triggers, views and functions have other names.
    ChangesRows,
}

/// The table that statements are searched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) database: String,
    pub(super) table: String,
}

/// First words of statements that change neither rows nor definitions.
const HARMLESS: [&str; 14] = [
    "commit",
    "savepoint",
    "release",
    "set",
    "grant",
    "revoke",
    "analyze table",
    "analyze local",
    "analyze no_write_to_binlog",
    "optimize",
    "flush",
    "check",
    "rename user",
    "kill",
];
/// What `CREATE`, `ALTER` and `DROP` can be about; those marked `true` can change a table.
const OBJECTS: [(&str, bool); 16] = [
    ("table", true),
    ("database", true),
    ("schema", true),
    ("tablespace", true),
    ("view", false),
    ("trigger", false),
    ("procedure", false),
    ("function", false),
    ("package", false),
    ("event", false),
    ("index", false),
    ("sequence", false),
    ("user", false),
    ("role", false),
    ("server", false),
    ("resource", false),
];

/// What `query` means for the table.
pub(super) fn meaning(query: &Query<'_>, names: &Names) -> Meaning {
    meaning_of(&String::from_utf8_lossy(query.text), &String::from_utf8_lossy(query.database), names)
}

fn meaning_of(text: &str, database: &str, names: &Names) -> Meaning {
    let text = &without_comments(text);
    let words = words(text);
    let first = words.first().map(|word| word.text.to_lowercase()).unwrap_or_default();
    let second = words.get(1).map(|word| word.text.to_lowercase()).unwrap_or_default();
    let is_about = |object: &str| object == first || object == format!("{first} {second}");
    match first.as_str() {
        "" => Meaning::Nothing,
        "begin" => Meaning::Begin,
        "start" if second == "transaction" => Meaning::Begin,
        "rollback" => Meaning::Rollback,
        "xa" => {
            let name = text.splitn(3, char::is_whitespace).nth(2).unwrap_or_default().trim().to_owned();
            match second.as_str() {
                "end" => Meaning::XaEnd(name),
                "commit" => Meaning::XaCommit(name),
                "rollback" => Meaning::XaRollback(name),
                _ => Meaning::Begin,
            }
        }
        // `SET STATEMENT variable = value FOR …` of MariaDB is the statement that follows.
        "set" if second == "statement" => {
            let inner = words.iter().filter(|word| word.text.eq_ignore_ascii_case("for"));
            let mut found = inner.map(|word| meaning_of(&text[word.end..], database, names));
            found.find(|meaning| *meaning != Meaning::Nothing).unwrap_or(Meaning::Nothing)
        }
        _ if HARMLESS.iter().any(|harmless| is_about(harmless)) => Meaning::Nothing,
        "create" | "alter" | "drop" => {
            let object = words.iter().find_map(|word| {
                OBJECTS
                    .iter()
                    .find(|(object, _)| word.text.eq_ignore_ascii_case(object))
                    .map(|(object, can)| (*object, *can))
            });
            match object {
                Some((_, false)) => Meaning::Nothing,
                Some(("database" | "schema", _)) => defines(first == "drop" && has_word(text, &words, &names.database)),
                // What a new table is made from stays as it is.
                Some(("table", _)) if first == "create" => defines(is_named(text, created(&words), database, names)),
                Some(_) | None => defines(is_named(text, &words, database, names)),
            }
        }
        "truncate" | "rename" => defines(is_named(text, &words, database, names)),
        // A server that starts empties its tables in memory, and says so for each by its full name.
        "delete" if second == "from" && words.len() == 4 => defines(is_named(text, &words, database, names)),
        "analyze" | "insert" | "update" | "delete" | "replace" | "load" | "select" | "call" | "do" | "with"
        | "merge" => Meaning::ChangesRows,
        _ => defines(is_named(text, &words, database, names)),
    }
}

/// The name in `CREATE OR REPLACE TABLE IF NOT EXISTS database.name …`.
fn created<'a, 'b>(words: &'b [Word<'a>]) -> &'b [Word<'a>] {
    let is = |word: &Word<'_>, other: &str| word.text.eq_ignore_ascii_case(other);
    let start = words.iter().position(|word| is(word, "table")).map_or(0, |at| at + 1);
    let after = words.get(start..).unwrap_or_default();
    let skipped = after.iter().zip(["if", "not", "exists"]).take_while(|(word, other)| is(word, other)).count();
    let name = after.get(skipped..).unwrap_or_default();
    let length = if name.get(1).is_some_and(|second| second.follows_dot) { 2 } else { 1 };
    name.get(..length).unwrap_or(name)
}

fn defines(is_concerned: bool) -> Meaning {
    if is_concerned { Meaning::Defines } else { Meaning::Nothing }
}

/// A word, where it ends, and whether a dot ties it to the one before.
struct Word<'a> {
    text: &'a str,
    end: usize,
    follows_dot: bool,
}

/// The text with spaces for its comments; what servers run although it looks like one (`/*!`, `/*M!`) stays.
fn without_comments(text: &str) -> String {
    let mut bare = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_run = rest.starts_with("/*!") || rest.starts_with("/*M!");
        let is_line = rest.starts_with('#')
            || rest.strip_prefix("--").is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        let (length, is_comment) = match first {
            '\'' | '"' | '`' => (quoted_length(rest, first), false),
            '/' if rest.starts_with("/*") && !is_run => (rest.find("*/").map_or(rest.len(), |end| end + 2), true),
            _ if is_line => (rest.find('\n').unwrap_or(rest.len()), true),
            _ => (first.len_utf8(), false),
        };
        let (part, after) = rest.split_at(length);
        // As long as it was, so that places stay what they are.
        if is_comment {
            bare.extend(std::iter::repeat_n(' ', length))
        } else {
            bare.push_str(part)
        }
        rest = after;
    }
    bare
}

/// Bytes of a quoted text with its quotes; a quote is doubled inside, or in a string after a backslash.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        if is_escaped {
            is_escaped = false;
        } else if letter == '\\' && quote != '`' {
            is_escaped = true;
        } else if letter == quote {
            return at + 1;
        }
    }
    text.len()
}

/// All words, also those in strings.
fn words(text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut between_from = 0;
    let mut rest = text;
    let mut place = 0;
    while let Some(start) = rest.find(is_of_word) {
        let end = rest[start..].find(|c| !is_of_word(c)).map_or(rest.len(), |length| start + length);
        let between = &text[between_from..place + start];
        let is_dot = |c: char| c == '.' || c.is_whitespace() || matches!(c, '`' | '"');
        words.push(Word {
            text: &rest[start..end],
            end: place + end,
            follows_dot: between.contains('.') && between.chars().all(is_dot),
        });
        place += end;
        between_from = place;
        rest = &rest[end..];
    }
    words
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$') || !c.is_ascii()
}

/// Whether the name stands anywhere in the text, as a word if it is one.
fn has_word(text: &str, words: &[Word<'_>], name: &str) -> bool {
    let name = name.to_lowercase();
    if name.chars().all(is_of_word) {
        // What is not UTF-8 may be any name that is not ASCII.
        let is_unclear = !name.is_ascii() && text.contains(char::REPLACEMENT_CHARACTER);
        return is_unclear || words.iter().any(|word| word.text.to_lowercase() == name);
    }
    text.to_lowercase().contains(&name)
}

/// Whether the table is named, in its database or in the one of the statement.
fn is_named(text: &str, words: &[Word<'_>], database: &str, names: &Names) -> bool {
    let is_plain = names.table.chars().all(is_of_word) && names.database.chars().all(is_of_word);
    if !is_plain || !names.table.is_ascii() {
        return has_word(text, words, &names.table);
    }
    words.iter().enumerate().any(|(at, word)| {
        let owner = if word.follows_dot && at > 0 { words[at - 1].text } else { database };
        word.text.eq_ignore_ascii_case(&names.table) && owner.to_lowercase() == names.database.to_lowercase()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(database: &str, text: &str) -> Meaning {
        let names = Names { database: "shop".to_owned(), table: "orders".to_owned() };
        meaning(&Query { database: database.as_bytes(), text: text.as_bytes() }, &names)
    }

    #[test]
    fn definitions_of_the_table_are_found() {
        for text in [
            "ALTER TABLE orders ADD x INT",
            "/* app */ alter table `orders` add x int",
            "TRUNCATE orders",
            "TRUNCATE TABLE `shop` . `orders`",
            "DROP TABLE IF EXISTS lines, Orders",
            "RENAME TABLE other.orders TO shop.orders",
            "CREATE OR REPLACE TABLE orders (a INT)",
            "CREATE TABLE IF NOT EXISTS `shop`.`orders` (a INT)",
            "DROP DATABASE `shop`",
            "DELETE FROM `shop`.`orders`",
            "SET STATEMENT max_statement_time = 9 FOR ALTER TABLE orders FORCE",
            "/*!100001 START ALTER 7 */ ALTER TABLE orders FORCE",
            "/* release 42 */ TRUNCATE TABLE orders",
            "ALTER /* user */ TABLE orders ADD x INT",
            "-- check\nALTER TABLE orders ADD x INT",
            "# set\nALTER TABLE `shop`.`orders` COMMENT 'it''s /* here'",
        ] {
            assert_eq!(of("shop", text), Meaning::Defines, "{text}");
        }
        assert_eq!(of("other", "ALTER TABLE shop.orders FORCE"), Meaning::Defines);
    }

    #[test]
    fn other_statements_are_left_alone() {
        for text in [
            "ALTER TABLE orders_old ADD x INT",
            "CREATE TABLE other.orders (a INT)",
            "CREATE TRIGGER t BEFORE INSERT ON orders FOR EACH ROW SET @a = 1",
            "CREATE ALGORITHM=UNDEFINED DEFINER=`a`@`b` SQL SECURITY DEFINER VIEW `v` AS SELECT 1 FROM `orders`",
            "CREATE INDEX i ON orders (a)",
            "GRANT SELECT ON shop.orders TO u",
            "ANALYZE TABLE orders",
            "CREATE TABLE copy LIKE orders",
            "CREATE TABLE if not exists shop.copy AS SELECT * FROM orders",
            "OPTIMIZE TABLE orders",
            "DROP DATABASE other",
            "CREATE DATABASE shop",
            "DELETE FROM `shop`.`sessions`",
            "# Dummy",
            "",
        ] {
            assert_eq!(of("shop", text), Meaning::Nothing, "{text}");
        }
        assert_eq!(of("other", "ALTER TABLE orders FORCE"), Meaning::Nothing);
    }

    #[test]
    fn transactions_have_ends() {
        assert_eq!(of("", "BEGIN"), Meaning::Begin);
        assert_eq!(of("", "ROLLBACK TO `s`"), Meaning::Rollback);
        assert_eq!(of("", "XA START X'61',X'',1"), Meaning::Begin);
        assert_eq!(of("", "XA END X'61',X'',1"), Meaning::XaEnd("X'61',X'',1".to_owned()));
        assert_eq!(of("", "XA COMMIT X'61',X'',1"), Meaning::XaCommit("X'61',X'',1".to_owned()));
        assert_eq!(of("shop", "insert into v values (1)"), Meaning::ChangesRows);
        for text in [
            "DELETE FROM v WHERE a = 1",
            "ANALYZE UPDATE v SET a = 1",
            "set statement x='for' for insert into v values (1)",
        ] {
            assert_eq!(of("shop", text), Meaning::ChangesRows, "{text}");
        }
    }

    #[test]
    fn unusual_names_are_searched_for_as_they_are() {
        let names = Names { database: "my-shop".to_owned(), table: "Bestell ungen".to_owned() };
        let text = "ALTER TABLE `my-shop`.`bestell ungen` FORCE";
        assert_eq!(meaning(&Query { database: b"", text: text.as_bytes() }, &names), Meaning::Defines);
        let names = Names { database: "shop".to_owned(), table: "größe".to_owned() };
        let latin1 = Query { database: b"shop", text: b"ALTER TABLE gr\xF6\xDFe FORCE" };
        assert_eq!(meaning(&latin1, &names), Meaning::Defines);
    }
}
