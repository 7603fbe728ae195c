//! Why a head is refused.

use crate::request::label::labelled;

/// The longest request line, in bytes.
pub const MAX_REQUEST_LINE: usize = 8 * 1024;
/// The longest header section, in bytes, without the request line.
pub const MAX_HEADER_SECTION: usize = 32 * 1024;
/// The most header lines.
pub const MAX_HEADER_LINES: usize = 100;

labelled! {
    /// Why a head is malformed. Static words only: nothing of the request is echoed.
    pub enum Malformed {
        /// A line ends with LF alone.
        BareLf: "a line of the head ends with LF instead of CRLF";
        /// CR without LF.
        BareCr: "the head contains CR without LF";
        /// NUL or another control byte.
        Control: "the head contains a control byte";
        /// A header line that continues the one before it (RFC 9112 5.2).
        ObsFold: "a header line is folded";
        /// A header name that is not a token, or white space before its colon (RFC 9112 5.1).
        HeaderName: "a header name is not a token followed by a colon";
        /// Not `method SP target SP HTTP/1.x`.
        RequestLine: "the request line is not method, target and HTTP/1.1 or HTTP/1.0";
        /// White space, a fragment, a control byte or broken UTF-8 in the target.
        Target: "the request target contains a byte that is not allowed";
        /// Dot segment, backslash, or an encoded slash, backslash, NUL or dot segment in the path.
        Path: "the path contains a dot segment, a backslash or an encoded separator";
        /// Merging repeated slashes would select another route.
        Slashes: "the path contains repeated slashes that hide a route";
        /// No Host where HTTP/1.1 demands it, more than one, or not `host[:port]`.
        Host: "there must be exactly one Host header, of the form host[:port]";
        /// An absolute target names another authority than Host does.
        Authority: "the authority of the target differs from Host";
        /// Content-Length repeated, not a number, or beside Transfer-Encoding.
        ContentLength: "Content-Length is repeated, malformed or beside Transfer-Encoding";
        /// Transfer-Encoding on HTTP/1.0, or one that is not a list of codings.
        TransferEncoding: "Transfer-Encoding is malformed";
        /// The headers that Connection names are ones that may not be removed.
        Connection: "Connection names a header that may not be removed";
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
