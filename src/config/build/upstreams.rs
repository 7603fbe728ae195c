//! `[upstreams.NAME]`. No name is looked up here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::others::Others;
use super::secure::{Tls, proof, tls};
use super::server::seconds;
use crate::config::addresses::{ServerAddress, ServerText};
use crate::config::fault::Faults;
use crate::config::settings::{ServerSpec, UpstreamSpec};
use crate::config::upstreams::{CheckTable, EjectTable, ServerItem, UpstreamTable};
use crate::config::values::{At, Name, Placed, given_or};
use crate::upstream::address::Address;
use crate::upstream::balance::Balance;
use crate::upstream::entry::Place;
use crate::upstream::health::{CheckRule, EjectRule};
use crate::upstream::places::PlacesRule;
use crate::upstream::pool::{Resend, Rules};
use crate::upstream::proof::Proof;
use crate::upstream::resolve::Host;

pub(super) fn build(
    tables: &BTreeMap<At<Name>, Placed<UpstreamTable>>,
    others: &mut Others,
    faults: &mut Faults<'_>,
) -> Vec<UpstreamSpec> {
    let mut upstreams = Vec::new();
    for (name, Placed { value: table, span }) in tables {
        let list = faults.required(&table.servers, span, "servers", NEEDED);
        if let Some(list) = list.filter(|list| list.value.is_empty()) {
            faults.empty(&list.span, format!("is empty, {NEEDED}"));
        }
        let tls = table.tls.as_ref().map(|given| tls(given, others, faults));
        let proof = table.proof.as_ref().map(|given| proof(given, others, faults));
        let (secret_file, proof) = proof.unwrap_or_default();
        let items = list.map_or(&[][..], |list| &list.value);
        let servers = servers(items, tls.as_ref(), faults);
        if !servers.is_empty()
            && servers.iter().all(|server| server.backup)
            && let Some(list) = list
        {
            let message = "has backups alone, at least one server without backup is needed";
            faults.at(&list.span, message);
        }
        upstreams.push(UpstreamSpec {
            name: name.value.as_str().into(),
            servers,
            rules: rules(table, proof.map(Arc::new), faults),
            tls: tls.map(|tls| tls.spec),
            secret_file,
        });
    }
    upstreams
}

const NEEDED: &str = "at least one \"host:port\", \"unix:/path\" or \"sample\" is needed";

fn rules(table: &UpstreamTable, proof: Option<Arc<Proof>>, faults: &mut Faults<'_>) -> Rules {
    Rules {
        balance: given_or(&table.balance, Balance::RoundRobin),
        resolve_interval: seconds(&table.resolve_interval, 10),
        connect_timeout: seconds(&table.connect_timeout, 2),
        timeout: seconds(&table.timeout, 30),
        keepalive: seconds(&table.keepalive, 4),
        retries: table
            .retries
            .as_ref()
            .map_or(usize::MAX, |most| most.value as usize),
        total_timeout: table.total_timeout.as_ref().map(|span| span.value),
        background_timeout: given_or(&table.background_timeout, Duration::from_millis(4500)),
        resend: match given_or(&table.idempotent, false) {
            true => Resend::Once,
            false => Resend::Never,
        },
        places: table.max_in_flight.as_ref().map(|most| PlacesRule {
            most: most.value as usize,
            queue: given_or(&table.queue, 100) as usize,
            queue_timeout: seconds(&table.queue_timeout, 1),
        }),
        check: table.check.as_ref().map(|check| self::check(&check.value)),
        eject: match &table.eject {
            Some(eject) => self::eject(&eject.value, faults),
            None => EjectRule::default(),
        },
        proof,
    }
}

fn check(table: &CheckTable) -> CheckRule {
    CheckRule {
        path: table.path.as_ref().map(|path| path.value.clone()),
        status: given_or(&table.status, (200, 399)),
        interval: seconds(&table.interval, 5),
        timeout: seconds(&table.timeout, 2),
        rise: given_or(&table.rise, 2),
        fall: given_or(&table.fall, 3),
    }
}

fn eject(table: &EjectTable, faults: &mut Faults<'_>) -> EjectRule {
    let mut statuses = Vec::new();
    for At { value: status, span } in table.statuses.iter().flatten() {
        match u16::try_from(*status) {
            Ok(code @ 200..=599) => statuses.push(code),
            Ok(_) | Err(_) => {
                let message = format!("{status} is no status of an answer, allowed is 200 to 599");
                faults.at(span, message);
            }
        }
    }
    EjectRule {
        failures: given_or(&table.failures, 5),
        duration: seconds(&table.duration, 30),
        statuses,
    }
}

fn servers(items: &[Placed<ServerItem>], tls: Option<&Tls>, faults: &mut Faults<'_>) -> Vec<ServerSpec> {
    let mut specs: Vec<ServerSpec> = Vec::new();
    for Placed { value: item, span } in items {
        let (weight, backup) = match item {
            ServerItem::Text(_) => (1, false),
            ServerItem::Table(table) => {
                faults.required(&table.address, span, "address", NEEDED);
                (given_or(&table.weight, 1), given_or(&table.backup, false))
            }
        };
        let Some((ServerText { text, address }, span)) = item.server(span) else {
            continue;
        };
        if specs.iter().any(|other| other.name == *text) {
            faults.twice(span, &format!("{text:?}"));
            continue;
        }
        specs.push(ServerSpec {
            name: text.clone(),
            place: match address {
                ServerAddress::Sample => Place::Fixed(Address::Sample),
                ServerAddress::Unix(path) => Place::Fixed(Address::Unix(path.clone())),
                ServerAddress::Host(host, port) => match Host::of(host, *port) {
                    Host::Address(address) => Place::Fixed(Address::Inet(address)),
                    Host::Name(name) => Place::Named(name),
                },
            },
            weight,
            backup,
            secured: tls.and_then(|tls| tls.secured(address, span, faults)),
        });
    }
    specs
}
