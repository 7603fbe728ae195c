//! What an answer says of the frame that shows it (`[widget.frame]`): the handler's headers, the call, and
//! what comes of both, whatever carries it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::common::carrier::table;
use crate::common::{Carrier, Gateway, Reply, Request, Response, Upstream, forms};
use serde_json::json;

/// The names that the gateway may touch; of others everything stays.
const TOUCHED: [&str; 6] = [
    "content-security-policy",
    "content-security-policy-report-only",
    "x-frame-options",
    "set-cookie",
    "cache-control",
    "referrer-policy",
];

struct Row {
    what: &'static str,
    /// Lines of the configuration; the widget route is in `enforce` unless they say otherwise.
    frame: &'static str,
    call: Call,
    handler: &'static [&'static str],
    client: &'static [&'static str],
    /// What `origin_mismatch_total` moves by.
    mismatches: f64,
}

#[derive(Clone, Copy)]
enum Call {
    /// A placement with these values of DOMAIN and PROTOCOL and these lines.
    Placement(&'static str, &'static str, &'static [&'static str]),
    Event,
    Own,
    Get,
}

const ALL: &str = "[widget.frame]\n";
const ANCESTORS: &str = "[widget.frame]\ncookies = \"keep\"\nno_store = false\n";
const COOKIES: &str = "[widget.frame]\nancestors = \"keep\"\nno_store = false\n";
const STORE: &str = "[widget.frame]\nancestors = \"keep\"\ncookies = \"keep\"\n";
const OBSERVE: &str = "[widget]\nmode = \"observe\"\n[widget.frame]\ncookies = \"keep\"\nno_store = false\n";

const PLAIN: Call = Call::Placement("portal.bitrix24.com", "1", &[]);
const STRICT: &[&str] = &[
    "X-Frame-Options: SAMEORIGIN",
    "Content-Security-Policy: frame-ancestors 'self'",
    "Set-Cookie: PHPSESSID=1; path=/; SameSite=Lax",
    "Cache-Control: private, max-age=60",
];
const PORTAL: &str = "content-security-policy: frame-ancestors https://portal.bitrix24.com";
const OTHER: &str = "content-security-policy: frame-ancestors http://crm.local:8080";

