//! The content of a file.

use std::io::Read as _;
use std::path::Path;

/// A whole file, if it is one and not larger than that. Says what is wrong otherwise.
pub(super) fn read_file(path: &Path, largest: u64) -> Result<Vec<u8>, String> {
    let unreadable = |e: std::io::Error| format!("can not be read: {e}");
    // Before it is opened: a FIFO would block.
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if metadata.is_dir() {
        return Err("is a directory".to_owned());
    }
    if !metadata.is_file() {
        return Err("is no regular file".to_owned());
    }
    let mut content = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(largest + 1)
        .read_to_end(&mut content)
        .map_err(unreadable)?;
    if content.len() as u64 > largest {
        return Err(format!("is over {largest} bytes"));
    }
    Ok(content)
}
