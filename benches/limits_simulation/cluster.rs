//! Replicas, a store and what is between them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use widget_gateway::policy::limit::keys::KeyTable;
use widget_gateway::policy::limit::shared::{
    Ask, Bucket, Charged, OnError, Settled, SharedSpec, Store, StoreAddress, StoreFault, Waiting,
};
use widget_gateway::policy::limit::{Limiter, Period, Quota, Verdict};
use widget_gateway::request::field::{MemberId, MemberIdShape};

use crate::chance::Chance;
use crate::judge::{Judge, Told};
use crate::{BURST, RATE};

/// Members far over their quota.
pub const BUSY: usize = 50;
pub const SECONDS: u32 = 60;
/// How many times its rate a busy member asks for.
const TIMES: f64 = 10.0;
/// When the replicas were started, by the simulation's clock.
const START: f64 = 100_000.0;
/// The longest that a request waits, in seconds.
const TIMEOUT: f64 = 0.005;

#[derive(Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    pub replicas: usize,
    /// 0: there is no store.
    pub lease: u32,
    pub balancing: Balancing,
    pub trouble: Trouble,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Balancing {
    Even,
    /// Half of all requests go to the first.
    Uneven,
    /// All of a member's go to one.
    ByMember,
    /// The same, and after half of the time its members go to the others.
    ByMemberOneLeaves,
}

#[derive(Clone, Copy, Default)]
pub struct Trouble {
    /// How much each clock is fast or slow at most.
    pub skew: f64,
    /// The part of answers that are lost.
    pub lost: f64,
    /// Seconds.
    pub reload_every: Option<u32>,
    pub outages: bool,
}

impl Scenario {
    /// Requests over burst + rate·t; none where none is promised.
    pub fn bound(&self) -> Option<u32> {
        let replicas = self.replicas as u32;
        match (self.lease, self.balancing) {
            (0, Balancing::ByMember) => Some(0),
            (0, Balancing::ByMemberOneLeaves) => Some(BURST),
            (0, Balancing::Even | Balancing::Uneven) => None,
            (lease, _) => {
                let lease = replicas * lease.min(BURST / 10);
                // A single question that fails is judged as in an outage.
                let alone = self.trouble.outages || self.trouble.lost > 0.0;
                // A reload with another address forgets what runs ahead and what is in hand.
                let reloads = self.trouble.reload_every.map_or(0, |every| SECONDS / every);
                Some(
                    lease * (1 + reloads)
                        + if alone {
                            (BURST + replicas) * (1 + reloads)
                        } else {
                            0
                        },
                )
            }
        }
    }
}

fn quota() -> Quota {
    Quota {
        rate: NonZeroU32::new(RATE).unwrap(),
        period: Period::Second,
        burst: NonZeroU32::new(BURST).unwrap(),
    }
}

struct Replica {
    limiter: Limiter<MemberId>,
    /// Where there is one.
    store: Option<(Arc<Store>, Receiver<Ask>)>,
    /// How fast its clock runs, and how far it is ahead.
    clock: (f64, f64),
}

impl Replica {
    fn new(scenario: &Scenario, clock: (f64, f64), at: f64) -> Replica {
        let table = Arc::new(KeyTable::new(10_000_000));
        let now = Duration::from_secs_f64(clock.1 + at * clock.0);
        if scenario.lease == 0 {
            return Replica {
                limiter: Limiter::new(quota(), table, now),
                store: None,
                clock,
            };
        }
        let store = Store::new(
            SharedSpec {
                address: StoreAddress::parse("redis://store").unwrap(),
                lease: scenario.lease,
                timeout: Duration::from_secs_f64(TIMEOUT),
                on_error: OnError::Local,
                replicas: scenario.replicas as u32,
                prefix: String::new(),
            },
            Arc::default(),
        );
        let questions = store.questions().unwrap();
        store.set_up(true);
        let naming = Arc::new(|member: &MemberId| format!("{{{member}}}:member"));
        Replica {
            limiter: Limiter::shared(quota(), &store, naming, table, now),
            store: Some((store, questions)),
            clock,
        }
    }

    /// What its clock shows.
    fn now(&self, at: f64) -> Duration {
        Duration::from_secs_f64(self.clock.1 + at * self.clock.0)
    }
}

