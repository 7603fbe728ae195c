//! The page for people: its language, what it offers, what it may load, and the operator's own.

use super::row::routes;
use crate::common::carrier::table;
use crate::common::forms::{self, BODY};
use crate::common::{Carrier, DeadServer, Gateway, Request, Response, Upstream};

const PAGE: &str = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// A refusal, and what its page has to have.
struct Row {
    what: &'static str,
    request: Request,
    status: u16,
    language: &'static str,
    title: &'static str,
    can_retry: bool,
}

fn refused(what: &'static str, query: &str, language: &'static str, title: &'static str) -> Row {
    Row {
        what,
        request: Request::form(&format!("/app?DOMAIN=a.example{query}"), "x=1").line(PAGE),
        status: 422,
        language,
        title,
        can_retry: false,
    }
}

fn rows() -> Vec<Row> {
    const RU: &str = "Не удалось открыть приложение";
    let browser = |row: Row, languages: &str| Row {
        request: row.request.line(format!("Accept-Language: {languages}")),
        ..row
    };
    vec![
        refused("the portal's language", "&LANG=ru", "ru", RU),
        browser(
            refused("the portal's before the browser's", "&LANG=ru", "ru", RU),
            "de,en;q=0.5",
        ),
        browser(
            refused("the browser's", "", "de", "Die App konnte nicht geöffnet werden"),
            "sv, fr;q=0.2, de-AT;q=0.9",
        ),
        browser(
            refused(
                "the browser's where the portal's is unknown",
                "&LANG=by",
                "ru",
                RU,
            ),
            "be,ru;q=0.9",
        ),
        refused("from right to left", "&LANG=ar", "ar", "تعذّر فتح التطبيق"),
        refused(
            "no language that is known",
            "&LANG=xx",
            "en",
            "The app could not be opened",
        ),
        Row {
            what: "LANG in the body",
            request: Request::form("/app", "LANG=la&x=1").line(PAGE),
            status: 422,
            language: "es",
            title: "No se pudo abrir la aplicación",
            can_retry: false,
        },
        Row {
            what: "a widget's address in a browser",
            request: Request::get("/app?LANG=fr").line(PAGE),
            status: 405,
            language: "fr",
            title: "Ouvrez cette page dans Bitrix24",
            can_retry: false,
        },
        Row {
            what: "no such page",
            request: Request::get("/nowhere").line(PAGE).line("Accept-Language: it"),
            status: 404,
            language: "it",
            title: "Questa pagina non esiste",
            can_retry: false,
        },
        Row {
            what: "a dead server behind a pass route",
            request: Request::get("/dead?LANG=tc").line(PAGE),
            status: 502,
            language: "zh-TW",
            title: "應用程式無法使用",
            can_retry: true,
        },
        Row {
            what: "a dead server behind a widget route",
            request: Request::form(
                &forms::TARGET
                    .replace("/app", "/gone")
                    .replace("LANG=en", "LANG=br"),
                BODY,
            )
            .line(PAGE),
            status: 502,
            language: "pt-BR",
            title: "O aplicativo não está disponível",
            can_retry: true,
        },
        Row {
            what: "too large",
            request: Request::form("/app?LANG=ja", vec![b'x'; 2000]).line(PAGE),
            status: 413,
            language: "ja",
            title: "送信されたデータが多すぎます",
            can_retry: false,
        },
    ]
}

fn setting(_: Carrier) -> (DeadServer, Upstream, Gateway) {
    let dead = DeadServer::new();
    let upstream = Upstream::start();
    let gateway = Gateway::on_every_carrier(format!(
        "[[routes]]\npath = \"/app\"\nkind = \"widget\"\nupstream = \"handlers\"\n\
         [[routes]]\npath = \"/gone\"\nname = \"gone\"\nkind = \"widget\"\nupstream = \"dead\"\n\
         [[routes]]\npath = \"/dead\"\nkind = \"pass\"\nupstream = \"dead\"\n\
         [upstreams.handlers]\nservers = [\"{}\"]\n[upstreams.dead]\nservers = [\"{}\"]\n\
         [widget]\nbody_limit = \"1KiB\"\n",
        upstream.address,
        dead.address(),
    ));
    (dead, upstream, gateway)
}

#[test]
fn pages_speak_the_language_of_who_reads_them() {
    let rows = rows();
    let ran = table(
        "pages",
        &rows,
        |row| row.what,
        |_, _| true,
        setting,
        |carrier, (_, upstream, gateway), row| {
            let response = carrier.ask(gateway, &row.request);
            check(&response, row);
            upstream.expect_untouched();
        },
    );
    assert_eq!(ran, [rows.len(); 5]);
}

