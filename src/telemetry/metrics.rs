//! The metric families. Every label value comes from a closed set or from the configuration, and
//! every series of a closed set exists from the start.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

use super::outcome::Outcome;
use super::placement;
use crate::policy::Mode;
use crate::policy::limit::keys::KeyTable;
use crate::policy::limit::shared::{JudgedBy, StoreFault};
use crate::policy::limit::{self, Decision, PolicyName};
use crate::policy::verify::{Unproven, Verdict};
use crate::request::field::{FaultCode, Field, FieldFault};
use crate::request::message::Kind;
use crate::response::rejection::Reason;

/// The `route` of a request for which no route was found.
pub const NO_ROUTE: &str = "none";

/// A whole request, in seconds: from a millisecond to the 5 s at which Bitrix24 counts a
/// PAGE_BACKGROUND_WORKER as too slow, and on to the longest that handlers are given.
const SECONDS: [f64; 21] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0,
    60.0, 120.0, 300.0, 600.0,
];
/// This hop's own time, in seconds: tens of microseconds are usual.
const OVERHEAD_SECONDS: [f64; 12] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25,
];
/// Answers of the store of shared limits, in seconds: a tenth of a millisecond is usual, 5 ms the default of
/// `timeout`.
const STORE_SECONDS: [f64; 10] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0,
];
/// Bodies, in bytes: a usual call is under 4 KiB, the largest allowed is 8 MiB.
const BYTES: [f64; 9] = [
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    8_388_608.0,
];
const CODE_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Why a connection ended: the label `reason` of `connections_closed_total`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Closed {
    /// The client closed it, or asked to.
    Client,
    /// It was idle for `keepalive_timeout`.
    Idle,
    /// It did not begin with the PROXY protocol as it has to, or not within `header_timeout`.
    ProxyProtocol,
    /// A TLS handshake failed, or was not complete within `header_timeout`.
    Handshake,
    /// A head was not complete within `header_timeout`.
    HeaderTimeout,
    /// The client took less than 1 KiB/s for `write_timeout`.
    WriteTimeout,
    /// `max_connections` was reached.
    Limit,
    /// After a refusal that does not keep the connection, or an error.
    Refused,
    /// The gateway drains.
    Drain,
}

impl Closed {
    const ALL: [Closed; 9] = [
        Closed::Client,
        Closed::Idle,
        Closed::ProxyProtocol,
        Closed::Handshake,
        Closed::HeaderTimeout,
        Closed::WriteTimeout,
        Closed::Limit,
        Closed::Refused,
        Closed::Drain,
    ];

    const fn label(self) -> &'static str {
        match self {
            Closed::Client => "client",
            Closed::Idle => "idle",
            Closed::ProxyProtocol => "proxy_protocol",
            Closed::Handshake => "handshake",
            Closed::HeaderTimeout => "header_timeout",
            Closed::WriteTimeout => "write_timeout",
            Closed::Limit => "limit",
            Closed::Refused => "refused",
            Closed::Drain => "drain",
        }
    }
}

/// What made a reload: the label `trigger`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trigger {
    /// The process started.
    Start,
    /// SIGHUP.
    Sighup,
    /// The file's folder changed.
    Watch,
    /// `POST /-/reload`.
    Api,
}

impl Trigger {
    const ALL: [Trigger; 4] = [Trigger::Start, Trigger::Sighup, Trigger::Watch, Trigger::Api];

    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            Trigger::Start => "start",
            Trigger::Sighup => "sighup",
            Trigger::Watch => "watch",
            Trigger::Api => "api",
        }
    }
}

/// How a reload ended: the label `result`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reloaded {
    /// The new configuration is in force.
    Applied,
    /// It is the one in force.
    Unchanged,
    /// It has faults; nothing changed.
    Refused,
}

impl Reloaded {
    const ALL: [Reloaded; 3] = [Reloaded::Applied, Reloaded::Unchanged, Reloaded::Refused];

    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            Reloaded::Applied => "applied",
            Reloaded::Unchanged => "unchanged",
            Reloaded::Refused => "refused",
        }
    }
}

