//! Each kit as a process: the real thing, behind a socket.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::super::handlers::Identity;
use super::super::judge::Told;
use crate::common::php::PhpServer;
use crate::common::{Conn, Gateway, Response, forms, shown};

const ACCEPTS: &str = "kind = \"widget\"\naccepts = [\"placement\", \"event\", \"robot\", \"own\"]";

/// With a php.ini as PHP ships it, and without one.
pub const SHIPPED: &[&str] = &["-d", "request_order=GP"];
pub const BARE: &[&str] = &["-n"];

/// A kit behind an address of its own.
pub struct Kit {
    pub name: &'static str,
    address: SocketAddr,
    /// Where CRest stores what it read. The others tell it in their answer.
    pub stores: Option<PathBuf>,
    _server: Server,
}

enum Server {
    Php {
        _process: PhpServer,
        _folder: tempfile::TempDir,
    },
    Python(Child),
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Server::Python(child) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a reader took from a message, by the name of the fact.
pub type Facts = BTreeMap<String, Vec<u8>>;

/// Of each reader that found its kind of message: what it read, or why it would not.
pub type Readings = BTreeMap<String, Result<Facts, String>>;

fn fetched(kit: &str) -> PathBuf {
    let kits = std::env::var_os("KITS").expect("KITS is not set: tests/kits/run");
    Path::new(&kits).join(kit)
}

fn driver(name: &str) -> String {
    format!("{}/tests/kits/{name}", env!("CARGO_MANIFEST_DIR"))
}

impl Kit {
    /// Its install.php, as it stands.
    pub fn crest(settings: &[&str]) -> Kit {
        let folder = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(fetched("crest/src")).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
        let script = folder.path().join("told.php");
        let tell = driver("tell.php");
        let both = format!("<?php require '{tell}'; require __DIR__ . '/install.php';");
        std::fs::write(&script, both).unwrap();
        let stores = Some(folder.path().join("settings.json"));
        Kit::php("CRest", settings, script.to_str().unwrap(), stores, folder)
    }

    pub fn php_sdk() -> Kit {
        let folder = tempfile::tempdir().unwrap();
        Kit::php("b24phpsdk", SHIPPED, &driver("readers.php"), None, folder)
    }

    fn php(
        name: &'static str,
        settings: &[&str],
        script: &str,
        stores: Option<PathBuf>,
        folder: tempfile::TempDir,
    ) -> Kit {
        let process = PhpServer::running(settings, script);
        Kit {
            name,
            address: process.address,
            stores,
            _server: Server::Php {
                _process: process,
                _folder: folder,
            },
        }
    }

