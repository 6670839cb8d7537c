//! Watches the raw bytes of a connection for requests whose length two servers could read differently.
//!
//! In: bytes as they came from the socket, in pieces of any size.  Out: the first [`Violation`], if there is one.
//! Why on the wire: hyper removes `Content-Length` when `Transfer-Encoding` is present before any handler sees the request.
//! Never here: answering (see `gate`), or accepting anything that hyper refuses: on doubt this goes blind and hyper decides.
//! Start at [`FramingScanner::push`].  Source: RFC 9112, sections 2.2, 6.1, 6.3 and 7.1.

/// Longest line that is kept while it is incomplete. Longer ones are refused by the head limit of the server anyway.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// Why the framing of a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Violation {
    LengthAndTransferEncoding,
    RepeatedLength,
    BareLineFeed,
}

impl Violation {
    /// The fault, as a sentence without a full stop.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::LengthAndTransferEncoding => "the request has both `Content-Length` and `Transfer-Encoding`",
            Self::RepeatedLength => "the request has more than one `Content-Length`",
            Self::BareLineFeed => "a line of the request head ends without a carriage return",
        }
    }
}

/// What the head read so far says about the body.
#[derive(Debug, Default)]
struct HeadSummary {
    has_request_line: bool,
    lengths: u32,
    /// `None`: absent or not a number (hyper refuses the latter).
    length: Option<u64>,
    has_transfer_encoding: bool,
}

#[derive(Debug)]
enum State {
    Head(HeadSummary),
    /// This many bytes of body remain.
    Body(u64),
    ChunkSize,
    /// This many bytes of chunk data and its line end remain.
    ChunkData(u64),
    Trailers,
    /// Not understood, so hyper refuses it and closes: nothing more to watch.
    Blind,
}

/// Follows requests on one connection from head to head.
#[derive(Debug)]
pub(crate) struct FramingScanner {
    state: State,
    /// The incomplete line at the end of the bytes seen so far.
    carry: Vec<u8>,
    violation: Option<Violation>,
}

impl FramingScanner {
    pub(crate) fn new() -> Self {
        Self { state: State::Head(HeadSummary::default()), carry: Vec::new(), violation: None }
    }

    /// Reads on; returns the first violation of this connection, now and ever after.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Option<Violation> {
        while !bytes.is_empty() && self.violation.is_none() {
            bytes = match self.state {
                State::Blind => &[],
                State::Body(remaining) => self.skip(bytes, remaining),
                State::ChunkData(remaining) => self.skip(bytes, remaining),
                State::Head(_) | State::ChunkSize | State::Trailers => self.read_line(bytes),
            };
        }
        self.violation
    }

    fn skip<'a>(&mut self, bytes: &'a [u8], remaining: u64) -> &'a [u8] {
        let take = usize::try_from(remaining).map_or(bytes.len(), |remaining| remaining.min(bytes.len()));
        let left = remaining - take as u64;
        self.state = match (&self.state, left) {
            (State::ChunkData(_), 0) => State::ChunkSize,
            (State::ChunkData(_), left) => State::ChunkData(left),
            (_, 0) => State::Head(HeadSummary::default()),
            (_, left) => State::Body(left),
        };
        &bytes[take..]
    }

    fn read_line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            if self.carry.len() + bytes.len() > MAX_LINE_BYTES {
                self.state = State::Blind;
                self.carry = Vec::new();
            } else {
                self.carry.extend_from_slice(bytes);
            }
            return &[];
        };
        if self.carry.is_empty() {
            self.take_line(&bytes[..end]);
        } else {
            let mut line = std::mem::take(&mut self.carry);
            line.extend_from_slice(&bytes[..end]);
            self.take_line(&line);
        }
        &bytes[end + 1..]
    }

    /// `line` is without its line feed.
    fn take_line(&mut self, line: &[u8]) {
        let Some(line) = line.strip_suffix(b"\r") else {
            self.violation = Some(Violation::BareLineFeed);
            return;
        };
        match &mut self.state {
            State::Head(head) => {
                if !head.has_request_line {
                    // Empty lines before a request line are to be ignored (RFC 9112, section 2.2).
                    head.has_request_line = !line.is_empty();
                } else if line.is_empty() {
                    self.end_head();
                } else {
                    head.take_header(line);
                }
            }
            State::ChunkSize => self.state = chunk_state(line),
            State::Trailers if line.is_empty() => self.state = State::Head(HeadSummary::default()),
            State::Trailers | State::Body(_) | State::ChunkData(_) | State::Blind => {}
        }
    }

    fn end_head(&mut self) {
        let State::Head(head) = &self.state else { return };
        if head.has_transfer_encoding && head.lengths > 0 {
            self.violation = Some(Violation::LengthAndTransferEncoding);
        } else if head.lengths > 1 {
            self.violation = Some(Violation::RepeatedLength);
        }
        self.state = match (head.has_transfer_encoding, head.lengths, head.length) {
            (true, _, _) => State::ChunkSize,
            (false, 0, _) | (false, _, Some(0)) => State::Head(HeadSummary::default()),
            (false, _, Some(length)) => State::Body(length),
            (false, _, None) => State::Blind,
        };
    }
}