fn rows() -> Vec<Row> {
    let row = |what, frame, call, handler, client| Row {
        what,
        frame,
        call,
        handler,
        client,
        mismatches: 0.0,
    };
    let differs = |row: Row| Row {
        mismatches: 1.0,
        ..row
    };
    vec![
        row(
            "without the table nothing is touched",
            "",
            Call::Placement("portal.bitrix24.com", "1", &["Origin: https://evil.example"]),
            STRICT,
            &[
                "x-frame-options: SAMEORIGIN",
                "content-security-policy: frame-ancestors 'self'",
                "set-cookie: PHPSESSID=1; path=/; SameSite=Lax",
                "cache-control: private, max-age=60",
            ],
        ),
        row(
            "all of it",
            ALL,
            PLAIN,
            STRICT,
            &[
                PORTAL,
                "set-cookie: PHPSESSID=1; path=/; SameSite=None; Secure; Partitioned",
                "cache-control: no-store",
                "referrer-policy: same-origin",
            ],
        ),
        row("a handler that says nothing", ANCESTORS, PLAIN, &[], &[PORTAL]),
        row(
            "a policy in several lines",
            ANCESTORS,
            PLAIN,
            &[
                "Content-Security-Policy: default-src 'self'",
                "Content-Security-Policy: img-src *; frame-ancestors 'none'; font-src *, frame-ancestors 'self'",
            ],
            &[
                "content-security-policy: default-src 'self'",
                "content-security-policy: img-src *; frame-ancestors https://portal.bitrix24.com; font-src *, frame-ancestors https://portal.bitrix24.com",
            ],
        ),
        row(
            "a policy without ancestors",
            ANCESTORS,
            PLAIN,
            &[
                "Content-Security-Policy: default-src 'self';",
                "X-Frame-Options: DENY",
            ],
            &["content-security-policy: default-src 'self'; frame-ancestors https://portal.bitrix24.com"],
        ),
        row(
            "what is only reported stays",
            ANCESTORS,
            PLAIN,
            &["Content-Security-Policy-Report-Only: frame-ancestors 'none'"],
            &[
                "content-security-policy-report-only: frame-ancestors 'none'",
                PORTAL,
            ],
        ),
        row(
            "the browser's word for a portal that does not know its port",
            ANCESTORS,
            Call::Placement("crm.local:8080", "0", &["Origin: https://crm.local"]),
            &[],
            &["content-security-policy: frame-ancestors https://crm.local"],
        ),
        row(
            "a page that hides its origin",
            ANCESTORS,
            Call::Placement("crm.local:8080", "0", &["Origin: null"]),
            &[],
            &[OTHER],
        ),
        differs(row(
            "another host is counted",
            ANCESTORS,
            Call::Placement("crm.local:8080", "0", &["Origin: https://evil.example"]),
            &[],
            &[OTHER],
        )),
        differs(row(
            "a host that only begins like the portal's",
            ANCESTORS,
            Call::Placement("crm.local:8080", "0", &["Origin: https://crm.local.evil.example"]),
            &[],
            &[OTHER],
        )),
        differs(row(
            "an origin that would be more than one",
            ANCESTORS,
            Call::Placement(
                "crm.local:8080",
                "0",
                &["Origin: https://crm.local; script-src *"],
            ),
            &[],
            &[OTHER],
        )),
        differs(row(
            "an origin that is a list",
            ANCESTORS,
            Call::Placement(
                "crm.local:8080",
                "0",
                &["Origin: https://crm.local https://evil.example"],
            ),
            &[],
            &[OTHER],
        )),
        row(
            "a host that no policy can spell",
            ANCESTORS,
            Call::Placement("[2001:db8::1]", "1", &[]),
            &["X-Frame-Options: SAMEORIGIN"],
            &["x-frame-options: SAMEORIGIN"],
        ),
        row(
            "observed, it is reported",
            OBSERVE,
            PLAIN,
            &[
                "X-Frame-Options: DENY",
                "Content-Security-Policy: frame-ancestors 'self'",
                "Content-Security-Policy-Report-Only: default-src 'self'; report-uri /r",
            ],
            &[
                "x-frame-options: DENY",
                "content-security-policy: frame-ancestors 'self'",
                "content-security-policy-report-only: default-src 'self'; report-uri /r; frame-ancestors https://portal.bitrix24.com",
            ],
        ),
        row(
            "a domain that injects is observed and allows nobody",
            OBSERVE,
            Call::Placement("portal.bitrix24.com;script-src", "1", &[]),
            &["X-Frame-Options: DENY"],
            &["x-frame-options: DENY"],
        ),
        row(
            "cookies, one line each",
            COOKIES,
            PLAIN,
            &[
                "Set-Cookie: a=1; Secure; HttpOnly",
                "Set-Cookie: b=\"x y\"; samesite=strict; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
                "X-Frame-Options: DENY",
            ],
            &[
                "set-cookie: a=1; HttpOnly; SameSite=None; Secure; Partitioned",
                "set-cookie: b=\"x y\"; Expires=Thu, 01 Jan 1970 00:00:00 GMT; SameSite=None; Secure; Partitioned",
                "x-frame-options: DENY",
            ],
        ),
        row(
            "what the handler forbids itself stays",
            STORE,
            PLAIN,
            &[
                "Cache-Control: no-store, no-cache",
                "Referrer-Policy: no-referrer",
            ],
            &[
                "cache-control: no-store, no-cache",
                "referrer-policy: no-referrer",
            ],
        ),
        row(
            "an address that would be told",
            STORE,
            PLAIN,
            &["Referrer-Policy: unsafe-url"],
            &["cache-control: no-store", "referrer-policy: same-origin"],
        ),
        row(
            "an event is in no frame",
            ALL,
            Call::Event,
            &["X-Frame-Options: DENY"],
            &["x-frame-options: DENY"],
        ),
        row(
            "the page's own request comes from the handler's origin",
            ALL,
            Call::Own,
            &["X-Frame-Options: DENY", "Set-Cookie: a=1"],
            &[
                "x-frame-options: DENY",
                "set-cookie: a=1; SameSite=None; Secure; Partitioned",
                "cache-control: no-store",
                "referrer-policy: same-origin",
            ],
        ),
        row(
            "a pass route",
            ALL,
            Call::Get,
            &["X-Frame-Options: DENY", "Set-Cookie: a=1"],
            &["x-frame-options: DENY", "set-cookie: a=1"],
        ),
    ]
}

