//! `tls` and `proof` of an upstream: how the gateway knows its servers, and they know it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::HeaderName;
use toml::Spanned;

use super::others::Others;
use super::server::now;
use crate::config::addresses::ServerAddress;
use crate::config::fault::Faults;
use crate::config::settings::UpstreamTlsSpec;
use crate::config::upstreams::{ProofTable, UpstreamTlsTable};
use crate::config::values::quoted;
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

pub(super) fn tls(
    given: &Spanned<UpstreamTlsTable>,
    base: &Path,
    others: &mut Others,
    faults: &mut Faults<'_>,
) -> Tls {
    let (span, UpstreamTlsTable { ca, server_name }) = (given.span(), given.get_ref());
    let unread = faults.is_unread(&span, "ca");
    let trust = match ca {
        None if unread => None,
        None => match Trust::of_system() {
            Ok(trust) => Some(trust),
            Err(wrong) => {
                faults.under(
                    &span,
                    "ca",
                    format!("is left out, and {wrong}, allowed is a PEM file"),
                );
                None
            }
        },
        Some(path) => {
            let read = others.read(base.join(&path.value), LARGEST_CA);
            let trust = read.and_then(|pem| Trust::given(pem).map_err(str::to_owned));
            match trust {
                Ok(trust) => {
                    if trust.not_after().is_some_and(|end| end < now()) {
                        faults.warn(&path.span, "holds a certificate that has expired");
                    }
                    Some(trust)
                }
                Err(wrong) => {
                    let given = quoted(&path.value);
                    faults.at(
                        &path.span,
                        format!(
                            "{given} {wrong}, allowed is a PEM file with the certificates of authorities"
                        ),
                    );
                    None
                }
            }
        }
    };
    let trust = trust.map(Arc::new);
    if let (Some(name), Some(trust)) = (server_name, &trust)
        && let Err(wrong) = Secured::new(trust.clone(), &name.value)
    {
        let given = quoted(&name.value);
        faults.at(
            &name.span,
            format!("{given} {wrong}, allowed is a name or an address without a port"),
        );
    }
    Tls {
        spec: UpstreamTlsSpec {
            ca: ca.as_ref().map(|path| base.join(&path.value)),
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
                faults.at(
                    span,
                    "\"sample\" speaks no TLS, allowed is a server of its own upstream without tls",
                );
                return None;
            }
            (Some(name), _) => name,
            (None, ServerAddress::Host(host, _)) => host,
            (None, ServerAddress::Unix(_)) => {
                faults.at(
                    span,
                    "has no host that a certificate could be for, tls needs a server_name",
                );
                return None;
            }
        };
        // A name of the table that is none is told there.
        match (Secured::new(self.trust.clone()?, name), &self.spec.server_name) {
            (Ok(secured), _) => Some(secured),
            (Err(_), Some(_)) => None,
            (Err(wrong), None) => {
                faults.at(
                    span,
                    format!("{} {wrong} of TLS, tls needs a server_name", quoted(name)),
                );
                None
            }
        }
    }
}

/// The file, and the proof that it makes.
pub(super) fn proof(
    given: &Spanned<ProofTable>,
    base: &Path,
    others: &mut Others,
    faults: &mut Faults<'_>,
) -> (Option<PathBuf>, Option<Proof>) {
    let (span, ProofTable { header, secret_file }) = (given.span(), given.get_ref());
    for (key, is_there, allowed) in [
        ("header", header.is_some(), "a name such as \"X-Gateway-Proof\""),
        ("secret_file", secret_file.is_some(), "a readable file"),
    ] {
        if !is_there && !faults.is_unread(&span, key) {
            faults.under(&span, key, format!("is missing, allowed is {allowed}"));
        }
    }
    let name = header.as_ref().and_then(|header| {
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
    let full = base.join(&file.value);
    // The secret is judged whatever its name is.
    let any = HeaderName::from_static("x-proof");
    let read = others.read(full.clone(), 4200);
    let proof =
        read.and_then(|secret| Proof::new(name.clone().unwrap_or(any), secret).map_err(str::to_owned));
    match proof {
        Ok(proof) => (Some(full), name.map(|_| proof)),
        Err(wrong) => {
            let given = quoted(&file.value);
            faults.at(
                &file.span,
                format!("{given} {wrong}, allowed is a readable file with a secret of 16 to 4096 visible ASCII characters"),
            );
            (Some(full), None)
        }
    }
}
