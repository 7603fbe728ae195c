//! `[server]`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::Path;
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
use crate::config::values::{At, quoted};
use crate::request::field::Domain;

/// The default of `server.admin`.
pub const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);

pub(super) fn build(
    table: &ServerTable,
    base: &Path,
    others: &mut Others,
    faults: &mut Faults<'_>,
) -> ServerSettings {
    let (listeners, admin) = addresses(table, base, others, faults);
    let admin_token = table
        .admin_token_file
        .as_ref()
        .and_then(|path| token_file(path, base, others, faults));
    ServerSettings {
        listeners,
        admin: admin.to_string(),
        threads: table.threads.as_ref().map(|threads| threads.value.0 as usize),
        max_connections: table
            .max_connections
            .as_ref()
            .map_or(ServerSettings::MAX_CONNECTIONS, |most| most.value.0 as usize),
        keepalive_timeout: seconds(&table.keepalive_timeout, 75),
        header_timeout: seconds(&table.header_timeout, 10),
        write_timeout: seconds(&table.write_timeout, 60),
        drain_delay: seconds(&table.drain_delay, 5),
        grace_period: seconds(&table.grace_period, 20),
        upgrade_socket: table.upgrade_socket.as_ref().map(|path| base.join(&path.value)),
        admin_allow: networks(&table.admin_allow),
        admin_metrics_allow: networks(&table.admin_metrics_allow),
        admin_token,
        watch: table.watch.as_ref().is_none_or(|watch| watch.value),
        ready_requires_upstream: table.ready_requires_upstream.as_ref().is_some_and(|is| is.value),
        admin_hosts: table
            .admin_hosts
            .iter()
            .flatten()
            .filter_map(|host| admin_host(host, faults))
            .collect(),
    }
}

fn networks(given: &Option<Vec<At<Network>>>) -> Vec<IpNet> {
    given.iter().flatten().map(|network| network.value.0).collect()
}

pub(super) fn seconds(given: &Option<At<Span>>, default: u64) -> Duration {
    given
        .as_ref()
        .map_or(Duration::from_secs(default), |span| span.value.0)
}

/// Every address once: two sockets can not listen on one.
fn addresses(
    table: &ServerTable,
    base: &Path,
    others: &mut Others,
    faults: &mut Faults<'_>,
) -> (Vec<ListenerSettings>, SocketAddr) {
    let mut taken: Vec<(SocketAddr, Range<usize>)> = Vec::new();
    let mut listeners = Vec::new();
    for address in table.listen.iter().flatten() {
        take(&mut taken, address.value.0, &address.span, faults);
        listeners.push(ListenerSettings {
            address: address.value.0.to_string(),
            h2c: false,
            tls: Vec::new(),
            proxy_protocol: Vec::new(),
        });
    }
    for listener in &table.listeners {
        let (span, listener) = (listener.span(), listener.get_ref());
        let (tls, certificates) = tls(listener, base, others, faults);
        let proxy_protocol = proxy_protocol(listener, faults);
        let Some(address) = &listener.address else {
            if !faults.is_unread(&span, "address") {
                faults.under(
                    &span,
                    "address",
                    "is missing, allowed is an IP address and a port, such as \"0.0.0.0:8080\"",
                );
            }
            continue;
        };
        take(&mut taken, address.value.0, &address.span, faults);
        let h2c = listener.h2c.as_ref().is_some_and(|h2c| h2c.value);
        let address = address.value.0.to_string();
        if !certificates.is_empty() {
            others.certificates.insert(address.clone(), certificates);
        }
        listeners.push(ListenerSettings {
            address,
            h2c,
            tls,
            proxy_protocol,
        });
    }
    let unread = faults.is_unread_below("server.listen") || faults.is_unread_below("server.listeners");
    if listeners.is_empty() && table.listeners.is_empty() && !unread && !faults.is_unread_below("server") {
        faults.absent(
            "server",
            "listen",
            "is missing or empty, at least one address is needed, such as [\"0.0.0.0:8080\"]",
        );
    }
    let admin = table.admin.as_ref().map_or(ADMIN, |admin| admin.value.0);
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
    let Some(networks) = &listener.proxy_protocol else {
        return Vec::new();
    };
    if networks.get_ref().is_empty() && !faults.is_unread_below(&faults.index().of_value(&networks.span())) {
        faults.at(
            &networks.span(),
            "is empty, allowed is at least one network, such as [\"10.0.0.0/8\"]",
        );
    }
    networks.get_ref().iter().map(|network| network.value.0).collect()
}

