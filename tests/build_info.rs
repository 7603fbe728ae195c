//! What `build_info` tells of the revision is true after an incremental build too.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// A repository with a program that prints the revision it was built from, by the gateway's build script.
struct Repository {
    root: PathBuf,
    target: PathBuf,
}

impl Repository {
    fn new(folder: &Path) -> Repository {
        let root = folder.join("program");
        std::fs::create_dir_all(root.join("src")).unwrap();
        let write = |file: &str, text: &str| std::fs::write(root.join(file), text).unwrap();
        write(
            "Cargo.toml",
            "[package]\nname = \"program\"\nedition = \"2024\"\nbuild = \"src/build.rs\"\n",
        );
        write(
            "src/main.rs",
            "fn main() { println!(\"{}\", env!(\"GATEWAY_REVISION\")); }\n",
        );
        write("src/build.rs", include_str!("../src/build.rs"));
        write(".gitignore", "Cargo.lock\n");
        let repository = Repository {
            root,
            target: folder.join("target"),
        };
        repository.git(&["init", "--quiet", "--initial-branch", "main"]);
        repository.git(&["add", "--all"]);
        repository.commit();
        repository
    }

    /// Another working tree of the same repository.
    fn worktree(&self, branch: &str) -> Repository {
        let root = self.root.with_file_name(branch);
        let path = root.to_str().unwrap();
        self.git(&["worktree", "add", "--quiet", "-b", branch, path]);
        Repository {
            root,
            target: self.target.with_file_name(format!("target of {branch}")),
        }
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=test", "-c", "user.email=test@localhost"])
            .args(arguments)
            .current_dir(&self.root)
            .output()
            .unwrap();
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self) {
        self.git(&["commit", "--quiet", "--allow-empty", "--message", "one more"]);
    }

    fn program(&self) -> PathBuf {
        self.target.join("debug/program")
    }

    /// Builds and asks the program; it must tell the commit that is checked out.
    fn tells_its_revision(&self, what: &str) {
        let output = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--offline"])
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target)
            .env_remove("GATEWAY_REVISION")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let told = Command::new(self.program()).output().unwrap().stdout;
        assert_eq!(
            String::from_utf8(told).unwrap().trim(),
            self.git(&["rev-parse", "--short=12", "HEAD"]),
            "{what}"
        );
    }

    fn built_at(&self) -> SystemTime {
        std::fs::metadata(self.program()).unwrap().modified().unwrap()
    }
}

#[test]
fn a_commit_that_changes_no_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let main = Repository::new(folder.path());
    main.tells_its_revision("the first commit");
    let before = main.built_at();
    main.tells_its_revision("nothing new");
    assert_eq!(main.built_at(), before, "nothing new is built anew");
    main.commit();
    main.tells_its_revision("a commit");
    main.git(&["pack-refs", "--all"]);
    main.tells_its_revision("packed");
    main.commit();
    main.tells_its_revision("a commit on a packed branch");
    main.git(&["checkout", "--quiet", "--detach", "HEAD^"]);
    main.tells_its_revision("no branch");
    main.commit();
    main.tells_its_revision("a commit on no branch");

    let other = main.worktree("topic/of-its-own");
    other.tells_its_revision("a worktree");
    main.git(&["pack-refs", "--all"]);
    other.tells_its_revision("a worktree, packed");
    other.commit();
    other.tells_its_revision("a commit in a worktree");
}
