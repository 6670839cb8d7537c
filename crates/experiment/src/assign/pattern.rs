//! Regular expressions of JavaScript on an engine whose time is linear in the text.
//!
//! In: a pattern as `new RegExp(pattern)` reads it (ECMA-262 with annex B, no flag `u`).  Out: whether a text matches; or why the pattern cannot be used.
//! Never here: look-around and back-references, which no linear engine has.
//! Start at [`Pattern::compile`]; the pattern is read by `pattern_parser`.

use std::borrow::Cow;

use regex::{Regex, RegexBuilder};

use super::pattern_parser;

/// More than any pattern that a person writes; each class may become some hundred bytes.
const MAX_PATTERN_UNITS: usize = 4_096;

/// Bytes of a compiled program. `^.{1,255}$` takes about 200 kB; a pattern that repeats repetitions would take gigabytes.
const MAX_PROGRAM_BYTES: usize = 1 << 20;

/// Bytes of the tables that a search builds as it goes; when they are full the search goes on without them.
const MAX_TABLE_BYTES: usize = 1 << 20;

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern, with JavaScript's flag `i` if asked. The error says why not, to complete "the pattern …".
    pub(crate) fn compile(pattern: &str, ignore_case: bool) -> Result<Self, &'static str> {
        let units: Vec<u16> = pattern.encode_utf16().collect();
        if units.len() > MAX_PATTERN_UNITS {
            return Err("is longer than 4096 characters: shorten it, or list the values in a saved group");
        }
        let translated = pattern_parser::translate(&units, ignore_case)?;
        RegexBuilder::new(&translated)
            .size_limit(MAX_PROGRAM_BYTES)
            .dfa_size_limit(MAX_TABLE_BYTES)
            .build()
            .map(Self)
            .map_err(|_| "is too large once its repetitions are written out: use smaller counts")
    }

    /// Whether some part of the text matches, as `RegExp.prototype.test`.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.0.is_match(&code_units(text))
    }
}

/// A text in which each UTF-16 code unit is one character, as JavaScript's patterns see it.
fn code_units(text: &str) -> Cow<'_, str> {
    // The first byte of a character beyond U+FFFF is 0xF0 or more.
    if !text.bytes().any(|byte| byte >= 0xf0) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.encode_utf16().map(character).collect())
}

/// The character that stands for a code unit. Half a surrogate pair is no character; the last plane, of which no unit of a text is left once pairs
/// are taken apart, lends 2,048 of its private places.
pub(crate) fn character(unit: u16) -> char {
    let place = match unit {
        0xd800..=0xdfff => 0x10_f000 + u32::from(unit - 0xd800),
        0..=0xd7ff | 0xe000..=0xffff => u32::from(unit),
    };
    char::from_u32(place).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(pattern: &str, ignore_case: bool, text: &str) -> bool {
        Pattern::compile(pattern, ignore_case).unwrap_or_else(|why| panic!("`{pattern}` {why}")).is_match(text)
    }

    #[test]
    fn patterns_mean_what_they_mean_in_javascript() {
        // `new RegExp(pattern).test(text)` in Node 20.
        for (pattern, text, expected) in [
            (r"^\d+$", "123", true),
            (r"^\d+$", "١٢٣", false),
            (r"^\w+$", "é", false),
            (r"\bé", "é", false),
            (r"a\b", "aé", true),
            (r"^\s$", "\u{feff}", true),
            (r"^\s$", "\u{85}", false),
            (r"^.$", "\u{85}", true),
            (r"^.$", "\u{2028}", false),
            (r"^a$", "a\n", false),
            (r"^.$", "😀", false),
            (r"^..$", "😀", true),
            (r"^😀{2}$", "😀\u{10ffff}", false),
            (r"^[😀]$", "😀", false),
            (r"^[😀]{2}$", "😀", true),
            (r"\ud83d", "😀", true),
            (r"^[^a]{2}$", "😀", true),
            (r"^\u{2}$", "uu", true),
            (r"^\x4a\u004A\cJ$", "JJ\n", true),
            (r"^\p{L}$", "p{L}", true),
            (r"^\1$", "\u{1}", true),
            (r"^\101\8$", "A8", true),
            (r"^a{,2}$", "a{,2}", true),
            (r"^x{$", "x{", true),
            (r"^]}$", "]}", true),
            (r"^[]$", "", false),
            (r"^[^]$", "\n", true),
            (r"^[\d-x]+$", "1-x", true),
            (r"^[\b]$", "\u{8}", true),
            (r"^(?<year>\d{4})-(?:\d\d?)$", "2026-7", true),
            (r"^\c$", "\\c", true),
            (r"^\k$", "k", true),
            (r"^[\c1]$", "\u{11}", true),
            (r"\B", "", true),
            (r"\B", "aéa", false),
            (r"", "x", true),
            (r"a|", "x", true),
            (r"^(?:)*$", "", true),
        ] {
            assert_eq!(test(pattern, false, text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn case_folds_as_in_javascript() {
        // `new RegExp(pattern, "i").test(text)` in Node 20.
        for (pattern, text, expected) in [
            ("^straße$", "STRASSE", false),
            ("^É$", "é", true),
            ("^k$", "\u{212a}", false),
            ("^s$", "\u{17f}", false),
            ("^ς$", "Σ", true),
            ("^ς$", "σ", true),
            ("^[a-c]$", "B", true),
            ("^[^a-c]$", "B", false),
            ("^µ$", "Μ", true),
            (r"^\w$", "\u{17f}", false),
            ("^ǆ$", "ǅ", true),
        ] {
            assert_eq!(test(pattern, true, text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn what_javascript_refuses_is_refused() {
        for pattern in [
            "(",
            ")",
            "[a",
            "*",
            "a**",
            "{1}",
            "a{2,1}",
            "^*",
            "[b-a]",
            "(?x)",
            "\\",
            r"\b+",
            "(?<a>x)(?<a>y)",
            "(?<1>x)",
            r"(?<a>x)[\k]",
        ] {
            assert!(Pattern::compile(pattern, false).is_err(), "{pattern}");
        }
    }

    #[test]
    fn what_no_linear_engine_has_is_named() {
        for (pattern, why) in [
            ("a(?=b)", "look-ahead"),
            ("a(?!b)", "look-ahead"),
            ("(?<=a)b", "look-behind"),
            ("(?<!a)b", "look-behind"),
            (r"(a)\1", "back-reference"),
            (r"\1(a)", "back-reference"),
            (r"(?<n>a)\k<n>", "back-reference"),
        ] {
            assert!(Pattern::compile(pattern, false).unwrap_err().contains(why), "{pattern}");
        }
    }

    #[test]
    fn hostile_patterns_end() {
        for pattern in
            ["((((a{100}){100}){100}){100})", "(?:a{4294967295}){4294967295}", &"(".repeat(10_000), &"a?".repeat(3_000)]
        {
            assert!(Pattern::compile(pattern, true).is_err(), "{}", &pattern[..20]);
        }
        let nested = format!("{}a{}", "(".repeat(1_000), ")".repeat(1_000));
        assert!(Pattern::compile(&nested, false).unwrap_err().contains("nested"));
        // Exponential for an engine that tries again; Node 20 does not come back from this one.
        assert!(!test("^(a+)+$", false, &format!("{}b", "a".repeat(10_000))));
        assert!(!test("^(a|aa)+$", false, &format!("{}b", "a".repeat(10_000))));
    }
}
