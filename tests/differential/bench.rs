//! A gateway, an upstream that echoes, and PHP under two settings; a worker sends cases through all.

use super::grammar::Case;
use super::judge;
use crate::common::forms;
use crate::common::php::{Parse, PhpConn, PhpWorkers, Seen};
use crate::common::{Conn, Gateway, Received, Reply, Upstream, shown};

/// With `request_order=GP`, as every php.ini that PHP ships says, and without any php.ini, as stock
/// container images run: there `$_REQUEST` takes cookies, and before the form.
const PROFILES: [&[&str]; 2] = [&["-d", "request_order=GP"], &["-n"]];

pub struct Bench {
    pub gateway: Gateway,
    _upstream: Upstream,
    php: std::sync::Mutex<[PhpWorkers; 2]>,
}

pub struct Worker<'b> {
    gateway: &'b Gateway,
    conn: Option<Conn>,
    php: [PhpConn; 2],
}

/// What became of a case.
#[derive(Debug)]
pub enum Became {
    /// The problem's code, and its errors as `FIELD code`.
    Refused { code: String, errors: Vec<String> },
    /// What PHP reads otherwise than the gateway; empty is good.
    Forwarded { disagreements: Vec<String> },
}

impl std::fmt::Display for Became {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Became::Refused { code, errors } => write!(f, "refused as {code}: {}", errors.join(", ")),
            Became::Forwarded { disagreements } => write!(f, "forwarded\n{}", disagreements.join("\n")),
        }
    }
}

impl Became {
    pub fn disagrees(&self) -> bool {
        matches!(self, Became::Forwarded { disagreements } if !disagreements.is_empty())
    }

    pub fn refused_as(&self) -> Option<&str> {
        match self {
            Became::Refused { code, .. } => Some(code),
            Became::Forwarded { .. } => None,
        }
    }
}

impl Bench {
    /// `more` is appended to the configuration.
    pub fn start(more: &str) -> Bench {
        Bench::of("", more)
    }

    /// Whose route takes every kind of message.
    pub fn of_all_messages() -> Bench {
        Bench::of("accepts = [\"placement\", \"event\", \"robot\", \"own\"]", "")
    }

    fn of(route: &str, more: &str) -> Bench {
        let upstream = Upstream::replying(Reply::Echo);
        let routes = forms::routes(&[upstream.address]);
        let routes = routes.replacen("kind = \"widget\"", &format!("kind = \"widget\"\n{route}"), 1);
        let gateway = Gateway::start(format!("{routes}{more}"));
        let php = std::sync::Mutex::new(PROFILES.map(PhpWorkers::start));
        Bench {
            gateway,
            _upstream: upstream,
            php,
        }
    }

    /// At most two at a time: each PHP has two workers, and a kept connection takes one.
    pub fn worker(&self) -> Worker<'_> {
        let mut php = self.php.lock().unwrap();
        let [first, second] = &mut *php;
        Worker {
            gateway: &self.gateway,
            conn: None,
            php: [first.connect(), second.connect()],
        }
    }
}

impl Worker<'_> {
    pub fn run(&mut self, case: &Case) -> Became {
        let mut conn = self.conn.take().unwrap_or_else(|| self.gateway.connect());
        let bytes = case.bytes();
        conn.send_as_far_as_taken(&bytes);
        let response = conn
            .try_response("POST")
            .unwrap_or_else(|| panic!("no answer to {}", shown(&bytes)));
        if response.header("Connection") != Some("close") {
            self.conn = Some(conn);
        }
        if response.status == 200 {
            let forwarded = Received::echoed(&response.body);
            assert_eq!(
                shown(&forwarded.query()),
                shown(&case.query()),
                "the query was changed"
            );
            assert_eq!(
                shown(&forwarded.body),
                shown(&case.body()),
                "the body was changed"
            );
            return Became::Forwarded {
                disagreements: self.disagreements(&forwarded),
            };
        }
        assert!(
            (400..500).contains(&response.status),
            "{} for {}",
            response.status,
            shown(&bytes)
        );
        if response.body.is_empty() {
            // The engine has its own idea of what a head may hold, and answers without a body.
            return Became::Refused {
                code: "engine".to_owned(),
                errors: Vec::new(),
            };
        }
        let problem = response.json();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let errors = problem["errors"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter();
        Became::Refused {
            code: text(&problem["code"]),
            errors: errors
                .map(|e| format!("{} {}", text(&e["field"]), text(&e["code"])))
                .collect(),
        }
    }

    fn disagreements(&mut self, forwarded: &Received) -> Vec<String> {
        let mut found = Vec::new();
        for (profile, php) in PROFILES.iter().zip(&mut self.php) {
            let seen = parse(php, forwarded);
            for disagreement in judge::disagreements(forwarded, &seen) {
                found.push(format!("{profile:?}: {disagreement}\n{}", seen.known()));
            }
        }
        found
    }

    /// What PHP with `request_order=GP` makes of a case that goes round the gateway.
    pub fn php_alone(&mut self, case: &Case) -> Seen {
        self.php[0].parse(&Parse {
            query: &case.query(),
            content_type: b"application/x-www-form-urlencoded",
            cookie: None,
            body: &case.body(),
        })
    }
}

/// Exactly what was forwarded; several Cookie lines become one, as every web server does it.
fn parse(php: &mut PhpConn, forwarded: &Received) -> Seen {
    let cookies = forwarded.values("Cookie");
    let content_type = forwarded.values("Content-Type");
    assert_eq!(content_type.len(), 1, "{}", shown(&forwarded.head));
    php.parse(&Parse {
        query: &forwarded.query(),
        content_type: &content_type[0],
        cookie: (!cookies.is_empty()).then(|| cookies.join(&b"; "[..])).as_deref(),
        body: &forwarded.body,
    })
}
