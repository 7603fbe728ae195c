//! The shared side as one replica and as several, against the script's arithmetic, without a server.

use std::collections::HashMap;
use std::num::NonZeroU32;

use tokio::sync::mpsc::Receiver;

use super::*;
use crate::policy::limit::keys::Source;
use crate::policy::limit::{KeyState, Limiter, Period, Verdict};
use crate::request::field::{MemberId, MemberIdShape};

const T0: Now = Duration::from_secs(1000);

fn quota(rate: u32, burst: u32) -> Quota {
    Quota {
        rate: NonZeroU32::new(rate).unwrap(),
        period: Period::Second,
        burst: NonZeroU32::new(burst).unwrap(),
    }
}

fn spec(lease: u32, on_error: OnError, replicas: u32) -> SharedSpec {
    SharedSpec {
        address: StoreAddress::parse("redis://store").unwrap(),
        lease,
        timeout: Duration::from_millis(5),
        on_error,
        replicas,
        prefix: "test:".to_owned(),
    }
}

fn member(n: u64) -> MemberId {
    MemberId::parse(format!("{n:032x}").as_bytes(), MemberIdShape::Hex32).unwrap()
}

/// One replica and the questions that it has asked.
struct Replica {
    limiter: Limiter<MemberId>,
    store: Arc<Store>,
    questions: Receiver<Ask>,
}

impl Replica {
    fn new(quota: Quota, spec: SharedSpec) -> Replica {
        let store = Store::new(spec, Arc::default());
        let questions = store.questions().unwrap();
        store.set_up(true);
        let naming = Arc::new(|member: &MemberId| format!("{{{member}}}:member"));
        Replica {
            limiter: Limiter::shared(quota, &store, naming, Arc::new(KeyTable::new(100)), T0),
            store,
            questions,
        }
    }

    fn ask(&self, n: u64, now: Now) -> Verdict {
        self.limiter.ask(&member(n), None, now)
    }

    fn grants(&self, n: u64, now: Now) -> bool {
        matches!(self.ask(n, now), Verdict::Granted)
    }

    /// Answers all that was asked; how much that was.
    fn answer(&mut self, server: &mut Server, now: Now) -> usize {
        let mut answered = 0;
        while let Ok(ask) = self.questions.try_recv() {
            let bucket = server.entry(ask.name.clone()).or_default();
            let charged = bucket.charge(&ask.charge, now.as_secs_f64() * 1e6);
            ask.answered(charged, now);
            answered += 1;
        }
        answered
    }
}

type Server = HashMap<String, Bucket>;

#[test]
fn a_lease_runs_ahead_by_half_and_holds_half() {
    let mut replica = Replica::new(quota(100, 100), spec(10, OnError::Local, 1));
    let mut server = Server::new();
    // Nothing is in hand: half of a lease runs ahead, on one question.
    let granted = (0..5).filter(|_| replica.grants(1, T0)).count();
    assert_eq!(granted, 5);
    let Verdict::Waits(mut waiting) = replica.ask(1, T0) else {
        panic!("only the store can tell");
    };
    assert_eq!(waiting.settled_now(), None);
    assert_eq!(replica.answer(&mut server, T0), 2);
    assert_eq!(waiting.settled_now(), Some(Settled::Granted));
    let settled = replica.limiter.ask(&member(1), Some(Settled::Granted), T0);
    assert!(matches!(settled, Verdict::Granted));
    assert!(
        server
            .keys()
            .eq(["test:{00000000000000000000000000000001}:member"])
    );
    // A busy key's batches grow, up to half a lease in hand: then eight requests take one question.
    for (requests, questions, held, owed) in [(10, 2, 0, 1), (9, 2, 5, 0), (24, 3, 5, 0)] {
        let asked = (0..requests).map(|_| {
            assert!(replica.grants(1, T0));
            replica.answer(&mut server, T0)
        });
        assert_eq!(asked.sum::<usize>(), questions);
        let state = replica.limiter.lease(&member(1), T0).unwrap();
        assert_eq!((state.held, state.owed), (held, owed));
    }
}

