//! The documents say what the program does: their tables and the code hold the same keys, codes, families
//! and headers, what they name is there, and the README stays short.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use widget_gateway::response::rejection::Reason;

use crate::common::forms::{BODY, MEMBER, QUERY, SECRETS, post, request, routes};
use crate::common::oauth::{AuthServer, CLIENT_ID, Says};
use crate::common::{Gateway, Metrics, Received, Upstream, identity};

const README: &str = "README.md";
const REFERENCE: &str = "conf/README.md";
/// A README that is longer is a reference.
const README_BYTES: usize = 14_336;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(document: &str) -> String {
    std::fs::read_to_string(root().join(document)).unwrap_or_else(|e| panic!("{document}: {e}"))
}

/// A row of a table under a heading, without the row that names the columns.
struct Row {
    /// The headings above it, the outermost first.
    headings: Vec<String>,
    cells: Vec<String>,
}

impl Row {
    /// The one code span of its first cell.
    fn name(&self) -> &str {
        let spans = code_spans(&self.cells[0]);
        assert_eq!(spans.len(), 1, "one name in a row: {:?}", self.cells);
        spans[0]
    }
}

fn is_fence(line: &str) -> bool {
    line.trim_start().starts_with("```")
}

/// The lines outside of blocks of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_block = false;
    text.lines().filter(move |line| {
        in_block ^= is_fence(line);
        !in_block && !is_fence(line)
    })
}

/// The heading of a line, and how deep it is.
fn heading(line: &str) -> Option<(usize, &str)> {
    let text = line.trim_start_matches('#');
    let depth = line.len() - text.len();
    (depth > 0).then(|| (depth, text.trim()))
}

fn rows(text: &str) -> Vec<Row> {
    let (mut headings, mut rows, mut in_body) = (Vec::<String>::new(), Vec::new(), false);
    for line in prose(text) {
        if let Some((depth, text)) = heading(line) {
            headings.truncate(depth - 1);
            headings.push(text.to_owned());
        }
        in_body = match line.strip_prefix('|') {
            Some(inside) if in_body => {
                let inside = inside.trim_end().strip_suffix('|').unwrap_or(inside);
                rows.push(Row {
                    headings: headings.clone(),
                    cells: inside.split('|').map(|cell| cell.trim().to_owned()).collect(),
                });
                true
            }
            Some(inside) => inside.starts_with("---"),
            None => false,
        };
    }
    rows
}

/// The rows of all tables under this heading of the reference.
fn reference(heading: &str) -> Vec<Row> {
    let mut rows = rows(&read(REFERENCE));
    rows.retain(|row| row.headings.iter().any(|above| above == heading));
    assert!(!rows.is_empty(), "{REFERENCE} has no table under {heading}");
    rows
}

