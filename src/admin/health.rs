//! For load balancers and scrapers.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value, json};

use super::answer::{Answer, Problem};
use crate::process::Process;

/// Whether requests should be sent here, with the state of every server in the body.
pub(super) fn ready(process: &Process) -> Answer {
    let live = process.live.load();
    let upstreams = live.env().upstreams.values();
    let states: Map<_, _> = upstreams
        .clone()
        .map(|upstream| {
            let entries = upstream.listed.iter().map(|listed| &listed.entry);
            let states = entries.map(|entry| (entry.name.to_string(), entry.is_up().into()));
            (upstream.name.to_string(), Value::Object(states.collect()))
        })
        .collect();
    let all_have_one = || {
        let mut upstreams = upstreams.clone();
        upstreams.all(|upstream| upstream.is_up())
    };
    let ready = process.is_ready() && (!process.server.ready_requires_upstream || all_have_one());
    let status = match ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    Answer::json(&json!({ "ready": ready, "draining": !process.is_ready(), "upstreams": states }))
        .status(status)
}

/// Packed where the scraper takes it: a series is mostly its labels, so that a twentieth is left.
pub(super) fn metrics(process: &Process, headers: &HeaderMap) -> Answer {
    process.refresh_metrics();
    let Ok(exposition) = process.metrics.text() else {
        return Problem::new(500, "internal_error", "The metrics are inconsistent").into();
    };
    const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
    let packed = takes_gzip(headers).then(|| gzip(&exposition));
    let answer = match packed {
        Some(Ok(packed)) => Answer::new(TYPE, packed).header("content-encoding", "gzip"),
        Some(Err(_)) | None => Answer::new(TYPE, exposition),
    };
    answer.header("vary", "accept-encoding")
}

fn gzip(text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut packing = GzEncoder::new(Vec::new(), Compression::default());
    packing.write_all(text)?;
    packing.finish()
}

/// Whether `Accept-Encoding` names gzip, or everything, and not with the weight of nothing (RFC 9110 12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter();
    let codings = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','));
    let weights = codings.map(|coding| {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = parameters
            .trim()
            .strip_prefix("q=")
            .map(|weight| weight.trim().parse::<f32>());
        (
            name.trim(),
            weight.is_none_or(|weight| weight.is_ok_and(|weight| weight > 0.0)),
        )
    });
    let (mut gzip, mut any) = (None, None);
    for (name, wanted) in weights {
        match name {
            "*" => any = Some(wanted),
            name if name.eq_ignore_ascii_case("gzip") => gzip = Some(wanted),
            _ => {}
        }
    }
    gzip.or(any).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_what_the_client_names() {
        for (accepts, takes) in [
            (&["gzip"][..], true),
            (&["identity, GZIP;q=0.5"], true),
            (&["deflate", "gzip"], true),
            (&["*"], true),
            (&["*, gzip;q=0"], false),
            (&["gzip; q=0.000"], false),
            (&["gzip;q=x"], false),
            (&["deflate"], false),
            (&[""], false),
            (&[], false),
        ] {
            let lines = accepts
                .iter()
                .map(|line| (header::ACCEPT_ENCODING, line.parse().unwrap()));
            let mut headers = HeaderMap::new();
            lines.for_each(|(name, value)| {
                headers.append(name, value);
            });
            assert_eq!(takes_gzip(&headers), takes, "{accepts:?}");
        }
    }
}
