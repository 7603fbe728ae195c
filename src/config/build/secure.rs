//! `tls` and `proof` of an upstream: how the gateway knows its servers, and they know it.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderName;

use super::others::Others;
use super::server::now;
use crate::config::addresses::ServerAddress;
use crate::config::fault::Faults;
use crate::config::settings::UpstreamTlsSpec;
use crate::config::upstreams::{ProofTable, UpstreamTlsTable};
use crate::config::values::{Placed, quoted};
use crate::upstream::headers::is_free;
use crate::upstream::proof::Proof;
use crate::upstream::secure::{Secured, Trust};

/// The largest file of certificates, in bytes.
const LARGEST_CA: u64 = 4 << 20;

/// `tls`, and what it comes to.
pub(super) struct Tls {
    pub(super) spec: UpstreamTlsSpec,
    /// None where something is wrong with it, which is told.
    trust: Option<Arc<Trust>>,
}

pub(super) fn tls(given: &Placed<UpstreamTlsTable>, others: &mut Others, faults: &mut Faults<'_>) -> Tls {
    let Placed {
        value: UpstreamTlsTable { ca, server_name },
        span,
    } = given;
    let trust = match ca {
        None if faults.is_unread(span, "ca") => None,
        None => {
            let tell = |wrong| {
                faults.under(
                    span,
                    "ca",
                    format!("is left out, and {wrong}, allowed is a PEM file"),
                );
            };
            Trust::of_system().map_err(tell).ok()
        }
        Some(path) => {
            let allowed = "a PEM file with the certificates of authorities";
            let trust = others.load(path, LARGEST_CA, allowed, faults, |pem| {
                Trust::given(pem).map_err(str::to_owned)
            });
            let ended = |trust: &Trust| trust.not_after().is_some_and(|end| end < now());
            if trust.as_ref().is_some_and(ended) {
                faults.warn(&path.span, "holds a certificate that has expired");
            }
            trust
        }
    };
    let trust = trust.map(Arc::new);
    if let (Some(name), Some(trust)) = (server_name, &trust)
        && let Err(wrong) = Secured::new(trust.clone(), &name.value)
    {
        let given = quoted(&name.value);
        let message = format!("{given} {wrong}, allowed is a name or an address without a port");
        faults.at(&name.span, message);
    }
    Tls {
        spec: UpstreamTlsSpec {
            ca: ca.as_ref().map(|path| others.path(path)),
            server_name: server_name.as_ref().map(|name| name.value.clone()),
        },
        trust,
    }
}

impl Tls {
    /// Under which name a server is known.
    pub(super) fn secured(
        &self,
        address: &ServerAddress,
        span: &Range<usize>,
        faults: &mut Faults<'_>,
    ) -> Option<Secured> {
        let name = match (&self.spec.server_name, address) {
            (_, ServerAddress::Sample) => {
                let message = "\"sample\" speaks no TLS, allowed is a server of its own upstream without tls";
                faults.at(span, message);
                return None;
            }
            (Some(name), _) => name,
            (None, ServerAddress::Host(host, _)) => host,
            (None, ServerAddress::Unix(_)) => {
                let message = "has no host that a certificate could be for, tls needs a server_name";
                faults.at(span, message);
                return None;
            }
        };
        // A name of the table that is none is told there.
        match (Secured::new(self.trust.clone()?, name), &self.spec.server_name) {
            (Ok(secured), _) => Some(secured),
            (Err(_), Some(_)) => None,
            (Err(wrong), None) => {
                let message = format!("{} {wrong} of TLS, tls needs a server_name", quoted(name));
                faults.at(span, message);
                None
            }
        }
    }
}

/// The file, and the proof that it makes.
pub(super) fn proof(
    given: &Placed<ProofTable>,
    others: &mut Others,
    faults: &mut Faults<'_>,
) -> (Option<PathBuf>, Option<Proof>) {
    let Placed {
        value: ProofTable { header, secret_file },
        span,
    } = given;
    let header = faults.required(
        header,
        span,
        "header",
        "allowed is a name such as \"X-Gateway-Proof\"",
    );
    let secret_file = faults.required(secret_file, span, "secret_file", "allowed is a readable file");
    let name = header.and_then(|header| {
        let name = HeaderName::try_from(header.value.as_str()).ok().filter(is_free);
        if name.is_none() {
            let given = quoted(&header.value);
            faults.at(
                &header.span,
                format!("{given} is no name that is free, allowed is one such as \"X-Gateway-Proof\""),
            );
        }
        name
    });
    let Some(file) = secret_file else {
        return (None, None);
    };
    let allowed = "a readable file with a secret of 16 to 4096 visible ASCII characters";
    let proof = others.load(file, 4200, allowed, faults, |secret| {
        // The secret is judged whatever its name is.
        let any = HeaderName::from_static("x-proof");
        Proof::new(name.clone().unwrap_or(any), secret).map_err(str::to_owned)
    });
    (Some(others.path(file)), proof.filter(|_| name.is_some()))
}
