//! `[widget.frame]` as types.

use schemars::JsonSchema;
use serde::Deserialize;

use super::values::{At, Word, given_or};
use crate::policy::frame::{AncestorsRule, FrameRules, SetCookieRule, StoreRule};

/// What answers say that are shown in a frame of a portal; without this table what the handler says.
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct FrameTable {
    /// Who may show the answer to a widget call in a frame: `portal`, the calling one alone, or `keep` what the
    /// handler says.
    #[schemars(extend("default" = "portal"))]
    pub ancestors: Option<At<Word<AncestorsRule>>>,
    /// Cookies that the answer sets: `partitioned`, so that browsers take them in a frame of another site, or
    /// `keep` them as they are.
    #[schemars(extend("default" = "partitioned"))]
    pub cookies: Option<At<Word<SetCookieRule>>>,
    /// Whether no cache keeps the answer, and its address goes to no other origin.
    #[schemars(extend("default" = true))]
    pub no_store: Option<At<bool>>,
}

impl FrameTable {
    /// With every default filled in.
    pub(super) fn rules(&self) -> FrameRules {
        let default = FrameRules::default();
        FrameRules {
            ancestors: given_or(&self.ancestors, default.ancestors),
            cookies: given_or(&self.cookies, default.cookies),
            store: match given_or(&self.no_store, true) {
                false => StoreRule::Keep,
                true => StoreRule::NoStore,
            },
        }
    }
}
