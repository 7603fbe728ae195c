//! The headers of an answer that is shown in a frame of a portal.

use http::{HeaderName, HeaderValue, header};

use super::line::line;
use crate::policy::frame::{Ancestors, Frame, SetCookieRule, StoreRule};
use crate::upstream::answer::Field;

/// Does to the fields of an answer what was decided of it; the rest of them stays as it came.
pub fn apply(frame: &Frame, fields: &mut Vec<Field>) {
    match &frame.ancestors {
        Ancestors::Keep => {}
        Ancestors::Only(source) => {
            allow_only(source, fields);
            // Browsers do not look at it where frame-ancestors is enforced (CSP 3, 6.4.2.2); the old ones that
            // do would not show the frame.
            fields.retain(|field| field.name != header::X_FRAME_OPTIONS);
        }
        Ancestors::Report(source) => {
            let is_free = |policy: &[u8]| !directives(policy).any(is_ancestors);
            add_directive(
                (
                    header::CONTENT_SECURITY_POLICY_REPORT_ONLY,
                    "Content-Security-Policy-Report-Only",
                ),
                source,
                fields,
                is_free,
            );
        }
    }
    match frame.cookies {
        SetCookieRule::Keep => {}
        SetCookieRule::Partitioned => each(header::SET_COOKIE, fields, partitioned),
    }
    match frame.store {
        StoreRule::Keep => {}
        StoreRule::NoStore => {
            forbid_storing(fields);
            keep_address(fields);
        }
    }
}

/// A frame has to be allowed by every policy of its answer (CSP 3, 3.1): each that speaks of ancestors speaks
/// of this one alone, and where none does the first one is made to.
fn allow_only(source: &str, fields: &mut Vec<Field>) {
    let mut is_said = false;
    each(header::CONTENT_SECURITY_POLICY, fields, |value| {
        let policies = value.split(|&b| b == b',');
        let policies: Vec<_> = policies.map(|policy| replaced(policy, source)).collect();
        is_said |= policies.iter().any(Option::is_some);
        let with = |(old, new): (&[u8], Option<Vec<u8>>)| new.unwrap_or_else(|| old.to_vec());
        let policies: Vec<_> = value.split(|&b| b == b',').zip(policies).map(with).collect();
        policies.join(&b',')
    });
    if !is_said {
        let csp = (header::CONTENT_SECURITY_POLICY, "Content-Security-Policy");
        add_directive(csp, source, fields, |_| true);
    }
}

fn directives(policy: &[u8]) -> impl Iterator<Item = &[u8]> {
    policy.split(|&b| b == b';')
}

fn is_ancestors(directive: &[u8]) -> bool {
    let name = directive
        .trim_ascii()
        .split(u8::is_ascii_whitespace)
        .next()
        .unwrap_or_default();
    name.eq_ignore_ascii_case(b"frame-ancestors")
}

fn directive(source: &str) -> Vec<u8> {
    [b"frame-ancestors ", source.as_bytes()].concat()
}

/// The policy with these ancestors in the place of its own; none where it has none.
fn replaced(policy: &[u8], source: &str) -> Option<Vec<u8>> {
    let mut is_said = false;
    let kept = directives(policy).filter_map(|part| match (is_ancestors(part), is_said) {
        (false, _) => Some(part.to_vec()),
        // Only the first of a name counts (CSP 3, 2.2.1).
        (true, true) => None,
        (true, false) => {
            is_said = true;
            let indent: &[u8] = if part.starts_with(b" ") { b" " } else { b"" };
            Some([indent, &directive(source)].concat())
        }
    });
    let kept: Vec<_> = kept.collect();
    is_said.then(|| kept.join(&b';'))
}

