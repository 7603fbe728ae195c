//! Real PHP behind the gateway: what a handler sees in `$_GET`, `$_POST`, `$_REQUEST`, `$_COOKIE`,
//! `$_SERVER` and `php://input` is what the gateway promised.

use crate::common::forms::{self, BODY, MEMBER, QUERY, TARGET, chunked, post, request};
use crate::common::php::{PhpServer, Seen};
use crate::common::{Gateway, Setup, shown};
use serde_json::Value;

/// As php.ini-production says, and as a container image without any php.ini is.
const PROFILES: [&[&str]; 2] = [&["-d", "request_order=GP"], &["-n"]];

/// What the gateway sets on a widget call, as PHP names it.
const OURS: [&str; 12] = [
    "HTTP_X_BITRIX24_APP_SID",
    "HTTP_X_BITRIX24_DOMAIN",
    "HTTP_X_BITRIX24_LANG",
    "HTTP_X_BITRIX24_LOCALE",
    "HTTP_X_BITRIX24_MEMBER_ID",
    "HTTP_X_BITRIX24_MESSAGE",
    "HTTP_X_BITRIX24_PLACEMENT",
    "HTTP_X_BITRIX24_PLACEMENT_OPTIONS",
    "HTTP_X_BITRIX24_PLACEMENT_OPTIONS_STATE",
    "HTTP_X_BITRIX24_PORTAL",
    "HTTP_X_BITRIX24_PROTOCOL",
    "HTTP_X_BITRIX24_STATUS",
];

fn setting(profile: &[&str]) -> (PhpServer, Gateway) {
    let php = PhpServer::start(profile);
    let gateway = Gateway::start(forms::routes(&[php.address]));
    (php, gateway)
}

fn seen(gateway: &Gateway, bytes: &[u8]) -> Seen {
    let response = gateway.ask(bytes);
    assert_eq!(
        response.status,
        200,
        "{}: {}",
        shown(bytes),
        shown(&response.body)
    );
    Seen::of_body(&response.body)
}

fn bitrix_names(seen: &Seen) -> Vec<String> {
    seen.names("server")
        .into_iter()
        .filter(|name| name.contains("BITRIX24"))
        .collect()
}

#[test]
fn every_accepted_case_reads_the_same_in_php() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("fixtures/widgets.json")).unwrap();
    let mut count = 0;
    for profile in PROFILES {
        let (_php, gateway) = setting(profile);
        for case in cases.iter().filter(|case| case["expect"]["outcome"] == "accept") {
            let name = case["name"].as_str().unwrap();
            let (target, body) = (case["path"].as_str().unwrap(), case["body"].as_str().unwrap());
            let seen = seen(&gateway, &post(target, &[], body));
            let canonical = &case["expect"]["canonical"];
            for (field, header, key) in [
                ("DOMAIN", "DOMAIN", "domain"),
                ("LANG", "LANG", "lang"),
                ("member_id", "MEMBER_ID", "member_id"),
                ("PLACEMENT", "PLACEMENT", "placement"),
                ("APP_SID", "APP_SID", "app_sid"),
                ("status", "STATUS", "status"),
            ] {
                let want = canonical[key]
                    .as_str()
                    .filter(|text| !text.is_empty())
                    .map(str::to_owned);
                assert_eq!(
                    seen.text("request", field).filter(|v| !v.is_empty()),
                    want,
                    "{name}: $_REQUEST[{field}]"
                );
                let header = format!("HTTP_X_BITRIX24_{header}");
                assert_eq!(seen.text("server", &header), want, "{name}: {header}");
            }
            assert_eq!(
                seen.text("request", "PROTOCOL").as_deref(),
                canonical["protocol"].as_str(),
                "{name}"
            );
            assert_eq!(
                seen.text("server", "REQUEST_URI").as_deref(),
                Some(target),
                "{name}"
            );
            assert_eq!(
                seen.text("server", "REQUEST_METHOD").as_deref(),
                Some("POST"),
                "{name}"
            );
            assert_eq!(
                seen.text("server", "HTTP_HOST").as_deref(),
                Some("widgets.example"),
                "{name}"
            );
            assert_eq!(shown(&seen.raw_body()), shown(body.as_bytes()), "{name}");
            count += 1;
        }
    }
    assert_eq!(count, 2 * 23);
}

