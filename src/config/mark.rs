//! What tells one state of a file from another without reading it.

use std::path::{Path, PathBuf};

/// Identity, size and times of a file, through links: an atomic replace, an editor's rename and a
/// swapped ConfigMap link all show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Mark {
    /// Of what the path leads to now; none where it leads nowhere.
    pub fn of(path: &Path) -> Option<Mark> {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(path).ok()?;
        Some(Mark {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// A file whose content counts, and its state just before it was read: whatever is written after that
/// shows as a difference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watched {
    /// As it was opened.
    pub path: PathBuf,
    /// None where it was not there.
    pub mark: Option<Mark>,
}

impl Watched {
    /// The file in its present state.
    pub fn now(path: &Path) -> Watched {
        Watched {
            path: path.to_owned(),
            mark: Mark::of(path),
        }
    }

    /// The same file in its present state.
    pub fn again(&self) -> Watched {
        Watched::now(&self.path)
    }
}
