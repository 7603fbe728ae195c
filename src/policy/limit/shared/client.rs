//! The one who asks the store: a connection, questions on their way on it, and the breaker.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::breaker::Breaker;
use super::connection::{self, Connection};
use super::fault::StoreFault;
use super::script::{Charge, Charged};
use super::store::{Ask, SharedSpec, State, Store, Witness};
use crate::policy::limit::clock::Now;
use crate::policy::limit::quota::{Period, Quota};

/// How long a start or a reload waits until the store was tried once.
const FIRST_TRIAL: Duration = Duration::from_secs(1);

impl Store {
    /// Starts to ask it, by a thread of its own, for as long as the store is named; once. Blocks until it was tried,
    /// a second at most. Times count from `epoch`.
    ///
    /// # Errors
    /// Where there is no thread to be had.
    pub fn start(&self, epoch: Instant, witness: impl Witness) -> std::io::Result<()> {
        let Some(asks) = self.unanswered.lock().take() else {
            return Ok(());
        };
        let (tried, first_trial) = std::sync::mpsc::channel();
        let task = Task {
            spec: self.spec.clone(),
            state: self.state.clone(),
            epoch,
            witness,
            tried: Some(tried),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name("limits-store".to_owned())
            .spawn(move || runtime.block_on(task.run(asks)))?;
        // Whatever came of it: requests do not depend on it.
        let _ = first_trial.recv_timeout(FIRST_TRIAL);
        Ok(())
    }
}

/// Questions that go out together.
const TOGETHER: usize = 256;
/// How long questions that nobody needs yet wait for others. A member that is so busy that it does is hurried.
const GATHERING: Duration = Duration::from_millis(5);
/// What has gone out together and is on its way at once.
const UNDER_WAY: usize = 64;
/// For a connect with its handshake.
const CONNECT: Duration = Duration::from_secs(1);
/// How often a store is tried that nobody asks: what is shown of it is no older.
const IDLE: Duration = Duration::from_secs(1);

/// What the thread is given.
pub(super) struct Task<W> {
    pub(super) spec: SharedSpec,
    pub(super) state: Arc<State>,
    pub(super) epoch: Instant,
    pub(super) witness: W,
    /// Dropped once the store was tried.
    pub(super) tried: Option<Sender<()>>,
}

/// Questions that are to go out together, when the first of them has waited long enough.
#[derive(Default)]
struct Gathered {
    asks: Vec<Ask>,
    since: Option<Instant>,
}

/// What came of questions that went out together.
struct Asked {
    asks: Vec<Ask>,
    /// An answer to each, or why the store was given up before they came.
    answers: Result<Vec<Result<Charged, StoreFault>>, StoreFault>,
    took: Duration,
}

impl<W: Witness> Task<W> {
    /// Asks until nobody is left who could have a question.
    pub(super) async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        let mut breaker = Breaker::new();
        let mut down_since = self.now();
        let mut is_told = false;
        loop {
            let tried = while_failing(&mut asks, self.connect()).await;
            let Some(tried) = tried else { return };
            match tried {
                Ok(connection) => {
                    breaker.closes(self.now());
                    self.state.is_up.store(true, Ordering::Relaxed);
                    self.tried = None;
                    self.witness.up(self.now().saturating_sub(down_since));
                    let Some(fault) = self.ask_while_well(&connection, &mut breaker, &mut asks).await else {
                        return;
                    };
                    down_since = self.now();
                    breaker.opened(down_since);
                    self.witness.down(fault, self.spec.on_error);
                }
                Err(fault) => {
                    self.tried = None;
                    self.state.tally.fault(fault);
                    if !is_told {
                        // It was not up since the start.
                        self.witness.down(fault, self.spec.on_error);
                    }
                }
            }
            is_told = true;
            let pause = tokio::time::sleep(breaker.pause(rand::random()));
            let Some(()) = while_failing(&mut asks, pause).await else {
                return;
            };
        }
    }

    fn now(&self) -> Now {
        self.epoch.elapsed()
    }

    /// Connects and tries the script, with a write: a replica answers all that only reads.
    async fn connect(&self) -> Result<Connection, StoreFault> {
        let connection = timeout(CONNECT, connection::open(&self.spec.address, self.spec.timeout))
            .await
            .unwrap_or(Err(StoreFault::Connection))?;
        // Name look-ups in a cluster and the script's first compilation are not what an answer takes later.
        self.probe(&connection, CONNECT).await?;
        self.probe(&connection, self.spec.timeout).await?;
        Ok(connection)
    }

    async fn probe(&self, connection: &Connection, within: Duration) -> Result<(), StoreFault> {
        let name = format!("{}{{probe}}", self.spec.prefix);
        let begun = Instant::now();
        let said = timeout(within, connection.charge(&name, &PROBE)).await;
        self.witness.took(begun.elapsed());
        said.unwrap_or(Err(StoreFault::Timeout)).map(|_| ())
    }

