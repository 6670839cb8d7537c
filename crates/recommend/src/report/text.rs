//! Text for pages: escaped, and numbers with the same digits everywhere.
//!
//! In: values and whatever users call their things.  Out: text that is safe between tags and in quoted attributes.
//! Never here: tags.
//! Start at [`escape`].

use domain::{date_text, time_text};

use crate::Estimate;

/// What a page shows for a value that there is not.
pub(super) const NONE: &str = "–";

/// Safe between tags and in quoted attributes. Characters that are not seen but steer (controls, reversed writing) are replaced:
/// a name must not change what stands beside it.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => safe.push('\u{fffd}'),
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// A sentence of ours, escaped; what stands in backticks is code.
pub(super) fn marked(sentence: &str) -> String {
    let parts: Vec<String> = sentence.split('`').map(escape).collect();
    // An even number of parts means a backtick without its partner: then all of them are text.
    if parts.len().is_multiple_of(2) {
        return parts.join("`");
    }
    let is_code = |place: usize| place % 2 == 1;
    let part =
        |(place, part): (usize, &String)| if is_code(place) { format!("<code>{part}</code>") } else { part.clone() };
    parts.iter().enumerate().map(part).collect()
}

/// A name in so many columns, escaped: a longer one loses its middle, because names tend to differ at an end. Letters of East Asian
/// scripts take two columns.
pub(super) fn shortened(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return escape(text);
    }
    let front: String = fitting(text.chars(), columns / 2);
    let back: String = fitting(text.chars().rev(), columns - 1 - width(&front));
    escape(&front) + "…" + &escape(&back.chars().rev().collect::<String>())
}

/// As many of the characters as fit.
fn fitting(chars: impl Iterator<Item = char>, columns: usize) -> String {
    let mut used = 0;
    chars
        .take_while(|c| {
            used += width_of(*c);
            used <= columns
        })
        .collect()
}

/// Columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(width_of).sum()
}

fn width_of(c: char) -> usize {
    if c >= '\u{1100}' { 2 } else { 1 }
}

/// A share or a metric between 0 and 1: four digits.
pub(super) fn share(value: f64) -> String {
    format!("{value:.4}")
}

/// A difference: four digits and always a sign, the typographic minus.
pub(super) fn signed(value: f64) -> String {
    // Adding zero turns -0.0 into 0.0; what rounds to zero has no sign to speak of.
    let text = format!("{:+.4}", value + 0.0);
    if text.ends_with("0.0000") { "0.0000".to_owned() } else { text.replace('-', "−") }
}

/// `[0.1165, 0.1431]`
pub(super) fn interval(estimate: &Estimate) -> String {
    format!("[{}, {}]", share(estimate.low), share(estimate.high))
}

/// `[−0.0012, +0.0031]`
pub(super) fn signed_interval(estimate: &Estimate) -> String {
    format!("[{}, {}]", signed(estimate.low), signed(estimate.high))
}

/// A p value: four digits, never zero.
pub(super) fn p_value(p: f64) -> String {
    if p < 0.0001 { "&lt; 0.0001".to_owned() } else { share(p) }
}

/// `541909` → `541,909`.
pub(super) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 user`, `1,087 users`.
pub(super) fn count(number: usize, word: &str) -> String {
    format!("{} {word}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// `2011-11-15 08:16:00 UTC`
pub(super) fn moment(seconds: i64) -> String {
    const DAY: i64 = 86_400;
    let mut text = String::new();
    date_text(seconds.div_euclid(DAY), &mut text);
    text.push(' ');
    time_text(seconds.rem_euclid(DAY) * 1_000_000, 0, &mut text);
    text + " UTC"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_page_survives() {
        assert_eq!(escape("<b a=\"1\" b='2'>&amp;</b>"), "&lt;b a=&quot;1&quot; b=&#39;2&#39;&gt;&amp;amp;&lt;/b&gt;");
        assert_eq!(escape("a\u{202e}b\u{0}c\nd"), "a\u{fffd}b\u{fffd}c\u{fffd}d");
        assert_eq!(marked("`a<b` is above `c`"), "<code>a&lt;b</code> is above <code>c</code>");
        assert_eq!(marked("one ` alone"), "one ` alone");
        assert_eq!(shortened("popularity", 10), "popularity");
        assert_eq!(shortened("a<long>name", 6), "a&lt;l…me");
        assert_eq!(shortened("추천기추천기", 6), "추…기");
    }

    #[test]
    fn numbers_have_the_same_digits_everywhere() {
        assert_eq!([0.5, -0.012_34, -0.000_01, 0.0].map(signed), ["+0.5000", "−0.0123", "0.0000", "0.0000"]);
        let estimate = Estimate { value: 0.1, low: -0.05, high: 0.25 };
        assert_eq!(
            (interval(&estimate), signed_interval(&estimate)),
            ("[-0.0500, 0.2500]".into(), "[−0.0500, +0.2500]".into())
        );
        assert_eq!(
            (p_value(0.00001), p_value(0.0123), p_value(1.0)),
            ("&lt; 0.0001".into(), "0.0123".into(), "1.0000".into())
        );
        assert_eq!((count(1, "user"), count(541_909, "user")), ("1 user".into(), "541,909 users".into()));
        assert_eq!(moment(1_319_467_620), "2011-10-24 14:47:00 UTC");
        assert_eq!(moment(-1), "1969-12-31 23:59:59 UTC");
    }
}
