//! Whose message handlers think it is: the reading orders of the kits that are used most, over what PHP holds.

use crate::common::php::{Held, Seen};

/// What a handler goes by.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    pub member_id: Option<Vec<u8>>,
    pub domain: Option<Vec<u8>>,
    /// Where it will call the portal.
    pub endpoint: Option<Vec<u8>>,
}

pub type Handler = (&'static str, fn(&Seen) -> Identity);

pub const HANDLERS: [Handler; 6] = [
    ("CRest installApp", crest),
    ("prefers auth[member_id]", prefers_auth),
    ("prefers member_id", prefers_flat),
    ("b24phpsdk RemoteEventsFactory", sdk_event),
    ("b24phpsdk PlacementRequest", sdk_placement),
    ("b24phpsdk IncomingRobotRequest", sdk_robot),
];

/// `$array[a][b]`, if it is a text that names anything.
fn text(seen: &Seen, array: &str, path: &[&str]) -> Option<Vec<u8>> {
    let (name, keys) = path.split_first()?;
    match seen.at(array, name, keys)? {
        Held::Text(text) if !text.trim_ascii().is_empty() => Some(text),
        Held::Text(_) | Held::Array => None,
    }
}

fn under_auth(seen: &Seen, array: &str) -> Identity {
    Identity {
        member_id: text(seen, array, &["auth", "member_id"]),
        domain: text(seen, array, &["auth", "domain"]),
        endpoint: text(seen, array, &["auth", "client_endpoint"]),
    }
}

/// The event first, then the placement. A plain `auth` is stored as little as an empty one, but is not passed over.
fn crest(seen: &Seen) -> Identity {
    let is = |name: &str, value: &[u8]| text(seen, "request", &[name]).as_deref() == Some(value);
    let auth = seen.held("request", "auth");
    let is_empty = match &auth {
        Some(Held::Text(text)) => matches!(&text[..], b"" | b"0"),
        Some(Held::Array) => false,
        None => true,
    };
    if is("event", b"ONAPPINSTALL") && !is_empty {
        under_auth(seen, "request")
    } else if is("PLACEMENT", b"DEFAULT") {
        // A blank one makes an address, too.
        let domain = match seen.held("request", "DOMAIN") {
            Some(Held::Text(domain)) if !domain.is_empty() => Some(escaped(&domain)),
            Some(Held::Text(_) | Held::Array) | None => None,
        };
        Identity {
            member_id: None,
            endpoint: domain.as_deref().map(|domain| url(domain, b"/rest/")),
            domain: domain.filter(|domain| !domain.trim_ascii().is_empty()),
        }
    } else {
        Identity::default()
    }
}

/// PHP's `htmlspecialchars`.
fn escaped(text: &[u8]) -> Vec<u8> {
    let escape = |c: char| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        '\'' => "&#039;".to_owned(),
        other => other.to_string(),
    };
    let text = String::from_utf8_lossy(text);
    text.chars().map(escape).collect::<String>().into_bytes()
}

fn url(domain: &[u8], path: &[u8]) -> Vec<u8> {
    [b"https://", domain, path].concat()
}

/// `$_REQUEST['auth']['member_id'] ?? $_REQUEST['member_id']`, and so on.
fn prefers_auth(seen: &Seen) -> Identity {
    let (auth, flat) = (under_auth(seen, "request"), prefers_flat(seen));
    Identity {
        member_id: auth.member_id.or(flat.member_id),
        domain: auth.domain.or(flat.domain),
        endpoint: auth.endpoint,
    }
}

fn prefers_flat(seen: &Seen) -> Identity {
    let auth = under_auth(seen, "request");
    Identity {
        member_id: text(seen, "request", &["member_id"]).or(auth.member_id),
        domain: text(seen, "request", &["DOMAIN"]).or(auth.domain),
        endpoint: None,
    }
}

/// `parse_str` of the raw body, whatever its type says, `event` and `auth`; a blank event is one too.
fn sdk_event(seen: &Seen) -> Identity {
    match seen.held("string", "event") {
        Some(_) => under_auth(seen, "string"),
        None => Identity::default(),
    }
}

/// DOMAIN from the query alone, the rest from the body alone; a blank placement is one too.
fn sdk_placement(seen: &Seen) -> Identity {
    let domain = match seen.held("get", "DOMAIN") {
        Some(Held::Text(text)) => Some(text).filter(|text| !text.trim_ascii().is_empty()),
        // As PHP writes an array into a text.
        Some(Held::Array) => Some(b"Array".to_vec()),
        None => None,
    };
    match seen.held("post", "PLACEMENT") {
        Some(_) => Identity {
            member_id: text(seen, "post", &["member_id"]),
            endpoint: domain.as_deref().map(|domain| url(domain, b"")),
            domain,
        },
        None => Identity::default(),
    }
}

fn sdk_robot(seen: &Seen) -> Identity {
    match seen.held("post", "event_token") {
        Some(_) => under_auth(seen, "post"),
        None => Identity::default(),
    }
}
