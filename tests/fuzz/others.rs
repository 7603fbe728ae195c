//! Where two other readers come to another name or value than PHP does, naively: Rack 2.2
//! (`QueryParser#normalize_params`) and qs 6 (`parseValues`, `parseKeys`), the reader of Express.

use super::php::{self, Key, Path, url_decode};

/// One pair that they read otherwise.
#[derive(PartialEq, Eq, Debug)]
pub enum Misread {
    /// They find this path where PHP finds another.
    Name(Path),
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
        let in_php = php::name(&spelled);
        for path in [rack2(&spelled), qs(&spelled)] {
            if path != in_php {
                found.push(Misread::Name(path));
            }
        }
        if first.is_some() && qs_equals(pair) != first {
            found.push(Misread::Value(spelled));
        }
    }
    found
}

/// `\A[\[\]]*([^\[\]]+)\]*`, and the same again for each key in what follows.
fn rack2(name: &[u8]) -> Path {
    name.split(|b| b"[]".contains(b))
        .filter(|text| !text.is_empty())
        .map(|text| Key::Named(text.to_vec()))
        .collect()
}

/// The text before the first `[...]`, then what stands inside each of them; what stands between is dropped.
fn qs(name: &[u8]) -> Path {
    let named = |text: &[u8]| Key::Named(text.to_vec());
    let mut path = Path::new();
    let mut rest = name;
    while let Some((before, inside, after)) = segment(rest) {
        if path.is_empty() && !before.is_empty() {
            path.push(named(before));
        }
        path.push(match inside {
            [] => Key::Next,
            inside => named(inside),
        });
        rest = after;
    }
    match path.is_empty() {
        true => vec![named(name)],
        false => path,
    }
}

/// `\[[^[\]]*]`: the first bracket that is closed before another opens.
fn segment(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let close = (1..text.len()).find(|&at| {
        text[at] == b']'
            && text[..at]
                .iter()
                .rposition(|b| b"[]".contains(b))
                .is_some_and(|before| text[before] == b'[')
    })?;
    let open = text[..close].iter().rposition(|&b| b == b'[')?;
    Some((&text[..open], &text[open + 1..close], &text[close + 1..]))
}

/// `indexOf(']=')`, where an encoded bracket counts, else the first `=`.
fn qs_equals(pair: &[u8]) -> Option<usize> {
    let bracket = (0..pair.len()).find(|&at| {
        pair[at] == b'=' && (pair[..at].ends_with(b"]") || pair[..at].to_ascii_lowercase().ends_with(b"%5d"))
    });
    bracket.or_else(|| pair.iter().position(|&b| b == b'='))
}
