//! Every reason for which the gateway itself answers: one table, a row per reason.
//!
//! A new reason is a row and an arm of `Rejection::occurrence`; nothing that is said of a reason has a
//! catch-all.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, Method, header};
use log::Level;

use super::line::line;
use crate::policy::judge::{Ambiguity, Refusal};
use crate::policy::limit::{Limited, PolicyName, Refused};
use crate::policy::verify::Unproven;
use crate::request::body::BodyFault;
use crate::request::field::{Field, FieldFault};
use crate::request::form::FormFault;
use crate::request::head::fault::{HeadFault, Malformed};
use crate::request::label::labelled;
use crate::request::message::Kind;
use crate::upstream::answer::Field as HeaderLine;
use crate::upstream::places::Full;
use crate::upstream::send::SendFault;

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

macro_rules! rejections {
    ($($(#[doc = $doc:literal])+ $variant:ident $(($($data:ty),+))? = $code:literal, $status:literal, $level:ident, $title:literal;)+) => {
        /// A request that the gateway does not forward, or that ended without its upstream's answer.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum Rejection { $($(#[doc = $doc])+ $variant $(($($data),+))?),+ }

        /// A rejection's code without its data: the metric label `reason`.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum Reason { $($(#[doc = $doc])+ $variant),+ }

        impl Reason {
            /// Every reason, in the order of the variants.
            pub const ALL: [Reason; [$($code),+].len()] = [$(Reason::$variant),+];

            /// Machine code of the problem document, `reason` of metric and log line.
            pub const fn code(self) -> &'static str {
                match self { $(Reason::$variant => $code),+ }
            }

            /// The usual HTTP status; [`Rejection::status`] is that of an occurrence.
            pub const fn status(self) -> u16 {
                match self { $(Reason::$variant => $status),+ }
            }

            /// What is expected in daily life is info, what someone should look at is more.
            pub const fn level(self) -> Level {
                match self { $(Reason::$variant => Level::$level),+ }
            }

            /// RFC 9457 `title`: the same for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Reason::$variant => $title),+ }
            }
        }

        impl Rejection {
            /// The code without the data.
            pub const fn reason(&self) -> Reason {
                match self { $(Rejection::$variant { .. } => Reason::$variant),+ }
            }
        }
    };
}

rejections! {
    /// The head, the path or the framing breaks a rule of the strict front door.
    MalformedRequest(Malformed) = "malformed_request", 400, Info, "The request is not well-formed HTTP";
    /// The body's chunks are broken, or the form can not be read safely.
    MalformedForm(BrokenForm) = "malformed_form", 400, Info, "The form can not be read";
    /// Two readers could take two values for a field. All faults of the request, never empty.
    AmbiguousField(Ambiguity) = "ambiguous_field", 400, Warn, "Fields could be read in more than one way";
    /// A message of a kind that the route does not take.
    UnexpectedMessage(Kind) = "unexpected_message", 422, Info, "Such messages are not taken here";
    /// Required fields are missing or blank. All faults of the request.
    MissingField(Vec<FieldFault>) = "missing_field", 422, Info, "Required fields are missing";
    /// Fields break the grammar of their type. All faults of the request.
    InvalidField(Vec<FieldFault>) = "invalid_field", 422, Info, "Fields are invalid";
    /// No route has the path, or none of its routes is for the message.
    NotFound(Unserved) = "not_found", 404, Info, "Nothing is served under this path";
    /// Routes have the path, but not the method; these they take.
    MethodNotAllowed(Vec<Method>) = "method_not_allowed", 405, Info, "The method is not allowed here";
    /// The body was not there in time.
    BodyTimeout = "body_timeout", 408, Info, "The body did not arrive in time";
    /// A body without announced length outgrew what can be held for replay.
    LengthRequired = "length_required", 411, Info, "A body of this size needs Content-Length";
    /// The body is over `body_limit`.
    BodyTooLarge = "body_too_large", 413, Info, "The body is too large";
    /// The request line is too long.
    UriTooLong = "uri_too_long", 414, Info, "The request line is too long";
    /// The header section is too long.
    HeaderTooLarge = "header_too_large", 431, Info, "The header section is too large";
    /// Not exactly a urlencoded form without coding.
    UnsupportedMediaType = "unsupported_media_type", 415, Info, "The body is not a urlencoded form";
    /// The caller is not who he says, or nobody can say whether he is.
    CallerNotVerified(Unproven) = "caller_not_verified", 403, Warn, "The caller is not verified";
    /// A quota of this policy is used up.
    RateLimited(PolicyName, Limited) = "rate_limited", 429, Info, "Too many requests";
    /// CONNECT or a transfer coding other than chunked.
    NotImplemented = "not_implemented", 501, Info, "Not implemented";
    /// All bodies held together would be over `held_bodies`.
    Overloaded = "overloaded", 503, Warn, "The gateway is overloaded";
    /// No server of the upstream could be connected to, or there is none.
    UpstreamUnavailable(Unreached) = "upstream_unavailable", 502, Error, "The application can not be reached";
    /// The upstream's answer is broken or was cut before its head was complete.
    UpstreamError = "upstream_error", 502, Error, "The application's answer is broken";
    /// The upstream did not answer in time.
    UpstreamTimeout = "upstream_timeout", 504, Error, "The application did not answer in time";
    /// A fault of the gateway.
    InternalError = "internal_error", 500, Error, "The gateway failed";
    /// The client went away before its answer ended.
    ClientClosed = "client_closed", 499, Info, "The client went away";
}