fn check(response: &Response, row: &Row) {
    let page = response.text();
    assert_eq!(response.status, row.status, "{page}");
    assert_eq!(response.header("Content-Type"), Some("text/html; charset=utf-8"));
    assert_eq!(response.header("Content-Language"), Some(row.language));
    assert_eq!(response.header("Cache-Control"), Some("no-store"));
    let direction = if row.language == "ar" { "rtl" } else { "ltr" };
    let html = format!("<html lang=\"{}\" dir=\"{direction}\">", row.language);
    assert!(page.contains(&html), "{page}");
    assert!(page.contains(&format!("<h1>{}</h1>", row.title)), "{page}");
    assert_eq!(page.contains("id=\"retry\""), row.can_retry, "{page}");
    let id = response.header("X-Request-Id").unwrap();
    assert!(page.contains(&format!(" {id}</code>")), "{page}");

    let policy = response.header("Content-Security-Policy").unwrap();
    let nonce = policy
        .split("'nonce-")
        .nth(1)
        .unwrap()
        .split('\'')
        .next()
        .unwrap();
    assert_eq!(nonce.len(), 22, "{policy}");
    assert_eq!(
        policy,
        format!(
            "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; img-src data:; \
             base-uri 'none'"
        )
    );
    let allowed = format!(" nonce=\"{nonce}\">");
    for element in ["<style", "<script"] {
        let whole = format!("{element}{allowed}");
        assert_eq!(
            (page.matches(element).count(), page.matches(&whole).count()),
            (1, 1),
            "{page}"
        );
    }
}

#[test]
fn a_nonce_is_used_once() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(routes(&upstream));
    let ask = || {
        let response = gateway.ask(forms::request("PUT", "/app", &[PAGE], ""));
        response.header("Content-Security-Policy").unwrap().to_owned()
    };
    assert_ne!(ask(), ask());
}

#[test]
fn a_head_that_is_refused_gets_a_page_too() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(routes(&upstream));
    let lines = [PAGE, "accept-language: pl", "No Name: x"];
    let response = gateway.ask(forms::request("GET", "/app", &lines, ""));
    assert_eq!(
        (response.status, response.header("Content-Language")),
        (400, Some("pl"))
    );
}

/// The file of a running gateway's configuration, and what stands in it.
fn configuration(gateway: &Gateway) -> (std::path::PathBuf, String) {
    let config = gateway.ask_admin("GET", "/-/config").json();
    let file = std::path::PathBuf::from(config["file"].as_str().unwrap());
    let text = std::fs::read_to_string(&file).unwrap();
    (file, text)
}

#[test]
fn an_operators_page_is_hot_and_checked() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(routes(&upstream));
    let (file, text) = configuration(&gateway);
    let page = file.with_file_name("refusal.html");
    let get = || gateway.ask(forms::request("PUT", "/app?LANG=de", &[PAGE], ""));
    std::fs::write(
        &page,
        "<p lang={{ lang }}>{{ status }} {{ code }} {{ request_id }}: {{ title }}. {% if can_retry %}{{ retry }}{% endif %}",
    )
    .unwrap();
    let text = match text.contains("[widget]\n") {
        true => text.replace("[widget]\n", "[widget]\nrefusal_page = \"refusal.html\"\n"),
        false => text + "\n[widget]\nrefusal_page = \"refusal.html\"\n",
    };
    std::fs::write(&file, &text).unwrap();
    let applied = gateway.ask_admin("POST", "/-/reload");
    assert_eq!(applied.status, 200, "{}", applied.text());
    let response = get();
    let id = response.header("X-Request-Id").unwrap();
    assert_eq!(
        response.text(),
        format!("<p lang=de>405 method_not_allowed {id}: Öffnen Sie diese Seite in Bitrix24. ")
    );
    assert!(response.header("Content-Security-Policy").is_some());
    let config = gateway.ask_admin("GET", "/-/config").json();
    assert_eq!(
        config["settings"]["widget"]["refusal_page"],
        page.display().to_string()
    );

    // The file alone changes: it is a change, and one that is broken changes nothing.
    std::fs::write(&page, "{{ code }}").unwrap();
    assert_eq!(gateway.ask_admin("POST", "/-/reload").status, 200);
    assert_eq!(get().text(), "method_not_allowed");
    for (broken, place) in [
        ("<p>\n  {{ code </p>", "refusal.html:2:"),
        ("<p>\n\n{{ member_id }}", "refusal.html:3:4:"),
        ("{% if can_retry %}", "refusal.html:1:"),
    ] {
        std::fs::write(&page, broken).unwrap();
        let told = gateway.ask_admin("POST", "/-/reload");
        assert_eq!(told.status, 422, "{broken}");
        assert!(told.text().contains("widget.refusal_page: "), "{}", told.text());
        assert!(told.text().contains(place), "{}", told.text());
        assert_eq!(get().text(), "method_not_allowed", "what was sound stays");
    }
    std::fs::remove_file(&page).unwrap();
    assert_eq!(gateway.ask_admin("POST", "/-/reload").status, 422);
    assert_eq!(get().text(), "method_not_allowed");
}
