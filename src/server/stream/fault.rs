//! The proxy's errors: those that are ours, and what each means.

use pingora::{Error, ErrorSource, ErrorType};

use crate::response::rejection::{Rejection, Unreached};
use crate::upstream::failure::{self, Cause};

/// Nothing was handed over: a fault of ours.
pub(super) fn lost() -> Box<Error> {
    Error::explain(ErrorType::InternalError, "no request was handed over")
}

/// No server has an address.
pub(super) fn nowhere() -> Box<Error> {
    Error::explain(NOWHERE, "no server has an address").into_up()
}

/// An idle connection that can not carry a request.
pub(super) const SPOKEN: ErrorType = ErrorType::Custom("Spoken");

pub(super) const NOWHERE: ErrorType = ErrorType::Custom("Nowhere");

/// The whole time is over.
pub(super) fn too_late() -> Box<Error> {
    Error::explain(ErrorType::ReadTimedout, "total_timeout").into_up()
}

/// What came is no answer.
pub(super) fn broken() -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, "the answer is broken").into_up()
}

/// What an error of the proxy means.
pub(super) fn rejection_of(error: &Error) -> Rejection {
    use ErrorType::{
        BindError, ConnectError, ConnectNoRoute, ConnectRefused, ConnectTimedout, InternalError, InvalidCert,
        ReadTimedout, SocketError, TLSHandshakeFailure, TLSHandshakeTimedout, WriteTimedout,
    };
    match (error.esource(), error.etype()) {
        (ErrorSource::Downstream, _) => Rejection::ClientClosed,
        (
            ErrorSource::Upstream,
            ConnectTimedout | ConnectRefused | ConnectNoRoute | ConnectError | SocketError | BindError
            | TLSHandshakeFailure | TLSHandshakeTimedout | InvalidCert | InternalError,
        ) => Rejection::UpstreamUnavailable(Unreached::Unconnected),
        (ErrorSource::Upstream, kind) if *kind == NOWHERE => {
            Rejection::UpstreamUnavailable(Unreached::Nowhere)
        }
        (ErrorSource::Upstream, ReadTimedout | WriteTimedout) => Rejection::UpstreamTimeout,
        (ErrorSource::Upstream, _) => Rejection::UpstreamError,
        (ErrorSource::Internal | ErrorSource::Unset, _) => Rejection::InternalError,
    }
}

/// What a failed connect says of the server, as far as it is the server's fault.
pub(super) fn cause_of_connect(error: &Error) -> Option<Cause> {
    match (error.root_cause().downcast_ref::<std::io::Error>(), error.etype()) {
        (_, ErrorType::ConnectTimedout) => Some(Cause::Timeout),
        (_, ErrorType::TLSHandshakeFailure | ErrorType::TLSHandshakeTimedout | ErrorType::InvalidCert) => {
            Some(Cause::Tls)
        }
        (Some(error), _) => failure::of_connect(error),
        (None, _) => Some(Cause::Refused),
    }
}

/// What an error after the connect says of the server; none where it was not the server's.
pub(super) fn cause_of(error: &Error) -> Option<Cause> {
    match (error.esource(), error.etype()) {
        (ErrorSource::Upstream, ErrorType::ReadTimedout | ErrorType::WriteTimedout) => Some(Cause::Timeout),
        (ErrorSource::Upstream, ErrorType::InvalidHTTPHeader) => Some(Cause::BadAnswer),
        (
            ErrorSource::Upstream,
            ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError,
        ) => Some(Cause::Reset),
        (ErrorSource::Upstream | ErrorSource::Downstream | ErrorSource::Internal | ErrorSource::Unset, _) => {
            None
        }
    }
}
