//! What tells a handler that the gateway asks, and not a neighbour on its network.

use std::path::Path;

use super::over;
use crate::common::forms::{BODY, TARGET, post, request};
use crate::common::php::PhpServer;
use crate::common::{Conn, Gateway, Received, Request, Response, Upstream};

const SECRET: &str = "correct-horse-battery-staple";
const NEXT: &str = "another-horse-another-staple";

fn write(path: &Path, secret: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, format!("{secret}\n")).unwrap();
    std::fs::rename(&new, path).unwrap();
}

/// Everything under the name, however PHP would read it.
fn proofs(received: &Received) -> Vec<(String, String)> {
    let headers = received.headers().into_iter();
    let named =
        headers.filter(|(name, _)| name.to_ascii_lowercase().replace(['_', '.'], "-") == "x-gateway-proof");
    named
        .map(|(name, value)| (name.to_ascii_lowercase(), String::from_utf8(value).unwrap()))
        .collect()
}

#[test]
fn the_proof_is_the_gateways_alone_and_nobody_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proof.secret");
    write(&file, SECRET);
    let (server, bare) = (Upstream::start(), Upstream::start());
    let proof = format!(
        "proof = {{ header = \"X-Gateway-Proof\", secret_file = \"{}\" }}\n",
        file.display()
    );
    let check = "[upstreams.handlers.check]\npath = \"/health\"\ninterval = \"1h\"\n";
    let other = format!(
        "[[routes]]\nname = \"bare\"\npath = \"/bare\"\nkind = \"pass\"\nupstream = \"bare\"\n\
         [upstreams.bare]\nservers = [\"{}\"]\n",
        bare.address
    );
    let rest = over(&[server.address], &format!("{proof}{check}{other}"));
    let gateway = Gateway::start(rest);
    let is = |secret: &str| vec![("x-gateway-proof".to_owned(), secret.to_owned())];
    server.wait_for(1);
    let check = server.take_one();
    assert_eq!(
        (check.target(), proofs(&check)),
        (b"/health".to_vec(), is(SECRET))
    );
    let claimed = [
        "X-Gateway-Proof: mine",
        "x_gateway_proof: mine",
        "X.Gateway-Proof: mine",
        "Connection: X-Gateway-Proof",
    ];
    let ask = || {
        assert_eq!(gateway.ask(post(TARGET, &claimed, BODY)).status, 200);
        for passed in [Request::get("/"), Request::upload()] {
            let passed = passed.lines(claimed).to_http1("HTTP/1.1");
            assert_eq!(gateway.ask(passed).status, 200);
        }
        server.take().iter().map(proofs).collect::<Vec<_>>()
    };
    assert_eq!(ask(), [is(SECRET), is(SECRET), is(SECRET)]);
    assert_eq!(gateway.ask(request("GET", "/bare", &[], "")).status, 200);
    assert_eq!(proofs(&bare.take_one()), []);

    write(&file, NEXT);
    assert_eq!(gateway.reload_lines(1)[0]["result"], "applied");
    assert_eq!(ask(), [is(NEXT), is(NEXT), is(NEXT)]);

    let config = gateway.ask_admin("GET", "/-/config");
    let shown = &config.json()["settings"]["upstreams"]["handlers"]["proof"];
    assert_eq!(
        (&shown["header"], &shown["secret_file"]),
        (&"x-gateway-proof".into(), &file.display().to_string().into())
    );
    let mut told = gateway.raw_logs();
    told.extend(
        ["/-/config", "/-/status", "/metrics", "/"]
            .map(|path| gateway.ask_admin("GET", path).text().to_owned()),
    );
    let explained = std::process::Command::new(env!("CARGO_BIN_EXE_widget-gateway"))
        .args(["explain", "-c"])
        .arg(gateway.file())
        .arg({
            let asked = folder.path().join("request");
            std::fs::write(&asked, post(TARGET, &claimed, BODY)).unwrap();
            asked
        })
        .output()
        .unwrap();
    let words = String::from_utf8(explained.stdout).unwrap();
    assert!(
        words.contains("header set: x-gateway-proof: the secret of its file"),
        "{words}"
    );
    told.push(words);
    for told in told {
        assert!(!told.contains(SECRET) && !told.contains(NEXT), "{told}");
    }
}

#[test]
fn the_shipped_script_lets_nobody_in_but_the_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let [file, script] = ["proof.secret", "inside.php"].map(|name| folder.path().join(name));
    write(&file, SECRET);
    let required = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/php/proof.php");
    std::fs::write(&script, format!("<?php require '{required}'; echo 'inside';")).unwrap();
    let secret = format!("gateway.proof_file={}", file.display());
    let php = PhpServer::running(&["-d", &secret], script.to_str().unwrap());
    let proof = format!(
        "proof = {{ header = \"X-Gateway-Proof\", secret_file = \"{}\" }}\n",
        file.display()
    );
    let gateway = Gateway::start(over(&[php.address], &proof));
    let inside = |answer: Response| (answer.status, answer.text() == "inside");
    assert_eq!(inside(gateway.ask(post(TARGET, &[], BODY))), (200, true));
    assert_eq!(inside(gateway.ask(request("GET", "/", &[], ""))), (200, true));
    let by_hand = |lines: &[&str]| inside(Conn::open(php.address).roundtrip(request("GET", "/", lines, "")));
    assert_eq!(by_hand(&[]), (403, false));
    assert_eq!(
        by_hand(&["X-Gateway-Proof: correct-horse-battery-stapler"]),
        (403, false)
    );
    // Beside the new one, the old one is taken too; a file without a secret lets nobody in.
    std::fs::write(&file, format!("{SECRET}\n{NEXT}\n")).unwrap();
    let line = format!("X-Gateway-Proof: {NEXT}");
    assert_eq!(by_hand(&[line.as_str()]), (200, true));
    std::fs::write(&file, "").unwrap();
    assert_eq!(by_hand(&["X-Gateway-Proof:"]), (403, false));
}