/// Why no server was reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unreached {
    /// None could be connected to.
    Unconnected,
    /// None has an address: there was nothing to connect to.
    Nowhere,
}

labelled! {
    /// What no route is for.
    pub enum Unserved {
        /// The path.
        Path: "no route has this path";
        /// Of the routes of the path, none is for this placement, portal or member.
        Message: "no route of this path is for this placement, portal or member";
    }
}

labelled! {
    /// Why a form can not be read.
    pub enum BrokenForm {
        /// The chunked framing is broken (RFC 9112 7.1).
        Chunks: "the chunked coding of the body is broken";
        /// More parameters than `max_params`.
        TooManyParams: "there are more parameters than PHP reads";
    }
}

/// What one occurrence has to say.
enum Occurrence<'r> {
    /// The same words as any other.
    Plain(&'static str),
    /// These words, and to come again in so many seconds.
    Later(&'static str, u64),
    /// All faults, and those fields of them that the handler's own address may carry.
    Fields(&'r [FieldFault], &'r [Field]),
    Unexpected(Kind),
    Unproven(Unproven),
    Allowed(&'r [Method]),
    Limited(PolicyName, Limited),
}

impl Rejection {
    const fn occurrence(&self) -> Occurrence<'_> {
        use Occurrence::{Allowed, Fields, Later, Plain, Unexpected};
        match self {
            Rejection::MalformedRequest(malformed) => Plain(malformed.says()),
            Rejection::MalformedForm(broken) => Plain(broken.says()),
            Rejection::AmbiguousField(Ambiguity { faults, in_address }) => {
                Fields(faults.as_slice(), in_address.as_slice())
            }
            Rejection::UnexpectedMessage(kind) => Unexpected(*kind),
            Rejection::MissingField(faults) | Rejection::InvalidField(faults) => {
                Fields(faults.as_slice(), &[])
            }
            Rejection::NotFound(unserved) => Plain(unserved.says()),
            Rejection::MethodNotAllowed(allowed) => Allowed(allowed.as_slice()),
            Rejection::BodyTimeout => Plain("the whole body has to arrive within the time limit"),
            Rejection::LengthRequired => Plain("send the body with Content-Length instead of chunked"),
            Rejection::BodyTooLarge => Plain("the body is over the configured limit"),
            Rejection::UriTooLong => Plain("the request line is over 8 KiB"),
            Rejection::HeaderTooLarge => Plain("the header section is over 32 KiB or 100 lines"),
            Rejection::UnsupportedMediaType => Plain(
                "send exactly one Content-Type, application/x-www-form-urlencoded, and no Content-Encoding; \
                 JSON is taken where accepts has own, and uploads need a pass route with a path of their own",
            ),
            Rejection::CallerNotVerified(unproven) => Occurrence::Unproven(*unproven),
            Rejection::RateLimited(policy, limited) => Occurrence::Limited(*policy, *limited),
            Rejection::NotImplemented => {
                Plain("CONNECT and transfer codings other than chunked are not served")
            }
            Rejection::Overloaded => Later("too many requests are being held; try again in a moment", 1),
            Rejection::UpstreamUnavailable(Unreached::Unconnected) => {
                Plain("no connection to the application could be made")
            }
            Rejection::UpstreamUnavailable(Unreached::Nowhere) => Later(
                "no server of the application has an address; try again in a moment",
                1,
            ),
            Rejection::UpstreamError => Plain("the application closed the connection or sent no valid HTTP"),
            Rejection::UpstreamTimeout => Plain("the application took too long"),
            Rejection::InternalError => Plain("the request id helps to find the cause in the log"),
            Rejection::ClientClosed => Plain("the connection was closed before the answer ended"),
        }
    }

    /// The status of the answer; 499 is written to the log only.
    pub const fn status(&self) -> u16 {
        match self {
            // Nobody is at fault between here and there: it is not there yet, or not at the moment.
            Rejection::UpstreamUnavailable(Unreached::Nowhere) => 503,
            other => other.reason().status(),
        }
    }

    /// The faults of fields, where there are any.
    pub const fn faults(&self) -> &[FieldFault] {
        if let Occurrence::Fields(faults, _) = self.occurrence() {
            faults
        } else {
            &[]
        }
    }

    /// RFC 9457 `detail`: this occurrence in words; names of fields, never a value.
    pub fn detail(&self) -> Cow<'static, str> {
        match self.occurrence() {
            Occurrence::Plain(words) | Occurrence::Later(words, _) => words.into(),
            Occurrence::Fields(faults, in_address) => {
                let mut words = String::with_capacity(64);
                for fault in faults {
                    if !words.is_empty() {
                        words.push_str(", ");
                    }
                    words.extend([fault.field.told(), " ", fault.code.says()]);
                }
                if !in_address.is_empty() {
                    let names: Vec<_> = in_address.iter().map(|field| field.told()).collect();
                    words.push_str(&format!(
                        "; of these the query has {}: if the handler's own address carries it, it has to be renamed there",
                        names.join(", ")
                    ));
                }
                words.into()
            }
            Occurrence::Unexpected(kind) => {
                let kind = kind.label();
                format!(
                    "this is a message of the kind {kind}, which this route does not take; to take it, its key accepts needs {kind}"
                )
                .into()
            }
            Occurrence::Unproven(unproven) => unproven.says().into(),
            Occurrence::Allowed(methods) => format!("allowed here: {}", listed(methods)).into(),
            Occurrence::Limited(_, limited) => {
                let mut seconds = itoa::Buffer::new();
                ["try again in ", seconds.format(limited.retry_after), " s"]
                    .concat()
                    .into()
            }
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
    pub fn headers(&self) -> impl Iterator<Item = HeaderLine> {
        let later = |seconds: u64| Some(line(header::RETRY_AFTER, "Retry-After", seconds.into()));
        let headers = match self.occurrence() {
            Occurrence::Plain(_)
            | Occurrence::Fields(..)
            | Occurrence::Unexpected(_)
            | Occurrence::Unproven(_) => [None, None, None],
            Occurrence::Later(_, seconds) => [later(seconds), None, None],
            Occurrence::Allowed(methods) => [text(header::ALLOW, "Allow", listed(methods)), None, None],
            Occurrence::Limited(policy, Limited { quota, retry_after }) => {
                let name = policy.label();
                let [mut rate, mut window, mut wait] = [itoa::Buffer::new(); 3];
                let (rate, window) = (
                    rate.format(quota.rate.get()),
                    window.format(quota.period.seconds()),
                );
                // Joined and not formatted: these are of every request that is over its limit.
                let policy = ["\"", name, "\";q=", rate, ";w=", window].concat();
                let left = ["\"", name, "\";r=0;t=", wait.format(retry_after)].concat();
                [
                    later(retry_after.into()),
                    text(RATELIMIT_POLICY, "RateLimit-Policy", policy),
                    text(RATELIMIT, "RateLimit", left),
                ]
            }
        };
        headers.into_iter().flatten()
    }

    /// Seconds after which it is worth to try again, where that is known.
    pub const fn retry_after(&self) -> Option<u64> {
        match self.occurrence() {
            Occurrence::Later(_, seconds) => Some(seconds),
            Occurrence::Limited(_, limited) => Some(limited.retry_after as u64),
            Occurrence::Plain(_)
            | Occurrence::Fields(..)
            | Occurrence::Unproven(_)
            | Occurrence::Unexpected(_)
            | Occurrence::Allowed(_) => None,
        }
    }

    /// The kind of a message that the route does not take.
    pub const fn unexpected_message(&self) -> Option<Kind> {
        if let Rejection::UnexpectedMessage(kind) = self {
            Some(*kind)
        } else {
            None
        }
    }

    /// Why the caller is not verified.
    pub const fn unproven(&self) -> Option<Unproven> {
        if let Rejection::CallerNotVerified(unproven) = self {
            Some(*unproven)
        } else {
            None
        }
    }

    /// The policy that a rate-limited request violates.
    pub const fn violated_policy(&self) -> Option<PolicyName> {
        if let Rejection::RateLimited(policy, _) = self {
            Some(*policy)
        } else {
            None
        }
    }
}

fn listed(methods: &[Method]) -> String {
    let methods: Vec<_> = methods.iter().map(Method::as_str).collect();
    methods.join(", ")
}

/// Numbers, names of policies and methods are header values.
fn text(name: HeaderName, usual: &'static str, value: String) -> Option<HeaderLine> {
    Some(line(name, usual, HeaderValue::try_from(value).ok()?))
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

impl From<Refused> for Rejection {
    fn from(refused: Refused) -> Rejection {
        Rejection::RateLimited(refused.policy, refused.limited)
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
            BodyFault::BrokenChunks => Rejection::MalformedForm(BrokenForm::Chunks),
            BodyFault::NoRoom => Rejection::Overloaded,
            BodyFault::ClientGone => Rejection::ClientClosed,
        }
    }
}

impl From<SendFault> for Rejection {
    fn from(fault: SendFault) -> Rejection {
        match fault {
            SendFault::Nowhere => Rejection::UpstreamUnavailable(Unreached::Nowhere),
            SendFault::Unreachable => Rejection::UpstreamUnavailable(Unreached::Unconnected),
            SendFault::Reset | SendFault::BadAnswer => Rejection::UpstreamError,
            SendFault::TimedOut => Rejection::UpstreamTimeout,
        }
    }
}

impl From<Full> for Rejection {
    fn from(Full: Full) -> Rejection {
        Rejection::Overloaded
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
