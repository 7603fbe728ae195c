//! Who is held to a route's rules while it is being turned over: a portion of the members, each in or out.

use std::num::NonZeroU8;

use sha2::{Digest, Sha256};

use super::Mode;
use crate::request::field::MemberId;

/// So many of a hundred members (`[[routes]] enforce`).
///
/// Which ones depends on `member_id` alone: a portal is in or out on every route, in every process and after
/// every restart, and whoever is in stays in when the portion grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Portion(NonZeroU8);

impl Portion {
    /// Everybody, also who says no `member_id`.
    pub const ALL: Portion = Portion(NonZeroU8::MIN.saturating_add(99));

    /// So many per cent, 1 to 100.
    pub const fn of(percent: u8) -> Option<Portion> {
        match NonZeroU8::new(percent) {
            Some(percent) if percent.get() <= 100 => Some(Portion(percent)),
            Some(_) | None => None,
        }
    }

    /// Per cent.
    pub const fn percent(self) -> u8 {
        self.0.get()
    }

    /// What a fault leads to in a request of this member. Nobody knows whose one without a `member_id` is: it
    /// is observed until everybody is in.
    pub fn mode_of(self, member: Option<&MemberId>) -> Mode {
        let is_in = self == Portion::ALL || member.is_some_and(|member| place_of(member) < self.percent());
        match is_in {
            true => Mode::Enforce,
            false => Mode::Observe,
        }
    }
}

impl Default for Portion {
    fn default() -> Portion {
        Portion::ALL
    }
}

/// Where a member stands among a hundred. No secret is in it, so that all processes agree; whoever chooses an
/// id for its place gains what he has anyway: to be no portal that is known.
fn place_of(member: &MemberId) -> u8 {
    let digest = Sha256::new_with_prefix("widget-gateway enforce ").chain_update(member.to_string());
    let hash = digest
        .finalize()
        .first_chunk()
        .copied()
        .map_or(0, u64::from_be_bytes);
    (hash % 100) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::field::MemberIdShape;

    fn member(n: u32) -> MemberId {
        MemberId::parse(format!("{n:032x}").as_bytes(), MemberIdShape::Hex32).unwrap()
    }

    #[test]
    fn a_portion_is_about_so_many_and_only_grows() {
        let mut before = vec![false; 10_000];
        for percent in [1, 10, 50, 99, 100] {
            let portion = Portion::of(percent).unwrap();
            let now: Vec<_> = (0..10_000)
                .map(|n| portion.mode_of(Some(&member(n))) == Mode::Enforce)
                .collect();
            let count = now.iter().filter(|is_in| **is_in).count();
            assert!(
                count.abs_diff(usize::from(percent) * 100) < 150,
                "{percent}: {count}"
            );
            assert!(before.iter().zip(&now).all(|(before, now)| !before || *now));
            before = now;
        }
    }

    #[test]
    fn a_place_is_the_same_in_every_version_and_process() {
        let places = [0, 1, 2, 3].map(|n| place_of(&member(n)));
        assert_eq!(places, PLACES);
        const PLACES: [u8; 4] = [1, 31, 87, 82];
    }

    #[test]
    fn who_says_no_id_is_in_when_everybody_is() {
        assert_eq!(Portion::ALL.mode_of(None), Mode::Enforce);
        assert_eq!(Portion::of(99).unwrap().mode_of(None), Mode::Observe);
        assert_eq!((Portion::of(0), Portion::of(101)), (None, None));
    }
}
