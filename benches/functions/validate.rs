//! `validate`: from the form's values to a `Call`, or to all faults.

use std::hint::black_box;

use super::calls::{BODY, QUERY, body_with_options, read};
use criterion::Criterion;
use widget_gateway::request::field::ServerEndpoints;
use widget_gateway::request::form::Form;

pub fn validation(c: &mut Criterion) {
    let mut group = c.benchmark_group("validate");
    let rows = [
        ("genuine", BODY.to_owned(), true),
        ("options of 2 KiB", body_with_options(2 * 1024), true),
        (
            "options too large for a header",
            body_with_options(64 * 1024),
            true,
        ),
        ("two fields missing", "AUTH_ID=x&status=L".to_owned(), false),
    ];
    for (name, body, is_sound) in rows {
        let form = Form::parse(QUERY.as_bytes(), body.as_bytes(), 1000).unwrap();
        let endpoints = ServerEndpoints::default();
        assert_eq!(read(&form, &endpoints).is_ok(), is_sound, "{name}");
        group.bench_function(name, |b| b.iter(|| read(black_box(&form), &endpoints)));
    }
}
