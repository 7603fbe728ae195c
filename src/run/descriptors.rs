//! How many descriptors the process may have.

use log::Level;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;

use crate::telemetry::log::LogSink;

/// Beside what connections need: listeners, files, the operator's listener, checks.
const OTHERS: u64 = 256;

/// Raises the soft limit to the hard one, and says so where even that is too little for the connections that may
/// be open: each of them may need one more to a server.
pub(super) fn raise(max_connections: usize, log: &LogSink) {
    let cannot = |e: nix::errno::Errno| {
        // A sandbox may forbid it, and the limit may do as it is.
        log.event(
            Level::Warn,
            "the limit of descriptors stays as it is",
            json!({ "error": e.to_string() }),
        );
    };
    let limits = getrlimit(Resource::RLIMIT_NOFILE).map_err(cannot);
    let Ok((soft, hard)) = limits else {
        return;
    };
    let raised = match soft < hard {
        true => setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
            .map_err(cannot)
            .is_ok(),
        false => false,
    };
    let limit = if raised { hard } else { soft };
    let needed = (max_connections as u64).saturating_mul(2).saturating_add(OTHERS);
    if limit < needed {
        log.event(
            Level::Warn,
            "there may be fewer descriptors than connections need",
            json!({ "limit": limit, "needed": needed, "max_connections": max_connections }),
        );
    }
}
