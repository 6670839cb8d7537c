//! Addresses of pages: where an experiment runs, which variant an address asks for, where a redirect leads.
//!
//! In: an address, patterns.  Out: whether they match; a variant; a new address.
//! Never here: attributes of units (see `condition`).
//! Start at [`is_targeted`].

use std::sync::LazyLock;

use url::Url;

use super::error::AssignError;
use super::field::Fields;
use super::javascript;
use super::pattern::Pattern;

/// One pattern of addresses.
#[derive(Debug)]
pub(crate) struct Target {
    include: bool,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Regex(Pattern),
    Simple(Simple),
    /// A type or a pattern that no address matches.
    Nothing,
}

/// The parts of an address, each with `*` for any text.
#[derive(Debug)]
struct Simple {
    host: Pattern,
    path: Pattern,
    fragment: Option<Pattern>,
    query: Vec<(String, Pattern)>,
}

/// Reads `urlPatterns`.
pub(crate) fn targets(fields: Fields<'_>) -> Result<Option<Vec<Target>>, AssignError> {
    let Some(targets) = fields.list("urlPatterns")? else { return Ok(None) };
    let target = |(i, value)| {
        let at = format!("{}.urlPatterns.{i}", fields.at());
        let fields = Fields::of(&at, value)?;
        let pattern = fields.text("pattern")?.unwrap_or_default();
        let kind = match fields.text("type")? {
            Some("regex") => Pattern::compile(pattern, false).ok().map(Kind::Regex),
            Some("simple") => simple(pattern).map(Kind::Simple),
            Some(_) | None => None,
        };
        let include = fields.raw("include") != Some(&super::value::Value::Bool(false));
        Ok(Target { include, kind: kind.unwrap_or(Kind::Nothing) })
    };
    targets.iter().enumerate().map(target).collect::<Result<_, _>>().map(Some)
}

/// What relative addresses are relative to.
static BASE: LazyLock<Option<Url>> = LazyLock::new(|| Url::parse("https://_").ok());
static PATTERN_BASE: LazyLock<Option<Url>> = LazyLock::new(|| Url::parse("https://_____").ok());

/// What stands for `*` while an address is taken apart, as `*` is no letter of a host.
const ANY: &str = "_____";

fn simple(pattern: &str) -> Option<Simple> {
    // `example.com/x` has a host and no scheme.
    let head = &pattern[..pattern.find([':', '/', '?']).unwrap_or(pattern.len())];
    let scheme = if head.contains('.') { "https://" } else { "" };
    let text = format!("{scheme}{pattern}").replace('*', ANY);
    let url = Url::options().base_url(PATTERN_BASE.as_ref()).parse(&text).ok()?;
    let fragment = fragment(&url);
    Some(Simple {
        host: part(&host(&url), false)?,
        path: part(url.path(), true)?,
        fragment: if fragment.is_empty() { None } else { Some(part(&fragment, false)?) },
        query: url
            .query_pairs()
            .map(|(key, value)| Some((key.into_owned(), part(&value, false)?)))
            .collect::<Option<_>>()?,
    })
}

