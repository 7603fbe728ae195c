//! What may change while running: the file as types, the settings it comes to, the snapshot in force.

mod addresses;
mod build;
mod certificate;
mod content;
mod endpoint;
mod fault;
mod file;
mod frame;
mod limits;
mod mark;
mod parse;
mod schema;
mod settings;
mod source;
mod store;
mod tree;
mod units;
mod upstreams;
mod values;
mod verify;
mod words;

#[cfg(test)]
mod tests;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

pub use certificate::{Certificate, Certificates};
use content::read_file;
pub use fault::Fault;
pub use mark::Watched;
pub use schema::schema;
pub use settings::{
    AdminToken, CertPaths, EnvSpec, ListenerSettings, Loaded, LogSettings, ServerSettings, ServerSpec,
    Settings, TracesSettings, UpstreamSpec, UpstreamTlsSpec, VerifySpec, VouchedBy, Waiting,
    restart_only_changes,
};
pub use source::{Change, Source, hex};
pub use store::Snapshot;
pub use units::{Size, Span};
pub use values::Words;

/// The largest configuration file, in bytes.
const LARGEST: u64 = 4 << 20;

/// A file that is not sound.
#[derive(Debug)]
pub struct Refused {
    /// Every fault, and every warning, in the order of the file. At least one is no warning.
    pub faults: Vec<Fault>,
    /// Every file that was looked at, whether it was there or not: once one changes, a new attempt is worth it.
    pub files: Vec<Watched>,
}

/// Reads a file and everything it names. Opens no socket, and looks no name up.
///
/// # Errors
/// What is wrong with it, and what was looked at.
pub fn read(path: &Path) -> Result<Loaded, Refused> {
    let name = path.display().to_string();
    let mut files = vec![Watched::now(path)];
    let text = match read_text(path, &name) {
        Ok(text) => text,
        Err(fault) => {
            let faults = vec![fault];
            return Err(Refused { faults, files });
        }
    };
    let mut others = build::Others::below(folder_of(path));
    let built = settings(&text, &name, &mut others);
    files.append(&mut others.files);
    let (settings, warnings) = match built {
        Ok(built) => built,
        Err(faults) => return Err(Refused { faults, files }),
    };
    let mut sha256 = Sha256::new_with_prefix(&text);
    for (other, content) in &others.contents {
        sha256.update(b"\0");
        sha256.update(other.as_os_str().as_encoded_bytes());
        sha256.update(b"\0");
        sha256.update(content);
    }
    let sha256 = sha256.finalize().into();
    let source = Source::new(text, folder_of(path), &others.contents);
    Ok(Loaded {
        settings,
        certificates: others.certificates,
        warnings,
        sha256,
        shared: source.shared(),
        source: Arc::new(source),
        files,
    })
}

/// Where the admin listener of a gateway that runs with a file is.
#[derive(Debug)]
pub struct AdminAccess {
    /// The address.
    pub address: SocketAddr,
    /// The file of the token for writes from elsewhere than loopback, if there is one.
    pub token_file: Option<PathBuf>,
}

/// Reads of a file only how its gateway is asked, whatever else is wrong in it.
///
/// # Errors
/// Every fault that was found, where they leave that open.
pub fn admin(path: &Path) -> Result<AdminAccess, Vec<Fault>> {
    let name = path.display().to_string();
    let text = read_text(path, &name).map_err(|fault| vec![fault])?;
    let (root, errors) = parse::tree(&text);
    let mut faults = fault::Faults::new(&name, &text, tree::Index::of(&root));
    let broken = parse::tell_syntax(&text, &errors, &mut faults);
    let server = parse::read(&root, &text, &broken, &mut faults).map(|file| file.server);
    match server {
        Some(server) if server.admin.is_some() || is_default(&faults, &broken) => Ok(AdminAccess {
            address: values::given_or(&server.admin, build::ADMIN),
            token_file: server
                .admin_token_file
                .map(|file| folder_of(path).join(file.value)),
        }),
        Some(_) | None => Err(faults.into_sorted()),
    }
}

/// Whether `server.admin` is not there, and not just unreadable.
fn is_default(faults: &fault::Faults<'_>, broken: &[usize]) -> bool {
    broken.is_empty() && !faults.is_unread_below("server.admin") && !faults.is_unread_below("server")
}

/// The text of a configuration file that is worth to be parsed.
fn read_text(path: &Path, name: &str) -> Result<String, Fault> {
    let content = read_file(path, LARGEST).map_err(|wrong| {
        let message = format!("{wrong}, allowed is a readable TOML file of at most 4MiB");
        Fault::of_file(name, message)
    })?;
    let at = |(line, column), message: &str| Fault {
        line,
        column,
        ..Fault::of_file(name, message)
    };
    let text = String::from_utf8(content).map_err(|e| {
        let valid = e.utf8_error().valid_up_to();
        let before = e.as_bytes().get(..valid).map(String::from_utf8_lossy);
        let position = fault::Lines::new(&before.unwrap_or_default()).position(valid);
        at(position, "a byte here is not UTF-8, allowed is UTF-8 text")
    })?;
    match tree::too_deep(&text) {
        Some(offset) => Err(at(
            fault::Lines::new(&text).position(offset),
            "a key here has too many dots, allowed are at most 16",
        )),
        None => Ok(text),
    }
}

/// Relative paths of a file start in its folder.
fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn settings(
    text: &str,
    name: &str,
    others: &mut build::Others,
) -> Result<(Settings, Vec<Fault>), Vec<Fault>> {
    let (root, errors) = parse::tree(text);
    let mut faults = fault::Faults::new(name, text, tree::Index::of(&root));
    let broken = parse::tell_syntax(text, &errors, &mut faults);
    let file = parse::read(&root, text, &broken, &mut faults);
    // What the values say together is only known when the whole text could be parsed.
    let built = match file {
        Some(file) if broken.is_empty() => Some(build::build(&file, others, &mut faults)),
        _ => None,
    };
    match built {
        Some(settings) if !faults.has_errors() => Ok((settings, faults.into_sorted())),
        _ => Err(faults.into_sorted()),
    }
}

/// The command `check`: every fault and warning on a line, one line when the file is sound. Returns
/// whether it is.
///
/// # Errors
/// Where the lines can not be written.
pub fn check(path: &Path, out: &mut impl Write) -> std::io::Result<bool> {
    match read(path) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                writeln!(out, "{warning}")?;
            }
            let Settings { server, spec, .. } = &loaded.settings;
            let routes = counted(spec.routes.len(), "route");
            let upstreams = counted(spec.upstreams.len(), "upstream");
            let listeners = counted(server.listeners.len(), "listener");
            writeln!(
                out,
                "{}: sound: {routes}, {upstreams}, {listeners}",
                path.display()
            )?;
            Ok(true)
        }
        Err(refused) => {
            for fault in &refused.faults {
                writeln!(out, "{fault}")?;
            }
            Ok(false)
        }
    }
}

fn counted(number: usize, thing: &str) -> String {
    match number {
        1 => format!("1 {thing}"),
        number => format!("{number} {thing}s"),
    }
}