impl HeadSummary {
    fn take_header(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let name = &line[..colon];
        if name.eq_ignore_ascii_case(b"content-length") {
            self.lengths += 1;
            self.length = std::str::from_utf8(&line[colon + 1..]).ok().and_then(|value| value.trim().parse().ok());
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.has_transfer_encoding = true;
        }
    }
}

/// What follows a chunk-size line: hexadecimal digits, perhaps `;` and extensions.
fn chunk_state(line: &[u8]) -> State {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let size = std::str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    match size {
        Some(0) => State::Trailers,
        // The data is followed by its own line end of two bytes.
        Some(size) => size.checked_add(2).map_or(State::Blind, State::ChunkData),
        None => State::Blind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict must not depend on how the bytes were cut into pieces.
    fn check(bytes: &[u8], expected: Option<Violation>) {
        for piece in [1, 2, 3, 7, bytes.len().max(1)] {
            let mut scanner = FramingScanner::new();
            let mut found = None;
            for part in bytes.chunks(piece) {
                found = scanner.push(part);
            }
            assert_eq!(found, expected, "pieces of {piece}: {}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn ordinary_requests_pass_also_when_pipelined() {
        check(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", None);
        check(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", None);
        check(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab\n\ncGET / HTTP/1.1\r\n\r\n", None);
        check(
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\na\nb\r\n0\r\nt: u\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            None,
        );
    }

    #[test]
    fn ambiguous_lengths_are_seen_in_both_orders() {
        let both = Some(Violation::LengthAndTransferEncoding);
        check(b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", both);
        check(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\nCONTENT-LENGTH: 5\r\n\r\n", both);
        check(
            b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            Some(Violation::RepeatedLength),
        );
    }

    #[test]
    fn a_violation_in_a_later_request_is_seen_behind_bodies() {
        let mut bytes = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_vec();
        bytes.extend_from_slice(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
        bytes.extend_from_slice(b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n");
        check(&bytes, Some(Violation::LengthAndTransferEncoding));
    }

    #[test]
    fn bare_line_feeds_are_refused_in_heads_and_allowed_in_bodies() {
        check(b"GET / HTTP/1.1\nHost: a\n\n", Some(Violation::BareLineFeed));
        check(b"GET / HTTP/1.1\r\nHost: a\n\r\n", Some(Violation::BareLineFeed));
        check(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n\n\n", None);
    }

    #[test]
    fn what_is_not_understood_is_left_to_hyper() {
        check(b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\nx\ny\n", None);
        check(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx\ny", None);
        check(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx\ny", None);
    }
}
