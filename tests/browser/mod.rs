//! A real Chromium, driven by WebDriver over plain HTTP.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::common::{Conn, PATIENCE};

const INSTALL: &str = "apt-get install -y --no-install-recommends chromium chromium-driver";

pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    folder: tempfile::TempDir,
    _only: MutexGuard<'static, ()>,
}

/// One at a time: a browser takes more processor than a small machine has.
static ONE: Mutex<()> = Mutex::new(());

/// A page as somebody has it.
#[derive(Clone, Copy)]
pub struct Look {
    pub dark: bool,
    pub width: u32,
}

/// The name of an element's id in WebDriver.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

type Lines = Box<dyn Iterator<Item = String> + Send>;

fn driver_on_a_free_port() -> Option<(Child, Lines, u16)> {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|e| panic!("chromedriver: {e}; install it: {INSTALL}"));
    let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let mut lines: Lines = Box::new(lines.map_while(Result::ok));
    let port = lines.find_map(|line| {
        let (_, port) = line.split_once("successfully on port ")?;
        port.trim_end_matches('.').parse().ok()
    });
    if port.is_none() {
        driver.wait().unwrap();
    }
    Some((driver, lines, port?))
}

impl Browser {
    pub fn start() -> Browser {
        let only = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        // It takes a port of IPv4 and the same of IPv6, and leaves where the second is in use.
        let (driver, lines, port) = (0..5)
            .find_map(|_| driver_on_a_free_port())
            .expect("chromedriver tells its port");
        // Whatever it says later must not block it.
        std::thread::spawn(move || lines.for_each(drop));
        let mut browser = Browser {
            driver,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            session: String::new(),
            folder,
            _only: only,
        };
        browser.open_session();
        browser
    }

