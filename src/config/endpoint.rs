//! The address of a collector.

use http::Uri;
use schemars::{Schema, json_schema};

use super::values::{Raw, Value, quoted};

/// Without the text: it may hold a password.
const NO_URL: &str = "is no URL of a host";

/// A URL that is posted to: `"http://127.0.0.1:4318/v1/traces"`.
#[derive(Debug)]
pub struct Endpoint;

impl Value for Endpoint {
    type Means = String;

    fn allowed() -> String {
        "an http URL with a path and nothing behind it, such as \"http://127.0.0.1:4318/v1/traces\""
            .to_owned()
    }

    fn read(raw: Raw<'_>) -> Result<String, String> {
        let text = raw.text()?;
        let uri: Uri = text.parse().map_err(|_| NO_URL.to_owned())?;
        let host = uri
            .authority()
            .map(|authority| (authority.host(), authority.as_str()));
        match (uri.scheme_str(), host) {
            (Some("https"), _) => Err(format!("{} is https", quoted(text))),
            (Some("http"), Some((host, whole))) if !host.is_empty() && !whole.contains('@') => {
                if uri.path() == "/" || uri.query().is_some() || text.contains('#') {
                    Err(format!("{} has no path, or more than a path", quoted(text)))
                } else {
                    Ok(text.to_owned())
                }
            }
            _ => Err(NO_URL.to_owned()),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^http://[^/@?#]+/[^?#]+$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_urls_are_endpoints() {
        for (text, is) in [
            ("http://127.0.0.1:4318/v1/traces", true),
            ("http://[::1]:4318/v1/traces", true),
            ("http://collector/v1/traces", true),
            ("https://collector/v1/traces", false),
            ("http://collector:4318", false),
            ("http://collector:4318/", false),
            ("http://me:secret@collector/v1/traces", false),
            ("http://collector/v1/traces?x=1", false),
            ("http://collector/v1/traces#x", false),
            ("http:///v1/traces", false),
            ("127.0.0.1:4318", false),
            ("/v1/traces", false),
            ("", false),
        ] {
            let read = Endpoint::read(Raw::Text(text));
            assert_eq!(read.is_ok(), is, "{text}: {read:?}");
            assert!(!format!("{read:?}").contains("secret"), "{read:?}");
        }
    }
}
