//! Tells the binary what it was built from: the revision and the compiler, for `build_info`.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=GATEWAY_REVISION");
    println!("cargo::rerun-if-changed=.git/HEAD");
    let revision = std::env::var("GATEWAY_REVISION").ok();
    let revision =
        revision.or_else(|| first_line(Command::new("git").args(["rev-parse", "--short=12", "HEAD"])));
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

/// What the command prints; none where it can not run, as in a source archive without git.
fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned())
}
