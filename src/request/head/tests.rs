use super::*;

fn judge(head: &str) -> Result<Framing, HeadFault> {
    RequestHead::parse(&Bytes::copy_from_slice(head.as_bytes())).map(|head| head.framing)
}

fn with(headers: &str) -> Result<Framing, HeadFault> {
    judge(&format!(
        "POST /w?a=b HTTP/1.1\r\nHost: h.example:8080\r\n{headers}\r\n"
    ))
}

#[test]
fn a_sound_head_tells_its_framing() {
    assert_eq!(with(""), Ok(Framing::Length(0)));
    assert_eq!(with("content-length: 12\r\n"), Ok(Framing::Length(12)));
    assert_eq!(with("Transfer-Encoding: Chunked\r\n"), Ok(Framing::Chunked));
    assert_eq!(
        with("Expect: 100-continue\r\nX:\r\nY: \u{e9}\t\r\n"),
        Ok(Framing::Length(0))
    );
    assert_eq!(judge("GET / HTTP/1.0\r\n\r\n"), Ok(Framing::Length(0)));
}

#[test]
fn framing_that_two_servers_could_read_differently_is_refused() {
    use Malformed::*;
    for (headers, fault) in [
        (
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            ContentLength,
        ),
        ("Content-Length: 1\r\nContent-Length: 1\r\n", ContentLength),
        ("Content-Length: 1, 1\r\n", ContentLength),
        ("Content-Length: +1\r\n", ContentLength),
        ("Content-Length: 0x1\r\n", ContentLength),
        ("Content-Length:\r\n", ContentLength),
        ("Content-Length: 9223372036854775808\r\n", ContentLength),
        ("Content-Length: 99999999999999999999\r\n", ContentLength),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            TransferEncoding,
        ),
        ("Transfer-Encoding: chunked, chunked\r\n", TransferEncoding),
        ("Transfer-Encoding: chunked, identity\r\n", TransferEncoding),
        ("Transfer-Encoding: ,chunked\r\n", TransferEncoding),
        ("Transfer-Encoding: xchunked\r\n", TransferEncoding),
        ("Transfer-Encoding: \"chunked\"\r\n", TransferEncoding),
        ("Transfer-Encoding:\r\n", TransferEncoding),
        ("Host: h.example:8080\r\n", Host),
        ("X : y\r\n", HeaderName),
        ("X\r\n", HeaderName),
        (": y\r\n", HeaderName),
        ("X: a\r\n b\r\n", ObsFold),
        ("X: a\0b\r\n", Control),
        ("X: a\u{b}b\r\n", Control),
        ("X: a\rb\r\n", BareCr),
    ] {
        assert_eq!(with(headers), Err(HeadFault::Malformed(fault)), "{headers:?}");
    }
    assert_eq!(
        with("Transfer-Encoding: gzip, chunked\r\n"),
        Err(HeadFault::NotImplemented)
    );
    assert_eq!(
        with("Transfer-Encoding: gzip\r\n"),
        Err(HeadFault::NotImplemented)
    );
    let te_on_10 = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(judge(te_on_10), Err(HeadFault::Malformed(TransferEncoding)));
}

