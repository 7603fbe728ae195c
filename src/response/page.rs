//! The two bodies of a refusal: the problem document and the page that a browser shows inside the
//! widget's frame. Neither holds a value of the request.

use serde::Serialize;

use super::rejection::Rejection;

#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault>,
    #[serde(rename = "violated-policies", skip_serializing_if = "<[_]>::is_empty")]
    violated_policies: &'static [&'static str],
}

#[derive(Serialize)]
struct Fault {
    field: &'static str,
    code: &'static str,
}

/// RFC 9457.
pub fn problem(rejection: &Rejection, request_id: &str) -> Vec<u8> {
    let reason = rejection.reason();
    let faults = rejection.faults().iter();
    let problem = Problem {
        r#type: format!("urn:widget-gateway:problem:{}", reason.code()),
        title: reason.title(),
        status: reason.status(),
        code: reason.code(),
        detail: &rejection.detail(),
        request_id,
        errors: faults
            .map(|fault| Fault {
                field: fault.field.name(),
                code: fault.code.label(),
            })
            .collect(),
        violated_policies: rejection.violated_policies(),
    };
    // Strings and numbers only: serializing can not fail.
    serde_json::to_vec(&problem).unwrap_or_default()
}

/// A small page without any outside resource, which may be framed.
pub fn html(rejection: &Rejection, request_id: &str) -> Vec<u8> {
    let reason = rejection.reason();
    let (title, status, code) = (reason.title(), reason.status(), reason.code());
    // Codes, names and our own words only; the request id is letters, digits and `-_.`.
    let detail = rejection.detail();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
<style>:root{{color-scheme:light dark}}body{{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:36rem;padding:0 1rem}}\
h1{{font-size:1.25rem}}code{{overflow-wrap:anywhere}}</style></head>\
<body><main><h1>{title}</h1><p>{detail}.</p>\
<p>If this goes on, tell the administrator of this application:<br><code>{status} {code}, request {request_id}</code></p>\
</main></body></html>\n"
    )
    .into_bytes()
}
