//! Genuine widget calls, in the shape of `fixtures/widgets.json`, and how requests are spelled.

/// The line that says what a body is.
pub const TYPE: &str = "Content-Type: application/x-www-form-urlencoded";
pub const MEMBER: &str = "3f7a90c1d2e45b68a0719cbe8d243f56";
pub const OTHER_MEMBER: &str = "b81c0d9e7f6a45321908fedcba765432";
pub const QUERY: &str =
    "DOMAIN=portal.bitrix24.com&PROTOCOL=1&LANG=en&APP_SID=5d41402abc4b2a76b9719d911017c592";
pub const TARGET: &str =
    "/app?DOMAIN=portal.bitrix24.com&PROTOCOL=1&LANG=en&APP_SID=5d41402abc4b2a76b9719d911017c592";
pub const BODY: &str = "AUTH_ID=8f21aa66007b3c110058f18a00000001f0f1075c0e9d3b7a1f2e4d6c8b0a9f1e3d5c7b&AUTH_EXPIRES=3600\
&REFRESH_ID=7fa0d166007b3c110058f18a00000001f0f107e1d2c3b4a5968778695a4b3c2d1e0f91\
&APPLICATION_TOKEN=c4ca4238a0b923820dcc509a6f75849b\
&member_id=3f7a90c1d2e45b68a0719cbe8d243f56&status=L&PLACEMENT=DEFAULT&PLACEMENT_OPTIONS=%7B%22ID%22%3A%22717%22%7D";

/// The values of [`BODY`] that may appear nowhere but in the forwarded body.
pub const SECRETS: [&str; 3] = [
    "8f21aa66007b3c110058f18a00000001f0f1075c0e9d3b7a1f2e4d6c8b0a9f1e3d5c7b",
    "7fa0d166007b3c110058f18a00000001f0f107e1d2c3b4a5968778695a4b3c2d1e0f91",
    "c4ca4238a0b923820dcc509a6f75849b",
];

/// Every name that Bitrix24 gives meaning to, in the order of the contract.
pub const KNOWN: [&str; 14] = [
    "DOMAIN",
    "PROTOCOL",
    "LANG",
    "APP_SID",
    "AUTH_ID",
    "AUTH_EXPIRES",
    "REFRESH_ID",
    "SERVER_ENDPOINT",
    "APPLICATION_TOKEN",
    "APPLICATION_SCOPE",
    "member_id",
    "status",
    "PLACEMENT",
    "PLACEMENT_OPTIONS",
];

/// Routes of the README: widget calls by POST, probes by GET.
pub fn routes(servers: &[std::net::SocketAddr]) -> String {
    let servers: Vec<_> = servers.iter().map(|server| format!("\"{server}\"")).collect();
    format!(
        "[[routes]]\npath = \"/\"\nkind = \"widget\"\nupstream = \"handlers\"\n\
         [[routes]]\npath = \"/\"\nkind = \"pass\"\nupstream = \"handlers\"\n\
         [upstreams.handlers]\nservers = [{}]\n",
        servers.join(", ")
    )
}

/// The same, and a pass route that takes bodies.
pub fn every_route(servers: &[std::net::SocketAddr]) -> String {
    let uploads = "[[routes]]\npath = \"/up\"\nname = \"up\"\nkind = \"pass\"\nmethods = [\"PUT\"]\nupstream = \"handlers\"\n";
    format!("{uploads}{}", routes(servers))
}

/// A POST of a form; `headers` are whole lines without their CRLF.
pub fn post(target: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut lines = vec!["Content-Type: application/x-www-form-urlencoded".to_owned()];
    lines.push(format!("Content-Length: {}", body.len()));
    lines.extend(headers.iter().map(|line| (*line).to_owned()));
    request(
        "POST",
        target,
        &lines.iter().map(String::as_str).collect::<Vec<_>>(),
        body,
    )
}

/// A request with a Host and exactly the given header lines.
pub fn request(method: &str, target: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = format!("{method} {target} HTTP/1.1\r\nHost: widgets.example\r\n").into_bytes();
    for line in headers {
        bytes.extend_from_slice(line.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body.as_ref());
    bytes
}

/// The chunked coding of a body, cut into pieces of `size` bytes.
pub fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut coded = Vec::with_capacity(body.len() + body.len() / size * 8 + 16);
    for piece in body.chunks(size) {
        coded.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        coded.extend_from_slice(piece);
        coded.extend_from_slice(b"\r\n");
    }
    coded.extend_from_slice(b"0\r\n\r\n");
    coded
}

/// xorshift64*: the same stream on every machine, for a seed that a failure can print.
#[derive(Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        // One step of splitmix64, so that neighbouring seeds give unrelated streams and 0 is no trap.
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Rng((z ^ (z >> 31)) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// 0 to `end - 1`.
    pub fn below(&mut self, end: usize) -> usize {
        ((self.next() >> 33) as usize) % end
    }

    /// True once in `n`.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