fn code_spans(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Both as maps, so that a failure shows what is on one side alone; a name that stands twice is one.
fn map<V>(of: impl IntoIterator<Item = (String, V)>) -> BTreeMap<String, V> {
    let mut map = BTreeMap::new();
    for (name, value) in of {
        let twice = format!("{name} stands twice");
        assert!(map.insert(name, value).is_none(), "{twice}");
    }
    map
}

fn assert_same<V: PartialEq + std::fmt::Debug>(documented: BTreeMap<String, V>, real: BTreeMap<String, V>) {
    let only = |one: &BTreeMap<String, V>, other: &BTreeMap<String, V>| {
        let own = one
            .iter()
            .filter(|(name, value)| other.get(*name) != Some(*value));
        own.map(|(name, value)| format!("{name}: {value:?}"))
            .collect::<Vec<_>>()
    };
    let (stale, missing) = (only(&documented, &real), only(&real, &documented));
    assert!(
        stale.is_empty() && missing.is_empty(),
        "{REFERENCE} says what is not so: {stale:#?}\nand not: {missing:#?}"
    );
}

/// What stands in the column of defaults.
#[derive(PartialEq, Debug)]
enum Default {
    Is(String),
    Required,
    /// Said in words.
    Other,
}

/// The keys of a schema by their table, with their defaults.
struct Keys {
    schema: Value,
    found: Vec<(String, Default)>,
}

impl Keys {
    /// Every shape that a key may have, its references followed.
    fn shapes<'s>(&'s self, schema: &'s Value) -> Vec<&'s Value> {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.strip_prefix("#/definitions/").unwrap();
            return self.shapes(&self.schema["definitions"][name]);
        }
        let choices = schema["allOf"].as_array().or_else(|| schema["anyOf"].as_array());
        match choices {
            Some(choices) => choices.iter().flat_map(|choice| self.shapes(choice)).collect(),
            None => vec![schema],
        }
    }

    /// The keys of one table, which `spelled` spells for its path.
    fn table(&mut self, table: &Value, path: &str, spelled: &str) {
        let required = table["required"].as_array().cloned().unwrap_or_default();
        for (key, schema) in table["properties"].as_object().unwrap() {
            let below = match path {
                "" => key.clone(),
                path => format!("{path}.{key}"),
            };
            let (mut tables, mut is_value) = (Vec::new(), false);
            for shape in self.shapes(schema) {
                if shape["properties"].is_object() {
                    tables.push((shape.clone(), below.clone(), format!("[{below}]")));
                } else if shape["additionalProperties"].is_object() {
                    let below = format!("{below}.NAME");
                    for shape in self.shapes(&shape["additionalProperties"]) {
                        tables.push((shape.clone(), below.clone(), format!("[{below}]")));
                    }
                } else if shape["items"].is_object() {
                    for shape in self.shapes(&shape["items"]) {
                        match shape["properties"].is_object() {
                            true => tables.push((shape.clone(), below.clone(), format!("[[{below}]]"))),
                            false => is_value = true,
                        }
                    }
                } else {
                    is_value = true;
                }
            }
            if is_value {
                let default = match &schema["default"] {
                    Value::String(text) => Default::Is(text.clone()),
                    Value::Null if required.contains(&key.as_str().into()) => Default::Required,
                    Value::Null => Default::Other,
                    // As TOML is written.
                    other => Default::Is(other.to_string().replace("\",\"", "\", \"")),
                };
                self.found.push((format!("{spelled} {key}"), default));
            }
            for (table, path, spelled) in tables {
                self.table(&table, &path, &spelled);
            }
        }
    }
}

