//! What a decision depends on, besides the request and the time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::policy::frame::FrameRules;
use crate::policy::judge::Grammar;
use crate::policy::limit::Limits;
use crate::policy::route::Routes;
use crate::policy::verify::VerifyRules;
use crate::request::field::{FieldFault, MemberIdShape, ServerEndpoints};
use crate::response::page::Template;
use crate::upstream::caller::TrustedProxies;
use crate::upstream::headers::CookieRule;
use crate::upstream::pool::Upstream;

/// Everything a decision depends on, besides the request and the time.
#[derive(Default)]
pub struct Env {
    /// Paths to routes.
    pub routes: Routes,
    /// How widget routes read.
    pub widget: WidgetRules,
    /// `[verify]`; none where nobody is verified.
    pub verify: Option<VerifyRules>,
    /// `[limits]`
    pub limits: Limits,
    /// By name; the configuration has made sure that every route's is there.
    pub upstreams: HashMap<Arc<str>, Arc<Upstream>>,
    /// Whose forwarding headers are believed.
    pub trusted: TrustedProxies,
}

/// `[widget]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WidgetRules {
    /// The largest body, in bytes.
    pub body_limit: usize,
    /// For the whole body.
    pub body_timeout: Duration,
    /// All bodies held at once, in bytes.
    pub held_bodies: usize,
    /// Parameters in the query, and in the body.
    pub max_params: usize,
    /// How strictly `member_id` is read.
    pub member_id: MemberIdShape,
    /// What happens to cookies named like a field.
    pub cookies: CookieRule,
    /// Where tokens may be sent.
    pub server_endpoints: ServerEndpoints,
    /// What answers say that are shown in a frame; none: what the handler says.
    pub frame: Option<FrameRules>,
    /// The operator's page for refusals.
    pub refusal_page: Option<Arc<Template>>,
}

impl Default for WidgetRules {
    fn default() -> WidgetRules {
        WidgetRules {
            body_limit: 1024 * 1024,
            body_timeout: Duration::from_secs(10),
            held_bodies: 256 * 1024 * 1024,
            max_params: 1000,
            member_id: MemberIdShape::Hex32,
            cookies: CookieRule::Strip,
            server_endpoints: ServerEndpoints::default(),
            frame: None,
            refusal_page: None,
        }
    }
}

impl WidgetRules {
    pub(super) fn grammar(&self) -> Grammar<'_> {
        Grammar {
            member_id: self.member_id,
            server_endpoints: &self.server_endpoints,
        }
    }

    /// Those of the shadowing cookies that are a fault.
    pub(super) fn refused<'c>(&self, cookies: &'c [FieldFault]) -> &'c [FieldFault] {
        match self.cookies {
            CookieRule::Refuse => cookies,
            CookieRule::Strip | CookieRule::Keep => &[],
        }
    }
}
