//! What can go wrong with a store.

/// What went wrong with a store: the label `reason` of `ratelimit_store_errors_total`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum StoreFault {
    /// No answer within `timeout`.
    Timeout,
    /// It can not be connected to, or the connection ended.
    Connection,
    /// The user or the password is not right, or not allowed to run the script.
    Auth,
    /// A replica that takes no writes: a failover is under way, or the address is wrong.
    ReadOnly,
    /// Its memory is full.
    OutOfMemory,
    /// It loads its data, or its cluster has nobody for the key.
    Unavailable,
    /// The key holds what another program wrote.
    Foreign,
    /// An answer that the script never gives.
    Answer,
    /// Another error that it answered.
    Server,
    /// More was to be asked at once than is worth to be asked.
    Queue,
}

impl StoreFault {
    /// Each.
    pub const ALL: [StoreFault; 10] = [
        StoreFault::Timeout,
        StoreFault::Connection,
        StoreFault::Auth,
        StoreFault::ReadOnly,
        StoreFault::OutOfMemory,
        StoreFault::Unavailable,
        StoreFault::Foreign,
        StoreFault::Answer,
        StoreFault::Server,
        StoreFault::Queue,
    ];

    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            StoreFault::Timeout => "timeout",
            StoreFault::Connection => "connection",
            StoreFault::Auth => "auth",
            StoreFault::ReadOnly => "read_only",
            StoreFault::OutOfMemory => "out_of_memory",
            StoreFault::Unavailable => "unavailable",
            StoreFault::Foreign => "foreign",
            StoreFault::Answer => "answer",
            StoreFault::Server => "server",
            StoreFault::Queue => "queue",
        }
    }

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