/// Every spelling that some server between here and PHP turns into `HTTP_X_BITRIX24_…`.
fn look_alikes() -> Vec<String> {
    let mut lines = Vec::new();
    for name in [
        "Member-Id",
        "Domain",
        "Protocol",
        "Portal",
        "Lang",
        "Locale",
        "Placement",
        "App-Sid",
        "Status",
        "Anything",
    ] {
        for separator in ["-", "_", ".", "~", "!", "+"] {
            let spelled = format!("X-Bitrix24-{name}").replace('-', separator);
            lines.push(format!("{spelled}: evil"));
            lines.push(format!("{}: evil", spelled.to_lowercase()));
        }
        lines.push(format!("X_Bitrix24-{name}: evil"));
        lines.push(format!("X-Bitrix24_{}: evil", name.replace('-', "_")));
    }
    lines
}

#[test]
fn look_alikes_never_become_our_headers() {
    for profile in PROFILES {
        let (_php, gateway) = setting(profile);
        let lines = look_alikes();
        // In groups: a head has at most a hundred lines.
        for group in lines.chunks(80) {
            let group: Vec<&str> = group.iter().map(String::as_str).collect();
            let call = seen(&gateway, &post(TARGET, &group, BODY));
            assert_eq!(bitrix_names(&call), OURS, "{group:?}");
            assert_eq!(
                call.text("server", "HTTP_X_BITRIX24_MEMBER_ID").as_deref(),
                Some(MEMBER)
            );
            for name in OURS {
                assert!(!call.text("server", name).unwrap().contains("evil"), "{name}");
            }
            // There the application may have names of its own.
            let of_ours = |line: &&str| !line.to_ascii_lowercase().contains("anything");
            let group: Vec<&str> = group.into_iter().filter(of_ours).collect();
            let probe = seen(&gateway, &request("GET", "/", &group, ""));
            assert_eq!(
                bitrix_names(&probe),
                [""; 0],
                "a pass route establishes nothing: {group:?}"
            );
        }
    }
}

#[test]
fn a_header_of_ours_that_comes_twice_is_still_ours() {
    let (_php, gateway) = setting(PROFILES[0]);
    let lines = [
        "X-Bitrix24-Member-Id: evil",
        "X-Bitrix24-Member-Id: worse",
        "X_BITRIX24_MEMBER_ID: worst",
    ];
    let call = seen(&gateway, &post(TARGET, &lines, BODY));
    assert_eq!(
        call.text("server", "HTTP_X_BITRIX24_MEMBER_ID").as_deref(),
        Some(MEMBER)
    );
}

#[test]
fn connection_can_not_name_ours_away() {
    let (_php, gateway) = setting(PROFILES[0]);
    for named in [
        "close, Content-Type",
        "Content-Type",
        "content-length",
        "X-Bitrix24-Member-Id",
        "keep-alive, X-Bitrix24-Member-Id, X-Bitrix24-Domain",
        "X-Request-Id",
        "Cookie",
    ] {
        let line = format!("Connection: {named}");
        let response = gateway.ask(post(TARGET, &[&line, "X-Bitrix24-Member-Id: evil"], BODY));
        if response.status == 400 {
            // Refusing is as good as forwarding everything; forwarding half is not.
            assert_eq!(response.json()["code"], "malformed_request", "{named}");
            continue;
        }
        assert_eq!(response.status, 200, "{named}");
        let call = Seen::of_body(&response.body);
        assert_eq!(bitrix_names(&call), OURS, "{named}");
        assert_eq!(
            call.text("server", "HTTP_X_BITRIX24_MEMBER_ID").as_deref(),
            Some(MEMBER),
            "{named}"
        );
        assert_eq!(
            call.text("post", "member_id").as_deref(),
            Some(MEMBER),
            "{named}: PHP did not read the body"
        );
        assert!(call.text("server", "HTTP_X_REQUEST_ID").is_some(), "{named}");
        assert_eq!(shown(&call.raw_body()), BODY, "{named}");
    }
}

