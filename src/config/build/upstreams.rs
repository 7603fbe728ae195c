//! `[upstreams.NAME]`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use toml::Spanned;

use super::server::seconds;
use crate::config::fault::Faults;
use crate::config::file::UpstreamTable;
use crate::config::settings::{ServerSpec, UpstreamSpec};
use crate::config::units::{ServerAddress, ServerText};
use crate::config::values::{At, Name};
use crate::upstream::pool::Address;

pub(super) fn build(
    tables: &BTreeMap<At<Name>, Spanned<UpstreamTable>>,
    faults: &mut Faults<'_>,
) -> Vec<UpstreamSpec> {
    let mut upstreams = Vec::new();
    for (name, table) in tables {
        let (span, table) = (table.span(), table.get_ref());
        let servers = match &table.servers {
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
        upstreams.push(UpstreamSpec {
            name: name.value.0.as_str().into(),
            servers: distinct(servers, faults),
            connect_timeout: seconds(&table.connect_timeout, 2),
            timeout: seconds(&table.timeout, 30),
        });
    }
    upstreams
}

const NEEDED: &str = "at least one \"host:port\", \"unix:/path\" or \"sample\" is needed";

fn distinct(servers: &[At<ServerText>], faults: &mut Faults<'_>) -> Vec<ServerSpec> {
    let mut specs: Vec<ServerSpec> = Vec::new();
    for server in servers {
        let ServerText { text, address } = &server.value;
        if specs.iter().any(|other| other.name == *text) {
            faults.at(
                &server.span,
                format!("{text:?} stands in the list twice, allowed is once"),
            );
            continue;
        }
        let address = match address {
            ServerAddress::Sample => Address::Sample,
            ServerAddress::Unix(path) => Address::Unix(path.clone()),
            ServerAddress::Host(host, port) => match resolve(host, *port) {
                Some(address) => Address::Inet(address),
                None => {
                    faults.at(
                        &server.span,
                        format!("{host:?} does not resolve, allowed is an address or a name that does"),
                    );
                    continue;
                }
            },
        };
        specs.push(ServerSpec {
            name: text.clone(),
            address,
        });
    }
    specs
}

/// One address of a name: IPv4 before IPv6, then the smallest, so that the order in which a name
/// server answers changes nothing.
fn resolve(host: &str, port: u16) -> Option<SocketAddr> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, port));
    }
    (host, port).to_socket_addrs().ok()?.min()
}
