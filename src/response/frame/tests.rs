use bytes::Bytes;

use super::*;

fn fields(lines: &[(&str, &str)]) -> Vec<Field> {
    lines
        .iter()
        .map(|(name, value)| Field {
            name: HeaderName::from_bytes(name.as_bytes()).unwrap(),
            value: HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            spelled: Bytes::copy_from_slice(name.as_bytes()),
        })
        .collect()
}

fn applied(frame: &Frame, lines: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut fields = fields(lines);
    apply(frame, &mut fields);
    fields
        .iter()
        .map(|field| {
            let spelled = String::from_utf8(field.spelled.to_vec()).unwrap();
            (
                spelled,
                String::from_utf8_lossy(field.value.as_bytes()).into_owned(),
            )
        })
        .collect()
}

fn of(lines: &[(&str, &str)]) -> Vec<(String, String)> {
    lines
        .iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
        .collect()
}

fn with(ancestors: Ancestors) -> Frame {
    Frame {
        ancestors,
        cookies: SetCookieRule::Keep,
        store: StoreRule::Keep,
    }
}

const PORTAL: &str = "https://p.example";

#[test]
fn nobody_but_the_portal_may_frame() {
    let frame = with(Ancestors::Only(PORTAL.to_owned()));
    const CSP: &str = "content-security-policy";
    const SAID: (&str, &str) = ("Content-Security-Policy", "frame-ancestors https://p.example");
    for (given, want) in [
        (&[][..], &[SAID][..]),
        (
            &[("X-Frame-Options", "DENY"), ("x-frame-options", "SAMEORIGIN")],
            &[SAID],
        ),
        (
            &[(CSP, "default-src 'self'")],
            &[(CSP, "default-src 'self'; frame-ancestors https://p.example")],
        ),
        (
            &[(CSP, "default-src 'self' ; ")],
            &[(CSP, "default-src 'self'; frame-ancestors https://p.example")],
        ),
        (&[(CSP, "")], &[(CSP, "frame-ancestors https://p.example")]),
        (&[(CSP, " ;; ")], &[(CSP, "frame-ancestors https://p.example")]),
        (
            &[(CSP, "img-src a, img-src b")],
            &[(CSP, "img-src a; frame-ancestors https://p.example, img-src b")],
        ),
        (
            &[(CSP, "frame-ancestors 'none'")],
            &[(CSP, "frame-ancestors https://p.example")],
        ),
        (
            &[(
                CSP,
                "a b; Frame-Ancestors\t'self' *; c d; frame-ancestors *;frame-ancestors",
            )],
            &[(CSP, "a b; frame-ancestors https://p.example; c d")],
        ),
        (
            &[
                (CSP, "img-src a"),
                (CSP, "frame-ancestors 'self',frame-ancestors *"),
            ],
            &[
                (CSP, "img-src a"),
                (
                    CSP,
                    "frame-ancestors https://p.example,frame-ancestors https://p.example",
                ),
            ],
        ),
        (
            &[("Content-Security-Policy-Report-Only", "frame-ancestors 'none'")],
            &[
                ("Content-Security-Policy-Report-Only", "frame-ancestors 'none'"),
                SAID,
            ],
        ),
        (
            &[(CSP, "report-uri /x?frame-ancestors")],
            &[(
                CSP,
                "report-uri /x?frame-ancestors; frame-ancestors https://p.example",
            )],
        ),
    ] {
        assert_eq!(applied(&frame, given), of(want), "{given:?}");
    }
}

#[test]
fn what_is_observed_is_reported() {
    let frame = with(Ancestors::Report(PORTAL.to_owned()));
    const ONLY: &str = "Content-Security-Policy-Report-Only";
    const SAID: (&str, &str) = (ONLY, "frame-ancestors https://p.example");
    for (given, want) in [
        (&[][..], &[SAID][..]),
        (
            &[
                ("X-Frame-Options", "DENY"),
                ("Content-Security-Policy", "frame-ancestors 'self'"),
            ],
            &[
                ("X-Frame-Options", "DENY"),
                ("Content-Security-Policy", "frame-ancestors 'self'"),
                SAID,
            ],
        ),
        (
            &[(ONLY, "default-src a; report-uri /r")],
            &[(
                ONLY,
                "default-src a; report-uri /r; frame-ancestors https://p.example",
            )],
        ),
        (
            &[(ONLY, "frame-ancestors 'self'")],
            &[(ONLY, "frame-ancestors 'self'"), SAID],
        ),
    ] {
        assert_eq!(applied(&frame, given), of(want), "{given:?}");
    }
}

#[test]
fn cookies_are_fit_for_a_frame() {
    let frame = Frame {
        cookies: SetCookieRule::Partitioned,
        ..with(Ancestors::Keep)
    };
    for (given, want) in [
        ("a=1", "a=1; SameSite=None; Secure; Partitioned"),
        (
            "a=1; path=/; HttpOnly; SameSite=Lax",
            "a=1; path=/; HttpOnly; SameSite=None; Secure; Partitioned",
        ),
        (
            "a=secure;SECURE; samesite = strict;partitioned;; Max-Age=0",
            "a=secure; Max-Age=0; SameSite=None; Secure; Partitioned",
        ),
        ("secure", "secure; SameSite=None; Secure; Partitioned"),
        (
            "a=1; secure-ish; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
            "a=1; secure-ish; Expires=Thu, 01 Jan 1970 00:00:00 GMT; SameSite=None; Secure; Partitioned",
        ),
    ] {
        let lines = [("Set-Cookie", given), ("Set-Cookie2", "a=1")];
        let want = [("Set-Cookie", want), ("Set-Cookie2", "a=1")];
        assert_eq!(applied(&frame, &lines), of(&want));
    }
}

#[test]
fn nothing_is_kept_and_the_address_goes_nowhere() {
    let frame = Frame {
        store: StoreRule::NoStore,
        ..with(Ancestors::Keep)
    };
    const STORE: (&str, &str) = ("Cache-Control", "no-store");
    const POLICY: (&str, &str) = ("Referrer-Policy", "same-origin");
    for (given, want) in [
        (&[][..], &[STORE, POLICY][..]),
        (
            &[
                ("cache-control", "public"),
                ("Cache-Control", "max-age=60"),
                ("Age", "3"),
            ],
            &[("Age", "3"), STORE, POLICY],
        ),
        (
            &[
                ("cache-control", "must-revalidate, No-Store"),
                ("Referrer-Policy", "unsafe-url"),
            ],
            &[("cache-control", "must-revalidate, No-Store"), POLICY],
        ),
        (
            &[STORE, ("Referrer-Policy", "unsafe-url, no-referrer")],
            &[STORE, ("Referrer-Policy", "unsafe-url, no-referrer")],
        ),
        (
            &[
                STORE,
                ("Referrer-Policy", "strict-origin"),
                ("Referrer-Policy", "no-referrer-when-downgrade"),
            ],
            &[STORE, POLICY],
        ),
        (&[STORE, ("Referrer-Policy", "unheard-of")], &[STORE, POLICY]),
    ] {
        assert_eq!(applied(&frame, given), of(want), "{given:?}");
    }
}
