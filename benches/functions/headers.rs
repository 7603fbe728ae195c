//! Writing the upstream's headers: on a pass route, and on a widget route.

use std::hint::black_box;

use super::calls::{BODY, PEER, QUERY, headers, read, told};
use criterion::Criterion;
use widget_gateway::request::field::ServerEndpoints;
use widget_gateway::request::form::Form;
use widget_gateway::upstream::caller::{Caller, TrustedProxies};
use widget_gateway::upstream::headers::{on_pass_route, on_widget_route};

pub fn writing(c: &mut Criterion) {
    let mut group = c.benchmark_group("headers");
    let given = headers(BODY.len());
    let nobody = TrustedProxies::default();
    group.bench_function("caller", |b| {
        b.iter(|| Caller::of(PEER, black_box(&given), &nobody, || [0x5a; 16]));
    });
    let caller = Caller::of(PEER, &given, &nobody, || [0x5a; 16]);
    group.bench_function("on a pass route", |b| {
        b.iter(|| on_pass_route(PEER, &caller, black_box(&given)));
    });
    let form = Form::parse(QUERY.as_bytes(), BODY.as_bytes(), 1000).unwrap();
    let call = read(&form, &ServerEndpoints::default()).unwrap();
    group.bench_function("on a widget route", |b| {
        b.iter(|| {
            on_widget_route(
                PEER,
                &caller,
                black_box(&given),
                told(black_box(&call), BODY.len()),
            )
        });
    });
}
