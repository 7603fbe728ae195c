//! `[verify]`.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use toml::Spanned;

use super::others::Others;
use super::server::seconds;
use crate::config::fault::Faults;
use crate::config::settings::{VerifySpec, VouchedBy};
use crate::config::values::{quoted, word};
use crate::config::verify::{DEFAULT_SERVERS, MethodWord, ServerUrl, VerifyTable};
use crate::oauth::AskRules;
use crate::policy::Mode;
use crate::policy::verify::{AuthServer, BadLine, OnError, Pins};
use crate::request::field::MemberIdShape;

/// The largest list of tokens: some hundred thousand portals.
const LARGEST_LIST: u64 = 16 << 20;
/// The largest file of root certificates.
const LARGEST_PEM: u64 = 1 << 20;

/// None where nobody is verified, or where what is there can not be built.
pub(super) fn build(
    table: Option<&Spanned<VerifyTable>>,
    shape: MemberIdShape,
    base: &Path,
    others: &mut Others,
    faults: &mut Faults<'_>,
) -> Option<VerifySpec> {
    let (span, table) = (table?.span(), table?.get_ref());
    let Some(method) = &table.method else {
        if !faults.is_unread(&span, "method") {
            faults.under(
                &span,
                "method",
                "is missing, allowed is \"app_info\" or \"application_token\"",
            );
        }
        return None;
    };
    let by = match method.value.0 {
        MethodWord::AppInfo => app_info(table, &span, base, others, faults)?,
        MethodWord::ApplicationToken => pinned(table, &span, shape, base, others, faults)?,
    };
    Some(VerifySpec {
        mode: word(&table.mode, Mode::Observe),
        on_error: word(&table.on_error, OnError::Open),
        by,
    })
}

fn app_info(
    table: &VerifyTable,
    span: &Range<usize>,
    base: &Path,
    others: &mut Others,
    faults: &mut Faults<'_>,
) -> Option<VouchedBy> {
    if let Some(file) = &table.tokens_file {
        faults.at(&file.span, meaningless("app_info"));
    }
    let servers = servers(table, faults);
    let roots = roots(table, &servers, span, base, others, faults);
    let Some(client_id) = &table.client_id else {
        if !faults.is_unread(span, "client_id") {
            faults.under(
                span,
                "client_id",
                "is missing, allowed is the application's, such as \"app.573ad8a0346747.09223434\"",
            );
        }
        return None;
    };
    let asks = AskRules {
        servers,
        timeout: seconds(&table.timeout, 2),
        cache: table
            .cache
            .as_ref()
            .map_or(Duration::from_secs(300), |cache| cache.value.0),
        roots,
        proxy: table.proxy.as_ref().map(|proxy| proxy.value.0.clone()),
    };
    let ca = table.ca.as_ref().map(|ca| base.join(&ca.value));
    Some(VouchedBy::Servers {
        client_id: client_id.value.as_str().into(),
        asks,
        ca,
    })
}

fn servers(table: &VerifyTable, faults: &mut Faults<'_>) -> Arc<[AuthServer]> {
    let Some(list) = &table.servers else {
        return DEFAULT_SERVERS
            .iter()
            .filter_map(|url| ServerUrl::parse(url).ok())
            .map(|url| url.0)
            .collect();
    };
    if list.get_ref().is_empty() && !faults.is_unread_below(&faults.index().of_value(&list.span())) {
        faults.at(
            &list.span(),
            "is empty, so nobody could be asked, at least one server is needed",
        );
    }
    let mut servers: Vec<AuthServer> = Vec::new();
    for server in list.get_ref() {
        if servers.contains(&server.value.0) {
            faults.at(&server.span, "stands in the list twice, allowed is once");
        } else {
            servers.push(server.value.0.clone());
        }
    }
    servers.into()
}

/// What is trusted: the file's, or the system's.
fn roots(
    table: &VerifyTable,
    servers: &[AuthServer],
    span: &Range<usize>,
    base: &Path,
    others: &mut Others,
    faults: &mut Faults<'_>,
) -> Arc<[CertificateDer<'static>]> {
    let Some(ca) = &table.ca else {
        let system = rustls_native_certs::load_native_certs().certs;
        if system.is_empty() && servers.iter().any(|server| server.origin.starts_with("https:")) {
            faults.warn(
                span,
                "the system has no root certificates, so that no server could be trusted: ca names a file of them",
            );
        }
        return system.into();
    };
    const ALLOWED: &str = "allowed is a readable PEM file of root certificates";
    let read = others
        .read(base.join(&ca.value), LARGEST_PEM)
        .and_then(|content| {
            let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(content).collect();
            match roots {
                Ok(roots) if !roots.is_empty() => Ok(roots),
                Ok(_) | Err(_) => Err("holds no certificate in PEM form".to_owned()),
            }
        });
    match read {
        Ok(roots) => roots.into(),
        Err(wrong) => {
            faults.at(&ca.span, format!("{} {wrong}, {ALLOWED}", quoted(&ca.value)));
            Arc::default()
        }
    }
}

fn pinned(
    table: &VerifyTable,
    span: &Range<usize>,
    shape: MemberIdShape,
    base: &Path,
    others: &mut Others,
    faults: &mut Faults<'_>,
) -> Option<VouchedBy> {
    let of_others = [
        table.client_id.as_ref().map(|key| key.span.clone()),
        table.servers.as_ref().map(Spanned::span),
        table.ca.as_ref().map(|key| key.span.clone()),
        table.proxy.as_ref().map(|key| key.span.clone()),
        table.timeout.as_ref().map(|key| key.span.clone()),
        table.cache.as_ref().map(|key| key.span.clone()),
    ];
    for key in of_others.into_iter().flatten() {
        faults.at(&key, meaningless("application_token"));
    }
    let Some(file) = &table.tokens_file else {
        if !faults.is_unread(span, "tokens_file") {
            faults.under(
                span,
                "tokens_file",
                "is missing, allowed is a file with a member_id and its APPLICATION_TOKEN on each line",
            );
        }
        return None;
    };
    let path: PathBuf = base.join(&file.value);
    let read = others.read(path.clone(), LARGEST_LIST).and_then(|content| {
        Pins::parse(content, shape).map_err(|BadLine(line)| format!("has no such line in line {line}"))
    });
    match read {
        Ok(pins) => {
            if pins.is_empty() {
                faults.warn(&file.span, "names no portal, so that nobody is verified");
            }
            Some(VouchedBy::List {
                pins: Arc::new(pins),
                file: path,
            })
        }
        Err(wrong) => {
            faults.at(
                &file.span,
                format!(
                    "{} {wrong}, allowed is a readable file with a member_id and its APPLICATION_TOKEN on each line",
                    quoted(&file.value)
                ),
            );
            None
        }
    }
}

fn meaningless(method: &str) -> String {
    format!("has no meaning with method = \"{method}\", allowed is it with the other one")
}
