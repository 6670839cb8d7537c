//! Entity tags: what a client has already.
//!
//! In: the headers of a request, the tag of the answer.  Out: whether they are the same.
//! Never here: what is hashed.
//! Start at [`is_known`]. Source: RFC 9110, sections 8.8.3 and 13.1.2.

use axum::http::{HeaderMap, HeaderValue, header};

/// A strong tag with the first 32 digits of a hash: 128 bits.
pub(crate) fn etag(hash: &str) -> HeaderValue {
    // Hexadecimal digits and quotes are always a header's value.
    HeaderValue::from_str(&format!("\"{}\"", hash.get(..32).unwrap_or(hash)))
        .unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// Whether `If-None-Match` names the tag, or anything (`*`). Compared weakly, as for every GET.
pub(crate) fn is_known(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let tags = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = tags.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_stars_and_weak_tags_are_understood() {
        let tag = etag("0123456789abcdef0123456789abcdef0123456789abcdef");
        assert_eq!(tag, "\"0123456789abcdef0123456789abcdef\"");
        let check = |text: &'static str, expected: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(text));
            assert_eq!(is_known(&headers, &tag), expected, "{text}");
        };
        check("\"0123456789abcdef0123456789abcdef\"", true);
        check("W/\"0123456789abcdef0123456789abcdef\"", true);
        check("\"a\", \"0123456789abcdef0123456789abcdef\"", true);
        check("*", true);
        check("\"0123456789abcdef\"", false);
        check("0123456789abcdef0123456789abcdef", false);
        assert!(!is_known(&HeaderMap::new(), &tag));
    }
}
