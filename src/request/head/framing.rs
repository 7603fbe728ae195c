//! What the client speaks, and how the body of its request is delimited.

/// The version that the client speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// HTTP/1.0: no chunks, no interim answers (RFC 9112 6.1, RFC 9110 15.2).
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

/// How the body of a request is delimited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// So many bytes; none on HTTP/1 without Content-Length (RFC 9112 6.3).
    Length(u64),
    /// Chunks (RFC 9112 7.1).
    Chunked,
    /// DATA frames up to the one that ends the stream (RFC 9113 8.1); no length was announced.
    Frames,
}

impl Framing {
    /// The length in bytes, where it is known before the body is there.
    pub const fn announced(self) -> Option<u64> {
        match self {
            Framing::Length(length) => Some(length),
            Framing::Chunked | Framing::Frames => None,
        }
    }
}

/// What Content-Length says: digits only (RFC 9110 8.6), within 63 bits.
pub fn content_length(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok()?;
    // A sign is none of them.
    let is_number = digits.bytes().all(|b| b.is_ascii_digit());
    let length: u64 = digits.parse().ok().filter(|_| is_number)?;
    (length <= i64::MAX as u64).then_some(length)
}
