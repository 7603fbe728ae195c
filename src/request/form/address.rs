//! The query of an address that may be told to somebody who must not have what a body holds.

use super::decoding::decoded;
use super::spelling::known;
use crate::request::field::Field;

/// The query without the pairs that some reader takes for a field which Bitrix24 sends in the body, tokens first
/// of all; the rest stays byte for byte.
pub fn without_body_fields(query: &[u8]) -> Vec<u8> {
    let pairs = query.split(|&b| b == b'&');
    let kept: Vec<&[u8]> = pairs.filter(|pair| !is_of_body(pair)).collect();
    kept.join(&b'&')
}

fn is_of_body(pair: &[u8]) -> bool {
    // Some readers split at a semicolon too.
    pair.split(|&b| b == b';').any(|part| {
        let name = part.split(|&b| b == b'=').next().unwrap_or_default();
        let name = decoded(name);
        match known(&name) {
            Some((field, _)) => !Field::IN_ADDRESS.has(field),
            None => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_body_stays_in_an_address() {
        for (query, want) in [
            ("", ""),
            (
                "v=2&DOMAIN=p.example&PROTOCOL=1&LANG=en&APP_SID=x&&y",
                "v=2&DOMAIN=p.example&PROTOCOL=1&LANG=en&APP_SID=x&&y",
            ),
            ("AUTH_ID=secret&DOMAIN=p.example", "DOMAIN=p.example"),
            ("a=1&AUTH%5FID=secret&b=2", "a=1&b=2"),
            (
                "AUTH.ID=secret&auth[access_token]=secret&auth%5bx%5d=secret&auth=secret",
                "",
            ),
            ("a=1;REFRESH_ID=secret&b=1", "b=1"),
            ("REFRESH_ID[]=secret&x", "x"),
            ("member_id=m&PLACEMENT_OPTIONS=secret&status=L&t=1", "t=1"),
        ] {
            let kept = without_body_fields(query.as_bytes());
            assert_eq!(String::from_utf8(kept).unwrap(), want, "{query}");
        }
    }
}
