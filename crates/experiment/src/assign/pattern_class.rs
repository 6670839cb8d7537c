//! Sets of UTF-16 code units, as the classes of JavaScript's regular expressions are.
//!
//! In: ranges of code units.  Out: the set with all cases, its complement, its text for the crate `regex`.
//! Never here: syntax (see `pattern_parser`).
//! Start at [`Class`].

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::OnceLock;

use super::pattern::character;

/// A set of code units: ranges with both ends inside, in any order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Class(Vec<(u16, u16)>);

impl Class {
    pub(crate) fn of(first: u16, last: u16) -> Self {
        Self(vec![(first, last)])
    }

    /// `\d \D \w \W \s \S`.
    pub(crate) fn named(c: char) -> Option<Self> {
        Some(match c {
            'd' => Self::digits(),
            'D' => Self::digits().negated(),
            'w' => Self::word(),
            'W' => Self::word().negated(),
            's' => Self::spaces(),
            'S' => Self::spaces().negated(),
            _ => return None,
        })
    }

    fn digits() -> Self {
        Self::of(b'0'.into(), b'9'.into())
    }

    fn word() -> Self {
        Self(
            [(b'0', b'9'), (b'A', b'Z'), (b'_', b'_'), (b'a', b'z')]
                .map(|(first, last)| (first.into(), last.into()))
                .into(),
        )
    }

    /// WhiteSpace and LineTerminator (ECMA-262, 12.2 and 12.3).
    fn spaces() -> Self {
        let single = [0x20, 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000, 0xfeff].map(|unit| (unit, unit));
        Self(single.into_iter().chain([(0x09, 0x0d), (0x2000, 0x200a)]).collect())
    }

    /// What `.` does not match.
    pub(crate) fn line_ends() -> Self {
        Self([0x0a, 0x0d, 0x2028, 0x2029].map(|unit| (unit, unit)).into())
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }

    /// The only member, if there is one only.
    pub(crate) fn single(&self) -> Option<u16> {
        if let [(first, last)] = self.0[..] { (first == last).then_some(first) } else { None }
    }

    fn sorted(&self) -> Vec<(u16, u16)> {
        let mut ranges = self.0.clone();
        ranges.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::new();
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if u32::from(first) <= u32::from(before.1) + 1 => before.1 = before.1.max(last),
                Some(_) | None => merged.push((first, last)),
            }
        }
        merged
    }

    pub(crate) fn negated(&self) -> Self {
        let (mut ranges, mut next) = (Vec::new(), 0_u32);
        for (first, last) in self.sorted() {
            if u32::from(first) > next {
                ranges.push((next as u16, first - 1));
            }
            next = u32::from(last) + 1;
        }
        if next <= 0xffff {
            ranges.push((next as u16, 0xffff));
        }
        Self(ranges)
    }

    /// The set with every code unit whose case folds to that of a member.
    pub(crate) fn with_cases(&self) -> Self {
        let mut ranges = self.sorted();
        let holds = |unit: u16| self.0.iter().any(|&(first, last)| (first..=last).contains(&unit));
        for members in cases().values() {
            if members.iter().any(|&unit| holds(unit)) {
                ranges.extend(members.iter().map(|&unit| (unit, unit)));
            }
        }
        Self(ranges)
    }

    /// Writes the set as a class, or as the character that it is.
    pub(crate) fn write(&self, out: &mut String) {
        if let Some(unit) = self.single() {
            let _ = write!(out, r"\x{{{:X}}}", character(unit) as u32);
            return;
        }
        let ranges = self.sorted();
        if ranges.is_empty() {
            // No character at all.
            out.push_str(r"[^\x{0}-\x{10FFFF}]");
            return;
        }
        out.push('[');
        for (first, last) in ranges {
            // Halves of pairs stand elsewhere among the characters, so that a range across them is three.
            for (low, high) in [(0, 0xd7ff), (0xd800, 0xdfff), (0xe000, 0xffff)] {
                let (first, last) = (first.max(low), last.min(high));
                if first <= last {
                    let _ = write!(out, r"\x{{{:X}}}-\x{{{:X}}}", character(first) as u32, character(last) as u32);
                }
            }
        }
        out.push(']');
    }
}

/// A code unit with all of its cases.
pub(crate) fn with_cases_of(unit: u16) -> Class {
    match cases().get(&canonical(unit)) {
        Some(members) => Class(members.iter().map(|&unit| (unit, unit)).collect()),
        None => Class::of(unit, unit),
    }
}

/// Canonicalize without the flag `u` (ECMA-262, 22.2.2.7.3): upper case if it is one code unit, and not ASCII for what was not.
fn canonical(unit: u16) -> u16 {
    let Some(c) = char::from_u32(unit.into()) else { return unit };
    let mut upper = c.to_uppercase();
    match (upper.next().and_then(|c| u16::try_from(u32::from(c)).ok()), upper.next()) {
        (Some(upper), None) if unit < 0x80 || upper >= 0x80 => upper,
        (Some(_) | None, _) => unit,
    }
}

/// Code units that fold to the same one, by it; only where there are two or more.
fn cases() -> &'static HashMap<u16, Vec<u16>> {
    static CASES: OnceLock<HashMap<u16, Vec<u16>>> = OnceLock::new();
    CASES.get_or_init(|| {
        let mut cases: HashMap<u16, Vec<u16>> = HashMap::new();
        for unit in (0..=u16::MAX).filter(|&unit| canonical(unit) != unit) {
            cases.entry(canonical(unit)).or_insert_with(|| vec![canonical(unit)]).push(unit);
        }
        cases
    })
}
