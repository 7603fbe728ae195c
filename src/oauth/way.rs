//! The way to an authorization server: straight, or through a proxy.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service;

use crate::request::field::Domain;

/// What went wrong on the way.
pub(super) type Fault = Box<dyn Error + Send + Sync>;

/// Opens connections in time, or not at all: who asked first may have got an answer over another one by then, and
/// nobody waits for this one any more.
#[derive(Clone)]
pub(super) struct InTime<S> {
    way: S,
    within: Duration,
}

impl<S> InTime<S> {
    pub(super) fn new(way: S, within: Duration) -> InTime<S> {
        InTime { way, within }
    }
}

impl<S> Service<Uri> for InTime<S>
where
    S: Service<Uri, Future: Send + 'static, Error: Into<Fault>>,
{
    type Response = S::Response;
    type Error = Fault;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, Fault>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.way.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let opened = timeout(self.within, self.way.call(to));
        Box::pin(async move { opened.await?.map_err(Into::into) })
    }
}

/// Opens connections. Those of https go through the proxy, if there is one, in a tunnel (`CONNECT`, RFC 9110 9.3.6):
/// TLS is spoken with the server itself, and the proxy sees its name alone. Those of http stay on this machine, where
/// a proxy has no business, and would read the token.
#[derive(Clone)]
pub(super) struct Way {
    direct: HttpConnector,
    tunnel: Option<Tunnel<HttpConnector>>,
}

impl Way {
    pub(super) fn through(proxy: Option<&Domain>) -> Result<Way, http::Error> {
        let mut direct = HttpConnector::new();
        direct.enforce_http(false);
        direct.set_nodelay(true);
        let tunnel = match proxy {
            Some(proxy) => {
                let proxy = Uri::builder()
                    .scheme(Scheme::HTTP)
                    .authority(proxy.as_str())
                    .path_and_query("/")
                    .build()?;
                Some(Tunnel::new(proxy, direct.clone()))
            }
            None => None,
        };
        Ok(Way { direct, tunnel })
    }
}

impl Service<Uri> for Way {
    type Response = TokioIo<TcpStream>;
    type Error = Fault;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Fault>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        // The tunnel is ready when the same is.
        self.direct.poll_ready(cx).map_err(Fault::from)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        match self
            .tunnel
            .as_mut()
            .filter(|_| to.scheme() == Some(&Scheme::HTTPS))
        {
            Some(tunnel) => {
                let connecting = tunnel.call(to);
                Box::pin(async move { Ok(connecting.await?) })
            }
            None => {
                let connecting = self.direct.call(to);
                Box::pin(async move { Ok(connecting.await?) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who takes connections and never says a word.
    #[derive(Clone)]
    struct Silent;

    impl Service<Uri> for Silent {
        type Response = ();
        type Error = Fault;
        type Future = std::future::Pending<Result<(), Fault>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Uri) -> Self::Future {
            std::future::pending()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_never_opens_is_given_up() {
        let within = Duration::from_secs(1);
        let opening = InTime::new(Silent, within).call(Uri::from_static("https://oauth.example"));
        let opened = timeout(2 * within, opening).await.expect("an end of its own");
        assert!(opened.is_err());
    }
}
