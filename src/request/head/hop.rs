//! What a head says to this hop alone (RFC 9110 7.6.1). It goes no further.

use http::{HeaderMap, HeaderName, header};

use super::fault::Malformed;
use super::field_line::is_token;
use super::framing::Version;

/// So many options of Connection are read; more are an attempt to make us work.
const MAX_OPTIONS: usize = 10;

/// Names that Connection may not take away: who is called, and what tells the server who is calling.
const PROTECTED: [&str; 4] = ["host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

/// Headers that are always for one hop, of requests and of answers.
const ONE_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

/// The part of a head that is for this hop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hop {
    /// Whether the client would send another request on this connection.
    pub keeps_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends its body.
    pub expects_continue: bool,
    pub(super) named: Vec<HeaderName>,
}

impl Hop {
    /// Reads Connection and Expect.
    ///
    /// # Errors
    /// Where Connection is no list of tokens, is too long, or names a header that may not be removed.
    pub(super) fn of(version: Version, headers: &HeaderMap) -> Result<Hop, Malformed> {
        let mut hop = Hop {
            keeps_alive: version != Version::Http10,
            expects_continue: version != Version::Http10
                && headers
                    .get(header::EXPECT)
                    .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")),
            named: Vec::new(),
        };
        let mut closes = false;
        for (at, option) in options(headers).enumerate() {
            let name = HeaderName::from_bytes(option).ok().filter(|_| is_token(option));
            let name = name.ok_or(Malformed::Connection)?;
            if at + 1 >= MAX_OPTIONS || PROTECTED.contains(&name.as_str()) {
                return Err(Malformed::Connection);
            }
            match name.as_str() {
                "close" => closes = true,
                "keep-alive" => hop.keeps_alive = true,
                _ => hop.named.push(name),
            }
        }
        hop.keeps_alive &= !closes;
        Ok(hop)
    }

    /// Whether a header of this name is for this hop alone.
    pub fn ends_here(&self, name: &HeaderName) -> bool {
        is_for_one_hop(name) || self.named.contains(name)
    }
}

/// The options of every Connection line.
pub fn options(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(header::CONNECTION).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|&b| b == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|option| !option.is_empty())
}

/// Whether headers of this name never go further than one hop, whatever Connection says.
pub fn is_for_one_hop(name: &HeaderName) -> bool {
    ONE_HOP.contains(name)
}
