//! Who is busy: the members with the most requests and the most limited ones of the last minutes, and
//! how many members there were. The memory is bounded whoever calls.
//!
//! Members are spread over shards; each shard ranks by the SpaceSaving algorithm (Metwally, Agrawal,
//! El Abbadi 2005): a new member takes the place of the one counted least and inherits its count as the
//! most by which it may be counted too high. A member with more than 1/[`PLACES`] of its shard's
//! requests is always there, whatever flood of others passes by. Two windows rotate, so the answer
//! covers between one and two of them. A request never waits for a shard: one that is taken (by a
//! reader, or by another request of a member of the same shard) is tried a few times, then the
//! request is left out of the ranking and counted as dropped.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cardinality_estimator::CardinalityEstimator;
use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard};
use serde::{Serialize, Serializer};

use crate::request::field::{Domain, MemberId};
use crate::request::fingerprint::Fingerprint;

/// A member's shard is the top bits of its hash; the estimator uses the low ones.
const SHARD_BITS: u32 = 4;
const SHARDS: usize = 1 << SHARD_BITS;
/// Members that one ranking of one shard holds.
pub const PLACES: usize = 64;
/// How long a window is.
pub const WINDOW: Duration = Duration::from_secs(150);
/// How often a taken shard is tried: about a microsecond.
const TRIES: usize = 64;

/// The sketch. Time is told, counted from the start of the process.
#[derive(Default)]
pub struct Top {
    shards: [Mutex<Shard>; SHARDS],
    dropped: AtomicU64,
}

/// What the sketch says.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Busy {
    /// The span that is covered.
    #[serde(rename = "covers_seconds", serialize_with = "rounded")]
    pub covers: Duration,
    /// Requests with a valid `member_id` in it.
    pub requests: u64,
    /// Of these, those over their limit.
    pub limited: u64,
    /// About how many members there were.
    #[serde(rename = "distinct_members")]
    pub members: usize,
    /// Requests left out of all this because a shard was taken, since the start.
    pub dropped: u64,
    /// The most requests first.
    pub busiest: Vec<Member>,
    /// The most limited requests first.
    pub most_limited: Vec<Member>,
}

/// One member.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Member {
    /// Its id.
    #[serde(rename = "member_id", serialize_with = "text")]
    pub id: MemberId,
    /// As it was sent last.
    #[serde(serialize_with = "domain")]
    pub domain: Option<Domain>,
    /// Its requests. In the list of limited members none where it is not among the busiest.
    pub requests: Option<u64>,
    /// Those over its limit.
    pub limited: u64,
    /// The most by which the number that the list is sorted by may be too high.
    pub over: u64,
}

fn rounded<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(span.as_secs_f64().round())
}

fn text<S: Serializer>(id: &MemberId, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(id)
}

fn domain<S: Serializer>(domain: &Option<Domain>, to: S) -> Result<S::Ok, S::Error> {
    domain.as_ref().map(Domain::as_str).serialize(to)
}

#[derive(Default)]
struct Shard {
    /// Which window is the present one, counted from the start of the process.
    number: u64,
    present: Window,
    past: Window,
}

#[derive(Default)]
struct Window {
    requests: u64,
    limited: u64,
    busiest: Ranking,
    most_limited: Ranking,
    distinct: CardinalityEstimator<MemberId>,
}

#[derive(Default)]
struct Ranking(HashMap<Fingerprint, Place>);

#[derive(Clone)]
struct Place {
    id: MemberId,
    count: u64,
    over: u64,
    domain: Option<Domain>,
}

