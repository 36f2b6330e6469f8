//! Marks on seats that somebody is about to get, so that a thousand who want the same seat need
//! not all wait for its writer.
//!
//! A mark may only say no. Whoever is told that seats are free, or nothing at all, asks the writer
//! as ever; so a Redis that is flushed, slow or gone changes how fast a refusal comes and nothing
//! else. A mark that nobody takes away ends by itself, at the time when the hold would have.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use keys::{EventId, Id128, Secret};
use prometheus::IntCounterVec;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisError, Script};

use crate::sale::{SEATS_PER_ORDER_LIMIT, Seat};

/// How often in a row Redis may fail until it is left alone.
const FAILURES_MAX: u32 = 3;
/// How long it is left alone then, until one request tries it again.
const OPEN_FOR: Duration = Duration::from_secs(1);
/// How long a connection may take; nobody waits for it longer than for an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// `KEYS`: the hold's, then one a seat. `ARGV`: the hold and how long, in milliseconds. Answers
/// which of the seats somebody else has marked, counted from 0; marks all or none.
const MARK: &str = r"
    local taken = {}
    for i = 2, #KEYS do
        local owner = redis.call('GET', KEYS[i])
        if owner and owner ~= ARGV[1] then taken[#taken + 1] = i - 2 end
    end
    if #taken > 0 or #KEYS < 2 then return taken end
    for i = 2, #KEYS do
        redis.call('SET', KEYS[i], ARGV[1], 'NX', 'PX', ARGV[2])
        redis.call('SADD', KEYS[1], KEYS[i])
    end
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    return taken";

/// `KEYS`: the hold's. `ARGV`: the hold. The seats' keys have the same hash tag, so a cluster keeps
/// them where the hold's is.
const UNMARK: &str = r"
    for _, key in ipairs(redis.call('SMEMBERS', KEYS[1])) do
        if redis.call('GET', key) == ARGV[1] then redis.call('DEL', key) end
    end
    redis.call('DEL', KEYS[1])";

/// Where the marks are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HotOptions {
    /// `redis://:password@host:6379/`.
    pub url: Secret,
    /// How long an answer is waited for.
    pub timeout: Duration,
}

/// What the marks say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// Nobody else has marked them, and now they are ours.
    Free,
    /// Somebody else has these.
    Taken(Vec<Seat>),
    /// Nobody knows: ask the writer.
    Unavailable,
}

impl Mark {
    const fn label(&self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Taken(_) => "taken",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Why there can be no marks.
#[derive(Debug, thiserror::Error)]
pub enum HotError {
    /// The URL is none.
    #[error("the URL of Redis cannot be used: {detail}")]
    Url {
        /// What is wrong, without the URL: it may have a password.
        detail: String,
    },
}

/// The marks, or none.
#[derive(Debug, Clone)]
pub enum Hot {
    /// Nothing is asked and nothing is marked.
    None,
    /// In Redis.
    Redis(Arc<RedisMarks>),
}

impl Hot {
    /// Prepares the way to Redis; it is connected when it is first needed, and again by itself.
    ///
    /// # Errors
    /// If the URL is none.
    pub fn redis(options: &HotOptions, counted: IntCounterVec) -> Result<Self, HotError> {
        RedisMarks::new(options, counted).map(|marks| Self::Redis(Arc::new(marks)))
    }

    /// Marks seats for a hold that is about to be asked for, until `ttl` is over: all or none.
    pub async fn try_mark(
        &self,
        event: &EventId,
        seats: &[Seat],
        hold: Id128,
        ttl: Duration,
    ) -> Mark {
        match self {
            Self::None => Mark::Unavailable,
            Self::Redis(marks) => marks.try_mark(event, seats, hold, ttl).await,
        }
    }

    /// Takes a hold's marks away, and nobody else's. If Redis does not hear of it, they end by
    /// themselves.
    pub async fn unmark(&self, event: &EventId, hold: Id128) {
        match self {
            Self::None => {}
            Self::Redis(marks) => marks.unmark(event, hold).await,
        }
    }
}

/// The marks in Redis.
pub struct RedisMarks {
    manager: ConnectionManager,
    mark: Script,
    unmark: Script,
    timeout: Duration,
    breaker: Mutex<Breaker>,
    counted: IntCounterVec,
}

impl std::fmt::Debug for RedisMarks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RedisMarks")
    }
}