/// A question and who waits for its answer.
struct Question {
    replica: usize,
    /// The replica's life; a reload begins another.
    life: u32,
    ask: Ask,
    waiter: Option<(Waiting, usize)>,
    answer: Option<Charged>,
}

enum Event {
    Request,
    AtServer(Box<Question>),
    Back(Box<Question>),
    Sweep,
    Reload(usize),
    Found(usize),
}

/// What happens, in its order.
#[derive(Default)]
struct Agenda {
    order: BinaryHeap<Reverse<(u64, u64)>>,
    events: HashMap<u64, Event>,
    count: u64,
}

impl Agenda {
    fn add(&mut self, at: f64, event: Event) {
        self.count += 1;
        self.order.push(Reverse(((at * 1e9) as u64, self.count)));
        self.events.insert(self.count, event);
    }

    fn next(&mut self) -> Option<(f64, Event)> {
        let Reverse((at, number)) = self.order.pop()?;
        Some((at as f64 / 1e9, self.events.remove(&number)?))
    }
}

struct World<'s> {
    scenario: &'s Scenario,
    members: usize,
    chance: Chance,
    replicas: Vec<Replica>,
    lives: Vec<u32>,
    server: HashMap<String, Bucket>,
    agenda: Agenda,
    judge: Judge,
    questions: u64,
}

pub fn run(scenario: &Scenario, members: usize) -> Told {
    let mut chance = Chance::new(42);
    let replicas: Vec<_> = (0..scenario.replicas)
        .map(|_| {
            let fast = 1.0 + scenario.trouble.skew * (2.0 * chance.part() - 1.0);
            Replica::new(scenario, (fast, START * chance.part()), 0.0)
        })
        .collect();
    let mut world = World {
        scenario,
        members,
        lives: vec![0; replicas.len()],
        replicas,
        server: HashMap::new(),
        agenda: Agenda::default(),
        judge: Judge::new(quota(), Duration::ZERO, 10_000_000),
        questions: 0,
        chance,
    };
    let end = f64::from(SECONDS);
    world.agenda.add(0.0, Event::Request);
    world.agenda.add(1.0, Event::Sweep);
    if let Some(every) = scenario.trouble.reload_every {
        for replica in 0..scenario.replicas {
            let first = world.chance.part() * f64::from(every);
            world.agenda.add(first, Event::Reload(replica));
        }
    }
    let mut requests = 0;
    while let Some((at, event)) = world.agenda.next() {
        match event {
            Event::Request if at < end => {
                requests += 1;
                world.request(at);
                let mean = end / (members as f64 + BUSY as f64 * TIMES * f64::from(RATE) * end);
                let pause = world.chance.pause(mean);
                world.agenda.add(at + pause, Event::Request);
            }
            Event::Request => {}
            Event::AtServer(question) => world.at_server(question, at),
            Event::Back(question) => world.back(*question, at),
            Event::Sweep if at < end => {
                for replica in &world.replicas {
                    replica.limiter.sweep(replica.now(at));
                }
                world.agenda.add(at + 1.0, Event::Sweep);
            }
            Event::Sweep => {}
            Event::Reload(replica) => {
                world.lives[replica] += 1;
                world.replicas[replica] = Replica::new(scenario, world.replicas[replica].clock, at);
                if let (Some(every), true) = (scenario.trouble.reload_every, at < end) {
                    world.agenda.add(at + f64::from(every), Event::Reload(replica));
                }
            }
            Event::Found(replica) => match world.is_out(at) {
                true => world.find_again(replica, at),
                false => world.set_up(replica, true),
            },
        }
    }
    world.judge.told(world.questions, requests)
}

