//! The import table of the design, read from the sources: arrows between rooms point one way, no two files
//! hold each other, and Pingora is named only at the edges. Whole files are read; only what `#[cfg(test)]`
//! stands before is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Who may import whom. Every room has a row; `main`, `run` and `explain` take what they need.
const MAY_IMPORT: [(&str, &[&str]); 15] = [
    ("request", &[]),
    ("policy", &["request"]),
    ("upstream", &["request", "policy"]),
    ("oauth", &["request", "policy"]),
    ("response", &["request", "policy", "upstream"]),
    ("pipeline", &["request", "policy", "upstream", "response"]),
    ("telemetry", &["request", "policy", "upstream", "response"]),
    // What the settings are made of; a stage never imports config.
    ("config", &["request", "policy", "upstream", "oauth", "pipeline"]),
    (
        "process",
        &[
            "request",
            "policy",
            "upstream",
            "oauth",
            "response",
            "pipeline",
            "telemetry",
            "config",
        ],
    ),
    (
        "server",
        &[
            "request",
            "policy",
            "upstream",
            "oauth",
            "response",
            "pipeline",
            "telemetry",
            "config",
            "process",
        ],
    ),
    (
        "admin",
        &[
            "request",
            "policy",
            "upstream",
            "oauth",
            "response",
            "pipeline",
            "telemetry",
            "config",
            "process",
        ],
    ),
    (
        "explain",
        &["request", "policy", "upstream", "response", "pipeline", "config"],
    ),
    (
        "run",
        &["config", "process", "server", "admin", "telemetry", "upstream"],
    ),
    ("lib", &[]),
    ("main", &["admin", "config", "explain", "run"]),
];

/// Rooms and files that may name Pingora.
const EDGES: [&str; 8] = [
    "server/",
    "admin/",
    "run.rs",
    "upstream/http_peer.rs",
    "upstream/sample.rs",
    "upstream/secure.rs",
    "upstream/check.rs",
    "response/reply.rs",
];

type Sources = BTreeMap<String, String>;

fn sources() -> Sources {
    fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let named = files.into_iter().map(|path| {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read_to_string(&path).unwrap())
    });
    // Build scripts are programs of their own; a test's file is a test.
    named
        .filter(|(name, _)| name != "build.rs" && !name.ends_with("tests.rs") && !name.contains("/tests/"))
        .map(|(name, text)| (name, code(&text)))
        .collect()
}

/// Without comments, and without the modules that are compiled for tests alone, wherever they stand.
fn code(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    let mut rest = lines.collect::<Vec<_>>().join("\n");
    let mut kept = String::new();
    while let Some(at) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..at]);
        let after = rest[at..].split_once(']').map_or("", |(_, after)| after);
        // To the end of the item: its semicolon, or the brace that closes it.
        let mut depth = 0;
        let end = after.char_indices().find(|(_, c)| {
            depth += match c {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
            depth == 0 && matches!(c, ';' | '}')
        });
        rest = end.map_or("", |(end, _)| &after[end + 1..]).to_owned();
    }
    kept + &rest
}

/// `upstream/pool.rs` is `["upstream", "pool"]`.
fn module(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').map(str::to_owned).collect()
}

fn room(file: &str) -> String {
    module(file).remove(0)
}

/// Every path that a file names: its `use` trees taken apart, and what stands in its code.
fn paths(code: &str) -> Vec<Vec<String>> {
    fn grow(prefix: &[String], tree: &str, found: &mut Vec<Vec<String>>) {
        let (path, list) = match tree.split_once('{') {
            Some((path, list)) => (path, list.rsplit_once('}').map(|(list, _)| list)),
            None => (tree.split(" as ").next().unwrap_or_default(), None),
        };
        let words = path.split("::").map(str::trim).filter(|word| !word.is_empty());
        let path: Vec<String> = prefix.iter().cloned().chain(words.map(str::to_owned)).collect();
        let Some(list) = list else {
            found.push(path);
            return;
        };
        let (mut depth, mut from) = (0, 0);
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    grow(&path, &list[from..at], found);
                    from = at + 1;
                }
                _ => {}
            }
        }
        grow(&path, &list[from..], found);
    }
    let mut found = Vec::new();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for (at, _) in code.match_indices("use ") {
        if code[..at].chars().next_back().is_none_or(|c| !is_word(c)) {
            grow(
                &[],
                code[at + 4..].split(';').next().unwrap_or_default(),
                &mut found,
            );
        }
    }
    let mut chain = String::new();
    for c in code.chars().chain([' ']) {
        if is_word(c) || c == ':' {
            chain.push(c);
        } else if !chain.is_empty() {
            // One that goes on in braces is part of a `use`.
            if chain.contains("::") && !chain.ends_with("::") {
                let words = chain.split("::").filter(|word| !word.is_empty());
                found.push(words.map(str::to_owned).collect());
            }
            chain.clear();
        }
    }
    found
}

