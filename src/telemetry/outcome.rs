//! How a request ended.

use crate::response::rejection::Reason;

/// How a request ended: the label `outcome`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Outcome {
    /// The upstream's answer went back whole.
    Forwarded,
    /// The same, and observe mode had something to say.
    Observed,
    /// The gateway refused.
    Rejected,
    /// The limiter refused.
    Limited,
    /// The upstream could not be reached, or failed to answer.
    UpstreamError,
    /// The client went away.
    ClientClosed,
}

impl Outcome {
    /// Every outcome, in the order of the variants.
    pub const ALL: [Outcome; 6] = [
        Outcome::Forwarded,
        Outcome::Observed,
        Outcome::Rejected,
        Outcome::Limited,
        Outcome::UpstreamError,
        Outcome::ClientClosed,
    ];

    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            Outcome::Forwarded => "forwarded",
            Outcome::Observed => "observed",
            Outcome::Rejected => "rejected",
            Outcome::Limited => "limited",
            Outcome::UpstreamError => "upstream_error",
            Outcome::ClientClosed => "client_closed",
        }
    }

    /// The outcome that a refusal is.
    pub const fn of(reason: Reason) -> Outcome {
        match reason {
            Reason::RateLimited => Outcome::Limited,
            Reason::ClientClosed => Outcome::ClientClosed,
            Reason::UpstreamUnavailable | Reason::UpstreamError | Reason::UpstreamTimeout => {
                Outcome::UpstreamError
            }
            Reason::MalformedRequest
            | Reason::MalformedForm
            | Reason::AmbiguousField
            | Reason::UnexpectedMessage
            | Reason::MissingField
            | Reason::InvalidField
            | Reason::CallerNotVerified
            | Reason::NotFound
            | Reason::MethodNotAllowed
            | Reason::BodyTimeout
            | Reason::LengthRequired
            | Reason::BodyTooLarge
            | Reason::UriTooLong
            | Reason::HeaderTooLarge
            | Reason::UnsupportedMediaType
            | Reason::NotImplemented
            | Reason::Overloaded
            | Reason::InternalError => Outcome::Rejected,
        }
    }
}
