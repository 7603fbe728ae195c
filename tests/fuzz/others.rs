//! Where two other readers come to another name or value than PHP does, naively: Rack 2.2
//! (`QueryParser#normalize_params`) and qs 6 (`parseValues`, `parseKeys`), the reader of Express.

use super::php::url_decode;

/// One pair that they read otherwise.
#[derive(PartialEq, Eq, Debug)]
pub enum Misread {
    /// They find this name where PHP finds another.
    Name(Vec<u8>),
    /// qs finds another name and value where PHP finds this name.
    Value(Vec<u8>),
}

/// All such pairs of query and body.
pub fn misread(query: &[u8], body: &[u8]) -> Vec<Misread> {
    let mut found = Vec::new();
    for pair in query
        .split(|b| b"&;".contains(b))
        .chain(body.split(|&b| b == b'&'))
    {
        let first = pair.iter().position(|&b| b == b'=');
        let spelled = url_decode(&pair[..first.unwrap_or(pair.len())]);
        for name in [rack2(&spelled), qs_root(&spelled)] {
            if name != spelled && !is_index(&spelled, name) {
                found.push(Misread::Name(name.to_vec()));
            }
        }
        if first.is_some() && qs_equals(pair) != first {
            found.push(Misread::Value(spelled));
        }
    }
    found
}

/// `name[...]`, a C string at that, is an array to PHP and so a fault of its own.
fn is_index(spelled: &[u8], name: &[u8]) -> bool {
    let text = spelled.split(|&b| b == 0).next().unwrap_or_default();
    let rest = text.strip_prefix(name);
    rest.is_some_and(|rest| rest.first() == Some(&b'[') && rest.contains(&b']'))
}

/// `\A[\[\]]*([^\[\]]+)\]*`
fn rack2(name: &[u8]) -> &[u8] {
    let start = name.iter().position(|b| !b"[]".contains(b)).unwrap_or(name.len());
    let text = &name[start..];
    &text[..text.iter().position(|b| b"[]".contains(b)).unwrap_or(text.len())]
}

/// The text before the first `[`; where there is none, the text inside `[...]`.
fn qs_root(name: &[u8]) -> &[u8] {
    match name.iter().position(|&b| b == b'[') {
        None => name,
        Some(0) => match name[1..].iter().position(|b| b"[]".contains(b)) {
            Some(end) if name[end + 1] == b']' => &name[1..=end],
            _ => name,
        },
        Some(open) => &name[..open],
    }
}

/// `indexOf(']=')`, where an encoded bracket counts, else the first `=`.
fn qs_equals(pair: &[u8]) -> Option<usize> {
    let bracket = (0..pair.len()).find(|&at| {
        pair[at] == b'=' && (pair[..at].ends_with(b"]") || pair[..at].to_ascii_lowercase().ends_with(b"%5d"))
    });
    bracket.or_else(|| pair.iter().position(|&b| b == b'='))
}
