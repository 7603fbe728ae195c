//! Every reason for which the gateway itself answers. The enum is closed and no match on it has a
//! catch-all: a new variant does not compile until its status, code, log level and words are said.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, Method, header};
use log::Level;

use crate::policy::judge::{Ambiguity, Refusal};
use crate::policy::limit::{Limited, MemberPolicy};
use crate::request::body::BodyFault;
use crate::request::field::FieldFault;
use crate::request::form::FormFault;
use crate::request::front_door::{HeadFault, Malformed};
use crate::request::message::Kind;

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// A request that the gateway does not forward, or that ended without its upstream's answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rejection {
    /// The head, the path or the framing breaks a rule of the strict front door.
    MalformedRequest(Malformed),
    /// The body's chunks are broken, or the form can not be read safely.
    MalformedForm(BrokenForm),
    /// Two readers could take two values for a field. All faults of the request, never empty.
    AmbiguousField(Ambiguity),
    /// A message of a kind that the route does not take.
    UnexpectedMessage(Kind),
    /// Required fields are missing or blank. All faults of the request.
    MissingField(Vec<FieldFault>),
    /// Fields break the grammar of their type. All faults of the request.
    InvalidField(Vec<FieldFault>),
    /// No route has the path.
    NotFound,
    /// Routes have the path, but not the method; these they take.
    MethodNotAllowed(Vec<Method>),
    /// The body was not there in time.
    BodyTimeout,
    /// A body without announced length outgrew what can be held for replay.
    LengthRequired,
    /// The body is over `body_limit`.
    BodyTooLarge,
    /// The request line is too long.
    UriTooLong,
    /// The header section is too long.
    HeaderTooLarge,
    /// Not exactly a urlencoded form without coding.
    UnsupportedMediaType,
    /// The member's quota is used up.
    RateLimited(Limited),
    /// CONNECT or a transfer coding other than chunked.
    NotImplemented,
    /// All bodies held together would be over `held_bodies`.
    Overloaded,
    /// No server of the upstream could be connected to.
    UpstreamUnavailable,
    /// The upstream's answer is broken or was cut before its head was complete.
    UpstreamError,
    /// The upstream did not answer in time.
    UpstreamTimeout,
    /// A fault of the gateway.
    InternalError,
    /// The client went away before its answer ended.
    ClientClosed,
}

/// Why a form can not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BrokenForm {
    /// The chunked framing is broken (RFC 9112 7.1).
    Chunks,
    /// More parameters than `max_params`.
    TooManyParams,
}

/// A rejection's code without its data: the metric label `reason`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
#[allow(missing_docs, reason = "each is the variant of the same name above")]
pub enum Reason {
    MalformedRequest,
    MalformedForm,
    AmbiguousField,
    UnexpectedMessage,
    MissingField,
    InvalidField,
    NotFound,
    MethodNotAllowed,
    BodyTimeout,
    LengthRequired,
    BodyTooLarge,
    UriTooLong,
    HeaderTooLarge,
    UnsupportedMediaType,
    RateLimited,
    NotImplemented,
    Overloaded,
    UpstreamUnavailable,
    UpstreamError,
    UpstreamTimeout,
    InternalError,
    ClientClosed,
}

impl Reason {
    /// Every reason, in the order of the variants.
    pub const ALL: [Reason; 22] = [
        Reason::MalformedRequest,
        Reason::MalformedForm,
        Reason::AmbiguousField,
        Reason::UnexpectedMessage,
        Reason::MissingField,
        Reason::InvalidField,
        Reason::NotFound,
        Reason::MethodNotAllowed,
        Reason::BodyTimeout,
        Reason::LengthRequired,
        Reason::BodyTooLarge,
        Reason::UriTooLong,
        Reason::HeaderTooLarge,
        Reason::UnsupportedMediaType,
        Reason::RateLimited,
        Reason::NotImplemented,
        Reason::Overloaded,
        Reason::UpstreamUnavailable,
        Reason::UpstreamError,
        Reason::UpstreamTimeout,
        Reason::InternalError,
        Reason::ClientClosed,
    ];

