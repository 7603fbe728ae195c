//! The page of a refusal in a real browser: that it fits into a small frame in every language, can be used otherwise than
//! by eye and mouse, and is in no other language than it says.

use std::path::Path;

use serde_json::json;

use crate::browser::{Browser, Look};
use crate::common::forms::{BODY, MEMBER, SECRETS, TYPE};
use crate::common::upstream::Gate;
use crate::common::{Conn, DeadServer, Gateway, Reply, Response, Upstream};

/// A page that is wider or higher than this frame has to be scrolled.
const FRAME: (u32, u32) = (400, 300);

#[test]
fn pages_of_all_languages_fit_into_a_small_frame() {
    let dead = DeadServer::new();
    let gateway = Gateway::start(format!(
        "[[routes]]\npath = \"/app\"\nkind = \"widget\"\nupstream = \"dead\"\n\
         [[routes]]\npath = \"/dead\"\nkind = \"pass\"\nupstream = \"dead\"\n\
         [upstreams.dead]\nservers = [\"{}\"]\n",
        dead.address(),
    ));
    let browser = Browser::start();
    let mut faults = Vec::new();
    for (code, language) in LANGUAGES {
        for (what, path) in [
            ("outside", "app"),
            ("unavailable", "dead"),
            ("missing", "nowhere"),
            ("unreadable", "app"),
        ] {
            let address = format!("http://{}/{path}?LANG={code}", gateway.http());
            browser.size(FRAME.0, FRAME.1);
            match what {
                "unreadable" => {
                    browser.open("about:blank");
                    browser.run(&format!(
                        "const form = document.createElement('form'); form.method = 'post'; form.action = {};
                         document.body.append(form); form.submit()",
                        json!(address)
                    ));
                }
                _ => browser.open(&address),
            }
            browser.wait("the page", "!!document.querySelector('#told')");
            let told =
                browser.value("document.documentElement.lang + document.querySelector('#copy').hidden");
            assert_eq!(told, format!("{language}false"), "{what} in {code}");
            faults.extend(misfits(&browser).map(|misfit| format!("{what} in {code} {misfit}")));
            if what == "unavailable" {
                browser.screenshot(&format!("refusal-{code}"));
                faults.extend(barriers(&browser).map(|found| format!("{what} in {code}, {found}")));
            }
            faults.extend(english(&browser, code).map(|said| format!("{what} in {code}: {said}")));
        }
    }
    faults.extend(complaints(&browser));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// By how much the page has to be scrolled, in the frames that it has to fit.
fn misfits(browser: &Browser) -> impl Iterator<Item = String> {
    [FRAME, (320, 480)].into_iter().filter_map(|(width, height)| {
        browser.size(width, height);
        let overflow = browser.value(
            "[Math.max(0, document.documentElement.scrollWidth - innerWidth),
              Math.max(0, document.documentElement.scrollHeight - innerHeight)]",
        );
        (overflow != json!([0, 0])).then(|| format!("at {width} by {height}: {overflow}"))
    })
}

/// What is wrong with it for people who use it otherwise, in the light and in the dark.
fn barriers(browser: &Browser) -> impl Iterator<Item = String> {
    [false, true].into_iter().filter_map(|dark| {
        browser.look(Look { dark, width: 400 });
        let found = browser.accessibility_faults();
        (found != json!([])).then(|| format!("dark {dark}: {found}"))
    })
}

fn english(browser: &Browser, code: &str) -> Option<String> {
    let english = browser.value(ENGLISH);
    (code != "en" && english != json!([])).then(|| format!("{english} is English"))
}

/// What the browser has against the pages.
fn complaints(browser: &Browser) -> Vec<String> {
    let said = browser.console().into_iter().filter(|said| {
        let said = said["message"].as_str().unwrap_or_default();
        // That the page is a refusal, and that nobody drew an icon.
        !said.contains("Failed to load resource")
    });
    said.map(|said| said.to_string()).collect()
}

