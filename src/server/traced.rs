//! Where a request and its span meet.

use crate::context::{Context, Stage};
use crate::telemetry::Outcome;
use crate::telemetry::traces::{self, Request};

impl Context {
    /// Once it is known who is calling, and before the upstream's headers are written: they name the span.
    pub fn span_begins(&mut self) {
        let (Some(_), Some(origin)) = (&self.live.traces, &mut self.origin) else {
            return;
        };
        let share = self.live.snapshot.settings.traces.sample;
        let begun = traces::begin(
            origin.traceparent(),
            origin.traceparent_received,
            share,
            rand::random,
        );
        if let Some(traceparent) = begun.traceparent {
            origin.set_traceparent(traceparent);
        }
        self.span = begun.span;
    }

    /// At the end, with what is told of the request elsewhere.
    pub fn span_ends(&self, outcome: Outcome, status: u16, method: &'static str) {
        let (Some(traces), Some(span)) = (&self.live.traces, &self.span) else {
            return;
        };
        let route = self.route.and_then(|at| self.live.env().routes.all().get(at));
        let age = self.started.elapsed();
        let request = Request {
            method,
            route: route.map(|route| &*route.name),
            outcome,
            rejection: match &self.stage {
                Stage::Refused(rejection) => Some(rejection),
                Stage::Arrived | Stage::Forwarded(_) => None,
            },
            would_reject: &self.findings.would_reject,
            status,
            client: self.client(),
            upstream: self.upstream.as_ref().and(route).map(|route| &*route.upstream),
            age,
            duration: self.answered.unwrap_or(age),
        };
        traces.end(span, &request);
    }
}
