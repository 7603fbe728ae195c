//! Writes what is gathered, in a thread of its own, so that nobody but that thread ever waits for
//! whoever reads standard error. A line that can not be written is dropped and counted.

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::Thread;
use std::time::Duration;

use parking_lot::Mutex;

/// Bytes that may wait to be written: some 20 000 lines.
const BUFFER: usize = 8 * 1024 * 1024;
/// The longest that a line waits.
const GATHER: Duration = Duration::from_millis(20);
/// The longest wait for the last lines where nobody said another.
const PATIENCE: Duration = Duration::from_secs(1);

/// Lines on their way to the writer.
#[derive(Default)]
pub(super) struct Gathered {
    lines: Mutex<Vec<u8>>,
    dropped: AtomicU64,
    ends: AtomicBool,
}

impl Gathered {
    /// Takes a line with its line break, or counts it as dropped where too many wait.
    pub(super) fn push(&self, line: &[u8]) {
        let mut lines = self.lines.lock();
        if lines.len() + line.len() > BUFFER {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            lines.extend_from_slice(line);
        }
    }

    /// Lines dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// The writer's end: the last lines are written while this is dropped, for as long as it was told to
/// wait. A reader that does not read holds up no exit for longer.
pub struct FlushGuard {
    gathered: Arc<Gathered>,
    thread: Thread,
    /// Hears that the thread has ended.
    ended: Receiver<()>,
    patience: Duration,
}

impl FlushGuard {
    /// Writes what is gathered and ends, after `patience` at the latest.
    pub fn finish_within(mut self, patience: Duration) {
        self.patience = patience;
    }
}

impl Drop for FlushGuard {
    fn drop(&mut self) {
        self.gathered.ends.store(true, Ordering::Release);
        self.thread.unpark();
        // The thread never sends: it is gone, or the time is over.
        let _ = self.ended.recv_timeout(self.patience);
    }
}

/// Starts the thread that writes to `out`.
///
/// # Errors
/// Where there can be no further thread.
pub(super) fn start(
    gathered: Arc<Gathered>,
    mut out: impl Write + Send + 'static,
) -> std::io::Result<FlushGuard> {
    let (alive, ended) = mpsc::channel::<()>();
    let shared = gathered.clone();
    let writer = std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || {
            let _alive = alive;
            let mut batch = Batch::default();
            while !shared.ends.load(Ordering::Acquire) {
                std::thread::park_timeout(GATHER);
                batch.write(&shared, &mut out);
            }
            batch.write(&shared, &mut out);
        })?;
    Ok(FlushGuard {
        gathered,
        thread: writer.thread().clone(),
        ended,
        patience: PATIENCE,
    })
}

/// What is being written. The memory is kept.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// The rest of a line whose beginning was written when a write failed. It comes first when writing
    /// succeeds again, so that no other line hangs on to half a line.
    torn: Vec<u8>,
}

impl Batch {
    /// Writes as far as it can be written, and counts the lines of which nothing was.
    fn write(&mut self, gathered: &Gathered, out: &mut impl Write) {
        let begins_inside = !self.torn.is_empty();
        self.bytes.clear();
        self.bytes.append(&mut self.torn);
        if begins_inside {
            self.bytes.append(&mut gathered.lines.lock());
        } else {
            std::mem::swap(&mut *gathered.lines.lock(), &mut self.bytes);
        }
        let (written, rest) = self.bytes.split_at(write_all(out, &self.bytes));
        let is_inside = written.last().map_or(begins_inside, |&last| last != b'\n');
        let torn = match rest.iter().position(|&byte| byte == b'\n') {
            Some(end) if is_inside => end + 1,
            Some(_) | None => 0,
        };
        let (torn, lost) = rest.split_at(torn);
        self.torn.extend_from_slice(torn);
        let lost = memchr::memchr_iter(b'\n', lost).count();
        gathered.dropped.fetch_add(lost as u64, Ordering::Relaxed);
    }
}

/// How many bytes could be written.
fn write_all(out: &mut impl Write, bytes: &[u8]) -> usize {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match out.write(rest) {
            Ok(0) => break,
            Ok(count) => written += count,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            // Whoever shares the descriptor may have made it so.
            Err(e) if e.kind() == ErrorKind::WouldBlock => std::thread::sleep(GATHER),
            Err(_) => break,
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes as many bytes as it has room for, then is full.
    struct Disk {
        taken: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room -= count;
            self.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Writes three lines with this much room, then a fourth with all the room there is.
    fn with_room(room: usize) -> (u64, String) {
        let gathered = Gathered::default();
        let mut disk = Disk {
            taken: Vec::new(),
            room,
        };
        let mut batch = Batch::default();
        for line in ["one\n", "two\n", "three\n"] {
            gathered.push(line.as_bytes());
        }
        batch.write(&gathered, &mut disk);
        // Nothing new, and still no room.
        batch.write(&gathered, &mut disk);
        disk.room = 100;
        gathered.push(b"four\n");
        batch.write(&gathered, &mut disk);
        (gathered.dropped(), String::from_utf8(disk.taken).unwrap())
    }

    #[test]
    fn what_a_full_disk_does_not_take_is_counted_by_lines_and_a_torn_line_is_made_whole() {
        let rows = [
            (0, 3, "four\n"),
            (1, 2, "one\nfour\n"),
            (3, 2, "one\nfour\n"),
            (4, 2, "one\nfour\n"),
            (5, 1, "one\ntwo\nfour\n"),
            (8, 1, "one\ntwo\nfour\n"),
            (13, 0, "one\ntwo\nthree\nfour\n"),
            (14, 0, "one\ntwo\nthree\nfour\n"),
        ];
        for (room, lost, text) in rows {
            assert_eq!(with_room(room), (lost, text.to_owned()), "room for {room} bytes");
        }
    }

    #[test]
    fn more_than_the_buffer_holds_is_dropped_and_counted() {
        let gathered = Gathered::default();
        let line = vec![b'x'; BUFFER / 4];
        for _ in 0..6 {
            gathered.push(&line);
        }
        assert_eq!(gathered.dropped(), 2);
    }
}
