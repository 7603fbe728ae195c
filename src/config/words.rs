//! The words of the file, and what they mean.

use log::LevelFilter;

use super::values::Words;
use crate::policy::Mode;
use crate::policy::limit::shared::OnError;
use crate::policy::route::{ForwardAs, Upgrade};
use crate::policy::validate::PlaceRule;
use crate::request::field::{Field, MemberIdShape};
use crate::request::message::Kind;
use crate::upstream::headers::CookieRule;

/// What a route does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KindWord {
    /// Bitrix24 widget calls.
    Widget,
    /// Anything else.
    Pass,
}

impl KindWord {
    /// The word of the file.
    pub const fn word(self) -> &'static str {
        match self {
            KindWord::Widget => "widget",
            KindWord::Pass => "pass",
        }
    }
}

impl Words for KindWord {
    const WORDS: &'static [(&'static str, KindWord)] =
        &[("widget", KindWord::Widget), ("pass", KindWord::Pass)];
}

/// A method that can be routed. CONNECT is never served, and TRACE shows a request's secrets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MethodWord(pub &'static str);

impl Words for MethodWord {
    const WORDS: &'static [(&'static str, MethodWord)] = &[
        ("GET", MethodWord("GET")),
        ("HEAD", MethodWord("HEAD")),
        ("POST", MethodWord("POST")),
        ("PUT", MethodWord("PUT")),
        ("PATCH", MethodWord("PATCH")),
        ("DELETE", MethodWord("DELETE")),
        ("OPTIONS", MethodWord("OPTIONS")),
    ];
}

impl Words for Mode {
    const WORDS: &'static [(&'static str, Mode)] = &[("enforce", Mode::Enforce), ("observe", Mode::Observe)];
}

impl Words for OnError {
    const WORDS: &'static [(&'static str, OnError)] = &[
        ("local", OnError::Local),
        ("open", OnError::Open),
        ("closed", OnError::Closed),
    ];
}

impl Words for Kind {
    const WORDS: &'static [(&'static str, Kind)] = &[
        ("placement", Kind::Placement),
        ("event", Kind::Event),
        ("robot", Kind::Robot),
        ("own", Kind::Own),
    ];
}

impl Words for Upgrade {
    const WORDS: &'static [(&'static str, Upgrade)] = &[("websocket", Upgrade::WebSocket)];
}

impl Words for ForwardAs {
    const WORDS: &'static [(&'static str, ForwardAs)] = &[("GET", ForwardAs::Get)];
}

impl Words for PlaceRule {
    const WORDS: &'static [(&'static str, PlaceRule)] =
        &[("any", PlaceRule::Any), ("strict", PlaceRule::Strict)];
}

/// What some message has without being nothing without it.
impl Words for Field {
    const WORDS: &'static [(&'static str, Field)] = &[
        ("APP_SID", Field::AppSid),
        ("AUTH_ID", Field::AuthId),
        ("AUTH_EXPIRES", Field::AuthExpires),
        ("REFRESH_ID", Field::RefreshId),
        ("SERVER_ENDPOINT", Field::ServerEndpoint),
        ("APPLICATION_TOKEN", Field::ApplicationToken),
        ("APPLICATION_SCOPE", Field::ApplicationScope),
        ("status", Field::Status),
        ("PLACEMENT_OPTIONS", Field::PlacementOptions),
        ("event", Field::Event),
        ("workflow_id", Field::WorkflowId),
        ("auth[member_id]", Field::AuthMemberId),
        ("auth[client_endpoint]", Field::AuthClientEndpoint),
        ("auth[server_endpoint]", Field::AuthServerEndpoint),
        ("auth[access_token]", Field::AuthAccessToken),
        ("auth[refresh_token]", Field::AuthRefreshToken),
        ("auth[application_token]", Field::AuthApplicationToken),
    ];
}

impl Words for MemberIdShape {
    const WORDS: &'static [(&'static str, MemberIdShape)] =
        &[("hex32", MemberIdShape::Hex32), ("token", MemberIdShape::Token)];
}

impl Words for CookieRule {
    const WORDS: &'static [(&'static str, CookieRule)] = &[
        ("strip", CookieRule::Strip),
        ("refuse", CookieRule::Refuse),
        ("keep", CookieRule::Keep),
    ];
}

impl Words for LevelFilter {
    const WORDS: &'static [(&'static str, LevelFilter)] = &[
        ("error", LevelFilter::Error),
        ("warn", LevelFilter::Warn),
        ("info", LevelFilter::Info),
        ("debug", LevelFilter::Debug),
    ];
}
