//! The command `explain`: one raw request, every decision in words. It walks the same pure functions as
//! the gateway; nothing is connected to, and no value of a token field is printed.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::config::{Loaded, Snapshot};
use crate::pipeline::{self, BodyPlan, Env, Routed};
use crate::policy::Mode;
use crate::policy::frame::{Ancestors, Frame, SetCookieRule, StoreRule};
use crate::policy::limit::KeyTables;
use crate::policy::limit::{Decision, Decisions, Outcome};
use crate::policy::route::{Kind, Route};
use crate::policy::selection::Seen;
use crate::policy::verify::{Ask, Method, Said, Unknown, Unproven, Verdict, VerifyRules, Wrong};
use crate::request::chunks::Chunks;
use crate::request::field::Field;
use crate::request::form::{Form, Reading};
use crate::request::head::fault::Malformed;
use crate::request::head::{Framing, HeadScan, RequestHead};
use crate::request::media_type::MediaType;
use crate::request::message;
use crate::response::rejection::{BrokenForm, Rejection};
use crate::upstream::caller::{Caller, Peer};
use crate::upstream::resolve::Found;

/// Prints what would become of the request. Returns whether it would be forwarded.
///
/// # Errors
/// Where the words can not be written.
pub fn explain(loaded: Loaded, raw: &[u8], out: &mut impl Write) -> io::Result<bool> {
    let tables = KeyTables::new(1);
    let mut loaded = loaded;
    // One request is within every quota that is kept here; how it stands with a store nobody asks.
    let is_shared = loaded.settings.spec.limits.shared.take().is_some();
    let snapshot = Snapshot::build(loaded, None, &Found::new(), &tables, Duration::ZERO);
    let request = with_crlf(raw, out)?;
    if is_shared {
        writeln!(out, "note: limits are shared by a store, which is not asked here")?;
    }
    match walk(&request, &snapshot.env, out)? {
        Ok(()) => {
            writeln!(out, "verdict: forwarded")?;
            Ok(true)
        }
        Err(rejection) => {
            let reason = rejection.reason();
            writeln!(
                out,
                "verdict: refused, {} {}: {}",
                rejection.status(),
                reason.code(),
                rejection.detail()
            )?;
            for line in rejection.headers() {
                let value = line.value.to_str().unwrap_or_default();
                writeln!(out, "  answer header {}: {value}", line.name)?;
            }
            Ok(false)
        }
    }
}

