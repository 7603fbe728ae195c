//! The status page in a real browser: it shows what happens, says when it lost the gateway, asks nobody
//! else and leaves the console quiet.

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use crate::browser::{Browser, Look};
use crate::common::store::{FakeStore, Redis, Says};
use crate::common::{Conn, DeadServer, Gateway, Setup, Upstream, forms};
use nix::sys::signal::Signal;

const DESKTOP: Look = Look {
    dark: false,
    width: 1280,
};
const DESKTOP_DARK: Look = Look {
    dark: true,
    width: 1280,
};
const PHONE: Look = Look {
    dark: false,
    width: 390,
};
const PHONE_DARK: Look = Look {
    dark: true,
    width: 390,
};

fn gateway(upstream: &Upstream, dead: &DeadServer) -> Gateway {
    let limits = "[limits.member]\nrate = \"5/s\"\nburst = 10\n[limits]\nmax_keys = 1000\n";
    let rest = format!(
        "{}[upstreams.reports]\nservers = [\"{}\", \"{}\"]\n\
         [[routes]]\npath = \"/reports\"\nname = \"reports\"\nkind = \"pass\"\nupstream = \"reports\"\n{limits}",
        forms::routes(&[upstream.address]),
        upstream.address,
        dead.address(),
    );
    Gateway::with(Setup::of(rest).server("drain_delay = \"1ms\"\n"))
}

/// Calls of six members, one of them too many, with a share that is refused.
fn call(conn: &mut Conn, round: usize) {
    let member = match round % 8 {
        at @ 0..3 => at,
        _ => 7,
    };
    let body = forms::BODY.replace("3f7a90c1d2e45b68a0719cbe8d243f56", &format!("{member:032x}"));
    let target = forms::TARGET.replace("portal.", &format!("portal{member}."));
    match round % 20 {
        5 => conn.roundtrip(forms::post("/app?DOMAIN=a.example", &[], "PLACEMENT=DEFAULT")),
        11 => conn.roundtrip(forms::post(&target, &[], format!("{body}&LANG=de"))),
        17 => conn.roundtrip(forms::request("GET", "/reports", &[], "")),
        _ => conn.roundtrip(forms::post(&target, &[], body)),
    };
}

/// Calls as long as the test runs on; paced, so that the browser has a processor too.
fn under_traffic<T>(gateway: &Gateway, test: impl FnOnce() -> T) -> T {
    // Ends with the test, also where that fails: the scope waits for the traffic.
    let (running, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut conn = gateway.connect();
            for round in 0.. {
                call(&mut conn, round);
                if round % 50 == 49 {
                    conn = gateway.connect();
                }
                if ended.recv_timeout(Duration::from_millis(10)) != Err(mpsc::RecvTimeoutError::Timeout) {
                    break;
                }
            }
        });
        let _running = running;
        test()
    })
}

fn configuration_file(gateway: &Gateway) -> PathBuf {
    let config = gateway.ask_admin("GET", "/-/config").json();
    config["file"].as_str().expect("the file").into()
}

fn assert_quiet(browser: &Browser, gateway: &Gateway) {
    let complaints = browser.console();
    assert!(complaints.is_empty(), "{complaints:#?}");
    let own = format!("http://{}/", gateway.admin());
    let requests = browser.requests();
    assert!(
        requests.iter().any(|url| url.ends_with("/-/status")),
        "{requests:?}"
    );
    for url in &requests {
        assert!(url.starts_with(&own) || url == "data:,", "a request to {url}");
    }
}

/// Nothing stands beyond the right edge.
fn assert_fits(browser: &Browser) {
    let overflow =
        browser.value("document.documentElement.scrollWidth - document.documentElement.clientWidth");
    assert_eq!(overflow, 0, "the page is wider than its window");
}

/// Nor does anything on the page scroll sideways by itself.
fn assert_nothing_scrolls(browser: &Browser) {
    assert_fits(browser);
    let wide = browser.value(
        "[...document.querySelectorAll('.scroll')].filter((node) => node.scrollWidth > node.clientWidth)
           .map((node) => `${node.ariaLabel}: ${node.scrollWidth} in ${node.clientWidth}`)",
    );
    assert_eq!(wide, serde_json::json!([]), "tables are wider than their place");
}

