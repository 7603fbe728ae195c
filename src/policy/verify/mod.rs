//! Who is calling. Nothing in a call is signed, so it is what its sender says it is, until somebody who can know
//! vouches for it (`[verify]`): the authorization server for the token of the user, or the operator for the
//! token that the application has on a portal.
//!
//! Everything here is pure. A [`Claim`] is what a message shows, a [`Said`] what an authorization server says of
//! it, a [`Verdict`] what the two come to; the server is asked by [`oauth`](crate::oauth).

mod app_info;
mod claim;
mod pins;

use std::sync::Arc;

use super::Mode;
use super::validate::Known;
use crate::request::field::Domain;
use crate::request::message::Kind;
pub use app_info::{AppInfo, UserId};
pub use claim::{Ask, Claim, Token};
pub use pins::{BadLine, Pins};

/// How callers are verified: `[verify]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifyRules {
    /// What it leads to where a caller is not who he says.
    pub mode: Mode,
    /// What becomes of a call of which nobody can say whose it is.
    pub on_error: OnError,
    /// Who vouches.
    pub method: Method,
}

/// What becomes of a call of which nobody can say whose it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnError {
    /// It goes on, and the handler is told.
    #[default]
    Open,
    /// It is refused, as one that is known to be false.
    Closed,
}

/// Who vouches for a caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Method {
    /// An authorization server, by `app.info`.
    AppInfo {
        /// Of the application; the token of another one proves nothing here.
        client_id: Arc<str>,
        /// Who may be asked; never empty. The first where a call names none of them.
        servers: Arc<[AuthServer]>,
    },
    /// The operator, by a list of what `APPLICATION_TOKEN` is on each portal.
    ApplicationToken(Arc<Pins>),
}

/// An authorization server that may be asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthServer {
    /// `https://host` or `https://host:port`, without a path; `http` on loopback alone.
    pub origin: String,
    /// Its host, by which calls name it; a port may be part of it.
    pub host: Domain,
}

/// What an authorization server said of a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    /// Whose it is.
    Info(Arc<AppInfo>),
    /// It is none, or no longer.
    NoToken,
    /// Nothing that can be used.
    Nothing(Unknown),
}

/// What is known of a caller in the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// He is who he says.
    Yes(Option<UserId>),
    /// He is not.
    No(Wrong),
    /// Nobody can say.
    Unknown(Unknown),
}

macro_rules! causes {
    ($(#[doc = $about:literal])+ $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $label:literal, $says:literal;)+ }) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum $name { $($(#[doc = $doc])+ $variant),+ }

        impl $name {
            /// Every one.
            pub const ALL: [$name; [$($label),+].len()] = [$($name::$variant),+];

            /// The label `cause`, and the word of the log line.
            pub const fn label(self) -> &'static str {
                match self { $($name::$variant => $label),+ }
            }

            /// In words, without a value.
            pub const fn says(self) -> &'static str {
                match self { $($name::$variant => $says),+ }
            }
        }
    };
}

causes! {
    /// Why a caller is not who he says.
    Wrong {
        /// Nothing is shown that could prove it.
        NoToken = "no_token", "the call shows no token";
        /// The authorization server does not know the token, or no longer.
        BadToken = "bad_token", "the token is not valid, or no longer";
        /// The token is another application's.
        Client = "client_id", "the token is another application's";
        /// The token is another portal's.
        Member = "member_id", "the token is another portal's";
        /// The portal is at another address.
        Domain = "domain", "the portal has another address";
        /// It is not what the operator has written down for this portal.
        ApplicationToken = "application_token", "the application token is another one on this portal";
    }
}

causes! {
    /// Why nobody can say who a caller is.
    Unknown {
        /// It claims to be nobody's: a request of the handler's own page.
        NoClaim = "no_claim", "the request claims no identity";
        /// What a portal sends by itself has no token at times.
        NothingShown = "nothing_shown", "the message shows nothing that could be verified";
        /// The operator has written down nothing for this portal.
        NotPinned = "not_pinned", "no application token is known for this portal";
        /// The message has faults, which were let through.
        Unsound = "unsound", "the message has faults";
        /// No answer in time.
        Timeout = "timeout", "the authorization server did not answer in time";
        /// No connection, or a broken one.
        Unreachable = "unreachable", "the authorization server can not be reached";
        /// A status that says nothing of the token.
        Status = "status", "the authorization server failed";
        /// A redirect, which is not followed.
        Redirect = "redirect", "the authorization server sends elsewhere";
        /// The answer is too large.
        TooLarge = "too_large", "the authorization server's answer is too large";
        /// The answer is none.
        BadAnswer = "bad_answer", "the authorization server's answer can not be read";
        /// Too many are being asked about.
        Busy = "busy", "too many callers are being verified";
        /// The server failed too often just now; it is left alone for a moment.
        Paused = "paused", "the authorization server fails, and is left alone for a moment";
    }
}

