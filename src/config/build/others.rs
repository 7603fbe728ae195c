//! The files that the configuration names.

use std::path::PathBuf;

use crate::config::certificate::Certificates;
use crate::config::content::read_file;
use crate::config::mark::Watched;

/// The files that the configuration names, as they were read: what is judged, served and hashed is the
/// same content.
#[derive(Default)]
pub struct Others {
    /// Each that was asked for, readable or not.
    pub files: Vec<Watched>,
    pub contents: Vec<(PathBuf, Vec<u8>)>,
    pub certificates: Certificates,
}

impl Others {
    /// Reads one more; what is wrong with it otherwise.
    pub fn read(&mut self, path: PathBuf, largest: u64) -> Result<&[u8], String> {
        self.files.push(Watched::now(&path));
        let content = read_file(&path, largest)?;
        self.contents.push((path, content));
        Ok(self
            .contents
            .last()
            .map(|(_, content)| content.as_slice())
            .unwrap_or_default())
    }
}
