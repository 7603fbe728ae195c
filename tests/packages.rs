//! What is shipped beside the program says what the program takes, and names what is there.

use std::path::{Path, PathBuf};
use std::process::Command;

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The file is sound, and nothing in it is suspicious.
fn assert_sound(file: &Path) {
    let output = Command::new(env!("CARGO_BIN_EXE_widget-gateway"))
        .args(["check", "-c"])
        .arg(file)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.lines().count() == 1,
        "{}: {told}",
        file.display()
    );
}

/// The lines of a block scalar (`key: |`), without what they are indented by.
fn block(yaml: &str, key: &str) -> String {
    let mut lines = yaml.lines().skip_while(|line| line.trim() != format!("{key}: |"));
    let indent = |line: &str| line.len() - line.trim_start().len();
    let outer = indent(lines.next().unwrap_or_else(|| panic!("no {key}")));
    let inside = lines.take_while(|line| line.trim().is_empty() || indent(line) > outer);
    let text: Vec<_> = inside.collect();
    let by = indent(text.iter().find(|line| !line.trim().is_empty()).expect("a line"));
    text.iter()
        .map(|line| line.get(by..).unwrap_or_default().to_owned() + "\n")
        .collect()
}

#[test]
fn the_shipped_configurations_are_sound() {
    for file in [
        "conf/container/gateway.toml",
        "conf/container/example/gateway/gateway.toml",
    ] {
        assert_sound(Path::new(file));
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    std::fs::write(
        &file,
        block(&read("conf/kubernetes/configmap.yaml"), "gateway.toml"),
    )
    .unwrap();
    assert_sound(&file);
}

/// A container's port is published at an address of its own: what listens on loopback is reached by nobody.
#[test]
fn the_image_listens_where_a_container_must_and_asks_itself() {
    assert!(read("conf/container/gateway.toml").contains("\nlisten = [\"0.0.0.0:8080\"]\n"));
    let image = read("conf/container/Containerfile");
    assert!(
        image.contains(
            "COPY --from=build /src/conf/container/gateway.toml /etc/widget-gateway/gateway.toml\n"
        )
    );
    assert!(image.contains(" CMD [\"widget-gateway\", \"health\"]\n"));
}

#[test]
fn the_operators_rules_are_the_shipped_rules() {
    const RULES: &str = "conf/prometheus/alerts.yml";
    const MANIFEST: &str = "conf/kubernetes/monitoring/prometheus-rule.yaml";
    let (rules, manifest) = (read(RULES), read(MANIFEST));
    let groups = &rules[rules.find("groups:\n").expect("groups")..];
    let indented = groups.split_inclusive('\n').map(|line| match line.trim() {
        "" => line.to_owned(),
        _ => format!("  {line}"),
    });
    let (head, _) = manifest.split_once("\nspec:\n").expect("a spec");
    let wanted = format!("{head}\nspec:\n{}", indented.collect::<String>());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(MANIFEST, &wanted).unwrap();
    }
    assert!(
        read(MANIFEST) == wanted,
        "{MANIFEST} has other rules than {RULES}: UPDATE=1 writes it anew"
    );
}

/// What a package or an image is put together from, and what a manifest names beside itself.
#[test]
fn everything_that_is_packed_is_there() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let deb = &manifest["package"]["metadata"]["deb"];
    let mut sources: Vec<PathBuf> = Vec::new();
    for asset in deb["assets"].as_array().unwrap() {
        let source = asset[0].as_str().unwrap();
        // The build makes these.
        if !source.starts_with("target/") {
            sources.push(source.trim_end_matches("/*").into());
        }
    }
    sources.push("conf/systemd/widget-gateway.service".into());
    for folder in ["conf/kubernetes", "conf/kubernetes/monitoring"] {
        let listed = read(&format!("{folder}/kustomization.yaml"));
        let items = listed.lines().filter_map(|line| line.trim().strip_prefix("- "));
        sources.extend(items.map(|item| Path::new(folder).join(item)));
    }
    let compose = read("conf/container/compose.yaml");
    let mounts = compose
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- ./"));
    sources.extend(mounts.map(|mount| Path::new("conf/container").join(mount.split(':').next().unwrap())));
    assert!(sources.len() > 15, "{sources:?}");
    let missing: Vec<_> = sources.iter().filter(|source| !source.exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let conffile = deb["conf-files"][0].as_str().unwrap();
    assert!(read("conf/systemd/widget-gateway.service").contains(conffile));
}

/// The least Rust that is promised is enough for everything that is built with it, as far as its authors say.
#[test]
fn no_dependency_wants_a_newer_rust_than_is_promised() {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--locked",
            "--offline",
            "--format-version",
            "1",
            "--filter-platform",
        ])
        .arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH))
        .output()
        .unwrap();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    let version = |text: &str| -> Vec<u32> { text.split('.').map(|part| part.parse().unwrap()).collect() };
    let packages = told["packages"].as_array().unwrap();
    let wants = |package: &&serde_json::Value| Some(version(package["rust_version"].as_str()?));
    let own = packages
        .iter()
        .find(|package| package["name"] == "widget-gateway");
    let promised = own.as_ref().and_then(wants).expect("rust-version");
    // A promise of 1.88 is one of 1.88.0.
    let is_newer = |package: &&serde_json::Value| {
        wants(package).is_some_and(|wanted| wanted.get(..2) > promised.get(..2))
    };
    let newer: Vec<_> = packages.iter().filter(is_newer).map(|it| &it["name"]).collect();
    assert!(newer.is_empty(), "{newer:?}");
    assert!(packages.len() > 100, "{}", packages.len());
}
