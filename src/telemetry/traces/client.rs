//! The way to a collector: HTTP/1.1 without TLS, a connection for each batch.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::time::timeout;

/// For one attempt.
const ATTEMPT: Duration = Duration::from_secs(2);
/// Of an answer; a collector says little.
const LARGEST: usize = 64 * 1024;

/// Sends one request at a time.
#[derive(Debug)]
pub(super) struct Client(legacy::Client<HttpConnector, Full<Bytes>>);

impl Client {
    pub(super) fn new() -> Client {
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        Client(builder.pool_max_idle_per_host(0).build_http())
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let exchange = async {
            let answer = self.0.request(request.map(Full::new)).await?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, LARGEST).collect().await?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        timeout(ATTEMPT, exchange).await?
    }
}
