//! The `Cookie` line.

use http::{HeaderMap, header};

/// What happens to a cookie that PHP could take for a field (`[widget] cookies`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CookieRule {
    /// It is removed from the forwarded `Cookie` header and counted.
    #[default]
    Strip,
    /// The request is ambiguous.
    Refuse,
    /// It stays: PHP's `request_order` is known to leave cookies out.
    Keep,
}

use super::rewrite::Rewrite;
use crate::request::cookie::{self, PlainAuth};

/// Several lines, as HTTP/2 sends them, become one (RFC 9113 8.2.3): PHP reads the first or glues them
/// together with commas.
pub(super) fn join(rewrite: &mut Rewrite, headers: &HeaderMap) {
    let lines = headers.get_all(header::COOKIE);
    if lines.iter().nth(1).is_none() {
        return;
    }
    let mut lines = lines.iter();
    rewrite.set_with("Cookie", |out| {
        if let Some(first) = lines.next() {
            out.extend_from_slice(first.as_bytes());
        }
        for line in lines {
            out.extend_from_slice(b"; ");
            out.extend_from_slice(line.as_bytes());
        }
    });
}

/// Writes it without the crumbs that shadow a field, where the rule says so.
pub(super) fn strip(rewrite: &mut Rewrite, headers: &HeaderMap, rule: CookieRule, plain_auth: PlainAuth) {
    let shadows = |crumb: &[u8]| cookie::shadows(crumb, plain_auth).is_some();
    match rule {
        // Where it is only observed that they would be refused, the handler still reads what our headers say.
        CookieRule::Strip | CookieRule::Refuse if cookie::all_crumbs(headers).any(shadows) => {}
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
