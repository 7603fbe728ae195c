//! A request that names no version of HTTP: what is asked, whatever carries it.

use super::forms;

/// The host of every request.
pub const HOST: &str = "widgets.example";

/// Method, target, whole header lines and a body. How the body is framed is the carrier's.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    /// `Name: value`, in order; neither Host nor what frames the body.
    pub lines: Vec<String>,
    pub body: Body,
}

#[derive(Clone, Debug)]
pub enum Body {
    /// No body, and no word of one.
    None,
    /// With its length said.
    Length(Vec<u8>),
    /// In chunks, or as a stream whose length nobody says.
    Unannounced(Vec<u8>),
    /// So many bytes are announced and only these come; the rest is waited for.
    Part { length: usize, sent: Vec<u8> },
}

impl Request {
    pub fn new(method: &str, target: &str) -> Request {
        Request {
            method: method.to_owned(),
            target: target.to_owned(),
            lines: Vec::new(),
            body: Body::None,
        }
    }

    pub fn get(target: &str) -> Request {
        Request::new("GET", target)
    }

    /// A POST of a form with its length.
    pub fn form(target: &str, body: impl Into<Vec<u8>>) -> Request {
        Request::new("POST", target)
            .line(forms::TYPE)
            .body(Body::Length(body.into()))
    }

    /// The genuine call of [`forms`].
    pub fn call() -> Request {
        Request::form(forms::TARGET, forms::BODY)
    }

    /// What a pass route of [`forms::every_route`] streams.
    pub fn upload() -> Request {
        Request::new("PUT", "/up").body(Body::Length(b"an upload".to_vec()))
    }

    pub fn line(mut self, line: impl Into<String>) -> Request {
        self.lines.push(line.into());
        self
    }

    pub fn lines<'l>(mut self, lines: impl IntoIterator<Item = &'l str>) -> Request {
        self.lines.extend(lines.into_iter().map(str::to_owned));
        self
    }

    pub fn body(mut self, body: Body) -> Request {
        self.body = body;
        self
    }

    /// The same body without a word of its length.
    pub fn unannounced(mut self) -> Request {
        if let Body::Length(body) = self.body {
            self.body = Body::Unannounced(body);
        }
        self
    }

    /// Name and value of every line.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines.iter().map(|line| {
            let (name, value) = line
                .split_once(':')
                .unwrap_or_else(|| panic!("no header line: {line:?}"));
            (name, value.trim())
        })
    }

    /// As it goes over a connection of HTTP/1, which may be closed behind it or not.
    pub fn to_http1(&self, version: &str) -> Vec<u8> {
        let mut head = format!("{} {} {version}\r\nHost: {HOST}\r\n", self.method, self.target);
        for line in &self.lines {
            head += &format!("{line}\r\n");
        }
        let body = match &self.body {
            Body::None => Vec::new(),
            Body::Length(body) => {
                head += &format!("Content-Length: {}\r\n", body.len());
                body.clone()
            }
            Body::Part { length, sent } => {
                head += &format!("Content-Length: {length}\r\n");
                sent.clone()
            }
            Body::Unannounced(body) => {
                head += "Transfer-Encoding: chunked\r\n";
                forms::chunked(body, 1000)
            }
        };
        [head.as_bytes(), b"\r\n", &body].concat()
    }
}
