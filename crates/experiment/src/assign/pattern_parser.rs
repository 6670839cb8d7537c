//! Reads a regular expression of JavaScript and writes it for the crate `regex`, every class and fold spelled out.
//!
//! In: the UTF-16 code units of a pattern.  Out: a pattern that means the same over characters that stand for code units, or why there is none.
//! Never here: matching (see `pattern`).
//! Start at [`translate`]. Source: ECMA-262 (2024), section 22.2 and annex B.1.2.

use std::fmt::Write;

use super::pattern::character;
use super::pattern_class::{self, Class};

/// Groups within groups; a person writes five.
const MAX_NESTING: usize = 100;

type Parsed<T> = Result<T, &'static str>;

/// Writes a pattern for the crate `regex`. Errors complete "the pattern …".
pub(crate) fn translate(units: &[u16], ignore_case: bool) -> Parsed<String> {
    let mut parser =
        Parser { units, at: 0, ignore_case, groups: Groups::count(units), names: Vec::new(), out: String::new() };
    parser.alternatives(0)?;
    if parser.at < units.len() {
        return Err("closes a group `)` that it never opened: escape it as `\\)`");
    }
    Ok(parser.out)
}

/// What a back-reference could refer to.
struct Groups {
    capturing: usize,
    named: bool,
}

impl Groups {
    fn count(units: &[u16]) -> Self {
        let (mut groups, mut at, mut in_class) = (Self { capturing: 0, named: false }, 0, false);
        while let Some(&unit) = units.get(at) {
            match char::from_u32(unit.into()) {
                Some('\\') => at += 1,
                Some('[') => in_class = true,
                Some(']') => in_class = false,
                Some('(') if !in_class => {
                    let follows = |offset: usize, c: char| units.get(at + offset) == Some(&(c as u16));
                    let named = follows(1, '?') && follows(2, '<') && !follows(3, '=') && !follows(3, '!');
                    groups.named |= named;
                    groups.capturing += usize::from(named || !follows(1, '?'));
                }
                Some(_) | None => {}
            }
            at += 1;
        }
        groups
    }
}

struct Parser<'a> {
    units: &'a [u16],
    at: usize,
    ignore_case: bool,
    groups: Groups,
    names: Vec<&'a [u16]>,
    out: String,
}

/// What a term is: only an atom may be repeated.
enum Term {
    Assertion,
    Atom,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<char> {
        self.units.get(self.at).map(|&unit| character(unit))
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        self.at += usize::from(found);
        found
    }

    fn eat_text(&mut self, text: &str) -> bool {
        let found = text.chars().enumerate().all(|(i, c)| self.units.get(self.at + i) == Some(&(c as u16)));
        if found {
            self.at += text.len();
        }
        found
    }

    fn alternatives(&mut self, depth: usize) -> Parsed<()> {
        if depth > MAX_NESTING {
            return Err("is nested deeper than 100 groups: write it flatter");
        }
        loop {
            match self.peek() {
                None | Some(')') => return Ok(()),
                Some('|') => {
                    self.at += 1;
                    self.out.push('|');
                }
                Some(_) => self.term(depth)?,
            }
        }
    }

    fn term(&mut self, depth: usize) -> Parsed<()> {
        let start = self.out.len();
        let term = self.atom(depth)?;
        let Some((least, most)) = self.quantifier()? else { return Ok(()) };
        if matches!(term, Term::Assertion) {
            return Err("repeats an assertion, such as `^*`: take the repetition away");
        }
        // What is repeated may be several characters long only as a group, which is already in brackets.
        debug_assert!(self.out.len() > start);
        match most {
            Some(most) => write!(self.out, "{{{least},{most}}}"),
            None => write!(self.out, "{{{least},}}"),
        }
        .map_err(|_| "cannot be written")
    }

