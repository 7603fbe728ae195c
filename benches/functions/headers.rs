//! Writing the upstream's headers: on every route, and on a widget route.

use std::hint::black_box;

use super::calls::{BODY, PEER, QUERY, headers};
use criterion::Criterion;
use widget_gateway::policy::validate::validate;
use widget_gateway::request::field::MemberIdShape;
use widget_gateway::request::form::Form;
use widget_gateway::upstream::headers::{CookieRule, on_every_route, on_widget_route};
use widget_gateway::upstream::origin::{Origin, TrustedProxies};

pub fn writing(c: &mut Criterion) {
    let mut group = c.benchmark_group("headers");
    let given = headers(BODY.len());
    let nobody = TrustedProxies::default();
    group.bench_function("origin", |b| {
        b.iter(|| Origin::of(PEER, black_box(&given), &nobody, || [0x5a; 16]));
    });
    let origin = Origin::of(PEER, &given, &nobody, || [0x5a; 16]);
    group.bench_function("on every route", |b| {
        b.iter(|| on_every_route(PEER, &origin, black_box(&given)));
    });
    let form = Form::parse(QUERY.as_bytes(), BODY.as_bytes(), 1000).unwrap();
    let widget = validate(&form, MemberIdShape::Hex32).unwrap();
    group.bench_function("on a widget route", |b| {
        b.iter(|| {
            let mut rewrite = on_every_route(PEER, &origin, black_box(&given));
            on_widget_route(
                &mut rewrite,
                black_box(widget.known()),
                BODY.len(),
                CookieRule::Strip,
                &given,
            );
            rewrite
        });
    });
}