/// The series of one route, looked up once per configuration.
pub struct RouteSeries {
    requests: [IntCounter; Outcome::ALL.len()],
    durations: [Histogram; Outcome::ALL.len()],
    rejections: [[IntCounter; 2]; Reason::ALL.len()],
    messages: [IntCounter; Kind::ALL.len()],
    /// The gateway's own time.
    pub overhead: Histogram,
    /// Held bodies.
    pub body_bytes: Histogram,
}

impl RouteSeries {
    /// `requests_total`
    pub fn requests(&self, outcome: Outcome) -> &IntCounter {
        slot(&self.requests, outcome as usize)
    }

    /// `request_duration_seconds`
    pub fn duration(&self, outcome: Outcome) -> &Histogram {
        slot(&self.durations, outcome as usize)
    }

    /// `rejections_total`
    pub fn rejections(&self, reason: Reason, mode: Mode) -> &IntCounter {
        slot(slot(&self.rejections, reason as usize), mode as usize)
    }

    /// `messages_total`
    pub fn messages(&self, message: Kind) -> &IntCounter {
        slot(&self.messages, message as usize)
    }
}

/// An enum's discriminant always fits the array made of its `ALL`.
#[allow(
    clippy::indexing_slicing,
    reason = "the index is the discriminant of a variant listed in the array's source"
)]
fn slot<T, const N: usize>(array: &[T; N], at: usize) -> &T {
    &array[if at < N { at } else { 0 }]
}

/// The series of one upstream.
pub struct UpstreamSeries {
    /// `upstream_duration_seconds`
    pub duration: Histogram,
    /// `upstream_retries_total`
    pub retries: IntCounter,
}

/// All families of the process.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    rejections: IntCounterVec,
    messages: IntCounterVec,
    field_faults: Vec<IntCounter>,
    durations: HistogramVec,
    overhead: HistogramVec,
    body_bytes: HistogramVec,
    upstream_durations: HistogramVec,
    upstream_responses: IntCounterVec,
    upstream_retries: IntCounterVec,
    upstream_up: IntGaugeVec,
    upstream_failures: IntCounterVec,
    upstream_ejections: IntCounterVec,
    upstream_address_changes: IntCounterVec,
    upstream_in_flight: IntGaugeVec,
    upstream_queued: IntGaugeVec,
    placements: HashMap<&'static str, IntCounter>,
    /// Yes, no, unknown.
    verifications: [IntCounter; 3],
    /// In the order of [`Unproven::all`].
    verification_failures: Vec<IntCounter>,
    /// Questions to authorization servers.
    pub verification_duration: Histogram,
    limit_decisions: [[IntCounter; 4]; PolicyName::ALL.len()],
    limiter_keys: IntGaugeVec,
    limiter_keys_limit: IntGauge,
    /// Allowed and limited.
    shared_decisions: [[IntCounter; 2]; JudgedBy::ALL.len()],
    store_up: IntGauge,
    store_errors: [IntCounter; StoreFault::ALL.len()],
    /// `ratelimit_store_duration_seconds`
    pub store_duration: Histogram,
    limiter_evictions: IntCounterVec,
    limiter_overflow: IntCounterVec,
    /// Requests whose untrusted `X-Forwarded-Proto` was replaced.
    pub forwarding_headers_replaced: IntCounter,
    /// Widget calls whose `Origin` is another host than `DOMAIN`.
    pub origin_mismatch: IntCounter,
    /// Requests between their head and their end.
    pub in_flight: IntGauge,
    /// Requests that a limit holds back at the moment.
    pub held_back: IntGauge,
    held_body_bytes: IntGauge,
    /// Connections of all listeners.
    pub connections_open: IntGauge,
    connections_closed: [IntCounter; Closed::ALL.len()],
    handshake_failures: IntCounterVec,
    reloads: IntCounterVec,
    reload_successful: IntGauge,
    reload_timestamp: Gauge,
    generation: IntGauge,
    config_hash: Gauge,
    restart_pending: IntGauge,
    log_lines_dropped: IntCounter,
    engine_lines: IntCounterVec,
    certificates_end: IntGaugeVec,
    /// Spans that no collector got.
    pub trace_spans_dropped: IntCounter,
}

