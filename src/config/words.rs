//! The words of the file, and what they mean.

use http::Method;
use log::LevelFilter;

use super::values::Words;
use super::verify::MethodWord;
use crate::policy::Mode;
use crate::policy::frame::{AncestorsRule, SetCookieRule};
use crate::policy::limit::shared;
use crate::policy::route::{ForwardAs, Upgrade};
use crate::policy::validate::PlaceRule;
use crate::policy::verify;
use crate::request::field::{Field, MemberIdShape};
use crate::request::message::Kind;
use crate::upstream::balance::Balance;
use crate::upstream::headers::CookieRule;

/// What a route does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KindWord {
    /// Bitrix24 widget calls.
    Widget,
    /// Anything else.
    Pass,
}

macro_rules! words {
    ($($of:ty { $($word:literal = $meaning:ident,)+ })+) => {$(
        impl Words for $of {
            const WORDS: &'static [(&'static str, $of)] = &[$(($word, <$of>::$meaning)),+];
        }
    )+};
}

words! {
    KindWord { "widget" = Widget, "pass" = Pass, }
    // CONNECT is never served, and TRACE shows a request's secrets.
    Method {
        "GET" = GET, "HEAD" = HEAD, "POST" = POST, "PUT" = PUT, "PATCH" = PATCH, "DELETE" = DELETE,
        "OPTIONS" = OPTIONS,
    }
    Mode { "enforce" = Enforce, "observe" = Observe, }
    shared::OnError { "local" = Local, "open" = Open, "closed" = Closed, }
    verify::OnError { "open" = Open, "closed" = Closed, }
    MethodWord { "app_info" = AppInfo, "application_token" = ApplicationToken, }
    Kind { "placement" = Placement, "event" = Event, "robot" = Robot, "own" = Own, }
    Upgrade { "websocket" = WebSocket, }
    ForwardAs { "GET" = Get, }
    PlaceRule { "any" = Any, "strict" = Strict, }
    MemberIdShape { "hex32" = Hex32, "token" = Token, }
    CookieRule { "strip" = Strip, "refuse" = Refuse, "keep" = Keep, }
    AncestorsRule { "portal" = Portal, "keep" = Keep, }
    SetCookieRule { "partitioned" = Partitioned, "keep" = Keep, }
    Balance { "round_robin" = RoundRobin, "least_connections" = LeastConnections, "member_id" = MemberId, }
    LevelFilter { "error" = Error, "warn" = Warn, "info" = Info, "debug" = Debug, }
    // What some message has without being nothing without it.
    Field {
        "APP_SID" = AppSid,
        "AUTH_ID" = AuthId,
        "AUTH_EXPIRES" = AuthExpires,
        "REFRESH_ID" = RefreshId,
        "SERVER_ENDPOINT" = ServerEndpoint,
        "APPLICATION_TOKEN" = ApplicationToken,
        "APPLICATION_SCOPE" = ApplicationScope,
        "status" = Status,
        "PLACEMENT_OPTIONS" = PlacementOptions,
        "event" = Event,
        "workflow_id" = WorkflowId,
        "auth[member_id]" = AuthMemberId,
        "auth[client_endpoint]" = AuthClientEndpoint,
        "auth[server_endpoint]" = AuthServerEndpoint,
        "auth[access_token]" = AuthAccessToken,
        "auth[refresh_token]" = AuthRefreshToken,
        "auth[application_token]" = AuthApplicationToken,
    }
}
