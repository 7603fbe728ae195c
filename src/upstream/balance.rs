//! Which server of an upstream has the next request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::seed::seed;
use super::server::Server;
use crate::request::label::labelled;

labelled! {
    /// `[upstreams.NAME] balance`.
    #[derive(Default)]
    pub enum Balance {
        /// They take turns, by their weights, as evenly as can be.
        #[default]
        RoundRobin = "round_robin";
        /// The one with the fewest requests for its weight.
        LeastConnections = "least_connections";
        /// The calls of one portal meet one server; a request without a portal takes its turn.
        MemberId = "member_id";
    }
}

/// A server as an upstream has it.
#[derive(Clone, Debug)]
pub struct Member {
    /// The server.
    pub server: Arc<Server>,
    /// Its share, relative to the others.
    pub weight: u32,
    /// Whether it is asked only where no other is up.
    pub backup: bool,
}

impl PartialEq for Member {
    fn eq(&self, other: &Member) -> bool {
        Arc::ptr_eq(&self.server, &other.server) && (self.weight, self.backup) == (other.weight, other.backup)
    }
}

/// The servers that an upstream has at the moment.
#[derive(Debug)]
pub struct Present {
    /// Every one.
    pub members: Vec<Member>,
    /// Of the smooth weighted round robin: how far each is behind its share.
    behind: Mutex<Vec<i64>>,
    turn: AtomicUsize,
}

/// Stands for a portal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Portal(u64);

impl Portal {
    /// By its id; the same in every process, so that all of them choose the same server.
    pub fn of(member_id: &str) -> Portal {
        Portal(seed(member_id.as_bytes()))
    }
}

impl Present {
    /// The first member has the first turn.
    pub fn new(members: Vec<Member>) -> Present {
        Present {
            behind: Mutex::new(vec![0; members.len()]),
            members,
            turn: AtomicUsize::new(0),
        }
    }

    /// The member to ask, by its index; none where each was tried. What is up comes before what is not, and
    /// backups come behind the others.
    pub fn choose(&self, balance: Balance, portal: Option<Portal>, tried: &[usize]) -> Option<usize> {
        if let ([_], []) = (self.members.as_slice(), tried) {
            return Some(0);
        }
        let place = |at: &usize| {
            let member = self.members.get(*at)?;
            Some((!member.server.health.is_up(), member.backup))
        };
        let untried = || (0..self.members.len()).filter(|at| !tried.contains(at));
        let best = untried().filter_map(|at| place(&at)).min()?;
        let among = untried().filter(|at| place(at) == Some(best));
        match (balance, portal) {
            (Balance::LeastConnections, _) => self.fewest(among.collect()),
            (Balance::MemberId, Some(portal)) => self.highest(among, portal),
            (Balance::MemberId, None) | (Balance::RoundRobin, _) => self.smooth(among.collect()),
        }
    }

    /// Smooth weighted round robin: each gains its weight, who is furthest behind is asked and pays for all.
    fn smooth(&self, among: Vec<usize>) -> Option<usize> {
        let mut behind = self.behind.lock();
        let (mut chosen, mut total) = (None, 0);
        for at in among {
            let (member, behind) = (self.members.get(at)?, behind.get_mut(at)?);
            *behind += i64::from(member.weight);
            total += i64::from(member.weight);
            if chosen.is_none_or(|(_, most)| *behind > most) {
                chosen = Some((at, *behind));
            }
        }
        let (at, _) = chosen?;
        *behind.get_mut(at)? -= total;
        Some(at)
    }

