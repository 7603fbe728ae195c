//! A widget in the frame of a portal's page, in a real browser: who may show it, whether its session lasts, and
//! what its user sees where it is refused.

use serde_json::json;

use crate::browser::Browser;
use crate::common::php::PhpServer;
use crate::common::{DeadServer, Gateway, Reply, Upstream, forms};

/// A portal's page: `call(address, fields)` posts a form into its frame, as Bitrix24 does.
const PORTAL: &str = r#"<!doctype html><html lang="en"><title>portal</title><body data-loads="0">
<iframe id="widget" name="widget" title="widget" width="400" height="300"></iframe>
<script>
const loaded = document.body.dataset;
document.getElementById("widget").addEventListener("load", () => loaded.loads = Number(loaded.loads) + 1);
function call(address, fields) {
  loaded.loads = 0;
  const form = document.createElement("form");
  form.method = "post"; form.action = address; form.target = "widget";
  for (const [name, value] of Object.entries(fields)) {
    const input = document.createElement("input");
    input.type = "hidden"; input.name = name; input.value = value; form.append(input);
  }
  document.body.append(form); form.submit(); form.remove();
}
</script></body></html>"#;

/// A handler that forbids every frame, and counts in a session as PHP makes it.
const HANDLER: &str = r#"<?php session_start();
header('X-Frame-Options: SAMEORIGIN'); header("Content-Security-Policy: frame-ancestors 'self'");
$_SESSION['calls'] = ($_SESSION['calls'] ?? 0) + 1;
echo "<!doctype html><title>widget</title><p id=widget>call {$_SESSION['calls']} of {$_POST['PLACEMENT']}</p>";
"#;

struct Portal {
    gateway: Gateway,
    _page: Upstream,
}

impl Portal {
    fn start() -> Portal {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n";
        let answer = format!("{head}Content-Length: {}\r\n\r\n{PORTAL}", PORTAL.len());
        let page = Upstream::replying(Reply::Raw(answer.into_bytes().into()));
        let routes = format!(
            "[[routes]]\npath = \"/\"\nkind = \"pass\"\nupstream = \"page\"\n[upstreams.page]\nservers = [\"{}\"]\n",
            page.address
        );
        Portal {
            gateway: Gateway::on_every_carrier(routes),
            _page: page,
        }
    }

    /// The portal under a name, as DOMAIN has it.
    fn domain(&self, name: &str) -> String {
        format!("{name}.example:{}", self.gateway.tls().port())
    }

    /// Opens a page of the portal.
    fn open(&self, browser: &Browser, name: &str) {
        browser.open(&format!("https://{}/portal", self.domain(name)));
    }

    /// Posts a call into the frame and enters it once it is there.
    fn call(&self, browser: &Browser, widgets: &Gateway, domain: &str, member: &str) {
        let query = format!("DOMAIN={domain}&PROTOCOL=1&LANG=ru&APP_SID=5d41402abc4b2a76b9719d911017c592");
        let address = format!("https://widgets.example:{}/app?{query}", widgets.tls().port());
        let fields = json!({
            "AUTH_ID": forms::SECRETS[0], "member_id": member, "status": "L", "PLACEMENT": "CRM_DEAL_DETAIL_TAB",
        });
        browser.leave();
        browser.run(&format!("call({}, {fields})", json!(address)));
        browser.wait("the frame", "document.body.dataset.loads === '1'");
        browser.enter("#widget");
    }
}

/// Where a browser puts a frame that it must not show.
fn is_blocked(browser: &Browser) -> bool {
    let address = browser.value("location.href");
    address.as_str().unwrap().starts_with("chrome-error://")
}

