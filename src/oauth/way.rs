//! The way to an authorization server: straight, or through a proxy.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use http::uri::Scheme;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::request::field::Domain;

/// What went wrong on the way.
pub(super) type Fault = Box<dyn Error + Send + Sync>;

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
