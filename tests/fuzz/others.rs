//! Where two other readers come to another name or value than PHP does, naively: Rack 2.2
//! (`QueryParser#normalize_params`) and qs 6 (`parseValues`, `parseKeys`), the reader of Express.

use super::php::url_decode;

/// What they would do with a known name.
#[derive(Clone, Copy, Default, Debug)]
pub struct Misread {
    /// They find it under a name that PHP does not read so.
    pub name: bool,
    /// qs finds another name and value in a pair of exactly this name.
    pub value: bool,
}

/// Looks at all pairs of query and body.
pub fn misread(name: &str, query: &[u8], body: &[u8]) -> Misread {
    let mut found = Misread::default();
    for pair in query
        .split(|b| b"&;".contains(b))
        .chain(body.split(|&b| b == b'&'))
    {
        let first = pair.iter().position(|&b| b == b'=');
        let spelled = url_decode(&pair[..first.unwrap_or(pair.len())]);
        if spelled == name.as_bytes() {
            found.value |= first.is_some_and(|first| qs_equals(pair) != Some(first));
        } else if !is_index(&spelled, name) {
            found.name |= rack2(&spelled) == name.as_bytes() || qs_root(&spelled) == name.as_bytes();
        }
    }
    found
}

/// `name[...]`, a C string at that, is an array to PHP and so a fault of its own.
fn is_index(spelled: &[u8], name: &str) -> bool {
    let text = spelled.split(|&b| b == 0).next().unwrap_or_default();
    let rest = text.strip_prefix(name.as_bytes());
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
