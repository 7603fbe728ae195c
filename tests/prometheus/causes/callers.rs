//! Who is calling, where `[verify]` asks.

use super::{Case, call, case, kept, once, step, traffic};
use crate::common::forms::{BODY, MEMBER, QUERY, SECRETS, post, routes};
use crate::common::oauth::{AuthServer, CLIENT_ID, Says};
use crate::common::{DeadServer, Gateway, Upstream};

fn verifying(server: std::net::SocketAddr) -> &'static Gateway {
    let upstream = kept(Upstream::start());
    // What is known of a caller is asked again soon.
    kept(Gateway::start(format!(
        "{}[verify]\nmethod = \"app_info\"\nclient_id = \"{CLIENT_ID}\"\nservers = [\"http://{server}\"]\n\
         timeout = \"15s\"\ncache = \"1s\"\n[widget]\nserver_endpoints = [\"127.0.0.1\"]\n",
        routes(&[upstream.address])
    )))
}

/// The authorization server is gone; the callers go on, unknown.
pub fn nobody_says() -> Case {
    let dead = kept(DeadServer::new());
    let gateway = verifying(dead.address());
    let rest = || {
        let upstream = kept(Upstream::start());
        routes(&[upstream.address])
    };
    case(
        "nobody-says",
        &[gateway],
        [
            step(move || traffic(gateway), &["WidgetGatewayVerificationFailing"]),
            // Nobody is asked any more.
            once(move || gateway.rewrite(&rest()), move || traffic(gateway), &[]),
        ],
    )
}

/// Tokens of another portal.
pub fn somebody_else() -> Case {
    let server = kept(AuthServer::start());
    let gateway = verifying(server.address);
    server.says(SECRETS[0], Says::info(CLIENT_ID, MEMBER, "portal.bitrix24.com"));
    let genuine = || post(&format!("/app?{QUERY}"), &[], BODY);
    case(
        "somebody-else",
        &[gateway],
        [
            // The token is of one member, the call says another.
            step(
                move || (1..4).for_each(|member| drop(gateway.ask(call(member)))),
                &["WidgetGatewayCallersNotVerified"],
            ),
            step(move || (1..4).for_each(|_| drop(gateway.ask(genuine()))), &[]),
        ],
    )
}
