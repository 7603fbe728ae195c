//! What is done for upstreams whether requests come or not: names are looked up again, servers are checked,
//! and what changed is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::Level;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::Process;
use crate::telemetry::log::with;
use crate::upstream::check::check;
use crate::upstream::entry::{Entry, LookedUp, next_look_up};
use crate::upstream::failure::Cause;
use crate::upstream::health::Standing;
use crate::upstream::pool::Upstream;
use crate::upstream::resolve::NotFound;
use crate::upstream::server::Server;

/// How often it is looked what is due.
const STEP: Duration = Duration::from_millis(100);
/// A look-up that takes longer has found nothing.
const LOOK_UP: Duration = Duration::from_secs(5);

impl Process {
    /// Keeps the upstreams in force up, for as long as the process lives. What it began for one that a reload
    /// removes ends with its own time limit.
    pub async fn keep_upstreams(self: Arc<Self>) {
        let mut tick = tokio::time::interval(STEP);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut second = Instant::now();
        let mut under_way = JoinSet::new();
        loop {
            let now = tick.tick().await.into_std();
            while under_way.try_join_next().is_some() {}
            let a_second_is_over = now.duration_since(second) >= Duration::from_secs(1);
            if a_second_is_over {
                second = now;
            }
            let live = self.live.load_full();
            for upstream in live.env().upstreams.values() {
                if a_second_is_over {
                    upstream.budget.second();
                }
                self.keep(upstream, now, &mut under_way);
            }
        }
    }

    fn keep(&self, upstream: &Arc<Upstream>, now: Instant, under_way: &mut JoinSet<()>) {
        let rules = &upstream.rules;
        for listed in &upstream.listed {
            if listed.entry.look_up_begins(now) {
                under_way.spawn(look_up(upstream.clone(), listed.entry.clone()));
            }
            for change in listed.entry.untold() {
                self.tell_looked_up(upstream, &listed.entry, change);
            }
        }
        for server in upstream.servers() {
            for standing in server.health.untold() {
                self.tell_standing(upstream, &server, standing);
            }
            if server.health.check_begins(rules.check.is_some(), now) {
                under_way.spawn(examine(upstream.clone(), server));
            }
        }
    }

    fn tell_looked_up(&self, upstream: &Upstream, entry: &Entry, change: LookedUp) {
        let (level, msg, more) = match change {
            LookedUp::Moved { now, before } => (
                Level::Info,
                "a name has other addresses",
                json!({ "addresses": now, "before": before }),
            ),
            LookedUp::Lost { kept } if kept.is_empty() => (
                Level::Warn,
                "a server is down",
                json!({ "cause": Cause::Dns.label() }),
            ),
            LookedUp::Lost { kept } => (
                Level::Warn,
                "a name is not found any more, and keeps its addresses",
                json!({ "addresses": kept }),
            ),
            LookedUp::Found => (Level::Warn, "a name is found again", json!({})),
        };
        let details = json!({ "upstream": &*upstream.name, "server": &*entry.name });
        self.log.event(level, msg, with(details, more));
    }

    fn tell_standing(&self, upstream: &Upstream, server: &Server, standing: Standing) {
        let details = json!({
            "upstream": &*upstream.name,
            "server": &*server.name,
            "server_address": &*server.shown,
        });
        let (msg, more) = match standing {
            Standing::Up => ("a server is up", json!({})),
            Standing::Down(Cause::Tls) => (
                "a server is down",
                json!({ "cause": Cause::Tls.label(), "detail": server.health.why_unproven() }),
            ),
            Standing::Down(cause) => ("a server is down", json!({ "cause": cause.label() })),
            Standing::Ejected { cause, lasts } => (
                "a server is ejected",
                json!({ "cause": cause.label(), "for_ms": lasts.as_millis() as u64 }),
            ),
        };
        self.log.warn(msg, with(details, more));
    }
}

async fn examine(upstream: Arc<Upstream>, server: Arc<Server>) {
    let rule = upstream.rules.check.clone().unwrap_or_default();
    let said = check(&server, &rule, upstream.rules.proof.as_deref()).await;
    server.health.checked(said, &rule, Instant::now());
}

/// Looks the entry's name up, off the threads that wait for sockets.
async fn look_up(upstream: Arc<Upstream>, entry: Arc<Entry>) {
    let Some(name) = entry.host_name() else {
        return;
    };
    let mut looking = tokio::task::spawn_blocking(move || name.look_up());
    let said = match tokio::time::timeout(LOOK_UP, &mut looking).await {
        Ok(said) => said.unwrap_or(Err(NotFound)),
        Err(_) => Err(NotFound),
    };
    let was_found = said.is_ok();
    if entry.found(said) {
        upstream.gather();
    }
    if !looking.is_finished() {
        // A resolver can not be called back: no other thread is lost to it before this one comes back.
        let _ = looking.await;
    }
    entry.looked_up(Instant::now() + next_look_up(was_found, upstream.rules.resolve_interval));
}