/// The largest certificate or key file, in bytes.
const LARGEST_PEM: u64 = 1 << 20;

/// The certificates of a listener, loaded: each has its key and both can be served.
fn tls(
    listener: &ListenerTable,
    base: &Path,
    others: &mut Others,
    faults: &mut Faults<'_>,
) -> (Vec<CertPaths>, Vec<Arc<Certificate>>) {
    let (mut paths, mut certificates) = (Vec::new(), Vec::new());
    let Some(tls) = &listener.tls else {
        return (paths, certificates);
    };
    if let Some(h2c) = listener.h2c.as_ref().filter(|h2c| h2c.value) {
        faults.at(
            &h2c.span,
            "h2c is HTTP/2 without TLS, allowed is a listener with tls or with h2c",
        );
    }
    if tls.get_ref().is_empty() {
        faults.at(
            &tls.span(),
            "is empty, allowed is at least one { cert = \"FILE\", key = \"FILE\" }",
        );
    }
    for certificate in tls.get_ref() {
        let (span, CertTable { cert, key }) = (certificate.span(), certificate.get_ref());
        for (name, path) in [("cert", cert), ("key", key)] {
            if path.is_none() && !faults.is_unread(&span, name) {
                faults.under(&span, name, "is missing, allowed is the path of a PEM file");
            }
        }
        if let (Some(cert), Some(key)) = (cert, key) {
            let chain = pem(cert, base, others, faults);
            let secret = pem(key, base, others, faults);
            paths.push(CertPaths {
                cert: base.join(&cert.value),
                key: base.join(&key.value),
            });
            let loaded = chain
                .zip(secret)
                .map(|(chain, secret)| Certificate::load(&chain, &secret));
            match loaded {
                Some(Ok(loaded)) => {
                    if loaded.not_after <= now() {
                        faults.warn(
                            &cert.span,
                            format!("the certificate has expired, on {}", date(loaded.not_after)),
                        );
                    }
                    certificates.push(Arc::new(loaded));
                }
                Some(Err(unfit)) => {
                    let (at, wrong) = match unfit {
                        Unfit::Chain(wrong) => (cert, wrong),
                        Unfit::Key(wrong) => (key, wrong),
                    };
                    faults.at(&at.span, format!("{wrong}, allowed is a PEM chain with its key"));
                }
                None => {}
            }
        }
    }
    (paths, certificates)
}

fn pem(path: &At<String>, base: &Path, others: &mut Others, faults: &mut Faults<'_>) -> Option<Vec<u8>> {
    match others.read(base.join(&path.value), LARGEST_PEM) {
        Ok(content) => Some(content.to_vec()),
        Err(wrong) => {
            faults.at(
                &path.span,
                format!("{} {wrong}, allowed is a readable PEM file", quoted(&path.value)),
            );
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
fn token_file(
    path: &At<String>,
    base: &Path,
    others: &mut Others,
    faults: &mut Faults<'_>,
) -> Option<AdminToken> {
    const ALLOWED: &str = "allowed is a readable file with a token of 16 to 4096 visible ASCII characters";
    let file = base.join(&path.value);
    let wrong = match others.read(file.clone(), 4200) {
        Ok(content) => {
            let token = content.trim_ascii();
            if (16..=4096).contains(&token.len()) && token.iter().all(u8::is_ascii_graphic) {
                let sha256 = Sha256::digest(token).into();
                return Some(AdminToken { file, sha256 });
            }
            "holds no such token".to_owned()
        }
        Err(wrong) => wrong,
    };
    faults.at(&path.span, format!("{} {wrong}, {ALLOWED}", quoted(&path.value)));
    None
}

fn admin_host(host: &At<String>, faults: &mut Faults<'_>) -> Option<String> {
    match Domain::parse(host.value.as_bytes()) {
        Ok(domain) if !domain.as_str().contains(':') => Some(domain.as_str().to_owned()),
        _ => {
            let given = quoted(&host.value);
            faults.at(
                &host.span,
                format!("{given} is no host name, allowed is a name without a port"),
            );
            None
        }
    }
}
