//! The README's lines that set a machine up, run as they stand where every program is a stub that tells
//! how it was called.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is real on the machine; everything else that a line calls has to be a stub.
const REAL: [&str; 12] = [
    "bash", "sh", "cat", "cp", "cut", "dirname", "du", "grep", "mkdir", "rm", "sed", "wc",
];
const FUZZ_TARGETS: [&str; 4] = ["form", "head", "chunks", "decision"];

struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    /// With apt-get, rustup and cargo; `more` are further programs.
    fn with(more: &[&str]) -> Machine {
        let machine = Machine {
            folder: tempfile::tempdir().unwrap(),
        };
        let programs = machine.folder.path().join("bin");
        std::fs::create_dir(&programs).unwrap();
        for name in REAL {
            let real = ["/usr/bin", "/bin"]
                .map(|folder| Path::new(folder).join(name))
                .into_iter()
                .find(|path| path.exists());
            symlink(real.unwrap_or_else(|| panic!("{name}")), programs.join(name)).unwrap();
        }
        let calls = machine.calls_file();
        let tells = |name: &str, then: &str| {
            let script = format!("#!/bin/sh\necho \"{name} $*\" >>'{}'\n{then}\n", calls.display());
            machine.program(&programs.join(name), &script);
        };
        for name in ["apt-get", "cargo", "rustup", "promtool"].iter().chain(more) {
            tells(name, if *name == "sudo" { "exec \"$@\"" } else { "" });
        }
        machine
    }

    fn program(&self, path: &Path, script: &str) {
        std::fs::write(path, script).unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn calls_file(&self) -> PathBuf {
        self.folder.path().join("calls")
    }

    /// Runs bash with these arguments. Returns every call of a stub, in its order.
    fn bash(&self, arguments: &[&str]) -> Vec<String> {
        let target = self.folder.path().join("target");
        std::fs::create_dir_all(target.join("debug")).unwrap();
        for name in FUZZ_TARGETS {
            self.program(&target.join("debug").join(name), "#!/bin/sh\necho DONE\n");
        }
        let output = Command::new("bash")
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env_clear()
            .env("PATH", self.folder.path().join("bin"))
            .env("HOME", self.folder.path())
            .env("CARGO_TARGET_DIR", target)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let calls = std::fs::read_to_string(self.calls_file()).unwrap();
        calls.lines().map(str::to_owned).collect()
    }
}

/// The one line of the README's block of shell behind this text.
fn readme(before: &str) -> String {
    let text = std::fs::read_to_string("README.md").unwrap();
    let (_, rest) = text.split_once(before).unwrap();
    let (_, block) = rest.split_once("```sh\n").unwrap();
    let (line, _) = block.split_once("\n```").unwrap();
    assert!(!line.contains('\n'), "{line}");
    line.to_owned()
}

#[test]
fn the_setup_lines_run_as_they_stand_with_and_without_sudo() {
    for (before, packages, command) in [
        ("## Run it\n", "cmake", "cargo run --release"),
        (
            "<!-- test -->\n",
            "cmake php-cgi php-cli php-fpm nginx apache2-bin prometheus redis-server chromium chromium-driver",
            "cargo test --locked",
        ),
    ] {
        let line = readme(before);
        let [update, install] = [
            "apt-get update".to_owned(),
            format!("apt-get install -y {packages}"),
        ];
        let root = Machine::with(&[]).bash(&["-c", &line]);
        assert_eq!(root, [update.as_str(), &install, command]);
        let user = Machine::with(&["sudo"]).bash(&["-c", &line]);
        let through = |call: &str| format!("sudo {call}");
        assert_eq!(
            user,
            [&through(&update), &update, &through(&install), &install, command]
        );
    }
}

#[test]
fn ci_runs_the_test_line_and_installs_what_else_it_checks_with() {
    let calls = Machine::with(&[]).bash(&[".ci/run"]);
    let position = |wanted: &str| {
        let found = calls.iter().position(|call| call == wanted);
        found.unwrap_or_else(|| panic!("{wanted} is not among {calls:#?}"))
    };
    let line = Machine::with(&[]).bash(&["-c", &readme("<!-- test -->\n")]);
    assert_eq!(calls[..line.len()], line);
    let compiler = position("apt-get install -y -qq --no-install-recommends g++");
    assert!(compiler < position("cargo build"), "the fuzz targets are C++");
    for wanted in [
        "cargo fmt --check",
        "cargo clippy --locked --all-targets -- -D warnings",
        "cargo doc --locked --no-deps",
        "promtool check rules conf/prometheus/alerts.yml",
    ] {
        position(wanted);
    }
    let with_compiler = Machine::with(&["g++"]).bash(&[".ci/run"]);
    assert!(!with_compiler.iter().any(|call| call.ends_with(" g++")));
}
