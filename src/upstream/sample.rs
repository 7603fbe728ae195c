//! The embedded sample handler: a small page that shows what a handler behind the gateway receives. It
//! is a real HTTP server on a loopback port of its own, started when the first request needs it, so
//! that what it shows came over the wire like any handler's request.

use std::net::SocketAddr;
use std::os::fd::IntoRawFd;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::BytesMut;
use http::{Method, Response, header};
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
            _ => WELCOME.to_owned(),
        };
        let mut response = Response::new(page.into_bytes());
        let length = response.body().len();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("text/html; charset=utf-8"),
        );
        headers.insert(header::CONTENT_LENGTH, length.into());
        headers.insert(
            header::CACHE_CONTROL,
            header::HeaderValue::from_static("no-store"),
        );
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
    let mut page =
        format!("{HEAD}<h1>The widget works</h1><p>This is what a handler behind the gateway receives.</p>");
    page.push_str("<h2>Headers written by the gateway</h2>");
    table(
        &mut page,
        head.headers
            .iter()
            .filter(|(name, _)| is_ours(name.as_str()))
            .map(|(name, value)| {
                (
                    name.as_str().to_owned(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            }),
    );
    for (title, part) in [("Query", query), ("Body", body)] {
        page.push_str(&format!("<h2>{title}</h2>"));
        table(&mut page, pairs(part));
    }
    page.push_str("</main></body></html>\n");
    page
}

fn is_ours(name: &str) -> bool {
    name.starts_with("x-bitrix24-")
        || name.starts_with("x-forwarded-")
        || matches!(name, "x-request-id" | "traceparent")
}

/// As any handler reads a form: what the gateway lets through, serde_urlencoded reads like everyone else.
fn pairs(part: &[u8]) -> impl Iterator<Item = (String, String)> + '_ {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(part).unwrap_or_default();
    pairs.into_iter().map(|(name, value)| match is_secret(&name) {
        true => (name, masked(&value)),
        false => (name, value),
    })
}

/// Tokens are masked, also under names that only look like theirs.
fn is_secret(name: &str) -> bool {
    let canonical: String = name.to_ascii_uppercase().replace([' ', '.', '['], "_");
    [Field::AuthId, Field::RefreshId, Field::ApplicationToken]
        .iter()
        .any(|field| canonical.contains(field.name()))
        || canonical.contains("TOKEN")
}

fn masked(value: &str) -> String {
    format!("{} characters, masked", value.chars().count())
}

fn table(page: &mut String, rows: impl Iterator<Item = (String, String)>) {
    page.push_str("<table>");
    for (name, value) in rows {
        let shown: String = value.chars().take(MAX_SHOWN).collect();
        let more = if shown.len() < value.len() { " …" } else { "" };
        page.push_str(&format!(
            "<tr><th>{}</th><td>{}{more}</td></tr>",
            escaped(&name),
            escaped(&shown)
        ));
    }
    page.push_str("</table>");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

const HEAD: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width\"><title>widget-gateway sample</title><style>\
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:48rem;padding:0 1rem}\
h1{font-size:1.4rem}h2{font-size:1.05rem;margin:1.5rem 0 .3rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.25rem .5rem;border-bottom:1px solid #8884;overflow-wrap:anywhere;vertical-align:top}\
th{width:40%;font-weight:600}pre{overflow-x:auto;padding:.75rem;border:1px solid #8884}button{font:inherit;padding:.4rem 1rem}\
</style></head><body><main>";

/// The page for a GET: how to make a genuine call, by curl and from the browser.
const WELCOME: &str = concat!(
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">",
    "<meta name=\"viewport\" content=\"width=device-width\"><title>widget-gateway sample</title><style>",
    ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:48rem;padding:0 1rem}",
    "h1{font-size:1.4rem}pre{overflow-x:auto;padding:.75rem;border:1px solid #8884}button{font:inherit;padding:.4rem 1rem}",
    "</style></head><body><main><h1>widget-gateway is running</h1>",
    "<p>This page comes from the embedded sample handler. Bitrix24 opens a widget by letting the browser POST a form ",
    "into a frame; the button sends such a form through this gateway, with invented tokens.</p>",
    "<form method=\"post\" action=\"/?DOMAIN=portal.bitrix24.com&amp;PROTOCOL=1&amp;LANG=en&amp;APP_SID=5d41402abc4b2a76b9719d911017c592\">",
    "<input type=\"hidden\" name=\"AUTH_ID\" value=\"invented-access\"><input type=\"hidden\" name=\"AUTH_EXPIRES\" value=\"3600\">",
    "<input type=\"hidden\" name=\"REFRESH_ID\" value=\"invented-refresh\">",
    "<input type=\"hidden\" name=\"member_id\" value=\"3f7a90c1d2e45b68a0719cbe8d243f56\">",
    "<input type=\"hidden\" name=\"status\" value=\"L\"><input type=\"hidden\" name=\"PLACEMENT\" value=\"CONTACT_CENTER\">",
    "<input type=\"hidden\" name=\"PLACEMENT_OPTIONS\" value=\"{&quot;ID&quot;:&quot;717&quot;}\">",
    "<button>Open the widget</button></form><p>The same by hand:</p>",
    "<pre>curl -d member_id=3f7a90c1d2e45b68a0719cbe8d243f56 -d PLACEMENT=DEFAULT \\\n",
    "  'http://127.0.0.1:8080/?DOMAIN=portal.bitrix24.com&amp;PROTOCOL=1&amp;LANG=en'</pre>",
    "</main></body></html>\n"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_masked_and_markup_is_text() {
        let rows: Vec<_> =
            pairs(b"AUTH_ID=secret&auth%5Bapplication_token%5D=s&refresh.id=s&x=%3Cb%3E").collect();
        assert_eq!(rows[0], ("AUTH_ID".to_owned(), "6 characters, masked".to_owned()));
        assert_eq!(rows[1].1, "1 characters, masked");
        assert_eq!(rows[2].1, "1 characters, masked");
        assert_eq!(escaped(&rows[3].1), "&lt;b&gt;");
    }
}