/// The files that each file imports from.
fn imports(sources: &Sources) -> BTreeMap<&str, BTreeSet<&str>> {
    let modules: BTreeMap<Vec<String>, &str> =
        sources.keys().map(|file| (module(file), file.as_str())).collect();
    let mut all = BTreeMap::new();
    for (file, code) in sources {
        let own = module(file);
        let children: BTreeSet<&str> = code
            .split("mod ")
            .skip(1)
            .filter_map(|after| after.split_once(';'))
            .map(|(name, _)| name.trim())
            .collect();
        let found = paths(code).into_iter().filter_map(|path| {
            let supers = path.iter().take_while(|word| *word == "super").count();
            let (mut base, rest) = match path.first().map(String::as_str) {
                Some("crate") => (Vec::new(), &path[1..]),
                Some("self") => (own.clone(), &path[1..]),
                Some("super") => (own[..own.len().saturating_sub(supers)].to_vec(), &path[supers..]),
                Some(child) if children.contains(child) => (own.clone(), &path[..]),
                _ => return None,
            };
            base.extend(rest.iter().cloned());
            // The longest beginning that is a file; the rest are its items.
            while !base.is_empty() && !modules.contains_key(&base) {
                base.pop();
            }
            modules.get(&base).copied().filter(|imported| imported != file)
        });
        all.insert(file.as_str(), found.collect::<BTreeSet<_>>());
    }
    all
}

/// Files that hold each other, in the order in which they do.
fn circles(imports: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<String> {
    fn search<'f>(
        file: &'f str,
        imports: &BTreeMap<&'f str, BTreeSet<&'f str>>,
        way: &mut Vec<&'f str>,
        done: &mut BTreeSet<&'f str>,
        found: &mut Vec<String>,
    ) {
        if let Some(at) = way.iter().position(|before| *before == file) {
            found.push(way[at..].join(" -> "));
            return;
        }
        if done.contains(file) {
            return;
        }
        way.push(file);
        for next in imports.get(file).into_iter().flatten() {
            search(next, imports, way, done, found);
        }
        way.pop();
        done.insert(file);
    }
    let (mut done, mut found) = (BTreeSet::new(), Vec::new());
    for file in imports.keys() {
        search(file, imports, &mut Vec::new(), &mut done, &mut found);
    }
    found
}

/// Everything that breaks a rule, in words.
fn faults(sources: &Sources) -> Vec<String> {
    let imports = imports(sources);
    let mut faults = Vec::new();
    for (file, imported) in &imports {
        let own = room(file);
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == own) else {
            faults.push(format!("{file}: the room {own} is not in the table"));
            continue;
        };
        for other in imported {
            let other_room = room(other);
            if other_room != own && !allowed.contains(&other_room.as_str()) {
                faults.push(format!("{file} imports {other}: {own} may import {allowed:?}"));
            }
        }
        let is_edge = EDGES.iter().any(|edge| file.starts_with(edge));
        let names_engine = sources[*file].contains("pingora::") || sources[*file].contains("pingora_");
        if names_engine && !is_edge {
            faults.push(format!("{file} names Pingora"));
        }
    }
    faults.extend(
        circles(&imports)
            .into_iter()
            .map(|circle| format!("a circle: {circle}")),
    );
    faults
}

#[test]
fn the_sources_keep_to_the_table() {
    let sources = sources();
    assert_eq!(faults(&sources), [""; 0]);
    for (name, _) in MAY_IMPORT {
        assert!(
            sources.keys().any(|file| room(file) == name),
            "the table names {name}, which is gone"
        );
    }
    for edge in EDGES {
        assert!(
            sources.keys().any(|file| file.starts_with(edge)),
            "the edges name {edge}, which is gone"
        );
    }
}

#[test]
fn each_rule_finds_a_made_up_violation_in_each_room() {
    let real = sources();
    for (own, allowed) in MAY_IMPORT.iter().filter(|(name, _)| *name != "lib") {
        let file = format!("{own}/made_up.rs");
        for (other, _) in MAY_IMPORT
            .iter()
            .filter(|(name, _)| name != own && *name != "lib")
        {
            // Behind test code, which ends nothing.
            let text = format!("#[cfg(test)]\nmod tests;\nfn f() {{ crate::{other}::x() }}\n");
            let mut sources = real.clone();
            sources.insert(file.clone(), code(&text));
            // An arrow that is allowed can still close a circle; what is looked for is the arrow itself.
            let found = faults(&sources);
            let is_told = found
                .iter()
                .any(|fault| fault.starts_with(&format!("{file} imports {other}")));
            assert_eq!(is_told, !allowed.contains(other), "{own} -> {other}: {found:?}");
        }
        let mut sources = real.clone();
        sources.insert(file.clone(), "use pingora::Result;".to_owned());
        let is_edge = EDGES.iter().any(|edge| file.starts_with(edge));
        assert_eq!(
            faults(&sources).contains(&format!("{file} names Pingora")),
            !is_edge
        );
        let mut sources = real.clone();
        sources.insert(file.clone(), "use super::other::B;".to_owned());
        sources.insert(
            format!("{own}/other.rs"),
            "fn f(_: super::made_up::A) {}".to_owned(),
        );
        let circle = format!("a circle: {file} -> {own}/other.rs");
        assert!(faults(&sources).contains(&circle), "{:?}", faults(&sources));
    }
}

#[test]
fn the_reader_of_imports_reads() {
    let sources: Sources = [
        ("a/mod.rs", "mod b;\npub use b::{self, c::{D, E as F}};"),
        ("a/b.rs", "fn f() -> crate::g::H { super::super::g::x() }\n"),
        ("g.rs", "#[cfg(test)] mod tests { use crate::a::X; }\nstruct H;"),
    ]
    .map(|(file, text)| (file.to_owned(), code(text)))
    .into();
    let imports = imports(&sources);
    assert_eq!(imports["a/mod.rs"], BTreeSet::from(["a/b.rs"]));
    assert_eq!(imports["a/b.rs"], BTreeSet::from(["g.rs"]));
    assert_eq!(imports["g.rs"], BTreeSet::new());
}