    /// Machine code of the problem document, `reason` of metric and log line.
    pub const fn code(self) -> &'static str {
        self.entry().0
    }

    /// HTTP status; 499 is written to the log only.
    pub const fn status(self) -> u16 {
        self.entry().1
    }

    /// What is expected in daily life is debug, what someone should look at is more.
    pub const fn level(self) -> Level {
        self.entry().2
    }

    /// RFC 9457 `title`: the same for every occurrence.
    pub const fn title(self) -> &'static str {
        self.entry().3
    }

    const fn entry(self) -> (&'static str, u16, Level, &'static str) {
        match self {
            Reason::MalformedRequest => (
                "malformed_request",
                400,
                Level::Info,
                "The request is not well-formed HTTP",
            ),
            Reason::MalformedForm => ("malformed_form", 400, Level::Info, "The form can not be read"),
            Reason::AmbiguousField => (
                "ambiguous_field",
                400,
                Level::Warn,
                "Fields could be read in more than one way",
            ),
            Reason::UnexpectedMessage => (
                "unexpected_message",
                422,
                Level::Info,
                "Such messages are not taken here",
            ),
            Reason::MissingField => ("missing_field", 422, Level::Info, "Required fields are missing"),
            Reason::InvalidField => ("invalid_field", 422, Level::Info, "Fields are invalid"),
            Reason::NotFound => ("not_found", 404, Level::Info, "Nothing is served under this path"),
            Reason::MethodNotAllowed => (
                "method_not_allowed",
                405,
                Level::Info,
                "The method is not allowed here",
            ),
            Reason::BodyTimeout => (
                "body_timeout",
                408,
                Level::Info,
                "The body did not arrive in time",
            ),
            Reason::LengthRequired => (
                "length_required",
                411,
                Level::Info,
                "A body of this size needs Content-Length",
            ),
            Reason::BodyTooLarge => ("body_too_large", 413, Level::Info, "The body is too large"),
            Reason::UriTooLong => ("uri_too_long", 414, Level::Info, "The request line is too long"),
            Reason::HeaderTooLarge => (
                "header_too_large",
                431,
                Level::Info,
                "The header section is too large",
            ),
            Reason::UnsupportedMediaType => (
                "unsupported_media_type",
                415,
                Level::Info,
                "The body is not a urlencoded form",
            ),
            Reason::RateLimited => (
                "rate_limited",
                429,
                Level::Info,
                "Too many requests for this portal",
            ),
            Reason::NotImplemented => ("not_implemented", 501, Level::Info, "Not implemented"),
            Reason::Overloaded => ("overloaded", 503, Level::Warn, "The gateway is overloaded"),
            Reason::UpstreamUnavailable => (
                "upstream_unavailable",
                502,
                Level::Error,
                "The application can not be reached",
            ),
            Reason::UpstreamError => (
                "upstream_error",
                502,
                Level::Error,
                "The application's answer is broken",
            ),
            Reason::UpstreamTimeout => (
                "upstream_timeout",
                504,
                Level::Error,
                "The application did not answer in time",
            ),
            Reason::InternalError => ("internal_error", 500, Level::Error, "The gateway failed"),
            Reason::ClientClosed => ("client_closed", 499, Level::Info, "The client went away"),
        }
    }
}

impl Rejection {
    /// The code without the data.
    pub const fn reason(&self) -> Reason {
        match self {
            Rejection::MalformedRequest(_) => Reason::MalformedRequest,
            Rejection::MalformedForm(_) => Reason::MalformedForm,
            Rejection::AmbiguousField(_) => Reason::AmbiguousField,
            Rejection::UnexpectedMessage(_) => Reason::UnexpectedMessage,
            Rejection::MissingField(_) => Reason::MissingField,
            Rejection::InvalidField(_) => Reason::InvalidField,
            Rejection::NotFound => Reason::NotFound,
            Rejection::MethodNotAllowed(_) => Reason::MethodNotAllowed,
            Rejection::BodyTimeout => Reason::BodyTimeout,
            Rejection::LengthRequired => Reason::LengthRequired,
            Rejection::BodyTooLarge => Reason::BodyTooLarge,
            Rejection::UriTooLong => Reason::UriTooLong,
            Rejection::HeaderTooLarge => Reason::HeaderTooLarge,
            Rejection::UnsupportedMediaType => Reason::UnsupportedMediaType,
            Rejection::RateLimited(_) => Reason::RateLimited,
            Rejection::NotImplemented => Reason::NotImplemented,
            Rejection::Overloaded => Reason::Overloaded,
            Rejection::UpstreamUnavailable => Reason::UpstreamUnavailable,
            Rejection::UpstreamError => Reason::UpstreamError,
            Rejection::UpstreamTimeout => Reason::UpstreamTimeout,
            Rejection::InternalError => Reason::InternalError,
            Rejection::ClientClosed => Reason::ClientClosed,
        }
    }

