//! `[verify]`.

use std::ops::Range;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::others::Others;
use super::server::seconds;
use crate::config::fault::Faults;
use crate::config::settings::{VerifySpec, VouchedBy};
use crate::config::values::{Placed, Raw, Value, given_or};
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
    table: Option<&Placed<VerifyTable>>,
    shape: MemberIdShape,
    others: &mut Others,
    faults: &mut Faults<'_>,
) -> Option<VerifySpec> {
    let Placed { value: table, span } = table?;
    let allowed = "allowed is \"app_info\" or \"application_token\"";
    let by = match faults.required(&table.method, span, "method", allowed)?.value {
        MethodWord::AppInfo => app_info(table, span, others, faults)?,
        MethodWord::ApplicationToken => pinned(table, span, shape, others, faults)?,
    };
    Some(VerifySpec {
        mode: given_or(&table.mode, Mode::Observe),
        on_error: given_or(&table.on_error, OnError::Open),
        by,
    })
}

fn app_info(
    table: &VerifyTable,
    span: &Range<usize>,
    others: &mut Others,
    faults: &mut Faults<'_>,
) -> Option<VouchedBy> {
    if let Some(file) = &table.tokens_file {
        faults.at(&file.span, meaningless("app_info"));
    }
    let servers = servers(table, faults);
    let roots = roots(table, &servers, span, others, faults);
    let allowed = "allowed is the application's, such as \"app.573ad8a0346747.09223434\"";
    let client_id = faults.required(&table.client_id, span, "client_id", allowed)?;
    Some(VouchedBy::Servers {
        client_id: client_id.value.as_str().into(),
        asks: AskRules {
            servers,
            timeout: seconds(&table.timeout, 2),
            cache: seconds(&table.cache, 300),
            roots,
            proxy: table.proxy.as_ref().map(|proxy| proxy.value.clone()),
        },
        ca: table.ca.as_ref().map(|ca| others.path(ca)),
    })
}

fn servers(table: &VerifyTable, faults: &mut Faults<'_>) -> Arc<[AuthServer]> {
    let Some(Placed { value: list, span }) = &table.servers else {
        let defaults = DEFAULT_SERVERS.iter().map(|url| ServerUrl::read(Raw::Text(url)));
        return defaults.filter_map(Result::ok).collect();
    };
    if list.is_empty() {
        let message = "is empty, so nobody could be asked, at least one server is needed";
        faults.empty(span, message);
    }
    let mut servers: Vec<AuthServer> = Vec::new();
    for server in list {
        if servers.contains(&server.value) {
            faults.twice(&server.span, "");
        } else {
            servers.push(server.value.clone());
        }
    }
    servers.into()
}

/// What is trusted: the file's, or the system's.
fn roots(
    table: &VerifyTable,
    servers: &[AuthServer],
    span: &Range<usize>,
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
    let allowed = "a readable PEM file of root certificates";
    let roots = others.load(ca, LARGEST_PEM, allowed, faults, |content| {
        let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(content).collect();
        let roots = roots.ok().filter(|roots| !roots.is_empty());
        roots.ok_or_else(|| "holds no certificate in PEM form".to_owned())
    });
    roots.map_or_else(Arc::default, Arc::from)
}

fn pinned(
    table: &VerifyTable,
    span: &Range<usize>,
    shape: MemberIdShape,
    others: &mut Others,
    faults: &mut Faults<'_>,
) -> Option<VouchedBy> {
    let of_others = [
        table.client_id.as_ref().map(|key| &key.span),
        table.servers.as_ref().map(|key| &key.span),
        table.ca.as_ref().map(|key| &key.span),
        table.proxy.as_ref().map(|key| &key.span),
        table.timeout.as_ref().map(|key| &key.span),
        table.cache.as_ref().map(|key| &key.span),
    ];
    for key in of_others.into_iter().flatten() {
        faults.at(key, meaningless("application_token"));
    }
    let missing = "allowed is a file with a member_id and its APPLICATION_TOKEN on each line";
    let file = faults.required(&table.tokens_file, span, "tokens_file", missing)?;
    let allowed = "a readable file with a member_id and its APPLICATION_TOKEN on each line";
    let pins = others.load(file, LARGEST_LIST, allowed, faults, |content| {
        Pins::parse(content, shape).map_err(|BadLine(line)| format!("has no such line in line {line}"))
    })?;
    if pins.is_empty() {
        faults.warn(&file.span, "names no portal, so that nobody is verified");
    }
    Some(VouchedBy::List {
        pins: Arc::new(pins),
        file: others.path(file),
    })
}

fn meaningless(method: &str) -> String {
    format!("has no meaning with method = \"{method}\", allowed is it with the other one")
}
