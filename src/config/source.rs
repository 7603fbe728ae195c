//! What a configuration was read from, kept so that it can be put back, and so that a reload can tell what it
//! changed.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use toml::{Table, Value};

use super::tree::below;

/// A value that is longer as text is told by its beginning.
const LONGEST: usize = 256;

/// Keys of a replica's own: where it listens says nothing about what it does.
const OWN_KEYS: [&str; 3] = ["listen", "admin", "upgrade_socket"];

/// The text of a sound configuration, and what its other files held.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// As it stood in the file. No secret can stand in it.
    pub text: String,
    /// Relative paths in the text start here.
    base: PathBuf,
    /// Each other file, with the hash of its content.
    files: Vec<(PathBuf, [u8; 32])>,
}

/// A key whose value is another than before.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Change {
    /// Its path; list positions count from 0. Of a file that no key was found for, the file's path.
    pub key: String,
    /// What stood there, as in the file; null where nothing did. Of a file, the hash of its content.
    pub old: Json,
    /// What stands there now.
    pub new: Json,
}

impl Source {
    /// Of a text and the contents of the files that it names.
    pub(super) fn new(text: String, base: &Path, files: &[(PathBuf, Vec<u8>)]) -> Source {
        let mut hashed: Vec<(PathBuf, [u8; 32])> = Vec::new();
        for (path, content) in files {
            // A chain and its key may stand in one file.
            if hashed.iter().all(|(other, _)| other != path) {
                hashed.push((path.clone(), Sha256::digest(content).into()));
            }
        }
        Source {
            text,
            base: base.to_owned(),
            files: hashed,
        }
    }

    /// Every key that says something else than in `before`, and every file that holds something else.
    pub fn changes_since(&self, before: &Source) -> Vec<Change> {
        let (old, new) = (before.tree(), self.tree());
        let mut found = Vec::new();
        differ("", Some(&old), Some(&new), &mut found);
        let mut keys = Vec::new();
        texts("", &new, &mut keys);
        for (path, now) in &self.files {
            let then = before.files.iter().find(|(other, _)| other == path);
            if let Some((_, then)) = then
                && then != now
            {
                let key = keys.iter().find(|(_, text)| self.base.join(text) == *path);
                found.push(Change {
                    key: key.map_or_else(|| path.display().to_string(), |(key, _)| key.clone()),
                    old: shown_hash(then),
                    new: shown_hash(now),
                });
            }
        }
        found
    }

    /// A hash of what it says, wherever the gateway that reads it listens and wherever its files stand:
    /// equal for replicas that do the same.
    pub(super) fn shared(&self) -> [u8; 32] {
        let mut tree = self.tree();
        if let Some(Value::Table(server)) = tree.as_table_mut().and_then(|tree| tree.get_mut("server")) {
            OWN_KEYS.iter().for_each(|key| {
                server.remove(*key);
            });
            let listeners = server.get_mut("listeners").and_then(Value::as_array_mut);
            for listener in listeners.into_iter().flatten().filter_map(Value::as_table_mut) {
                listener.remove("address");
            }
        }
        self.put_contents(&mut tree);
        Sha256::digest(tree.to_string()).into()
    }

    /// Puts the hash of its content in the place of each file.
    fn put_contents(&self, value: &mut Value) {
        match value {
            Value::Table(table) => table.iter_mut().for_each(|(_, value)| self.put_contents(value)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.put_contents(item)),
            Value::String(text) => {
                let named = self.base.join(&*text);
                if let Some((_, content)) = self.files.iter().find(|(path, _)| *path == named) {
                    *text = hex(content);
                }
            }
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
        }
    }

    fn tree(&self) -> Value {
        // It was parsed before it was found sound.
        Value::Table(self.text.parse::<Table>().unwrap_or_default())
    }
}

/// Enough of it to compare.
pub(super) fn shown_hash(hash: &[u8; 32]) -> Json {
    let beginning = hash.first_chunk::<8>().map(|beginning| hex(beginning));
    format!("sha256:{}", beginning.unwrap_or_default()).into()
}

