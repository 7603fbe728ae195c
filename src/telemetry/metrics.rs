//! The metric families. Every label value comes from a closed set or from the configuration, and
//! every series of a closed set exists from the start.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, Result, TextEncoder,
};

use super::labels::labels;
use super::outcome::Outcome;
use super::placement::PlacementLabel;
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

labels! {
    /// Why a connection ended: the label `reason` of `connections_closed_total`.
    Closed {
        /// The client closed it, or asked to.
        Client = "client",
        /// It was idle for `keepalive_timeout`.
        Idle = "idle",
        /// It did not begin with the PROXY protocol as it has to, or not within `header_timeout`.
        ProxyProtocol = "proxy_protocol",
        /// A TLS handshake failed, or was not complete within `header_timeout`.
        Handshake = "handshake",
        /// A head was not complete within `header_timeout`.
        HeaderTimeout = "header_timeout",
        /// The client took less than 1 KiB/s for `write_timeout`.
        WriteTimeout = "write_timeout",
        /// `max_connections` was reached.
        Limit = "limit",
        /// After a refusal that does not keep the connection, or an error.
        Refused = "refused",
        /// The gateway drains.
        Drain = "drain",
    }
}

labels! {
    /// What made a reload: the label `trigger`.
    Trigger {
        /// The process started.
        Start = "start",
        /// SIGHUP.
        Sighup = "sighup",
        /// The file's folder changed.
        Watch = "watch",
        /// `POST /-/reload`.
        Api = "api",
    }
}