#[test]
fn request_lines_and_targets_have_one_meaning() {
    use Malformed::*;
    for (line, fault) in [
        ("GET /  HTTP/1.1", RequestLine),
        ("GET / HTTP/2.0", RequestLine),
        ("GET /", RequestLine),
        ("GET / HTTP/1.1 ", RequestLine),
        ("G@T / HTTP/1.1", RequestLine),
        (" GET / HTTP/1.1", RequestLine),
        ("GET /a\tb HTTP/1.1", Target),
        ("GET /a\0b HTTP/1.1", Control),
        ("GET /#a HTTP/1.1", Target),
        ("GET w HTTP/1.1", Target),
        ("GET ftp://h.example/ HTTP/1.1", Target),
        ("GET http://other.example/ HTTP/1.1", Authority),
        ("GET http://u@h.example/ HTTP/1.1", Authority),
        ("GET /a/../b HTTP/1.1", Path),
        ("GET /%2E%2e/b HTTP/1.1", Path),
        ("GET /a/. HTTP/1.1", Path),
        ("GET /a%2fb HTTP/1.1", Path),
        ("GET /a%5Cb HTTP/1.1", Path),
        ("GET /a\\b HTTP/1.1", Path),
        ("GET /a%00b HTTP/1.1", Path),
    ] {
        assert_eq!(
            judge(&format!("{line}\r\nHost: h.example\r\n\r\n")),
            Err(fault.into()),
            "{line:?}"
        );
    }
    for line in [
        "GET http://h.example/w?x HTTP/1.1",
        "GET /a%252fb/...%zz/c.php HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "pOsT /?a=/../ HTTP/1.1",
    ] {
        assert_eq!(
            judge(&format!("{line}\r\nHost: h.example\r\n\r\n")),
            Ok(Framing::Length(0)),
            "{line}"
        );
    }
    assert_eq!(
        judge("CONNECT h.example:1 HTTP/1.1\r\nHost: h.example:1\r\n\r\n"),
        Err(HeadFault::NotImplemented)
    );
    assert_eq!(judge("GET / HTTP/1.1\r\n\r\n"), Err(Host.into()));
    for host in [
        "", "a b", "a/b", "a, b", "a:", "a:x", "a:99999", "u@a", "[::1", "a:0",
    ] {
        assert_eq!(
            judge(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")),
            Err(Host.into()),
            "{host:?}"
        );
    }
    assert!(is_host(b"[::1]:80") && is_host(b"a-b_c.example") && is_host(b"10.0.0.1:8080"));
}

#[test]
fn the_scan_finds_the_end_at_every_cut() {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\n\r\nbody";
    for cut in 0..head.len() {
        let mut scan = HeadScan::default();
        let first = scan.advance(&head[..cut]).unwrap();
        let second = if first.is_some() {
            first
        } else {
            scan.advance(head).unwrap()
        };
        assert_eq!(second, Some(28), "cut at {cut}");
    }
}

#[test]
fn the_scan_refuses_early() {
    let scan = |head: &[u8]| HeadScan::default().advance(head);
    assert_eq!(scan(b"GET / HTTP/1.1\n"), Err(Malformed::BareLf.into()));
    assert_eq!(
        scan(b"GET / HTTP/1.1\r\nHost: a\n\r\n"),
        Err(Malformed::BareLf.into())
    );
    assert_eq!(scan(&[b'a'; MAX_REQUEST_LINE + 1]), Err(HeadFault::UriTooLong));
    assert_eq!(scan(&[b'a'; MAX_REQUEST_LINE]), Ok(None));
    let long = |size: usize| [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'a'; size]].concat();
    assert_eq!(scan(&long(MAX_HEADER_SECTION)), Err(HeadFault::HeaderTooLarge));
    assert_eq!(scan(&long(MAX_HEADER_SECTION - 3)), Ok(None));
    let many = |lines: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(lines));
    assert!(matches!(scan(many(MAX_HEADER_LINES).as_bytes()), Ok(Some(_))));
    assert_eq!(
        scan(many(MAX_HEADER_LINES + 1).as_bytes()),
        Err(HeadFault::HeaderTooLarge)
    );
}

fn head(text: &'static str) -> RequestHead {
    RequestHead::parse(&Bytes::from_static(text.as_bytes())).unwrap()
}

