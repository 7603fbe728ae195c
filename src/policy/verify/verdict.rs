//! What is known of a caller in the end, and why it is not more.

use crate::request::label::labelled;

/// The number of a user of a portal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UserId(pub u64);

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

labelled! {
    /// Why a caller is not who he says.
    pub enum Wrong {
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

labelled! {
    /// Why nobody can say who a caller is.
    pub enum Unknown {
        /// It claims to be nobody's: a request of the handler's own page.
        NoClaim = "no_claim", "the request claims no identity";
        /// What a portal sends by itself has no token at times.
        NothingShown = "nothing_shown", "the message shows nothing that could be verified";
        /// The operator has written down nothing for this portal.
        NotPinned = "not_pinned", "no application token is known for this portal";
        /// The message has faults, which were let through.
        Unsound = "unsound", "the message has faults, or two tokens";
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
