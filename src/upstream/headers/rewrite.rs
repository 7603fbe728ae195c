//! What the server's copy of a head loses and gains.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use crate::request::head::RequestHead;
use crate::upstream::proof::Proof;

/// Headers to take away, then headers to set.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rewrite {
    /// Names as the client spelled them (lower case).
    pub remove: Vec<HeaderName>,
    /// Each name with the end of its value in `values`.
    set: Vec<(&'static str, usize)>,
    /// All values behind one another.
    values: Vec<u8>,
    /// The query of a GET that takes the place of the call, with its `?`.
    pub(super) fetched: Option<Vec<u8>>,
    /// Set last; what came under its name is taken away.
    proof: Option<Arc<Proof>>,
}

impl Rewrite {
    /// Nothing yet, with room for what a usual call needs.
    pub(super) fn with_room() -> Rewrite {
        Rewrite {
            remove: Vec::with_capacity(8),
            set: Vec::with_capacity(20),
            values: Vec::with_capacity(768),
            fetched: None,
            proof: None,
        }
    }

    pub(super) fn set(&mut self, name: &'static str, value: &str) {
        self.set_with(name, |out| out.extend_from_slice(value.as_bytes()));
    }

    pub(super) fn set_some(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    /// Every value comes from a checked type; one that is no header value is left out, not sent.
    pub(super) fn set_with(&mut self, name: &'static str, append: impl FnOnce(&mut Vec<u8>)) {
        let begin = self.values.len();
        append(&mut self.values);
        let value = self.values.get(begin..).unwrap_or_default();
        // All bytes are looked at, which the compiler does many at a time.
        let is_bad = |b: u8| (b < b' ') & (b != b'\t') | (b == 0x7f);
        if value.iter().fold(false, |bad, &b| bad | is_bad(b)) {
            self.values.truncate(begin);
        } else {
            self.set.push((name, self.values.len()));
        }
    }

    /// Has the handler know who asks, and nobody else say so.
    pub fn prove(&mut self, proof: &Arc<Proof>, headers: &HeaderMap) {
        self.remove.extend(proof.claimed(headers).cloned());
        self.proof = Some(proof.clone());
    }

    /// What is set besides, last. It is nobody's to read.
    pub fn proof(&self) -> Option<&Proof> {
        self.proof.as_deref()
    }

    /// In order; each replaces what has the name.
    pub fn to_set(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.set.iter().scan(0, |begin, &(name, end)| {
            let value = self.values.get(*begin..end)?;
            *begin = end;
            Some((name, value))
        })
    }

    /// The head for the server, with its empty line. Lines that stay are sent as they came.
    pub fn to_wire(&self, head: &RequestHead) -> Vec<u8> {
        // Room for a small body as well.
        let mut out = Vec::with_capacity(4096);
        let [path, query] = head.target.origin_form();
        let (method, query) = match &self.fetched {
            None => (head.method.as_str(), query),
            Some(query) => ("GET", query.as_slice()),
        };
        // Only HTTP/1.0 can leave the host out (RFC 9112 3.2), towards the server too.
        let version: &[u8] = match head.has_host() {
            true => b" HTTP/1.1\r\n",
            false => b" HTTP/1.0\r\n",
        };
        for part in [method.as_bytes(), b" ", path, query, version] {
            out.extend_from_slice(part);
        }
        head.append_lines(&mut out, |name| self.leaves(head, name));
        for (name, value) in self.to_set() {
            for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
        if let Some(proof) = &self.proof {
            proof.append(&mut out);
        }
        out.extend_from_slice(b"\r\n");
        out
    }

    /// Whether the body goes along.
    pub const fn has_body(&self) -> bool {
        self.fetched.is_none()
    }

    /// Whether lines of this name go on as they came.
    pub fn leaves(&self, head: &RequestHead, name: &HeaderName) -> bool {
        !head.hop.ends_here(name) && !self.replaces(name)
    }

    fn replaces(&self, name: &HeaderName) -> bool {
        self.remove.contains(name)
            || self
                .set
                .iter()
                .any(|(set, _)| name.as_str().eq_ignore_ascii_case(set))
    }
}