/// As much as an installation has: eight routes, servers with the long names of a cluster, every limit, a store.
fn crowded(upstream: &Upstream, store: &FakeStore) -> Gateway {
    let kinds = [
        "crm-deal-detail-tab",
        "task-view-sidebar",
        "imopenlines-sidebar",
        "landing-settings",
    ];
    let names = kinds.map(|kind| format!("portal-widgets-{kind}-production"));
    let mut rest = String::new();
    for (at, name) in names.iter().enumerate() {
        rest += &format!(
            "[[routes]]\npath = \"/applications/production/{name}/handlers/index.php\"\nname = \"{name}\"\n\
             kind = \"widget\"\nmode = \"{}\"\nupstream = \"{name}\"\n\
             [[routes]]\npath = \"/applications/production/{name}/static/assets/\"\nname = \"{name}-files\"\n\
             kind = \"pass\"\nupstream = \"{name}\"\n\
             [upstreams.{name}]\nservers = [\"{}\", \"{name}-0.{name}.bitrix24-widgets.invalid:18080\"]\n",
            if at == 0 { "observe" } else { "enforce" },
            upstream.address,
        );
    }
    rest += &format!(
        "[limits]\nmax_keys = 1000000\n[limits.client]\nrate = \"10000/s\"\n[limits.gateway]\nrate = \"100000/s\"\n\
         [limits.member]\nrate = \"5/s\"\nburst = 10\n[limits.event]\nrate = \"50/s\"\n\
         [[limits.placement]]\nmatch = \"PAGE_BACKGROUND_WORKER\"\nrate = \"6000/h\"\n\
         [[limits.placement]]\nmatch = \"CRM_DYNAMIC_*\"\nrate = \"600/m\"\n\
         [[limits.overrides]]\nmember_id = \"{}\"\nrate = \"500/s\"\n\
         [limits.shared]\nurl = \"redis://{}\"\nreplicas = 12\n",
        forms::OTHER_MEMBER,
        store.address
    );
    Gateway::with(Setup::of(rest))
}

#[test]
fn a_crowded_page_needs_no_scrolling_sideways() {
    let (upstream, store) = (Upstream::start(), FakeStore::start());
    let gateway = crowded(&upstream, &store);
    let mut conn = gateway.connect();
    for kind in ["crm-deal-detail-tab", "task-view-sidebar"] {
        let path = format!("/applications/production/portal-widgets-{kind}-production/handlers/index.php");
        for body in [
            forms::BODY.to_owned(),
            format!("{}&LANG=de", forms::BODY),
            "PLACEMENT=X".to_owned(),
        ] {
            for _ in 0..12 {
                conn.roundtrip(forms::post(&forms::TARGET.replace("/app", &path), &[], &body));
            }
        }
    }
    store.says(Says::Nothing);
    let browser = Browser::start();
    browser.look(DESKTOP);
    browser.open(&format!("http://{}/", gateway.admin()));
    browser.wait(
        "everything that has a place",
        "document.querySelectorAll('#routes tbody tr').length >= 8
         && document.querySelectorAll('#servers tbody tr').length === 8
         && document.querySelector('#servers').innerText.includes('invalid:18080')
         && document.querySelector('#policies').innerText.includes('shared by a store')
         && document.querySelectorAll('#busiest tbody tr').length > 0
         && document.querySelectorAll('#would-refuse tbody tr').length > 0",
    );
    for (look, name) in [(DESKTOP, "crowded-light"), (DESKTOP_DARK, "crowded-dark")] {
        browser.look(look);
        assert_nothing_scrolls(&browser);
        browser.screenshot(name);
    }
    browser.look(PHONE);
    assert_fits(&browser);
    assert_quiet(&browser, &gateway);
}