#[test]
fn headers_of_other_gateways_are_not_believed() {
    let (_php, gateway) = setting(PROFILES[0]);
    let lines = [
        "X-Forwarded-For: 6.6.6.6",
        "X_Forwarded_For: 6.6.6.6",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Port: 1",
        "Forwarded: for=6.6.6.6",
        "X-Real-IP: 6.6.6.6",
        "X-Original-URL: /admin",
        "X-Rewrite-URL: /admin",
        "X-HTTP-Method-Override: GET",
        "X-Accel-Redirect: /etc/passwd",
        "Proxy: http://evil.example",
        "X-Request-Id: mine",
        "Content_Length: 1",
        "Content_Type: text/plain",
        "Upgrade: h2c",
        "Client-IP: 6.6.6.6",
        "X-Client-IP: 6.6.6.6",
        "X-Cluster-Client-IP: 6.6.6.6",
        "True-Client-IP: 6.6.6.6",
        "CF-Connecting-IP: 6.6.6.6",
        "Forwarded-For: 6.6.6.6",
        "X-Forwarded: 6.6.6.6",
        "X-Forwarded-Ssl: on",
        "X-Forwarded-Prefix: /evil",
        "X-Forwarded-Anything: evil",
        "X-Host: evil.example",
        "X-Original-Host: evil.example",
        "Front-End-Https: on",
        "X-Url-Scheme: https",
        "Remote-User: evil",
        "X-Remote-User: evil",
        "Client_IP: 6.6.6.6",
        "X-Bitrix24-Verified: evil",
        "X-Bitrix24-User-Id: evil",
    ];
    for bytes in [post(TARGET, &lines, BODY), request("GET", "/", &lines, "")] {
        let call = seen(&gateway, &bytes);
        for name in [
            "HTTP_FORWARDED",
            "HTTP_X_FORWARDED_SSL",
            "HTTP_FRONT_END_HTTPS",
            "HTTP_X_URL_SCHEME",
            "HTTP_X_ORIGINAL_URL",
            "HTTP_X_REWRITE_URL",
            "HTTP_X_HTTP_METHOD_OVERRIDE",
            "HTTP_X_ACCEL_REDIRECT",
            "HTTP_PROXY",
            "HTTP_UPGRADE",
            "HTTP_X_FORWARDED_PORT",
        ] {
            assert_eq!(call.text("server", name), None, "{name}");
        }
        for name in ["HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP"] {
            assert_eq!(call.text("server", name).as_deref(), Some("127.0.0.1"), "{name}");
        }
        assert_eq!(
            call.text("server", "HTTP_X_FORWARDED_HOST").as_deref(),
            Some("widgets.example")
        );
        assert_eq!(
            call.text("server", "HTTP_X_FORWARDED_PROTO").as_deref(),
            Some("http")
        );
        assert_ne!(call.text("server", "HTTP_X_REQUEST_ID").as_deref(), Some("mine"));
        for name in call.names("server") {
            let value = call.text("server", &name).unwrap();
            assert!(
                !value.contains("evil") && !value.contains("6.6.6.6"),
                "{name}: {value}"
            );
        }
    }
}

#[test]
fn a_proxy_in_front_says_who_the_client_is() {
    let php = PhpServer::start(PROFILES[0]);
    let setup = Setup::of(forms::routes(&[php.address])).top("trusted_proxies = [\"127.0.0.1\"]");
    let gateway = Gateway::with(setup);
    let lines = [
        "X-Forwarded-For: 6.6.6.6",
        "X-Real-IP: 7.7.7.7",
        "True-Client-IP: 6.6.6.6",
        "X-Forwarded-Ssl: on",
        "Client_IP: 7.7.7.7",
    ];
    let call = seen(&gateway, &post(TARGET, &lines, BODY));
    for (name, value) in [
        ("HTTP_X_FORWARDED_FOR", Some("6.6.6.6, 127.0.0.1")),
        ("HTTP_X_REAL_IP", Some("6.6.6.6")),
        ("HTTP_TRUE_CLIENT_IP", Some("6.6.6.6")),
        ("HTTP_X_FORWARDED_SSL", Some("on")),
        ("HTTP_CLIENT_IP", None),
    ] {
        assert_eq!(call.text("server", name).as_deref(), value, "{name}");
    }
}

