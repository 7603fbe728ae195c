//! The strict front door: raw head bytes become a framing and a path that every server behind reads
//! the same way, or a refusal. Pure; the edge that feeds it is `server/connection.rs`.
//!
//! The engine is lenient in places (it takes bare LF, a missing Host, Content-Length beside
//! Transfer-Encoding) and repairs others before any hook sees them (a raw space in the target), so
//! the bytes are judged here, before it reads them.

mod target;

use crate::request::byte_set::{ByteSet, byte_set};

pub use target::Target;

/// The longest request line, in bytes.
pub const MAX_REQUEST_LINE: usize = 8 * 1024;
/// The longest header section, in bytes, without the request line.
pub const MAX_HEADER_SECTION: usize = 32 * 1024;
/// The most header lines.
pub const MAX_HEADER_LINES: usize = 100;

/// Why a head is malformed. Static words only: nothing of the request is echoed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// A line ends with LF alone.
    BareLf,
    /// CR without LF.
    BareCr,
    /// NUL or another control byte.
    Control,
    /// A header line that continues the one before it (RFC 9112 5.2).
    ObsFold,
    /// A header name that is not a token, or white space before its colon (RFC 9112 5.1).
    HeaderName,
    /// Not `method SP target SP HTTP/1.x`.
    RequestLine,
    /// White space, a fragment, a control byte or broken UTF-8 in the target.
    Target,
    /// Dot segment, backslash, or an encoded slash, backslash, NUL or dot segment in the path.
    Path,
    /// Merging repeated slashes would select another route.
    Slashes,
    /// No Host where HTTP/1.1 demands it, more than one, or not `host[:port]`.
    Host,
    /// An absolute target names another authority than Host does.
    Authority,
    /// Content-Length repeated, not a number, or beside Transfer-Encoding.
    ContentLength,
    /// Transfer-Encoding on HTTP/1.0, or one that is not a list of codings.
    TransferEncoding,
    /// The headers that Connection names are ones that may not be removed.
    Connection,
}

impl Malformed {
    /// The sentence for the client.
    pub const fn says(self) -> &'static str {
        match self {
            Malformed::BareLf => "a line of the head ends with LF instead of CRLF",
            Malformed::BareCr => "the head contains CR without LF",
            Malformed::Control => "the head contains a control byte",
            Malformed::ObsFold => "a header line is folded",
            Malformed::HeaderName => "a header name is not a token followed by a colon",
            Malformed::RequestLine => "the request line is not method, target and HTTP/1.1 or HTTP/1.0",
            Malformed::Target => "the request target contains a byte that is not allowed",
            Malformed::Path => "the path contains a dot segment, a backslash or an encoded separator",
            Malformed::Slashes => "the path contains repeated slashes that hide a route",
            Malformed::Host => "there must be exactly one Host header, of the form host[:port]",
            Malformed::Authority => "the authority of the target differs from Host",
            Malformed::ContentLength => "Content-Length is repeated, malformed or beside Transfer-Encoding",
            Malformed::TransferEncoding => "Transfer-Encoding is malformed",
            Malformed::Connection => "Connection names a header that may not be removed",
        }
    }
}

/// Why a head is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeadFault {
    /// Breaks the grammar, or is read differently by different servers.
    Malformed(Malformed),
    /// The request line is over [`MAX_REQUEST_LINE`].
    UriTooLong,
    /// The header section is over [`MAX_HEADER_SECTION`] or [`MAX_HEADER_LINES`].
    HeaderTooLarge,
    /// CONNECT, or a transfer coding other than chunked.
    NotImplemented,
}

impl From<Malformed> for HeadFault {
    fn from(malformed: Malformed) -> HeadFault {
        HeadFault::Malformed(malformed)
    }
}

/// How the body of a request is delimited on an HTTP/1 connection (RFC 9112 6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// So many bytes; none without Content-Length.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// Finds the end of a head while it arrives, and refuses early what can not become one.
#[derive(Clone, Copy, Default)]
pub struct HeadScan {
    /// Bytes looked at so far, always just behind a line end or at the end of the buffer's old length.
    seen: usize,
    line_start: usize,
    lines: usize,
    request_line: usize,
}

