//! A sound call becomes a [`Permit`]: [`Limits`] asks each policy by its own key, GCRA is governor's.
//!
//! The order is that of [`PolicyName`]. What is known by the head alone is asked by [`Limits::enter`], before a
//! byte of the body is read; its proof, [`Entered`], is what [`Limits::admit`] wants beside the call. A new policy
//! is a field of [`Limits`] and a line in one of the two; a new kind of key implements [`Key`]. What each said
//! travels as [`Decisions`] to metric, log and `explain`, and operators see [`Limits::policies`]: neither knows a
//! policy by name.

mod clock;
mod quota;
mod decision;
mod key;
pub mod keys;
pub mod shared;
mod limiter;
mod permit;
mod seen;
mod shards;
mod spec;
mod tables;
mod policy;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub use clock::Now;
pub use decision::{Decision, Decisions, Outcome, PolicyName, Start};
pub use key::{Class, ClientAddress, Everyone, Key, Sender};
pub use limiter::{Limited, Limiter, Reset, Verdict};
pub use permit::{Entered, Permit, Refused, Unpermitted};
pub use policy::{AnyPolicy, Policy, Quotas, SharedStanding, Standing};
pub use quota::{KeyState, Period, Quota};
pub use spec::{ClientSpec, EventSpec, LimitsSpec, PlacementSpec, PolicySpec};
pub use tables::KeyTables;

use self::keys::Source;
use self::policy::Kept;
use self::shared::{Naming, Store, Waiting};
use crate::policy::Mode;
use crate::policy::pattern::Pattern;
use crate::policy::validate::Call;
use crate::request::field::MemberId;

/// The policies that a request to a widget route goes through.
pub struct Limits {
    client: Policy<ClientAddress>,
    /// Whose addresses `client` leaves alone.
    except: Vec<IpNet>,
    gateway: Policy<Everyone>,
    /// `[limits.member]`
    pub member: Policy<MemberId>,
    placement: Vec<Family>,
    event: Policy<Sender>,
    /// What keeps the limits of members, where replicas share them.
    store: Option<Arc<Store>>,
    /// How many new members a client may bring.
    newcomers: Option<Arc<Limiter<ClientAddress>>>,
}

/// Placements that have a limit of their own, per member.
struct Family {
    matches: Pattern,
    policy: Policy<MemberId>,
}

impl Default for Limits {
    /// No limit at all.
    fn default() -> Limits {
        Limits {
            client: Policy::unlimited(PolicyName::Client),
            except: Vec::new(),
            gateway: Policy::unlimited(PolicyName::Gateway),
            member: Policy::unlimited(PolicyName::Member),
            placement: Vec::new(),
            event: Policy::unlimited(PolicyName::Event),
            store: None,
            newcomers: None,
        }
    }
}

