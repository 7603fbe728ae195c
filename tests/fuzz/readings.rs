//! What readers behind the gateway make of a form, and what has to hold of it.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, header};
use widget_gateway::pipeline::Forward;
use widget_gateway::request::field::{Domain, Field};
use widget_gateway::request::form::{Form, Reading};
use widget_gateway::request::message::Kind;

use super::super::others::{self, Misread};
use super::super::php::{self, Event, Key, Path, Seen};

/// Pairs as browsers and most libraries read them.
pub type Whatwg<'a> = [(Cow<'a, str>, Cow<'a, str>)];

/// What readers behind the gateway make of the two parts.
pub struct Readings {
    /// The query at `&`, the query at `&` and `;`, the body, as PHP reads them.
    php: [Seen; 3],
    others: Vec<Misread>,
}

/// What PHP finds of one field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    Text(Vec<u8>),
    Array,
    Deleted,
}

impl Readings {
    pub fn of(query: &[u8], body: &[u8]) -> Readings {
        Readings {
            php: [
                php::read(query, b"&"),
                php::read(query, b"&;"),
                php::read(body, b"&"),
            ],
            others: others::misread(query, body),
        }
    }

    fn found(&self, field: Field) -> impl Iterator<Item = Found> {
        self.php.iter().flat_map(move |seen| of(seen, field))
    }

    /// Found under a name, or as an array, that PHP does not read so.
    fn has_alias(&self, field: Field) -> bool {
        let own = php::path(field.name());
        self.others
            .iter()
            .any(|other| matches!(other, Misread::Name(path) if path.starts_with(&own)))
    }

    /// The name and value are split elsewhere than PHP does.
    fn is_split_elsewhere(&self, field: Field) -> bool {
        self.others
            .iter()
            .any(|other| matches!(other, Misread::Value(name) if name == field.name().as_bytes()))
    }

    fn under_auth(&self) -> impl Iterator<Item = &(Path, Event)> {
        let auth = php::path("auth");
        let all = self.php.iter().flatten();
        all.filter(move |(path, _)| path.starts_with(&auth))
    }

    /// Whether PHP finds an array of this name, or has deleted one.
    fn has_auth(&self) -> bool {
        self.under_auth()
            .any(|(path, event)| path.len() > 1 || *event == Event::Deleted)
    }

    /// Every variable under `auth` is one text, whichever of the parts is read.
    fn auth_is_one(&self) {
        if !self.has_auth() {
            return;
        }
        let all: Vec<_> = self.under_auth().collect();
        for (path, event) in &all {
            assert!(!path.contains(&Key::Next), "PHP counts the keys of {path:?}");
            let Event::Text(text) = event else {
                panic!("{path:?} is deleted");
            };
            for (other, event) in &all {
                let is_same = match event {
                    Event::Text(other) => {
                        let field = Field::ALL
                            .into_iter()
                            .find(|field| php::path(field.name()) == *path);
                        field.map_or(text == other, |field| field.is_same(text, other))
                    }
                    Event::Deleted => false,
                };
                assert!(path != other || is_same, "{path:?} is two values");
                assert!(
                    path == other || !other.starts_with(path),
                    "{path:?} is a text and an array"
                );
            }
        }
    }
}

fn of(seen: &Seen, field: Field) -> impl Iterator<Item = Found> {
    let own = php::path(field.name());
    seen.iter().filter_map(move |(path, event)| match event {
        Event::Text(text) if *path == own => Some(Found::Text(text.clone())),
        Event::Text(_) if path.starts_with(&own) => Some(Found::Array),
        Event::Text(_) => None,
        Event::Deleted => own.starts_with(path).then_some(Found::Deleted),
    })
}

/// A value means that every reading of both parts has this value and no other; absence, that none has
/// any; and a fault, that there is something to be at fault.
pub fn one_opinion(form: &Form<'_>, readings: &Readings, whatwg: &Whatwg<'_>) {
    // `PLACEMENT[OPTIONS` is one field to PHP and another to qs: a fault of one of them is enough.
    let is_refused = form.faults().next().is_some();
    for field in Field::ALL {
        if field != Field::Auth {
            one_opinion_about(field, form, readings, whatwg, is_refused);
        }
    }
    let has_alias = readings.has_alias(Field::Auth);
    assert!(!readings.has_auth() || form.has_auth(), "auth is overlooked");
    assert!(
        !form.has_auth() || readings.has_auth() || has_alias,
        "nobody finds auth"
    );
    if !is_refused {
        assert!(!has_alias, "Rack 2 or qs find another path under auth");
        readings.auth_is_one();
    }
}