impl RedisMarks {
    fn new(options: &HotOptions, counted: IntCounterVec) -> Result<Self, HotError> {
        // The kind of error is told and not its text, which may repeat the URL.
        let refused = |error: RedisError| HotError::Url { detail: format!("{:?}", error.kind()) };
        let client = Client::open(options.url.expose()).map_err(refused)?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(options.timeout));
        let manager = client.get_connection_manager_lazy(config).map_err(refused)?;
        Ok(Self {
            manager,
            mark: Script::new(MARK),
            unmark: Script::new(UNMARK),
            timeout: options.timeout,
            breaker: Mutex::default(),
            counted,
        })
    }

    async fn try_mark(&self, event: &EventId, seats: &[Seat], hold: Id128, ttl: Duration) -> Mark {
        // The writer refuses such a wish, and says why.
        if seats.is_empty() || seats.len() > SEATS_PER_ORDER_LIMIT as usize {
            return Mark::Unavailable;
        }
        let mut invocation = self.mark.key(hold_key(event, hold));
        let mut key = String::new();
        for seat in seats {
            key.clear();
            // Writing to a text does not fail.
            let _ = write!(key, "wr:{{{event}}}:seat:{seat}");
            invocation.key(key.as_str());
        }
        invocation.arg(hold.to_string());
        invocation.arg(u64::try_from(ttl.as_millis().max(1)).unwrap_or(u64::MAX));
        let mut manager = self.manager.clone();
        let asked = self.bounded(async move { invocation.invoke_async(&mut manager).await }).await;
        let mark = match asked {
            None => Mark::Unavailable,
            Some(taken) if Vec::is_empty(&taken) => Mark::Free,
            Some(taken) => {
                let taken = taken.into_iter().filter_map(|at: usize| seats.get(at).copied());
                Mark::Taken(taken.collect())
            }
        };
        self.counted.with_label_values(&[mark.label()]).inc();
        mark
    }

    async fn unmark(&self, event: &EventId, hold: Id128) {
        let mut invocation = self.unmark.key(hold_key(event, hold));
        invocation.arg(hold.to_string());
        let mut manager = self.manager.clone();
        let asked = async move { invocation.invoke_async::<()>(&mut manager).await };
        let _ = self.bounded(asked).await;
    }

    /// Asks Redis for as long as it is worth it.
    async fn bounded<T>(&self, work: impl Future<Output = Result<T, RedisError>>) -> Option<T> {
        if !self.breaker().may_ask(Instant::now()) {
            return None;
        }
        let answer = tokio::time::timeout(self.timeout, work).await;
        let is_good = matches!(answer, Ok(Ok(_)));
        let told = self.breaker().told(is_good, Instant::now());
        match told {
            Told::Nothing => {}
            Told::Opened => {
                let error = match &answer {
                    Ok(Err(error)) => error.to_string(),
                    _ => format!("no answer within {} ms", self.timeout.as_millis()),
                };
                tracing::warn!(error, "Redis is left alone for now; refusals may come slower");
            }
            Told::Closed => tracing::info!("Redis answers again"),
        }
        answer.ok()?.ok()
    }

    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The braces are the hash tag: all keys of an event are in one place of a cluster.
fn hold_key(event: &EventId, hold: Id128) -> String {
    format!("wr:{{{event}}}:hold:{hold}")
}

/// Whether Redis is worth asking.
#[derive(Debug, Default)]
struct Breaker {
    failures: u32,
    /// Until when nobody asks.
    until: Option<Instant>,
}

/// Whether something is worth a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Opened,
    Closed,
}