impl HeadScan {
    /// Looks at the bytes that came since the last call; `head` holds everything so far.
    ///
    /// Returns the length of the head, its empty line included, once it is complete.
    pub fn advance(&mut self, head: &[u8]) -> Result<Option<usize>, HeadFault> {
        while let Some(found) = memchr::memchr(b'\n', head.get(self.seen..).unwrap_or_default()) {
            let end = self.seen + found;
            let line = head.get(self.line_start..end).unwrap_or_default();
            let Some(line) = line.strip_suffix(b"\r") else {
                return Err(Malformed::BareLf.into());
            };
            self.seen = end + 1;
            if line.is_empty() && self.lines == 0 {
                return Err(Malformed::RequestLine.into());
            }
            if self.lines == 0 {
                self.request_line = end + 1;
            }
            self.line_start = self.seen;
            self.within_limits(line.len())?;
            if line.is_empty() {
                return Ok(Some(self.seen));
            }
            self.lines += 1;
            if self.lines > MAX_HEADER_LINES + 1 {
                return Err(HeadFault::HeaderTooLarge);
            }
        }
        self.seen = head.len();
        self.within_limits(head.len() - self.line_start)?;
        Ok(None)
    }

    fn within_limits(&self, line: usize) -> Result<(), HeadFault> {
        if self.lines == 0 && line > MAX_REQUEST_LINE {
            return Err(HeadFault::UriTooLong);
        }
        if self.lines > 0 && self.seen.saturating_sub(self.request_line) > MAX_HEADER_SECTION {
            return Err(HeadFault::HeaderTooLarge);
        }
        Ok(())
    }
}

/// Judges a complete HTTP/1 head (request line to empty line) and tells how its body is delimited.
pub fn check(head: &[u8]) -> Result<Framing, HeadFault> {
    let mut lines = Lines(head);
    let (method, target, is_http11) = request_line(lines.next().unwrap_or_default())?;
    let mut host = None;
    let mut content_length = None;
    let mut coding: Option<&[u8]> = None;
    for line in lines {
        let (name, value) = header_line(line)?;
        // The length keeps the comparisons off most headers.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host")
                && (host.replace(value).is_some() || !is_authority(value)) =>
            {
                return Err(Malformed::Host.into());
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = length(value).ok_or(Malformed::ContentLength)?;
                if content_length.replace(length).is_some() {
                    return Err(Malformed::ContentLength.into());
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") && coding.replace(value).is_some() => {
                return Err(Malformed::TransferEncoding.into());
            }
            _ => {}
        }
    }
    if host.is_none() && is_http11 {
        return Err(Malformed::Host.into());
    }
    if method == b"CONNECT" {
        return Err(HeadFault::NotImplemented);
    }
    check_target(target, host)?;
    match (coding, content_length) {
        (Some(_), Some(_)) => Err(Malformed::ContentLength.into()),
        (Some(_), None) if !is_http11 => Err(Malformed::TransferEncoding.into()),
        (Some(coding), None) => chunked(coding).map(|()| Framing::Chunked),
        (None, length) => Ok(Framing::Length(length.unwrap_or(0))),
    }
}

/// What Content-Length says of a head that has passed [`check`]: at most one, and a number.
pub fn announced_length(headers: &http::HeaderMap) -> Option<u64> {
    headers
        .get(http::header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// Judges an HTTP/2 head, which the engine has already checked against RFC 9113 8.
pub fn check_http2(raw_target: &[u8], headers: &http::HeaderMap) -> Result<(), HeadFault> {
    if raw_target.len() > MAX_REQUEST_LINE {
        return Err(HeadFault::UriTooLong);
    }
    let size: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if headers.len() > MAX_HEADER_LINES || size > MAX_HEADER_SECTION {
        return Err(HeadFault::HeaderTooLarge);
    }
    let mut hosts = headers.get_all(http::header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_authority(host.as_bytes()) => {
            check_target(raw_target, None).map_err(Into::into)
        }
        _ => Err(Malformed::Host.into()),
    }
}

/// The path and query of an absolute-form target; none for a target that is in origin-form already.
pub fn origin_form(raw_target: &[u8]) -> Option<Vec<u8>> {
    let target = Target::parse(raw_target).ok()?;
    target.authority?;
    let query_mark: &[u8] = if memchr::memchr(b'?', raw_target).is_some() {
        b"?"
    } else {
        b""
    };
    Some([target.raw_path, query_mark, target.query].concat())
}

/// Lines without their CRLF, up to the empty one.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(b'\n', self.0)?;
        let (line, rest) = self.0.split_at_checked(end + 1)?;
        self.0 = rest;
        line.strip_suffix(b"\r\n").filter(|line| !line.is_empty())
    }
}

