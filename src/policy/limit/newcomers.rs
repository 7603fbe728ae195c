//! How many keys that were never here a client may bring (`[limits] new_keys_per_client`).

use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock as _;

use super::clock::ToldClock;
use super::key::ClientAddress;
use super::keys::Doorkeeper;
use super::limiter::Limiter;

/// A quota of new keys per client; what it refuses has to share.
pub(super) struct Newcomers(pub(super) Arc<Limiter<ClientAddress>>);

impl Doorkeeper for Newcomers {
    fn admits(&self, client: &ClientAddress) -> bool {
        // The limiter that asks was told the time.
        let now = Duration::from(ToldClock.now());
        self.0.check(client, now).is_ok()
    }
}