#[test]
fn the_first_request_of_a_key_is_told_however_young_the_process_is() {
    for now in [Duration::ZERO, Duration::from_millis(300), T0] {
        let mut replica = Replica::new(quota(100, 100), spec(10, OnError::Local, 1));
        assert!(replica.grants(1, now));
        assert_eq!(replica.answer(&mut Server::new(), now), 1, "{now:?}");
    }
}

/// What is only observed goes on and is charged like the rest: what would be refused is what is told.
#[test]
fn what_is_observed_is_charged_and_told() {
    for lease in [1, 10] {
        for burst in [5, 100] {
            let mut replica = Replica::new(quota(1, burst), spec(lease, OnError::Local, 1));
            let mut server = Server::new();
            let mut granted = 0;
            for _ in 0..3 * burst {
                let asked = replica
                    .limiter
                    .ask_from(&member(1), Source::Unknown, Asking::Observed, T0);
                granted += match asked {
                    Verdict::Granted => 1,
                    Verdict::Limited(_) => 0,
                    Verdict::Waits(_) => panic!("nobody waits"),
                };
                replica.answer(&mut server, T0);
            }
            let most = burst + lease.min(burst / 10).max(1);
            assert!(
                (burst..=most).contains(&granted),
                "{granted} of {burst}, lease {lease}"
            );
        }
    }
}

#[test]
fn who_is_over_is_refused_without_a_question() {
    let mut replica = Replica::new(quota(1, 10), spec(10, OnError::Local, 1));
    let mut server = Server::new();
    let mut granted = 0;
    for _ in 0..50 {
        granted += match replica.ask(1, T0) {
            Verdict::Granted => 1,
            Verdict::Limited(_) => 0,
            Verdict::Waits(mut waiting) => {
                replica.answer(&mut server, T0);
                u32::from(waiting.settled_now() == Some(Settled::Granted))
            }
        };
        replica.answer(&mut server, T0);
    }
    // A tenth of the burst is no lease to speak of: it is exact.
    assert_eq!(granted, 10);
    let Verdict::Limited(limited) = replica.ask(1, T0) else {
        panic!("it is over");
    };
    assert_eq!((limited.retry_after, replica.answer(&mut server, T0)), (1, 0));
    let later = T0 + Duration::from_secs(1);
    assert!(matches!(replica.ask(1, later), Verdict::Waits(_)));
}

#[test]
fn without_the_store_a_replica_grants_its_share_and_owes_it() {
    let mut replica = Replica::new(quota(10, 30), spec(2, OnError::Local, 3));
    let mut server = Server::new();
    replica.store.set_up(false);
    let granted = (0..50).filter(|_| replica.grants(1, T0)).count();
    assert_eq!(granted, 10, "a third of the burst");
    assert_eq!(replica.answer(&mut server, T0), 0, "nobody is asked");
    // A third of the rate: after 300 ms there is one more.
    let later = T0 + Duration::from_millis(300);
    assert!(replica.grants(1, later) && !replica.grants(1, later));
    assert_eq!(replica.limiter.lease(&member(1), later).unwrap().owed, 11);
    // It is back: what was granted meanwhile is charged, but for what has come back since.
    replica.store.set_up(true);
    let Verdict::Waits(mut waiting) = replica.ask(1, later) else {
        panic!("only the store can tell");
    };
    replica.answer(&mut server, later);
    assert_eq!(waiting.settled_now(), Some(Settled::Granted));
    let left = (0..50).filter(|_| match replica.ask(1, later) {
        Verdict::Granted => true,
        Verdict::Limited(_) => false,
        Verdict::Waits(mut waiting) => {
            replica.answer(&mut server, later);
            waiting.settled_now() == Some(Settled::Granted)
        }
    });
    // 30, less the 10 that are still owed, less one; half a lease may run ahead.
    let left = left.count();
    assert!((19..=20).contains(&left), "{left}");
}