labels! {
    /// How a reload ended: the label `result`.
    Reloaded {
        /// The new configuration is in force.
        Applied = "applied",
        /// It is the one in force.
        Unchanged = "unchanged",
        /// It has faults; nothing changed.
        Refused = "refused",
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

/// A place among `ALL` always fits the array made of that.
#[allow(
    clippy::indexing_slicing,
    reason = "the index is the place of a member listed in the array's source"
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

/// Makes families under the prefix and registers them.
struct Maker(Registry);

impl Maker {
    fn register<C: Collector + Clone + 'static>(&self, family: C) -> Result<C> {
        self.0.register(Box::new(family.clone()))?;
        Ok(family)
    }

    fn opts(name: &str, help: &str) -> Opts {
        Opts::new(name, help).namespace("widget_gateway")
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter> {
        self.register(IntCounter::with_opts(Self::opts(name, help))?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        self.register(IntCounterVec::new(Self::opts(name, help), labels)?)
    }

    /// The counters of a closed set, in its order.
    fn each<const N: usize>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: [&'static str; N],
    ) -> Result<[IntCounter; N]> {
        let family = self.counters(name, help, &[label])?;
        Ok(values.map(|value| family.with_label_values(&[value])))
    }

    /// The same by their values.
    fn named(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = &'static str>,
    ) -> Result<HashMap<&'static str, IntCounter>> {
        let family = self.counters(name, help, &[label])?;
        let series = values
            .into_iter()
            .map(|value| (value, family.with_label_values(&[value])));
        Ok(series.collect())
    }

    /// The counters of two closed sets, each of the first with each of the second.
    fn pairs<const N: usize, const M: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; 2],
        values: [&'static str; N],
        others: [&'static str; M],
    ) -> Result<[[IntCounter; M]; N]> {
        let family = self.counters(name, help, &labels)?;
        Ok(values.map(|value| others.map(|other| family.with_label_values(&[value, other]))))
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        self.register(IntGauge::with_opts(Self::opts(name, help))?)
    }

    fn real_gauge(&self, name: &str, help: &str) -> Result<Gauge> {
        self.register(Gauge::with_opts(Self::opts(name, help))?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        self.register(IntGaugeVec::new(Self::opts(name, help), labels)?)
    }

    fn histograms(&self, name: &str, help: &str, buckets: &[f64], labels: &[&str]) -> Result<HistogramVec> {
        let opts = HistogramOpts::from(Self::opts(name, help)).buckets(buckets.to_vec());
        self.register(HistogramVec::new(opts, labels)?)
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram> {
        let opts = HistogramOpts::from(Self::opts(name, help)).buckets(buckets.to_vec());
        self.register(Histogram::with_opts(opts)?)
    }
}

/// Each family with how it is made: its name, its help, its labels and the values of closed sets.
macro_rules! families {
    ($($vis:vis $field:ident: $family:ty = $make:ident($name:literal, $help:literal $(, $more:expr)*);)+) => {
        /// All families of the process.
        pub struct Metrics {
            registry: Registry,
            $(#[doc = $help] $vis $field: $family,)+
        }

        impl Metrics {
            fn in_registry(registry: Registry) -> Result<Metrics> {
                let make = Maker(registry);
                Ok(Metrics {
                    $($field: make.$make($name, $help $(, $more)*)?,)+
                    registry: make.0,
                })
            }
        }
    };
}

families! {
    requests: IntCounterVec = counters("requests_total",
        "Requests that ended, by how.", &["route", "outcome"]);
    rejections: IntCounterVec = counters("rejections_total",
        "Requests refused by the gateway itself; with mode observe, those that would have been.",
        &["route", "reason", "mode"]);
    messages: IntCounterVec = counters("messages_total",
        "Messages by what they were recognized as, refused or not.", &["route", "message"]);
    field_faults: [[IntCounter; FaultCode::ALL.len()]; Field::ALL.len()] = pairs("field_faults_total",
        "Faults of fields, by field and kind.",
        ["field", "code"], Field::ALL.map(Field::told), FaultCode::ALL.map(FaultCode::label));
    durations: HistogramVec = histograms("request_duration_seconds",
        "From the complete head to the end.", &SECONDS, &["route", "outcome"]);
    overhead: HistogramVec = histograms("overhead_seconds",
        "The gateway's own time: from the complete head to the hand-over or the refusal, without the waits for a body, a place among streams, an authorization server and the store of limits.",
        &OVERHEAD_SECONDS, &["route"]);
    body_bytes: HistogramVec = histograms("request_body_bytes", "Sizes of held bodies.", &BYTES, &["route"]);
    upstream_durations: HistogramVec = histograms("upstream_duration_seconds",
        "From the first connect to the end of the answer.", &SECONDS, &["upstream"]);
    upstream_responses: IntCounterVec = counters("upstream_responses_total",
        "Answers by class.", &["upstream", "server", "code_class"]);
    upstream_retries: IntCounterVec = counters("upstream_retries_total",
        "Connects after a failed one.", &["upstream"]);
    upstream_up: IntGaugeVec = gauges("upstream_up",
        "0 while no address of the server is asked in its turn: after a failed connect or check until one succeeds, and while it is ejected.",
        &["upstream", "server"]);
    upstream_failures: IntCounterVec = counters("upstream_failures_total",
        "Failures of servers that requests and look-ups met, by cause.", &["upstream", "server", "cause"]);
    upstream_ejections: IntCounterVec = counters("upstream_ejections_total",
        "How often a server was not asked for a while because it failed requests in a row.",
        &["upstream", "server"]);
    upstream_address_changes: IntCounterVec = counters("upstream_address_changes_total",
        "How often the addresses of a name changed.", &["upstream", "server"]);
    upstream_in_flight: IntGaugeVec = gauges("upstream_in_flight",
        "Requests that the servers of an upstream have.", &["upstream"]);
    upstream_queued: IntGaugeVec = gauges("upstream_queued",
        "Requests that wait because their upstream has max_in_flight.", &["upstream"]);
    placements: [IntCounter; PlacementLabel::ALL.len()] = each("placements_total",
        "Validated widget calls by placement.", "placement", PlacementLabel::ALL.map(PlacementLabel::text));
    verifications: [IntCounter; 3] = each("verifications_total",
        "Sound messages by what is known of their callers; only with [verify].",
        "result", ["yes", "no", "unknown"]);
    verification_failures: HashMap<&'static str, IntCounter> = named("verification_failures_total",
        "Callers that were not verified, by why.", "cause", Unproven::all().map(Unproven::label));
    pub verification_duration: Histogram = histogram("verification_duration_seconds",
        "Questions to an authorization server: connect, TLS, answer.", &SECONDS);
    limit_decisions: [[IntCounter; 4]; PolicyName::ALL.len()] = pairs("ratelimit_decisions_total",
        "What the limits said.",
        ["policy", "decision"], PolicyName::ALL.map(PolicyName::label), ["allowed", "held_back", "limited", "would_limit"]);
    limiter_keys: IntGaugeVec = gauges("ratelimit_keys", "Keys with state.", &["policy"]);
    limiter_keys_limit: IntGauge = gauge("ratelimit_keys_limit", "The bound of each policy's keys.");
    limiter_evictions: IntCounterVec = counters("ratelimit_key_evictions_total",
        "Keys dropped from the table because their state had run out.", &["policy"]);
    limiter_overflow: IntCounterVec = counters("ratelimit_overflow_total",
        "Requests of new keys judged by a state that they share, because their client brought too many or the table was full.",
        &["policy"]);
    shared_decisions: [[IntCounter; 2]; JudgedBy::ALL.len()] = pairs("ratelimit_shared_decisions_total",
        "Requests under a limit that a store keeps, by what judged them.",
        ["by", "decision"], JudgedBy::ALL.map(JudgedBy::label), ["allowed", "limited"]);
    pub store_up: IntGauge = gauge("ratelimit_store_up",
        "0 while limits are to be shared and their store is not asked.");
    store_errors: [IntCounter; StoreFault::ALL.len()] = each("ratelimit_store_errors_total",
        "What went wrong with the store of shared limits.", "reason", StoreFault::ALL.map(StoreFault::label));
    pub store_duration: Histogram = histogram("ratelimit_store_duration_seconds",
        "Questions to the store of shared limits, from when one is put on its way to its answer or its end.",
        &STORE_SECONDS);
    pub forwarding_headers_replaced: IntCounter = counter("forwarding_headers_replaced_total",
        "Requests in which a peer outside trusted_proxies said another scheme than its connection has.");
    pub origin_mismatch: IntCounter = counter("origin_mismatch_total",
        "Widget calls whose Origin has another host than DOMAIN, where [widget.frame] looks at it.");
    pub in_flight: IntGauge = gauge("requests_in_flight", "Requests between their head and their end.");
    pub held_back: IntGauge = gauge("requests_held_back", "Requests that wait for their turn under a limit.");
    pub held_body_bytes: IntGauge = gauge("held_body_bytes", "Bytes of all bodies that are held now.");
    pub connections_open: IntGauge = gauge("connections_open", "Open connections of all listeners.");
    connections_closed: [IntCounter; Closed::ALL.len()] = each("connections_closed_total",
        "Connections that ended, by cause.", "reason", Closed::ALL.map(Closed::label));
    handshake_failures: IntCounterVec = counters("tls_handshake_failures_total",
        "TLS handshakes that failed or took too long.", &["listener"]);
    reloads: [[IntCounter; Reloaded::ALL.len()]; Trigger::ALL.len()] = pairs("config_reloads_total",
        "Attempts to load a configuration.",
        ["trigger", "result"], Trigger::ALL.map(Trigger::label), Reloaded::ALL.map(Reloaded::label));
    reload_successful: IntGauge = gauge("config_last_reload_successful",
        "1 if the last attempt was not refused.");
    reload_timestamp: Gauge = real_gauge("config_last_reload_success_timestamp_seconds",
        "When the last attempt that was not refused ended.");
    generation: IntGauge = gauge("config_generation", "Counts the configurations that were applied.");
    config_hash: Gauge = real_gauge("config_hash",
        "48 bits of the sha256 of what replicas share of the configuration in force.");
    restart_pending: IntGauge = gauge("config_restart_pending", "Changed keys that wait for a restart.");
    pub log_lines_dropped: IntCounter = counter("log_lines_dropped_total",
        "Log lines dropped because nobody read them fast enough or they could not be written.");
    engine_lines: IntCounterVec = counters("engine_lines_total",
        "Lines that the engine wanted to write at warn or error; all but told and unknown are chatter.",
        &["kind"]);
    certificates_end: IntGaugeVec = gauges("certificate_not_after_timestamp_seconds",
        "When a certificate ends.", &["listener", "name"]);
    pub trace_spans_dropped: IntCounter = counter("trace_spans_dropped_total",
        "Spans dropped because no collector took them fast enough.");
    build_info: IntGaugeVec = gauges("build_info", "What is running.", &["version", "revision", "rustc"]);
}

impl Metrics {
    /// Registers every family and creates the series of every closed set.
    ///
    /// # Errors
    /// Only if two families had the same name.
    pub fn new(version: &str, revision: &str, rustc: &str) -> Result<Metrics> {
        let metrics = Metrics::in_registry(Registry::new())?;
        #[cfg(target_os = "linux")]
        metrics.registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        metrics
            .build_info
            .with_label_values(&[version, revision, rustc])
            .set(1);
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
        let labels = [("route", name)];
        for family in [&self.requests, &self.rejections, &self.messages] {
            forget(family, &labels);
        }
        for family in [&self.durations, &self.overhead, &self.body_bytes] {
            forget(family, &labels);
        }
    }

    /// The series of an upstream, all of them created.
    pub fn upstream(&self, name: &str) -> Arc<UpstreamSeries> {
        Arc::new(UpstreamSeries {
            duration: self.upstream_durations.with_label_values(&[name]),
            retries: self.upstream_retries.with_label_values(&[name]),
        })
    }

    /// Takes the series of an upstream away.
    pub fn forget_upstream(&self, name: &str) {
        let labels = [("upstream", name)];
        forget(&self.upstream_durations, &labels);
        forget(&self.upstream_retries, &labels);
        forget(&self.upstream_in_flight, &labels);
        forget(&self.upstream_queued, &labels);
    }

    /// Takes the series of a server of an upstream away.
    pub fn forget_server(&self, upstream: &str, server: &str) {
        let labels = [("upstream", upstream), ("server", server)];
        forget(&self.upstream_up, &labels);
        for family in [
            &self.upstream_responses,
            &self.upstream_failures,
            &self.upstream_ejections,
            &self.upstream_address_changes,
        ] {
            forget(family, &labels);
        }
    }

    /// Brings the gauges of an upstream up to date: requests that its servers have, and that wait.
    pub fn upstream_load(&self, upstream: &str, in_flight: usize, queued: usize) {
        set(&self.upstream_in_flight.with_label_values(&[upstream]), in_flight);
        set(&self.upstream_queued.with_label_values(&[upstream]), queued);
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
        let counted = |family: &IntCounterVec, third: &str, count| {
            catch_up(&family.with_label_values(&[upstream, server, third]), count);
        };
        for (class, count) in CODE_CLASSES.into_iter().zip(responses) {
            counted(&self.upstream_responses, class, *count);
        }
        for (cause, count) in failures {
            counted(&self.upstream_failures, cause, count);
        }
        catch_up(&self.upstream_ejections.with_label_values(labels), ejections);
        catch_up(
            &self.upstream_address_changes.with_label_values(labels),
            address_changes,
        );
    }

    /// `field_faults_total`
    pub fn field_fault(&self, fault: FieldFault) -> &IntCounter {
        slot(slot(&self.field_faults, fault.field.index()), fault.code as usize)
    }

    /// `ratelimit_decisions_total`; a limit that the configuration does not have decides nothing.
    pub fn limit_decision(&self, decision: Decision) -> Option<&IntCounter> {
        let [allowed, held_back, limited, would_limit] =
            slot(&self.limit_decisions, decision.policy as usize);
        match decision.outcome {
            limit::Outcome::Unlimited => None,
            limit::Outcome::Granted(_) => Some(allowed),
            limit::Outcome::HeldBack(..) => Some(held_back),
            limit::Outcome::Refused(_) => Some(limited),
            limit::Outcome::Observed(_) => Some(would_limit),
        }
    }

    /// What a policy has said so far: allowed, held back, limited, and what it would have limited.
    pub fn limit_decisions(&self, policy: PolicyName) -> [u64; 4] {
        slot(&self.limit_decisions, policy as usize)
            .each_ref()
            .map(IntCounter::get)
    }

    /// `verifications_total` and `verification_failures_total`
    pub fn verification(&self, verdict: Verdict) {
        let [yes, no, unknown] = &self.verifications;
        match verdict {
            Verdict::Yes(_) => yes.inc(),
            Verdict::No(_) => no.inc(),
            Verdict::Unknown(_) => unknown.inc(),
        }
        let failures = |cause: Unproven| self.verification_failures.get(cause.label());
        if let Some(failures) = verdict.cause().and_then(failures) {
            failures.inc();
        }
    }

    /// `placements_total`
    pub fn placement(&self, label: PlacementLabel) -> &IntCounter {
        slot(&self.placements, label.index())
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
        slot(slot(&self.reloads, trigger as usize), result as usize).inc();
        match result {
            Reloaded::Applied | Reloaded::Unchanged => {
                self.reload_successful.set(1);
                self.reload_timestamp.set(now);
            }
            Reloaded::Refused => self.reload_successful.set(0),
        }
    }

    /// Tells which configuration is in force. `shared` is the hash of what replicas share of it.
    pub fn in_force(&self, generation: u64, shared: &[u8; 32], restart_pending: usize) {
        self.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        // A double holds 53 bits exactly.
        let [a, b, c, d, e, f, ..] = *shared;
        self.config_hash
            .set(u64::from_be_bytes([0, 0, a, b, c, d, e, f]) as f64);
        set(&self.restart_pending, restart_pending);
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
        let labels = &[policy.label()];
        set(&self.limiter_keys.with_label_values(labels), table.len());
        set(&self.limiter_keys_limit, table.max_keys());
        catch_up(&self.limiter_evictions.with_label_values(labels), table.evicted());
        catch_up(
            &self.limiter_overflow.with_label_values(labels),
            table.overflowed(),
        );
    }

    /// Requests under a shared limit that were allowed and limited by this, ever.
    pub fn shared_decisions(&self, by: JudgedBy, counts: [u64; 2]) {
        let series = slot(&self.shared_decisions, by as usize);
        series
            .iter()
            .zip(counts)
            .for_each(|(counter, count)| catch_up(counter, count));
    }

    /// Faults of the store of shared limits, ever.
    pub fn store_errors(&self, fault: StoreFault, count: u64) {
        catch_up(slot(&self.store_errors, fault as usize), count);
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
    pub fn text(&self) -> Result<Vec<u8>> {
        let mut text = Vec::with_capacity(64 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// Takes the series with these labels out of a family.
fn forget<T: MetricVecBuilder>(family: &MetricVec<T>, labels: &[(&str, &str)]) {
    for metric in family.collect().iter().flat_map(|family| family.get_metric()) {
        let own: HashMap<_, _> = metric
            .get_label()
            .iter()
            .map(|own| (own.name(), own.value()))
            .collect();
        if labels.iter().all(|(name, value)| own.get(name) == Some(value)) {
            // An error says that it is gone already.
            let _ = family.remove(&own);
        }
    }
}

/// A number of things.
pub fn set(gauge: &IntGauge, number: usize) {
    gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
}

/// Brings a counter to what its source has counted. Two scrapes at once may both see the difference; the counter
/// then runs ahead until the source overtakes it, and never goes back.
pub fn catch_up(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}