#[test]
fn every_configuration_key_has_a_row_with_its_default() {
    let schema: Value = serde_json::from_str(&read("conf/gateway.schema.json")).unwrap();
    let mut keys = Keys {
        schema: schema.clone(),
        found: Vec::new(),
    };
    keys.table(&schema, "", "At the top");
    let documented = reference("Configuration").into_iter().map(|row| {
        let above = row.headings.last().unwrap().trim_matches('`');
        let default = match row.cells[1].as_str() {
            "required" => Default::Required,
            cell => match cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`')) {
                Some(value) => Default::Is(value.to_owned()),
                None => Default::Other,
            },
        };
        (format!("{above} {}", row.name()), default)
    });
    assert_same(map(documented), map(keys.found));
}

#[test]
fn every_refusal_has_a_row_with_its_status() {
    let documented = reference("Refusals").into_iter();
    let documented = documented.map(|row| (row.name().to_owned(), row.cells[1].clone()));
    let real = Reason::ALL.map(|reason| (reason.code().to_owned(), reason.status().to_string()));
    assert_same(map(documented), map(real));
}

#[test]
fn every_metric_has_a_row_with_its_labels() {
    let upstream = Upstream::start();
    let gateway = Gateway::on_every_carrier(format!(
        "{}[limits.member]\nrate = \"100/s\"\n",
        routes(&[upstream.address])
    ));
    let (ours, of_the_process): (Vec<_>, Vec<_>) = gateway
        .metrics()
        .families()
        .into_iter()
        .partition(|(name, _)| !name.starts_with("process_"));
    assert!(!of_the_process.is_empty());
    let real = ours.into_iter().map(|(name, labels)| {
        let name = name.strip_prefix("widget_gateway_").map(str::to_owned);
        (name.expect("the prefix"), labels)
    });
    let mut documented = map(reference("Metrics").into_iter().map(|row| {
        let labels = code_spans(&row.cells[1]).into_iter().map(str::to_owned);
        (row.name().to_owned(), labels.collect::<BTreeSet<_>>())
    }));
    assert_eq!(documented.remove("process_*"), Some(BTreeSet::new()));
    assert_same(documented, map(real));
}

/// Names of the headers that the client did not send, or that came with another value.
fn written(received: &Received, sent: &[(&str, &str)]) -> BTreeSet<String> {
    let is_as_sent = |name: &str, value: &[u8]| {
        let mut sent = sent.iter();
        sent.any(|(n, v)| n.eq_ignore_ascii_case(name) && v.as_bytes() == value)
    };
    let headers = received.headers().into_iter();
    headers
        .filter(|(name, value)| !is_as_sent(name, value))
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect()
}

/// What a route may get: the word of the column for those that a header is on.
fn kinds(of: &BTreeSet<&str>) -> String {
    let words: Vec<_> = of.iter().copied().collect();
    match words.as_slice() {
        ["event", "own", "pass", "placement", "robot"] => "every".to_owned(),
        ["event", "own", "placement", "robot"] => "widget".to_owned(),
        kinds => kinds.join(", "),
    }
}

#[test]
fn every_header_that_is_written_has_a_row() {
    let upstream = Upstream::start();
    let every = "kind = \"widget\"\naccepts = [\"placement\", \"event\", \"robot\", \"own\"]";
    let routes = routes(&[upstream.address]).replace("kind = \"widget\"", every);
    let traces = "[traces]\nendpoint = \"http://127.0.0.1:9/v1/traces\"\n";
    let server = AuthServer::start();
    for token in [SECRETS[0], "t"] {
        server.says(token, Says::info(CLIENT_ID, MEMBER, "portal.bitrix24.com"));
    }
    let verify = format!(
        "[verify]\nmethod = \"app_info\"\nclient_id = \"{CLIENT_ID}\"\nservers = [\"http://{}\"]\n",
        server.address
    );
    let gateway = Gateway::start(routes + traces + &verify);
    let lines = ["Accept: */*", "Cookie: a=1", "Cookie: b=2"];
    // What the client sent as well counts as written where it has another value.
    let sent = [("Host", "widgets.example"), ("Accept", "*/*")];
    let auth = format!("auth[domain]=portal.bitrix24.com&auth[member_id]={MEMBER}&auth[access_token]=t");
    let requests = [
        ("pass", request("GET", "/app", &lines, "")),
        ("placement", post(&format!("/app?{QUERY}"), &lines, BODY)),
        (
            "event",
            post("/app", &lines, format!("event=ONCRMDEALADD&{auth}")),
        ),
        ("robot", post("/app", &lines, format!("event_token=t&{auth}"))),
        (
            "own",
            post(
                "/app",
                &lines,
                format!("DOMAIN=portal.bitrix24.com&member_id={MEMBER}&x=1"),
            ),
        ),
    ];
    let mut on = BTreeMap::<String, BTreeSet<&str>>::new();
    for (kind, request) in requests {
        let answer = gateway.ask(request);
        assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
        for name in written(&upstream.take_one(), &sent) {
            on.entry(name).or_default().insert(kind);
        }
    }
    let real = on.into_iter().map(|(name, of)| (name, kinds(&of)));
    let documented = reference("Headers to the handler").into_iter();
    let documented = documented.map(|row| (row.name().to_ascii_lowercase(), row.cells[1].clone()));
    assert_same(map(documented), map(real));
}

#[test]
fn every_request_to_the_admin_listener_is_answered() {
    let gateway = Gateway::start(routes(&[Upstream::start().address]));
    for row in reference("Admin listener") {
        let (method, path) = row.name().split_once(' ').unwrap();
        let path = path.replace("{key}", MEMBER).replace("=N", "=1");
        let status = gateway.ask_admin(method, &path).status;
        assert_eq!(status, 200, "{method} {path}");
    }
}

#[test]
fn the_readme_is_short() {
    let bytes = read(README).len();
    assert!(
        bytes <= README_BYTES,
        "{README} has {bytes} bytes, at most are {README_BYTES}"
    );
}

fn documents() -> Vec<PathBuf> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    let mut found = vec![root().join(README)];
    for folder in ["conf", "benches", "src", "tests"] {
        collect(&root().join(folder), &mut found);
    }
    found
}

/// As a forge makes it from a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(document: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(document).unwrap();
    let headings = prose(&text).filter_map(heading);
    headings.map(|(_, text)| anchor(text)).collect()
}

/// Where the text's links lead: what stands in `[words](here)`.
fn links(text: &str) -> Vec<String> {
    let joined = prose(text).collect::<Vec<_>>().join("\n");
    let behind = joined.split("](").skip(1);
    behind
        .map(|after| after.split(')').next().unwrap().to_owned())
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let mut faults = Vec::new();
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        for link in links(&text).into_iter().filter(|link| !link.starts_with("http")) {
            let (file, fragment) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => document.clone(),
                file => document.parent().unwrap().join(file),
            };
            let is_there = target.exists() && (fragment.is_empty() || anchors(&target).contains(fragment));
            if !is_there {
                faults.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert_eq!(faults, [""; 0]);
}

/// `src/pipeline.rs` between backticks is a promise as well; what holds a pattern or a place is none.
#[test]
fn files_that_documents_name_are_there() {
    let mut faults = Vec::new();
    let sources = ["src/lib.rs", "conf/gateway.toml"].map(|file| root().join(file));
    for document in documents().into_iter().chain(sources) {
        let text = std::fs::read_to_string(&document).unwrap();
        for line in prose(&text) {
            for span in code_spans(line) {
                let path = span.split(' ').next().unwrap();
                let is_ours = ["src/", "conf/", "tests/", "benches/", ".ci/"]
                    .iter()
                    .any(|ours| path.starts_with(ours));
                if is_ours && !path.contains(['*', '{', '<', ':']) && !root().join(path).exists() {
                    faults.push(format!("{}: {span}", document.display()));
                }
            }
        }
    }
    assert_eq!(faults, [""; 0]);
}

/// What `check` says of a configuration that a newcomer copies from the README.
#[test]
fn the_readmes_configuration_is_sound() {
    let text = read(README);
    let blocks: Vec<_> = text.split("```toml\n").skip(1).collect();
    let [whole, tls] = blocks.as_slice() else {
        panic!("{} blocks of configuration, not two", blocks.len());
    };
    let block = |after: &str| after.split("```").next().unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_widget-gateway"))
            .args(["check", "-c"])
            .arg(&file)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{said}");
        assert_eq!(said.lines().count(), 1, "no warning either: {said}");
    };
    check("whole.toml", &block(whole));
    // The harness has another certificate, and writes it.
    identity::listener(folder.path());
    let listener = block(tls).replace("/etc/ssl/widgets.", "harness.");
    check("tls.toml", &format!("{}{listener}", block(whole)));
}

#[test]
fn the_reader_of_tables_reads() {
    let text = "# a\n## b\n| x | y |\n|---|---|\n| `k` | 1 |\n```\n# no heading\n| no | row |\n```\n## c\n|x|\n|---|\n|`m` `n`|\n";
    let rows = rows(text);
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0].name(), rows[0].cells[1].as_str()), ("k", "1"));
    assert_eq!(rows[0].headings, ["a", "b"]);
    assert_eq!(rows[1].headings, ["a", "c"]);
    assert_eq!(code_spans(&rows[1].cells[0]), ["m", "n"]);
    assert_eq!(
        anchor("`[widget]`, what PHP-fpm reads"),
        "widget-what-php-fpm-reads"
    );
    let scrape =
        "# TYPE f histogram\nf_bucket{a=\"1,b=\",le=\"2\"} 3\nf_sum{a=\"1\"} 4\n# TYPE g gauge\ng 1\n";
    let families = Metrics::parse(scrape).families();
    assert_eq!(families["f"], BTreeSet::from(["a".to_owned()]));
    assert_eq!(families["g"], BTreeSet::new());
    assert_eq!(families.len(), 2);
}
