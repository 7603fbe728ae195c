//! `[limits.shared]`.

use std::time::Duration;

use super::others::Others;
use crate::config::fault::Faults;
use crate::config::limits::SharedTable;
use crate::config::values::{At, Placed, given_or};
use crate::policy::limit::shared::{ADDRESSES, OnError, SharedSpec, StoreAddress};

/// A request may wait so long, and it is not what it came for.
const LONGEST: Duration = Duration::from_secs(1);
/// The longest file with an address in it.
const LARGEST: u64 = 4096;

/// None where there is no such table, or it has faults.
pub(super) fn shared(
    table: &Option<Placed<SharedTable>>,
    others: &mut Others,
    faults: &mut Faults<'_>,
) -> Option<SharedSpec> {
    let Placed { value: table, span } = table.as_ref()?;
    let address = match (&table.url, &table.url_file) {
        (Some(url), None) => by_url(url, faults),
        (None, Some(file)) => by_file(file, others, faults),
        (Some(_), Some(file)) => {
            faults.at(&file.span, "stands beside url, allowed is one of the two");
            None
        }
        (None, None) => {
            if !faults.is_unread(span, "url") && !faults.is_unread(span, "url_file") {
                faults.under(span, "url", format!("is missing, {ADDRESSES}"));
            }
            None
        }
    };
    if let Some(timeout) = table.timeout.as_ref().filter(|timeout| timeout.value > LONGEST) {
        faults.at(&timeout.span, "is too long, allowed is at most \"1s\"");
    }
    if let Some(prefix) = table.prefix.as_ref().filter(|prefix| !is_prefix(&prefix.value)) {
        faults.at(&prefix.span, "is no prefix, allowed are 1 to 64 of A-Za-z0-9_.:-");
    }
    Some(SharedSpec {
        address: address?,
        lease: given_or(&table.lease, SharedSpec::LEASE),
        timeout: given_or(&table.timeout, SharedSpec::TIMEOUT),
        on_error: given_or(&table.on_error, OnError::default()),
        replicas: given_or(&table.replicas, 1),
        prefix: given_or(&table.prefix, SharedSpec::PREFIX.to_owned()),
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

fn by_file(file: &At<String>, others: &mut Others, faults: &mut Faults<'_>) -> Option<StoreAddress> {
    let read = others.read(file, LARGEST, |content| {
        let text = std::str::from_utf8(content).map_err(|_| "is not UTF-8")?;
        StoreAddress::parse(text.trim()).map_err(|fault| fault.says().to_owned())
    });
    read.map_err(|wrong| faults.at(&file.span, format!("{wrong}, {ADDRESSES}")))
        .ok()
}
