//! The closed list of what the engine and the TLS library say at warn and error, read from the sources
//! of exactly the versions that Cargo.toml names. Most of it is chatter: a client went away, a server
//! closed an idle connection. What that means for a request is in the request's own line, so here it is
//! counted, and told at debug only. An error that is left means that someone must look.
//!
//! Most of these texts have parts of a request or of an answer in them. A text is written only where the
//! list says that there are none, or where it is the same each time.

use std::sync::atomic::{AtomicU64, Ordering};

use log::{Level, Record};

use crate::telemetry::labels::labels;

labels! {
    /// What a line is about: the label `kind`.
    Kind {
        /// A pooled connection was taken while its watcher still held it; another one is opened.
        PoolRace = "pool_race",
        /// A server said or did something on a connection that was idle.
        IdleServer = "idle_server",
        /// A client broke off, or what it sent is no HTTP.
        Client = "client",
        /// The other side's TLS is odd or at fault.
        Tls = "tls",
        /// A server's answer is odd or cut.
        Answer = "answer",
        /// A request could not be sent whole; its own line tells the end of it.
        Request = "request",
        /// No process waits at the other end of the upgrade socket yet, or any more.
        HandOver = "hand_over",
        /// Something to look at, with a text that holds addresses and errors of the system alone.
        Told = "told",
        /// Not on the list.
        Unknown = "unknown",
    }
}

impl Kind {
    /// At which level a line is told that was said at `said`.
    const fn level(self, said: Level) -> Level {
        match self {
            Kind::PoolRace
            | Kind::IdleServer
            | Kind::Client
            | Kind::Tls
            | Kind::Answer
            | Kind::Request
            | Kind::HandOver => Level::Debug,
            Kind::Told | Kind::Unknown => said,
        }
    }

    fn of(text: &str) -> Kind {
        let begins = |(_, beginning): &&(Kind, &str)| text.starts_with(beginning);
        LIST.iter().find(begins).map_or(Kind::Unknown, |(kind, _)| *kind)
    }
}

/// How the lines begin. The longer of two that begin alike stands first.
const LIST: [(Kind, &str); 52] = [
    (Kind::PoolRace, "failed to acquire reusable stream"),
    (Kind::IdleServer, "Unexpected data read in idle connection"),
    (Kind::IdleServer, "Data received on idle client connection"),
    (Kind::IdleServer, "Idle unix connection is broken"),
    // A socket that its server knows by another path: an idle connection is not taken again.
    (Kind::IdleServer, "Crit: unix FD mismatch"),
    (Kind::IdleServer, "Fail to get pool node for"),
    (Kind::Client, "HTTP server fails to read from downstream"),
    (Kind::Client, "HTTP server fails to write to downstream"),
    (Kind::Client, "HTTP server fails to finish the request"),
    (Kind::Client, "failed to send error response to downstream"),
    (Kind::Client, "Error finish sending body to downstream"),
    (Kind::Client, "H2 handshake error"),
    (Kind::Client, "tearing down downstream h2 connection"),
    (Kind::Client, "Downstream handshake error"),
    (Kind::Client, "Downstream handshake timeout"),
    (Kind::Tls, "TLS shutdown failed"),
    (Kind::Tls, "Sending warning alert"),
    (Kind::Tls, "TLS alert warning received"),
    (Kind::Tls, "Illegal SNI"),
    (Kind::Tls, "Received a "),
    (Kind::Tls, "early_data with stateless resumption"),
    (Kind::Tls, "traffic keys exhausted"),
    (Kind::Tls, "peer signed kx with wrong algorithm"),
    (Kind::Tls, "Server sent non-empty certreq context"),
    (Kind::Tls, "meaningless CertificateRequest message"),
    (Kind::Answer, "Peer sent more data than expected"),
    (Kind::Answer, "Trying to write data over content-length"),
    (Kind::Answer, "Trying to write "),
    (Kind::Answer, "negative content-length header value"),
    (Kind::Answer, "invalid content-length header"),
    (Kind::Answer, "Try to write body after end of stream"),
    (Kind::Answer, "Tried to write trailers after end of stream"),
    (Kind::Answer, "Respond header is already sent"),
    (Kind::Answer, "Response header is already sent"),
    (
        Kind::Answer,
        "Encountered error while filtering upstream trailers",
    ),
    (Kind::Request, "Fail to proxy: "),
    (Kind::Request, "send error, draining read buf"),
    (Kind::Request, "Upstream body is already finished"),
    (Kind::Request, "Upstream upgraded body is already finished"),
    (Kind::Request, "Unexpected task sent to upstream"),
    (Kind::HandOver, "No incoming socket transfer"),
    (Kind::HandOver, "Giving up reading socket from"),
    (Kind::HandOver, "Error accepting socket transfer"),
    (Kind::HandOver, "server not ready, will try again"),
    (Kind::HandOver, "Max retry: "),
    (Kind::HandOver, "Connect() not ready"),
    (Kind::HandOver, "Sendmsg() not ready"),
    (Kind::HandOver, "Error sending socket to"),
    (Kind::Told, "Accept() failed"),
    (Kind::Told, "Crit: "),
    (Kind::Told, "Bad addr: "),
    (Kind::Told, "Failed to close orphaned inherited listening socket"),
];

