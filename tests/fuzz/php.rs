//! PHP's reading of a form, written naively after `php_register_variable_ex` in `main/php_variables.c`,
//! step by step as the C code goes. It shares nothing with `src/request/form/`, whose judge it is.

/// What happened to one variable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Set to a text.
    Text(Vec<u8>),
    /// Deleted, because of nesting that is too deep.
    Deleted,
}

/// One step into an array.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Key {
    Named(Vec<u8>),
    /// The next free number.
    Next,
}

/// The name of a variable, then the keys of arrays in it.
pub type Path = Vec<Key>;

/// Every event of one part with the path that PHP registers, in order.
pub type Seen = Vec<(Path, Event)>;

/// The path that a name stands for which is spelled plainly: `a` or `a[b]`.
pub fn path(name: &str) -> Path {
    name.split(['[', ']'])
        .filter(|text| !text.is_empty())
        .map(|text| Key::Named(text.as_bytes().to_vec()))
        .collect()
}

/// `php_default_treat_data` for a query or a body: pairs at any of the separators.
pub fn read(part: &[u8], separators: &[u8]) -> Seen {
    let mut seen = Seen::new();
    for pair in part.split(|b| separators.contains(b)) {
        if pair.is_empty() {
            continue;
        }
        let (name, value) = match pair.iter().position(|&b| b == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &b""[..]),
        };
        register(&url_decode(name), url_decode(value), &mut seen);
    }
    seen
}

/// Cookies: `; ` separated, names not decoded, leading white space stripped.
pub fn read_cookies(header: &[u8], decode_names: bool) -> Seen {
    let mut seen = Seen::new();
    for pair in header.split(|&b| b == b';') {
        let (name, value) = match pair.iter().position(|&b| b == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &b""[..]),
        };
        let blanks = name.iter().take_while(|b| b" \t\n\r\x0b\x0c".contains(b)).count();
        let name = if decode_names {
            url_decode(&name[blanks..])
        } else {
            name[blanks..].to_vec()
        };
        register(&name, value.to_vec(), &mut seen);
    }
    seen
}

/// `php_url_decode`.
pub fn url_decode(raw: &[u8]) -> Vec<u8> {
    let hex = |b: u8| (b as char).to_digit(16);
    let mut out = Vec::new();
    let mut at = 0;
    while at < raw.len() {
        let b = raw[at];
        if b == b'+' {
            out.push(b' ');
        } else if b == b'%' && at + 2 < raw.len() {
            match (hex(raw[at + 1]), hex(raw[at + 2])) {
                (Some(high), Some(low)) => {
                    out.push((high * 16 + low) as u8);
                    at += 2;
                }
                _ => out.push(b),
            }
        } else {
            out.push(b);
        }
        at += 1;
    }
    out
}

/// The path that PHP registers for a decoded name; empty where it registers none.
pub fn name(decoded: &[u8]) -> Path {
    let mut seen = Seen::new();
    register(decoded, Vec::new(), &mut seen);
    seen.pop().map(|(path, _)| path).unwrap_or_default()
}

/// `php_register_variable_ex`.
fn register(name: &[u8], value: Vec<u8>, seen: &mut Seen) {
    // A C string ends at its first NUL.
    let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
    let mut var = name[..end].to_vec();
    // "ignore leading spaces in the variable name"
    while var.first() == Some(&b' ') {
        var.remove(0);
    }
    // "ensure that we don't have spaces or dots in the variable name"
    let bracket = var.iter().position(|&b| b == b'[');
    let before = bracket.unwrap_or(var.len());
    for b in &mut var[..before] {
        if matches!(b, b' ' | b'.') {
            *b = b'_';
        }
    }
    let Some(bracket) = bracket else {
        if !var.is_empty() {
            seen.push((vec![Key::Named(var)], Event::Text(value)));
        }
        return;
    };
    let head = Key::Named(var[..bracket].to_vec());
    if bracket == 0 {
        return;
    }
    let mut path = vec![head.clone()];
    let mut ip = bracket;
    let mut nest_level = 0;
    loop {
        nest_level += 1;
        if nest_level > 64 {
            seen.push((vec![head], Event::Deleted));
            return;
        }
        ip += 1;
        let index_s = ip;
        // `isspace` steps over one white space before an immediate `]`.
        if ip < var.len() && b" \t\n\r\x0b\x0c".contains(&var[ip]) {
            ip += 1;
        }
        if ip < var.len() && var[ip] == b']' {
            path.push(Key::Next);
        } else {
            match (ip..var.len()).find(|&at| var[at] == b']') {
                Some(close) => {
                    path.push(Key::Named(var[index_s..close].to_vec()));
                    ip = close;
                }
                None => {
                    // "not an index; un-terminate the var name"
                    if nest_level == 1 {
                        var[index_s - 1] = b'_';
                        for b in &mut var[index_s..] {
                            if matches!(b, b' ' | b'.' | b'[') {
                                *b = b'_';
                            }
                        }
                        path = vec![Key::Named(var)];
                    }
                    seen.push((path, Event::Text(value)));
                    return;
                }
            }
        }
        ip += 1;
        if ip >= var.len() || var[ip] != b'[' {
            seen.push((path, Event::Text(value)));
            return;
        }
    }
}
