//! What observe mode let through: how often each rule would have refused, by route and placement, for about how
//! many members, and the outlines of the last examples. It is what a route is turned over by, so it says what a
//! refusal would have said, and never a value. The memory is bounded whoever calls.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use cardinality_estimator::CardinalityEstimator;
use hashbrown::HashMap;
use parking_lot::Mutex;

use super::placement::PlacementLabel;
use super::record::RequestRecord;
use crate::policy::limit::PolicyName;
use crate::policy::verify::Unproven;
use crate::request::field::{FieldFault, MemberId};
use crate::request::message::Kind;
use crate::request::outline::Outline;
use crate::response::rejection::{Reason, Rejection};

/// Rows that are held. The one that nothing was added to for the longest makes room for a new one.
pub const ROWS: usize = 512;
/// Examples that a row holds.
pub const EXAMPLES: usize = 3;

/// What observe mode let through since the start.
#[derive(Default)]
pub struct Observed {
    rows: Mutex<HashMap<Key, Row>>,
}

/// What is counted apart.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    /// The route's name.
    pub route: Arc<str>,
    /// What would have refused.
    pub rule: Rule,
    /// The label of the placement, where there was a valid one.
    pub placement: Option<&'static str>,
}

/// A rule, as exactly as a refusal tells it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Rule {
    /// The code of the refusal.
    pub reason: Reason,
    /// What it is about.
    pub about: About,
}

/// What a refusal is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum About {
    /// The request.
    Request,
    /// A field.
    Field(FieldFault),
    /// A kind of message.
    Message(Kind),
    /// A limit.
    Limit(PolicyName),
    /// The caller.
    Caller(Unproven),
}

/// What is counted of it.
#[derive(Clone)]
pub struct Row {
    /// Requests.
    pub requests: u64,
    members: CardinalityEstimator<MemberId>,
    /// The first.
    pub first: SystemTime,
    /// The last.
    pub last: SystemTime,
    /// The last ones, the latest last.
    pub examples: VecDeque<Arc<Example>>,
}

/// One request.
pub struct Example {
    /// The id that stands in its log line, too.
    pub request_id: String,
    /// When it ended.
    pub at: SystemTime,
    /// What it was recognized as.
    pub message: Option<Kind>,
    /// What was in it.
    pub outline: Outline,
}

impl Observed {
    /// Counts a request that has ended at this moment, under every rule that would have refused it.
    pub fn count(&self, route: &Arc<str>, record: &RequestRecord<'_>, outline: &Outline, now: SystemTime) {
        let example = Arc::new(Example {
            request_id: record.request_id.to_owned(),
            at: now,
            message: record.message,
            outline: outline.clone(),
        });
        let placement = record
            .placement
            .map(|code| PlacementLabel::of(code.as_str()).text());
        let mut rules: Vec<_> = record.would_reject.iter().flat_map(rules).collect();
        rules.sort_unstable();
        rules.dedup();
        let mut rows = self.rows.lock();
        for rule in rules {
            let key = Key {
                route: route.clone(),
                rule,
                placement,
            };
            if rows.len() >= ROWS && !rows.contains_key(&key) {
                forget_one(&mut rows);
            }
            let row = rows.entry(key).or_insert_with(|| Row::none(now));
            row.add(record.member_id, &example, now);
        }
    }

    /// The first `n` rows, the most requests first.
    pub fn rows(&self, n: usize) -> Vec<(Key, Row)> {
        let rows = self.rows.lock();
        let mut rows: Vec<_> = rows.iter().collect();
        rows.sort_by(|(a, first), (b, second)| second.requests.cmp(&first.requests).then_with(|| a.cmp(b)));
        rows.truncate(n);
        let told = rows.into_iter().map(|(key, row)| (key.clone(), row.clone()));
        told.collect()
    }

    /// Forgets what routes said that are not there any more.
    pub fn keep_routes(&self, is_there: impl Fn(&str) -> bool) {
        self.rows.lock().retain(|key, _| is_there(&key.route));
    }
}

fn forget_one(rows: &mut HashMap<Key, Row>) {
    let oldest = rows.iter().min_by_key(|(_, row)| row.last);
    if let Some(key) = oldest.map(|(key, _)| key.clone()) {
        rows.remove(&key);
    }
}

/// Every fault of a field is a rule of its own.
fn rules(rejection: &Rejection) -> Vec<Rule> {
    let reason = rejection.reason();
    let of = |about| Rule { reason, about };
    let faults = rejection.faults();
    if !faults.is_empty() {
        return faults.iter().map(|fault| of(About::Field(*fault))).collect();
    }
    let about = rejection
        .unexpected_message()
        .map(About::Message)
        .or(rejection.violated_policy().map(About::Limit))
        .or(rejection.unproven().map(About::Caller));
    vec![of(about.unwrap_or(About::Request))]
}

impl Row {
    fn none(now: SystemTime) -> Row {
        Row {
            requests: 0,
            members: CardinalityEstimator::new(),
            first: now,
            last: now,
            examples: VecDeque::with_capacity(EXAMPLES),
        }
    }

    fn add(&mut self, member: Option<&MemberId>, example: &Arc<Example>, now: SystemTime) {
        self.requests += 1;
        self.last = now;
        if let Some(member) = member {
            self.members.insert_hash(member.fingerprint().bits());
        }
        if self.examples.len() == EXAMPLES {
            self.examples.pop_front();
        }
        self.examples.push_back(example.clone());
    }

    /// About how many members they were of; those without a valid `member_id` are of none.
    pub fn members(&self) -> usize {
        self.members.estimate()
    }
}