/// A request that was pasted into a file has LF line ends; on the wire they would be refused.
fn with_crlf(raw: &[u8], out: &mut impl Write) -> io::Result<Vec<u8>> {
    let Some(first) = memchr::memchr(b'\n', raw).filter(|&at| at > 0 && raw.get(at - 1) != Some(&b'\r'))
    else {
        return Ok(raw.to_vec());
    };
    writeln!(
        out,
        "note: the head has LF line ends; it is read as if they were CRLF (on the wire: 400)"
    )?;
    let end = raw
        .windows(2)
        .skip(first)
        .position(|pair| pair == b"\n\n")
        .map_or(raw.len(), |at| first + at + 2);
    let (head, body) = raw.split_at(end);
    let mut request = Vec::with_capacity(raw.len() + 64);
    for line in head.split_inclusive(|&b| b == b'\n') {
        request.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(body);
    Ok(request)
}

fn walk(request: &[u8], env: &Env, out: &mut impl Write) -> io::Result<Result<(), Rejection>> {
    let (head, rest) = match head(request) {
        Ok(found) => found,
        Err(rejection) => {
            writeln!(out, "head: refused")?;
            return Ok(Err(rejection));
        }
    };
    writeln!(out, "head: sound")?;
    let peer = Peer {
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        tls: false,
    };
    let caller = Caller::of(peer, &head.headers, &env.trusted, || [0; 16]);
    let routed = match pipeline::route(&head, &caller, Duration::ZERO, env) {
        Ok(routed) => routed,
        Err(unrouted) => {
            limits(&unrouted.limits, out)?;
            return Ok(Err(unrouted.rejection));
        }
    };
    let is_told_by_the_head = routed.route.selection.is_everything();
    if is_told_by_the_head {
        route(routed.route, out)?;
    }
    let body = match body(rest, head.framing) {
        Ok(body) => body,
        Err(Unread::Short(short)) => {
            writeln!(out, "body: {short}")?;
            return Ok(Err(Rejection::ClientClosed));
        }
        Err(Unread::Broken(rejection)) => return Ok(Err(rejection)),
    };
    // The end of a line is an editor's.
    if let Framing::Length(_) = head.framing
        && let surplus = rest.get(body.len()..).unwrap_or_default().trim_ascii().len()
        && surplus > 0
    {
        writeln!(
            out,
            "body: {surplus} bytes stand behind what Content-Length says; on the wire they begin another request"
        )?;
    }
    if let BodyPlan::Hold(bounds) = routed.body {
        writeln!(out, "body: {} bytes of at most {}", body.len(), bounds.limit)?;
        if body.len() > bounds.limit {
            return Ok(Err(Rejection::BodyTooLarge));
        }
        let form: &[u8] = match MediaType::of(&head.headers) {
            Some(MediaType::Json) => {
                writeln!(out, "body: JSON, of which nothing is read")?;
                b""
            }
            Some(MediaType::Form) | None => &body,
        };
        fields(head.target.query(), form, env, out)?;
        if !is_told_by_the_head {
            choice(&routed, head.target.query(), form, env, out)?;
        }
    }
    if routed.body == BodyPlan::Switch {
        writeln!(out, "upgrade: the server is asked to speak WebSocket")?;
    }
    decision(routed, &head, (peer, &caller), &body, env, out)
}

fn route(route: &Route, out: &mut impl Write) -> io::Result<()> {
    let (kind, mode, takes) = match route.kind {
        Kind::Widget(widget) => {
            let kinds: Vec<_> = widget.accepts.iter().map(message::Kind::label).collect();
            ("widget", widget.mode, format!(", takes {}", kinds.join(", ")))
        }
        Kind::Pass(_) => ("pass", Mode::Enforce, String::new()),
    };
    writeln!(
        out,
        "route: {} ({kind}, {}{takes}), upstream {}",
        route.name,
        mode.label(),
        route.upstream
    )
}

/// Each route of the path, up to the one that is for the message.
fn choice(routed: &Routed<'_>, query: &[u8], body: &[u8], env: &Env, out: &mut impl Write) -> io::Result<()> {
    let seen = match Form::parse(query, body, env.widget.max_params) {
        Ok(form) => Seen::in_form(&form, env.widget.member_id),
        Err(_) => Seen::default(),
    };
    for (_, candidate) in env.routes.of_same(routed.route_index) {
        match candidate.selection.misfit(&seen) {
            Some(key) => writeln!(out, "not route: {}, its {key} do not fit", candidate.name)?,
            None => return route(candidate, out),
        }
    }
    writeln!(out, "route: none of these is for the message")
}

fn head(request: &[u8]) -> Result<(RequestHead, &[u8]), Rejection> {
    let scanned = HeadScan::default().advance(request)?;
    let length = scanned.ok_or(Rejection::MalformedRequest(Malformed::RequestLine))?;
    let (head, rest) = request.split_at_checked(length).unwrap_or_default();
    Ok((RequestHead::parse(&Bytes::copy_from_slice(head))?, rest))
}

/// Why there is no body to be looked at.
enum Unread {
    /// There is less of it than its framing says: how that shows, in words.
    Short(String),
    /// Its framing is broken.
    Broken(Rejection),
}

fn body(rest: &[u8], framing: Framing) -> Result<Vec<u8>, Unread> {
    match framing {
        Framing::Length(length) => {
            let wanted = usize::try_from(length).unwrap_or(usize::MAX);
            let short = || {
                Unread::Short(format!(
                    "short, {} bytes where Content-Length says {length}; on the wire the rest is waited for",
                    rest.len()
                ))
            };
            rest.get(..wanted).map(<[u8]>::to_vec).ok_or_else(short)
        }
        Framing::Chunked | Framing::Frames => {
            let broken = Unread::Broken(Rejection::MalformedForm(BrokenForm::Chunks));
            let mut chunks = Chunks::default();
            let mut data = BytesMut::new();
            chunks.read(rest, &mut data).map_err(|_| broken)?;
            if !chunks.is_complete() {
                let short = "short, its last chunk is missing; on the wire the rest is waited for";
                return Err(Unread::Short(short.to_owned()));
            }
            Ok(data.into())
        }
    }
}

fn fields(query: &[u8], body: &[u8], env: &Env, out: &mut impl Write) -> io::Result<()> {
    let max = env.widget.max_params;
    let (Ok(all), Ok(in_query), Ok(in_body)) = (
        Form::parse(query, body, max),
        Form::parse(query, b"", max),
        Form::parse(b"", body, max),
    ) else {
        return writeln!(out, "fields: not read, there are more than {max} parameters");
    };
    writeln!(out, "fields:")?;
    for field in Field::ALL {
        let is_in = |form: &Form<'_>| form.has(field);
        let from = match (is_in(&in_query), is_in(&in_body)) {
            (true, true) => "query and body",
            (true, false) => "query",
            (false, true) => "body",
            (false, false) => "nowhere",
        };
        let what = match all.reading(field) {
            Reading::Absent => continue,
            Reading::Faulty(code) => code.says().to_owned(),
            Reading::Value(value) if is_shown(field) => {
                format!("\"{}\"", String::from_utf8_lossy(value).escape_debug())
            }
            Reading::Value(value) => format!("{} bytes, redacted", value.len()),
        };
        writeln!(out, "  {:<23} from {from}: {what}", field.name())?;
    }
    Ok(())
}

/// Tokens never, and the options may hold a session id of the portal.
fn is_shown(field: Field) -> bool {
    match field {
        Field::AuthId
        | Field::RefreshId
        | Field::ApplicationToken
        | Field::PlacementOptions
        | Field::EventToken
        | Field::AuthAccessToken
        | Field::AuthRefreshToken
        | Field::AuthApplicationToken
        | Field::Auth => false,
        Field::Domain
        | Field::Protocol
        | Field::Lang
        | Field::AppSid
        | Field::AuthExpires
        | Field::ServerEndpoint
        | Field::ApplicationScope
        | Field::MemberId
        | Field::Status
        | Field::Placement
        | Field::Event
        | Field::WorkflowId
        | Field::AuthMemberId
        | Field::AuthDomain
        | Field::AuthClientEndpoint
        | Field::AuthServerEndpoint => true,
    }
}

fn decision(
    routed: Routed<'_>,
    head: &RequestHead,
    (peer, caller): (Peer, &Caller),
    body: &[u8],
    env: &Env,
    out: &mut impl Write,
) -> io::Result<Result<(), Rejection>> {
    let read = pipeline::read(routed, head, body, env);
    let said = match (read.asks(), &env.verify, read.mode()) {
        (Some(ask), Some(rules), Some(mode)) => {
            question(ask, rules, mode, out)?;
            Some(Said::Assumed)
        }
        (None, _, _) | (_, None, _) | (_, _, None) => None,
    };
    let Ok(decision) = pipeline::decide(read, said.as_ref(), peer, caller, Duration::ZERO, env) else {
        // Which it never does here: no store is connected to.
        writeln!(out, "limit: the store is asked")?;
        return Ok(Ok(()));
    };
    if let Some(verdict) = decision.findings.verdict {
        let cause = verdict.cause().map_or("", Unproven::says);
        writeln!(
            out,
            "verified: {}{}{cause}",
            verdict.label(),
            if cause.is_empty() { "" } else { ", " }
        )?;
    }
    if let Some(message) = decision.findings.message {
        writeln!(out, "message: {}", message.label())?;
    }
    for fault in &decision.findings.faults {
        writeln!(out, "fault: {} {}", fault.field.told(), fault.code.says())?;
    }
    for rejection in &decision.findings.would_reject {
        writeln!(
            out,
            "observed: would be refused as {}: {}",
            rejection.reason().code(),
            rejection.detail()
        )?;
    }
    limits(&decision.findings.limits, out)?;
    if decision.findings.origin_differs {
        writeln!(out, "origin: another host than DOMAIN")?;
    }
    Ok(match decision.result {
        Err(rejection) => Err(rejection),
        Ok(forward) => {
            if !forward.rewrite.has_body() {
                writeln!(out, "forwarded as: GET, without the body")?;
            }
            for name in &forward.rewrite.remove {
                writeln!(out, "header removed: {name}")?;
            }
            for (name, value) in forward.rewrite.to_set() {
                let value = std::str::from_utf8(value).unwrap_or("(not text)");
                writeln!(out, "header set: {name}: {value}")?;
            }
            if let Some(proof) = forward.rewrite.proof() {
                writeln!(out, "header set: {}: the secret of its file", proof.header())?;
            }
            if let Some(frame) = &forward.frame {
                self::frame(frame, out)?;
            }
            for listed in &forward.attempts.upstream().listed {
                writeln!(out, "server: {}", listed.entry.name)?;
            }
            Ok(())
        }
    })
}

/// Who would be asked whose a token is, and what comes of each answer.
fn question(ask: &Ask, rules: &VerifyRules, mode: Mode, out: &mut impl Write) -> io::Result<()> {
    let server = match &rules.method {
        Method::AppInfo { servers, .. } => servers.get(ask.server).map_or("", |server| &server.origin),
        Method::ApplicationToken(_) => "",
    };
    writeln!(
        out,
        "verify: {server} would be asked whose the token is; here nobody is"
    )?;
    let becomes = |verdict: Verdict| match (rules.refuses(verdict), rules.mode.with(mode)) {
        (None, _) => "goes on",
        (Some(_), Mode::Observe) => "would be refused, and goes on",
        (Some(_), Mode::Enforce) => "is refused (caller_not_verified)",
    };
    writeln!(
        out,
        "verify: somebody else's call {}, without an answer it {}; what follows is for the caller's own",
        becomes(Verdict::No(Wrong::Member)),
        becomes(Verdict::Unknown(Unknown::Unreachable)),
    )
}

/// What the answer will say, whatever the handler does.
fn frame(frame: &Frame, out: &mut impl Write) -> io::Result<()> {
    match &frame.ancestors {
        Ancestors::Keep => {}
        Ancestors::Only(portal) => writeln!(out, "answer: only {portal} may frame it")?,
        Ancestors::Report(portal) => writeln!(out, "answer: reported where another than {portal} frames it")?,
    }
    match frame.cookies {
        SetCookieRule::Keep => {}
        SetCookieRule::Partitioned => writeln!(out, "answer: its cookies are partitioned")?,
    }
    match frame.store {
        StoreRule::Keep => Ok(()),
        StoreRule::NoStore => writeln!(out, "answer: nobody stores it"),
    }
}

fn limits(decisions: &Decisions, out: &mut impl Write) -> io::Result<()> {
    if decisions.iter().next().is_none() {
        writeln!(out, "limit: not asked")?;
    }
    for Decision { policy, outcome } in decisions.iter() {
        let policy = policy.label();
        let (quota, said) = match outcome {
            Outcome::Unlimited => {
                writeln!(out, "limit: {policy}, none is configured")?;
                continue;
            }
            Outcome::Granted(quota) => (quota, "allows"),
            Outcome::HeldBack(quota, _) => (quota, "holds back"),
            Outcome::Observed(limited) | Outcome::Refused(limited) => (limited.quota, "refuses"),
        };
        let (rate, seconds, burst) = (quota.rate, quota.period.seconds(), quota.burst);
        writeln!(
            out,
            "limit: {policy}, {rate} per {seconds} s, burst {burst}: a fresh key, {said}"
        )?;
    }
    Ok(())
}