fn request_line(line: &[u8]) -> Result<(&[u8], &[u8], bool), Malformed> {
    let mut spaces = memchr::memchr_iter(b' ', line);
    let (Some(first), Some(second), None) = (spaces.next(), spaces.next(), spaces.next()) else {
        return Err(no_control(line).err().unwrap_or(Malformed::RequestLine));
    };
    no_control(line)?;
    let method = line.get(..first).unwrap_or_default();
    let target = line.get(first + 1..second).unwrap_or_default();
    let version = line.get(second + 1..).unwrap_or_default();
    if method.is_empty() || !TCHAR.has_all(method) {
        return Err(Malformed::RequestLine);
    }
    match version {
        b"HTTP/1.1" => Ok((method, target, true)),
        b"HTTP/1.0" => Ok((method, target, false)),
        _ => Err(Malformed::RequestLine),
    }
}

fn header_line(line: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Malformed::ObsFold);
    }
    let (name, value) = match memchr::memchr(b':', line).and_then(|colon| line.split_at_checked(colon)) {
        Some((name, value)) => (name, value.get(1..).unwrap_or_default()),
        None => return Err(no_control(line).err().unwrap_or(Malformed::HeaderName)),
    };
    if name.is_empty() || !TCHAR.has_all(name) {
        return Err(no_control(name).err().unwrap_or(Malformed::HeaderName));
    }
    no_control(value)?;
    Ok((name, value.trim_ascii()))
}

/// Field values may hold HTAB, printable ASCII and bytes beyond it (RFC 9110 5.5).
const fn is_control(b: u8) -> bool {
    (b < b' ' && b != b'\t') || b == 0x7f
}

fn no_control(bytes: &[u8]) -> Result<(), Malformed> {
    static FIELD_BYTES: ByteSet = byte_set!(b => !is_control(b));
    // Sixteen bytes are one comparison, if the compiler is told that they are sixteen; the last
    // sixteen overlap those before them.
    let has_control = |chunk: &[u8; 16]| chunk.iter().fold(false, |found, &b| found | is_control(b));
    let is_clean = match bytes.last_chunk() {
        Some(last) => !bytes.as_chunks().0.iter().any(has_control) && !has_control(last),
        None => FIELD_BYTES.has_all(bytes),
    };
    if is_clean {
        return Ok(());
    }
    match bytes.iter().find(|&&b| is_control(b)) {
        Some(b'\r') => Err(Malformed::BareCr),
        Some(_) | None => Err(Malformed::Control),
    }
}

/// RFC 9110 5.6.2.
static TCHAR: ByteSet = byte_set!(b => b.is_ascii_alphanumeric()
|| matches!(
    b,
    b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
));

/// Digits only (RFC 9110 8.6), within 63 bits.
fn length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length: u64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    (length <= i64::MAX as u64).then_some(length)
}

fn chunked(coding: &[u8]) -> Result<(), HeadFault> {
    if coding.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let mut codings = coding.split(|&b| b == b',').map(<[u8]>::trim_ascii);
    let is_list = codings.clone().all(|c| !c.is_empty() && TCHAR.has_all(c));
    let repeats = codings
        .clone()
        .filter(|c| c.eq_ignore_ascii_case(b"chunked"))
        .count()
        > 1;
    let chunked_last = codings
        .next_back()
        .is_some_and(|c| c.eq_ignore_ascii_case(b"chunked"));
    match is_list && !repeats {
        // A coding we do not undo, properly delimited or not (RFC 9112 6.1).
        true if chunked_last || !coding.to_ascii_lowercase().windows(7).any(|w| w == b"chunked") => {
            Err(HeadFault::NotImplemented)
        }
        _ => Err(Malformed::TransferEncoding.into()),
    }
}

