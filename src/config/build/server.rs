//! `[server]`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use sha2::{Digest, Sha256};

use super::others::Others;
use crate::config::addresses::Network;
use crate::config::certificate::{Certificate, Unfit};
use crate::config::fault::Faults;
use crate::config::file::{CertTable, ListenerTable, ServerTable};
use crate::config::settings::{AdminToken, CertPaths, ListenerSettings, ServerSettings};
use crate::config::units::Span;
use crate::config::values::{At, Placed, given_or, quoted};
use crate::request::field::Domain;

/// The default of `server.admin`.
pub const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);

pub(super) fn build(table: &ServerTable, others: &mut Others, faults: &mut Faults<'_>) -> ServerSettings {
    let (listeners, admin) = addresses(table, others, faults);
    let admin_token = table.admin_token_file.as_ref();
    let most = given_or(&table.max_connections, ServerSettings::MAX_CONNECTIONS);
    ServerSettings {
        listeners,
        admin: admin.to_string(),
        threads: table.threads.as_ref().map(|threads| threads.value as usize),
        max_connections: most as usize,
        keepalive_timeout: seconds(&table.keepalive_timeout, 75),
        header_timeout: seconds(&table.header_timeout, 10),
        write_timeout: seconds(&table.write_timeout, 60),
        drain_delay: seconds(&table.drain_delay, 5),
        grace_period: seconds(&table.grace_period, 20),
        upgrade_socket: table.upgrade_socket.as_ref().map(|path| others.path(path)),
        admin_allow: networks(&table.admin_allow),
        admin_metrics_allow: networks(&table.admin_metrics_allow),
        admin_token: admin_token.and_then(|path| token_file(path, others, faults)),
        watch: given_or(&table.watch, true),
        ready_requires_upstream: given_or(&table.ready_requires_upstream, false),
        admin_hosts: table
            .admin_hosts
            .iter()
            .flatten()
            .filter_map(|host| admin_host(host, faults))
            .collect(),
    }
}

pub(super) fn networks(given: &Option<Vec<At<Network>>>) -> Vec<IpNet> {
    given.iter().flatten().map(|network| network.value).collect()
}

pub(super) fn seconds(given: &Option<At<Span>>, default: u64) -> Duration {
    given_or(given, Duration::from_secs(default))
}

/// Every address once: two sockets can not listen on one.
fn addresses(
    table: &ServerTable,
    others: &mut Others,
    faults: &mut Faults<'_>,
) -> (Vec<ListenerSettings>, SocketAddr) {
    let mut taken: Vec<(SocketAddr, Range<usize>)> = Vec::new();
    let mut listeners = Vec::new();
    for address in table.listen.iter().flatten() {
        take(&mut taken, address.value, &address.span, faults);
        listeners.push(ListenerSettings {
            address: address.value.to_string(),
            h2c: false,
            tls: Vec::new(),
            proxy_protocol: Vec::new(),
        });
    }
    for Placed { value: one, span } in &table.listeners {
        let (tls, certificates) = tls(one, others, faults);
        let proxy_protocol = proxy_protocol(one, faults);
        let allowed = "allowed is an IP address and a port, such as \"0.0.0.0:8080\"";
        let Some(address) = faults.required(&one.address, span, "address", allowed) else {
            continue;
        };
        take(&mut taken, address.value, &address.span, faults);
        let address = address.value.to_string();
        if !certificates.is_empty() {
            others.certificates.insert(address.clone(), certificates);
        }
        listeners.push(ListenerSettings {
            address,
            h2c: given_or(&one.h2c, false),
            tls,
            proxy_protocol,
        });
    }
    if listeners.is_empty() && table.listeners.is_empty() && !faults.is_unread_below("server") {
        faults.absent(
            "server",
            "listen",
            "is missing or empty, at least one address is needed, such as [\"0.0.0.0:8080\"]",
        );
    }
    let admin = given_or(&table.admin, ADMIN);
    match &table.admin {
        Some(given) => take(&mut taken, admin, &given.span, faults),
        None => {
            if let Some((address, span)) = taken.iter().find(|(address, _)| clash(*address, admin)).cloned() {
                faults.at(
                    &span,
                    format!("{address} is the default of server.admin, allowed is an address of its own"),
                );
            }
        }
    }
    (listeners, admin)
}

fn take(
    taken: &mut Vec<(SocketAddr, Range<usize>)>,
    address: SocketAddr,
    span: &Range<usize>,
    faults: &mut Faults<'_>,
) {
    match taken.iter().find(|(other, _)| clash(*other, address)) {
        Some((other, at)) => {
            let line = faults.line(at);
            faults.at(
                span,
                format!("{address} clashes with {other} in line {line}, allowed is an address of its own"),
            );
        }
        None => taken.push((address, span.clone())),
    }
}

