use std::sync::Arc;

use super::*;
use crate::policy::Mode;
use crate::policy::judge::{Grammar, judge};
use crate::policy::route::WidgetRoute;
use crate::policy::validate::Call;
use crate::request::field::{Domain, MemberIdShape, ServerEndpoints};
use crate::request::form::Form;
use crate::request::message::{Kind, Kinds};

const MEMBER: &str = "3f7a90c1d2e45b68a0719cbe8d243f56";
const OTHER: &str = "b81c0d9e7f6a45321908fedcba765432";

fn server(host: &str) -> AuthServer {
    AuthServer {
        origin: format!("https://{host}"),
        host: Domain::parse(host.as_bytes()).unwrap(),
    }
}

fn app_info(on_error: OnError) -> VerifyRules {
    VerifyRules {
        mode: Mode::Enforce,
        on_error,
        method: Method::AppInfo {
            client_id: "app.1".into(),
            servers: ["oauth.bitrix.info", "oauth.bitrix24.tech"].map(server).into(),
        },
    }
}

fn pinned(lines: &str) -> VerifyRules {
    let pins = Pins::parse(lines.as_bytes(), MemberIdShape::Hex32).unwrap();
    VerifyRules {
        mode: Mode::Enforce,
        on_error: OnError::Open,
        method: Method::ApplicationToken(Arc::new(pins)),
    }
}

fn claim(rules: &VerifyRules, query: &str, body: &str) -> (Call, Claim) {
    let form = Form::parse(query.as_bytes(), body.as_bytes(), 100).unwrap();
    let route = WidgetRoute {
        accepts: Kinds::of(&Kind::ALL),
        ..WidgetRoute::default()
    };
    let grammar = Grammar {
        member_id: MemberIdShape::Hex32,
        server_endpoints: &ServerEndpoints::default(),
    };
    let Ok(call) = judge(&form, route, grammar, &[]) else {
        panic!("it is not sound: {query} | {body}");
    };
    let claim = Claim::of(rules, call.kind(), call.known(), &form);
    (call, claim)
}

fn placement(more: &str) -> String {
    format!("DOMAIN=portal.example&PROTOCOL=1&LANG=en&PLACEMENT=DEFAULT&member_id={MEMBER}{more}")
}

fn event(more: &str) -> String {
    format!("event=ONAPPTEST&auth[domain]=portal.example&auth[member_id]={MEMBER}{more}")
}

#[test]
fn each_kind_of_message_shows_its_own_token() {
    let rules = app_info(OnError::Open);
    let asked = |body: &str| match claim(&rules, "", body).1 {
        Claim::Ask(ask) => Ok((ask.token.secret().to_owned(), ask.server, ask.expires)),
        Claim::Settled(verdict) => Err(verdict.cause().unwrap()),
    };
    let hour = Some(std::time::Duration::from_secs(3600));
    let tech = "https://oauth.bitrix24.tech/rest/";
    let info = "https://oauth.bitrix24.info/rest/";
    for (body, want) in [
        (placement("&AUTH_ID=t1&AUTH_EXPIRES=3600"), Ok(("t1", 0, hour))),
        (
            placement(&format!("&AUTH_ID=t1&SERVER_ENDPOINT={tech}")),
            Ok(("t1", 1, None)),
        ),
        // It may be named, but is none of those that may be asked.
        (
            placement(&format!("&AUTH_ID=t1&SERVER_ENDPOINT={info}")),
            Ok(("t1", 0, None)),
        ),
        (
            placement("&AUTH_ID=+&APPLICATION_TOKEN=x"),
            Err(Unproven::Wrong(Wrong::NoToken)),
        ),
        (
            placement(&format!("&AUTH_ID={}", "a".repeat(1025))),
            Err(Unproven::Wrong(Wrong::BadToken)),
        ),
        (
            event(&format!("&auth[access_token]=t2&auth[server_endpoint]={tech}")),
            Ok(("t2", 1, None)),
        ),
        (
            event("&auth[application_token]=x"),
            Err(Unproven::Unknown(Unknown::NothingShown)),
        ),
        (
            event("&event_token=e").replace("event=ONAPPTEST&", ""),
            Err(Unproven::Wrong(Wrong::NoToken)),
        ),
        ("page=2".to_owned(), Err(Unproven::Unknown(Unknown::NoClaim))),
        ("page=2&AUTH_ID=t3".to_owned(), Ok(("t3", 0, None))),
        (
            placement("&AUTH_ID=t1&auth[access_token]=t1"),
            Ok(("t1", 0, None)),
        ),
        (
            placement("&AUTH_ID=t1&auth[access_token]=t2"),
            Err(Unproven::Unknown(Unknown::Unsound)),
        ),
        (
            placement("&AUTH_ID=t1&APPLICATION_TOKEN=x&auth[application_token]=y"),
            Err(Unproven::Unknown(Unknown::Unsound)),
        ),
    ] {
        let want = want.map(|(token, server, expires): (&str, _, _)| (token.to_owned(), server, expires));
        assert_eq!(asked(&body), want, "{body}");
    }
}

fn info(client_id: &str, member_id: &str, domain: &str) -> Said {
    let text = format!(
        r#"{{"result":{{"client_id":"{client_id}","scope":"crm","expires":"2024-12-31T23:59:59+00:00","user_id":"17",
            "install":{{"installed":true,"status":"L","domain":"{domain}","uri":"https://{domain}",
            "client_endpoint":"https://{domain}/rest/","member_id":"{member_id}","member_type":"bitrix"}}}}}}"#
    );
    Said::Info(Arc::new(AppInfo::parse(text.as_bytes()).unwrap()))
}

