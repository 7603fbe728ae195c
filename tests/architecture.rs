//! The import table of the design, read from the sources: arrows point one way, and the engine is
//! named only at the edges.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Who may import whom. `context`, `gateway`, `server`, `admin`, `explain` and `main` are the process:
/// they take what they need.
const MAY_IMPORT: [(&str, &[&str]); 9] = [
    ("request", &[]),
    ("policy", &["request"]),
    ("upstream", &["request", "policy"]),
    ("response", &["request", "policy", "upstream"]),
    ("pipeline", &["request", "policy", "upstream", "response"]),
    ("telemetry", &["request", "policy", "response"]),
    // What the settings are made of; a stage never imports config.
    ("config", &["request", "policy", "upstream", "pipeline"]),
    ("lib", &[]),
    // The build script.
    ("build", &[]),
];
const PROCESS: [&str; 8] = [
    "context", "gateway", "process", "server", "admin", "run", "explain", "main",
];

/// Files outside the process that may name Pingora.
const EDGES: [&str; 7] = [
    "request/body.rs",
    "upstream/ask.rs",
    "upstream/peer.rs",
    "upstream/pool.rs",
    "upstream/sample.rs",
    "response/reply.rs",
    "response/frame.rs",
];

fn sources() -> BTreeMap<String, String> {
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
        (name, code(&std::fs::read_to_string(&path).unwrap()))
    });
    named.collect()
}

/// Without comments, and without the unit tests at the end of a file.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

fn module(file: &str) -> &str {
    file.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

/// The longest run of `super::`.
fn supers(code: &str) -> usize {
    (1..)
        .take_while(|&count| code.contains(&"super::".repeat(count)))
        .count()
}

/// How many `super::` stay within the file's own top module.
fn depth(file: &str) -> usize {
    let folders = file.matches('/').count();
    if file.ends_with("/mod.rs") {
        folders - 1
    } else {
        folders
    }
}

/// The modules that follow `crate::`, `use crate::{...}` lists included.
fn imports(code: &str) -> BTreeSet<String> {
    let word = |text: &str| {
        text.chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    let mut found = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            None => _ = found.insert(word(after)),
            Some(list) => {
                let mut depth = 0;
                let mut starts = true;
                for (at, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => starts = true,
                        c if starts && !c.is_whitespace() => {
                            found.insert(word(&list[at..]));
                            starts = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

#[test]
fn the_reader_of_imports_reads() {
    let text = "use crate::a::b;\nuse crate::{c::{d, e}, f};\nfn x() -> crate::g::H {}\n// crate::not\n";
    assert_eq!(
        imports(&code(text)).into_iter().collect::<Vec<_>>(),
        ["a", "c", "f", "g"]
    );
    assert_eq!(module("request/form.rs"), "request");
    assert_eq!(module("pipeline.rs"), "pipeline");
    assert_eq!(supers("use super::super::x; super::y"), 2);
    assert_eq!(
        [
            "config/build/limits.rs",
            "config/mod.rs",
            "config/file.rs",
            "pipeline.rs"
        ]
        .map(depth),
        [2, 0, 1, 0]
    );
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let mut faults = Vec::new();
    let sources = sources();
    for (file, code) in &sources {
        let own = module(file);
        if PROCESS.contains(&own) {
            continue;
        }
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == own) else {
            faults.push(format!("src/{file}: the module {own} is not in the table"));
            continue;
        };
        for import in imports(code) {
            if import != own && !allowed.contains(&import.as_str()) {
                faults.push(format!(
                    "src/{file}: {own} imports {import}; it may import {allowed:?}"
                ));
            }
        }
        if supers(code) > depth(file) {
            faults.push(format!("src/{file}: super:: leads out of {own}; say crate::"));
        }
    }
    assert_eq!(faults, [""; 0]);
    for (name, _) in MAY_IMPORT {
        assert!(
            sources.keys().any(|file| module(file) == name),
            "the table names {name}, which is gone"
        );
    }
}

#[test]
fn only_the_edges_name_the_engine() {
    let mut faults = Vec::new();
    for (file, code) in sources() {
        if !PROCESS.contains(&module(&file)) && !EDGES.contains(&file.as_str()) && code.contains("pingora") {
            faults.push(format!("src/{file} names Pingora"));
        }
    }
    assert_eq!(faults, [""; 0]);
}
