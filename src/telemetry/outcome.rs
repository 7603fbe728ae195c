//! How a request ended.

use super::labels::labels;
use crate::response::rejection::Reason;

labels! {
    /// How a request ended: the label `outcome`.
    Outcome {
        /// The upstream's answer went back whole.
        Forwarded = "forwarded",
        /// The same, and observe mode had something to say.
        Observed = "observed",
        /// The gateway refused.
        Rejected = "rejected",
        /// The limiter refused.
        Limited = "limited",
        /// The upstream could not be reached, or failed to answer.
        UpstreamError = "upstream_error",
        /// The client went away.
        ClientClosed = "client_closed",
    }
}

impl Outcome {
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
