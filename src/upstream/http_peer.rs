//! A server becomes Pingora's `HttpPeer`.

use std::time::Duration;

use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use pingora::{Error, ErrorType, Result};

use super::address::Address;
use super::pool::Rules;
use super::sample;
use super::secure::Secured;
use super::server::Server;

/// The peer of a server under the rules of its upstream, for a request that has so much of its whole time left.
///
/// # Errors
/// Where the engine does not take the path of a Unix socket.
pub fn of(server: &Server, rules: &Rules, left: Option<Duration>) -> Result<HttpPeer> {
    // An empty name would leave the certificate unverified.
    let name = server.secured.as_ref().map(Secured::name);
    let (is_tls, name) = (name.is_some(), name.unwrap_or_default());
    let mut peer = match &server.address {
        Address::Inet(address) => HttpPeer::new(*address, is_tls, name),
        Address::Sample => {
            let address = sample::address()
                .map_err(|e| Error::because(ErrorType::ConnectError, "sample handler", e))?;
            HttpPeer::new(address, is_tls, name)
        }
        Address::Unix(path) => {
            let path = path
                .to_str()
                .ok_or_else(|| Error::explain(ErrorType::ConnectError, "socket path"))?;
            HttpPeer::new_uds(path, is_tls, name)?
        }
    };
    if let Some(secured) = &server.secured {
        // The engine's pool knows a name, but not who has to vouch for it.
        peer.group_key = secured.group();
        peer.options.ca = secured.authorities();
    }
    let options = &mut peer.options;
    // Of the whole time the proxy knows nothing: it bounds each wait.
    let within = |rule: Duration| Some(left.map_or(rule, |left| left.min(rule)));
    options.connection_timeout = within(rules.connect_timeout);
    options.total_connection_timeout = within(rules.connect_timeout);
    options.read_timeout = within(rules.timeout);
    options.write_timeout = within(rules.timeout);
    options.idle_timeout = Some(rules.keepalive);
    // The head it gets is the server's already: what is for one hop, an Upgrade with it, was left out.
    options.http_upstream_request_policy = HttpUpstreamRequestPolicy::preserve();
    Ok(peer)
}
