//! `Form::parse`: genuine calls, large options, and what needs the byte reader.

use std::hint::black_box;

use super::calls::{BODY, QUERY, body_with_options};
use criterion::{Criterion, Throughput};
use widget_gateway::request::form::Form;

pub fn reader(c: &mut Criterion) {
    let mut group = c.benchmark_group("reader");
    let rows = [
        ("genuine", BODY.to_owned()),
        ("options of 8 KiB", body_with_options(8 * 1024)),
        ("options of 64 KiB", body_with_options(64 * 1024)),
        ("equal repeat", format!("{BODY}&status=L")),
        ("array", format!("{BODY}&member_id%5B%5D=x")),
        ("1000 parameters", format!("{BODY}{}", "&field=value".repeat(989))),
    ];
    for (name, body) in rows {
        group.throughput(Throughput::Bytes((QUERY.len() + body.len()) as u64));
        group.bench_function(name, |b| {
            b.iter(|| Form::parse(black_box(QUERY.as_bytes()), black_box(body.as_bytes()), 1000).unwrap());
        });
    }
}