#[test]
fn a_widget_is_shown_by_its_portal_alone_and_keeps_its_session() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("widget.php");
    std::fs::write(&script, HANDLER).unwrap();
    let sessions = format!("session.save_path={}", folder.path().display());
    let php = PhpServer::running(&["-d", &sessions], script.to_str().unwrap());
    let widgets = Gateway::on_every_carrier(format!(
        "{}[widget.frame]\n[limits.member]\nrate = \"1/h\"\nburst = 2\n",
        forms::routes(&[php.address])
    ));
    let portal = Portal::start();
    let browser = Browser::start();
    let domain = portal.domain("portal");

    portal.open(&browser, "portal");
    for call in 1..=2 {
        portal.call(&browser, &widgets, &domain, forms::MEMBER);
        let shown = browser.text("#widget");
        assert_eq!(shown, format!("call {call} of CRM_DEAL_DETAIL_TAB"));
    }

    // Over the limit: the page, in the portal's language.
    portal.call(&browser, &widgets, &domain, forms::MEMBER);
    assert_eq!(browser.text("h1"), "Приложение перегружено");
    assert_eq!(browser.value("document.documentElement.lang"), "ru");
    assert!(browser.text("#told").starts_with("429 rate_limited "));
    assert_eq!(
        browser.value("document.querySelector('#retry').disabled"),
        true,
        "not before Retry-After"
    );
    let left = browser.text("#retry");
    assert!(
        left == "Повторить 60:00" || left.starts_with("Повторить 59:"),
        "{left}"
    );
    browser.run("document.querySelector('#copy').click()");
    assert_eq!(
        browser.value("getSelection().toString()"),
        browser.text("#told").as_str()
    );
    assert_eq!(browser.accessibility_faults(), json!([]));

    // A page of another origin that calls in the portal's name.
    portal.open(&browser, "other");
    portal.call(&browser, &widgets, &domain, forms::OTHER_MEMBER);
    assert!(is_blocked(&browser), "only the portal may frame it");
    let mismatches = widgets
        .metrics()
        .value("widget_gateway_origin_mismatch_total", &[]);
    assert_eq!(mismatches, 1.0);
    // In its own name it may, and its session is another one: that of the call before, which was not shown.
    portal.call(&browser, &widgets, &portal.domain("other"), forms::OTHER_MEMBER);
    assert_eq!(browser.text("#widget"), "call 2 of CRM_DEAL_DETAIL_TAB");
}

/// The form is sent once more, and its answer shown by the portal, which is not heard the second time: its own word
/// for its port is a wrong one, as it is behind a proxy.
#[test]
fn a_frame_can_be_loaded_again() {
    let dead = DeadServer::new();
    let widgets = Gateway::on_every_carrier(format!(
        "{}[widget.frame]\n[limits.member]\nrate = \"10/m\"\nburst = 2\n",
        forms::routes(&[dead.address()])
    ));
    let portal = Portal::start();
    let browser = Browser::start();
    portal.open(&browser, "portal");
    let try_again = || {
        browser.run("document.querySelector('#retry').click()");
        browser.leave();
        browser.wait("the second load", "document.body.dataset.loads === '2'");
        browser.enter("#widget");
        assert_eq!(browser.text("body").trim(), "handled");
    };

    portal.call(&browser, &widgets, "portal.example:8888", forms::MEMBER);
    assert_eq!(browser.text("h1"), "Приложение недоступно");
    assert_eq!(browser.text("#retry"), "Повторить");
    let upstream = dead.revive();
    try_again();
    let again = upstream.take_one();
    assert_eq!(again.method(), "POST");
    let fields = String::from_utf8(again.body.clone()).unwrap();
    assert!(
        fields.contains(&format!("member_id={}", forms::MEMBER)),
        "{fields}"
    );

    // The quota is used up: once Retry-After is over, the button can be pressed.
    portal.call(&browser, &widgets, "portal.example:8888", forms::MEMBER);
    assert_eq!(browser.text("h1"), "Приложение перегружено");
    browser.wait(
        "the end of the wait",
        "!document.querySelector('#retry').disabled",
    );
    assert_eq!(browser.text("#retry"), "Повторить");
    try_again();
    assert_eq!(upstream.take_one().method(), "POST");
    let mismatches = widgets
        .metrics()
        .value("widget_gateway_origin_mismatch_total", &[]);
    assert_eq!(mismatches, 0.0, "it is no other page that calls");
}