/// The situations into which a browser does not come by opening an address: each is brought about by hand, and its page
/// shown as it came, with its policy.
#[test]
fn pages_of_the_other_situations_fit_too() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, format!("{MEMBER} another\n")).unwrap();
    let (silent, shown) = (Upstream::start(), Upstream::start());
    silent.reply(Reply::Held(Gate::default()));
    let widget = "[[routes]]\npath = \"/app\"\nkind = \"widget\"\nupstream = \"silent\"\n";
    let silent = format!(
        "[upstreams.silent]\nservers = [\"{}\"]\ntimeout = \"50ms\"\n",
        silent.address
    );
    let gateway = Gateway::start(format!(
        "{widget}[[routes]]\npath = \"/slow\"\nkind = \"pass\"\nupstream = \"silent\"\n{silent}\
         [widget]\nbody_limit = \"1KiB\"\nbody_timeout = \"50ms\"\n\
         [verify]\nmethod = \"application_token\"\nmode = \"enforce\"\ntokens_file = {tokens:?}\n"
    ));
    let busy = Gateway::start(format!(
        "{widget}{silent}[limits.client]\nrate = \"1/h\"\nburst = 1\n"
    ));
    let page = |gateway: &Gateway, line: String, length: usize, body: &str| {
        let mut conn = Conn::open(gateway.http());
        conn.send(format!(
            "{line} HTTP/1.1\r\nHost: widgets.example\r\nAccept: text/html\r\n{TYPE}\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        conn.response()
    };
    let call = |code: &str| format!("POST /app?DOMAIN=portal.bitrix24.com&PROTOCOL=1&LANG={code}");
    assert_eq!(page(&busy, call("en"), 0, "").status, 422, "the one that may");

    let browser = Browser::start();
    let mut faults = Vec::new();
    for (code, language) in LANGUAGES {
        let pages: [(&str, Response); 5] = [
            ("429 rate_limited", page(&busy, call(code), 0, "")),
            (
                "504 upstream_timeout",
                page(&gateway, format!("GET /slow?LANG={code}"), 0, ""),
            ),
            ("413 body_too_large", page(&gateway, call(code), 2000, "")),
            ("408 body_timeout", page(&gateway, call(code), 10, "x=1")),
            (
                "403 caller_not_verified",
                page(&gateway, call(code), BODY.len(), BODY),
            ),
        ];
        for (what, page) in pages {
            let html = page.text();
            let policy = page.header("Content-Security-Policy").unwrap();
            shown.reply(Reply::Raw(
                format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Security-Policy: {policy}\r\n\
                     Content-Length: {}\r\nConnection: close\r\n\r\n{html}",
                    html.len()
                )
                .into(),
            ));
            browser.size(FRAME.0, FRAME.1);
            browser.open(&format!("http://{}/", shown.address));
            browser.wait("the page", "!!document.querySelector('#told')");
            assert_eq!(
                browser.value("document.documentElement.lang"),
                language,
                "{what} in {code}"
            );
            let told = browser.text("#told");
            assert!(told.starts_with(&format!("{what} ")), "{told} in {code}");
            faults.extend(misfits(&browser).map(|misfit| format!("{what} in {code} {misfit}")));
            if ["en", "ar"].contains(&code) {
                faults.extend(barriers(&browser).map(|found| format!("{what} in {code}, {found}")));
            }
            faults.extend(english(&browser, code).map(|said| format!("{what} in {code}: {said}")));
        }
    }
    faults.extend(complaints(&browser));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(
        SECRETS
            .iter()
            .all(|secret| !gateway.raw_logs().concat().contains(secret))
    );
}

/// Words of the page, the code and the name of the product aside, that stand in the English one.
const ENGLISH: &str = "[...document.querySelectorAll('title, h1, p, button, small')]
    .flatMap((node) => node.innerText.match(/[A-Za-z]+/g) || [])
    .filter((word) => ['The', 'the', 'app', 'not', 'Try', 'again', 'Wait', 'Copy', 'this', 'your', 'reached', 'just', 'now']
      .includes(word) && !(word === 'app' && document.documentElement.lang === 'it'))";

/// Bitrix24's codes, and what the page says that it is in.
const LANGUAGES: [(&str, &str); 20] = [
    ("ru", "ru"),
    ("id", "id"),
    ("ms", "ms"),
    ("de", "de"),
    ("en", "en"),
    ("la", "es"),
    ("fr", "fr"),
    ("in", "hi"),
    ("it", "it"),
    ("pl", "pl"),
    ("br", "pt-BR"),
    ("vn", "vi"),
    ("tr", "tr"),
    ("kz", "kk"),
    ("ua", "uk"),
    ("ar", "ar"),
    ("th", "th"),
    ("sc", "zh-CN"),
    ("tc", "zh-TW"),
    ("ja", "ja"),
];

/// The library of the accessibility check is not ours: whose it is stands beside it.
#[test]
fn the_accessibility_checker_has_its_licence() {
    let folder = Path::new("tests/fixtures/axe-core");
    let licence = std::fs::read_to_string(folder.join("LICENSE")).unwrap();
    assert!(licence.starts_with("Mozilla Public License"));
}
