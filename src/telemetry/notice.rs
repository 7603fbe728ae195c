//! What an operator has to be told in words, but not with every request: each once a minute.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use super::log::LogSink;
use super::record::RequestRecord;
use crate::request::message::Kind;
use crate::response::rejection::Rejection;

const MINUTE: Duration = Duration::from_secs(60);

/// Each thing that is told of, and when it was last.
#[derive(Default)]
pub struct Notices {
    unexpected: [Seldom; Kind::ALL.len()],
    scheme_replaced: Seldom,
}

impl Notices {
    /// Warns of what an operator should know of an ended request. `now` counts from the start of the process.
    pub fn warn(&self, log: &LogSink, record: &RequestRecord<'_>, now: Duration) {
        for rejection in record.rejection.into_iter().chain(record.would_reject) {
            if let Rejection::UnexpectedMessage(kind) = rejection {
                self.unexpected(log, *kind, rejection, record.route, now);
            }
        }
        if record.scheme_replaced && self.scheme_replaced.is_due(now) {
            log.warn("X-Forwarded-Proto was replaced",
                json!({
                    "client": record.client.to_string(),
                    "detail": "it came from an address outside trusted_proxies; if that is a proxy of yours, handlers see the wrong scheme until it is listed there",
                }),
            );
        }
    }

    /// Whoever sent it does not send it again.
    fn unexpected(
        &self,
        log: &LogSink,
        kind: Kind,
        rejection: &Rejection,
        route: Option<&str>,
        now: Duration,
    ) {
        if self
            .unexpected
            .get(kind as usize)
            .is_some_and(|seldom| seldom.is_due(now))
        {
            log.warn(
                rejection.reason().code(),
                json!({ "route": route, "message": kind.label(), "detail": rejection.detail() }),
            );
        }
    }
}

/// When something was told last, in milliseconds, from 1 on; 0 is never.
#[derive(Default)]
struct Seldom(AtomicU64);

impl Seldom {
    /// Whether it is to be told now; it then counts as told.
    fn is_due(&self, now: Duration) -> bool {
        let now = u64::try_from(now.as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        let minute = u64::try_from(MINUTE.as_millis()).unwrap_or(u64::MAX);
        let due = |last| (last == 0 || now.saturating_sub(last) >= minute).then_some(now);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, due)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_is_told_once_a_minute() {
        let seldom = Seldom::default();
        let told = [0, 0, 59, 60, 61, 119, 121].map(|second| seldom.is_due(Duration::from_secs(second)));
        assert_eq!(told, [true, false, false, true, false, false, true]);
    }
}
