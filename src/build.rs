//! Tells the binary what it was built from: the revision and the compiler, for `build_info`.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=GATEWAY_REVISION");
    // Without a line of this kind, any changed file of the package would run this again.
    println!("cargo::rerun-if-changed=src/build.rs");
    let revision = std::env::var("GATEWAY_REVISION").ok().or_else(|| {
        for file in moves_with_head() {
            println!("cargo::rerun-if-changed={}", file.display());
        }
        git(&["rev-parse", "--short=12", "HEAD"])
    });
    let rustc = std::env::var("RUSTC")
        .ok()
        .and_then(|rustc| first_line(Command::new(rustc).arg("--version")));
    println!(
        "cargo::rustc-env=GATEWAY_REVISION={}",
        revision.as_deref().unwrap_or("unknown")
    );
    println!(
        "cargo::rustc-env=GATEWAY_RUSTC={}",
        rustc.as_deref().unwrap_or("unknown")
    );
}

/// What changes when HEAD becomes another commit. A commit on a branch leaves the file HEAD alone and
/// writes the branch's; that one is not there while the branch is packed, and in a worktree none of them
/// is below `.git`. Cargo takes a path that does not exist for one that always changes.
fn moves_with_head() -> Vec<PathBuf> {
    let path = |name: &str| git(&["rev-parse", "--git-path", name]).map(PathBuf::from);
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]).and_then(|branch| path(&branch));
    let branch = branch.and_then(|file| {
        let there = file.ancestors().find(|place| place.exists());
        there.map(Path::to_path_buf)
    });
    ["HEAD", "packed-refs", "reftable"]
        .into_iter()
        .filter_map(path)
        .filter(|file| file.exists())
        .chain(branch)
        .collect()
}

fn git(arguments: &[&str]) -> Option<String> {
    first_line(Command::new("git").args(arguments))
}

/// What the command prints; none where it can not run, as in a source archive without git.
fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned())
}
