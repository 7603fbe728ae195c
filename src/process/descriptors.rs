//! How many descriptors the process may have, and how many client connections that is enough for.

use log::Level;
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;

use crate::config::ServerSettings;
use crate::telemetry::log::LogSink;

/// Kept back for what is no client's: listeners, files, checks, and the admin listener, which has to answer when all
/// else is taken. At most a quarter of a low limit.
const KEPT_BACK: u64 = 256;
/// What a thread has for itself: it waits for events, is woken, and hears signals.
const OF_A_THREAD: u64 = 5;
/// Connections to servers that may be idle, of held calls and of streamed ones together: an address has not many more
/// ports to call another from.
const MOST_IDLE: usize = 65_536;

/// Raises the soft limit to the hard one. Gives back how many connections may be open: `configured`, or what that
/// limit is enough for, which is told.
pub(super) fn raise(configured: usize, threads: usize, log: &LogSink) -> usize {
    let limit = match raised() {
        Ok(limit) => limit,
        Err(e) => {
            // A sandbox may forbid it, and the limit may do as it is.
            let told = json!({ "error": e.to_string() });
            log.warn("the limit of descriptors is unknown or stays", told);
            return configured;
        }
    };
    let enough_for = connections_within(limit, threads);
    if enough_for >= configured {
        return configured;
    }
    // What somebody asked for and does not get is a warning; a default that fits itself in is not worth a line:
    // the status tells it.
    let level = match configured == ServerSettings::MAX_CONNECTIONS as usize {
        true => Level::Debug,
        false => Level::Warn,
    };
    let told = json!({ "limit": limit, "configured": configured, "max_connections": enough_for });
    log.event(
        level,
        "max_connections is lowered to what the limit of descriptors allows",
        told,
    );
    enough_for
}

fn raised() -> Result<u64, Errno> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// Each connection may need one more descriptor, to a server, and beside them some connections to servers are idle.
fn connections_within(limit: u64, threads: usize) -> usize {
    let kept_back = KEPT_BACK.min(limit / 4) + OF_A_THREAD * threads as u64;
    let left = usize::try_from(limit.saturating_sub(kept_back)).unwrap_or(usize::MAX);
    // Those are half as many.
    (left / 5 * 2).max(1)
}

/// Idle connections that each of the two pools, of held calls and of streamed ones, may keep, beside those that
/// carry something.
pub fn most_idle(max_connections: usize) -> usize {
    MOST_IDLE.min(max_connections / 2) / 2 + 1
}

#[cfg(test)]
mod tests {
    use super::{connections_within, most_idle};

    #[test]
    fn a_limit_leaves_room_for_the_admin_listener() {
        for (limit, threads, connections) in [
            (0, 1, 1),
            (128, 2, 34),
            (256, 32, 12),
            (1024, 2, 302),
            (1024, 64, 178),
            (20_000, 2, 7_892),
        ] {
            assert_eq!(
                connections_within(limit, threads),
                connections,
                "{limit} {threads}"
            );
        }
        let (limit, threads) = (1024, 16);
        let connections = connections_within(limit, threads);
        let all = 2 * connections + 2 * most_idle(connections) + 5 * threads;
        assert!(all + 200 < limit as usize, "{all}");
        assert!(connections_within(u64::MAX, 1) > 1 << 40);
    }
}
