//! Answers: JSON, text, and problems (RFC 9457). No answer has a CORS header: a page elsewhere reads
//! nothing here.

use bytes::Bytes;
use http::StatusCode;
use pingora::http::ResponseHeader;
use serde_json::{Value, json};

/// A whole answer.
pub(super) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Answer {
    pub(super) fn new(media_type: &str, body: impl Into<Bytes>) -> Answer {
        Answer {
            status: 200,
            headers: vec![("content-type", media_type.to_owned())],
            body: body.into(),
        }
    }

    pub(super) fn text(body: &'static str) -> Answer {
        Answer::new("text/plain; charset=utf-8", body)
    }

    pub(super) fn json(body: &Value) -> Answer {
        Answer::new("application/json", format!("{body}\n"))
    }

    pub(super) fn status(mut self, status: StatusCode) -> Answer {
        self.status = status.as_u16();
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }

    /// For the session.
    ///
    /// # Errors
    /// Where a header could not be written.
    pub(super) fn into_parts(self) -> pingora::Result<(ResponseHeader, Bytes)> {
        let mut head = ResponseHeader::build(self.status, Some(self.headers.len() + 4))?;
        head.insert_header("content-length", self.body.len())?;
        head.insert_header("cache-control", "no-store")?;
        head.insert_header("x-content-type-options", "nosniff")?;
        head.insert_header("cross-origin-resource-policy", "same-origin")?;
        for (name, value) in self.headers {
            head.insert_header(name, value)?;
        }
        Ok((head, self.body))
    }
}

/// A refusal in the words of RFC 9457.
pub(super) struct Problem {
    status: u16,
    code: &'static str,
    body: serde_json::Map<String, Value>,
    headers: Vec<(&'static str, String)>,
}

impl Problem {
    pub(super) fn new(status: u16, code: &'static str, title: &str) -> Problem {
        let body = [("title".to_owned(), title.into())].into_iter().collect();
        Problem {
            status,
            code,
            body,
            headers: Vec::new(),
        }
    }

    /// A member of the document.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Problem {
        self.body.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Problem {
        self.headers.push((name, value.to_owned()));
        self
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Answer {
        let Problem {
            status,
            code,
            mut body,
            headers,
        } = problem;
        body.insert(
            "type".to_owned(),
            json!(format!("urn:widget-gateway:problem:{code}")),
        );
        body.insert("status".to_owned(), status.into());
        body.insert("code".to_owned(), code.into());
        let mut answer = Answer::new("application/problem+json", format!("{}\n", Value::Object(body)));
        answer.status = status;
        answer.headers.extend(headers);
        answer
    }
}
