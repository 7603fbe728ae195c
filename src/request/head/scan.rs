//! Where a head ends, while it arrives.

use super::fault::{HeadFault, MAX_HEADER_LINES, MAX_HEADER_SECTION, MAX_REQUEST_LINE, Malformed};

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
    ///
    /// # Errors
    /// As soon as the bytes can not become a head that is taken.
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
