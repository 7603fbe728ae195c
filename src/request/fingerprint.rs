//! What stands for a key: 64 bits that nobody outside can foresee.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::LazyLock;

/// A key's SipHash under a secret that the process has drawn.
///
/// Tables and counters keep it in place of the key: it is small whatever the key is, and evenly spread. That two
/// of a million keys have the same has a chance of 3 in 100 million, of ten million 3 in a million. Without the
/// secret nobody can look for two such keys, or for many that crowd in one place of a table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of a key; the same for as long as the process lives.
    pub fn of(key: &impl Hash) -> Fingerprint {
        static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        Fingerprint(SECRET.hash_one(key))
    }

    /// All of its bits; any of them are as good as any others.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// One whose bits a test chooses.
    #[cfg(test)]
    pub(crate) const fn from_bits(bits: u64) -> Fingerprint {
        Fingerprint(bits)
    }
}