impl World<'_> {
    fn request(&mut self, at: f64) {
        let busy = BUSY as f64 * TIMES * f64::from(RATE) * f64::from(SECONDS);
        let number = match self.chance.part() < busy / (busy + self.members as f64) {
            true => self.chance.below(BUSY),
            false => BUSY + self.chance.below(self.members.max(1)),
        };
        let member = member(number);
        let replica = self.replica_of(number, at);
        self.judge.asked(&member, number, Duration::from_secs_f64(at));
        let now = self.replicas[replica].now(at);
        let said = self.replicas[replica].limiter.ask(&member, None, now);
        let waiting = self.note(said, number, at);
        self.send(replica, waiting.map(|waiting| (waiting, number)), at);
    }

    fn replica_of(&mut self, number: usize, at: f64) -> usize {
        let count = self.replicas.len();
        match self.scenario.balancing {
            Balancing::Even => self.chance.below(count),
            Balancing::Uneven if self.chance.part() < 0.5 => 0,
            Balancing::Uneven => self.chance.below(count),
            Balancing::ByMemberOneLeaves if number.is_multiple_of(count) && at > f64::from(SECONDS) / 2.0 => {
                1 + number / count % (count - 1)
            }
            Balancing::ByMember | Balancing::ByMemberOneLeaves => number % count,
        }
    }

    fn note(&mut self, said: Verdict, number: usize, at: f64) -> Option<Waiting> {
        match said {
            Verdict::Granted => self.judge.admitted(number, at),
            Verdict::Limited(_) => {}
            Verdict::Waits(waiting) => return Some(waiting),
        }
        None
    }

    /// Puts what the replica has just asked on its way. Who waits, waits for the last of it.
    fn send(&mut self, replica: usize, mut waiter: Option<(Waiting, usize)>, at: f64) {
        let life = self.lives[replica];
        let mut asked = Vec::new();
        if let Some((_, questions)) = &mut self.replicas[replica].store {
            while let Ok(ask) = questions.try_recv() {
                asked.push(ask);
            }
        }
        let last = asked.len();
        for (count, ask) in asked.into_iter().enumerate() {
            self.questions += 1;
            let waiter = if count + 1 == last { waiter.take() } else { None };
            let question = Box::new(Question {
                replica,
                life,
                ask,
                waiter,
                answer: None,
            });
            let travel = 0.0001 + self.chance.pause(0.0003);
            self.agenda.add(at + travel, Event::AtServer(question));
        }
    }

    fn is_out(&self, at: f64) -> bool {
        self.scenario.trouble.outages && at % 20.0 >= 15.0
    }

    fn at_server(&mut self, mut question: Box<Question>, at: f64) {
        if self.is_out(at) {
            self.agenda.add(at + TIMEOUT, Event::Back(question));
            return;
        }
        let bucket = self.server.entry(question.ask.name.clone()).or_default();
        let charged = bucket.charge(&question.ask.charge, 1e12 + at * 1e6);
        let is_lost = self.chance.part() < self.scenario.trouble.lost;
        question.answer = (!is_lost).then_some(charged);
        let travel = match is_lost {
            true => TIMEOUT,
            false => 0.0001 + self.chance.pause(0.0003),
        };
        self.agenda.add(at + travel, Event::Back(question));
    }

    fn back(&mut self, question: Question, at: f64) {
        let Question {
            replica,
            life,
            ask,
            waiter,
            answer,
        } = question;
        let is_alive = self.lives[replica] == life;
        let now = self.replicas[replica].now(at);
        match answer {
            Some(charged) => ask.answered(charged, now),
            None => {
                ask.failed(StoreFault::Timeout);
                if is_alive && self.is_out(at) {
                    self.set_up(replica, false);
                    self.find_again(replica, at);
                }
            }
        }
        let Some((mut waiting, number)) = waiter else {
            return;
        };
        let settled = waiting.settled_now().unwrap_or(Settled::Failed);
        let said = self.replicas[replica]
            .limiter
            .ask(&member(number), Some(settled), now);
        self.note(said, number, at);
        self.send(replica, None, at);
    }

    /// Tries the store again after a while, as the breaker does.
    fn find_again(&mut self, replica: usize, at: f64) {
        let pause = 0.1 + self.chance.part() * 2.0;
        self.agenda.add(at + pause, Event::Found(replica));
    }

    fn set_up(&mut self, replica: usize, is_up: bool) {
        if let Some((store, _)) = &self.replicas[replica].store {
            store.set_up(is_up);
        }
    }
}

fn member(number: usize) -> MemberId {
    MemberId::parse(format!("{number:032x}").as_bytes(), MemberIdShape::Hex32).unwrap()
}