    /// The fewest requests for its weight; who comes next has the first of several.
    fn fewest(&self, among: Vec<usize>) -> Option<usize> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % among.len().max(1);
        let rotated = among.iter().skip(turn).chain(among.iter().take(turn));
        let load = |at: &usize| {
            let member = self.members.get(*at)?;
            // One more, so that weights count among idle ones too.
            Some((member.server.in_flight() as f64 + 1.0) / f64::from(member.weight))
        };
        let loads = rotated.filter_map(|at| Some((*at, load(at)?)));
        let least = loads.reduce(|least, other| if other.1 < least.1 { other } else { least });
        least.map(|(at, _)| at)
    }

    /// Weighted rendezvous hashing: each server draws a number for the portal, the same each time, and the
    /// highest has it. When one leaves, only its own portals move.
    fn highest(&self, among: impl Iterator<Item = usize>, Portal(portal): Portal) -> Option<usize> {
        let draws = among.filter_map(|at| {
            let member = self.members.get(at)?;
            // Between 0 and 1, never one of them.
            let drawn =
                ((mixed(portal ^ mixed(member.server.seed)) >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
            Some((at, -f64::from(member.weight) / drawn.ln()))
        });
        let highest = draws.reduce(|highest, other| if other.1 > highest.1 { other } else { highest });
        highest.map(|(at, _)| at)
    }
}

/// Spreads 64 bits (the finalizer of SplitMix64).
fn mixed(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::address::Address;
    use crate::upstream::failure::Cause;
    use crate::upstream::server::Counts;

    fn member(port: u16, weight: u32, backup: bool) -> Member {
        let address = Address::Inet(([10, 0, 0, 1], port).into());
        Member {
            server: Arc::new(Server::new(
                "name".into(),
                address,
                None,
                Arc::<Counts>::default(),
            )),
            weight,
            backup,
        }
    }

    fn present(weights: &[u32]) -> Present {
        Present::new(
            (1..)
                .zip(weights)
                .map(|(port, weight)| member(port, *weight, false))
                .collect(),
        )
    }

    fn chosen(present: &Present, balance: Balance, count: usize) -> Vec<usize> {
        (0..count)
            .map(|_| present.choose(balance, None, &[]).unwrap())
            .collect()
    }

    #[test]
    fn turns_are_even_by_weight() {
        let three = present(&[1, 1, 1]);
        assert_eq!(chosen(&three, Balance::RoundRobin, 6), [0, 1, 2, 0, 1, 2]);
        assert_eq!(chosen(&three, Balance::MemberId, 3), [0, 1, 2]);
        assert_eq!(
            chosen(&present(&[5, 1, 1]), Balance::RoundRobin, 7),
            [0, 0, 1, 0, 2, 0, 0]
        );
        // The rest of the servers share what one that is down would have had.
        three.members[1].server.health.connect_failed(Cause::Refused);
        assert_eq!(chosen(&three, Balance::RoundRobin, 4), [0, 2, 0, 2]);
    }

    #[test]
    fn what_is_down_comes_last_and_backups_before_it() {
        let present = Present::new(vec![
            member(1, 1, false),
            member(2, 1, true),
            member(3, 1, false),
            member(4, 1, true),
        ]);
        for at in [0, 3] {
            present.members[at].server.health.connect_failed(Cause::Refused);
        }
        let mut tried = Vec::new();
        while let Some(at) = present.choose(Balance::RoundRobin, None, &tried) {
            tried.push(at);
        }
        assert_eq!(tried, [2, 1, 0, 3]);
    }

    #[test]
    fn the_fewest_requests_are_counted_by_weight() {
        let present = present(&[1, 3]);
        let mut taken = Vec::new();
        for _ in 0..8 {
            let at = present.choose(Balance::LeastConnections, None, &[]).unwrap();
            taken.push(present.members[at].server.taken());
        }
        assert_eq!(
            [0, 1].map(|at: usize| present.members[at].server.in_flight()),
            [2, 6]
        );
        drop(taken);
        assert_eq!(present.members[0].server.in_flight(), 0);
    }

    #[test]
    fn a_server_that_leaves_moves_its_own_portals_only() {
        const PORTALS: u64 = 10_000;
        let present = present(&[1, 1, 1, 2, 1]);
        let all = || {
            let portals = (0..PORTALS).map(|n| Portal::of(&format!("{n:032x}")));
            portals
                .map(|portal| present.choose(Balance::MemberId, Some(portal), &[]).unwrap())
                .collect::<Vec<_>>()
        };
        let before = all();
        for (at, share) in [1, 1, 1, 2, 1].into_iter().enumerate() {
            let fair = PORTALS * share / 6;
            let own = before.iter().filter(|chosen| **chosen == at).count() as u64;
            assert!(
                own * 10 > fair * 9 && own * 10 < fair * 12,
                "{at}: {own} of {fair}"
            );
        }
        present.members[1].server.health.connect_failed(Cause::Refused);
        for (before, after) in before.iter().zip(all()) {
            assert!(if *before == 1 {
                after != 1
            } else {
                after == *before
            });
        }
    }
}
