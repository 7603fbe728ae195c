//! One question to an authorization server: HTTP/1.1 over connections that are kept.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{ACCEPT, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use super::way::{Fault, InTime, Way};
use crate::policy::verify::{AppInfo, Ask, AuthServer, Said, Unknown};
use crate::request::field::Domain;

/// Of an answer, in bytes; a genuine one has about 600.
const LARGEST: usize = 64 * 1024;
/// For an idle connection.
const KEPT: Duration = Duration::from_secs(30);
/// Idle connections of one server.
const IDLE: usize = 8;
/// By so much clocks may differ, in seconds.
const SKEW: i64 = 60;
/// A smaller number of seconds is none since the epoch, but how long something lasts.
const NO_MOMENT: i64 = 1_000_000_000;

/// Speaks with the servers.
pub(super) struct Caller {
    client: Client<InTime<HttpsConnector<Way>>, Empty<Bytes>>,
    /// `https://host:port/rest/app.info`, of each.
    methods: Vec<String>,
}

impl Caller {
    pub(super) fn new(
        servers: &[AuthServer],
        roots: &[CertificateDer<'static>],
        proxy: Option<&Domain>,
        within: Duration,
    ) -> Result<Caller, Fault> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots.iter().cloned());
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_root_certificates(store)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Way::through(proxy)?);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT)
            .pool_max_idle_per_host(IDLE)
            .build(InTime::new(connector, within));
        Ok(Caller {
            client,
            methods: servers
                .iter()
                .map(|server| format!("{}/rest/app.info", server.origin))
                .collect(),
        })
    }

    /// Asks. It is for the caller to say when that takes too long.
    pub(super) async fn call(&self, ask: &Ask) -> Said {
        self.said(ask).await.unwrap_or_else(Said::Nothing)
    }

    async fn said(&self, ask: &Ask) -> Result<Said, Unknown> {
        let method = self.methods.get(ask.server).ok_or(Unknown::Unreachable)?;
        let query =
            serde_urlencoded::to_string([("auth", ask.token.secret())]).map_err(|_| Unknown::Unreachable)?;
        let request = Request::get(format!("{method}?{query}"))
            .header(ACCEPT, "application/json")
            .header(
                USER_AGENT,
                concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")),
            )
            .body(Empty::new())
            .map_err(|_| Unknown::Unreachable)?;
        // What the error says could hold the address, and so the token.
        let answer = self
            .client
            .request(request)
            .await
            .map_err(|_| Unknown::Unreachable)?;
        let status = answer.status();
        if status.is_redirection() {
            return Err(Unknown::Redirect);
        }
        let body = whole(answer).await?;
        match status {
            StatusCode::OK => understood(&body),
            // It says that the token does not authorize.
            StatusCode::UNAUTHORIZED => Ok(Said::NoToken),
            StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN if AppInfo::is_of_token(&body) => {
                Ok(Said::NoToken)
            }
            _ => Err(Unknown::Status),
        }
    }
}

/// The whole body, if it is not too large. Most servers announce its length, which is judged first.
async fn whole(answer: Response<Incoming>) -> Result<Bytes, Unknown> {
    use hyper::body::Body;
    if answer.body().size_hint().lower() > LARGEST as u64 {
        return Err(Unknown::TooLarge);
    }
    match Limited::new(answer.into_body(), LARGEST).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(fault) if fault.is::<http_body_util::LengthLimitError>() => Err(Unknown::TooLarge),
        Err(_) => Err(Unknown::Unreachable),
    }
}

fn understood(body: &[u8]) -> Result<Said, Unknown> {
    let Some(mut info) = AppInfo::parse(body) else {
        return match AppInfo::is_of_token(body) {
            true => Ok(Said::NoToken),
            false => Err(Unknown::BadAnswer),
        };
    };
    let now = unix_now();
    if let Some(lasts) = info.expires.filter(|lasts| (0..NO_MOMENT).contains(lasts)) {
        info.expires = Some(now.saturating_add(lasts));
    }
    match info.expires {
        Some(until) if until < now.saturating_sub(SKEW) => Ok(Said::NoToken),
        Some(_) | None => Ok(Said::Info(Arc::new(info))),
    }
}

/// Seconds since the epoch.
pub(super) fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