#[test]
fn what_the_server_says_is_compared_with_what_the_message_says() {
    let yes = Verdict::Yes(Some(UserId(17)));
    let rules = app_info(OnError::Open);
    for (said, want) in [
        (Some(info("app.1", MEMBER, "portal.example")), yes),
        (Some(info("app.1", MEMBER, "Portal.Example:8443")), yes),
        (
            Some(info("app.2", MEMBER, "portal.example")),
            Verdict::No(Wrong::Client),
        ),
        (
            Some(info("app.1", OTHER, "portal.example")),
            Verdict::No(Wrong::Member),
        ),
        (
            Some(info("app.1", MEMBER, "other.example")),
            Verdict::No(Wrong::Domain),
        ),
        (
            Some(info("app.2", OTHER, "other.example")),
            Verdict::No(Wrong::Client),
        ),
        (Some(Said::NoToken), Verdict::No(Wrong::BadToken)),
        (
            Some(Said::Nothing(Unknown::Timeout)),
            Verdict::Unknown(Unknown::Timeout),
        ),
        (None, Verdict::Unknown(Unknown::Unreachable)),
    ] {
        let (call, claim) = claim(&rules, "", &placement("&AUTH_ID=t"));
        assert_eq!(rules.judge(&claim, call.known(), said.as_ref()), want, "{said:?}");
    }
}

#[test]
fn who_can_not_be_verified_goes_by_on_error() {
    for (verdict, open, closed) in [
        (Verdict::Yes(None), false, false),
        (Verdict::No(Wrong::Member), true, true),
        (Verdict::Unknown(Unknown::Timeout), false, true),
        (Verdict::Unknown(Unknown::NothingShown), false, true),
        (Verdict::Unknown(Unknown::NoClaim), false, false),
    ] {
        let refuses = |on_error| app_info(on_error).refuses(verdict).is_some();
        assert_eq!(
            (refuses(OnError::Open), refuses(OnError::Closed)),
            (open, closed),
            "{verdict:?}"
        );
    }
}

#[test]
fn an_application_token_is_the_one_that_is_written_down() {
    let rules = pinned(&format!(
        "# portals\n\n{MEMBER} old-token\r\n{MEMBER}\tnew-token\n"
    ));
    let verdict = |body: &str| {
        let (call, claim) = claim(&rules, "", body);
        rules.judge(&claim, call.known(), None)
    };
    for (body, want) in [
        (placement("&APPLICATION_TOKEN=old-token"), Verdict::Yes(None)),
        (placement("&APPLICATION_TOKEN=new-token"), Verdict::Yes(None)),
        (
            placement("&APPLICATION_TOKEN=new-toke"),
            Verdict::No(Wrong::ApplicationToken),
        ),
        (placement("&AUTH_ID=new-token"), Verdict::No(Wrong::NoToken)),
        (
            placement("&APPLICATION_TOKEN=new-token").replace(MEMBER, OTHER),
            Verdict::Unknown(Unknown::NotPinned),
        ),
        (event("&auth[application_token]=new-token"), Verdict::Yes(None)),
        (
            event("&auth[application_token]=x"),
            Verdict::No(Wrong::ApplicationToken),
        ),
        (event(""), Verdict::No(Wrong::NoToken)),
        (
            format!("page=2&member_id={MEMBER}"),
            Verdict::Unknown(Unknown::NoClaim),
        ),
    ] {
        assert_eq!(verdict(&body), want, "{body}");
    }
    for (lines, number) in [("x y", 1), ("\n\nthree words here", 3), (MEMBER, 1)] {
        assert_eq!(
            Pins::parse(lines.as_bytes(), MemberIdShape::Hex32),
            Err(BadLine(number))
        );
    }
    assert!(!format!("{rules:?}").contains("new-token"));
}

#[test]
fn an_answer_is_read_as_it_is_written() {
    let read = |text: &str| AppInfo::parse(text.as_bytes()).map(|info| (info.user_id, info.expires));
    let text = |user: &str, expires: &str| {
        format!(
            r#"{{"result":{{"client_id":"a","user_id":{user},"expires":{expires},"install":{{"member_id":"m"}}}}}}"#
        )
    };
    let moment = Some(1_735_689_599);
    for (user, expires, want) in [
        (
            "\"17\"",
            "\"2024-12-31T23:59:59+00:00\"",
            (Some(UserId(17)), moment),
        ),
        ("17", "\"2025-01-01T02:59:59+03:00\"", (Some(UserId(17)), moment)),
        ("null", "1735689599", (None, moment)),
        ("\"a\\r\\nb\"", "\"3600\"", (None, Some(3600))),
        ("-1", "\"soon\"", (None, None)),
    ] {
        assert_eq!(read(&text(user, expires)), Some(want), "{user} {expires}");
    }
    for text in [
        "",
        "{}",
        "[]",
        "<html>",
        r#"{"result":{"client_id":"a"}}"#,
        r#"{"error":"expired_token"}"#,
    ] {
        assert_eq!(read(text), None, "{text}");
    }
    for (text, is) in [
        (r#"{"error":"expired_token","error_description":"x"}"#, true),
        (r#"{"error":"NO_AUTH_FOUND"}"#, true),
        (r#"{"error":"QUERY_LIMIT_EXCEEDED"}"#, false),
        ("<html>", false),
    ] {
        assert_eq!(AppInfo::is_of_token(text.as_bytes()), is, "{text}");
    }
}

#[test]
fn every_cause_has_its_place() {
    for (at, unproven) in Unproven::all().enumerate() {
        assert_eq!(unproven.index(), at);
    }
    let mut labels: Vec<_> = Unproven::all().map(Unproven::label).collect();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), Unproven::all().count());
}
