//! Why a server failed a request, a check or a look-up.

use std::io;

use nix::errno::Errno;

use crate::request::label::labelled;

labelled! {
    /// The label `cause`.
    pub enum Cause {
        /// A connect was refused, or there is no way to the address.
        Refused = "refused";
        /// A connect took too long, or the server was silent too long.
        Timeout = "timeout";
        /// The connection broke before the answer was whole.
        Reset = "reset";
        /// The TLS handshake failed.
        Tls = "tls";
        /// The name has no address.
        Dns = "dns";
        /// What came is no answer, or one that counts as a failure.
        BadAnswer = "bad_answer";
    }
}

/// What a failed connect says of the server; none where this process has run out of descriptors, ports or
/// memory, which says nothing of it.
pub fn of_connect(error: &io::Error) -> Option<Cause> {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EMFILE | Errno::ENFILE | Errno::EADDRNOTAVAIL | Errno::ENOBUFS | Errno::ENOMEM) => None,
        Some(Errno::ETIMEDOUT) => Some(Cause::Timeout),
        Some(_) | None => Some(Cause::Refused),
    }
}