#[test]
fn the_page_tells_the_truth_at_a_glance() {
    let upstream = Upstream::start();
    let dead = DeadServer::new();
    let gateway = gateway(&upstream, &dead);
    let browser = Browser::start();
    browser.look(DESKTOP);
    browser.open(&format!("http://{}/", gateway.admin()));
    browser.wait(
        "the first numbers",
        "document.querySelector('#verdict p').innerText.includes('Serving')",
    );
    assert!(browser.text("#generation").contains('1'));
    assert!(browser.text("#servers").contains("up"));
    browser.screenshot("idle-light");

    under_traffic(&gateway, || {
        browser.wait(
            "requests",
            "/[1-9][0-9]*\\/s/.test(document.querySelector('#tiles dd').innerText)",
        );
        browser.wait(
            "a refusal",
            "document.querySelector('#refusals').innerText.includes('ambiguous_field')",
        );
        browser.wait(
            "the busiest member",
            "document.querySelector('#busiest tbody th').innerText.includes('00000007')
             && document.querySelector('#busiest tbody th').innerText.includes('portal7.bitrix24.com')",
        );
        browser.wait(
            "a limited member",
            "document.querySelector('#limited tbody th').innerText.includes('00000007')",
        );
        browser.wait(
            "the dead server",
            "document.querySelector('#servers').innerText.includes('DOWN')",
        );
        assert!(
            browser.text("#verdict").contains("look at this"),
            "{}",
            browser.text("#verdict")
        );
        browser.wait(
            "a plot that moved on",
            "document.querySelectorAll('#numbers tbody tr').length > 1
             && document.querySelector('#all').getAttribute('aria-label').includes('now')
             && document.querySelector('#all .line').getAttribute('d').split('L').length > 5",
        );
        for (look, name) in [
            (DESKTOP, "traffic-light"),
            (DESKTOP_DARK, "traffic-dark"),
            (PHONE, "traffic-phone-light"),
            (PHONE_DARK, "traffic-phone-dark"),
        ] {
            browser.look(look);
            assert_fits(&browser);
            browser.screenshot(name);
        }
        assert_quiet(&browser, &gateway);
    });

    browser.look(DESKTOP);
    let file = configuration_file(&gateway);
    let sound = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        format!("{sound}\n[widget]\nbody_limit = \"9GiB\"\nmode = \"<b>perhaps</b>\"\n"),
    )
    .unwrap();
    assert_eq!(gateway.ask_admin("POST", "/-/reload").status, 422);
    browser.wait(
        "the refused reload",
        "document.querySelector('#verdict').innerText.includes('REFUSED')
         && document.querySelector('#reloads').innerText.includes('widget.body_limit')
         && document.querySelector('#reloads').innerText.includes('<b>perhaps</b>')",
    );
    assert!(browser.text("#verdict").contains("Generation 1 stays in force"));
    for (look, name) in [
        (DESKTOP, "reload-light"),
        (DESKTOP_DARK, "reload-dark"),
        (PHONE, "reload-phone-light"),
    ] {
        browser.look(look);
        assert_fits(&browser);
        browser.screenshot(name);
    }
    std::fs::write(&file, format!("{sound}\n[widget]\nbody_limit = \"1MiB\"\n")).unwrap();
    browser.wait(
        "the fix",
        "!document.querySelector('#verdict').innerText.includes('REFUSED')
         && document.querySelector('#generation').innerText === '2'",
    );
    assert_quiet(&browser, &gateway);

    browser.look(DESKTOP);
    upstream.take();
    let gate = upstream.hold();
    let mut last = gateway.connect();
    let body = forms::BODY.replace(forms::MEMBER, forms::OTHER_MEMBER);
    last.send(forms::post(forms::TARGET, &[], body));
    upstream.wait_for(1);
    gateway.signal(Signal::SIGTERM);
    browser.wait(
        "the drain",
        "document.querySelector('#verdict').innerText.includes('Draining')",
    );
    browser.screenshot("draining-light");
    gate.open();
    assert_eq!(last.response().status, 200);
    assert!(gateway.stop().success());
    browser.wait(
        "the loss",
        "document.title.includes('\u{2716}') && /Lost the gateway at \\d\\d:/.test(document.querySelector('#verdict').innerText)
         && document.body.classList.contains('stale')",
    );
    assert!(browser.text("#verdict").contains("Everything below is as of"));
    for (look, name) in [
        (DESKTOP, "lost-light"),
        (DESKTOP_DARK, "lost-dark"),
        (PHONE_DARK, "lost-phone-dark"),
    ] {
        browser.look(look);
        assert_fits(&browser);
        browser.screenshot(name);
    }
}

#[test]
fn the_page_can_be_paused_and_used_by_keyboard_and_screen_reader() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(forms::routes(&[upstream.address]));
    let browser = Browser::start();
    browser.look(PHONE);
    browser.open(&format!("http://{}/", gateway.admin()));
    browser.wait(
        "the first numbers",
        "document.querySelector('#verdict p').innerText.includes('Serving')",
    );
    let unnamed = browser.value(
        "[...document.querySelectorAll('section, svg, meter, button, [tabindex], table')].filter((node) =>
           !(node.ariaLabel || node.getAttribute('aria-labelledby') || node.innerText || node.caption)).map((node) => node.outerHTML)",
    );
    assert_eq!(
        unnamed,
        serde_json::json!([]),
        "everything that is more than text has a name"
    );
    let labels = browser.value(
        "[...document.querySelectorAll('[aria-labelledby]')].flatMap((node) => node.getAttribute('aria-labelledby').split(' '))
           .filter((id) => !document.getElementById(id))",
    );
    assert_eq!(labels, serde_json::json!([]));
    let headless = browser.value(
        "[...document.querySelectorAll('thead th')].filter((th) => !th.scope).map((th) => th.innerText)",
    );
    assert_eq!(
        headless,
        serde_json::json!([]),
        "every heading of a table has its scope"
    );
    assert_eq!(
        browser.value("document.querySelector('#verdict').getAttribute('aria-live')"),
        "polite"
    );
    browser.value("document.querySelector('#pause').click()");
    assert_eq!(
        browser.value("document.querySelector('#pause').getAttribute('aria-pressed')"),
        "true"
    );
    browser.wait(
        "the pause",
        "document.querySelector('#age').innerText.startsWith('Paused')",
    );
    browser.value("document.querySelector('#pause').click()");
    browser.wait(
        "updates",
        "document.querySelector('#age').innerText.includes('updates every')",
    );
    assert_quiet(&browser, &gateway);
}

