//! The answer of `app.info`.

use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Wrong;
use crate::policy::validate::Known;
use crate::request::authority::Authority;

/// What an authorization server knows of a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppInfo {
    /// The application that it was given to.
    client_id: String,
    /// The portal.
    member_id: String,
    /// Under which addresses, each `host[:port]`.
    hosts: Vec<String>,
    /// The user, as `X-Bitrix24-User-Id` tells him.
    pub(super) user_id: Option<UserId>,
    /// Until when it is good, in seconds since the epoch.
    pub expires: Option<i64>,
}

/// The number of a user of a portal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UserId(pub u64);

/// As it is written. Numbers may be text.
#[derive(Deserialize)]
struct Written {
    result: Application,
}

#[derive(Deserialize)]
struct Application {
    client_id: String,
    install: Install,
    #[serde(default)]
    user_id: Value,
    #[serde(default)]
    expires: Value,
}

#[derive(Deserialize)]
struct Install {
    member_id: String,
    #[serde(default)]
    domain: Option<String>,
    #[serde(default)]
    uri: Option<String>,
    #[serde(default)]
    client_endpoint: Option<String>,
}

/// How Bitrix24 says that something is wrong.
#[derive(Deserialize)]
struct Failed {
    error: String,
}

impl AppInfo {
    /// Reads an answer; none where it is not one.
    pub fn parse(answer: &[u8]) -> Option<AppInfo> {
        let Written { result } = serde_json::from_slice(answer).ok()?;
        let Install {
            member_id,
            domain,
            uri,
            client_endpoint,
        } = result.install;
        let hosts = [domain, uri, client_endpoint].into_iter().flatten();
        Some(AppInfo {
            client_id: result.client_id,
            member_id,
            hosts: hosts.map(|address| authority(&address).to_owned()).collect(),
            user_id: number(&result.user_id)
                .and_then(|id| u64::try_from(id).ok())
                .map(UserId),
            expires: number(&result.expires).or_else(|| moment(&result.expires)),
        })
    }

    /// Whether an answer with an error speaks of the token, and not of the server's own trouble.
    pub fn is_of_token(answer: &[u8]) -> bool {
        let Ok(Failed { error }) = serde_json::from_slice(answer) else {
            return false;
        };
        let error = error.to_ascii_lowercase();
        [
            "expired_token",
            "invalid_token",
            "wrong_token",
            "no_auth_found",
            "authorization_error",
            "invalid_grant",
        ]
        .contains(&error.as_str())
    }

    /// What of a message is not so.
    pub(super) fn contradicts(&self, client_id: &str, known: Known<'_>) -> Option<Wrong> {
        let is_here = |domain: &crate::request::field::Domain| {
            let mut hosts = self.hosts.iter().filter_map(|host| Authority::parse(host));
            hosts.any(|authority| domain.has_host(authority.host))
        };
        if self.client_id != client_id {
            return Some(Wrong::Client);
        }
        if known
            .member_id
            .is_some_and(|member| member.to_string() != self.member_id)
        {
            return Some(Wrong::Member);
        }
        // Ports are the browser's way to the portal, of which the server knows another one at times.
        known
            .domain
            .is_some_and(|domain| !is_here(domain))
            .then_some(Wrong::Domain)
    }
}

/// Of a URL, or of what is an authority already.
fn authority(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn moment(value: &Value) -> Option<i64> {
    let moment = OffsetDateTime::parse(value.as_str()?, &Rfc3339).ok()?;
    Some(moment.unix_timestamp())
}