/// In lower case.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every text with its key.
fn texts<'v>(path: &str, value: &'v Value, found: &mut Vec<(String, &'v str)>) {
    match value {
        Value::Table(table) => table
            .iter()
            .for_each(|(key, value)| texts(&below(path, key), value, found)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(at, item)| texts(&format!("{path}[{at}]"), item, found)),
        Value::String(text) => found.push((path.to_owned(), text)),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

fn differ(path: &str, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<Change>) {
    if old == new {
        return;
    }
    let (tables, lists) = ([old, new].map(as_tables), [old, new].map(as_lists));
    match (tables, lists) {
        ([Some(old), Some(new)], _) if !(old.is_empty() && new.is_empty()) => {
            for (key, value) in &old {
                differ(&below(path, key), Some(value), new.get(*key).copied(), found);
            }
            for (key, value) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
                differ(&below(path, key), None, Some(value), found);
            }
        }
        (_, [Some(old), Some(new)]) => differ_in_lists(path, old, new, found),
        _ => found.push(Change {
            key: path.to_owned(),
            old: shown(old),
            new: shown(new),
        }),
    }
}

/// A table, or none at all.
fn as_tables(value: Option<&Value>) -> Option<std::collections::BTreeMap<&String, &Value>> {
    match value {
        None => Some(std::collections::BTreeMap::new()),
        Some(Value::Table(table)) => Some(table.iter().collect()),
        Some(_) => None,
    }
}

/// A list of tables, or none at all. Any other list is one value.
fn as_lists(value: Option<&Value>) -> Option<&[Value]> {
    match value {
        None => Some(&[]),
        Some(Value::Array(items)) if !items.is_empty() && items.iter().all(Value::is_table) => Some(items),
        Some(_) => None,
    }
}

/// What both begin and end with is the same; what is between is compared in its order.
fn differ_in_lists(path: &str, old: &[Value], new: &[Value], found: &mut Vec<Change>) {
    let pairs = || old.iter().zip(new);
    let begin = pairs().take_while(|(old, new)| old == new).count();
    let (old, new) = (
        old.get(begin..).unwrap_or_default(),
        new.get(begin..).unwrap_or_default(),
    );
    let from_behind = old.iter().rev().zip(new.iter().rev());
    let end = from_behind.take_while(|(old, new)| old == new).count();
    let (old, new) = (
        old.get(..old.len() - end).unwrap_or_default(),
        new.get(..new.len() - end).unwrap_or_default(),
    );
    for at in 0..old.len().max(new.len()) {
        let key = format!("{path}[{}]", begin + at);
        differ(&key, old.get(at), new.get(at), found);
    }
}

fn shown(value: Option<&Value>) -> Json {
    let json = value.map_or(Json::Null, |value| {
        serde_json::to_value(value).unwrap_or_else(|_| value.to_string().into())
    });
    let text = json.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()).into(),
        None => json,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn source(text: &str, files: &[(&str, &str)]) -> Source {
        let files: Vec<_> = files
            .iter()
            .map(|(path, content)| (PathBuf::from(path), content.as_bytes().to_vec()))
            .collect();
        Source::new(text.to_owned(), Path::new("/etc/gw"), &files)
    }

    fn changes(old: &str, new: &str) -> Vec<(String, Json, Json)> {
        let found = source(new, &[]).changes_since(&source(old, &[]));
        found
            .into_iter()
            .map(|Change { key, old, new }| (key, old, new))
            .collect()
    }

    #[test]
    fn each_changed_key_is_told_with_both_values() {
        let told = |key: &str, old: Json, new: Json| (key.to_owned(), old, new);
        let pass = "[[routes]]\nname = \"p\"\npath = \"/p\"\n";
        let widget = "[[routes]]\nname = \"w\"\npath = \"/w\"\n";
        let cases = [
            ("a = 1 # then", "# now\na = 1", vec![]),
            (
                "[limits.member]\nrate = \"1/s\"\nburst = 5",
                "[limits.member]\nrate = \"2/s\"",
                vec![
                    told("limits.member.burst", json!(5), Json::Null),
                    told("limits.member.rate", json!("1/s"), json!("2/s")),
                ],
            ),
            // A list of tables that got one in front.
            (
                widget,
                &format!("{pass}{widget}"),
                vec![
                    told("routes[0].name", Json::Null, json!("p")),
                    told("routes[0].path", Json::Null, json!("/p")),
                ],
            ),
            (
                &format!("{pass}{widget}"),
                &format!("{pass}{}", widget.replace("/w", "/x")),
                vec![told("routes[1].path", json!("/w"), json!("/x"))],
            ),
            (
                "[upstreams.\"a b\"]\nservers = [\"x:1\"]",
                "[upstreams.\"a b\"]\nservers = [\"x:1\", { address = \"y:1\" }]",
                vec![told(
                    "upstreams.\"a b\".servers",
                    json!(["x:1"]),
                    json!(["x:1", { "address": "y:1" }]),
                )],
            ),
            (
                "",
                "[widget.frame]",
                vec![told("widget.frame", Json::Null, json!({}))],
            ),
            ("", "x = []", vec![told("x", Json::Null, json!([]))]),
        ];
        for (old, new, want) in cases {
            assert_eq!(changes(old, new), want, "{old} -> {new}");
        }
        let long = changes("", &format!("x = {:?}", "ä".repeat(1000)));
        assert_eq!(long[0].2.as_str().unwrap().chars().count(), LONGEST + 1);
    }

    #[test]
    fn a_file_is_told_by_its_hash_under_the_key_that_names_it() {
        let text = "[[server.listeners]]\ntls = [{ cert = \"c.pem\", key = \"/k.pem\" }]";
        let files = |content: &str| source(text, &[("/etc/gw/c.pem", content), ("/k.pem", "key")]);
        let found = files("new").changes_since(&files("old"));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].key, "server.listeners[0].tls[0].cert");
        let shown = shown_hash(&Sha256::digest("new").into());
        assert_eq!((&found[0].new, shown.as_str().unwrap().len()), (&shown, 7 + 16));
        assert_ne!(found[0].old, found[0].new);
    }

    #[test]
    fn replicas_share_all_but_where_they_stand() {
        let text = |address: &str, cert: &str, rate: &str| {
            format!(
                "[server]\nlisten = [\"{address}:80\"]\nadmin = \"{address}:9901\"\nthreads = 2\n\
                 [[server.listeners]]\naddress = \"{address}:443\"\ntls = [{{ cert = \"{cert}\" }}]\n\
                 [limits.member]\nrate = \"{rate}\"\n"
            )
        };
        let of = |address, cert: &str, content, rate| {
            source(
                &text(address, cert, rate),
                &[(&format!("/etc/gw/{cert}"), content)],
            )
            .shared()
        };
        let one = of("10.0.0.1", "a.pem", "x", "1/s");
        assert_eq!(one, of("10.0.0.2", "b.pem", "x", "1/s"));
        assert_ne!(one, of("10.0.0.1", "a.pem", "y", "1/s"));
        assert_ne!(one, of("10.0.0.1", "a.pem", "x", "2/s"));
    }
}
