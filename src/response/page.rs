//! The two bodies of a refusal: the problem document and the page that a browser shows inside the
//! widget's frame. Neither holds a value of the request.

use super::json::{self, Object};
use super::rejection::Rejection;
use crate::request::field::FieldFault;

/// RFC 9457.
pub fn problem(rejection: &Rejection, request_id: &str) -> Vec<u8> {
    let reason = rejection.reason();
    let mut out = Vec::with_capacity(512);
    let mut problem = Object::begin(&mut out);
    problem.plain("type", |out| {
        out.extend_from_slice(b"urn:widget-gateway:problem:");
        out.extend_from_slice(reason.code().as_bytes());
    });
    problem.text("title", reason.title());
    problem.number("status", rejection.status().into());
    problem.text("code", reason.code());
    problem.text("detail", &rejection.detail());
    problem.text("request_id", request_id);
    problem.list("errors", rejection.faults(), fault);
    problem.list("violated-policies", rejection.violated_policy(), |out, policy| {
        json::text(out, policy.label());
    });
    problem.end();
    out.push(b'\n');
    out
}

/// A fault as problem document and access log show it.
pub fn fault(out: &mut Vec<u8>, fault: &FieldFault) {
    let mut object = Object::begin(out);
    object.text("field", fault.field.told());
    object.text("code", fault.code.label());
    object.end();
}

/// A small page without any outside resource, which may be framed.
pub fn html(rejection: &Rejection, request_id: &str) -> Vec<u8> {
    let reason = rejection.reason();
    let (title, status, code) = (reason.title(), rejection.status(), reason.code());
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
