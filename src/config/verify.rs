//! `[verify]` of the file.

use std::net::IpAddr;

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;

use super::units::Span;
use super::values::{At, Placed, Raw, Value, Word, quoted};
use crate::policy::Mode;
use crate::policy::verify::{AuthServer, OnError};
use crate::request::authority::{Authority, Host};
use crate::request::field::Domain;

/// Bitrix24's own.
pub(super) const DEFAULT_SERVERS: [&str; 3] = [
    "https://oauth.bitrix.info",
    "https://oauth.bitrix24.info",
    "https://oauth.bitrix24.tech",
];

/// Who is calling; without this table nobody is verified.
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct VerifyTable {
    /// `app_info`: an authorization server says whose the user's token is. `application_token`: a file says what
    /// APPLICATION_TOKEN is on each portal.
    #[schemars(required)]
    pub method: Option<At<Word<MethodWord>>>,
    /// With `app_info`: the application's own; a token of another application proves nothing.
    pub client_id: Option<At<String>>,
    /// With `app_info`: the authorization servers that may be asked. A call's SERVER_ENDPOINT chooses among them;
    /// where it names another one, the first is asked.
    #[schemars(extend("default" = DEFAULT_SERVERS))]
    pub servers: Option<Placed<Vec<At<ServerUrl>>>>,
    /// With `app_info`: a PEM file of the certificates that have to have signed the servers'; left out = the
    /// system's.
    pub ca: Option<At<String>>,
    /// With `app_info`: an HTTP proxy, through which the servers are asked in a tunnel (CONNECT); left out = none,
    /// whatever stands in the environment.
    pub proxy: Option<At<ProxyUrl>>,
    /// With `application_token`: lines of a member_id and its APPLICATION_TOKEN.
    pub tokens_file: Option<At<String>>,
    /// `enforce` refuses callers that are not who they say; `observe` counts and logs them and tells the handler.
    #[schemars(extend("default" = "observe"))]
    pub mode: Option<At<Word<Mode>>>,
    /// Calls of which nobody can say whose they are: `open` lets them through, `closed` treats them as false.
    #[schemars(extend("default" = "open"))]
    pub on_error: Option<At<Word<OnError>>>,
    /// With `app_info`: for a whole question.
    #[schemars(extend("default" = "2s"))]
    pub timeout: Option<At<Span>>,
    /// With `app_info`: the longest that an answer is kept; no longer than AUTH_EXPIRES.
    #[schemars(extend("default" = "5m"))]
    pub cache: Option<At<Span>>,
}

/// Who vouches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MethodWord {
    /// An authorization server.
    AppInfo,
    /// A file.
    ApplicationToken,
}

/// An authorization server: `"https://oauth.bitrix.info"`. The scheme may be left out, and so may the path
/// `/rest/`, which is the only one.
#[derive(Debug)]
pub struct ServerUrl;

impl Value for ServerUrl {
    type Means = AuthServer;

    fn allowed() -> String {
        "the https URL of an authorization server, such as \"https://oauth.bitrix.info\" (http on loopback alone)"
            .to_owned()
    }

    fn read(raw: Raw<'_>) -> Result<AuthServer, String> {
        let text = raw.text()?;
        let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
        let authority = ["/rest/", "/rest", "/"]
            .iter()
            .find_map(|path| rest.strip_suffix(path))
            .unwrap_or(rest);
        // Without the text where it may hold a password.
        if authority.contains('@') {
            return Err("has a user part".to_owned());
        }
        let host =
            Domain::parse(authority.as_bytes()).map_err(|_| format!("{} is no server", quoted(text)))?;
        match scheme {
            "https" => {}
            "http" if is_loopback(&host) => {}
            "http" => return Err(format!("{} would send tokens in the clear", quoted(text))),
            _ => return Err(format!("{} is no server", quoted(text))),
        }
        Ok(AuthServer {
            origin: format!("{scheme}://{}", host.as_str()),
            host,
        })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^(https?://)?[^/@?#]+(/|/rest/?)?$" })
    }
}

/// An HTTP proxy: `"http://proxy.example:3128"`. The scheme may be left out.
#[derive(Debug)]
pub struct ProxyUrl;

impl Value for ProxyUrl {
    type Means = Domain;

    fn allowed() -> String {
        "the address of an HTTP proxy with its port, such as \"http://proxy.example:3128\"".to_owned()
    }

    fn read(raw: Raw<'_>) -> Result<Domain, String> {
        let text = raw.text()?;
        // Without the text, which may hold a password.
        if text.contains('@') {
            return Err("has a user part".to_owned());
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        match Domain::parse(authority.as_bytes()) {
            Ok(_) if scheme != "http" => Err(format!("{} is not spoken to by plain HTTP", quoted(text))),
            Ok(proxy) if proxy.has_port() => Ok(proxy),
            Ok(_) => Err(format!("{} has no port", quoted(text))),
            Err(_) => Err(format!("{} is no address", quoted(text))),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^(http://)?[^/@?#]+:[0-9]+/?$" })
    }
}

fn is_loopback(host: &Domain) -> bool {
    match Authority::parse(host.as_str()).map(|authority| authority.host) {
        Some(Host::Name("localhost")) => true,
        Some(Host::Name(name)) => name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
        Some(Host::V6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_an_address_with_a_port() {
        let read = |text: &str| ProxyUrl::read(Raw::Text(text)).map(|url| url.as_str().to_owned());
        for (text, proxy) in [
            ("http://proxy.corp.example:3128", "proxy.corp.example:3128"),
            ("http://Proxy.corp.example:3128/", "proxy.corp.example:3128"),
            ("10.0.0.7:8080", "10.0.0.7:8080"),
            ("http://[2001:db8::7]:8080", "[2001:db8::7]:8080"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(proxy), "{text}");
        }
        for text in [
            "http://proxy.corp.example",
            "https://proxy.corp.example:3128",
            "socks5://proxy.corp.example:1080",
            "http://user:secret@proxy.corp.example:3128",
            "http://proxy.corp.example:3128/path",
            "http://proxy.corp.example:99999",
            "http://",
            "",
        ] {
            let read = read(text);
            assert!(read.is_err(), "{text}");
            assert!(!format!("{read:?}").contains("secret"));
        }
    }

    #[test]
    fn servers_are_plain_and_tokens_go_nowhere_in_the_clear() {
        let read = |text: &str| ServerUrl::read(Raw::Text(text)).map(|url| url.origin);
        for (text, origin) in [
            ("https://oauth.bitrix.info", "https://oauth.bitrix.info"),
            ("https://OAuth.bitrix.info/rest/", "https://oauth.bitrix.info"),
            ("oauth.bitrix24.tech", "https://oauth.bitrix24.tech"),
            ("oauth.corp.example:8443/", "https://oauth.corp.example:8443"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:8080/rest", "http://[::1]:8080"),
            ("http://localhost", "http://localhost"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(origin), "{text}");
        }
        for text in [
            "http://oauth.bitrix.info",
            "http://127.0.0.1.evil.example",
            "ftp://oauth.bitrix.info",
            "https://user:secret@oauth.bitrix.info",
            "https://oauth.bitrix.info/other/",
            "https://oauth.bitrix.info/rest/?x=1",
            "https://",
            "",
        ] {
            let read = read(text);
            assert!(read.is_err(), "{text}");
            assert!(!format!("{read:?}").contains("secret"));
        }
    }
}