fn one_opinion_about(
    field: Field,
    form: &Form<'_>,
    readings: &Readings,
    whatwg: &Whatwg<'_>,
    is_refused: bool,
) {
    let name = field.name();
    let has_alias = readings.has_alias(field);
    let first = readings.found(field).next();
    match form.reading(field) {
        Reading::Value(value) => {
            assert!(first.is_some(), "{name}: a value that PHP does not have");
            for found in readings.found(field) {
                assert!(
                    matches!(&found, Found::Text(text) if field.is_same(text, value))
                        || found == Found::Deleted && is_refused,
                    "{name}: {found:?} beside {:?}",
                    value.escape_ascii().to_string()
                );
            }
            assert!(
                !has_alias || is_refused,
                "{name}: also under a name that Rack 2 or qs read so"
            );
            if field != Field::PlacementOptions {
                assert!(
                    !readings.is_split_elsewhere(field),
                    "{name}: qs splits it elsewhere"
                );
                assert!(std::str::from_utf8(value).is_ok(), "{name}: not UTF-8");
                // The reader of browsers and of most libraries.
                for (_, other) in whatwg.iter().filter(|(other, _)| other == name) {
                    assert!(
                        field.is_same(other.as_bytes(), value),
                        "{name}: WHATWG reads otherwise"
                    );
                }
            }
        }
        Reading::Absent => {
            let is_overlooked = first.is_some_and(|found| found != Found::Deleted) || has_alias;
            assert!(!is_overlooked || is_refused, "{name} is overlooked");
        }
        Reading::Faulty(code) => {
            assert!(first.is_some() || has_alias, "{name}: {code:?} without a cause");
        }
    }
}

