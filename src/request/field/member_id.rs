//! `member_id`: 32 hex digits in 16 bytes.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::values::{Invalid, bounded};
use crate::request::byte_set::{TOKEN, hex, hex_digit};

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
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(MemberIdRepr);

/// The genuine shape takes 16 bytes instead of a heap string.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum MemberIdRepr {
    Hex([u8; 16]),
    Token(Arc<str>),
}

impl MemberId {
    /// Takes a value of the given shape.
    pub fn parse(bytes: &[u8], shape: MemberIdShape) -> Result<MemberId, Invalid> {
        match (packed_hex(bytes), shape) {
            (Some(packed), _) => Ok(MemberId(MemberIdRepr::Hex(packed))),
            (None, MemberIdShape::Hex32) => Err(Invalid),
            (None, MemberIdShape::Token) => {
                Ok(MemberId(MemberIdRepr::Token(bounded(bytes, 64, &TOKEN)?.into())))
            }
        }
    }

    /// 16 bytes that stand for the id and for no other: the digits, or half of a token's SHA-256, for which
    /// nobody can find a second id.
    pub fn fingerprint(&self) -> [u8; 16] {
        match &self.0 {
            MemberIdRepr::Hex(packed) => *packed,
            MemberIdRepr::Token(token) => {
                let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
                digest.first_chunk().copied().unwrap_or_default()
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
        match &self.0 {
            MemberIdRepr::Hex(packed) => {
                f.write_str(std::str::from_utf8(hex(*packed).as_flattened()).unwrap_or_default())
            }
            MemberIdRepr::Token(token) => f.write_str(token),
        }
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
        assert_eq!(size_of::<MemberId>(), 24);
    }
}