    /// The faults of fields, where there are any.
    pub fn faults(&self) -> &[FieldFault] {
        match self {
            Rejection::AmbiguousField(Ambiguity { faults, .. })
            | Rejection::MissingField(faults)
            | Rejection::InvalidField(faults) => faults,
            Rejection::MalformedRequest(_)
            | Rejection::MalformedForm(_)
            | Rejection::UnexpectedMessage(_)
            | Rejection::NotFound
            | Rejection::MethodNotAllowed(_)
            | Rejection::BodyTimeout
            | Rejection::LengthRequired
            | Rejection::BodyTooLarge
            | Rejection::UriTooLong
            | Rejection::HeaderTooLarge
            | Rejection::UnsupportedMediaType
            | Rejection::RateLimited(_)
            | Rejection::NotImplemented
            | Rejection::Overloaded
            | Rejection::UpstreamUnavailable
            | Rejection::UpstreamError
            | Rejection::UpstreamTimeout
            | Rejection::InternalError
            | Rejection::ClientClosed => &[],
        }
    }

    /// RFC 9457 `detail`: this occurrence in words; names of fields, never a value.
    pub fn detail(&self) -> Cow<'static, str> {
        let fixed = match self {
            Rejection::MalformedRequest(malformed) => malformed.says(),
            Rejection::MalformedForm(BrokenForm::Chunks) => "the chunked coding of the body is broken",
            Rejection::MalformedForm(BrokenForm::TooManyParams) => "there are more parameters than PHP reads",
            Rejection::AmbiguousField(Ambiguity { faults, in_address }) => {
                let mut detail = sentence(faults);
                if !in_address.is_empty() {
                    let names: Vec<_> = in_address.iter().map(|field| field.told()).collect();
                    detail.push_str(&format!(
                        "; of these the query has {}: if the handler's own address carries it, it has to be renamed there",
                        names.join(", ")
                    ));
                }
                return detail.into();
            }
            Rejection::UnexpectedMessage(kind) => {
                let kind = kind.label();
                return format!(
                    "this is a message of the kind {kind}, which this route does not take; to take it, its key accepts needs {kind}"
                )
                .into();
            }
            Rejection::MissingField(faults) | Rejection::InvalidField(faults) => {
                return sentence(faults).into();
            }
            Rejection::NotFound => "no route has this path",
            Rejection::MethodNotAllowed(allowed) => {
                let allowed: Vec<_> = allowed.iter().map(Method::as_str).collect();
                return format!("allowed here: {}", allowed.join(", ")).into();
            }
            Rejection::BodyTimeout => "the whole body has to arrive within the time limit",
            Rejection::LengthRequired => "send the body with Content-Length instead of chunked",
            Rejection::BodyTooLarge => "the body is over the configured limit",
            Rejection::UriTooLong => "the request line is over 8 KiB",
            Rejection::HeaderTooLarge => "the header section is over 32 KiB or 100 lines",
            Rejection::UnsupportedMediaType => {
                "send exactly one Content-Type, application/x-www-form-urlencoded, and no Content-Encoding; JSON is taken where accepts has own, and uploads need a pass route with a path of their own"
            }
            Rejection::RateLimited(limited) => {
                return format!("try again in {} s", limited.retry_after).into();
            }
            Rejection::NotImplemented => "CONNECT and transfer codings other than chunked are not served",
            Rejection::Overloaded => "too many requests are being held; try again in a moment",
            Rejection::UpstreamUnavailable => "no connection to the application could be made",
            Rejection::UpstreamError => "the application closed the connection or sent no valid HTTP",
            Rejection::UpstreamTimeout => "the application took too long",
            Rejection::InternalError => "the request id helps to find the cause in the log",
            Rejection::ClientClosed => "the connection was closed before the answer ended",
        };
        fixed.into()
    }

    /// Seconds for `Retry-After`.
    pub const fn retry_after(&self) -> Option<u64> {
        match self {
            Rejection::RateLimited(limited) => Some(limited.retry_after),
            Rejection::Overloaded => Some(1),
            Rejection::MalformedRequest(_)
            | Rejection::MalformedForm(_)
            | Rejection::AmbiguousField(_)
            | Rejection::UnexpectedMessage(_)
            | Rejection::MissingField(_)
            | Rejection::InvalidField(_)
            | Rejection::NotFound
            | Rejection::MethodNotAllowed(_)
            | Rejection::BodyTimeout
            | Rejection::LengthRequired
            | Rejection::BodyTooLarge
            | Rejection::UriTooLong
            | Rejection::HeaderTooLarge
            | Rejection::UnsupportedMediaType
            | Rejection::NotImplemented
            | Rejection::UpstreamUnavailable
            | Rejection::UpstreamError
            | Rejection::UpstreamTimeout
            | Rejection::InternalError
            | Rejection::ClientClosed => None,
        }
    }

    /// Whether the connection ends with the answer, wherever its body stands: what a client that breaks
    /// the framing sends next can not be trusted to begin where it seems to.
    pub const fn ends_connection(&self) -> bool {
        matches!(
            self,
            Rejection::MalformedRequest(_) | Rejection::NotImplemented | Rejection::InternalError
        )
    }

    /// Headers that only this refusal has (RFC 9110 10.2.1 and 10.2.3,
    /// draft-ietf-httpapi-ratelimit-headers-11).
    pub fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        // Numbers and methods are header values.
        let text = |text: String| HeaderValue::try_from(text).ok();
        let retry_after = self
            .retry_after()
            .map(|seconds| (header::RETRY_AFTER, HeaderValue::from(seconds)));
        let allow = if let Rejection::MethodNotAllowed(allowed) = self {
            let allowed: Vec<_> = allowed.iter().map(Method::as_str).collect();
            text(allowed.join(", ")).map(|value| (header::ALLOW, value))
        } else {
            None
        };
        let limit = if let Rejection::RateLimited(Limited { quota, retry_after }) = self {
            let name = MemberPolicy::NAME;
            let policy = format!("\"{name}\";q={};w={}", quota.rate, quota.period.seconds());
            let left = format!("\"{name}\";r=0;t={retry_after}");
            [(RATELIMIT_POLICY, text(policy)), (RATELIMIT, text(left))]
        } else {
            [(RATELIMIT_POLICY, None), (RATELIMIT, None)]
        };
        let limit = limit.into_iter().filter_map(|(name, value)| Some((name, value?)));
        retry_after.into_iter().chain(allow).chain(limit)
    }

    /// The policies that a rate-limited request violates.
    pub const fn violated_policies(&self) -> &'static [&'static str] {
        if matches!(self, Rejection::RateLimited(_)) {
            &[MemberPolicy::NAME]
        } else {
            &[]
        }
    }
}

