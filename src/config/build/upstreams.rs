//! `[upstreams.NAME]`. No name is looked up here.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::others::Others;
use super::secure::{Tls, proof, tls};
use super::server::seconds;
use crate::config::addresses::{ServerAddress, ServerText};
use crate::config::fault::Faults;
use crate::config::settings::{ServerSpec, UpstreamSpec};
use crate::config::upstreams::{CheckTable, EjectTable, ServerItem, UpstreamTable};
use crate::config::values::word;
use crate::config::values::{At, Count, Name};
use crate::upstream::address::Address;
use crate::upstream::balance::Balance;
use crate::upstream::entry::Place;
use crate::upstream::health::{CheckRule, EjectRule};
use crate::upstream::places::PlacesRule;
use crate::upstream::pool::{Resend, Rules};
use crate::upstream::proof::Proof;
use crate::upstream::resolve::Host;

pub(super) fn build(
    tables: &BTreeMap<At<Name>, Spanned<UpstreamTable>>,
    base: &Path,
    others: &mut Others,
    faults: &mut Faults<'_>,
) -> Vec<UpstreamSpec> {
    let mut upstreams = Vec::new();
    for (name, table) in tables {
        let (span, table) = (table.span(), table.get_ref());
        let items = match &table.servers {
            Some(servers) => servers.get_ref().as_slice(),
            None => &[],
        };
        match &table.servers {
            None if !faults.is_unread(&span, "servers") => {
                faults.under(&span, "servers", format!("is missing, {NEEDED}"));
            }
            Some(list)
                if list.get_ref().is_empty()
                    && !faults.is_unread_below(&faults.index().of_value(&list.span())) =>
            {
                faults.at(&list.span(), format!("is empty, {NEEDED}"));
            }
            _ => {}
        }
        let tls = table.tls.as_ref().map(|given| tls(given, base, others, faults));
        let proof = table
            .proof
            .as_ref()
            .map(|given| proof(given, base, others, faults));
        let (secret_file, proof) = proof.unwrap_or_default();
        let servers = servers(items, tls.as_ref(), faults);
        if !servers.is_empty()
            && servers.iter().all(|server| server.backup)
            && let Some(list) = &table.servers
        {
            faults.at(
                &list.span(),
                "has backups alone, at least one server without backup is needed".to_owned(),
            );
        }
        upstreams.push(UpstreamSpec {
            name: name.value.0.as_str().into(),
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
        balance: word(&table.balance, Balance::RoundRobin),
        resolve_interval: seconds(&table.resolve_interval, 10),
        connect_timeout: seconds(&table.connect_timeout, 2),
        timeout: seconds(&table.timeout, 30),
        keepalive: seconds(&table.keepalive, 4),
        retries: table
            .retries
            .as_ref()
            .map_or(usize::MAX, |retries| retries.value.0),
        total_timeout: table.total_timeout.as_ref().map(|span| span.value.0),
        background_timeout: table
            .background_timeout
            .as_ref()
            .map_or(Duration::from_millis(4500), |span| span.value.0),
        resend: match table
            .idempotent
            .as_ref()
            .is_some_and(|idempotent| idempotent.value)
        {
            true => Resend::Once,
            false => Resend::Never,
        },
        places: table.max_in_flight.as_ref().map(|most| PlacesRule {
            most: most.value.0 as usize,
            queue: count(&table.queue, 100) as usize,
            queue_timeout: seconds(&table.queue_timeout, 1),
        }),
        check: table.check.as_ref().map(|check| self::check(check.get_ref())),
        eject: match &table.eject {
            Some(eject) => self::eject(eject.get_ref(), faults),
            None => EjectRule::default(),
        },
        proof,
    }
}

fn check(table: &CheckTable) -> CheckRule {
    CheckRule {
        path: table.path.as_ref().map(|path| path.value.0.clone()),
        status: table
            .status
            .as_ref()
            .map_or((200, 399), |range| (range.value.least, range.value.most)),
        interval: seconds(&table.interval, 5),
        timeout: seconds(&table.timeout, 2),
        rise: count(&table.rise, 2),
        fall: count(&table.fall, 3),
    }
}

fn eject(table: &EjectTable, faults: &mut Faults<'_>) -> EjectRule {
    let mut statuses = Vec::new();
    for status in table.statuses.iter().flatten() {
        match u16::try_from(status.value.0) {
            Ok(code @ 200..=599) => statuses.push(code),
            Ok(_) | Err(_) => faults.at(
                &status.span,
                format!(
                    "{} is no status of an answer, allowed is 200 to 599",
                    status.value.0
                ),
            ),
        }
    }
    EjectRule {
        failures: count(&table.failures, 5),
        duration: seconds(&table.duration, 30),
        statuses,
    }
}

fn count<const MAX: u32>(given: &Option<At<Count<MAX>>>, default: u32) -> u32 {
    given.as_ref().map_or(default, |count| count.value.0)
}

fn servers(items: &[Spanned<ServerItem>], tls: Option<&Tls>, faults: &mut Faults<'_>) -> Vec<ServerSpec> {
    let mut specs: Vec<ServerSpec> = Vec::new();
    for item in items {
        let (text, span, weight, backup) = match item.get_ref() {
            ServerItem::Text(text) => (text, item.span(), 1, false),
            ServerItem::Table(table) => match &table.address {
                Some(address) => (
                    &address.value,
                    address.span.clone(),
                    count(&table.weight, 1),
                    table.backup.as_ref().is_some_and(|backup| backup.value),
                ),
                None => {
                    if !faults.is_unread(&item.span(), "address") {
                        faults.under(&item.span(), "address", format!("is missing, {NEEDED}"));
                    }
                    continue;
                }
            },
        };
        let ServerText { text, address } = text;
        if specs.iter().any(|other| other.name == *text) {
            faults.at(
                &span,
                format!("{text:?} stands in the list twice, allowed is once"),
            );
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
            secured: tls.and_then(|tls| tls.secured(address, &span, faults)),
        });
    }
    specs
}