impl Breaker {
    /// Whether to ask at `now`. After a pause one may try, and the others wait for another pause.
    fn may_ask(&mut self, now: Instant) -> bool {
        match self.until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                self.until = Some(now + OPEN_FOR);
                true
            }
        }
    }

    fn told(&mut self, is_good: bool, now: Instant) -> Told {
        let was_open = self.until.is_some();
        if is_good {
            *self = Self::default();
            return if was_open { Told::Closed } else { Told::Nothing };
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures < FAILURES_MAX {
            return Told::Nothing;
        }
        self.until = Some(now + OPEN_FOR);
        if was_open { Told::Nothing } else { Told::Opened }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Opts;
    use servers::Redis;

    use super::*;

    const A: Id128 = Id128::from_bytes([1; 16]);
    const B: Id128 = Id128::from_bytes([2; 16]);
    const LONG: Duration = Duration::from_secs(60);

    fn hot(url: &str, timeout: Duration) -> Hot {
        let options = HotOptions { url: url.to_owned().try_into().unwrap(), timeout };
        let counted = IntCounterVec::new(Opts::new("marks", "Marks."), &["outcome"]).unwrap();
        Hot::redis(&options, counted).unwrap()
    }

    /// Patient enough for a busy machine.
    fn patient(server: &Redis) -> Hot {
        hot(&server.url(), Duration::from_secs(10))
    }

    fn event() -> EventId {
        "final".parse().unwrap()
    }

    #[tokio::test]
    async fn marks_are_all_or_none_and_end_with_their_hold() {
        let server = Redis::start();
        let hot = patient(&server);
        let mark = async |seats: &[Seat], hold| hot.try_mark(&event(), seats, hold, LONG).await;
        assert_eq!(mark(&[1, 2], A).await, Mark::Free);
        assert_eq!(mark(&[1, 2], A).await, Mark::Free, "asked again");
        assert_eq!(mark(&[3, 2, 1], B).await, Mark::Taken(vec![2, 1]));
        assert_eq!(mark(&[3], B).await, Mark::Free, "nothing of it was marked");
        let other = "other".parse().unwrap();
        assert_eq!(hot.try_mark(&other, &[1], B, LONG).await, Mark::Free);
        hot.unmark(&event(), B).await;
        assert_eq!(mark(&[1], B).await, Mark::Taken(vec![1]), "only its own are taken away");
        hot.unmark(&event(), A).await;
        assert_eq!(mark(&[1, 2, 3], B).await, Mark::Free);
        hot.unmark(&event(), B).await;
        assert_eq!(server.command(&["DBSIZE"]), "2", "the other event's hold and seat");
    }

    #[tokio::test]
    async fn a_mark_that_nobody_takes_away_ends_by_itself() {
        let server = Redis::start();
        let hot = patient(&server);
        let ttl = Duration::from_millis(200);
        assert_eq!(hot.try_mark(&event(), &[1], A, ttl).await, Mark::Free);
        let since = Instant::now();
        while hot.try_mark(&event(), &[1], B, ttl).await != Mark::Free {
            assert!(since.elapsed() < Duration::from_secs(20), "it is still there");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn of_many_who_mark_a_seat_one_is_told_that_it_is_free() {
        let server = Redis::start();
        let hot = patient(&server);
        let mut asked = tokio::task::JoinSet::new();
        for n in 0..64 {
            let hot = hot.clone();
            let hold = Id128::from_bytes([n; 16]);
            asked.spawn(async move { hot.try_mark(&event(), &[7, 8], hold, LONG).await });
        }
        let marks = asked.join_all().await;
        assert_eq!(marks.iter().filter(|mark| **mark == Mark::Free).count(), 1);
        assert!(!marks.contains(&Mark::Unavailable));
    }

    #[tokio::test]
    async fn a_frozen_redis_costs_a_few_timeouts_and_is_then_left_alone() {
        let server = Redis::start();
        let timeout = Duration::from_millis(50);
        let hot = hot(&server.url(), timeout);
        let mark = async || hot.try_mark(&event(), &[1], A, LONG).await;
        eventually("Redis is connected", async || mark().await == Mark::Free).await;
        server.pause();
        let since = Instant::now();
        for _ in 0..200 {
            assert_eq!(mark().await, Mark::Unavailable);
        }
        // Three until it is left alone, and one for each second that this takes.
        let most = timeout * FAILURES_MAX + since.elapsed() / 10;
        assert!(since.elapsed() < most + Duration::from_secs(1), "{:?}", since.elapsed());
        server.resume();
        eventually("Redis is asked again", async || mark().await == Mark::Free).await;
    }

    #[tokio::test]
    async fn a_redis_that_went_away_is_found_again_and_remembers_nothing() {
        let mut server = Redis::start();
        let hot = hot(&server.url(), Duration::from_secs(1));
        let mark = async |hold| hot.try_mark(&event(), &[1], hold, LONG).await;
        eventually("Redis is connected", async || mark(A).await == Mark::Free).await;
        assert_eq!(mark(B).await, Mark::Taken(vec![1]));
        server.stop_immediate();
        assert_eq!(mark(B).await, Mark::Unavailable);
        hot.unmark(&event(), A).await;
        server.restart();
        eventually("it may be marked again", async || mark(B).await == Mark::Free).await;
    }

    #[test]
    fn the_breaker_opens_after_failures_in_a_row_and_one_at_a_time_tries_again() {
        let mut breaker = Breaker::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        for _ in 0..FAILURES_MAX - 1 {
            assert!(breaker.may_ask(at(0)));
            assert_eq!(breaker.told(false, at(0)), Told::Nothing);
        }
        assert_eq!(breaker.told(true, at(0)), Told::Nothing, "one success, and it begins anew");
        for told in [Told::Nothing, Told::Nothing, Told::Opened] {
            assert!(breaker.may_ask(at(1)));
            assert_eq!(breaker.told(false, at(1)), told);
        }
        assert!(!breaker.may_ask(at(1000)));
        assert!(breaker.may_ask(at(1001)));
        assert!(!breaker.may_ask(at(1001)), "one tries, the others do not");
        assert_eq!(breaker.told(false, at(1020)), Told::Nothing);
        assert!(!breaker.may_ask(at(2019)));
        assert!(breaker.may_ask(at(2020)));
        assert_eq!(breaker.told(true, at(2021)), Told::Closed);
        assert!(breaker.may_ask(at(2021)));
    }

    #[test]
    fn a_password_is_never_told() {
        for url in ["redis://:sesame-open@127.0.0.1:1/", "http://:sesame-open@host/"] {
            let options = HotOptions { url: url.to_owned().try_into().unwrap(), timeout: OPEN_FOR };
            let counted = IntCounterVec::new(Opts::new("marks", "Marks."), &["outcome"]).unwrap();
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let _inside = runtime.enter();
            let made = Hot::redis(&options, counted);
            let said = format!("{made:?} {options:?}");
            assert!(!said.contains("sesame"), "{said}");
        }
    }

    async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
        let since = Instant::now();
        while !is_so().await {
            assert!(since.elapsed() < Duration::from_secs(30), "not so: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
