//! Why a server failed a request, a check or a look-up.

use std::io;

use nix::errno::Errno;

/// The label `cause`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Cause {
    /// A connect was refused, or there is no way to the address.
    Refused,
    /// A connect took too long, or the server was silent too long.
    Timeout,
    /// The connection broke before the answer was whole.
    Reset,
    /// The TLS handshake failed.
    Tls,
    /// The name has no address.
    Dns,
    /// What came is no answer, or one that counts as a failure.
    BadAnswer,
}

impl Cause {
    /// Every cause, in the order of the variants.
    pub const ALL: [Cause; 6] = [
        Cause::Refused,
        Cause::Timeout,
        Cause::Reset,
        Cause::Tls,
        Cause::Dns,
        Cause::BadAnswer,
    ];

    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            Cause::Refused => "refused",
            Cause::Timeout => "timeout",
            Cause::Reset => "reset",
            Cause::Tls => "tls",
            Cause::Dns => "dns",
            Cause::BadAnswer => "bad_answer",
        }
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