    /// `*`, `+`, `?`, `{n}`, `{n,}`, `{n,m}`, each with or without `?`: whether it is lazy does not change what matches.
    fn quantifier(&mut self) -> Parsed<Option<(u64, Option<u64>)>> {
        let bounds = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => match self.braces() {
                Some((end, least, most)) => {
                    self.at = end - 1;
                    (least, most)
                }
                None => return Ok(None),
            },
            Some(_) | None => return Ok(None),
        };
        self.at += 1;
        self.eat('?');
        if bounds.1.is_some_and(|most| most < bounds.0) {
            return Err("has a repetition whose bounds are out of order: write the smaller first");
        }
        Ok(Some(bounds))
    }

    /// `{n}`, `{n,}` or `{n,m}` from here on: where it ends, and its bounds.
    fn braces(&self) -> Option<(usize, u64, Option<u64>)> {
        let mut at = self.at + 1;
        let number = |at: &mut usize| {
            let start = *at;
            let mut number = 0_u64;
            while let Some(digit) = self.units.get(*at).and_then(|&unit| character(unit).to_digit(10)) {
                number = number.saturating_mul(10).saturating_add(digit.into());
                *at += 1;
            }
            (*at > start).then_some(number)
        };
        let least = number(&mut at)?;
        let mut most = Some(least);
        if self.units.get(at) == Some(&(',' as u16)) {
            at += 1;
            most = number(&mut at);
        }
        (self.units.get(at) == Some(&('}' as u16))).then_some((at + 1, least, most))
    }

    fn atom(&mut self, depth: usize) -> Parsed<Term> {
        let Some(c) = self.peek() else { return Ok(Term::Assertion) };
        match c {
            '*' | '+' | '?' => {
                return Err("repeats nothing, as `*` at its beginning does: escape the sign, or say what is repeated");
            }
            '{' if self.braces().is_some() => {
                return Err("repeats nothing, as `{1}` at its beginning does: escape the bracket");
            }
            '(' => return self.group(depth).map(|()| Term::Atom),
            '^' | '$' => {
                self.at += 1;
                self.out.push_str(if c == '^' { r"\A" } else { r"\z" });
                return Ok(Term::Assertion);
            }
            '\\' => return self.escape(),
            '.' => {
                self.at += 1;
                self.class(&Class::line_ends().negated());
            }
            '[' => {
                self.at += 1;
                let class = self.bracketed()?;
                self.class(&class);
            }
            _ => {
                let unit = self.units[self.at];
                self.at += 1;
                self.unit(unit);
            }
        }
        Ok(Term::Atom)
    }

    /// Writes one code unit, with all of its cases if case is ignored.
    fn unit(&mut self, unit: u16) {
        let mut class = Class::of(unit, unit);
        if self.ignore_case {
            class = pattern_class::with_cases_of(unit);
        }
        self.class(&class);
    }

    fn class(&mut self, class: &Class) {
        class.write(&mut self.out);
    }

    fn group(&mut self, depth: usize) -> Parsed<()> {
        self.at += 1;
        if self.eat('?') {
            if self.peek() == Some('=') || self.peek() == Some('!') {
                return Err(
                    "looks ahead, as `(?=` and `(?!` do: look-ahead is not supported, write the condition as two",
                );
            }
            if self.eat_text("<=") || self.eat_text("<!") {
                return Err(
                    "looks behind, as `(?<=` and `(?<!` do: look-behind is not supported, write the condition as two",
                );
            }
            if self.eat('<') {
                self.group_name()?;
            } else if !self.eat(':') {
                return Err("has a group that JavaScript does not know: use `(…)`, `(?:…)` or `(?<name>…)`");
            }
        }
        self.out.push_str("(?:");
        self.alternatives(depth + 1)?;
        self.out.push(')');
        if self.eat(')') { Ok(()) } else { Err("opens a group `(` that it never closes") }
    }

    fn group_name(&mut self) -> Parsed<()> {
        let start = self.at;
        while self.peek().is_some_and(|c| c != '>') {
            self.at += 1;
        }
        let name = &self.units[start..self.at];
        let is_word = |&unit: &u16| {
            unit >= 0x80 || unit == '_' as u16 || unit == '$' as u16 || character(unit).is_ascii_alphanumeric()
        };
        let begins_with_digit = name.first().is_some_and(|&unit| character(unit).is_ascii_digit());
        if !self.eat('>')
            || name.is_empty()
            || !name.iter().all(is_word)
            || begins_with_digit
            || self.names.contains(&name)
        {
            return Err("has a group whose name JavaScript does not take: use a word, and each name once");
        }
        self.names.push(name);
        Ok(())
    }

    fn escape(&mut self) -> Parsed<Term> {
        self.at += 1;
        let Some(c) = self.peek() else { return Err("ends with a lone `\\`: write `\\\\`") };
        if c == 'b' || c == 'B' {
            self.at += 1;
            self.out.push_str(if c == 'b' { r"(?-u:\b)" } else { r"(?-u:\B)" });
            return Ok(Term::Assertion);
        }
        if c == 'k' && self.groups.named {
            return Err("refers back to a group, as `\\k<name>` does: a back-reference is not supported");
        }
        if let Some(class) = Class::named(c) {
            self.at += 1;
            let class = if self.ignore_case { class.with_cases() } else { class };
            self.class(&class);
            return Ok(Term::Atom);
        }
        if let '1'..='9' = c {
            let digits = self.units[self.at..].iter().map_while(|&unit| character(unit).to_digit(10));
            let number = digits.fold(0_usize, |number, digit| number.saturating_mul(10).saturating_add(digit as usize));
            if number <= self.groups.capturing {
                return Err("refers back to a group, as `\\1` does: a back-reference is not supported");
            }
        }
        let unit = self.character_escape(false);
        self.unit(unit);
        Ok(Term::Atom)
    }

    /// The code unit that an escape stands for, behind its `\`.
    fn character_escape(&mut self, in_class: bool) -> u16 {
        let unit = self.units[self.at];
        self.at += 1;
        match character(unit) {
            'f' => 0x0c,
            'n' => 0x0a,
            'r' => 0x0d,
            't' => 0x09,
            'v' => 0x0b,
            'c' => match self.peek() {
                Some(c) if c.is_ascii_alphabetic() || in_class && (c.is_ascii_digit() || c == '_') => {
                    self.at += 1;
                    c as u16 % 32
                }
                Some(_) | None => {
                    self.at -= 1;
                    '\\' as u16
                }
            },
            'x' => self.hexadecimal(2).unwrap_or(unit),
            'u' => self.hexadecimal(4).unwrap_or(unit),
            first @ '0'..='7' => self.octal(first),
            _ => unit,
        }
    }

    fn hexadecimal(&mut self, digits: usize) -> Option<u16> {
        let units = self.units.get(self.at..self.at + digits)?;
        let number = units.iter().try_fold(0_u32, |number, &unit| Some(number * 16 + character(unit).to_digit(16)?))?;
        self.at += digits;
        u16::try_from(number).ok()
    }

    /// Octal up to `\377`, as old JavaScript had it.
    fn octal(&mut self, first: char) -> u16 {
        let mut number = first.to_digit(8).unwrap_or(0);
        let more = if first <= '3' { 2 } else { 1 };
        for _ in 0..more {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else { break };
            number = number * 8 + digit;
            self.at += 1;
        }
        number as u16
    }

    /// A class, behind its `[`.
    fn bracketed(&mut self) -> Parsed<Class> {
        let negated = self.eat('^');
        let mut class = Class::default();
        loop {
            let first = match self.class_atom()? {
                None => break,
                Some(atom) => atom,
            };
            let is_range =
                self.peek() == Some('-') && self.units.get(self.at + 1).is_some_and(|&unit| unit != ']' as u16);
            if !is_range {
                class.add(&first);
                continue;
            }
            self.at += 1;
            let Some(last) = self.class_atom()? else { break };
            match (first.single(), last.single()) {
                (Some(first), Some(last)) if first <= last => class.add(&Class::of(first, last)),
                (Some(_), Some(_)) => return Err("has a range whose ends are out of order: write the smaller first"),
                (Some(_) | None, _) => {
                    // `[\d-x]`: the dash is one of the characters.
                    class.add(&first);
                    class.add(&Class::of('-' as u16, '-' as u16));
                    class.add(&last);
                }
            }
        }
        if self.ignore_case {
            class = class.with_cases();
        }
        Ok(if negated { class.negated() } else { class })
    }

    /// One member of a class; nothing at its end.
    fn class_atom(&mut self) -> Parsed<Option<Class>> {
        let Some(c) = self.peek() else { return Err("opens a class `[` that it never closes") };
        let unit = self.units[self.at];
        self.at += 1;
        if c == ']' {
            return Ok(None);
        }
        if c != '\\' {
            return Ok(Some(Class::of(unit, unit)));
        }
        let Some(c) = self.peek() else { return Err("opens a class `[` that it never closes") };
        if c == 'k' && self.groups.named {
            return Err("has `\\k` in a class beside named groups, which JavaScript refuses: write `k`");
        }
        if let Some(class) = Class::named(c) {
            self.at += 1;
            return Ok(Some(class));
        }
        let unit = if c == 'b' {
            self.at += 1;
            0x08
        } else {
            self.character_escape(true)
        };
        Ok(Some(Class::of(unit, unit)))
    }
}
