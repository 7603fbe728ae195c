//! What a claim and the answer to its question come to.

use std::sync::Arc;

use super::app_info::AppInfo;
use super::claim::Claim;
use super::method::{Method, OnError, VerifyRules};
use super::verdict::{Unknown, Unproven, Verdict, Wrong};
use crate::policy::validate::Known;

/// What an authorization server said of a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    /// Whose it is.
    Info(Arc<AppInfo>),
    /// It is none, or no longer.
    NoToken,
    /// Nothing that can be used.
    Nothing(Unknown),
    /// It was not asked: the token is taken for that of whom the message names. For a message in words, which
    /// reaches no handler.
    Assumed,
}

impl VerifyRules {
    /// What a claim comes to, of a message of which this is known. `said` is the answer where a server was to
    /// be asked.
    pub fn judge(&self, claim: &Claim, known: Known<'_>, said: Option<&Said>) -> Verdict {
        match claim {
            Claim::Settled(verdict) => *verdict,
            Claim::Ask(_) => match (said, &self.method) {
                (Some(Said::Info(info)), Method::AppInfo { client_id, .. }) => {
                    match (info.contradicts(client_id, known), known.member_id, known.domain) {
                        (Some(wrong), _, _) => Verdict::No(wrong),
                        // Whoever names no portal could be any portal's user.
                        (None, None, None) => Verdict::Unknown(Unknown::NoClaim),
                        (None, _, _) => Verdict::Yes(info.user_id),
                    }
                }
                (Some(Said::Assumed), _) => Verdict::Yes(None),
                (Some(Said::NoToken), _) => Verdict::No(Wrong::BadToken),
                (Some(Said::Nothing(unknown)), _) => Verdict::Unknown(*unknown),
                // Whoever has to ask and does not, knows nothing.
                (Some(Said::Info(_)), Method::ApplicationToken(_)) | (None, _) => {
                    Verdict::Unknown(Unknown::Unreachable)
                }
            },
        }
    }

    /// Whether the verdict keeps a message from its handler.
    pub fn refuses(&self, verdict: Verdict) -> Option<Unproven> {
        match (verdict, self.on_error) {
            (Verdict::Yes(_), _) => None,
            (Verdict::No(wrong), _) => Some(Unproven::Wrong(wrong)),
            // Who claims nothing is taken for nobody.
            (Verdict::Unknown(Unknown::NoClaim), _) | (Verdict::Unknown(_), OnError::Open) => None,
            (Verdict::Unknown(unknown), OnError::Closed) => Some(Unproven::Unknown(unknown)),
        }
    }
}