#[test]
fn the_page_notices_a_gateway_that_hangs_and_its_return() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(forms::routes(&[upstream.address]));
    let browser = Browser::start();
    browser.open(&format!("http://{}/", gateway.admin()));
    browser.wait(
        "the first numbers",
        "document.querySelector('#verdict p').innerText.includes('Serving')",
    );
    gateway.signal(Signal::SIGSTOP);
    browser.wait(
        "the loss",
        "document.querySelector('#verdict').innerText.includes('did not answer within 5 seconds')",
    );
    gateway.signal(Signal::SIGCONT);
    browser.wait(
        "the return",
        "document.querySelector('#verdict p').innerText.includes('Serving')
         && !document.body.classList.contains('stale')",
    );
}

#[test]
fn the_page_says_what_enforcing_would_refuse() {
    let upstream = Upstream::start();
    let routes = forms::routes(&[upstream.address]).replacen(
        "kind = \"widget\"",
        "kind = \"widget\"\nenforce = 10",
        1,
    );
    let gateway = Gateway::start(routes);
    let browser = Browser::start();
    browser.look(DESKTOP);
    browser.open(&format!("http://{}/", gateway.admin()));
    browser.wait(
        "the portion",
        "document.querySelector('#routes').innerText.includes('enforce for 10 %')",
    );
    assert_eq!(
        browser.value("document.querySelector('#observed').hidden"),
        true,
        "nothing was observed"
    );
    let body = forms::BODY.replace(forms::MEMBER, "00000000000000000000000000000002");
    let answer = gateway.ask(forms::post(forms::TARGET, &[], body + "&LANG=de"));
    assert_eq!(answer.status, 200);
    browser.wait(
        "what would be refused",
        "document.querySelector('#would-refuse').innerText.includes('ambiguous_field: LANG conflict')
         && document.querySelector('#would-refuse').innerText.includes('\u{2248} 1')",
    );
    browser.look(PHONE);
    assert_fits(&browser);
    browser.screenshot("observed-phone-light");
    assert_quiet(&browser, &gateway);
}

#[test]
fn the_page_shows_the_store_of_limits_and_what_judges_requests() {
    let mut redis = Redis::start(&[]);
    let upstream = Upstream::start();
    let limits = format!(
        "[limits.member]\nrate = \"1/h\"\nburst = 5\n\
         [limits.shared]\nurl = \"redis://{}\"\ntimeout = \"1s\"\nlease = 1\nreplicas = 4\n",
        redis.address()
    );
    let gateway = Gateway::start(format!("{}{limits}", forms::routes(&[upstream.address])));
    let browser = Browser::start();
    browser.look(PHONE);
    browser.open(&format!("http://{}/", gateway.admin()));
    let shows = |text: &str| {
        browser.wait(
            text,
            &format!("document.querySelector('#policies').innerText.includes({text:?})"),
        );
    };
    shows("\u{2714} up, up to 1 request away");
    shows("nothing yet");
    let mut conn = gateway.connect();
    let mut ask = || {
        conn.roundtrip(forms::post(forms::TARGET, &[], forms::BODY))
            .status
    };
    let statuses: Vec<u16> = (0..10).map(|_| ask()).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429, 429, 429, 429, 429]);
    shows("what is leased 50 % (5 refused), asking it 50 %, this gateway alone 0 %");
    assert!(!browser.text("#verdict").contains("store"));
    redis.kill();
    shows("\u{2716} down: 1 of 4 of each quota is granted here");
    shows("connection ");
    browser.wait(
        "the verdict",
        "document.querySelector('#verdict').innerText.includes('The store that limits are shared by is down')",
    );
    assert_fits(&browser);
    browser.screenshot("store-phone-light");
    assert_quiet(&browser, &gateway);
}
