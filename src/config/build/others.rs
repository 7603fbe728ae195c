//! The files that the configuration names.

use std::path::{Path, PathBuf};

use crate::config::certificate::Certificates;
use crate::config::content::read_file;
use crate::config::fault::Faults;
use crate::config::mark::Watched;
use crate::config::values::{At, quoted};

/// The files that the configuration names, as they were read: what is judged, served and hashed is the
/// same content.
pub struct Others {
    /// Relative paths start here.
    base: PathBuf,
    /// Each that was asked for, readable or not.
    pub files: Vec<Watched>,
    pub contents: Vec<(PathBuf, Vec<u8>)>,
    pub certificates: Certificates,
}

impl Others {
    /// None yet; relative paths start at `base`.
    pub fn below(base: &Path) -> Others {
        Others {
            base: base.to_owned(),
            files: Vec::new(),
            contents: Vec::new(),
            certificates: Certificates::new(),
        }
    }

    /// Where a file is that the configuration names.
    pub fn path(&self, given: &At<String>) -> PathBuf {
        self.base.join(&given.value)
    }

    /// Reads one more, and takes it for what it has to be; what is wrong with it otherwise.
    pub fn read<T>(
        &mut self,
        given: &At<String>,
        largest: u64,
        of: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<T, String> {
        let path = self.path(given);
        self.files.push(Watched::now(&path));
        let content = read_file(&path, largest)?;
        let made = of(&content);
        self.contents.push((path, content));
        made
    }

    /// The same; what is wrong with it is told.
    pub fn load<T>(
        &mut self,
        given: &At<String>,
        largest: u64,
        allowed: &str,
        faults: &mut Faults<'_>,
        of: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Option<T> {
        let tell = |wrong| {
            let given_as = quoted(&given.value);
            faults.at(&given.span, format!("{given_as} {wrong}, allowed is {allowed}"));
        };
        self.read(given, largest, of).map_err(tell).ok()
    }
}