fn request(call: Call) -> Request {
    match call {
        Call::Placement(domain, protocol, lines) => {
            let domain = domain.replace(';', "%3B");
            let target = format!("/app?DOMAIN={domain}&PROTOCOL={protocol}&LANG=en");
            Request::form(&target, forms::BODY).lines(lines.iter().copied())
        }
        Call::Event => Request::form(
            "/app",
            format!(
                "event=ONAPPTEST&auth[domain]=portal.bitrix24.com&auth[member_id]={}",
                forms::MEMBER
            ),
        ),
        Call::Own => {
            Request::form("/app", "DOMAIN=portal.bitrix24.com&x=1").line("Origin: https://widgets.example")
        }
        Call::Get => Request::get("/app").line("Origin: https://evil.example"),
    }
}

fn touched(response: &Response) -> Vec<String> {
    let headers = response.headers.iter();
    let lines = headers.map(|(name, value)| (name.to_ascii_lowercase(), value));
    lines
        .filter(|(name, _)| TOUCHED.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {value}"))
        .collect()
}

#[test]
fn answers_are_fit_for_the_frame_of_their_portal() {
    let rows = rows();
    let ran = table(
        "answers in frames",
        &rows,
        |row| row.what,
        |_, _| true,
        |_| Settings::default(),
        check,
    );
    assert_eq!(ran, [rows.len(); 5]);
}

/// A gateway for each configuration, and how many requests it has had.
type Settings = Mutex<BTreeMap<&'static str, (Upstream, Gateway, usize)>>;

fn check(carrier: Carrier, settings: &Settings, row: &Row) {
    let lines: String = row.handler.iter().map(|line| format!("{line}\r\n")).collect();
    let answer = format!("HTTP/1.1 200 OK\r\nX-Own: 1\r\n{lines}Content-Length: 2\r\nX-Last: 2\r\n\r\nok");
    let mut settings = settings.lock().unwrap();
    let (upstream, gateway, asked) = settings.entry(row.frame).or_insert_with(|| {
        let upstream = Upstream::start();
        let accepts = "kind = \"widget\"\naccepts = [\"placement\", \"event\", \"own\"]";
        let routes = forms::routes(&[upstream.address]).replace("kind = \"widget\"", accepts);
        let gateway = Gateway::on_every_carrier(routes + row.frame);
        (upstream, gateway, 0)
    });
    upstream.reply(Reply::Raw(answer.into_bytes().into()));
    let mismatches = |gateway: &Gateway, asked| {
        let metrics = gateway.metrics_after(asked);
        metrics.value("widget_gateway_origin_mismatch_total", &[])
    };
    let before = mismatches(gateway, *asked);
    let response = carrier.ask(gateway, &request(row.call));
    *asked += 1;
    assert_eq!((response.status, response.text()), (200, "ok"));
    assert_eq!(touched(&response), row.client);
    assert_eq!(
        (response.header("X-Own"), response.header("X-Last")),
        (Some("1"), Some("2"))
    );
    assert_eq!(mismatches(gateway, *asked) - before, row.mismatches);
}

#[test]
fn the_policy_is_hot_and_told() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(forms::routes(&[upstream.address]));
    let file = gateway.ask_admin("GET", "/-/config").json()["file"].clone();
    let file = file.as_str().unwrap();
    let plain = gateway.ask(Request::call().to_http1("HTTP/1.1"));
    assert_eq!(touched(&plain), [""; 0]);
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, format!("{text}{ALL}")).unwrap();
    assert_eq!(gateway.ask_admin("POST", "/-/reload").status, 200);
    let framed = gateway.ask(Request::call().to_http1("HTTP/1.1"));
    assert_eq!(
        touched(&framed),
        [PORTAL, "cache-control: no-store", "referrer-policy: same-origin"]
    );
    assert_eq!(
        gateway.ask_admin("GET", "/-/config").json()["settings"]["widget"]["frame"],
        json!({ "ancestors": "portal", "cookies": "partitioned", "no_store": true })
    );
}
