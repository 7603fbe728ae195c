//! What may change while running: the file as types, the settings it comes to, the snapshot in force.

mod build;
mod certificate;
mod endpoint;
mod fault;
mod file;
mod mark;
mod parse;
mod schema;
mod settings;
mod store;
mod tree;
mod units;
mod upstreams;
mod values;

#[cfg(test)]
mod tests;

use std::io::{Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

pub use certificate::{Certificate, Certificates};
pub use fault::Fault;
pub use mark::Watched;
pub use schema::schema;
pub use settings::{
    CertPaths, EnvSpec, ListenerSettings, Loaded, LogSettings, MemberLimitSpec, ServerSettings, ServerSpec,
    Settings, TracesSettings, UpstreamSpec, restart_only_changes,
};
pub use store::Snapshot;

/// The largest configuration file, in bytes.
const LARGEST: u64 = 4 << 20;

/// Reads a file and everything it names. Opens no socket, and looks no name up.
///
/// # Errors
/// Every fault, and every warning, in the order of the file. At least one is no warning.
pub fn read(path: &Path) -> Result<Loaded, Vec<Fault>> {
    let name = path.display().to_string();
    let of_file = |message: String| vec![Fault::of_file(&name, message)];
    let watched = Watched::now(path);
    let content = read_file(path, LARGEST).map_err(|wrong| {
        of_file(format!(
            "{wrong}, allowed is a readable TOML file of at most 4MiB"
        ))
    })?;
    let text = match std::str::from_utf8(&content) {
        Ok(text) => text,
        Err(e) => {
            let before = content
                .get(..e.valid_up_to())
                .and_then(|valid| std::str::from_utf8(valid).ok());
            let (line, column) = fault::Lines::new(before.unwrap_or_default()).position(e.valid_up_to());
            let message = "a byte here is not UTF-8, allowed is UTF-8 text".to_owned();
            return Err(vec![Fault {
                line,
                column,
                ..Fault::of_file(&name, message)
            }]);
        }
    };
    if let Some(offset) = tree::too_deep(text) {
        let (line, column) = fault::Lines::new(text).position(offset);
        let message = "a key here has too many dots, allowed are at most 16".to_owned();
        return Err(vec![Fault {
            line,
            column,
            ..Fault::of_file(&name, message)
        }]);
    }
    let (settings, warnings, others) = settings(text, path, &name)?;
    let mut sha256 = Sha256::new_with_prefix(&content);
    let mut files = vec![watched];
    for (other, content) in others.contents {
        sha256.update(b"\0");
        sha256.update(other.path.as_os_str().as_encoded_bytes());
        sha256.update(b"\0");
        sha256.update(content);
        files.push(other);
    }
    let sha256 = sha256.finalize().into();
    Ok(Loaded {
        settings,
        certificates: others.certificates,
        warnings,
        sha256,
        file: path.to_owned(),
        files,
    })
}

fn settings(
    text: &str,
    path: &Path,
    name: &str,
) -> Result<(Settings, Vec<Fault>, build::Others), Vec<Fault>> {
    let (root, errors) = parse::tree(text);
    let mut faults = fault::Faults::new(name, text, tree::Index::of(&root));
    let broken = parse::tell_syntax(text, &errors, &mut faults);
    let file = parse::read(&root, text, &broken, &mut faults);
    // What the values say together is only known when the whole text could be parsed.
    let built = match file {
        Some(file) if broken.is_empty() => {
            let base = path.parent().unwrap_or(Path::new(""));
            Some(build::build(&file, base, &mut faults))
        }
        _ => None,
    };
    match built {
        Some(built) if !faults.has_errors() => Ok((built.settings, faults.into_sorted(), built.others)),
        _ => Err(faults.into_sorted()),
    }
}

/// A whole file, if it is one and not larger than that. Says what is wrong otherwise.
fn read_file(path: &Path, largest: u64) -> Result<Vec<u8>, String> {
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
        Err(faults) => {
            for fault in &faults {
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