/// Accepted means unique: for each name that the message is judged by, whatever the order of precedence and
/// the separators, PHP has one text for it, in query and body together, and our headers tell that text.
pub fn unique(kind: Kind, forward: &Forward, headers: &HeaderMap, query: &[u8], body: &[u8], length: usize) {
    let readings = Readings::of(query, body);
    let mut texts: [Option<Vec<u8>>; Field::COUNT] = Default::default();
    let judged =
        |field: &Field| *field != Field::Auth && (kind != Kind::Own || Field::OF_IDENTITY.has(*field));
    for field in Field::ALL.into_iter().filter(judged) {
        for found in readings.found(field) {
            let Found::Text(text) = found else {
                panic!("{}: {found:?} was forwarded", field.name());
            };
            let first = texts[field.index()].get_or_insert_with(|| text.clone());
            assert!(
                field.is_same(first, &text),
                "{}: two values were forwarded",
                field.name()
            );
        }
        assert!(
            !readings.has_alias(field),
            "{}: an alias was forwarded",
            field.name()
        );
    }
    assert!(
        !readings.has_alias(Field::Auth),
        "an alias under auth was forwarded"
    );
    readings.auth_is_one();
    let text = |field: Field| {
        let text = texts[field.index()].as_deref();
        text.filter(|text| !text.trim_ascii().is_empty())
    };
    let is_there = |field: Field| readings.found(field).next().is_some();
    for (field, other) in [
        (Field::AuthMemberId, Field::MemberId),
        (Field::AuthDomain, Field::Domain),
    ] {
        if let (Some(a), Some(b)) = (text(field), text(other)) {
            assert!(
                field.is_same(a, b),
                "{} and {}: two portals",
                field.name(),
                other.name()
            );
        }
    }
    let placement = is_there(Field::Placement) || is_there(Field::PlacementOptions);
    let (event, robot) = (is_there(Field::Event), is_there(Field::EventToken));
    let required: &[Field] = match kind {
        Kind::Placement => {
            assert!(
                !readings.has_auth() || !event && !robot,
                "another message in a placement"
            );
            &[
                Field::Domain,
                Field::Protocol,
                Field::Lang,
                Field::MemberId,
                Field::Placement,
            ]
        }
        Kind::Event => {
            assert!(readings.has_auth() && !placement && !robot, "no event");
            &[Field::AuthDomain]
        }
        Kind::Robot => {
            assert!(readings.has_auth() && !placement && !event, "no robot");
            &[Field::EventToken, Field::AuthDomain, Field::AuthMemberId]
        }
        Kind::Own => {
            assert!(
                !readings.has_auth() && !placement,
                "another message in an own one"
            );
            &[]
        }
    };
    for field in required {
        assert!(text(*field).is_some(), "{}: forwarded without it", field.name());
    }
    let (domain, member) = match kind {
        Kind::Placement | Kind::Own => (text(Field::Domain), text(Field::MemberId)),
        Kind::Event | Kind::Robot => (
            text(Field::AuthDomain),
            text(Field::AuthMemberId).or_else(|| text(Field::MemberId)),
        ),
    };
    let domain = domain.map(|domain| Domain::parse(domain).expect("a sound domain"));
    assert_eq!(
        set(forward, "X-Bitrix24-Domain"),
        domain.as_ref().map(|domain| domain.as_str().as_bytes()),
        "domain"
    );
    assert_eq!(set(forward, "X-Bitrix24-Member-Id"), member, "member");
    let of = |wanted: Kind, field: Field| (kind == wanted).then(|| text(field)).flatten();
    for (header, value) in [
        ("X-Bitrix24-Lang", of(Kind::Placement, Field::Lang)),
        ("X-Bitrix24-Placement", of(Kind::Placement, Field::Placement)),
        ("X-Bitrix24-App-Sid", of(Kind::Placement, Field::AppSid)),
        ("X-Bitrix24-Status", of(Kind::Placement, Field::Status)),
        ("X-Bitrix24-Event", of(Kind::Event, Field::Event)),
        (
            "X-Bitrix24-Message",
            (kind != Kind::Own).then(|| kind.label().as_bytes()),
        ),
    ] {
        assert_eq!(set(forward, header), value, "{header}");
    }
    no_cookie_shadows(forward, headers, readings.has_auth());
    let length = length.to_string();
    assert_eq!(set(forward, "Content-Length"), Some(length.as_bytes()), "length");
}

/// What is left of the cookies holds no known name either, decoded or not.
fn no_cookie_shadows(forward: &Forward, headers: &HeaderMap, has_auth: bool) {
    let cookies = match set(forward, "Cookie") {
        Some(cookie) => cookie.to_vec(),
        None if forward.rewrite.remove.contains(&header::COOKIE) => Vec::new(),
        None => headers
            .get_all(header::COOKIE)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect::<Vec<_>>()
            .join(&b"; "[..]),
    };
    for decode_names in [false, true] {
        let seen = php::read_cookies(&cookies, decode_names);
        for field in Field::ALL {
            let is_shadow = |found: Found| match (field, found) {
                // A text of that name claims nothing where there is no array of it.
                (Field::Auth, Found::Text(_)) => has_auth,
                _ => true,
            };
            assert!(
                !of(&seen, field).any(is_shadow),
                "{}: a cookie shadows it",
                field.name()
            );
        }
    }
}

/// The value of a header that is set, once.
pub fn set<'f>(forward: &'f Forward, name: &str) -> Option<&'f [u8]> {
    let mut found = forward
        .rewrite
        .to_set()
        .filter(|(set, _)| set.eq_ignore_ascii_case(name));
    let value = found.next().map(|(_, value)| value);
    assert!(found.next().is_none(), "{name} is set twice");
    value
}

/// Every text that PHP finds for some of the fields.
pub fn texts(fields: impl IntoIterator<Item = Field>, query: &[u8], body: &[u8]) -> Vec<Vec<u8>> {
    let seen = [php::read(query, b"&"), php::read(body, b"&")];
    let found = fields.into_iter().flat_map(|field| {
        seen.iter()
            .flat_map(move |seen| of(seen, field))
            .collect::<Vec<_>>()
    });
    found
        .filter_map(|found| match found {
            Found::Text(text) => Some(text),
            Found::Array | Found::Deleted => None,
        })
        .collect()
}
