//! What a refusal is to who sits in front of the frame: a handful of situations, and what one can do.

use http::Method;

use crate::request::label::labelled;
use crate::response::rejection::Rejection;

labelled! {
    /// What happened, as far as it matters to a user: the names of the messages in the catalogues.
    pub enum Situation {
        /// There is too much to do at once.
        Busy = "busy";
        /// The application can not be reached, or broke down.
        Unavailable = "unavailable";
        /// The application did not answer in time.
        Slow = "slow";
        /// A widget's address was opened outside of a portal.
        Outside = "outside";
        /// Nothing is at the address.
        Missing = "missing";
        /// What was sent could not be used.
        Unreadable = "unreadable";
        /// What was sent is more than is taken.
        Oversized = "oversized";
        /// What was sent did not arrive.
        Interrupted = "interrupted";
        /// Nobody vouches for who sent it.
        Unconfirmed = "unconfirmed";
    }
}

impl Situation {
    /// Of a refusal.
    pub fn of(rejection: &Rejection) -> Situation {
        match rejection {
            Rejection::RateLimited(..) | Rejection::Overloaded => Situation::Busy,
            Rejection::UpstreamUnavailable(_) | Rejection::UpstreamError | Rejection::InternalError => {
                Situation::Unavailable
            }
            Rejection::UpstreamTimeout => Situation::Slow,
            // Who may not ask by POST had no need to be told that it is taken: this was a browser's GET.
            Rejection::MethodNotAllowed(allowed) if allowed.contains(&Method::POST) => Situation::Outside,
            Rejection::MethodNotAllowed(_) | Rejection::NotFound(_) => Situation::Missing,
            Rejection::BodyTooLarge | Rejection::UriTooLong | Rejection::HeaderTooLarge => {
                Situation::Oversized
            }
            Rejection::BodyTimeout | Rejection::ClientClosed => Situation::Interrupted,
            Rejection::CallerNotVerified(_) => Situation::Unconfirmed,
            Rejection::MalformedRequest(_)
            | Rejection::MalformedForm(_)
            | Rejection::AmbiguousField(_)
            | Rejection::UnexpectedMessage(_)
            | Rejection::MissingField(_)
            | Rejection::InvalidField(_)
            | Rejection::LengthRequired
            | Rejection::UnsupportedMediaType
            | Rejection::NotImplemented => Situation::Unreadable,
        }
    }
}

labelled! {
    /// What one can do: the names of the messages in the catalogues.
    pub enum Todo {
        /// The same again, later.
        Wait = "wait";
        /// The same again, from the beginning.
        Reopen = "reopen";
        /// The same, in the portal.
        Start = "start";
    }
}

impl Todo {
    /// After a refusal of this status.
    pub const fn of(situation: Situation, status: u16) -> Todo {
        match (situation, status) {
            (_, 429 | 502..=504) => Todo::Wait,
            (Situation::Outside | Situation::Missing, _) => Todo::Start,
            (
                Situation::Busy
                | Situation::Unavailable
                | Situation::Slow
                | Situation::Unreadable
                | Situation::Oversized
                | Situation::Interrupted
                | Situation::Unconfirmed,
                _,
            ) => Todo::Reopen,
        }
    }
}
