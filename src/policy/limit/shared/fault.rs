//! What can go wrong with a store.

use crate::request::label::labelled;

labelled! {
    /// What went wrong with a store: the label `reason` of `ratelimit_store_errors_total`.
    pub enum StoreFault {
        /// No answer within `timeout`.
        Timeout = "timeout";
        /// It can not be connected to, or the connection ended.
        Connection = "connection";
        /// The user or the password is not right, or not allowed to run the script.
        Auth = "auth";
        /// A replica that takes no writes: a failover is under way, or the address is wrong.
        ReadOnly = "read_only";
        /// Its memory is full.
        OutOfMemory = "out_of_memory";
        /// It loads its data, or its cluster has nobody for the key.
        Unavailable = "unavailable";
        /// The key holds what another program wrote.
        Foreign = "foreign";
        /// An answer that the script never gives.
        Answer = "answer";
        /// Another error that it answered.
        Server = "server";
        /// More was to be asked at once than is worth to be asked.
        Queue = "queue";
    }
}

impl StoreFault {
    /// What it says of the store as a whole.
    pub(super) const fn weight(self) -> Weight {
        match self {
            StoreFault::Connection | StoreFault::Auth | StoreFault::ReadOnly | StoreFault::Unavailable => {
                Weight::Down
            }
            StoreFault::Timeout | StoreFault::OutOfMemory | StoreFault::Answer | StoreFault::Server => {
                Weight::Counts
            }
            StoreFault::Foreign | StoreFault::Queue => Weight::Nothing,
        }
    }
}

/// What a fault says of the store as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Weight {
    /// Nothing: it is about one key, or about us.
    Nothing,
    /// A few in a row and the store is not to be asked.
    Counts,
    /// One is enough.
    Down,
}
