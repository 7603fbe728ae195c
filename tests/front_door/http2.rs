//! The same over HTTP/2, as far as it applies.

use super::paths::BAD_PATHS;
use super::{REJECTIONS, setting};
use crate::common::forms::{BODY, TARGET};
use crate::common::h2::{self, Raw};
use crate::common::shown;

fn h2_get(path_and_query: &str) -> http::Request<()> {
    let uri = http::Uri::builder()
        .scheme("http")
        .authority("widgets.example")
        .path_and_query(path_and_query);
    http::Request::builder()
        .version(http::Version::HTTP_2)
        .uri(uri.build().unwrap())
        .body(())
        .unwrap()
}

#[test]
fn http2_paths_are_judged_alike() {
    let (upstream, gateway) = setting("");
    for path in BAD_PATHS.into_iter().filter(|path| !path.contains('\\')) {
        let response = h2::ask(gateway.h2c(), h2_get(path), &[]).unwrap();
        assert_eq!(
            (response.status, &response.json()["code"]),
            (400, &"malformed_request".into()),
            "{path}"
        );
    }
    let count = BAD_PATHS.iter().filter(|path| !path.contains('\\')).count();
    gateway.metric_reaches(REJECTIONS, &[("reason", "malformed_request")], count as f64);
    upstream.expect_untouched();
    let long = h2::ask(gateway.h2c(), h2_get(&format!("/?{}", "x".repeat(9000))), &[]).unwrap();
    assert_eq!((long.status, &long.json()["code"]), (414, &"uri_too_long".into()));
    let fine = h2::ask(gateway.h2c(), h2_get("/a//b%252f?x=%2e"), &[]).unwrap();
    assert_eq!(fine.status, 200);
    let received = upstream.take_one();
    assert_eq!(shown(&received.target()), "/a//b%252f?x=%2e");
    assert_eq!(received.header("Host").as_deref(), Some("widgets.example"));
}

/// The HTTP/2 library drops a fragment before anyone can see it; what is left has one meaning.
#[test]
fn an_http2_fragment_does_not_reach_the_upstream() {
    let (upstream, gateway) = setting("");
    let fields: [(&[u8], &[u8]); 4] = [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":authority", b"a"),
        (b":path", b"/a?b#c"),
    ];
    match h2::raw(gateway.h2c(), &fields, None) {
        Raw::Ok => assert_eq!(shown(&upstream.take_one().target()), "/a?b"),
        became => assert!(
            matches!(became, Raw::BadRequest | Raw::Reset | Raw::Gone),
            "{became:?}"
        ),
    }
}

#[test]
fn malformed_http2_never_reaches_the_upstream() {
    let (upstream, gateway) = setting("");
    const GET: [(&[u8], &[u8]); 3] = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a")];
    let with = |path: &'static [u8], more: &[(&'static [u8], &'static [u8])]| {
        let mut fields = GET.to_vec();
        fields.push((b":path", path));
        fields.extend_from_slice(more);
        fields
    };
    // The table's own vessel is sound.
    assert_eq!(h2::raw(gateway.h2c(), &with(b"/", &[]), None), Raw::Ok);
    upstream.take_one();
    for fields in [
        with(b"/", &[(b"connection", b"close")]),
        with(b"/", &[(b"transfer-encoding", b"chunked")]),
        with(b"/", &[(b"keep-alive", b"1")]),
        with(b"/", &[(b"upgrade", b"h2c")]),
        with(b"/", &[(b"te", b"gzip")]),
        with(b"/", &[(b"X-Upper", b"x")]),
        with(b"/", &[(b"x y", b"x")]),
        with(b"/", &[(b"x:y", b"x")]),
        with(b"/", &[(b"", b"x")]),
        with(b"/", &[(b"x", b"a\r\nX-Bitrix24-Domain: evil")]),
        with(b"/", &[(b"x", b"a\nb")]),
        with(b"/", &[(b"x", b"a\0b")]),
        with(b"/", &[(b":path", b"/b")]),
        with(b"/", &[(b"x", b"y"), (b":method", b"POST")]),
        with(b"/", &[(b":unknown", b"y")]),
        with(b"/", &[(b"host", b"b")]),
        with(b"/", &[(b"host", b"a"), (b"host", b"b")]),
        with(b"/", &[(b"content-length", b"1"), (b"content-length", b"2")]),
        with(b"/", &[(b"content-length", b"+1")]),
        with(b"/", &[(b"content-length", b"5")]),
        with(b"/a b", &[]),
        with(b"/a\\b", &[]),
        with(b"/a\r\nX: y", &[]),
        with(b"/a\0b", &[]),
        with(b"", &[]),
        with(b"a", &[]),
        with(b"/ HTTP/1.1\r\nHost: b", &[]),
        vec![(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")],
        vec![
            (b":method", b"G T"),
            (b":scheme", b"http"),
            (b":path", b"/"),
            (b":authority", b"a"),
        ],
        vec![
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":path", b"/"),
            (b":authority", b"u@a"),
        ],
        vec![
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":path", b"/"),
            (b":authority", b"a b"),
        ],
        vec![(b":method", b"GET"), (b":path", b"/"), (b":authority", b"a")],
        vec![(b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a")],
    ] {
        let became = h2::raw(gateway.h2c(), &fields, None);
        let readable: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!("{}: {}", shown(name), shown(value)))
            .collect();
        assert!(
            matches!(became, Raw::BadRequest | Raw::Reset | Raw::Gone),
            "{became:?} for {readable:?}"
        );
        upstream.expect_untouched();
    }
}

/// A widget call is held until its body is whole, so nothing of it is forwarded. A `pass` route streams: its
/// upstream may see the head, and then never as many bytes as that announces; where it announces none, no
/// byte of what came is in its body.
#[test]
fn an_http2_body_that_is_not_as_long_as_announced_is_no_request() {
    let (upstream, gateway) = setting("");
    let refused = |method: &[u8], length: usize, body: &[u8]| {
        let length = length.to_string();
        let fields: [(&[u8], &[u8]); 6] = [
            (b":method", method),
            (b":scheme", b"http"),
            (b":authority", b"a"),
            (b":path", TARGET.as_bytes()),
            (b"content-type", b"application/x-www-form-urlencoded"),
            (b"content-length", length.as_bytes()),
        ];
        let became = h2::raw(gateway.h2c(), &fields, Some(body));
        assert!(
            matches!(became, Raw::BadRequest | Raw::Reset | Raw::Gone),
            "{became:?} for {} bytes announced as {length}",
            body.len()
        );
    };
    for length in [BODY.len() - 1, BODY.len() + 1, 0] {
        refused(b"POST", length, BODY.as_bytes());
        upstream.expect_untouched();
    }
    for length in [1, 9, 0] {
        refused(b"GET", length, b"abc");
    }
    assert_eq!(h2::ask(gateway.h2c(), h2_get("/next"), &[]).unwrap().status, 200);
    let (announced_none, whole): (Vec<_>, Vec<_>) = upstream
        .take_whole()
        .into_iter()
        .partition(|request| request.header("content-length").as_deref() == Some("0"));
    assert!(
        announced_none.len() <= 1 && announced_none.iter().all(|request| request.body.is_empty()),
        "{announced_none:?}"
    );
    let targets: Vec<_> = whole.iter().map(|request| shown(&request.target())).collect();
    assert_eq!(targets, ["/next"]);
}
