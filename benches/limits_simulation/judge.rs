//! What was admitted, next to what an ideal limiter admits.

use std::sync::Arc;
use std::time::Duration;

use widget_gateway::policy::limit::keys::KeyTable;
use widget_gateway::policy::limit::{Limiter, Quota};
use widget_gateway::request::field::MemberId;

use crate::cluster::BUSY;
use crate::{BURST, RATE};

/// One limiter that sees every request, and for each busy member what was admitted in truth.
pub struct Judge {
    ideal: Limiter<MemberId>,
    busy: Vec<Counted>,
    admitted: u64,
    granted: u64,
}

#[derive(Clone, Default)]
struct Counted {
    admitted: u64,
    ideal: u64,
    /// What is in a bucket that every admitted request fills, and the rate empties.
    level: f64,
    at: f64,
    most: f64,
}

/// In per cent of the ideal, and in requests.
pub struct Told {
    /// Over all members.
    pub all: f64,
    /// The busy member with the least.
    pub least: f64,
    /// The busy member with the most.
    pub most: f64,
    /// Over all members and all stretches of time.
    pub most_over: f64,
    pub questions: f64,
}

impl Judge {
    pub fn new(quota: Quota, start: Duration, keys: usize) -> Judge {
        Judge {
            ideal: Limiter::new(quota, Arc::new(KeyTable::new(keys)), start),
            busy: vec![Counted::default(); BUSY],
            admitted: 0,
            granted: 0,
        }
    }

    /// A request is made.
    pub fn asked(&mut self, member: &MemberId, number: usize, now: Duration) {
        if self.ideal.check(member, now).is_ok() {
            self.granted += 1;
            if let Some(counted) = self.busy.get_mut(number) {
                counted.ideal += 1;
            }
        }
    }

    /// It is admitted.
    pub fn admitted(&mut self, number: usize, now: f64) {
        self.admitted += 1;
        if let Some(counted) = self.busy.get_mut(number) {
            counted.admitted += 1;
            counted.level = (counted.level - (now - counted.at) * f64::from(RATE)).max(0.0) + 1.0;
            counted.at = now;
            counted.most = counted.most.max(counted.level - f64::from(BURST));
        }
    }

    pub fn told(self, questions: u64, requests: u64) -> Told {
        let per_cent = |counted: &Counted| 100.0 * counted.admitted as f64 / counted.ideal as f64;
        Told {
            all: 100.0 * self.admitted as f64 / self.granted as f64,
            least: self.busy.iter().map(per_cent).fold(f64::MAX, f64::min),
            most: self.busy.iter().map(per_cent).fold(0.0, f64::max),
            most_over: self
                .busy
                .iter()
                .map(|counted| counted.most)
                .fold(f64::MIN, f64::max),
            questions: questions as f64 / requests as f64,
        }
    }
}