    fn open_session(&mut self) {
        let profile = format!("--user-data-dir={}", self.folder.path().display());
        let options = json!({
            "binary": "/usr/bin/chromium",
            "args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--disable-dev-shm-usage", "--hide-scrollbars", "--test-third-party-cookie-phaseout",
                "--host-resolver-rules=MAP *.example 127.0.0.1", profile,
            ],
        });
        let wanted = json!({
            "browserName": "chrome",
            "acceptInsecureCerts": true,
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
            "timeouts": { "script": PATIENCE.as_millis() as u64 },
        });
        let answer = self.post("/session", &json!({ "capabilities": { "alwaysMatch": wanted } }));
        let id = answer["sessionId"].as_str();
        self.session = id
            .unwrap_or_else(|| panic!("no session: {answer}; is chromium there? {INSTALL}"))
            .to_owned();
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        self.ask(&format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        ))
    }

    fn ask(&self, request: &str) -> Value {
        let answer = Conn::open(self.address).roundtrip(request);
        let mut value = answer.json();
        assert_eq!(answer.status, 200, "{request}\n{value}");
        value["value"].take()
    }

    fn command(&self, name: &str, body: &Value) -> Value {
        self.post(&format!("/session/{}/{name}", self.session), body)
    }

    fn devtools(&self, command: &str, params: &Value) -> Value {
        self.command("goog/cdp/execute", &json!({ "cmd": command, "params": params }))
    }

    /// What the browser's own first page asked for is forgotten.
    pub fn open(&self, url: &str) {
        self.command("url", &json!({ "url": "about:blank" }));
        self.requests();
        self.command("url", &json!({ "url": url }));
    }

    pub fn look(&self, look: Look) {
        let scheme = if look.dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }));
        self.size(look.width, 900);
    }

    pub fn size(&self, width: u32, height: u32) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
    }

    /// What follows is about the document in this frame.
    pub fn enter(&self, selector: &str) {
        let found = self.command("element", &json!({ "using": "css selector", "value": selector }));
        let frame = json!({ "id": { ELEMENT: found[ELEMENT] } });
        self.command("frame", &frame);
    }

    /// What follows is about the page itself.
    pub fn leave(&self) {
        self.command("frame", &json!({ "id": null }));
    }

    /// Runs statements on the page.
    pub fn run(&self, script: &str) {
        self.command("execute/sync", &json!({ "script": script, "args": [] }));
    }

    /// What a promise on the page comes to.
    pub fn awaited(&self, promise: &str) -> Value {
        let script = format!("const done = arguments[0]; {promise}.then(done, (e) => done(String(e)));");
        self.command("execute/async", &json!({ "script": script, "args": [] }))
    }

    /// What axe-core finds wrong with the page for people who use it otherwise than by eye and mouse.
    pub fn accessibility_faults(&self) -> Value {
        self.run(include_str!("../fixtures/axe-core/axe.min.js"));
        self.awaited(
            "axe.run(document).then((found) => found.violations.map((fault) =>
               fault.id + ': ' + fault.nodes.map((node) => node.html + ' ' + node.failureSummary).join('; ')))",
        )
    }

    /// The value of an expression on the page.
    pub fn value(&self, expression: &str) -> Value {
        self.command(
            "execute/sync",
            &json!({ "script": format!("return {expression};"), "args": [] }),
        )
    }

    pub fn text(&self, selector: &str) -> String {
        let text = self.value(&format!("document.querySelector({selector:?}).innerText"));
        text.as_str()
            .unwrap_or_else(|| panic!("no text in {selector}"))
            .to_owned()
    }

    /// Waits until an expression holds, looking again whenever the page changes.
    pub fn wait(&self, what: &str, expression: &str) {
        let script = format!(
            "const done = arguments[0]; const holds = () => {expression};
             const look = () => {{ if (holds()) {{ observer.disconnect(); clearTimeout(late); done('holds'); }} }};
             const observer = new MutationObserver(look);
             const late = setTimeout(() => {{ observer.disconnect(); done(document.body.innerText); }}, {});
             observer.observe(document, {{ subtree: true, childList: true, characterData: true, attributes: true }});
             look();",
            PATIENCE.as_millis() * 3 / 4
        );
        let ended = self.command("execute/async", &json!({ "script": script, "args": [] }));
        assert_eq!(ended, "holds", "the page never showed {what}");
    }

    /// What the browser's console says.
    pub fn console(&self) -> Vec<Value> {
        self.log("browser")
    }

    /// The address of every request that the page made since this was asked last.
    pub fn requests(&self) -> Vec<String> {
        let events = self.log("performance").into_iter().filter_map(|entry| {
            let event: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let message = &event["message"];
            (message["method"] == "Network.requestWillBeSent")
                .then(|| message["params"]["request"]["url"].as_str().map(str::to_owned))?
        });
        events.collect()
    }

    fn log(&self, kind: &str) -> Vec<Value> {
        let entries = self.command("se/log", &json!({ "type": kind }));
        entries.as_array().cloned().expect("a list of log entries")
    }

    /// The whole page as a picture under `target/screenshots/`.
    pub fn screenshot(&self, name: &str) -> PathBuf {
        let taken = self.devtools(
            "Page.captureScreenshot",
            &json!({ "captureBeyondViewport": true }),
        );
        let picture = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            taken["data"].as_str().expect("a picture"),
        );
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join(format!("{name}.png"));
        std::fs::write(&file, picture.unwrap()).unwrap();
        file
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium ends with its session; a driver that is killed would leave it behind.
        if !self.session.is_empty() && !std::thread::panicking() {
            self.ask(&format!(
                "DELETE /session/{} HTTP/1.1\r\nHost: {}\r\n\r\n",
                self.session, self.address
            ));
        } else if !self.session.is_empty() {
            let address = self.address;
            let request = format!(
                "DELETE /session/{} HTTP/1.1\r\nHost: {address}\r\n\r\n",
                self.session
            );
            let _ = std::thread::spawn(move || Conn::open(address).roundtrip(request)).join();
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
