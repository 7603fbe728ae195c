//! The operator's listener: health, readiness, metrics.

pub mod client;

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, Response, StatusCode, header};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use serde_json::json;

use crate::server::Process;

/// The application behind the admin listener.
pub struct Admin {
    process: Arc<Process>,
}

impl Admin {
    /// Serves what the process shares.
    pub fn new(process: Arc<Process>) -> Admin {
        Admin { process }
    }

    fn answer(&self, session: &ServerSession) -> Response<Vec<u8>> {
        let head = session.req_header();
        if !self.is_allowed(session) {
            return text(StatusCode::FORBIDDEN, "not from this address\n");
        }
        if !self.is_known_host(session) {
            return text(StatusCode::FORBIDDEN, "not under this host name\n");
        }
        let path = head.uri.path();
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
        }
        match path {
            "/-/healthy" => text(StatusCode::OK, "alive\n"),
            "/-/ready" => self.ready(),
            "/metrics" => self.metrics(),
            _ => text(StatusCode::NOT_FOUND, "/-/healthy, /-/ready, /metrics\n"),
        }
    }

    fn ready(&self) -> Response<Vec<u8>> {
        let live = self.process.live.load();
        let upstreams: serde_json::Map<_, _> = live
            .env()
            .upstreams
            .values()
            .map(|upstream| {
                let up = |server: &Arc<crate::upstream::pool::Server>| {
                    (server.name.to_string(), server.is_up().into())
                };
                (
                    upstream.name.to_string(),
                    serde_json::Value::Object(upstream.servers.iter().map(up).collect()),
                )
            })
            .collect();
        let has_upstream = || {
            let mut all = live.env().upstreams.values();
            all.all(|upstream| upstream.servers.iter().any(|server| server.is_up()))
        };
        let ready =
            self.process.is_ready() && (!self.process.server.ready_requires_upstream || has_upstream());
        let status = if ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        let body = json!({ "ready": ready, "draining": !self.process.is_ready(), "upstreams": upstreams });
        answer(status, "application/json", body.to_string().into_bytes())
    }

    fn metrics(&self) -> Response<Vec<u8>> {
        self.process.refresh_metrics();
        match self.process.metrics.text() {
            Ok(exposition) => answer(
                StatusCode::OK,
                "text/plain; version=0.0.4; charset=utf-8",
                exposition,
            ),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "metrics are inconsistent\n"),
        }
    }

    /// Loopback, and the networks of `admin_allow`.
    fn is_allowed(&self, session: &ServerSession) -> bool {
        let address = session
            .client_addr()
            .and_then(|address| address.as_inet())
            .map(|address| address.ip().to_canonical());
        address.is_some_and(|address| {
            address.is_loopback()
                || self
                    .process
                    .server
                    .admin_allow
                    .iter()
                    .any(|network| network.contains(&address))
        })
    }

    /// An IP literal, localhost, or a listed name: a page elsewhere whose name was rebound to this
    /// address is refused.
    fn is_known_host(&self, session: &ServerSession) -> bool {
        let mut hosts = session.req_header().headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return false;
        };
        let Ok(host) = host.to_str() else { return false };
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        name.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self
                .process
                .server
                .admin_hosts
                .iter()
                .any(|listed| listed.eq_ignore_ascii_case(name))
    }
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        self.answer(session)
    }
}

fn text(status: StatusCode, body: &str) -> Response<Vec<u8>> {
    answer(status, "text/plain; charset=utf-8", body.as_bytes().to_vec())
}

fn answer(status: StatusCode, media_type: &'static str, body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let length = response.body().len();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media_type));
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers.insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-store"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        header::HeaderValue::from_static("nosniff"),
    );
    response
}