/// Puts the ancestors behind the first policy of a line whose first may have them, else into a line of its own.
fn add_directive(
    (name, usual): (HeaderName, &'static str),
    source: &str,
    fields: &mut Vec<Field>,
    may_have: impl Fn(&[u8]) -> bool,
) {
    let taken = fields
        .iter_mut()
        .filter(|field| field.name == name)
        .find_map(|field| {
            let value = with_directive(field.value.as_bytes(), source, &may_have)?;
            set(field, value);
            Some(())
        });
    if taken.is_none()
        && let Ok(value) = HeaderValue::try_from(directive(source))
    {
        fields.push(line(name, usual, value));
    }
}

/// The line with the ancestors in its first policy, if that may have them.
fn with_directive(line: &[u8], source: &str, may_have: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let end = memchr::memchr(b',', line).unwrap_or(line.len());
    let (policy, rest) = line
        .split_at_checked(end)
        .filter(|(policy, _)| may_have(policy))?;
    let last = policy
        .iter()
        .rposition(|b| *b != b';' && !b.is_ascii_whitespace());
    let policy = last.and_then(|last| policy.get(..=last)).unwrap_or_default();
    let between: &[u8] = if policy.is_empty() { b"" } else { b"; " };
    Some([policy, between, &directive(source), rest].concat())
}

fn each(name: HeaderName, fields: &mut [Field], mut change: impl FnMut(&[u8]) -> Vec<u8>) {
    for field in fields.iter_mut().filter(|field| field.name == name) {
        let value = change(field.value.as_bytes());
        set(field, value);
    }
}

/// What was made of header values and our own words is one.
fn set(field: &mut Field, value: Vec<u8>) {
    if let Ok(value) = HeaderValue::try_from(value) {
        field.value = value;
    }
}

/// A cookie that a browser stores in a frame of another site, in a jar of that site's: the attributes that it
/// asks for (draft-ietf-httpbis-rfc6265bis, CHIPS), whatever the handler said of them.
fn partitioned(cookie: &[u8]) -> Vec<u8> {
    let is_ours = |attribute: &[u8]| {
        let name = attribute.split(|&b| b == b'=').next().unwrap_or_default();
        let name = name.trim_ascii();
        name.is_empty()
            || [&b"samesite"[..], b"secure", b"partitioned"]
                .iter()
                .any(|ours| name.eq_ignore_ascii_case(ours))
    };
    let mut parts = cookie.split(|&b| b == b';');
    let mut kept: Vec<&[u8]> = parts.next().into_iter().collect();
    kept.extend(parts.filter(|attribute| !is_ours(attribute)));
    kept.push(b" SameSite=None; Secure; Partitioned");
    kept.join(&b';')
}

fn forbid_storing(fields: &mut Vec<Field>) {
    let is_no_store = |value: &[u8]| words(value).any(|word| word.eq_ignore_ascii_case(b"no-store"));
    let mut lines = fields.iter().filter(|field| field.name == header::CACHE_CONTROL);
    if lines.any(|field| is_no_store(field.value.as_bytes())) {
        return;
    }
    replace((header::CACHE_CONTROL, "Cache-Control"), "no-store", fields);
}

/// The address of the answer may hold what only handler and portal should know. What the handler says stays,
/// unless by it others learn the address.
fn keep_address(fields: &mut Vec<Field>) {
    // The last word that a browser knows counts (Referrer Policy, 8.1).
    const KNOWN: [(&[u8], bool); 8] = [
        (b"no-referrer", true),
        (b"same-origin", true),
        (b"origin", true),
        (b"strict-origin", true),
        (b"origin-when-cross-origin", true),
        (b"strict-origin-when-cross-origin", true),
        (b"no-referrer-when-downgrade", false),
        (b"unsafe-url", false),
    ];
    let said = fields
        .iter()
        .filter(|field| field.name == header::REFERRER_POLICY)
        .flat_map(|field| words(field.value.as_bytes()))
        .filter_map(|word| KNOWN.iter().find(|(known, _)| word.eq_ignore_ascii_case(known)))
        .next_back();
    if said.is_some_and(|(_, keeps)| *keeps) {
        return;
    }
    replace(
        (header::REFERRER_POLICY, "Referrer-Policy"),
        "same-origin",
        fields,
    );
}

fn replace((name, usual): (HeaderName, &'static str), value: &'static str, fields: &mut Vec<Field>) {
    fields.retain(|field| field.name != name);
    fields.push(line(name, usual, HeaderValue::from_static(value)));
}

fn words(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests;