/// A line as it is told.
pub(super) struct EngineLine {
    pub(super) kind: &'static str,
    pub(super) level: Level,
    /// None where it could hold parts of a request.
    pub(super) text: Option<String>,
}

/// How many lines there were of each kind.
#[derive(Default)]
pub(super) struct Heard([AtomicU64; Kind::ALL.len()]);

impl Heard {
    /// Judges a line and counts it.
    pub(super) fn judge(&self, record: &Record<'_>) -> EngineLine {
        let fixed = record.args().as_str();
        let said = fixed.map_or_else(|| record.args().to_string(), str::to_owned);
        let kind = Kind::of(&said);
        if let Some(count) = self.0.get(kind as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        EngineLine {
            kind: kind.label(),
            level: kind.level(record.level()),
            text: (kind == Kind::Told || fixed.is_some()).then_some(said),
        }
    }

    /// Each kind and its number.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let count = |(kind, count): (Kind, &AtomicU64)| (kind.label(), count.load(Ordering::Relaxed));
        Kind::ALL.into_iter().zip(&self.0).map(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(level: Level, args: std::fmt::Arguments<'_>) -> (&'static str, Level, Option<String>) {
        let EngineLine { kind, level, text } =
            Heard::default().judge(&Record::builder().level(level).args(args).build());
        (kind, level, text)
    }

    #[test]
    fn chatter_is_told_at_debug_and_what_is_not_known_stays() {
        // Not a constant: the compiler would put it into the text.
        let secret = std::hint::black_box("AUTH_ID=secret");
        let fixed = |text: &str| Some(text.to_owned());
        let race = "failed to acquire reusable stream";
        assert_eq!(
            judged(Level::Error, format_args!("failed to acquire reusable stream")),
            ("pool_race", Level::Debug, fixed(race))
        );
        assert_eq!(
            judged(
                Level::Error,
                format_args!("HTTP server fails to read from downstream: {secret}")
            ),
            ("client", Level::Debug, None)
        );
        assert_eq!(
            judged(Level::Error, format_args!("Accept() failed {secret}")),
            ("told", Level::Error, fixed("Accept() failed AUTH_ID=secret"))
        );
        assert_eq!(
            judged(Level::Error, format_args!("A new line: {secret}")),
            ("unknown", Level::Error, None)
        );
        assert_eq!(
            judged(Level::Warn, format_args!("A new line that is always the same")),
            (
                "unknown",
                Level::Warn,
                fixed("A new line that is always the same")
            )
        );
    }

    #[test]
    fn every_entry_of_the_list_is_found_under_its_kind() {
        for (kind, beginning) in LIST {
            assert_eq!(Kind::of(&format!("{beginning} and so on")), kind, "{beginning}");
        }
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
        }
    }

    #[test]
    fn lines_are_counted_by_kind() {
        let heard = Heard::default();
        for _ in 0..3 {
            heard.judge(&Record::builder().args(format_args!("H2 handshake error")).build());
        }
        let counted: Vec<_> = heard.counts().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("client", 3)]);
    }
}