/// `host[:port]` of a Host header: a registered name, an IPv4 address or an IPv6 one in brackets.
pub fn is_authority(value: &[u8]) -> bool {
    let (host, port) = match value.strip_prefix(b"[") {
        Some(rest) => match memchr::memchr(b']', rest).and_then(|close| rest.split_at_checked(close)) {
            Some((address, after)) => {
                let sound =
                    std::str::from_utf8(address).is_ok_and(|a| a.parse::<std::net::Ipv6Addr>().is_ok());
                if !sound {
                    return false;
                }
                (None, after.get(1..).unwrap_or_default())
            }
            None => return false,
        },
        None => match memchr::memchr(b':', value).and_then(|colon| value.split_at_checked(colon)) {
            Some((host, port)) => (Some(host), port),
            None => (Some(value), &[][..]),
        },
    };
    static NAME: ByteSet =
        byte_set!(b => b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'));
    let host_is_sound = host.is_none_or(|host| !host.is_empty() && NAME.has_all(host));
    let port_is_sound = match port.split_first() {
        None => true,
        Some((b':', digits)) => {
            digits.len() <= 5
                && std::str::from_utf8(digits).is_ok_and(|d| {
                    d.bytes().all(|b| b.is_ascii_digit()) && d.parse::<u16>().is_ok_and(|port| port > 0)
                })
        }
        Some(_) => false,
    };
    host_is_sound && port_is_sound
}

fn check_target(target: &[u8], host: Option<&[u8]>) -> Result<(), Malformed> {
    let target = Target::parse(target)?;
    match (target.authority, host) {
        // Byte for byte, as the engine compares them.
        (Some(authority), Some(host)) if authority != host => Err(Malformed::Authority),
        (Some(authority), None) if !is_authority(authority) => Err(Malformed::Authority),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(head: &str) -> Result<Framing, HeadFault> {
        check(head.as_bytes())
    }

    fn with(headers: &str) -> Result<Framing, HeadFault> {
        judge(&format!(
            "POST /w?a=b HTTP/1.1\r\nHost: h.example:8080\r\n{headers}\r\n"
        ))
    }

    #[test]
    fn a_sound_head_tells_its_framing() {
        assert_eq!(with(""), Ok(Framing::Length(0)));
        assert_eq!(with("content-length: 12\r\n"), Ok(Framing::Length(12)));
        assert_eq!(with("Transfer-Encoding: Chunked\r\n"), Ok(Framing::Chunked));
        assert_eq!(
            with("Expect: 100-continue\r\nX:\r\nY: \u{e9}\t\r\n"),
            Ok(Framing::Length(0))
        );
        assert_eq!(judge("GET / HTTP/1.0\r\n\r\n"), Ok(Framing::Length(0)));
    }

    #[test]
    fn framing_that_two_servers_could_read_differently_is_refused() {
        use Malformed::*;
        for (headers, fault) in [
            (
                "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
                ContentLength,
            ),
            ("Content-Length: 1\r\nContent-Length: 1\r\n", ContentLength),
            ("Content-Length: 1, 1\r\n", ContentLength),
            ("Content-Length: +1\r\n", ContentLength),
            ("Content-Length: 0x1\r\n", ContentLength),
            ("Content-Length:\r\n", ContentLength),
            ("Content-Length: 9223372036854775808\r\n", ContentLength),
            ("Content-Length: 99999999999999999999\r\n", ContentLength),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                TransferEncoding,
            ),
            ("Transfer-Encoding: chunked, chunked\r\n", TransferEncoding),
            ("Transfer-Encoding: chunked, identity\r\n", TransferEncoding),
            ("Transfer-Encoding: ,chunked\r\n", TransferEncoding),
            ("Transfer-Encoding: xchunked\r\n", TransferEncoding),
            ("Transfer-Encoding: \"chunked\"\r\n", TransferEncoding),
            ("Transfer-Encoding:\r\n", TransferEncoding),
            ("Host: h.example:8080\r\n", Host),
            ("X : y\r\n", HeaderName),
            ("X\r\n", HeaderName),
            (": y\r\n", HeaderName),
            ("X: a\r\n b\r\n", ObsFold),
            ("X: a\0b\r\n", Control),
            ("X: a\u{b}b\r\n", Control),
            ("X: a\rb\r\n", BareCr),
        ] {
            assert_eq!(with(headers), Err(HeadFault::Malformed(fault)), "{headers:?}");
        }
        assert_eq!(
            with("Transfer-Encoding: gzip, chunked\r\n"),
            Err(HeadFault::NotImplemented)
        );
        assert_eq!(
            with("Transfer-Encoding: gzip\r\n"),
            Err(HeadFault::NotImplemented)
        );
        let te_on_10 = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(judge(te_on_10), Err(HeadFault::Malformed(TransferEncoding)));
    }

    #[test]
    fn request_lines_and_targets_have_one_meaning() {
        use Malformed::*;
        for (line, fault) in [
            ("GET /  HTTP/1.1", RequestLine),
            ("GET / HTTP/2.0", RequestLine),
            ("GET /", RequestLine),
            ("GET / HTTP/1.1 ", RequestLine),
            ("G@T / HTTP/1.1", RequestLine),
            (" GET / HTTP/1.1", RequestLine),
            ("GET /a\tb HTTP/1.1", Target),
            ("GET /a\0b HTTP/1.1", Control),
            ("GET /#a HTTP/1.1", Target),
            ("GET w HTTP/1.1", Target),
            ("GET ftp://h.example/ HTTP/1.1", Target),
            ("GET http://other.example/ HTTP/1.1", Authority),
            ("GET http://u@h.example/ HTTP/1.1", Authority),
            ("GET /a/../b HTTP/1.1", Path),
            ("GET /%2E%2e/b HTTP/1.1", Path),
            ("GET /a/. HTTP/1.1", Path),
            ("GET /a%2fb HTTP/1.1", Path),
            ("GET /a%5Cb HTTP/1.1", Path),
            ("GET /a\\b HTTP/1.1", Path),
            ("GET /a%00b HTTP/1.1", Path),
        ] {
            assert_eq!(
                judge(&format!("{line}\r\nHost: h.example\r\n\r\n")),
                Err(fault.into()),
                "{line:?}"
            );
        }
        for line in [
            "GET http://h.example/w?x HTTP/1.1",
            "GET /a%252fb/...%zz/c.php HTTP/1.1",
            "OPTIONS * HTTP/1.1",
            "pOsT /?a=/../ HTTP/1.1",
        ] {
            assert_eq!(
                judge(&format!("{line}\r\nHost: h.example\r\n\r\n")),
                Ok(Framing::Length(0)),
                "{line}"
            );
        }
        assert_eq!(
            judge("CONNECT h.example:1 HTTP/1.1\r\nHost: h.example:1\r\n\r\n"),
            Err(HeadFault::NotImplemented)
        );
        assert_eq!(judge("GET / HTTP/1.1\r\n\r\n"), Err(Host.into()));
        for host in [
            "", "a b", "a/b", "a, b", "a:", "a:x", "a:99999", "u@a", "[::1", "a:0",
        ] {
            assert_eq!(
                judge(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")),
                Err(Host.into()),
                "{host:?}"
            );
        }
        assert!(
            is_authority(b"[::1]:80") && is_authority(b"a-b_c.example") && is_authority(b"10.0.0.1:8080")
        );
    }

    #[test]
    fn the_scan_finds_the_end_at_every_cut() {
        let head = b"POST / HTTP/1.1\r\nHost: a\r\n\r\nbody";
        for cut in 0..head.len() {
            let mut scan = HeadScan::default();
            let first = scan.advance(&head[..cut]).unwrap();
            let second = if first.is_some() {
                first
            } else {
                scan.advance(head).unwrap()
            };
            assert_eq!(second, Some(28), "cut at {cut}");
        }
    }

    #[test]
    fn the_scan_refuses_early() {
        let scan = |head: &[u8]| HeadScan::default().advance(head);
        assert_eq!(scan(b"GET / HTTP/1.1\n"), Err(Malformed::BareLf.into()));
        assert_eq!(
            scan(b"GET / HTTP/1.1\r\nHost: a\n\r\n"),
            Err(Malformed::BareLf.into())
        );
        assert_eq!(scan(&[b'a'; MAX_REQUEST_LINE + 1]), Err(HeadFault::UriTooLong));
        assert_eq!(scan(&[b'a'; MAX_REQUEST_LINE]), Ok(None));
        let long = |size: usize| [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'a'; size]].concat();
        assert_eq!(scan(&long(MAX_HEADER_SECTION)), Err(HeadFault::HeaderTooLarge));
        assert_eq!(scan(&long(MAX_HEADER_SECTION - 3)), Ok(None));
        let many = |lines: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(lines));
        assert!(matches!(scan(many(MAX_HEADER_LINES).as_bytes()), Ok(Some(_))));
        assert_eq!(
            scan(many(MAX_HEADER_LINES + 1).as_bytes()),
            Err(HeadFault::HeaderTooLarge)
        );
    }
}
