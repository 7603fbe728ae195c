//! The body of a refusal for programs: the problem document of RFC 9457. It holds no value of the request.

use super::json::{self, Object};
use super::rejection::Rejection;
use crate::request::field::FieldFault;

/// RFC 9457. The id of the request is of letters, digits, `-`, `_` and `.`, whoever gave it.
pub fn problem(rejection: &Rejection, request_id: &str) -> Vec<u8> {
    let reason = rejection.reason();
    let mut out = Vec::with_capacity(512);
    let mut problem = Object::begin(&mut out);
    problem.plain("type", |out| {
        out.extend_from_slice(b"urn:widget-gateway:problem:");
        out.extend_from_slice(reason.code().as_bytes());
    });
    problem.label("title", reason.title());
    problem.number("status", rejection.status().into());
    problem.label("code", reason.code());
    problem.text("detail", &rejection.detail());
    problem.token("request_id", request_id);
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
    object.label("field", fault.field.told());
    object.label("code", fault.code.label());
    object.end();
}