#[test]
fn a_proxy_that_nobody_listed_is_noticed() {
    let (_php, gateway) = setting(PROFILES[0]);
    for line in [
        "X-Forwarded-Proto: https",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Proto: http",
        "X-A: b",
    ] {
        seen(&gateway, &post(TARGET, &[line], BODY));
    }
    gateway.request_lines(4);
    gateway.metric_reaches("widget_gateway_forwarding_headers_replaced_total", &[], 2.0);
    let told = gateway
        .logs()
        .into_iter()
        .filter(|line| line["msg"] == "X-Forwarded-Proto was replaced");
    let told: Vec<_> = told.collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (&told[0]["level"], &told[0]["client"]),
        (&"warn".into(), &"127.0.0.1".into())
    );
}

#[test]
fn an_application_keeps_its_own_names_on_a_pass_route() {
    let (_php, gateway) = setting(PROFILES[0]);
    let lines = ["X-Bitrix24-Signature: own", "X-Bitrix24-Member-Id: evil"];
    let page = seen(&gateway, &request("GET", "/", &lines, ""));
    assert_eq!(bitrix_names(&page), ["HTTP_X_BITRIX24_SIGNATURE"]);
    let call = seen(&gateway, &post(TARGET, &lines, BODY));
    assert_eq!(bitrix_names(&call), OURS);
}

#[test]
fn cookie_lines_arrive_as_one() {
    let (_php, gateway) = setting(PROFILES[0]);
    let cookies = ["Cookie: a=1; b=2", "Cookie: c=3"];
    for bytes in [post(TARGET, &cookies, BODY), request("GET", "/", &cookies, "")] {
        let call = seen(&gateway, &bytes);
        assert_eq!(
            call.text("server", "HTTP_COOKIE").as_deref(),
            Some("a=1; b=2; c=3")
        );
    }
}

#[test]
fn cookies_that_outrank_the_form_do_not_arrive() {
    for profile in PROFILES {
        let (_php, gateway) = setting(profile);
        let cookies = [
            "Cookie: session=s; member_id=evil; member.id=evil;  member_id[]=evil",
            "Cookie: member[id=evil; DOMAIN=evil; AUTH.ID=evil; theme=dark; \tPLACEMENT=evil",
        ];
        let call = seen(&gateway, &post(TARGET, &cookies, BODY));
        assert_eq!(call.names("cookie"), ["session", "theme"], "{}", call.known());
        assert_eq!(call.text("request", "member_id").as_deref(), Some(MEMBER));
        assert_eq!(
            call.text("request", "DOMAIN").as_deref(),
            Some("portal.bitrix24.com")
        );
    }
}

#[test]
fn framing_and_type_are_written_anew() {
    let (_php, gateway) = setting(PROFILES[0]);
    let typed = |line: &str| {
        request(
            "POST",
            TARGET,
            &[line, "Transfer-Encoding: chunked", "TE: trailers"],
            chunked(BODY.as_bytes(), 100),
        )
    };
    for line in [
        "Content-Type: application/x-www-form-urlencoded",
        "content-type: Application/X-WWW-Form-URLencoded ;charset=UTF-8",
        "Content-Type:\tapplication/x-www-form-urlencoded; charset=\"utf-8\"",
    ] {
        let call = seen(&gateway, &typed(line));
        let length = BODY.len().to_string();
        assert_eq!(
            call.text("server", "CONTENT_TYPE").as_deref(),
            Some("application/x-www-form-urlencoded"),
            "{line}"
        );
        assert_eq!(call.text("server", "CONTENT_LENGTH"), Some(length), "{line}");
        assert_eq!(call.text("server", "HTTP_TRANSFER_ENCODING"), None, "{line}");
        assert_eq!(call.text("post", "member_id").as_deref(), Some(MEMBER), "{line}");
        assert_eq!(shown(&call.raw_body()), BODY, "{line}");
    }
}

#[test]
fn the_query_alone_is_a_call_too() {
    let (_php, gateway) = setting(PROFILES[0]);
    let target = format!("/?{QUERY}&member_id={MEMBER}&PLACEMENT=DEFAULT");
    let call = seen(&gateway, &post(&target, &[], ""));
    assert_eq!(call.names("post"), [""; 0]);
    assert_eq!(call.text("request", "member_id").as_deref(), Some(MEMBER));
    assert_eq!(
        call.text("server", "HTTP_X_BITRIX24_MEMBER_ID").as_deref(),
        Some(MEMBER)
    );
    assert_eq!(
        call.text("server", "HTTP_X_BITRIX24_PLACEMENT_OPTIONS_STATE")
            .as_deref(),
        Some("absent")
    );
}