impl Limits {
    /// The limits of a configuration. A quota that a policy of `before` enforced keeps its keys' state.
    pub fn build(spec: &LimitsSpec, before: Option<&Limits>, tables: &KeyTables, now: Now) -> Limits {
        use PolicyName::{Client, Event, Gateway, Member, Placement};
        let LimitsSpec {
            max_keys,
            new_keys_per_client,
            client,
            gateway,
            member,
            overrides,
            placement,
            event,
            shared,
        } = spec;
        tables.set_max_keys(*max_keys);
        let none = Limits::default();
        let before = before.unwrap_or(&none);
        let store = shared.as_ref().map(|spec| {
            let kept = before.store.clone().filter(|before| before.spec() == spec);
            kept.unwrap_or_else(|| Store::new(spec.clone(), tables.tally().clone()))
        });
        let by_member = |suffix: String| -> Kept<MemberId> {
            let naming: Naming<MemberId> =
                Arc::new(move |member| format!("{{{}}}:{suffix}", member.counted_as()));
            Some((store.clone()?, naming))
        };
        let newcomers = before.newcomers.clone();
        let newcomers = newcomers
            .filter(|newcomers| newcomers.quota() == *new_keys_per_client)
            .unwrap_or_else(|| {
                let table = tables.newcomers().clone();
                Arc::new(Limiter::new(*new_keys_per_client, table, now))
            });
        // Not of events: those of all portals come from a few addresses.
        for policy in [Member, Placement] {
            let newcomers = newcomers.clone();
            let may_bring = move |client: &ClientAddress, now| newcomers.check(client, now).is_ok();
            tables.of(policy).set_doorkeeper(Box::new(may_bring));
        }
        let at = (tables, now);
        let unlimited = Policy::unlimited(Placement);
        let family = |PlacementSpec { matches, policy }: &PlacementSpec| {
            let mut families = before.placement.iter();
            let before = families.find(|family| family.matches == *matches);
            let before = before.map_or(&unlimited, |family| &family.policy);
            let kept_by = by_member(format!("placement:{}", matches.spelled()));
            Family {
                matches: matches.clone(),
                policy: Policy::build(Placement, Some(*policy), [], (before, kept_by), at),
            }
        };
        let (of_client, except) = match client {
            Some(client) => (Some(client.policy), client.except.clone()),
            None => (None, Vec::new()),
        };
        let (of_event, wait) = event.map(|event| (event.policy, event.wait)).unzip();
        let of_members = by_member("member".to_owned());
        let overrides = overrides.iter().cloned();
        Limits {
            client: Policy::build(Client, of_client, [], (&before.client, None), at),
            except,
            gateway: Policy::build(Gateway, *gateway, [], (&before.gateway, None), at),
            member: Policy::build(Member, *member, overrides, (&before.member, of_members), at),
            placement: placement.iter().map(family).collect(),
            event: Policy::build(Event, of_event, [], (&before.event, None), at)
                .waiting(wait.unwrap_or_default()),
            newcomers: Some(newcomers),
            store: store.clone(),
        }
    }

    /// What keeps the limits of members, where replicas share them.
    pub fn store(&self) -> Option<&Arc<Store>> {
        self.store.as_ref()
    }

    /// Every policy, in the order in which they are asked, with what it is for where that is a part only.
    pub fn policies(&self) -> impl Iterator<Item = (Option<&Pattern>, &dyn AnyPolicy)> {
        let Limits {
            client,
            except: _,
            gateway,
            member,
            placement,
            event,
            store: _,
            newcomers: _,
        } = self;
        let all = |policy| (None, policy);
        let families = placement
            .iter()
            .map(|Family { matches, policy }| (Some(matches), policy as &dyn AnyPolicy));
        [client as &dyn AnyPolicy, gateway, member]
            .map(all)
            .into_iter()
            .chain(families)
            .chain([all(event)])
    }

    /// Asks the policies that need no more than the head, for one request of this client at `now`, on a route of
    /// this mode. A client that is none of ours to count, such as a proxy that is trusted, is not asked about.
    ///
    /// # Errors
    /// The first policy that refuses.
    pub fn enter(&self, client: Option<ClientAddress>, route: Mode, now: Now) -> Result<Entered, Refused> {
        let mut decisions = Decisions::default();
        let counted = client.filter(|client| {
            !self
                .except
                .iter()
                .any(|network| network.contains(&client.address()))
        });
        if let Some(client) = &counted {
            decisions.ask(&self.client, client, Source::Unknown, route, now)?;
        }
        Ok(Entered {
            source: counted.map_or(Source::Unknown, Source::Client),
            decisions,
            settled: None,
        })
    }

