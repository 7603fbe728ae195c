//! Strict chunked framing (RFC 9112 7.1), followed byte by byte. The engine would take an empty size line
//! for the end of the body and a bare LF for a line end.

use bytes::BytesMut;

use super::body::BrokenChunks;

/// Hex digits of one size: 15 stay within 60 bits.
const MAX_SIZE_DIGITS: u8 = 15;
/// Extensions and trailers of one body, in bytes. Nobody here uses them.
const MAX_EXTRA: usize = 8 * 1024;

/// Where in the framing the next byte stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    Size { digits: u8, size: u64 },
    Extension { size: u64 },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    End,
}

/// Follows the chunks of one body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunks {
    at: At,
    extra: usize,
}

impl Default for Chunks {
    fn default() -> Chunks {
        Chunks {
            at: At::Size { digits: 0, size: 0 },
            extra: 0,
        }
    }
}

impl Chunks {
    /// Whether the last chunk and the trailers are complete.
    pub fn is_complete(&self) -> bool {
        self.at == At::End
    }

    /// Appends what the next bytes hold of it to `data`; returns how many of them belong to this body.
    ///
    /// # Errors
    /// Where the framing is broken.
    pub fn read(&mut self, bytes: &[u8], data: &mut BytesMut) -> Result<usize, BrokenChunks> {
        let mut rest = bytes;
        while let (Some((&b, after)), false) = (rest.split_first(), self.is_complete()) {
            let here = std::mem::replace(&mut rest, after);
            self.at = match self.at {
                At::Size { digits, size } => match (char::from(b).to_digit(16), b) {
                    (Some(_), _) if digits == MAX_SIZE_DIGITS => return Err(BrokenChunks),
                    (Some(digit), _) => At::Size {
                        digits: digits + 1,
                        size: size << 4 | u64::from(digit),
                    },
                    (None, b'\r') if digits > 0 => At::SizeLf { size },
                    (None, b';') if digits > 0 => At::Extension { size },
                    (None, _) => return Err(BrokenChunks),
                },
                At::Extension { size } if b == b'\r' => At::SizeLf { size },
                At::Extension { size } => {
                    self.extra(b)?;
                    At::Extension { size }
                }
                At::SizeLf { size: 0 } if b == b'\n' => At::TrailerStart,
                At::SizeLf { size } if b == b'\n' => At::Data { left: size },
                At::Data { left } => {
                    // As many as are there at once; the byte in hand is one of them.
                    let there = usize::try_from(left).unwrap_or(usize::MAX).min(here.len());
                    data.extend_from_slice(here.get(..there).unwrap_or_default());
                    rest = here.get(there..).unwrap_or_default();
                    match left - there as u64 {
                        0 => At::DataCr,
                        left => At::Data { left },
                    }
                }
                At::DataCr if b == b'\r' => At::DataLf,
                At::DataLf if b == b'\n' => At::Size { digits: 0, size: 0 },
                At::TrailerStart if b == b'\r' => At::EndLf,
                At::TrailerStart | At::Trailer if b != b'\r' => {
                    self.extra(b)?;
                    At::Trailer
                }
                At::Trailer => At::TrailerLf,
                At::TrailerLf if b == b'\n' => At::TrailerStart,
                At::EndLf if b == b'\n' => At::End,
                At::SizeLf { .. }
                | At::DataCr
                | At::DataLf
                | At::TrailerStart
                | At::TrailerLf
                | At::EndLf
                | At::End => {
                    return Err(BrokenChunks);
                }
            };
        }
        Ok(bytes.len() - rest.len())
    }

    fn extra(&mut self, b: u8) -> Result<(), BrokenChunks> {
        self.extra += 1;
        if self.extra > MAX_EXTRA || (b < b' ' && b != b'\t') || b == 0x7f {
            return Err(BrokenChunks);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_ends_where_it_ends_at_every_cut() {
        let body = b"3\r\nabc\r\n1F;x=\"y\"\r\n0123456789012345678901234567890\r\n0\r\nX: y\r\n\r\nnext";
        let end = body.len() - 4;
        for cut in 0..=end {
            let (mut chunks, mut data) = (Chunks::default(), BytesMut::new());
            assert_eq!(chunks.read(&body[..cut], &mut data), Ok(cut));
            assert_eq!(chunks.is_complete(), cut == end);
            assert_eq!(chunks.read(&body[cut..], &mut data), Ok(end - cut));
            assert!(chunks.is_complete());
            assert_eq!(data, &b"abc0123456789012345678901234567890"[..]);
        }
    }

    #[test]
    fn broken_framing_is_refused() {
        for body in [
            "\r\n",
            "0x3\r\nabc\r\n",
            "+3\r\nabc",
            "3 \r\nabc",
            " 3\r\n",
            "3\nabc\r\n",
            "3\r\nabcd\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "3\r\nabc0\r\n",
            "3;a\nb\r\n",
            "3;a\rb\r\n",
            "0\r\nX: y\n\r\n",
            "0\r\n\n",
            "FFFFFFFFFFFFFFFFF\r\n",
            "g\r\n",
            "3;\0\r\n",
            "-1\r\n",
            "1_0\r\n",
        ] {
            assert_eq!(
                Chunks::default().read(body.as_bytes(), &mut BytesMut::new()),
                Err(BrokenChunks),
                "{body:?}"
            );
        }
        let long = format!("3;{}", "x".repeat(MAX_EXTRA + 1));
        let read = Chunks::default().read(long.as_bytes(), &mut BytesMut::new());
        assert_eq!(read, Err(BrokenChunks));
    }
}
