//! The property: for each known name, PHP's arrays hold one opinion, and it is the gateway's.

use crate::common::Received;
use crate::common::forms::KNOWN;
use crate::common::php::{Held, Seen};

/// Everything in which PHP and the gateway differ about a forwarded request.
pub fn disagreements(forwarded: &Received, seen: &Seen) -> Vec<String> {
    let mut found = Vec::new();
    for name in KNOWN {
        match opinion(seen, name) {
            Ok(value) => found.extend(differs(forwarded, name, value.as_deref())),
            Err(why) => found.push(format!("{name}: {why}")),
        }
    }
    found
}

/// The one value that `$_GET`, `$_POST`, `$_COOKIE` and `$_REQUEST` have between them.
fn opinion(seen: &Seen, name: &str) -> Result<Option<Vec<u8>>, &'static str> {
    let [get, post, cookie, request] =
        ["get", "post", "cookie", "request"].map(|array| seen.held(array, name));
    if cookie.is_some() {
        return Err("a cookie has an opinion");
    }
    if [&get, &post, &request]
        .into_iter()
        .any(|held| matches!(held, Some(Held::Array)))
    {
        return Err("it is an array");
    }
    if get.is_some() && post.is_some() && get != post {
        return Err("$_GET and $_POST differ");
    }
    let form = get.or(post);
    if form != request {
        return Err("$_REQUEST differs from $_GET and $_POST");
    }
    Ok(form.map(|held| match held {
        Held::Text(text) => text,
        Held::Array => Vec::new(),
    }))
}

/// Against what the gateway said in its headers.
fn differs(forwarded: &Received, name: &str, php: Option<&[u8]>) -> Option<String> {
    let header = |name: &str| {
        forwarded
            .header(&format!("X-Bitrix24-{name}"))
            .map(String::into_bytes)
    };
    let nonblank = php
        .filter(|value| !value.trim_ascii().is_empty())
        .map(<[u8]>::to_vec);
    let (ours, theirs) = match name {
        "DOMAIN" => (header("Domain"), php.map(<[u8]>::to_ascii_lowercase)),
        "PROTOCOL" => {
            let scheme = php.map(|value| match value {
                b"1" => b"https".to_vec(),
                b"0" => b"http".to_vec(),
                other => other.to_vec(),
            });
            (header("Protocol"), scheme)
        }
        "LANG" => (header("Lang"), php.map(<[u8]>::to_vec)),
        "member_id" => (header("Member-Id"), php.map(<[u8]>::to_vec)),
        "PLACEMENT" => (header("Placement"), php.map(<[u8]>::to_vec)),
        "APP_SID" => (header("App-Sid"), nonblank),
        "status" => (header("Status"), nonblank),
        "PLACEMENT_OPTIONS" => {
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
    let required = matches!(name, "DOMAIN" | "PROTOCOL" | "LANG" | "member_id" | "PLACEMENT");
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
