//! `member_id`: 32 hex digits in 16 bytes.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::values::{Invalid, bounded};
use crate::request::byte_set::{TOKEN, hex, hex_digit};
use crate::request::fingerprint::Fingerprint;

/// How strictly `member_id` is read (`[widget] member_id`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MemberIdShape {
    /// 32 lower-case hex digits: every genuine portal.
    #[default]
    Hex32,
    /// 1 to 64 of `A-Za-z0-9_-`.
    Token,
}

/// `member_id`: the portal's lasting identity and the key of the limit.
///
/// It carries its fingerprint, so that everyone who looks it up hashes it no more. Ids are compared by their text;
/// their fingerprints say besides who named them, since what is counted of a portal must not be anybody's to spend.
#[derive(Clone)]
pub struct MemberId {
    text: MemberIdRepr,
    fingerprint: Fingerprint,
}

/// The genuine shape takes 16 bytes instead of a heap string.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum MemberIdRepr {
    Hex([u8; 16]),
    Token(Arc<str>),
}

impl MemberId {
    /// Takes a value of the given shape.
    ///
    /// # Errors
    /// Any other value.
    pub fn parse(bytes: &[u8], shape: MemberIdShape) -> Result<MemberId, Invalid> {
        let text = match (packed_hex(bytes), shape) {
            (Some(packed), _) => MemberIdRepr::Hex(packed),
            (None, MemberIdShape::Hex32) => return Err(Invalid),
            (None, MemberIdShape::Token) => MemberIdRepr::Token(bounded(bytes, 64, &TOKEN)?.into()),
        };
        Ok(MemberId {
            fingerprint: Fingerprint::of(&text),
            text,
        })
    }

    /// Uses the id as it is written, which takes no memory of its own.
    pub fn with_text<T>(&self, then: impl FnOnce(&str) -> T) -> T {
        match &self.text {
            MemberIdRepr::Hex(packed) => {
                then(std::str::from_utf8(hex(*packed).as_flattened()).unwrap_or_default())
            }
            MemberIdRepr::Token(token) => then(token),
        }
    }

    /// What stands for the id in this process.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The name of what is counted of the id where other processes count it too: the id, or one that no id can be.
    pub fn counted_as(&self) -> String {
        // Hashed once more, since a question to another process is rare, and ids are small.
        match self.fingerprint == Fingerprint::of(&self.text) {
            true => self.to_string(),
            false => format!("{self}~unproven"),
        }
    }

    /// The same id, said by somebody for whom nobody vouches: it is counted apart. Of one that is that already it is the
    /// same.
    #[must_use]
    pub fn unproven(self) -> MemberId {
        MemberId {
            fingerprint: Fingerprint::of(&("unproven", Fingerprint::of(&self.text))),
            ..self
        }
    }
}

impl PartialEq for MemberId {
    fn eq(&self, other: &MemberId) -> bool {
        self.text == other.text
    }
}

impl Eq for MemberId {}

impl PartialOrd for MemberId {
    fn partial_cmp(&self, other: &MemberId) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for MemberId {
    fn cmp(&self, other: &MemberId) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for MemberId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl Hash for MemberIdRepr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            MemberIdRepr::Hex(packed) => state.write(packed),
            // Longer than any digits, whose hash it can not have for that reason: the length is hashed too.
            MemberIdRepr::Token(token) => {
                state.write(&[0; 16]);
                state.write(token.as_bytes());
            }
        }
    }
}

fn packed_hex(bytes: &[u8]) -> Option<[u8; 16]> {
    let (pairs, []) = bytes.as_chunks::<2>() else {
        return None;
    };
    let pairs: &[[u8; 2]; 16] = pairs.try_into().ok()?;
    let digit = |b: u8| hex_digit(b).filter(|_| !b.is_ascii_uppercase());
    let mut packed = [0; 16];
    for (byte, &[high, low]) in packed.iter_mut().zip(pairs) {
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(packed)
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.write_str(text))
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_vouched_for_is_counted_apart_and_once() {
        let member = MemberId::parse(b"member-1", MemberIdShape::Token).unwrap();
        let once = member.clone().unproven();
        assert_ne!(once.fingerprint, member.fingerprint);
        assert_eq!(once.clone().unproven().fingerprint, once.fingerprint);
        assert_eq!(once.unproven().counted_as(), "member-1~unproven");
    }

    #[test]
    fn a_member_id_prints_as_it_came() {
        let hex = "3f7a90c1d2e45b68a0719cbe8d243f56";
        assert_eq!(
            MemberId::parse(hex.as_bytes(), MemberIdShape::Hex32)
                .unwrap()
                .to_string(),
            hex
        );
        for bad in [
            "3F7A90C1D2E45B68A0719CBE8D243F56",
            "member-1",
            "3f7a90c1d2e45b68a0719cbe8d243f5",
            "",
        ] {
            assert_eq!(
                MemberId::parse(bad.as_bytes(), MemberIdShape::Hex32),
                Err(Invalid),
                "{bad:?}"
            );
        }
        assert_eq!(
            MemberId::parse(b"member-1", MemberIdShape::Token)
                .unwrap()
                .to_string(),
            "member-1"
        );
        assert_eq!(MemberId::parse(b"member 1", MemberIdShape::Token), Err(Invalid));
        assert_eq!(MemberId::parse(&[b'a'; 65], MemberIdShape::Token), Err(Invalid));
        assert_eq!(size_of::<MemberId>(), 32);
    }

    #[test]
    fn an_id_has_one_fingerprint_and_shares_it_with_no_other() {
        let ids = [
            "00000000000000000000000000000000",
            "3f7a90c1d2e45b68a0719cbe8d243f56",
            "a",
            "aa",
        ];
        let fingerprints = || {
            ids.map(|id| {
                let id = MemberId::parse(id.as_bytes(), MemberIdShape::Token).unwrap();
                id.fingerprint()
            })
        };
        let member = MemberId::parse(b"a", MemberIdShape::Token).unwrap();
        let unproven = member.clone().unproven();
        assert_eq!(unproven, member);
        assert_ne!(unproven.fingerprint(), member.fingerprint());
        assert_eq!(member.counted_as(), member.to_string());
        assert_eq!(unproven.counted_as(), format!("{member}~unproven"));
        assert_eq!(unproven.fingerprint(), member.unproven().fingerprint());
        let mut seen = fingerprints();
        assert_eq!(seen, fingerprints());
        seen.sort_unstable();
        assert!(seen.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