impl Top {
    /// Counts one request of a member at `now`.
    pub fn count(&self, member: &MemberId, domain: Option<&Domain>, was_limited: bool, now: Duration) {
        // Nobody can choose ids that meet in one shard or fool the estimate.
        let hash = member.fingerprint().bits();
        match self.try_shard(hash) {
            Some(mut shard) => {
                shard.rotate(now);
                shard.present.count(member, hash, domain, was_limited);
            }
            None => _ = self.dropped.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn try_shard(&self, hash: u64) -> Option<MutexGuard<'_, Shard>> {
        let shard = self.shards.get((hash >> (u64::BITS - SHARD_BITS)) as usize)?;
        (0..TRIES).find_map(|_| {
            shard.try_lock().or_else(|| {
                std::hint::spin_loop();
                None
            })
        })
    }

    /// The first `n` of each list at `now`.
    pub fn busy(&self, n: usize, now: Duration) -> Busy {
        let mut busy = Busy {
            covers: now.min(WINDOW + Duration::from_secs(now.as_secs() % WINDOW.as_secs())),
            dropped: self.dropped.load(Ordering::Relaxed),
            ..Busy::default()
        };
        let (mut busiest, mut most_limited) = (Ranking::default(), Ranking::default());
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.rotate(now);
            let mut distinct = CardinalityEstimator::new();
            for window in [&shard.past, &shard.present] {
                busy.requests += window.requests;
                busy.limited += window.limited;
                busiest.merge(&window.busiest);
                most_limited.merge(&window.most_limited);
                distinct.merge(&window.distinct);
            }
            busy.members += distinct.estimate();
        }
        busy.busiest = busiest.first(n, |place| Member {
            requests: Some(place.count),
            limited: most_limited.of(&place.id).map_or(0, |limited| limited.count),
            ..place.member()
        });
        busy.most_limited = most_limited.first(n, |place| Member {
            requests: busiest.of(&place.id).map(|all| all.count),
            limited: place.count,
            ..place.member()
        });
        busy
    }
}

impl Shard {
    /// Makes the window of `now` the present one. A request that was told of an earlier moment than
    /// another counts in the later window.
    fn rotate(&mut self, now: Duration) {
        let number = now.as_secs() / WINDOW.as_secs();
        if number > self.number {
            let present = std::mem::take(&mut self.present);
            self.past = match number - self.number {
                1 => present,
                _ => Window::default(),
            };
            self.number = number;
        }
    }
}

impl Window {
    fn count(&mut self, member: &MemberId, hash: u64, domain: Option<&Domain>, was_limited: bool) {
        self.requests += 1;
        self.busiest.count(member, domain);
        self.distinct.insert_hash(hash);
        if was_limited {
            self.limited += 1;
            self.most_limited.count(member, domain);
        }
    }
}

impl Ranking {
    fn count(&mut self, member: &MemberId, domain: Option<&Domain>) {
        let fingerprint = member.fingerprint();
        if let Some(place) = self.0.get_mut(&fingerprint) {
            place.count += 1;
            // Nearly always the same one: nothing is allocated.
            if domain.is_some() && place.domain.as_ref() != domain {
                place.domain = domain.cloned();
            }
            return;
        }
        let over = if self.0.len() < PLACES {
            0
        } else {
            self.take_least()
        };
        let place = Place {
            id: member.clone(),
            count: over + 1,
            over,
            domain: domain.cloned(),
        };
        self.0.insert(fingerprint, place);
    }

    /// Gives the place of the one counted least away and returns its count.
    fn take_least(&mut self) -> u64 {
        let least = self.0.iter().min_by_key(|(_, place)| place.count);
        let Some(fingerprint) = least.map(|(fingerprint, _)| *fingerprint) else {
            return 0;
        };
        self.0.remove(&fingerprint).map_or(0, |place| place.count)
    }

    fn of(&self, member: &MemberId) -> Option<&Place> {
        self.0.get(&member.fingerprint())
    }

    /// Adds a later window to this one.
    fn merge(&mut self, later: &Ranking) {
        for (fingerprint, place) in &later.0 {
            match self.0.get_mut(fingerprint) {
                Some(mine) => {
                    mine.count += place.count;
                    mine.over += place.over;
                    mine.domain = place.domain.clone().or(mine.domain.take());
                }
                None => _ = self.0.insert(*fingerprint, place.clone()),
            }
        }
    }

    fn first(&self, n: usize, told: impl Fn(&Place) -> Member) -> Vec<Member> {
        let mut all: Vec<_> = self.0.values().collect();
        // What is certain decides, so that newcomers who inherited a count do not stand above others;
        // equals keep one order from one look to the next.
        all.sort_unstable_by_key(|place| (std::cmp::Reverse(place.count - place.over), &place.id));
        all.into_iter().take(n).map(told).collect()
    }
}

