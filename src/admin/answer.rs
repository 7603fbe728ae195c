//! Answers: JSON, text, and problems (RFC 9457). No answer has a CORS header: a page elsewhere reads
//! nothing here.

use std::time::SystemTime;

use bytes::Bytes;
use http::StatusCode;
use pingora::http::ResponseHeader;
use serde_json::{Value, json};

use crate::telemetry::log::with;

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
    answer: Answer,
    body: Value,
}

impl Problem {
    pub(super) fn new(status: u16, code: &'static str, title: &str) -> Problem {
        let mut answer = Answer::new("application/problem+json", "");
        answer.status = status;
        let kind = format!("urn:widget-gateway:problem:{code}");
        let body = json!({ "type": kind, "status": status, "code": code, "title": title });
        Problem { answer, body }
    }

    /// A member of the document.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Problem {
        self.body = with(self.body, json!({ name: value.into() }));
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Problem {
        self.answer = self.answer.header(name, value);
        self
    }
}

impl From<Problem> for Answer {
    fn from(Problem { mut answer, body }: Problem) -> Answer {
        answer.body = format!("{body}\n").into();
        answer
    }
}

/// Since the epoch.
pub(super) fn millis(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