    fn python_sdk() -> Kit {
        let mut child = Command::new(fetched("b24pysdk/bin/python"))
            .arg(driver("readers.py"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("b24pysdk: tests/kits/run");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Kit {
            name: "b24pysdk",
            address: line.trim().parse().expect("an address"),
            stores: None,
            _server: Server::Python(child),
        }
    }

    pub fn all() -> [Kit; 4] {
        [
            Kit::crest(SHIPPED),
            Kit::crest(BARE),
            Kit::php_sdk(),
            Kit::python_sdk(),
        ]
    }

    /// A gateway before it, whose route takes every kind of message.
    pub fn gateway(&self) -> Gateway {
        let routes = forms::routes(&[self.address]);
        Gateway::on_every_carrier(routes.replacen("kind = \"widget\"", ACCEPTS, 1))
    }

    /// Round the gateway; none where its server does not take the request's head.
    pub fn ask(&self, bytes: &[u8]) -> Option<Response> {
        let mut conn = Conn::open(self.address);
        conn.is_old = true;
        conn.send_as_far_as_taken(bytes);
        conn.try_response("POST")
    }

    /// What the kit read of the request that was answered so.
    pub fn readings(&self, response: &Response) -> Readings {
        let Some(file) = &self.stores else {
            let told = response.json();
            let readers = told.as_object().expect("an object").iter();
            return readers
                .map(|(reader, told)| (reader.clone(), reading(told)))
                .collect();
        };
        let Ok(stored) = std::fs::read(file) else {
            return Readings::new();
        };
        std::fs::remove_file(file).unwrap();
        let stored = match serde_json::from_slice::<Value>(&stored) {
            Ok(stored) => Ok(texts(&stored, |text| text.as_bytes().to_vec())),
            // What is not UTF-8 is no JSON: an empty file.
            Err(_) => Err(shown(&stored)),
        };
        [("installApp".to_owned(), stored)].into()
    }

    /// Which of its readers a message of a kind is for.
    pub fn reader(&self, kind: &str, code: Option<&str>) -> Option<&'static str> {
        match (self.name, kind, code) {
            ("CRest", "event", Some("ONAPPINSTALL")) => Some("installApp"),
            ("CRest", "placement", Some("DEFAULT")) => Some("installApp"),
            ("b24phpsdk", "placement", _) => Some("PlacementRequest"),
            ("b24phpsdk", "event", Some(_)) => Some("RemoteEventsFactory"),
            ("b24phpsdk", "robot", _) => Some("IncomingRobotRequest"),
            ("b24pysdk", "placement", _) => Some("placement_required"),
            ("b24pysdk", "event", Some(_)) => Some("event_required"),
            ("b24pysdk", "robot", _) => Some("workflow_required"),
            _ => None,
        }
    }

    /// Whether the reader that the message is for took it, and for somebody's. None where the kit has no reader
    /// for it.
    pub fn takes(
        &self,
        response: &Response,
        readings: &Readings,
        what: &str,
    ) -> Option<Result<(), &'static str>> {
        let header = |name: &str| response.header(&format!("X-Bitrix24-{name}"));
        let kind = header("Message")?;
        let reader = self.reader(kind, header("Event").or(header("Placement")))?;
        let facts = match readings.get(reader) {
            Some(Ok(facts)) => facts,
            Some(Err(_)) => return Some(Err(reader)),
            None => panic!("{what}: {reader} does not find it"),
        };
        let (ours, theirs) = (told(response), identity(facts));
        assert_eq!(theirs.domain.is_some(), ours.domain.is_some(), "{what}");
        // CRest goes by the domain where a page is opened.
        if (reader, kind) != ("installApp", "placement") {
            assert_eq!(theirs.member_id.is_some(), ours.member_id.is_some(), "{what}");
        }
        Some(Ok(()))
    }
}

fn reading(told: &Value) -> Result<Facts, String> {
    match told["refused"].as_str() {
        Some(why) => Err(why.to_owned()),
        None => Ok(texts(&told["read"], |hex| {
            let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
            (0..hex.len()).step_by(2).map(digits).collect()
        })),
    }
}

/// What is no text is no opinion that a handler could act on.
fn texts(object: &Value, text: impl Fn(&str) -> Vec<u8>) -> Facts {
    let all = object.as_object().into_iter().flatten();
    all.filter_map(|(name, value)| Some((name.clone(), text(value.as_str()?))))
        .collect()
}

/// A blank says nothing, nor does the address of nobody.
pub fn identity(facts: &Facts) -> Identity {
    let fact = |name: &str| {
        let found = facts.get(name);
        found.filter(|value| !value.trim_ascii().is_empty()).cloned()
    };
    Identity {
        member_id: fact("member_id"),
        domain: fact("domain"),
        endpoint: fact("client_endpoint").filter(|url| *url != b"https://" && *url != b"https:///rest/"),
    }
}

/// What the gateway told the kit, which tells it back.
pub fn told(response: &Response) -> Told {
    let header = |name: &str| {
        let value = response.header(&format!("X-Bitrix24-{name}"));
        value.map(|value| value.as_bytes().to_vec())
    };
    Told {
        member_id: header("Member-Id"),
        domain: header("Domain"),
    }
}
