//! What a message shows for who it says it is.

use std::fmt;
use std::time::Duration;

use super::method::{AuthServer, Method, VerifyRules};
use super::verdict::{Unknown, Verdict, Wrong};
use crate::policy::validate::Known;
use crate::request::authority::Authority;
use crate::request::field::Field;
use crate::request::form::Form;
use crate::request::message::Kind;

/// No genuine token is longer, in bytes.
const LONGEST: usize = 1024;

/// What a message shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Claim {
    /// What comes of it without a question to anybody.
    Settled(Verdict),
    /// A token that an authorization server knows the owner of.
    Ask(Ask),
}

/// Whom to ask about which token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ask {
    /// The user's.
    pub token: Token,
    /// Which of the servers, by its index.
    pub server: usize,
    /// For how long the token is good, as the message says.
    pub expires: Option<Duration>,
}

/// A secret that is held for the time of a request and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<str>);

impl Token {
    /// Its text: for a hash, and for the server that is asked about it.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl Claim {
    /// What a sound message shows.
    pub fn of(rules: &VerifyRules, kind: Kind, known: Known<'_>, form: &Form<'_>) -> Claim {
        let are_two = |field, other| match (shown(form, field), shown(form, other)) {
            (Some(one), Some(other)) => one != other,
            (Some(_) | None, _) => false,
        };
        // A handler may go by either, and only one of them would be vouched for.
        if are_two(Field::AuthId, Field::AuthAccessToken)
            || are_two(Field::ApplicationToken, Field::AuthApplicationToken)
        {
            return Claim::Settled(Verdict::Unknown(Unknown::Unsound));
        }
        match &rules.method {
            Method::AppInfo { servers, .. } => Claim::of_user(servers, kind, form),
            Method::ApplicationToken(pins) => {
                let token = match kind {
                    Kind::Placement | Kind::Own => Field::ApplicationToken,
                    Kind::Event | Kind::Robot => Field::AuthApplicationToken,
                };
                let pinned = known.member_id.and_then(|member| pins.of(member));
                Claim::Settled(match (shown(form, token), pinned, kind) {
                    (None, _, Kind::Own) => Verdict::Unknown(Unknown::NoClaim),
                    (_, None, _) => Verdict::Unknown(Unknown::NotPinned),
                    (None, Some(_), _) => Verdict::No(Wrong::NoToken),
                    (Some(token), Some(pinned), _) => match pinned.is(token.as_bytes()) {
                        true => Verdict::Yes(None),
                        false => Verdict::No(Wrong::ApplicationToken),
                    },
                })
            }
        }
    }

    fn of_user(servers: &[AuthServer], kind: Kind, form: &Form<'_>) -> Claim {
        let (token, server, expires) = match kind {
            Kind::Placement | Kind::Own => (
                Field::AuthId,
                Field::ServerEndpoint,
                shown(form, Field::AuthExpires),
            ),
            Kind::Event | Kind::Robot => (Field::AuthAccessToken, Field::AuthServerEndpoint, None),
        };
        match shown(form, token) {
            None => Claim::Settled(without_token(kind)),
            // No server has given it out.
            Some(token) if token.len() > LONGEST => Claim::Settled(Verdict::No(Wrong::BadToken)),
            Some(token) => Claim::Ask(Ask {
                token: Token(token.into()),
                server: named(servers, shown(form, server)),
                expires: expires
                    .and_then(|seconds| seconds.parse().ok())
                    .map(Duration::from_secs),
            }),
        }
    }
}

/// The one value of a field; what is blank is not there.
fn shown<'f>(form: &'f Form<'_>, field: Field) -> Option<&'f str> {
    let text = std::str::from_utf8(form.value(field)?).ok()?;
    (!text.trim_ascii().is_empty()).then_some(text)
}

/// The server whose host a message names. Where it names none of ours the first is asked, and never the one that
/// was named.
fn named(servers: &[AuthServer], endpoint: Option<&str>) -> usize {
    let host = endpoint.and_then(|url| {
        let authority = url.split_once("://")?.1.split('/').next()?;
        Some(Authority::parse(authority.strip_suffix(':').unwrap_or(authority))?.host)
    });
    host.and_then(|host| servers.iter().position(|server| server.host.has_host(host)))
        .unwrap_or(0)
}

/// What a message without a token is. A user's call and a robot's always have one; an event that no user caused
/// has none, and the handler's own page need not say who it is.
const fn without_token(kind: Kind) -> Verdict {
    match kind {
        Kind::Placement | Kind::Robot => Verdict::No(Wrong::NoToken),
        Kind::Event => Verdict::Unknown(Unknown::NothingShown),
        Kind::Own => Verdict::Unknown(Unknown::NoClaim),
    }
}
