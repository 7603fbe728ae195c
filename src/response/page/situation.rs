//! What a refusal is to who sits in front of the frame: a handful of situations, and what one can do.

use http::Method;

use crate::response::rejection::Rejection;

/// What happened, as far as it matters to a user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Situation {
    /// There is too much to do at once.
    Busy,
    /// The application can not be reached, or broke down.
    Unavailable,
    /// The application did not answer in time.
    Slow,
    /// A widget's address was opened outside of a portal.
    Outside,
    /// Nothing is at the address.
    Missing,
    /// What was sent could not be used.
    Unreadable,
    /// What was sent is more than is taken.
    Oversized,
    /// What was sent did not arrive.
    Interrupted,
    /// Nobody vouches for who sent it.
    Unconfirmed,
}

impl Situation {
    /// Every one.
    pub const ALL: [Situation; 9] = [
        Situation::Busy,
        Situation::Unavailable,
        Situation::Slow,
        Situation::Outside,
        Situation::Missing,
        Situation::Unreadable,
        Situation::Oversized,
        Situation::Interrupted,
        Situation::Unconfirmed,
    ];

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

    /// Its message in the catalogues.
    pub const fn id(self) -> &'static str {
        match self {
            Situation::Busy => "busy",
            Situation::Unavailable => "unavailable",
            Situation::Slow => "slow",
            Situation::Outside => "outside",
            Situation::Missing => "missing",
            Situation::Unreadable => "unreadable",
            Situation::Oversized => "oversized",
            Situation::Interrupted => "interrupted",
            Situation::Unconfirmed => "unconfirmed",
        }
    }
}

/// What one can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Todo {
    /// The same again, later.
    Wait,
    /// The same again, from the beginning.
    Reopen,
    /// The same, in the portal.
    Start,
}

impl Todo {
    /// Every one.
    pub const ALL: [Todo; 3] = [Todo::Wait, Todo::Reopen, Todo::Start];

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

    /// Its message in the catalogues.
    pub const fn id(self) -> &'static str {
        match self {
            Todo::Wait => "wait",
            Todo::Reopen => "reopen",
            Todo::Start => "start",
        }
    }
}
