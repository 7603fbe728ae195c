//! A server becomes Pingora's `HttpPeer`.

use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use pingora::{Error, ErrorType, Result};

use super::address::Address;
use super::pool::Rules;
use super::sample;
use super::server::Server;

/// The peer of a server under the rules of its upstream.
///
/// # Errors
/// Where the engine does not take the path of a Unix socket.
pub fn of(server: &Server, rules: &Rules) -> Result<HttpPeer> {
    let mut peer = match &server.address {
        Address::Inet(address) => HttpPeer::new(*address, false, String::new()),
        Address::Sample => {
            let address = sample::address()
                .map_err(|e| Error::because(ErrorType::ConnectError, "sample handler", e))?;
            HttpPeer::new(address, false, String::new())
        }
        Address::Unix(path) => {
            let path = path
                .to_str()
                .ok_or_else(|| Error::explain(ErrorType::ConnectError, "socket path"))?;
            HttpPeer::new_uds(path, false, String::new())?
        }
    };
    let options = &mut peer.options;
    options.connection_timeout = Some(rules.connect_timeout);
    options.total_connection_timeout = Some(rules.connect_timeout);
    // Of the whole time the proxy knows nothing: it bounds the wait for each part.
    let silence = rules
        .total_timeout
        .map_or(rules.timeout, |total| total.min(rules.timeout));
    options.read_timeout = Some(silence);
    options.write_timeout = Some(rules.timeout);
    options.idle_timeout = Some(rules.keepalive);
    // The bytes after an Upgrade stay HTTP (RFC 9110 7.8 lets a server ignore it).
    options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
    Ok(peer)
}