    /// Asks the other policies for one request of this call at `now`, on a route of this mode. Keys are taken
    /// from the call itself. What a later one refuses takes nothing from `[limits.gateway]`: a storm of one member
    /// is not everybody's.
    ///
    /// # Errors
    /// The first policy that refuses, those behind it are not asked; or that waits for the store, and then the call
    /// is to be asked about again, once that has [`settled`](Entered::settle).
    pub fn admit(&self, entered: &Entered, call: Call, route: Mode, now: Now) -> Result<Permit, Unpermitted> {
        let mut decisions = entered.decisions;
        let gateway = decisions.ask(&self.gateway, &Everyone, Source::Unknown, route, now)?;
        let said = self.by_call(entered, &call, route, now, &mut decisions);
        if !matches!(said, Ok(Ok(_))) {
            self.gateway.give_back(&Everyone, gateway);
        }
        let outcome = match said {
            Ok(said) => said?,
            Err(waiting) => return Err(Unpermitted::Waits(Box::new(call), waiting)),
        };
        let start = match outcome {
            Outcome::HeldBack(_, millis) => {
                Start::At(now.saturating_add(Duration::from_millis(millis.into())))
            }
            Outcome::Unlimited | Outcome::Granted(_) | Outcome::Observed(_) | Outcome::Refused(_) => {
                Start::AtOnce
            }
        };
        Ok(Permit {
            call,
            decisions,
            start,
        })
    }

    /// Counts a request whose faults are only observed, so that it is no call, where no call is needed. On such a
    /// route nothing refuses.
    pub fn observe(&self, entered: &Entered, now: Now) -> Decisions {
        let mut decisions = entered.decisions;
        let gateway = &self.gateway;
        decisions.add(gateway.decide(&Everyone, Source::Unknown, Mode::Observe, now));
        decisions
    }

    /// One policy of the three that are keyed by the call, unless only the store can tell.
    fn by_call(
        &self,
        entered: &Entered,
        call: &Call,
        route: Mode,
        now: Now,
        decisions: &mut Decisions,
    ) -> Result<Result<Outcome, Refused>, Waiting> {
        match call {
            // What portals send by themselves is not their users' doing, and is lost to no storm of theirs.
            Call::Event(_) | Call::Robot(_) => match Sender::of(call.known()) {
                Some(sender) => Ok(decisions.ask(&self.event, &sender, entered.source, route, now)),
                None => Ok(Ok(Outcome::Unlimited)),
            },
            Call::Placement(_) | Call::Own(_) => {
                let Some(member) = call.limited_member() else {
                    return Ok(Ok(Outcome::Unlimited));
                };
                let policy = self.family(call).unwrap_or(&self.member);
                let decided = policy.decide_shared(member, entered.source, route, entered.settled, now);
                Ok(decisions.note(decided?))
            }
        }
    }

    /// The limit of the call's placement, where it has one.
    fn family(&self, call: &Call) -> Option<&Policy<MemberId>> {
        if self.placement.is_empty() {
            return None;
        }
        let placement = call.known().placement?.as_str();
        let mut families = self.placement.iter();
        let family = families.find(|family| family.matches.fits(placement))?;
        Some(&family.policy)
    }

    /// Forgets the keys whose state equals that of a key never seen.
    pub fn sweep(&self, now: Now) {
        self.policies().for_each(|(_, policy)| policy.sweep(now));
        if let Some(newcomers) = &self.newcomers {
            newcomers.sweep(now);
        }
    }
}

impl Decisions {
    /// Asks one policy by its own kind of key and notes what it said.
    fn ask<K: Key + Eq + std::hash::Hash>(
        &mut self,
        policy: &Policy<K>,
        key: &K,
        source: Source,
        route: Mode,
        now: Now,
    ) -> Result<Outcome, Refused> {
        self.note(policy.decide(key, source, route, now))
    }

    fn note(&mut self, decision: Decision) -> Result<Outcome, Refused> {
        self.add(decision);
        match decision.outcome {
            Outcome::Refused(limited) => Err(Refused {
                policy: decision.policy,
                limited,
                decisions: *self,
            }),
            Outcome::Unlimited | Outcome::Granted(_) | Outcome::HeldBack(..) | Outcome::Observed(_) => {
                Ok(decision.outcome)
            }
        }
    }
}
