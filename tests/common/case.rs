//! A case of a fixture: a request, and what becomes of it.

use serde_json::Value;

use super::{Body, Request};

pub struct Case {
    pub name: String,
    pub method: String,
    pub target: String,
    pub lines: Vec<String>,
    pub body: String,
    pub expect: Value,
}

/// Every case of a fixture, which holds so many.
pub fn cases(fixture: &str, count: usize) -> Vec<Case> {
    let all: Vec<Value> = serde_json::from_str(fixture).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let cases: Vec<_> = all
        .iter()
        .map(|case| Case {
            name: text(&case["name"]),
            method: text(&case["method"]),
            target: text(&case["path"]),
            lines: case["headers"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, value)| format!("{name}: {}", text(value)))
                .collect(),
            body: text(&case["body"]),
            expect: case["expect"].clone(),
        })
        .collect();
    assert_eq!(cases.len(), count, "a case was lost");
    cases
}

impl Case {
    pub fn request(&self) -> Request {
        let body = match self.method.as_str() {
            "POST" => Body::Length(self.body.clone().into()),
            _ => Body::None,
        };
        Request::new(&self.method, &self.target)
            .lines(self.lines.iter().map(String::as_str))
            .body(body)
    }
}
