//! Cookies that could be taken for a field. Where no `php.ini` sets `request_order` (stock container
//! images), `$_REQUEST` takes a cookie before the form, so such a cookie never reaches the handler.

use crate::request::byte_set::TOKEN;
use crate::request::field::Field;
use crate::request::form;

/// The field that a `name=value` crumb shadows. PHP strips leading white space and mangles the name
/// as in a form; releases before 7.2.34, 7.3.23 and 7.4.11 also url-decode it, so both readings count.
/// So does the name without white space behind it, which a crumb loses once it is the header's last.
pub fn shadows(crumb: &[u8]) -> Option<Field> {
    let name = crumb
        .split(|&b| b == b'=')
        .next()
        .unwrap_or_default()
        .trim_ascii_start();
    // As most names are: no reading makes another of it.
    if TOKEN.has_all(name) {
        return Field::named(name);
    }
    let known = |name| form::known(name).or_else(|| form::known(&form::decoded(name)));
    known(name)
        .or_else(|| known(name.trim_ascii_end()))
        .map(|(field, _)| field)
}

/// The crumbs of a `Cookie` header value, as PHP splits them.
pub fn crumbs(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    header.split(|&b| b == b';')
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(shadows(crumb.as_bytes()), Some(Field::MemberId), "{crumb}");
        }
        for crumb in ["PHPSESSID=member_id", "", " ", "MEMBER_ID=1", "amember_id=1"] {
            assert_eq!(shadows(crumb.as_bytes()), None, "{crumb}");
        }
    }
}