impl Verdict {
    /// The value of `X-Bitrix24-Verified` and of the label `result`.
    pub const fn label(self) -> &'static str {
        match self {
            Verdict::Yes(_) => "yes",
            Verdict::No(_) => "no",
            Verdict::Unknown(_) => "unknown",
        }
    }

    /// Why it is not yes.
    pub const fn cause(self) -> Option<Unproven> {
        match self {
            Verdict::Yes(_) => None,
            Verdict::No(wrong) => Some(Unproven::Wrong(wrong)),
            Verdict::Unknown(unknown) => Some(Unproven::Unknown(unknown)),
        }
    }
}

/// Why a caller is not verified.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Unproven {
    /// He is not who he says.
    Wrong(Wrong),
    /// Nobody can say.
    Unknown(Unknown),
}

impl Unproven {
    /// Every one, those that are known to be false first.
    pub fn all() -> impl Iterator<Item = Unproven> {
        let wrong = Wrong::ALL.into_iter().map(Unproven::Wrong);
        wrong.chain(Unknown::ALL.into_iter().map(Unproven::Unknown))
    }

    /// The label `cause`.
    pub const fn label(self) -> &'static str {
        match self {
            Unproven::Wrong(wrong) => wrong.label(),
            Unproven::Unknown(unknown) => unknown.label(),
        }
    }

    /// In words.
    pub const fn says(self) -> &'static str {
        match self {
            Unproven::Wrong(wrong) => wrong.says(),
            Unproven::Unknown(unknown) => unknown.says(),
        }
    }

    /// Position in [`Unproven::all`].
    pub const fn index(self) -> usize {
        match self {
            Unproven::Wrong(wrong) => wrong as usize,
            Unproven::Unknown(unknown) => Wrong::ALL.len() + unknown as usize,
        }
    }
}

impl VerifyRules {
    /// What a claim comes to, of a message of which this is known. `said` is the answer where a server was to
    /// be asked.
    pub fn judge(&self, claim: &Claim, known: Known<'_>, said: Option<&Said>) -> Verdict {
        match claim {
            Claim::Nothing(Unproven::Wrong(wrong)) => Verdict::No(*wrong),
            Claim::Nothing(Unproven::Unknown(unknown)) => Verdict::Unknown(*unknown),
            Claim::Ask(_) => match (said, &self.method) {
                (Some(Said::Info(info)), Method::AppInfo { client_id, .. }) => {
                    match info.contradicts(client_id, known) {
                        Some(wrong) => Verdict::No(wrong),
                        None => Verdict::Yes(info.user_id),
                    }
                }
                (Some(Said::NoToken), _) => Verdict::No(Wrong::BadToken),
                (Some(Said::Nothing(unknown)), _) => Verdict::Unknown(*unknown),
                // Whoever has to ask and does not, knows nothing.
                (Some(Said::Info(_)), Method::ApplicationToken(_)) | (None, _) => {
                    Verdict::Unknown(Unknown::Unreachable)
                }
            },
            Claim::Pinned(wrong) => match wrong {
                None => Verdict::Yes(None),
                Some(wrong) => Verdict::No(*wrong),
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

/// What a message without a token is. A user's call and a robot's always have one; an event that no user caused
/// has none, and the handler's own page need not say who it is.
const fn without_token(kind: Kind) -> Unproven {
    match kind {
        Kind::Placement | Kind::Robot => Unproven::Wrong(Wrong::NoToken),
        Kind::Event => Unproven::Unknown(Unknown::NothingShown),
        Kind::Own => Unproven::Unknown(Unknown::NoClaim),
    }
}

#[cfg(test)]
mod tests;
