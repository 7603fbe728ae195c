//! A real Prometheus in a folder of its own, and its API.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{Conn, PATIENCE};

pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes the targets of each job and judges the rules, both at this pace.
    pub fn start(jobs: &[(&str, Vec<SocketAddr>)], rules: &str, pace: Duration) -> Prometheus {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("rules.yml"), rules).unwrap();
        let config = format!(
            "global:\n  scrape_interval: {pace}ms\n  evaluation_interval: {pace}ms\n\
             rule_files: [rules.yml]\n\
             scrape_configs:\n{}",
            jobs.iter().map(job).collect::<String>(),
            pace = pace.as_millis()
        );
        std::fs::write(path("prometheus.yml"), config).unwrap();
        let mut child = Command::new("prometheus")
            .arg(format!("--config.file={}", path("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", path("data").display()))
            .args(["--web.listen-address=127.0.0.1:0", "--log.format=json"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("prometheus: {e}; {}", super::INSTALL));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (told, line) = mpsc::channel();
        // Reads on after the answer, so that Prometheus never waits for a reader.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = told.send(line);
            }
        });
        let mut said = Vec::new();
        let address = loop {
            let Ok(line) = line.recv_timeout(PATIENCE) else {
                panic!("Prometheus does not listen:\n{}", said.join("\n"));
            };
            let parsed: Value = serde_json::from_str(&line).unwrap_or_default();
            if parsed["msg"] == "Listening on" {
                break parsed["address"].as_str().unwrap().parse().unwrap();
            }
            said.push(line);
        };
        Prometheus {
            child,
            address,
            _folder: folder,
        }
    }

    /// `data` of an answer of the API.
    pub fn api(&self, path: &str, form: &str) -> Value {
        let mut conn = Conn::open(self.address);
        let method = if form.is_empty() { "GET" } else { "POST" };
        let answer = conn.roundtrip(format!(
            "{method} /api/v1/{path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            self.address,
            form.len()
        ));
        if answer.status == 503 {
            return Value::Null;
        }
        let json = answer.json();
        assert_eq!(json["status"], "success", "{path} {form}: {json}");
        json["data"].clone()
    }

    /// The labels of every series that the expression yields now.
    pub fn query(&self, expression: &str) -> Vec<Value> {
        let form = format!("query={}", encoded(expression));
        let data = self.api("query", &form);
        let result = data["result"].as_array().cloned().unwrap_or_default();
        result.iter().map(|series| series["metric"].clone()).collect()
    }

    /// Asks until there is an answer to the question.
    pub fn wait<T>(&self, what: &str, ask: impl Fn(&Prometheus) -> Result<T, String>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match ask(self) {
                Ok(found) => return found,
                Err(instead) => assert!(Instant::now() < deadline, "not {what}: {instead}"),
            }
        }
    }

    /// The names of the alerts that fire.
    pub fn firing(&self) -> Vec<String> {
        let names: BTreeSet<_> = self.alerts().into_iter().map(|(_, name)| name).collect();
        names.into_iter().collect()
    }

    /// Job and name of each alert that fires.
    pub fn alerts(&self) -> BTreeSet<(String, String)> {
        let alerts = self.api("alerts", "");
        let alerts = alerts["alerts"].as_array().cloned().unwrap_or_default();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        let text = |label: &Value| label.as_str().unwrap_or_default().to_owned();
        firing
            .map(|alert| (text(&alert["labels"]["job"]), text(&alert["labels"]["alertname"])))
            .collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn job((name, targets): &(&str, Vec<SocketAddr>)) -> String {
    let targets: Vec<_> = targets.iter().map(|target| format!("\"{target}\"")).collect();
    format!(
        "  - job_name: {name}\n    static_configs:\n      - targets: [{}]\n",
        targets.join(", ")
    )
}

fn encoded(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02x}")).collect()
}