#[test]
fn without_the_store_all_or_nothing_is_granted_where_that_is_asked_for() {
    for (on_error, expected) in [(OnError::Open, 100), (OnError::Closed, 0)] {
        let replica = Replica::new(quota(1, 10), spec(1, on_error, 1));
        replica.store.set_up(false);
        assert_eq!((0..100).filter(|_| replica.grants(1, T0)).count(), expected);
    }
}

#[test]
fn a_question_that_fails_is_judged_by_the_share_and_charged_again() {
    let mut replica = Replica::new(quota(10, 40), spec(4, OnError::Local, 4));
    let mut server = Server::new();
    assert!(replica.grants(1, T0) && replica.grants(1, T0));
    let Verdict::Waits(mut waiting) = replica.ask(1, T0) else {
        panic!("only the store can tell");
    };
    while let Ok(ask) = replica.questions.try_recv() {
        ask.failed(StoreFault::Timeout);
    }
    assert_eq!(waiting.settled_now(), Some(Settled::Failed));
    let judged = replica.limiter.ask(&member(1), Some(Settled::Failed), T0);
    assert!(matches!(judged, Verdict::Granted));
    assert_eq!(replica.limiter.lease(&member(1), T0).unwrap().owed, 3);
    let Verdict::Waits(mut waiting) = replica.ask(1, T0) else {
        panic!("only the store can tell");
    };
    replica.answer(&mut server, T0);
    assert_eq!(waiting.settled_now(), Some(Settled::Granted));
    assert_eq!(replica.limiter.lease(&member(1), T0).unwrap().owed, 0);
}

#[test]
fn who_read_the_clock_before_an_answer_came_is_not_refused_by_it() {
    let mut replica = Replica::new(quota(100, 100), spec(10, OnError::Closed, 1));
    let mut server = Server::new();
    for _ in 0..3 {
        assert!(replica.grants(1, T0));
        replica.answer(&mut server, T0 + Duration::from_millis(1));
    }
    let mut lease_1 = Replica::new(quota(100, 100), spec(1, OnError::Closed, 1));
    drop(lease_1.ask(2, T0));
    lease_1.answer(&mut server, T0 + Duration::from_millis(1));
    assert!(lease_1.grants(2, T0), "what is in hand");
    lease_1.answer(&mut server, T0 + Duration::from_millis(1));
    assert!(!matches!(lease_1.ask(2, T0), Verdict::Limited(_)));
    assert!(!matches!(lease_1.ask(2, T0), Verdict::Limited(_)));
}

#[test]
fn an_answer_that_nobody_waits_for_any_more_is_in_hand() {
    let mut replica = Replica::new(quota(10, 10), spec(1, OnError::Local, 1));
    let mut server = Server::new();
    drop(replica.ask(1, T0));
    replica.answer(&mut server, T0);
    assert_eq!(replica.limiter.lease(&member(1), T0).unwrap().held, 1);
    assert!(replica.grants(1, T0));
}

#[test]
fn a_queue_that_is_full_fails_at_once_and_is_counted() {
    let replica = Replica::new(quota(10, 1000), spec(1, OnError::Local, 1));
    let waits = |_: &usize| matches!(replica.ask(1, T0), Verdict::Waits(_));
    assert_eq!((0..8192).filter(waits).count(), 8192);
    let Verdict::Waits(mut waiting) = replica.ask(1, T0) else {
        panic!("only the store can tell");
    };
    assert_eq!(waiting.settled_now(), Some(Settled::Failed));
    let counted: Vec<_> = replica
        .store
        .tally()
        .faults()
        .filter(|(_, count)| *count > 0)
        .collect();
    assert_eq!(counted, [(StoreFault::Queue, 1)]);
}

