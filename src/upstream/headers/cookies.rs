//! The `Cookie` line.

use http::{HeaderMap, header};

use super::{CookieRule, Rewrite};
use crate::request::cookie::{self, PlainAuth};

/// Writes several lines as one, as HTTP/2 has it (RFC 9113 8.2.3): servers behind differ about the second.
pub(super) fn join(rewrite: &mut Rewrite, headers: &HeaderMap) {
    let lines = headers.get_all(header::COOKIE);
    if lines.iter().nth(1).is_some() {
        let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
        rewrite.set_with("Cookie", |out| out.extend_from_slice(&lines.join(&b"; "[..])));
    }
}

/// Writes it without the crumbs that shadow a field, where the rule says so.
pub(super) fn strip(rewrite: &mut Rewrite, headers: &HeaderMap, rule: CookieRule, plain_auth: PlainAuth) {
    let shadows = |crumb: &[u8]| cookie::shadows(crumb, plain_auth).is_some();
    match rule {
        CookieRule::Strip if cookie::all_crumbs(headers).any(shadows) => {}
        CookieRule::Strip | CookieRule::Refuse | CookieRule::Keep => return join(rewrite, headers),
    }
    let kept: Vec<&[u8]> = cookie::all_crumbs(headers)
        .filter(|crumb| !shadows(crumb))
        .map(<[u8]>::trim_ascii)
        .filter(|crumb| !crumb.is_empty())
        .collect();
    if kept.is_empty() {
        rewrite.remove.push(header::COOKIE);
    } else {
        rewrite.set_with("Cookie", |out| out.extend_from_slice(&kept.join(&b"; "[..])));
    }
}
