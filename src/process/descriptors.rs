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

/// Raises the soft limit to the hard one. Gives back how many connections may be open: `configured`, or what that
/// limit is enough for, which is told.
pub(super) fn raise(configured: usize, log: &LogSink) -> usize {
    let limit = match raised() {
        Ok(limit) => limit,
        Err(e) => {
            // A sandbox may forbid it, and the limit may do as it is.
            let told = json!({ "error": e.to_string() });
            log.warn("the limit of descriptors is unknown or stays", told);
            return configured;
        }
    };
    let enough_for = connections_within(limit);
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

/// Each connection may need one more descriptor, to a server.
fn connections_within(limit: u64) -> usize {
    let kept_back = KEPT_BACK.min(limit / 4);
    usize::try_from((limit - kept_back) / 2)
        .unwrap_or(usize::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::connections_within;

    #[test]
    fn a_limit_leaves_room_for_the_admin_listener() {
        for (limit, connections) in [(0, 1), (128, 48), (1024, 384), (20_000, 9_872)] {
            assert_eq!(connections_within(limit), connections, "{limit}");
        }
        assert!(connections_within(u64::MAX) > 1 << 40);
    }
}