/// Each field and what it is, separated by commas.
fn sentence(faults: &[FieldFault]) -> String {
    let each: Vec<_> = faults
        .iter()
        .map(|fault| format!("{} {}", fault.field.told(), fault.code.says()))
        .collect();
    each.join(", ")
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Rejection {
        match refusal {
            Refusal::Ambiguous(ambiguity) => Rejection::AmbiguousField(ambiguity),
            Refusal::Unexpected(kind) => Rejection::UnexpectedMessage(kind),
            Refusal::Missing(faults) => Rejection::MissingField(faults),
            Refusal::Invalid(faults) => Rejection::InvalidField(faults),
        }
    }
}

impl From<HeadFault> for Rejection {
    fn from(fault: HeadFault) -> Rejection {
        match fault {
            HeadFault::Malformed(malformed) => Rejection::MalformedRequest(malformed),
            HeadFault::UriTooLong => Rejection::UriTooLong,
            HeadFault::HeaderTooLarge => Rejection::HeaderTooLarge,
            HeadFault::NotImplemented => Rejection::NotImplemented,
        }
    }
}

impl From<Malformed> for Rejection {
    fn from(malformed: Malformed) -> Rejection {
        Rejection::MalformedRequest(malformed)
    }
}

impl From<BodyFault> for Rejection {
    fn from(fault: BodyFault) -> Rejection {
        match fault {
            BodyFault::TimedOut => Rejection::BodyTimeout,
            BodyFault::TooLarge => Rejection::BodyTooLarge,
            BodyFault::LengthRequired => Rejection::LengthRequired,
            BodyFault::BrokenChunks => Rejection::MalformedForm(BrokenForm::Chunks),
            BodyFault::NoRoom => Rejection::Overloaded,
            BodyFault::ClientGone => Rejection::ClientClosed,
        }
    }
}

impl From<FormFault> for Rejection {
    fn from(fault: FormFault) -> Rejection {
        match fault {
            FormFault::TooManyParams => Rejection::MalformedForm(BrokenForm::TooManyParams),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_listed_once_and_codes_are_distinct() {
        let mut codes: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert!(
            Reason::ALL
                .iter()
                .enumerate()
                .all(|(at, reason)| *reason as usize == at)
        );
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Reason::ALL.len());
    }
}
