//! The property: for each known name that the message is judged by, PHP's arrays hold one opinion, and it is
//! the gateway's; and whoever reads the message as another kind of it comes to the same portal.

use std::collections::BTreeSet;

use super::handlers::{HANDLERS, Identity};
use crate::common::Received;
use crate::common::forms::KNOWN;
use crate::common::php::{Held, Seen};

/// Of these an own request of the handler's page is judged by; the others are the page's own.
const OF_IDENTITY: [&str; 6] = [
    "DOMAIN",
    "member_id",
    "SERVER_ENDPOINT",
    "AUTH_ID",
    "REFRESH_ID",
    "APPLICATION_TOKEN",
];

/// Everything in which PHP and the gateway differ about a forwarded request.
pub fn disagreements(forwarded: &Received, seen: &Seen) -> Vec<String> {
    let kind = header(forwarded, "Message").unwrap_or_else(|| b"own".to_vec());
    let mut found = Vec::new();
    for name in KNOWN.into_iter().chain(["event", "event_token", "workflow_id"]) {
        if kind == b"own" && !OF_IDENTITY.contains(&name) {
            continue;
        }
        match opinion(
            name,
            ["get", "post", "cookie", "request"].map(|array| seen.held(array, name)),
        ) {
            Ok(value) => found.extend(differs(forwarded, &kind, name, value.as_deref())),
            Err(why) => found.push(format!("{name}: {why}")),
        }
    }
    found.extend(under_auth(seen, &kind));
    let told = Told {
        member_id: header(forwarded, "Member-Id"),
        domain: header(forwarded, "Domain"),
    };
    for (handler, read) in HANDLERS {
        found.extend(told.strangers(handler, read(seen)));
    }
    found
}

/// Whose message the gateway says it is.
pub struct Told {
    pub member_id: Option<Vec<u8>>,
    pub domain: Option<Vec<u8>>,
}

impl Told {
    /// Whatever a handler read that is somebody else's.
    pub fn strangers(&self, handler: &str, theirs: Identity) -> Vec<String> {
        let mut found = Vec::new();
        if let Some(member) = theirs.member_id
            && self.member_id.as_ref() != Some(&member)
        {
            found.push(format!(
                "{handler} is told of the member {}",
                member.escape_ascii()
            ));
        }
        if let Some(other) = theirs.domain
            && self.domain.as_deref() != Some(&normalized(&other))
        {
            found.push(format!(
                "{handler} is told of the domain {}",
                other.escape_ascii()
            ));
        }
        if let Some(endpoint) = theirs.endpoint
            && host(&endpoint) != self.domain.as_deref().map(without_port)
        {
            found.push(format!("{handler} will call {}", endpoint.escape_ascii()));
        }
        found
    }
}

fn header(forwarded: &Received, name: &str) -> Option<Vec<u8>> {
    forwarded
        .header(&format!("X-Bitrix24-{name}"))
        .map(String::into_bytes)
}

/// The host that a URL leads to, lower case; of one with a user part, what is behind it.
fn host(url: &[u8]) -> Option<Vec<u8>> {
    let url = url.to_ascii_lowercase();
    let rest = url
        .strip_prefix(b"https://")
        .or_else(|| url.strip_prefix(b"http://"))?;
    let end = rest
        .iter()
        .position(|b| b"/?#\\".contains(b))
        .unwrap_or(rest.len());
    let authority = rest[..end].rsplit(|&b| b == b'@').next().unwrap_or_default();
    Some(without_port(authority))
}

fn without_port(authority: &[u8]) -> Vec<u8> {
    let host = match authority.iter().position(|&b| b == b']') {
        Some(end) => &authority[..=end],
        None => authority.split(|&b| b == b':').next().unwrap_or_default(),
    };
    host.strip_suffix(b".").unwrap_or(host).to_vec()
}

/// A domain as the gateway writes it.
fn normalized(domain: &[u8]) -> Vec<u8> {
    let lower = domain.to_ascii_lowercase();
    lower.strip_suffix(b":").map(<[u8]>::to_vec).unwrap_or(lower)
}

fn is_same(name: &str, a: &Held, b: &Held) -> bool {
    match (a, b) {
        (Held::Text(a), Held::Text(b)) if matches!(name, "DOMAIN" | "auth[domain]") => {
            normalized(a) == normalized(b)
        }
        _ => a == b,
    }
}