#[test]
fn a_head_keeps_what_was_sent() {
    let head = head("POST /w?a=1 HTTP/1.1\r\nHost: h\r\nX-a:  1 \r\nx-A: 2\r\nConnection: Close\r\n\r\n");
    assert_eq!(
        (&head.method, &head.target.raw()[..]),
        (&Method::POST, &b"/w?a=1"[..])
    );
    let values: Vec<_> = head.headers.get_all("x-a").iter().collect();
    assert_eq!(values, ["1", "2"]);
    let mut lines = Vec::new();
    head.append_lines(&mut lines, |name| !head.hop.ends_here(name));
    assert_eq!(lines, b"Host: h\r\nX-a:  1 \r\nx-A: 2\r\n");
    assert!(!head.hop.keeps_alive);
}

#[test]
fn what_connection_says_is_for_this_hop() {
    let with = |line: &str| {
        let text = format!("POST / HTTP/1.1\r\nHost: h\r\n{line}\r\n\r\n");
        RequestHead::parse(&Bytes::from(text)).map(|head| (head.hop.keeps_alive, head.hop.named.len()))
    };
    assert_eq!(with("Connection: keep-alive, X-A"), Ok((true, 1)));
    assert_eq!(
        with("Connection: close\r\nConnection: keep-alive"),
        Ok((false, 0))
    );
    assert_eq!(with("Connection: , x-a,,X-B "), Ok((true, 2)));
    for line in [
        "Connection: Host",
        "Connection: X-Forwarded-For",
        "Connection: a b",
        "Connection: \"x\"",
        "Connection: a,b,c,d,e,f,g,h,i,j",
    ] {
        assert_eq!(with(line), Err(Malformed::Connection.into()), "{line}");
    }
    assert!(!head("GET / HTTP/1.0\r\n\r\n").hop.keeps_alive);
    assert!(
        head("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
            .hop
            .keeps_alive
    );
    let expecting = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\n\r\n";
    assert!(head(expecting).hop.expects_continue);
    assert!(
        !head("POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n")
            .hop
            .expects_continue
    );
}

#[test]
fn an_http2_head_means_the_same() {
    let of = |authority, headers: &[(&'static str, &'static str)], ends| {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let target = Bytes::from_static(b"/w?a=1");
        RequestHead::of_http2(Method::POST, target, authority, 443, headers, ends)
            .map_err(|refused| refused.fault)
    };
    let head = of(Some("h:1"), &[("x-a", "1")], false).unwrap();
    assert_eq!((head.framing, head.hop.keeps_alive), (Framing::Frames, true));
    let mut lines = Vec::new();
    head.append_lines(&mut lines, |_| true);
    assert_eq!(lines, b"x-a: 1\r\nhost: h:1\r\n");
    let framing = |headers, ends| of(Some("h"), headers, ends).map(|head| head.framing);
    assert_eq!(framing(&[], true), Ok(Framing::Length(0)));
    assert_eq!(framing(&[("content-length", "7")], false), Ok(Framing::Length(7)));
    for second in ["7", "8"] {
        let two = [("content-length", "7"), ("content-length", second)];
        assert_eq!(
            of(Some("h"), &two, false).map(|_| ()),
            Err(Malformed::ContentLength.into())
        );
    }
    for (authority, host, is_one) in [
        ("h", "H:443", true),
        ("h:1", "h:1", true),
        ("h", "other", false),
        ("h:1", "h", false),
    ] {
        let one = of(Some(authority), &[("host", host)], true).map(|_| ());
        let want = match is_one {
            true => Ok(()),
            false => Err(Malformed::Authority.into()),
        };
        assert_eq!(one, want, "{authority} {host}");
    }
    let absolute = Bytes::from_static(b"http://h/w");
    let absolute = RequestHead::of_http2(Method::GET, absolute, Some("h"), 80, HeaderMap::new(), true);
    assert_eq!(
        absolute.map(|_| ()).map_err(|refused| refused.fault),
        Err(Malformed::Target.into())
    );
    assert_eq!(of(None, &[], true).map(|_| ()), Err(Malformed::Host.into()));
    assert_eq!(
        of(Some("u@h"), &[], true).map(|_| ()),
        Err(Malformed::Host.into())
    );
}