impl Place {
    fn member(&self) -> Member {
        Member {
            id: self.id.clone(),
            domain: self.domain.clone(),
            requests: None,
            limited: 0,
            over: self.over,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::field::MemberIdShape;

    fn member(n: u64) -> MemberId {
        MemberId::parse(format!("{n:032x}").as_bytes(), MemberIdShape::Hex32).unwrap()
    }

    fn domain(name: &str) -> Domain {
        Domain::parse(name.as_bytes()).unwrap()
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn few_members_are_counted_exactly_with_the_domain_seen_last() {
        let top = Top::default();
        for n in 1..=5 {
            for round in 0..n {
                top.count(
                    &member(n),
                    Some(&domain("old.example")),
                    round == 0 && n > 3,
                    at(1),
                );
            }
        }
        top.count(&member(5), Some(&domain("new.example")), false, at(1));
        top.count(&member(5), None, false, at(1));
        let busy = top.busy(3, at(2));
        let told: Vec<_> = busy
            .busiest
            .iter()
            .map(|m| (m.id.clone(), m.requests, m.limited, m.over))
            .collect();
        let want = [(5, 7, 1), (4, 4, 1), (3, 3, 0)];
        assert_eq!(
            told,
            want.map(|(id, requests, limited)| (member(id), Some(requests), limited, 0))
        );
        assert_eq!(busy.busiest[0].domain, Some(domain("new.example")));
        let limited: Vec<_> = busy
            .most_limited
            .iter()
            .map(|m| (m.id.clone(), m.limited, m.requests))
            .collect();
        assert_eq!(limited, [(member(4), 1, Some(4)), (member(5), 1, Some(7))]);
        assert_eq!(
            (busy.requests, busy.limited, busy.members, busy.dropped),
            (17, 2, 5, 0)
        );
        assert_eq!(busy.covers, at(2));
    }

    #[test]
    fn heavy_members_stay_visible_in_a_flood_of_a_million() {
        let top = Top::default();
        const FLOOD: u64 = 1_000_000;
        for n in 0..FLOOD {
            top.count(&member(1 << 40 | n), None, false, at(1));
            if n % 100 == 0 {
                top.count(&member(n / 100 % 4), None, true, at(1));
            }
        }
        let busy = top.busy(4, at(1));
        let mut heavy: Vec<_> = busy.busiest.iter().map(|m| m.id.clone()).collect();
        heavy.sort();
        assert_eq!(heavy, [0, 1, 2, 3].map(member));
        for m in &busy.busiest {
            let counted = m.requests.unwrap();
            assert!(counted >= 2500 && counted - m.over <= 2500, "{m:?}");
        }
        assert_eq!(
            busy.most_limited.iter().map(|m| m.limited).collect::<Vec<_>>(),
            [2500; 4]
        );
        let off = (busy.members as f64 / (FLOOD + 4) as f64 - 1.0).abs();
        assert!(off < 0.03, "{} members", busy.members);
    }

    #[test]
    fn the_memory_is_bounded() {
        let top = Top::default();
        for n in 0..100_000 {
            top.count(&member(n), Some(&domain("a.example")), true, at(n / 1000));
        }
        for shard in &top.shards {
            let shard = shard.lock();
            for window in [&shard.present, &shard.past] {
                assert!(window.busiest.0.len() <= PLACES && window.most_limited.0.len() <= PLACES);
                assert!(window.distinct.size_of() < 8 * 1024);
            }
        }
    }

    #[test]
    fn what_is_older_than_two_windows_is_forgotten() {
        let top = Top::default();
        let ids = |now| {
            top.busy(9, at(now))
                .busiest
                .iter()
                .map(|m| m.id.clone())
                .collect::<Vec<_>>()
        };
        top.count(&member(1), None, false, at(149));
        top.count(&member(2), None, false, at(150));
        assert_eq!((ids(151).len(), top.busy(9, at(299)).covers), (2, at(299)));
        assert_eq!(
            (ids(300), top.busy(9, at(300)).covers),
            (vec![member(2)], at(150))
        );
        top.count(&member(3), None, false, at(10_000));
        assert_eq!(ids(10_000), [member(3)]);
        assert_eq!(ids(20_000), []);
    }

    #[test]
    fn a_request_does_not_wait_for_a_taken_shard() {
        let top = Top::default();
        let _taken: Vec<_> = top.shards.iter().map(|shard| shard.lock()).collect();
        top.count(&member(1), None, false, at(1));
        assert_eq!(top.dropped.load(Ordering::Relaxed), 1);
    }
}