/// Makes families under the prefix and registers them.
struct Maker(Registry);

impl Maker {
    fn register<C: Collector + Clone + 'static>(&self, family: C) -> prometheus::Result<C> {
        self.0.register(Box::new(family.clone()))?;
        Ok(family)
    }

    fn opts(name: &str, help: &str) -> Opts {
        Opts::new(name, help).namespace("widget_gateway")
    }

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.register(IntCounter::with_opts(Self::opts(name, help))?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.register(IntCounterVec::new(Self::opts(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.register(IntGauge::with_opts(Self::opts(name, help))?)
    }

    fn real_gauge(&self, name: &str, help: &str) -> prometheus::Result<Gauge> {
        self.register(Gauge::with_opts(Self::opts(name, help))?)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
        labels: &[&str],
    ) -> prometheus::Result<HistogramVec> {
        let opts = HistogramOpts {
            common_opts: Self::opts(name, help),
            buckets: buckets.to_vec(),
        };
        self.register(HistogramVec::new(opts, labels)?)
    }
}

impl Metrics {
    /// Registers every family and creates the series of every closed set.
    ///
    /// # Errors
    /// Only if two families had the same name.
    pub fn new(version: &str, revision: &str, rustc: &str) -> prometheus::Result<Metrics> {
        let make = Maker(Registry::new());
        let field_faults = make.counters(
            "field_faults_total",
            "Faults of fields, by field and kind.",
            &["field", "code"],
        )?;
        let placements = make.counters(
            "placements_total",
            "Validated widget calls by placement.",
            &["placement"],
        )?;
        let verifications = make.counters(
            "verifications_total",
            "Sound messages by what is known of their callers; only with [verify].",
            &["result"],
        )?;
        let verification_failures = make.counters(
            "verification_failures_total",
            "Callers that were not verified, by why.",
            &["cause"],
        )?;
        let verification_duration = make
            .histograms(
                "verification_duration_seconds",
                "Questions to an authorization server: connect, TLS, answer.",
                &SECONDS,
                &[],
            )?
            .with_label_values::<&str>(&[]);
        let limit_decisions = make.counters(
            "ratelimit_decisions_total",
            "What the limits said.",
            &["policy", "decision"],
        )?;
        let keys = make.register(IntGaugeVec::new(
            Maker::opts("ratelimit_keys", "Keys with state."),
            &["policy"],
        )?)?;
        let evictions = make.counters(
            "ratelimit_key_evictions_total",
            "Keys dropped from the table because their state had run out.",
            &["policy"],
        )?;
        let overflow = make.counters(
            "ratelimit_overflow_total",
            "Requests of new keys judged by a state that they share, because their client brought too many or the table was full.",
            &["policy"],
        )?;
        for policy in PolicyName::ALL.map(|policy| [policy.label()]) {
            keys.with_label_values(&policy);
            evictions.with_label_values(&policy);
            overflow.with_label_values(&policy);
        }
        let shared_decisions = make.counters(
            "ratelimit_shared_decisions_total",
            "Requests under a limit that a store keeps, by what judged them.",
            &["by", "decision"],
        )?;
        let store_errors = make.counters(
            "ratelimit_store_errors_total",
            "What went wrong with the store of shared limits.",
            &["reason"],
        )?;
        let closed = make.counters(
            "connections_closed_total",
            "Connections that ended, by cause.",
            &["reason"],
        )?;
        let reloads = make.counters(
            "config_reloads_total",
            "Attempts to load a configuration.",
            &["trigger", "result"],
        )?;
        for trigger in Trigger::ALL {
            for result in Reloaded::ALL {
                reloads.with_label_values(&[trigger.label(), result.label()]);
            }
        }
        let build = IntGaugeVec::new(
            Maker::opts("build_info", "What is running."),
            &["version", "revision", "rustc"],
        )?;
        make.register(build)?
            .with_label_values(&[version, revision, rustc])
            .set(1);
        #[cfg(target_os = "linux")]
        make.0.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        let route = &["route"];
        let route_outcome = &["route", "outcome"];
        let metrics = Metrics {
            requests: make.counters("requests_total", "Requests that ended, by how.", route_outcome)?,
            rejections: make.counters(
                "rejections_total",
                "Requests refused by the gateway itself; with mode observe, those that would have been.",
                &["route", "reason", "mode"],
            )?,
            messages: make.counters("messages_total", "Messages by what they were recognized as, refused or not.", &["route", "message"])?,
            field_faults: Field::ALL
                .into_iter()
                .flat_map(|field| FaultCode::ALL.map(|code| field_faults.with_label_values(&[field.told(), code.label()])))
                .collect(),
            durations: make.histograms("request_duration_seconds", "From the complete head to the end.", &SECONDS, route_outcome)?,
            overhead: make.histograms(
                "overhead_seconds",
                "The gateway's own time: from the complete head to the hand-over or the refusal, waiting for the body and for an authorization server excluded.",
                &OVERHEAD_SECONDS,
                route,
            )?,
            body_bytes: make.histograms("request_body_bytes", "Sizes of held bodies.", &BYTES, route)?,
            upstream_durations: make.histograms(
                "upstream_duration_seconds",
                "From the first connect to the end of the answer.",
                &SECONDS,
                &["upstream"],
            )?,
            upstream_responses: make.counters("upstream_responses_total", "Answers by class.", &["upstream", "server", "code_class"])?,
            upstream_retries: make.counters("upstream_retries_total", "Connects after a failed one.", &["upstream"])?,
            upstream_up: make.register(IntGaugeVec::new(
                Maker::opts("upstream_up", "0 while no address of the server is asked in its turn: after a failed connect or check until one succeeds, and while it is ejected."),
                &["upstream", "server"],
            )?)?,
            upstream_failures: make.counters("upstream_failures_total", "Failures of servers that requests and look-ups met, by cause.", &["upstream", "server", "cause"])?,
            upstream_ejections: make.counters("upstream_ejections_total", "How often a server was not asked for a while because it failed requests in a row.", &["upstream", "server"])?,
            upstream_address_changes: make.counters("upstream_address_changes_total", "How often the addresses of a name changed.", &["upstream", "server"])?,
            upstream_queued: make.register(IntGaugeVec::new(
                Maker::opts("upstream_queued", "Requests that wait because their upstream has max_in_flight."),
                &["upstream"],
            )?)?,
            upstream_in_flight: make.register(IntGaugeVec::new(
                Maker::opts("upstream_in_flight", "Requests that the servers of an upstream have."),
                &["upstream"],
            )?)?,
            verifications: ["yes", "no", "unknown"].map(|result| verifications.with_label_values(&[result])),
            verification_failures: Unproven::all()
                .map(|cause| verification_failures.with_label_values(&[cause.label()]))
                .collect(),
            verification_duration,
            placements: placement::labels().map(|label| (label, placements.with_label_values(&[label]))).collect(),
            limit_decisions: PolicyName::ALL.map(|policy| {
                ["allowed", "held_back", "limited", "would_limit"].map(|said| limit_decisions.with_label_values(&[policy.label(), said]))
            }),
            limiter_keys: keys,
            shared_decisions: JudgedBy::ALL.map(|by| {
                ["allowed", "limited"].map(|said| shared_decisions.with_label_values(&[by.label(), said]))
            }),
            store_up: make.gauge(
                "ratelimit_store_up",
                "0 while limits are to be shared and their store is not asked.",
            )?,
            store_errors: StoreFault::ALL.map(|fault| store_errors.with_label_values(&[fault.label()])),
            store_duration: make
                .histograms(
                    "ratelimit_store_duration_seconds",
                    "Questions to the store of shared limits, from when one is put on its way to its answer or its end.",
                    &STORE_SECONDS,
                    &[],
                )?
                .with_label_values::<&str>(&[]),
            limiter_keys_limit: make.gauge("ratelimit_keys_limit", "The bound of each policy's keys.")?,
            limiter_evictions: evictions,
            limiter_overflow: overflow,
            forwarding_headers_replaced: make.counter(
                "forwarding_headers_replaced_total",
                "Requests in which a peer outside trusted_proxies said another scheme than its connection has.",
            )?,
            held_back: make.gauge("requests_held_back", "Requests that wait for their turn under a limit.")?,
            origin_mismatch: make.counter(
                "origin_mismatch_total",
                "Widget calls whose Origin has another host than DOMAIN, where [widget.frame] looks at it.",
            )?,
            in_flight: make.gauge("requests_in_flight", "Requests between their head and their end.")?,
            held_body_bytes: make.gauge("held_body_bytes", "Bytes of all bodies that are held now.")?,
            connections_open: make.gauge("connections_open", "Open connections of all listeners.")?,
            connections_closed: Closed::ALL.map(|reason| closed.with_label_values(&[reason.label()])),
            handshake_failures: make.counters(
                "tls_handshake_failures_total",
                "TLS handshakes that failed or took too long.",
                &["listener"],
            )?,
            reloads,
            reload_successful: make.gauge("config_last_reload_successful", "1 if the last attempt was not refused.")?,
            reload_timestamp: make.real_gauge(
                "config_last_reload_success_timestamp_seconds",
                "When the last attempt that was not refused ended.",
            )?,
            generation: make.gauge("config_generation", "Counts the configurations that were applied.")?,
            config_hash: make.real_gauge("config_hash", "48 bits of the sha256 of what replicas share of the configuration in force.")?,
            restart_pending: make.gauge("config_restart_pending", "Changed keys that wait for a restart.")?,
            log_lines_dropped: make.counter("log_lines_dropped_total", "Log lines dropped because nobody read them fast enough or they could not be written.")?,
            engine_lines: make.counters("engine_lines_total", "Lines that the engine wanted to write at warn or error; all but told and unknown are chatter.", &["kind"])?,
            trace_spans_dropped: make.counter("trace_spans_dropped_total", "Spans dropped because no collector took them fast enough.")?,
            certificates_end: make.register(IntGaugeVec::new(
                Maker::opts("certificate_not_after_timestamp_seconds", "When a certificate ends."),
                &["listener", "name"],
            )?)?,
            registry: make.0,
        };
        metrics.route(NO_ROUTE);
        Ok(metrics)
    }

    /// The series of a route, all of them created.
    pub fn route(&self, name: &str) -> Arc<RouteSeries> {
        Arc::new(RouteSeries {
            requests: Outcome::ALL.map(|outcome| self.requests.with_label_values(&[name, outcome.label()])),
            durations: Outcome::ALL.map(|outcome| self.durations.with_label_values(&[name, outcome.label()])),
            rejections: Reason::ALL.map(|reason| {
                Mode::ALL.map(|mode| {
                    self.rejections
                        .with_label_values(&[name, reason.code(), mode.label()])
                })
            }),
            messages: Kind::ALL.map(|message| self.messages.with_label_values(&[name, message.label()])),
            overhead: self.overhead.with_label_values(&[name]),
            body_bytes: self.body_bytes.with_label_values(&[name]),
        })
    }

    /// Takes the series of a route away that no configuration has any more.
    pub fn forget_route(&self, name: &str) {
        // An error says that the series is gone already.
        for outcome in Outcome::ALL {
            let _ = self.requests.remove_label_values(&[name, outcome.label()]);
            let _ = self.durations.remove_label_values(&[name, outcome.label()]);
        }
        for reason in Reason::ALL {
            for mode in Mode::ALL {
                let _ = self
                    .rejections
                    .remove_label_values(&[name, reason.code(), mode.label()]);
            }
        }
        for message in Kind::ALL {
            let _ = self.messages.remove_label_values(&[name, message.label()]);
        }
        let _ = self.overhead.remove_label_values(&[name]);
        let _ = self.body_bytes.remove_label_values(&[name]);
    }

    /// The series of an upstream, all of them created.
    pub fn upstream(&self, name: &str) -> Arc<UpstreamSeries> {
        Arc::new(UpstreamSeries {
            duration: self.upstream_durations.with_label_values(&[name]),
            retries: self.upstream_retries.with_label_values(&[name]),
        })
    }

    /// Takes the series of an upstream away; those of its servers go with [`Metrics::forget_server`].
    pub fn forget_upstream(&self, name: &str) {
        let _ = self.upstream_durations.remove_label_values(&[name]);
        let _ = self.upstream_retries.remove_label_values(&[name]);
        let _ = self.upstream_in_flight.remove_label_values(&[name]);
        let _ = self.upstream_queued.remove_label_values(&[name]);
    }

    /// `upstream_in_flight`
    pub fn upstream_in_flight(&self, upstream: &str, requests: usize) {
        self.upstream_in_flight
            .with_label_values(&[upstream])
            .set(i64::try_from(requests).unwrap_or(i64::MAX));
    }

    /// `upstream_queued`
    pub fn upstream_queued(&self, upstream: &str, requests: usize) {
        self.upstream_queued
            .with_label_values(&[upstream])
            .set(i64::try_from(requests).unwrap_or(i64::MAX));
    }

    /// The series of one server, by upstream and server: whether it is up, its answers of 1xx to 5xx, its
    /// failures by cause, and how often it was ejected and moved.
    pub fn server(
        &self,
        (upstream, server): (&str, &str),
        up: bool,
        responses: &[u64; 5],
        failures: impl IntoIterator<Item = (&'static str, u64)>,
        [ejections, address_changes]: [u64; 2],
    ) {
        let labels = &[upstream, server];
        self.upstream_up.with_label_values(labels).set(i64::from(up));
        for (class, count) in CODE_CLASSES.into_iter().zip(responses) {
            catch_up(
                &self
                    .upstream_responses
                    .with_label_values(&[upstream, server, class]),
                *count,
            );
        }
        for (cause, count) in failures {
            catch_up(
                &self
                    .upstream_failures
                    .with_label_values(&[upstream, server, cause]),
                count,
            );
        }
        catch_up(&self.upstream_ejections.with_label_values(labels), ejections);
        catch_up(
            &self.upstream_address_changes.with_label_values(labels),
            address_changes,
        );
    }

    /// Takes the series of a server away.
    pub fn forget_server(
        &self,
        (upstream, server): (&str, &str),
        causes: impl IntoIterator<Item = &'static str>,
    ) {
        let labels = &[upstream, server];
        let _ = self.upstream_up.remove_label_values(labels);
        for class in CODE_CLASSES {
            let _ = self
                .upstream_responses
                .remove_label_values(&[upstream, server, class]);
        }
        for cause in causes {
            let _ = self
                .upstream_failures
                .remove_label_values(&[upstream, server, cause]);
        }
        let _ = self.upstream_ejections.remove_label_values(labels);
        let _ = self.upstream_address_changes.remove_label_values(labels);
    }

    /// `field_faults_total`
    pub fn field_fault(&self, fault: FieldFault) -> &IntCounter {
        let at = fault.field.index() * FaultCode::ALL.len() + fault.code as usize;
        self.field_faults.get(at).unwrap_or(&self.log_lines_dropped)
    }

    /// `ratelimit_decisions_total`; a limit that the configuration does not have decides nothing.
    pub fn limit_decision(&self, decision: Decision) -> Option<&IntCounter> {
        let [allowed, held_back, limited, would_limit] =
            self.limit_decisions.get(decision.policy as usize)?;
        match decision.outcome {
            limit::Outcome::Unlimited => None,
            limit::Outcome::Granted(_) => Some(allowed),
            limit::Outcome::HeldBack(..) => Some(held_back),
            limit::Outcome::Refused(_) => Some(limited),
            limit::Outcome::Observed(_) => Some(would_limit),
        }
    }

    /// `verifications_total` and `verification_failures_total`
    pub fn verification(&self, verdict: Verdict) {
        let [yes, no, unknown] = &self.verifications;
        match verdict {
            Verdict::Yes(_) => yes.inc(),
            Verdict::No(_) => no.inc(),
            Verdict::Unknown(_) => unknown.inc(),
        }
        let failure = verdict
            .cause()
            .and_then(|cause| self.verification_failures.get(cause.index()));
        if let Some(failure) = failure {
            failure.inc();
        }
    }

    /// What a policy has said so far: allowed, held back, limited, and what it would have limited.
    pub fn limit_decisions(&self, policy: PolicyName) -> [u64; 4] {
        let counted = self.limit_decisions.get(policy as usize);
        counted.map_or([0; 4], |counted| counted.each_ref().map(IntCounter::get))
    }

    /// `placements_total`
    pub fn placement(&self, label: &'static str) -> &IntCounter {
        self.placements.get(label).unwrap_or(&self.log_lines_dropped)
    }

    /// `connections_closed_total`
    pub fn connection_closed(&self, reason: Closed) -> &IntCounter {
        slot(&self.connections_closed, reason as usize)
    }

    /// `tls_handshake_failures_total` of a listener, by its address as configured.
    pub fn handshake_failures(&self, listener: &str) -> IntCounter {
        self.handshake_failures.with_label_values(&[listener])
    }

    /// Tells how an attempt to load a configuration ended, at `now` (seconds since the epoch).
    pub fn reloaded(&self, trigger: Trigger, result: Reloaded, now: f64) {
        self.reloads
            .with_label_values(&[trigger.label(), result.label()])
            .inc();
        match result {
            Reloaded::Applied | Reloaded::Unchanged => {
                self.reload_successful.set(1);
                self.reload_timestamp.set(now);
            }
            Reloaded::Refused => self.reload_successful.set(0),
        }
    }

    /// `held_body_bytes`
    pub fn held_body_bytes(&self, bytes: usize) {
        self.held_body_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Tells which configuration is in force. `shared` is the hash of what replicas share of it.
    pub fn in_force(&self, generation: u64, shared: &[u8; 32], restart_pending: usize) {
        self.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        // A double holds 53 bits exactly.
        let [a, b, c, d, e, f, ..] = *shared;
        self.config_hash
            .set(u64::from_be_bytes([0, 0, a, b, c, d, e, f]) as f64);
        self.restart_pending
            .set(i64::try_from(restart_pending).unwrap_or(i64::MAX));
    }

    /// Tells listener, name and end of every certificate in force.
    pub fn certificates(&self, all: &[(&str, &str, i64)]) {
        self.certificates_end.reset();
        for (listener, name, not_after) in all {
            self.certificates_end
                .with_label_values(&[listener, name])
                .set(*not_after);
        }
    }

    /// Brings the families of a policy's table up to date, which counts by itself.
    pub fn limiter_table(&self, policy: PolicyName, table: &KeyTable) {
        let gauge = |keys: usize| i64::try_from(keys).unwrap_or(i64::MAX);
        let policy = &[policy.label()];
        self.limiter_keys
            .with_label_values(policy)
            .set(gauge(table.len()));
        self.limiter_keys_limit.set(gauge(table.max_keys()));
        catch_up(&self.limiter_evictions.with_label_values(policy), table.evicted());
        catch_up(
            &self.limiter_overflow.with_label_values(policy),
            table.overflowed(),
        );
    }

    /// Requests under a shared limit that were allowed and limited by this, ever.
    pub fn shared_decisions(&self, by: JudgedBy, [allowed, limited]: [u64; 2]) {
        if let Some([counts_allowed, counts_limited]) = self.shared_decisions.get(by as usize) {
            catch_up(counts_allowed, allowed);
            catch_up(counts_limited, limited);
        }
    }

    /// Whether the store of shared limits is asked, or nobody wants one.
    pub fn store_up(&self, is_up: bool) {
        self.store_up.set(i64::from(is_up));
    }

    /// Faults of that store, ever.
    pub fn store_errors(&self, fault: StoreFault, count: u64) {
        catch_up(slot(&self.store_errors, fault as usize), count);
    }

    /// Log lines dropped, ever.
    pub fn log_lines_dropped(&self, dropped: u64) {
        catch_up(&self.log_lines_dropped, dropped);
    }

    /// Lines that the engine wanted to write at warn or error, ever, by kind.
    pub fn engine_lines(&self, kinds: impl Iterator<Item = (&'static str, u64)>) {
        for (kind, count) in kinds {
            catch_up(&self.engine_lines.with_label_values(&[kind]), count);
        }
    }

    /// The exposition text (version 0.0.4).
    ///
    /// # Errors
    /// Only if a family is inconsistent.
    pub fn text(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::with_capacity(64 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// Two scrapes at once may both see the difference; the counter then runs ahead until the source
/// overtakes it, and never goes back.
fn catch_up(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}
