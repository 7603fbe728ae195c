//! The embedded sample handler: a small page that shows what a handler behind the gateway receives. It
//! is a real HTTP server on a loopback port of its own, started when the first request needs it, so
//! that what it shows came over the wire like any handler's request.

use std::net::SocketAddr;
use std::os::fd::IntoRawFd;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::BytesMut;
use http::{HeaderValue, Method, Response, header};
use minijinja::{Environment, Value, context};
use parking_lot::Mutex;
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use pingora::server::Fds;
use pingora::services::Service as _;
use pingora::services::listening::Service;

use crate::request::field::Field;

/// The gateway lets no larger body through.
const MAX_BODY: usize = 8 * 1024 * 1024;
/// A value is shown up to so many characters.
const MAX_SHOWN: usize = 300;

/// Where the sample listens. Starts it at the first call.
///
/// # Errors
/// Where no port can be bound.
pub fn address() -> std::io::Result<SocketAddr> {
    static ADDRESS: OnceLock<Result<SocketAddr, std::io::ErrorKind>> = OnceLock::new();
    (*ADDRESS.get_or_init(|| start().map_err(|e| e.kind()))).map_err(Into::into)
}

fn start() -> std::io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let mut fds = Fds::new();
    fds.add(address.to_string(), listener.into_raw_fd());
    let mut service = Service::new("sample".to_owned(), Sample);
    service.add_tcp(&address.to_string());
    let (forever, shutdown) = tokio::sync::watch::channel(false);
    std::thread::Builder::new()
        .name("sample".to_owned())
        .spawn(move || {
            let runtime = pingora_runtime::Runtime::new_steal(1, "sample");
            runtime.get_handle().block_on(service.start_service(
                Some(Arc::new(Mutex::new(fds))),
                shutdown,
                1,
            ));
            drop(forever);
        })?;
    Ok(address)
}

struct Sample;

#[async_trait]
impl ServeHttp for Sample {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let mut body = BytesMut::new();
        while let Ok(Some(piece)) = session.read_request_body().await {
            if body.len() + piece.len() > MAX_BODY {
                break;
            }
            body.extend_from_slice(&piece);
        }
        let page = match session.req_header().method {
            Method::POST => received(session, &body),
            // How to make a genuine call, by curl and from the browser.
            _ => include_str!("sample/welcome.html").to_owned(),
        };
        let mut response = Response::new(page.into_bytes());
        let length = response.body().len();
        let headers = response.headers_mut();
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, html);
        headers.insert(header::CONTENT_LENGTH, length.into());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// The page for a POST: the fields of query and body, the headers that the gateway wrote.
fn received(session: &ServerSession, body: &[u8]) -> String {
    let head = session.req_header();
    let query = head
        .raw_path()
        .splitn(2, |&b| b == b'?')
        .nth(1)
        .unwrap_or_default();
    let ours = head.headers.iter().filter(|(name, _)| is_ours(name.as_str()));
    let lines = ours.map(|(name, value)| {
        (
            name.to_string(),
            shown(&String::from_utf8_lossy(value.as_bytes())),
        )
    });
    rendered(&[
        ("Headers written by the gateway", lines.collect()),
        ("Query", pairs(query)),
        ("Body", pairs(body)),
    ])
}

/// Titles, each with its rows.
fn rendered(tables: &[(&str, Vec<(String, String)>)]) -> String {
    const RECEIVED: &str = include_str!("sample/received.html");
    let row = |(name, value): &(String, String)| Value::from_iter([name.as_str(), value]);
    let table = |(title, rows): &(&str, Vec<_>)| {
        let rows: Value = rows.iter().map(row).collect();
        Value::from_iter([Value::from(*title), rows])
    };
    let tables: Value = tables.iter().map(table).collect();
    // By the end of its name it is HTML: values are escaped.
    let page = Environment::new().render_named_str("received.html", RECEIVED, context! { tables });
    page.unwrap_or_default()
}

fn is_ours(name: &str) -> bool {
    name.starts_with("x-bitrix24-")
        || name.starts_with("x-forwarded-")
        || matches!(name, "x-request-id" | "traceparent")
}

/// As any handler reads a form: what the gateway lets through, serde_urlencoded reads like everyone else.
fn pairs(part: &[u8]) -> Vec<(String, String)> {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(part).unwrap_or_default();
    let shown = pairs.into_iter().map(|(name, value)| {
        let value = match is_secret(&name) {
            true => format!("{} characters, masked", value.chars().count()),
            false => shown(&value),
        };
        (name, value)
    });
    shown.collect()
}

/// Tokens are masked, also under names that only look like theirs.
fn is_secret(name: &str) -> bool {
    let canonical: String = name.to_ascii_uppercase().replace([' ', '.', '['], "_");
    [Field::AuthId, Field::RefreshId, Field::ApplicationToken]
        .iter()
        .any(|field| canonical.contains(field.name()))
        || canonical.contains("TOKEN")
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{} …", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_masked_and_markup_is_text() {
        let rows = pairs(b"AUTH_ID=secret&auth%5Bapplication_token%5D=s&refresh.id=s&x=%3Cb%3E");
        assert_eq!(rows[0], ("AUTH_ID".to_owned(), "6 characters, masked".to_owned()));
        assert_eq!(rows[1].1, "1 characters, masked");
        assert_eq!(rows[2].1, "1 characters, masked");
        let page = rendered(&[("Query", pairs(b"x=1")), ("Body", rows)]);
        assert!(
            page.contains("<h2>Query</h2>") && page.ends_with("</html>"),
            "{page}"
        );
        assert!(
            page.contains("<tr><th>x</th><td>&lt;b&gt;</td></tr></table>"),
            "{page}"
        );
    }
}
