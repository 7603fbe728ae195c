//! The limiter with 1, 10 000 and 1 000 000 live members, on one thread and on two; what a member costs
//! in memory; a sweep.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::calls::{draws, limiter, member, quota};
use criterion::{BatchSize, Criterion};
use widget_gateway::policy::limit::Limiter;
use widget_gateway::request::field::MemberId;

/// Members that are asked for in one stretch of time.
const DRAWN: usize = 256;

/// Asks for members in an order that no cache foresees, from so many threads at once; time per thread.
///
/// They are made outside the measured time, and are in no list: a request has its `member_id` at hand when
/// it asks, and a list of a million would contend with the limiter's table for the cache.
fn ask(limiter: &Limiter<MemberId>, count: u64, threads: u64, iterations: u64) -> Duration {
    let asked = |thread: u64| {
        let mut draw = draws(thread + 1, count);
        let mut left = usize::try_from(iterations).unwrap();
        let mut taken = Duration::ZERO;
        while left > 0 {
            let drawn: Vec<_> = (0..DRAWN.min(left)).map(|_| member(draw())).collect();
            left -= drawn.len();
            let started = Instant::now();
            for member in &drawn {
                let _ = black_box(limiter.check(black_box(member), Duration::from_millis(1)));
            }
            taken += started.elapsed();
        }
        taken
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || asked(thread)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .max()
            .unwrap_or_default()
    })
}

fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

pub fn limits(c: &mut Criterion) {
    let mut group = c.benchmark_group("limiter");
    group.sample_size(20);
    for count in [1, 10_000, 1_000_000] {
        let before = resident();
        // Slow enough that no member's state runs out meanwhile.
        let (limiter, table) = limiter(quota(1_000_000));
        for member in (0..count).map(member) {
            let _ = limiter.check(&member, Duration::ZERO);
        }
        assert_eq!(table.len() as u64, count);
        if count == 1_000_000 {
            println!(
                "limiter: {} bytes resident per member",
                (resident() - before) / count
            );
        }
        for threads in [1, 2] {
            group.bench_function(format!("{count} members, {threads} threads"), |b| {
                b.iter_custom(|iterations| ask(&limiter, count, threads, iterations));
            });
        }
        group.bench_function(format!("sweep of {count} live members"), |b| {
            b.iter(|| black_box(limiter.sweep(Duration::ZERO)));
        });
    }
    group.sample_size(10);
    group.bench_function("sweep of 1000000 members, half of them to be dropped", |b| {
        let fill = || {
            let (limiter, _) = limiter(quota(1));
            for number in 0..1_000_000 {
                let _ = limiter.check(&member(number), Duration::from_secs(number % 2 * 10));
            }
            limiter
        };
        b.iter_batched(
            fill,
            |limiter| {
                assert_eq!(limiter.sweep(Duration::from_secs(5)), 500_000);
                limiter
            },
            BatchSize::PerIteration,
        );
    });
}
