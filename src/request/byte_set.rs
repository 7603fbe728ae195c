//! What a byte is, told by one look into a table.

/// A set of bytes.
pub struct ByteSet(pub(crate) [bool; 256]);

impl ByteSet {
    /// Whether the byte is in the set.
    pub fn has(&self, byte: u8) -> bool {
        // There is a place for every byte; the default can not be reached.
        self.0.get(usize::from(byte)).copied().unwrap_or(false)
    }

    /// Whether all the bytes are in the set.
    pub fn has_all(&self, bytes: &[u8]) -> bool {
        // Looked at to the end: without a branch per byte it is half the work.
        bytes.iter().fold(true, |all, &byte| all & self.has(byte))
    }
}

/// `byte_set!(b => condition)`: the bytes `b` for which the condition holds, found while compiling.
macro_rules! byte_set {
    ($byte:ident => $is_in:expr) => {
        const {
            let mut set = [false; 256];
            let mut $byte = 0_u8;
            loop {
                if let (_, [slot, ..]) = set.split_at_mut($byte as usize) {
                    *slot = $is_in;
                }
                if $byte == 255 {
                    break $crate::request::byte_set::ByteSet(set);
                }
                $byte += 1;
            }
        }
    };
}
pub(crate) use byte_set;

/// Letters, digits, `_` and `-`.
pub static TOKEN: ByteSet = byte_set!(b => b.is_ascii_alphanumeric() || b == b'_' || b == b'-');

const NO_DIGIT: u8 = 0xff;

static HEX_DIGITS: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut byte = 0_u8;
    loop {
        if let (_, [value, ..]) = values.split_at_mut(byte as usize) {
            *value = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                b'A'..=b'F' => byte - b'A' + 10,
                _ => NO_DIGIT,
            };
        }
        if byte == 255 {
            break values;
        }
        byte += 1;
    }
};

/// The value of a hex digit of either case.
pub fn hex_digit(byte: u8) -> Option<u8> {
    HEX_DIGITS
        .get(usize::from(byte))
        .copied()
        .filter(|&value| value != NO_DIGIT)
}

/// Two lower-case hex digits for each byte.
pub fn hex<const N: usize>(bytes: [u8; N]) -> [[u8; 2]; N] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or_default();
    bytes.map(|byte| [digit(byte >> 4), digit(byte & 15)])
}