/// Port 0 is a new port each time. An unspecified address includes every other of its family.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let (x, y) = (a.ip(), b.ip());
    let includes = x == y || (x.is_ipv4() == y.is_ipv4() && (x.is_unspecified() || y.is_unspecified()));
    a.port() != 0 && a.port() == b.port() && includes
}

/// An empty list reads like everybody, and would be nobody.
fn proxy_protocol(listener: &ListenerTable, faults: &mut Faults<'_>) -> Vec<IpNet> {
    let Some(Placed { value: list, span }) = &listener.proxy_protocol else {
        return Vec::new();
    };
    if list.is_empty() {
        let message = "is empty, allowed is at least one network, such as [\"10.0.0.0/8\"]";
        faults.empty(span, message);
    }
    list.iter().map(|network| network.value).collect()
}

/// The largest certificate or key file, in bytes.
const LARGEST_PEM: u64 = 1 << 20;

/// The certificates of a listener, loaded: each has its key and both can be served.
fn tls(
    listener: &ListenerTable,
    others: &mut Others,
    faults: &mut Faults<'_>,
) -> (Vec<CertPaths>, Vec<Arc<Certificate>>) {
    let (mut paths, mut certificates) = (Vec::new(), Vec::new());
    let Some(Placed { value: tls, span }) = &listener.tls else {
        return (paths, certificates);
    };
    if let Some(h2c) = listener.h2c.as_ref().filter(|h2c| h2c.value) {
        let message = "h2c is HTTP/2 without TLS, allowed is a listener with tls or with h2c";
        faults.at(&h2c.span, message);
    }
    if tls.is_empty() {
        let message = "is empty, allowed is at least one { cert = \"FILE\", key = \"FILE\" }";
        faults.at(span, message);
    }
    for Placed {
        value: CertTable { cert, key },
        span,
    } in tls
    {
        let allowed = "allowed is the path of a PEM file";
        let cert = faults.required(cert, span, "cert", allowed);
        let key = faults.required(key, span, "key", allowed);
        if let (Some(cert), Some(key)) = (cert, key) {
            paths.push(CertPaths {
                cert: others.path(cert),
                key: others.path(key),
            });
            certificates.extend(certificate(cert, key, others, faults).map(Arc::new));
        }
    }
    (paths, certificates)
}

fn certificate(
    cert: &At<String>,
    key: &At<String>,
    others: &mut Others,
    faults: &mut Faults<'_>,
) -> Option<Certificate> {
    let mut pem = |path| {
        others.load(path, LARGEST_PEM, "a readable PEM file", faults, |content| {
            Ok(content.to_vec())
        })
    };
    let (chain, secret) = (pem(cert), pem(key));
    match Certificate::load(&chain?, &secret?) {
        Ok(loaded) => {
            if loaded.not_after <= now() {
                let message = format!("the certificate has expired, on {}", date(loaded.not_after));
                faults.warn(&cert.span, message);
            }
            if loaded.not_before > now() {
                let message = format!("the certificate is good from {} on only", date(loaded.not_before));
                faults.warn(&cert.span, message);
            }
            Some(loaded)
        }
        Err(unfit) => {
            let (at, wrong) = match unfit {
                Unfit::Chain(wrong) => (cert, wrong),
                Unfit::Key(wrong) => (key, wrong),
            };
            faults.at(&at.span, format!("{wrong}, allowed is a PEM chain with its key"));
            None
        }
    }
}

/// Of seconds since the epoch.
fn date(at: i64) -> String {
    let at = Duration::from_secs(u64::try_from(at).unwrap_or(0));
    let text = humantime::format_rfc3339_seconds(std::time::SystemTime::UNIX_EPOCH + at).to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}

/// Seconds since the epoch.
pub(super) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// Whether the token can be had is part of whether the file is sound.
fn token_file(path: &At<String>, others: &mut Others, faults: &mut Faults<'_>) -> Option<AdminToken> {
    let file = others.path(path);
    let allowed = "a readable file with a token of 16 to 4096 visible ASCII characters";
    others.load(path, 4200, allowed, faults, |content| {
        let token = content.trim_ascii();
        match (16..=4096).contains(&token.len()) && token.iter().all(u8::is_ascii_graphic) {
            true => Ok(AdminToken {
                file,
                sha256: Sha256::digest(token).into(),
            }),
            false => Err("holds no such token".to_owned()),
        }
    })
}

fn admin_host(host: &At<String>, faults: &mut Faults<'_>) -> Option<String> {
    match Domain::parse(host.value.as_bytes()) {
        Ok(domain) if !domain.as_str().contains(':') => Some(domain.as_str().to_owned()),
        _ => {
            let given = quoted(&host.value);
            let message = format!("{given} is no host name, allowed is a name without a port");
            faults.at(&host.span, message);
            None
        }
    }
}
