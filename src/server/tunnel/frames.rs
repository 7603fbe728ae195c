//! Where frames of WebSocket begin and end (RFC 6455 5.2), in a stream of them that is only looked at.

/// A server's close frame, status 1001: it is going away.
pub(super) const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xE9];

const CLOSE: u8 = 0x8;
/// The longest head of a frame: two bytes, a length of eight, a key of four.
const LONGEST_HEAD: usize = 14;

/// A place in a stream of frames.
#[derive(Default)]
pub(super) struct Frames {
    /// Of the frame's head, what has come.
    head: [u8; LONGEST_HEAD],
    there: usize,
    /// Once the head is whole: what is left of the payload.
    payload: Option<u64>,
    has_closed: bool,
}

impl Frames {
    /// Whether the next byte begins a frame.
    pub(super) fn is_between(&self) -> bool {
        self.there == 0 && self.payload.is_none()
    }

    /// Whether a close frame went by.
    pub(super) fn has_closed(&self) -> bool {
        self.has_closed
    }

    /// Goes past these bytes.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let passed = self.pass_one(bytes);
            bytes = bytes.get(passed..).unwrap_or_default();
        }
    }

    /// Goes past these bytes, at most to the end of the current frame: how many that were.
    pub(super) fn pass_one(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        loop {
            let left = match self.payload {
                Some(left) => left,
                None => match bytes.get(passed) {
                    Some(&byte) => {
                        passed += 1;
                        match self.push(byte) {
                            Some(length) => length,
                            None => continue,
                        }
                    }
                    None => return passed,
                },
            };
            let there = bytes.len() - passed;
            let own = usize::try_from(left).unwrap_or(usize::MAX).min(there);
            passed += own;
            let left = left - own as u64;
            if left > 0 {
                self.payload = Some(left);
                return passed;
            }
            let [first, ..] = self.head;
            self.has_closed |= first & 0x0F == CLOSE;
            (self.there, self.payload) = (0, None);
            return passed;
        }
    }

    /// Takes a byte of the head; the payload's length once it is whole.
    fn push(&mut self, byte: u8) -> Option<u64> {
        if let Some(place) = self.head.get_mut(self.there) {
            *place = byte;
            self.there += 1;
        }
        let [_, second, length @ .., _, _, _, _] = self.head;
        let long = match second & 0x7F {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let key = if second & 0x80 == 0 { 0 } else { 4 };
        if self.there < 2 + long + key {
            return None;
        }
        Some(match long {
            0 => u64::from(second & 0x7F),
            long => {
                let bytes = length.iter().take(long);
                bytes.fold(0, |length, &byte| length << 8 | u64::from(byte))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A frame as RFC 6455 spells it; `spell` is how many bytes say the length.
    fn frame(opcode: u8, spell: usize, masked: bool, payload: &[u8]) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match spell {
            0 => frame.push(mask | payload.len() as u8),
            2 => {
                frame.push(mask | 126);
                frame.extend((payload.len() as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((payload.len() as u64).to_be_bytes());
            }
        }
        if masked {
            frame.extend([1, 2, 3, 4]);
        }
        frame.extend_from_slice(payload);
        frame
    }

    fn frames() -> impl Strategy<Value = Vec<(u8, usize, bool, Vec<u8>)>> {
        let spell = prop_oneof![Just(0_usize), Just(2), Just(8)];
        let frame = (0_u8..8, spell, any::<bool>(), vec(any::<u8>(), 0..300)).prop_map(
            |(opcode, spell, masked, payload)| {
                let spell = if payload.len() > 125 { spell.max(2) } else { spell };
                (opcode, spell, masked, payload)
            },
        );
        vec(frame, 0..6)
    }

    #[test]
    fn a_long_frame_is_one() {
        let mut frames = Frames::default();
        frames.pass(&[0x82, 127, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3]);
        assert!(!frames.is_between());
        frames.pass(&[0; 100_000]);
        assert!(!frames.is_between());
    }

    proptest! {
        /// However the stream is cut into pieces, it stands between frames exactly where one ends.
        #[test]
        fn borders_are_where_frames_end(list in frames(), closes in any::<bool>(), cuts in vec(1_usize..40, 1..40)) {
            let mut bytes = Vec::new();
            let mut borders = vec![0];
            for (opcode, spell, masked, payload) in &list {
                bytes.extend(frame(*opcode, *spell, *masked, payload));
                borders.push(bytes.len());
            }
            if closes {
                bytes.extend(GOING_AWAY);
                borders.push(bytes.len());
            }
            let mut frames = Frames::default();
            let (mut at, mut cuts) = (0, cuts.iter().cycle());
            while at < bytes.len() {
                let end = (at + cuts.next().unwrap()).min(bytes.len());
                frames.pass(&bytes[at..end]);
                at = end;
                prop_assert_eq!(frames.is_between(), borders.contains(&at));
            }
            prop_assert_eq!(frames.has_closed(), closes);
            let mut one_by_one = Frames::default();
            let mut at = 0;
            for border in borders.into_iter().skip(1) {
                at += one_by_one.pass_one(&bytes[at..]);
                prop_assert_eq!(at, border);
                prop_assert!(one_by_one.is_between());
            }
        }

        #[test]
        fn any_bytes_have_an_end(bytes in vec(any::<u8>(), 0..200)) {
            Frames::default().pass(&bytes);
        }
    }
}