#[test]
fn keys_without_a_place_are_judged_by_the_share_and_idle_ones_give_theirs_back() {
    let mut replica = Replica::new(quota(10, 10), spec(1, OnError::Local, 2));
    let mut server = Server::new();
    // An eighth of the places is kept for whom the gateway knows.
    for n in 0..88 {
        assert!(matches!(replica.ask(n, T0), Verdict::Waits(_)));
    }
    replica.answer(&mut server, T0);
    assert!(matches!(replica.ask(1000, T0), Verdict::Granted), "its share");
    let counted: Vec<_> = replica.store.tally().judged().map(|(_, counts)| counts).collect();
    assert_eq!(counted, [[0, 0], [0, 0], [0, 0], [1, 0]]);
    replica.limiter.sweep(T0 + Duration::from_millis(999));
    assert!(replica.limiter.lease(&member(1), T0).is_some());
    replica.limiter.sweep(T0 + Duration::from_secs(1));
    assert!(replica.limiter.lease(&member(1), T0).is_none());
    assert!(matches!(replica.ask(1000, T0), Verdict::Waits(_)));
}

#[test]
fn a_reset_gives_the_whole_burst_back_in_the_store_too() {
    let mut replica = Replica::new(quota(1, 3), spec(1, OnError::Local, 1));
    let mut server = Server::new();
    let burst = |replica: &mut Replica, server: &mut Server| {
        (0..10)
            .filter(|_| match replica.ask(1, T0) {
                Verdict::Waits(mut waiting) => {
                    replica.answer(server, T0);
                    waiting.settled_now() == Some(Settled::Granted)
                }
                Verdict::Granted => true,
                Verdict::Limited(_) => false,
            })
            .count()
    };
    assert_eq!(burst(&mut replica, &mut server), 3);
    let reset = replica.limiter.reset(&member(1));
    assert!(reset.had_state);
    replica.answer(&mut server, T0);
    let whole = KeyState {
        remaining: 3,
        full_in: Duration::ZERO,
    };
    assert_eq!(told(reset.store.unwrap()), Told::Left(whole));
    assert_eq!(burst(&mut replica, &mut server), 3);
}

/// What has come of a question.
fn told(inquiry: Inquiry) -> Told {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.unwrap().block_on(inquiry.told())
}

#[test]
fn an_operator_is_told_what_the_store_knows_of_a_key_or_why_not() {
    let mut replica = Replica::new(quota(1, 30), spec(1, OnError::Local, 1));
    let mut server = Server::new();
    let Verdict::Waits(_waiting) = replica.ask(1, T0) else {
        panic!("only the store can tell");
    };
    replica.answer(&mut server, T0);
    let inquiry = |replica: &Replica| replica.limiter.inquire(&member(1)).unwrap();
    let asked = inquiry(&replica);
    assert_eq!(replica.answer(&mut server, T0 + Duration::from_millis(500)), 1);
    let left = KeyState {
        remaining: 29,
        full_in: Duration::from_millis(500),
    };
    assert_eq!(
        told(asked),
        Told::Left(left),
        "one was charged, half a second ago"
    );
    // That was charged nothing: asked again, it is the same.
    let again = inquiry(&replica);
    replica.answer(&mut server, T0 + Duration::from_millis(500));
    assert_eq!(told(again), Told::Left(left));
    let asked = inquiry(&replica);
    replica.questions.try_recv().unwrap().failed(StoreFault::Foreign);
    assert_eq!(told(asked), Told::Failed(StoreFault::Foreign));
    let asked = inquiry(&replica);
    assert_eq!(
        told(asked),
        Told::Failed(StoreFault::Timeout),
        "no longer than allowed"
    );
    replica.store.set_up(false);
    assert_eq!(told(inquiry(&replica)), Told::Down);
}

