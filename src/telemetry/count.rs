//! What the metrics are told of a request.

use super::metrics::Metrics;
use super::placement::PlacementLabel;
use super::record::RequestRecord;
use crate::policy::Mode;

/// Counts an ended request. Every family of requests is fed here and nowhere else.
pub fn count(metrics: &Metrics, record: &RequestRecord<'_>) {
    let RequestRecord {
        series,
        outcome,
        rejection,
        would_reject,
        faults,
        limits,
        message,
        verdict,
        member_id,
        placement,
        scheme_replaced,
        origin_differs,
        duration,
        overhead,
        held,
        upstream,
        // Chosen by the client, or told elsewhere.
        request_id: _,
        trace_id: _,
        method: _,
        host: _,
        path: _,
        route: _,
        domain: _,
        client: _,
        status: _,
        bytes_in: _,
        bytes_out: _,
    } = record;
    series.requests(*outcome).inc();
    series.duration(*outcome).observe(duration.as_secs_f64());
    if let Some(rejection) = rejection {
        series.rejections(rejection.reason(), Mode::Enforce).inc();
    }
    for rejection in *would_reject {
        series.rejections(rejection.reason(), Mode::Observe).inc();
    }
    for fault in *faults {
        metrics.field_fault(*fault).inc();
    }
    for decision in limits.iter() {
        if let Some(series) = metrics.limit_decision(decision) {
            series.inc();
        }
    }
    if let Some(verdict) = verdict {
        metrics.verification(*verdict);
    }
    if let Some(message) = message {
        series.messages(*message).inc();
    }
    metrics
        .forwarding_headers_replaced
        .inc_by(u64::from(*scheme_replaced));
    metrics.origin_mismatch.inc_by(u64::from(*origin_differs));
    if let (Some(placement), Some(_)) = (placement, member_id) {
        metrics.placement(PlacementLabel::of(placement.as_str())).inc();
    }
    if let Some(bytes) = held {
        series.body_bytes.observe(*bytes as f64);
    }
    if let Some(overhead) = overhead {
        series.overhead.observe(overhead.as_secs_f64());
    }
    // Answers and failures are counted where they happen.
    if let Some(upstream) = upstream {
        upstream.series.duration.observe(upstream.duration.as_secs_f64());
        upstream.series.retries.inc_by(upstream.part.retries.into());
    }
}
