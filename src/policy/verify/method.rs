//! Who vouches for a caller, and what it leads to.

use std::sync::Arc;

use super::pins::Pins;
use crate::policy::Mode;
use crate::request::field::Domain;

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
