//! What `APPLICATION_TOKEN` is on each portal, as the operator has written it down.

use std::collections::HashMap;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::request::field::{MemberId, MemberIdShape, check_token};

/// The list: the tokens themselves are not in it, only their hashes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pins(HashMap<MemberId, Pinned>);

/// What is written down for one portal: while a token is exchanged there are two.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pinned(Vec<[u8; 32]>);

/// A line of the file that is none, by its number from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadLine(pub usize);

impl Pins {
    /// Reads lines of a `member_id` and its token; several lines of one portal are all good. Empty lines and what
    /// begins with `#` are passed over.
    ///
    /// # Errors
    /// The first line that is none of these.
    pub fn parse(content: &[u8], shape: MemberIdShape) -> Result<Pins, BadLine> {
        let mut pins: HashMap<MemberId, Pinned> = HashMap::new();
        for (number, line) in (1..).zip(content.split(|&b| b == b'\n')) {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let mut words = line
                .split(u8::is_ascii_whitespace)
                .filter(|word| !word.is_empty());
            let (Some(member), Some(token), None) = (words.next(), words.next(), words.next()) else {
                return Err(BadLine(number));
            };
            let (Ok(member), Ok(())) = (MemberId::parse(member, shape), check_token(token)) else {
                return Err(BadLine(number));
            };
            pins.entry(member).or_default().0.push(hash(token));
        }
        Ok(Pins(pins))
    }

    /// What is written down for a portal.
    pub fn of(&self, member: &MemberId) -> Option<&Pinned> {
        self.0.get(member)
    }

    /// How many portals there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Pinned {
    /// Whether it is this token. Takes the same time whatever the token is.
    pub fn is(&self, token: &[u8]) -> bool {
        let shown = hash(token);
        let any = |found: Choice, pinned: &[u8; 32]| found | pinned.ct_eq(&shown);
        self.0.iter().fold(Choice::from(0), any).into()
    }
}

fn hash(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}
