//! A condition's text cut into words.
//!
//! In: text.  Out: [`Word`]s with the byte each begins at.
//! Never here: grammar.
//! Start at [`words`].

use super::ConditionError;

/// One word of a condition.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Word {
    /// A name or a keyword; keywords are told apart by the parser, in any case of letters.
    Name(String),
    /// `"name"`: never a keyword.
    Quoted(String),
    Text(String),
    Number(f64),
    /// One of `( ) , = != < <= > >= -`.
    Sign(&'static str),
}

const SIGNS: [&str; 11] = ["<=", ">=", "!=", "<>", "=", "<", ">", "(", ")", ",", "-"];

/// Cuts the text. Errors: a quote that is not closed, a character that begins no word, a number that is none.
pub(super) fn words(text: &str) -> Result<Vec<(usize, Word)>, ConditionError> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        if first.is_whitespace() {
            at += first.len_utf8();
        } else if first == '\'' || first == '"' {
            let (word, length) =
                quoted(rest, first).ok_or_else(|| ConditionError::at(at, "a quote that is not closed"))?;
            found.push((at, if first == '"' { Word::Quoted(word) } else { Word::Text(word) }));
            at += length;
        } else if first.is_ascii_digit() || (first == '.' && rest[1..].starts_with(|next: char| next.is_ascii_digit()))
        {
            let length = rest.find(|next: char| !(next.is_ascii_alphanumeric() || next == '.')).unwrap_or(rest.len());
            let number =
                rest[..length].parse().map_err(|_| ConditionError::at(at, format!("`{}`", &rest[..length])))?;
            found.push((at, Word::Number(number)));
            at += length;
        } else if first.is_alphabetic() || first == '_' {
            let length = rest.find(|next: char| !(next.is_alphanumeric() || next == '_')).unwrap_or(rest.len());
            found.push((at, Word::Name(rest[..length].to_owned())));
            at += length;
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            found.push((at, Word::Sign(if sign == "<>" { "!=" } else { sign })));
            at += sign.len();
        } else {
            return Err(ConditionError::at(at, format!("`{first}`")));
        }
    }
    Ok(found)
}

/// The content of a quoted word, two quotes standing for one, and its length with the quotes.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut content = String::new();
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if character != quote {
            content.push(character);
        } else if characters.next_if(|(_, next)| *next == quote).is_some() {
            content.push(quote);
        } else {
            return Some((content, at + 1));
        }
    }
    None
}
