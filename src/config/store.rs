//! The configuration that requests see: one snapshot each, swapped whole.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::settings::{EnvSpec, Loaded, UpstreamSpec, VerifySpec};
use super::source::Source;
use crate::pipeline::Env;
use crate::policy::limit::KeyTables;
use crate::policy::limit::{Limits, Now};
use crate::policy::route::Routes;
use crate::upstream::caller::TrustedProxies;
use crate::upstream::entry::{Entry, Place, next_look_up};
use crate::upstream::pool::{Listed, Upstream};
use crate::upstream::resolve::Found;

/// One configuration in force, with the objects that carry its state.
pub struct Snapshot {
    /// What requests are decided by.
    pub env: Env,
    /// From 1; one more with each applied configuration.
    pub generation: u64,
    /// What it was made of. A listener that the file no longer has keeps its certificates: it is served until the
    /// restart that removes it.
    pub loaded: Loaded,
    /// What the generation before was read from.
    pub source_before: Option<Arc<Source>>,
}

impl Snapshot {
    /// The snapshot that follows `before`, with the state of all that stays. `found` is what its names mean now.
    pub fn build(
        mut loaded: Loaded,
        before: Option<&Snapshot>,
        found: &Found,
        tables: &KeyTables,
        now: Now,
    ) -> Snapshot {
        let kept = before.map(|before| before.loaded.certificates.clone());
        let own = std::mem::replace(&mut loaded.certificates, kept.unwrap_or_default());
        loaded.certificates.extend(own);
        Snapshot {
            env: assemble(&loaded.settings.spec, before, found, tables, now),
            generation: before.map_or(1, |snapshot| snapshot.generation + 1),
            source_before: before.map(|before| before.loaded.source.clone()),
            loaded,
        }
    }

    /// The text of a generation, as far as it is kept: of this one, and of the one before.
    pub fn text_of(&self, generation: u64) -> Option<&str> {
        let source = match self.generation.checked_sub(generation)? {
            0 => Some(&self.loaded.source),
            1 => self.source_before.as_ref(),
            _ => None,
        };
        source.map(|source| source.text.as_str())
    }

    /// Listener, name and end (seconds since the epoch) of every certificate.
    pub fn not_after(&self) -> Vec<(&str, &str, i64)> {
        let mut all = Vec::new();
        for (listener, certificates) in &self.loaded.certificates {
            let own = certificates
                .iter()
                .map(|one| (listener.as_str(), one.name(), one.not_after));
            all.extend(own);
        }
        all
    }
}

/// Builds what the pipeline needs. What `before` has and the new configuration leaves as it is, is
/// taken over as the same object: limiters with their keys, servers with their health. It can not
/// fail: whatever could was found when the file was read.
fn assemble(spec: &EnvSpec, before: Option<&Snapshot>, found: &Found, tables: &KeyTables, now: Now) -> Env {
    let before = before.map(|snapshot| &snapshot.env);
    let upstreams: HashMap<_, _> = spec
        .upstreams
        .iter()
        .map(|upstream| {
            let before = before.and_then(|env| env.upstreams.get(&upstream.name));
            (upstream.name.clone(), keep_or_build(upstream, before, found))
        })
        .collect();
    Env {
        routes: Routes::new(spec.routes.clone()),
        widget: spec.widget.clone(),
        verify: spec.verify.as_ref().map(VerifySpec::rules),
        limits: Limits::build(&spec.limits, before.map(|env| &env.limits), tables, now),
        upstreams,
        trusted: TrustedProxies::new(spec.trusted.clone()),
    }
}

fn keep_or_build(spec: &UpstreamSpec, before: Option<&Arc<Upstream>>, found: &Found) -> Arc<Upstream> {
    let old = before.map_or(&[][..], |upstream| upstream.listed.as_slice());
    let listed: Vec<_> = spec
        .servers
        .iter()
        .map(|server| {
            let old = old.iter().find(|old| *old.entry.name == *server.name);
            let entry = match old.map(|old| &old.entry) {
                Some(old) if old.place == server.place && old.secured == server.secured => old.clone(),
                // What was connected to or found out before was another server, or nobody's whom it has to prove.
                old => Arc::new(Entry::new(
                    &server.name,
                    server.place.clone(),
                    server.secured.clone(),
                    old.map(|old| &**old),
                )),
            };
            if let Place::Named(name) = &entry.place
                && let Some(said) = found.get(name)
            {
                let next = next_look_up(said.is_ok(), spec.rules.resolve_interval);
                entry.found(said.clone());
                entry.looked_up(Instant::now() + next);
            }
            Listed {
                entry,
                weight: server.weight,
                backup: server.backup,
            }
        })
        .collect();
    match before {
        // The turn goes on as well.
        Some(old) if old.listed == listed && old.rules == spec.rules => {
            old.gather();
            old.clone()
        }
        old => Arc::new(Upstream::new(
            &spec.name,
            listed,
            spec.rules.clone(),
            old.map(|old| &**old),
        )),
    }
}
