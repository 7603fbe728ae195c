//! A number that stands for bytes, the same in every process and version.

/// 64 bits that stand for bytes, the same in every process and version (FNV-1a).
pub(super) fn seed(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
