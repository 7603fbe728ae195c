//! The route of a path among 1, 64 (the most that a file may have) and 1 000.

use std::hint::black_box;

use super::calls::route;
use criterion::Criterion;
use http::Method;
use widget_gateway::policy::route::Routes;

pub fn routing(c: &mut Criterion) {
    let mut group = c.benchmark_group("route");
    for count in [1, 64, 1000] {
        let routes = Routes::new((0..count).map(|n| route(&format!("/app{n}/handler"))).collect());
        let path = format!("/app{}/handler/contact-center", count / 2);
        assert!(routes.find(path.as_bytes(), &Method::POST).is_ok());
        group.bench_function(format!("one of {count}"), |b| {
            b.iter(|| routes.find(black_box(path.as_bytes()), &Method::POST).is_ok());
        });
    }
}
