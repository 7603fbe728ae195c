//! Heads between this crate and the engine: the request's for it, the answer's from it.

use bytes::Bytes;
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};

use crate::request::head::RequestHead;
use crate::response::reply::{Length, Reply};
use crate::upstream::answer::{Field, Judged};
use crate::upstream::headers::Rewrite;

/// The server's copy of a head, rewritten: names as they came, an origin server's path and query byte for byte
/// (RFC 9112 3.2.1), nothing of this hop.
///
/// # Errors
/// What the engine says; it takes every head that was parsed.
pub(super) fn for_engine(head: &RequestHead, rewrite: &Rewrite) -> Result<RequestHeader> {
    let lines = head.headers.len() + 8;
    let target = head.target.origin_form().concat();
    let mut out = RequestHeader::build(head.method.clone(), &target, Some(lines))?;
    for (name, spelled, value) in head.spelled() {
        if rewrite.leaves(head, name) {
            out.append_header(spelled, value)?;
        }
    }
    // What was under these names has not gone on.
    for (name, value) in rewrite.to_set() {
        out.append_header(name, value)?;
    }
    if let Some(proof) = rewrite.proof() {
        out.append_header(proof.header(), proof.secret())?;
    }
    Ok(out)
}

/// What the head of an answer becomes for the client.
pub(super) fn reply(answer: &ResponseHeader, judged: &Judged) -> Reply {
    let spelled = answer
        .case_header_iter()
        .map(|(spelled, _)| Some(Bytes::copy_from_slice(spelled.as_slice())));
    let spelled = spelled.chain(std::iter::repeat(None));
    let fields = answer.headers.iter().zip(spelled);
    let fields = fields.filter(|((name, _), _)| judged.goes_on(name));
    let fields = fields.map(|((name, value), spelled)| Field {
        spelled: spelled.unwrap_or_else(|| Bytes::copy_from_slice(name.as_str().as_bytes())),
        name: name.clone(),
        value: value.clone(),
    });
    let reason = answer.get_reason_phrase().unwrap_or_default();
    Reply {
        status: answer.status,
        reason: Bytes::copy_from_slice(reason.as_bytes()),
        fields: fields.collect(),
        length: Length::of(judged.body, answer.status, judged.told_length),
    }
}