fn part(text: &str, is_path: bool) -> Option<Pattern> {
    let mut escaped = String::new();
    for c in text.chars() {
        if matches!(c, '*' | '.' | '+' | '?' | '^' | '$' | '{' | '}' | '(' | ')' | '|' | '[' | ']' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    let mut escaped = escaped.replace(ANY, ".*");
    if is_path {
        let bare = escaped.strip_prefix('/').unwrap_or(&escaped);
        escaped = format!("/?{}/?", bare.strip_suffix('/').unwrap_or(bare));
    }
    Pattern::compile(&format!("^{escaped}$"), true).ok()
}

/// `URL.host`: with the port, if it is not the scheme's own.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// `URL.hash`.
fn fragment(url: &Url) -> String {
    url.fragment().filter(|fragment| !fragment.is_empty()).map(|fragment| format!("#{fragment}")).unwrap_or_default()
}

/// Whether an address is among the patterns: no pattern that excludes matches, and some that includes does, or there is none that includes.
pub(crate) fn is_targeted(address: &str, targets: &[Target]) -> bool {
    if targets.is_empty() {
        return false;
    }
    let url = Url::options().base_url(BASE.as_ref()).parse(address).ok();
    let matches = |target: &Target| url.as_ref().is_some_and(|url| target.kind.matches(url));
    let excluded = targets.iter().filter(|target| !target.include).any(matches);
    let mut including = targets.iter().filter(|target| target.include).peekable();
    !excluded && (including.peek().is_none() || including.any(matches))
}

impl Kind {
    fn matches(&self, url: &Url) -> bool {
        match self {
            Self::Regex(pattern) => {
                // `href` from the length of `origin` on, as the SDKs cut it.
                let origin = url.origin().ascii_serialization().len();
                pattern.is_match(url.as_str()) || pattern.is_match(url.as_str().get(origin..).unwrap_or_default())
            }
            Self::Simple(simple) => simple.matches(url),
            Self::Nothing => false,
        }
    }
}

impl Simple {
    fn matches(&self, url: &Url) -> bool {
        let query =
            |key: &str| url.query_pairs().find(|(name, _)| name == key).map(|(_, value)| value).unwrap_or_default();
        self.host.is_match(&host(url))
            && self.path.is_match(url.path())
            && self.fragment.as_ref().is_none_or(|pattern| pattern.is_match(&fragment(url)))
            && self.query.iter().all(|(key, pattern)| pattern.is_match(&query(key)))
    }
}

/// The variation that an address asks for with `?<experiment>=<n>`.
pub fn query_override(experiment: &str, address: &str, variations: usize) -> Option<usize> {
    let search = address.split('?').nth(1)?;
    let mut rest = search;
    let cleared;
    if let Some(at) = search.find('#') {
        // A fragment ends with its line, as `.` does in the SDKs' pattern.
        let end = search[at..].find(javascript::is_line_end).map_or(search.len(), |end| at + end);
        cleared = [&search[..at], &search[end..]].concat();
        rest = &cleared;
    }
    let value = rest.split('&').find_map(|pair| {
        let mut parts = pair.split('=');
        (parts.next() == Some(experiment)).then(|| parts.next().unwrap_or_default())
    })?;
    let number = javascript::parse_int(value)?;
    (number >= 0.0 && number < variations as f64).then_some(number as usize)
}

/// The address of a redirect, with those parameters of the page's own address that it does not name itself.
pub fn merge_query(current: &str, redirect: &str) -> String {
    let (Ok(from), Ok(mut to)) = (Url::parse(current), Url::parse(redirect)) else { return redirect.to_owned() };
    let mut pairs: Vec<(String, String)> = to.query_pairs().into_owned().collect();
    let own = pairs.len();
    for (key, value) in from.query_pairs() {
        if !pairs.iter().any(|(name, _)| *name == key) {
            pairs.push((key.into_owned(), value.into_owned()));
        }
    }
    if pairs.len() > own {
        to.query_pairs_mut().clear().extend_pairs(pairs);
    }
    to.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assign::value::Value;

    fn targeted(address: &str, patterns: &str) -> bool {
        let value: Value = serde_json::from_str(&format!(r#"{{"urlPatterns":{patterns}}}"#)).unwrap();
        is_targeted(address, &targets(Fields::of("x", &value).unwrap()).unwrap().unwrap())
    }

    #[test]
    fn addresses_match_as_in_the_sdks() {
        // `isURLTargeted` of the JavaScript SDK 1.8.0.
        for (address, patterns, expected) in [
            ("https://example.com/a/b?x=1#top", r#"[{"type":"simple","pattern":"/a/*"}]"#, true),
            ("https://example.com/a/b?x=1#top", r#"[{"type":"simple","pattern":"*/a/*"}]"#, true),
            ("https://example.com/a/b?x=1#top", r#"[{"type":"simple","pattern":"example.com/A/*?x=*"}]"#, true),
            ("https://example.com/a/b/", r#"[{"type":"simple","pattern":"https://*.com/a/b"}]"#, true),
            ("https://example.com/a#x", r##"[{"type":"simple","pattern":"example.com/a#y"}]"##, false),
            ("https://example.com/a", r#"[{"type":"regex","pattern":"^/a$"}]"#, true),
            ("https://example.com/a", r#"[{"type":"regex","pattern":"^/a$","include":false}]"#, false),
            ("https://example.com/b", r#"[{"type":"regex","pattern":"^/a$","include":false}]"#, true),
            ("https://example.com/b", r#"[{"type":"regex","pattern":"("}]"#, false),
            ("https://example.com/b", "[]", false),
            ("http://", r#"[{"type":"regex","pattern":"."}]"#, false),
        ] {
            assert_eq!(targeted(address, patterns), expected, "{address} {patterns}");
        }
    }
}