#[test]
fn a_reset_by_one_replica_is_known_to_another_within_a_second() {
    let hourly = Quota {
        period: Period::Hour,
        ..quota(1, 3)
    };
    let mut server = Server::new();
    let mut replicas = [(); 2].map(|()| Replica::new(hourly, spec(10, OnError::Local, 2)));
    let [one, other] = &mut replicas;
    let refused = |replica: &mut Replica, server: &mut Server, now| loop {
        match replica.ask(1, now) {
            Verdict::Granted => {}
            Verdict::Limited(_) => break,
            Verdict::Waits(_) => _ = replica.answer(server, now),
        }
    };
    refused(one, &mut server, T0);
    let _ = other.limiter.reset(&member(1));
    other.answer(&mut server, T0);
    let almost = T0 + Duration::from_millis(999);
    assert!(matches!(one.ask(1, almost), Verdict::Limited(_)));
    assert_eq!(one.answer(&mut server, almost), 0, "nobody is asked so soon");
    // This one is refused, and none after it.
    let later = T0 + Duration::from_secs(1);
    for _ in 0..3 {
        assert!(matches!(one.ask(1, later), Verdict::Limited(_)));
    }
    assert_eq!(one.answer(&mut server, later), 1, "one question for all of them");
    assert!(!matches!(one.ask(1, later), Verdict::Limited(_)));
}

#[test]
fn requests_are_counted_by_what_judged_them() {
    let mut replica = Replica::new(quota(1, 40), spec(4, OnError::Closed, 1));
    let mut server = Server::new();
    let counted = |replica: &Replica| {
        replica
            .store
            .tally()
            .judged()
            .map(|(_, counts)| counts)
            .collect::<Vec<_>>()
    };
    assert!(replica.grants(1, T0) && replica.grants(1, T0));
    let Verdict::Waits(mut waiting) = replica.ask(1, T0) else {
        panic!("only the store can tell");
    };
    assert_eq!(
        counted(&replica),
        [[2, 0], [0, 0], [0, 0], [0, 0]],
        "who waits is not judged yet"
    );
    replica.answer(&mut server, T0);
    let settled = waiting.settled_now();
    assert!(matches!(
        replica.limiter.ask(&member(1), settled, T0),
        Verdict::Granted
    ));
    let refused = Some(Settled::Refused(Duration::from_secs(1)));
    assert!(matches!(
        replica.limiter.ask(&member(1), refused, T0),
        Verdict::Limited(_)
    ));
    replica.store.set_up(false);
    assert!(matches!(replica.ask(2, T0), Verdict::Limited(_)));
    assert_eq!(counted(&replica), [[2, 0], [1, 1], [0, 1], [0, 0]]);
}

/// Any order of requests and answers, over replicas that share one key.
#[test]
fn no_stretch_of_time_has_more_than_the_bound() {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

    let event = (0_usize..4, 0_u64..30, prop::bool::weighted(0.7));
    let events = prop::collection::vec(event, 1..400);
    let settings = (events, 1_u32..24, 1_u32..200, 1_u32..200);
    let mut runner = TestRunner::new(Config::with_cases(300));
    runner
        .run(&settings, |(events, lease, rate, burst)| {
            let quota = quota(rate, burst);
            let mut replicas: Vec<_> = (0..4)
                .map(|_| Replica::new(quota, spec(lease, OnError::Closed, 1)))
                .collect();
            let terms = leases::Terms::of(lease, quota);
            let mut server = Server::new();
            let mut now = T0;
            let mut admitted: Vec<Now> = Vec::new();
            for (at, pause, is_answered) in events {
                now += Duration::from_millis(pause);
                let replica = &mut replicas[at];
                let waiting = match replica.ask(1, now) {
                    Verdict::Granted => {
                        admitted.push(now);
                        None
                    }
                    Verdict::Limited(_) => None,
                    Verdict::Waits(waiting) => Some(waiting),
                };
                if is_answered {
                    replica.answer(&mut server, now);
                }
                if let Some(mut waiting) = waiting
                    && waiting.settled_now() == Some(Settled::Granted)
                {
                    admitted.push(now);
                }
            }
            for (first, from) in admitted.iter().enumerate() {
                for (last, to) in admitted.iter().enumerate().skip(first) {
                    let span = (*to - *from).as_secs_f64();
                    let most =
                        f64::from(burst) + f64::from(rate) * span + f64::from(4 * (terms.held + terms.ahead));
                    let count = (last - first + 1) as f64;
                    prop_assert!(count <= most + 0.01, "{count} of {most} in {span} s, {terms:?}");
                }
            }
            Ok(())
        })
        .unwrap();
}