    /// Passes questions on until the breaker opens, and says why it did; none where nobody can ask any more.
    async fn ask_while_well(
        &self,
        connection: &Connection,
        breaker: &mut Breaker,
        asks: &mut mpsc::Receiver<Ask>,
    ) -> Option<StoreFault> {
        let mut under_way = JoinSet::new();
        let mut gathered = Gathered::default();
        let (given_up, why) = watch::channel(None);
        let opened = loop {
            let opened = tokio::select! {
                Some(ended) = under_way.join_next() => match ended {
                    Ok(asked) => self.settle(asked, breaker),
                    // A question that panicked, which none does.
                    Err(_) => breaker.opens(StoreFault::Answer).then_some(StoreFault::Answer),
                },
                gathering = self.gather(asks, &mut gathered), if under_way.len() < UNDER_WAY => {
                    gathering?;
                    let asks = std::mem::take(&mut gathered).asks;
                    for asks in connection.together(asks) {
                        under_way.spawn(put(connection.clone(), asks, self.spec.timeout, why.clone()));
                    }
                    None
                }
                () = tokio::time::sleep(IDLE), if under_way.is_empty() => {
                    let probed = self.probe(connection, self.spec.timeout).await;
                    self.weigh(probed.err(), breaker)
                }
            };
            if let Some(fault) = opened {
                break fault;
            }
        };
        self.state.is_up.store(false, Ordering::Relaxed);
        gathered.asks.into_iter().for_each(|ask| ask.failed(opened));
        // Nobody waits any longer for a store that is not asked any more.
        given_up.send_replace(Some(opened));
        while let Some(ended) = under_way.join_next().await {
            if let Ok(asked) = ended {
                self.settle(asked, breaker);
            }
        }
        Some(opened)
    }

    /// Collects what is asked until the first of it has waited long enough, or somebody is in a hurry. Dropped in
    /// between it goes on where it was; none once nobody can ask any more.
    async fn gather(&self, asks: &mut mpsc::Receiver<Ask>, gathered: &mut Gathered) -> Option<()> {
        let since = match gathered.since {
            Some(since) => since,
            None => {
                gathered.asks.push(asks.recv().await?);
                *gathered.since.insert(Instant::now())
            }
        };
        // The queue is not looked at meanwhile, so that nobody who asks has to wake this thread.
        let _ = timeout(
            GATHERING.saturating_sub(since.elapsed()),
            self.state.hurry.notified(),
        )
        .await;
        while gathered.asks.len() < TOGETHER
            && let Ok(ask) = asks.try_recv()
        {
            gathered.asks.push(ask);
        }
        Some(())
    }

    /// Hands on what came of each question. Gives back why the breaker opens, where it does.
    fn settle(&self, asked: Asked, breaker: &mut Breaker) -> Option<StoreFault> {
        let now = self.now();
        let answers = match asked.answers {
            Ok(answers) => answers,
            // The store had time left: that is no fault of its own.
            Err(given_up) => {
                asked.asks.into_iter().for_each(|ask| ask.failed(given_up));
                return None;
            }
        };
        let mut opened = None;
        for (ask, answer) in asked.asks.into_iter().zip(answers) {
            self.witness.took(asked.took);
            let fault = match answer {
                Ok(charged) => {
                    ask.answered(charged, now);
                    None
                }
                Err(fault) => {
                    ask.failed(fault);
                    Some(fault)
                }
            };
            opened = opened.or(self.weigh(fault, breaker));
        }
        opened
    }

    /// Counts a fault, or an answer, to a question or a probe: faults are in a row only where nothing came between.
    /// Gives back why the breaker opens, where it does.
    fn weigh(&self, fault: Option<StoreFault>, breaker: &mut Breaker) -> Option<StoreFault> {
        let Some(fault) = fault else {
            breaker.answered();
            return None;
        };
        self.state.tally.fault(fault);
        breaker.opens(fault).then_some(fault)
    }
}

/// Writes, whatever is there, and says nothing of anybody.
const PROBE: Charge = Charge {
    quota: Quota {
        rate: std::num::NonZeroU32::MIN,
        period: Period::Second,
        burst: std::num::NonZeroU32::MIN,
    },
    owed: 1,
    wanted: 0,
};

/// Asks all of these together, and waits for so long, or until the store is given up for the fault that comes here.
async fn put(
    connection: Connection,
    asks: Vec<Ask>,
    within: Duration,
    mut given_up: watch::Receiver<Option<StoreFault>>,
) -> Asked {
    let begun = Instant::now();
    let charges = asks.iter().map(|ask| (&*ask.name, &ask.charge));
    let answers = tokio::select! {
        // An answer that is there counts, however late this thread came to look.
        biased;
        answers = connection.charge_all(charges) => Ok(answers),
        () = tokio::time::sleep(within) => Ok(vec![Err(StoreFault::Timeout); asks.len()]),
        why = given_up.wait_for(Option::is_some) => {
            Err(why.ok().and_then(|why| *why).unwrap_or(StoreFault::Timeout))
        }
    };
    Asked {
        answers,
        took: begun.elapsed(),
        asks,
    }
}

/// Waits for the work. Who asks meanwhile, since it was not known yet that there is no store, is told. None once
/// nobody can ask any more.
async fn while_failing<T>(asks: &mut mpsc::Receiver<Ask>, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Some(done),
            ask = asks.recv() => ask?.failed(StoreFault::Connection),
        }
    }
}
