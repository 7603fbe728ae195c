//! Cookies that could be taken for a field. Where no `php.ini` sets `request_order` (stock container
//! images), `$_REQUEST` takes a cookie before the form, so such a cookie never reaches the handler.

use http::{HeaderMap, header};

use crate::request::byte_set::TOKEN;
use crate::request::field::Field;
use crate::request::form::{self, Form, Spelling};

/// What a cookie does that is called `auth` and nothing more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlainAuth {
    /// It replaces the `auth[...]` of the form.
    Shadows,
    /// The form has none, and a text under that name claims nothing: many applications have such a cookie.
    Harmless,
}

impl PlainAuth {
    /// Beside this form.
    pub fn beside(form: &Form<'_>) -> PlainAuth {
        match form.has_auth() {
            true => PlainAuth::Shadows,
            false => PlainAuth::Harmless,
        }
    }
}

/// The field that a `name=value` crumb shadows. PHP strips leading white space and mangles the name
/// as in a form; releases before 7.2.34, 7.3.23 and 7.4.11 also url-decode it, so both readings count.
/// So does the name without white space behind it, which a crumb loses once it is the header's last.
pub fn shadows(crumb: &[u8], plain_auth: PlainAuth) -> Option<Field> {
    let name = crumb
        .split(|&b| b == b'=')
        .next()
        .unwrap_or_default()
        .trim_ascii_start();
    let found = if TOKEN.has_all(name) {
        // As most names are: no reading makes another of it.
        Field::named(name).map(|field| (field, Spelling::Exact))
    } else {
        let known = |name| form::known(name).or_else(|| form::known(&form::decoded(name)));
        known(name).or_else(|| known(name.trim_ascii_end()))
    };
    match found {
        Some((Field::Auth, Spelling::Exact)) if plain_auth == PlainAuth::Harmless => None,
        Some((field, _)) => Some(field),
        None => None,
    }
}

/// The crumbs of a `Cookie` header value, as PHP splits them.
pub fn crumbs(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    header.split(|&b| b == b';')
}

/// Every crumb of every `Cookie` line, in order.
pub fn all_crumbs(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|line| crumbs(line.as_bytes()))
}

/// The fields that cookies of this request shadow, each once, in the order of the contract.
pub fn shadowed(headers: &HeaderMap, plain_auth: PlainAuth) -> Vec<Field> {
    let mut fields: Vec<_> = all_crumbs(headers)
        .filter_map(|crumb| shadows(crumb, plain_auth))
        .collect();
    fields.sort_unstable();
    fields.dedup_by_key(|field| field.told());
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shadowed_field(crumb: &str) -> Option<Field> {
        shadows(crumb.as_bytes(), PlainAuth::Harmless)
    }

    #[test]
    fn names_are_read_as_php_reads_them() {
        for crumb in [
            "member_id=x",
            " \tmember.id=x",
            "member[id",
            "member_id[]=1",
            "%6dember_id=x",
            "member+id=1",
            "member_id\t",
        ] {
            assert_eq!(shadowed_field(crumb), Some(Field::MemberId), "{crumb}");
        }
        for crumb in [
            "auth[member_id]=x",
            " auth[member_id]x=1",
            "auth%5Bmember_id%5D=1",
            "auth[member_id][]=1",
        ] {
            assert_eq!(shadowed_field(crumb), Some(Field::AuthMemberId), "{crumb}");
        }
        for (crumb, field) in [
            ("event=ONAPPINSTALL", Field::Event),
            ("event.token=1", Field::EventToken),
            ("workflow[id=1", Field::WorkflowId),
            ("auth[x]=1", Field::Auth),
            ("auth[]=1", Field::Auth),
        ] {
            assert_eq!(shadowed_field(crumb), Some(field), "{crumb}");
        }
        for crumb in [
            "PHPSESSID=member_id",
            "",
            " ",
            "MEMBER_ID=1",
            "amember_id=1",
            "authx=1",
            "auth_member_id=1",
            "auth.x=1",
        ] {
            assert_eq!(shadowed_field(crumb), None, "{crumb}");
        }
    }

    #[test]
    fn a_cookie_that_is_called_auth_shadows_auth_alone() {
        for crumb in ["auth=1", " auth", "%61uth=x", "auth =1", "+auth", "auth%00=1"] {
            assert_eq!(
                shadows(crumb.as_bytes(), PlainAuth::Shadows),
                Some(Field::Auth),
                "{crumb}"
            );
            assert_eq!(shadows(crumb.as_bytes(), PlainAuth::Harmless), None, "{crumb}");
        }
    }
}