/// The one value that `$_GET`, `$_POST`, `$_COOKIE` and `$_REQUEST` have between them.
fn opinion(name: &str, held: [Option<Held>; 4]) -> Result<Option<Vec<u8>>, &'static str> {
    let [get, post, cookie, request] = held;
    if cookie.is_some() {
        return Err("a cookie has an opinion");
    }
    if [&get, &post, &request]
        .into_iter()
        .any(|held| matches!(held, Some(Held::Array)))
    {
        return Err("it is an array");
    }
    if let (Some(get), Some(post)) = (&get, &post)
        && !is_same(name, get, post)
    {
        return Err("$_GET and $_POST differ");
    }
    let form = post.or(get);
    match (&form, &request) {
        (None, None) => {}
        (Some(form), Some(request)) if is_same(name, form, request) => {}
        _ => return Err("$_REQUEST differs from $_GET and $_POST"),
    }
    Ok(form.map(|held| match held {
        Held::Text(text) => text,
        Held::Array => Vec::new(),
    }))
}

/// Every text under `auth` is one, wherever it is read; of an own request there is none.
fn under_auth(seen: &Seen, kind: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let [get, post, cookie, request] =
        ["get", "post", "cookie", "request"].map(|array| seen.leaves(array, "auth"));
    let paths: BTreeSet<_> = [&get, &post, &cookie, &request]
        .into_iter()
        .flat_map(|leaves| leaves.keys().cloned())
        .collect();
    if kind == b"own" && !paths.is_empty() {
        found.push("an own request has auth".to_owned());
    }
    for path in &paths {
        let shown = path.join(&b"]["[..]).escape_ascii().to_string();
        let name = format!("auth[{shown}]");
        let held = [&get, &post, &cookie, &request].map(|leaves| leaves.get(path).cloned().map(Held::Text));
        if let Err(why) = opinion(&name, held) {
            found.push(format!("{name}: {why}"));
        }
        let is_within = |other: &Vec<Vec<u8>>| other != path && other.starts_with(path);
        if paths.iter().any(is_within) {
            found.push(format!("{name}: a text and an array"));
        }
    }
    let plain = ["get", "post", "cookie", "request"]
        .into_iter()
        .any(|array| matches!(seen.held(array, "auth"), Some(Held::Text(_))));
    if plain && !paths.is_empty() {
        found.push("auth: a text and an array".to_owned());
    }
    found
}

/// Against what the gateway said in its headers.
fn differs(forwarded: &Received, kind: &[u8], name: &str, php: Option<&[u8]>) -> Option<String> {
    let header = |name: &str| header(forwarded, name);
    let nonblank = php
        .filter(|value| !value.trim_ascii().is_empty())
        .map(<[u8]>::to_vec);
    let is_placement = kind == b"placement";
    let (ours, theirs) = match name {
        // Of what a portal sends by itself, `auth` says who it is; the handlers' reading compares the two.
        "DOMAIN" if is_placement || kind == b"own" => (header("Domain"), nonblank.as_deref().map(normalized)),
        "member_id" if is_placement || kind == b"own" => (header("Member-Id"), nonblank),
        "event" if kind == b"event" => (header("Event"), nonblank),
        "PROTOCOL" if is_placement => {
            let scheme = php.map(|value| match value {
                b"1" => b"https".to_vec(),
                b"0" => b"http".to_vec(),
                other => other.to_vec(),
            });
            (header("Protocol"), scheme)
        }
        "LANG" if is_placement => (header("Lang"), php.map(<[u8]>::to_vec)),
        "PLACEMENT" => (header("Placement"), php.map(<[u8]>::to_vec)),
        "APP_SID" if is_placement => (header("App-Sid"), nonblank),
        "status" if is_placement => (header("Status"), nonblank),
        "PLACEMENT_OPTIONS" if is_placement => {
            let state = header("Placement-Options-State").unwrap_or_default();
            let theirs = match (php, &nonblank) {
                (None, _) => b"absent".to_vec(),
                (Some(_), None) => b"empty".to_vec(),
                (Some(_), Some(_)) if !matches!(&state[..], b"absent" | b"empty") => state.clone(),
                (Some(_), Some(_)) => b"a value".to_vec(),
            };
            (Some(state), Some(theirs))
        }
        // Tokens and the rest stand in no header: that there is one opinion is the whole property.
        _ => return None,
    };
    let required = is_placement && matches!(name, "DOMAIN" | "PROTOCOL" | "LANG" | "member_id" | "PLACEMENT");
    if ours != theirs || (required && ours.is_none()) {
        let shown = |value: &Option<Vec<u8>>| value.as_ref().map(|v| v.escape_ascii().to_string());
        return Some(format!(
            "{name}: the gateway says {:?}, PHP {:?}",
            shown(&ours),
            shown(&theirs)
        ));
    }
    None
}
