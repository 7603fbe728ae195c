//! Asks authorization servers whose a token is.
//!
//! A token is asked about once, however many calls with it come at a time, and what was said of it is kept for as
//! long as the token is good and the configuration allows. Neither tokens nor their hashes leave the memory: what
//! is kept is found by a hash under a secret that this object has drawn. Only listed servers are asked, their
//! redirects are not followed, their answers have a bound, and every wait has an end.

mod call;
mod pause;
mod way;

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::sync::Cache;
use prometheus::Histogram;
use ring::hmac;
use rustls::pki_types::CertificateDer;
use tokio::sync::{Semaphore, watch};

use crate::policy::verify::{Ask, AuthServer, Said, Unknown};
use crate::request::field::Domain;
use call::Caller;
use pause::Pause;

/// Tokens that something is kept of. One that is asked about often stays in a flood of invented ones.
const TOKENS: u64 = 50_000;
/// Tokens that are being asked about. Beyond it nobody is asked, so that a slow server holds no more of us.
const PLACES: usize = 256;
/// A token that is none will not become one, but a server may have been wrong.
const BAD_TOKEN: Duration = Duration::from_secs(60);

/// Who is asked, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AskRules {
    /// The servers, in the order in which an [`Ask`] counts them.
    pub servers: Arc<[AuthServer]>,
    /// For a whole question: connect, TLS, answer.
    pub timeout: Duration,
    /// The longest that an answer is kept.
    pub cache: Duration,
    /// By whom the servers' certificates have to be signed.
    pub roots: Arc<[CertificateDer<'static>]>,
    /// The HTTP proxy that leads to them, `host:port`; none where they are connected to directly.
    pub proxy: Option<Domain>,
}

/// Asks, and remembers.
pub struct Verifier {
    rules: AskRules,
    caller: Caller,
    pauses: Vec<Pause>,
    flights: Cache<Key, Flight>,
    secret: hmac::Key,
    places: Arc<Semaphore>,
    durations: Histogram,
    epoch: Instant,
}

/// Stands for a token and the server that is asked about it.
type Key = [u8; 32];

/// What is being asked, or was said.
#[derive(Clone)]
struct Flight {
    said: watch::Receiver<Option<Said>>,
    /// From when it was put down.
    lives: Duration,
}

struct Lives;

impl Expiry<Key, Flight> for Lives {
    fn expire_after_create(&self, _: &Key, flight: &Flight, _: Instant) -> Option<Duration> {
        Some(flight.lives)
    }

    fn expire_after_update(
        &self,
        _: &Key,
        flight: &Flight,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(flight.lives)
    }
}

impl Verifier {
    /// By these rules: what was there `before`, if it has the same ones, or a new one. Each question's time is
    /// told to `durations`.
    ///
    /// # Errors
    /// What rustls or the system's source of random numbers says, or that the proxy can not be spelled as a URL.
    pub fn keep_or_build(
        rules: &AskRules,
        before: Option<&Arc<Verifier>>,
        durations: &Histogram,
    ) -> Result<Arc<Verifier>, Box<dyn std::error::Error + Send + Sync>> {
        if let Some(before) = before.filter(|before| before.rules == *rules) {
            return Ok(before.clone());
        }
        let secret = hmac::Key::generate(hmac::HMAC_SHA256, &ring::rand::SystemRandom::new())
            .map_err(|_| "no random numbers")?;
        Ok(Arc::new(Verifier {
            caller: Caller::new(&rules.servers, &rules.roots, rules.proxy.as_ref(), rules.timeout)?,
            pauses: rules.servers.iter().map(|_| Pause::default()).collect(),
            flights: Cache::builder().max_capacity(TOKENS).expire_after(Lives).build(),
            secret,
            places: Arc::new(Semaphore::new(PLACES)),
            durations: durations.clone(),
            epoch: Instant::now(),
            rules: rules.clone(),
        }))
    }

    /// What the server says of the token: kept, or asked now. Waits no longer than the rules say. Whoever gives up
    /// the wait takes nobody else's answer away.
    pub async fn ask(self: &Arc<Verifier>, ask: &Ask) -> Said {
        let key = self.key(ask);
        let flight = match self.flights.get(&key) {
            Some(flight) => flight,
            None => {
                let paused = self
                    .pauses
                    .get(ask.server)
                    .is_some_and(|pause| !pause.may_ask(self.now()));
                if paused {
                    return Said::Nothing(Unknown::Paused);
                }
                let Ok(place) = self.places.clone().try_acquire_owned() else {
                    return Said::Nothing(Unknown::Busy);
                };
                // Of many at a time one begins; the others' places are free again at once.
                self.flights.get_with(key, || {
                    let (tell, said) = watch::channel(None);
                    let (verifier, ask) = (self.clone(), ask.clone());
                    tokio::spawn(async move {
                        let _place = place;
                        verifier.fly(key, &ask, &tell).await;
                    });
                    Flight {
                        said,
                        lives: self.rules.timeout.saturating_mul(2),
                    }
                })
            }
        };
        let mut said = flight.said;
        match said.wait_for(Option::is_some).await {
            Ok(said) => said.clone(),
            // Whoever asked is gone without a word.
            Err(_) => None,
        }
        .unwrap_or(Said::Nothing(Unknown::Unreachable))
    }

    /// Asks, tells who waits, and keeps what is worth it.
    async fn fly(&self, key: Key, ask: &Ask, tell: &watch::Sender<Option<Said>>) {
        let since = Instant::now();
        let asking = self.caller.call(ask);
        let said = match tokio::time::timeout(self.rules.timeout, asking).await {
            Ok(said) => said,
            Err(_) => Said::Nothing(Unknown::Timeout),
        };
        self.durations.observe(since.elapsed().as_secs_f64());
        if let Some(pause) = self.pauses.get(ask.server) {
            pause.learns(said != Said::Nothing(Unknown::Timeout), self.now());
        }
        let lives = self.lives(&said, ask.expires);
        tell.send_replace(Some(said));
        match lives.is_zero() {
            true => self.flights.invalidate(&key),
            false => self.flights.insert(
                key,
                Flight {
                    said: tell.subscribe(),
                    lives,
                },
            ),
        }
    }

    /// For how long an answer is kept. Nobody's trouble is.
    fn lives(&self, said: &Said, expires: Option<Duration>) -> Duration {
        match said {
            Said::Info(info) => {
                let of_answer = info.expires.map(|at| {
                    let left = at.saturating_sub(call::unix_now());
                    Duration::from_secs(u64::try_from(left).unwrap_or_default())
                });
                let bounds = [expires, of_answer].into_iter().flatten();
                bounds.fold(self.rules.cache, Duration::min)
            }
            Said::NoToken => self.rules.cache.min(BAD_TOKEN),
            Said::Nothing(_) | Said::Assumed => Duration::ZERO,
        }
    }

    fn key(&self, ask: &Ask) -> Key {
        let mut hash = hmac::Context::with_key(&self.secret);
        hash.update(&ask.server.to_be_bytes());
        hash.update(ask.token.secret().as_bytes());
        hash.sign().as_ref().first_chunk().copied().unwrap_or_default()
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }
}
