//! `[limits.shared]`.

use std::path::Path;
use std::time::Duration;

use toml::Spanned;

use super::others::Others;
use crate::config::fault::Faults;
use crate::config::limits::SharedTable;
use crate::config::values::{At, word};
use crate::policy::limit::shared::{ADDRESSES, OnError, SharedSpec, StoreAddress};

/// A request may wait so long, and it is not what it came for.
const LONGEST: Duration = Duration::from_secs(1);
/// The longest file with an address in it.
const LARGEST: u64 = 4096;

/// None where there is no such table, or it has faults.
pub(super) fn shared(
    table: &Option<Spanned<SharedTable>>,
    base: &Path,
    others: &mut Others,
    faults: &mut Faults<'_>,
) -> Option<SharedSpec> {
    let span = table.as_ref()?.span();
    let table = table.as_ref()?.get_ref();
    let address = match (&table.url, &table.url_file) {
        (Some(url), None) => by_url(url, faults),
        (None, Some(file)) => by_file(file, base, others, faults),
        (Some(_), Some(file)) => {
            faults.at(&file.span, "stands beside url, allowed is one of the two");
            None
        }
        (None, None) => {
            if !faults.is_unread(&span, "url") && !faults.is_unread(&span, "url_file") {
                faults.under(&span, "url", format!("is missing, {ADDRESSES}"));
            }
            None
        }
    };
    if let Some(timeout) = table.timeout.as_ref().filter(|timeout| timeout.value.0 > LONGEST) {
        faults.at(&timeout.span, "is too long, allowed is at most \"1s\"");
    }
    if let Some(prefix) = table.prefix.as_ref().filter(|prefix| !is_prefix(&prefix.value)) {
        faults.at(&prefix.span, "is no prefix, allowed are 1 to 64 of A-Za-z0-9_.:-");
    }
    Some(SharedSpec {
        address: address?,
        lease: table
            .lease
            .as_ref()
            .map_or(SharedSpec::LEASE, |lease| lease.value.0),
        timeout: table
            .timeout
            .as_ref()
            .map_or(SharedSpec::TIMEOUT, |timeout| timeout.value.0),
        on_error: word(&table.on_error, OnError::default()),
        replicas: table.replicas.as_ref().map_or(1, |replicas| replicas.value.0),
        prefix: table
            .prefix
            .as_ref()
            .map_or_else(|| SharedSpec::PREFIX.to_owned(), |prefix| prefix.value.clone()),
    })
}

fn is_prefix(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"_.:-".contains(&b);
    (1..=64).contains(&text.len()) && text.bytes().all(fits)
}

fn by_url(url: &At<String>, faults: &mut Faults<'_>) -> Option<StoreAddress> {
    match StoreAddress::parse(&url.value) {
        Ok(address) if address.has_password() => {
            faults.at(
                &url.span,
                "has a password in it, allowed is one without, or url_file, whose content is told to nobody",
            );
            None
        }
        Ok(address) => Some(address),
        Err(fault) => {
            faults.at(&url.span, format!("{}, {ADDRESSES}", fault.says()));
            None
        }
    }
}

fn by_file(
    file: &At<String>,
    base: &Path,
    others: &mut Others,
    faults: &mut Faults<'_>,
) -> Option<StoreAddress> {
    let wrong = match others.read(base.join(&file.value), LARGEST) {
        Ok(content) => match std::str::from_utf8(content).map(|text| StoreAddress::parse(text.trim())) {
            Ok(Ok(address)) => return Some(address),
            Ok(Err(fault)) => fault.says().to_owned(),
            Err(_) => "is not UTF-8".to_owned(),
        },
        Err(wrong) => wrong,
    };
    faults.at(&file.span, format!("{wrong}, {ADDRESSES}"));
    None
}
