//! Numbers to hand out: leased from the controller in blocks, so that a join costs no round trip.
//!
//! A block is as large as what the last quarter of a second used, and is given back soon: it is for
//! joins that began within its life, which is counted from the moment before it was asked for. So two
//! joins that are further apart than a block's life are never swapped, however slow the controller's
//! answers are: whoever stands before you was numbered after you had your answer only if their block
//! was, and then they had come before its life was over.
//!
//! A silent controller is asked by one join a second; the others are told at once, for a queue of
//! time-outs would keep growing long after the controller is back.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use admission_api::{Gap, HeldNumber, Lease};
use keys::{EventId, Lane};

/// How much of the recent join rate a block covers.
const BLOCK_TIME: Duration = Duration::from_millis(250);
/// Most numbers asked for at once.
const BLOCK_MAX: u64 = 10_000;
/// After a lease failed, nobody asks again for this long.
const FAILED_TIME: Duration = Duration::from_secs(1);
/// A join waits at most this long for another one's lease, a little longer than a call may take.
const TURN_TIME_MAX: Duration = Duration::from_millis(2500);
/// Weight of the newest second in the join rate.
const RATE_WEIGHT: f64 = 0.5;

/// Numbers of one lane of one event.
#[derive(Debug, Default)]
struct Pool {
    blocks: VecDeque<Block>,
    gaps: Vec<Gap>,
    /// The newest line and the highest number of it that was leased.
    highest: Option<(u64, u64)>,
    /// Joins a second, smoothed.
    rate: f64,
    taken_since: u64,
    measured_at: Option<Instant>,
}

#[derive(Debug)]
struct Block {
    line: u64,
    next: u64,
    end: u64,
    /// It is for joins that began before.
    until: Instant,
}

/// Leases blocks and counts what is handed out.
#[derive(Debug, Default)]
pub struct Numbers {
    pools: Mutex<HashMap<(EventId, Lane), Arc<Shelf>>>,
}

/// Why there is no number.
#[derive(Debug, PartialEq, Eq)]
pub enum NoNumber<E> {
    /// The controller was asked and said this.
    Lease(E),
    /// It was asked by another join just now, in vain.
    Lately,
}

/// A pool and the turnstile before its refill: of many joins that find it empty, one asks the
/// controller and the others wait for the answer.
#[derive(Debug)]
struct Shelf {
    event: EventId,
    lane: Lane,
    pool: Mutex<Pool>,
    refill: tokio::sync::Mutex<()>,
    failed_at: Mutex<Option<Instant>>,
    /// Joins at the turnstile.
    waiting: AtomicU64,
}

/// Counts a join at the turnstile, also when its visitor goes away.
struct Waiter<'a>(&'a AtomicU64);

impl<'a> Waiter<'a> {
    fn new(waiting: &'a AtomicU64) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A pool is sound after any single statement, so a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Numbers {
    /// The next number of a lane in the line's generation `line`.
    ///
    /// `lease` asks the controller for so many numbers; it is called only when none are at hand.
    ///
    /// # Errors
    /// What `lease` said, to us or to somebody before us.
    pub async fn take<E, F>(
        &self,
        event: &EventId,
        lane: Lane,
        line: u64,
        lease: impl Fn(u64) -> F,
    ) -> Result<(u64, u64), NoNumber<E>>
    where
        F: Future<Output = Result<Lease, E>>,
    {
        let shelf = self.shelf(event, lane);
        let began_at = Instant::now();
        if let Some(number) = shelf.take(line, began_at) {
            return Ok(number);
        }
        if shelf.has_failed(began_at, began_at) {
            return Err(NoNumber::Lately);
        }
        let _waiter = Waiter::new(&shelf.waiting);
        let Ok(_turn) = tokio::time::timeout(TURN_TIME_MAX, shelf.refill.lock()).await else {
            return Err(NoNumber::Lately);
        };
        if let Some(number) = shelf.take(line, began_at) {
            return Ok(number);
        }
        let asked_at = Instant::now();
        if shelf.has_failed(began_at, asked_at) {
            return Err(NoNumber::Lately);
        }
        match lease(shelf.want()).await {
            Ok(lease) => {
                *lock(&shelf.failed_at) = None;
                Ok(shelf.put_and_take(&lease, asked_at))
            }
            Err(error) => {
                *lock(&shelf.failed_at) = Some(Instant::now());
                Err(NoNumber::Lease(error))
            }
        }
    }

    /// Gives back one number that nobody got.
    pub fn give_back(&self, event: &EventId, lane: Lane, line: u64, number: u64) {
        let gap = Gap { event: event.clone(), line, lane, first: number, count: 1 };
        self.keep_gaps(vec![gap]);
    }

    /// Everything that is left, as gaps: for the last report of an edge that stops.
    #[must_use]
    pub fn all_gaps(&self) -> Vec<Gap> {
        let far = Duration::from_secs(365 * 24 * 3600);
        self.gaps(Instant::now() + far)
    }

    /// Blocks that ran out of time, as gaps to be given back. Called regularly.
    #[must_use]
    pub fn gaps(&self, now: Instant) -> Vec<Gap> {
        let shelves: Vec<Arc<Shelf>> = lock(&self.pools).values().cloned().collect();
        let mut gaps = Vec::new();
        for shelf in shelves {
            let mut pool = lock(&shelf.pool);
            pool.measure(now);
            shelf.expire(&mut pool, None, now);
            gaps.append(&mut pool.gaps);
        }
        gaps
    }

    /// The highest numbers that we were given.
    #[must_use]
    pub fn held(&self) -> Vec<HeldNumber> {
        let pools = lock(&self.pools);
        let held = pools.values().filter_map(|shelf| {
            let (line, num) = lock(&shelf.pool).highest?;
            Some(HeldNumber { event: shelf.event.clone(), line, lane: shelf.lane, num })
        });
        held.collect()
    }

    /// Takes back gaps that could not be reported.
    pub fn keep_gaps(&self, gaps: Vec<Gap>) {
        for gap in gaps {
            let shelf = self.shelf(&gap.event, gap.lane);
            lock(&shelf.pool).gaps.push(gap);
        }
    }

    fn shelf(&self, event: &EventId, lane: Lane) -> Arc<Shelf> {
        let mut pools = lock(&self.pools);
        Arc::clone(pools.entry((event.clone(), lane)).or_insert_with(|| {
            Arc::new(Shelf {
                event: event.clone(),
                lane,
                pool: Mutex::default(),
                refill: tokio::sync::Mutex::default(),
                failed_at: Mutex::default(),
                waiting: AtomicU64::new(0),
            })
        }))
    }
}

impl Shelf {
    /// A number for a join that began then. What is too old for it is so for all who come later.
    fn take(&self, line: u64, began_at: Instant) -> Option<(u64, u64)> {
        let mut pool = lock(&self.pool);
        self.expire(&mut pool, Some(line), began_at);
        let block = pool.blocks.front_mut()?;
        let number = (block.next, block.line);
        block.next += 1;
        pool.taken_since += 1;
        Some(number)
    }

    /// Whether a lease failed after a join came, or just before.
    fn has_failed(&self, began_at: Instant, now: Instant) -> bool {
        lock(&self.failed_at).is_some_and(|at| at >= began_at || now < at + FAILED_TIME)
    }

    fn put_and_take(&self, lease: &Lease, asked_at: Instant) -> (u64, u64) {
        let mut pool = lock(&self.pool);
        pool.blocks.push_back(Block {
            line: lease.line,
            next: lease.first + 1,
            end: lease.first.saturating_add(lease.count),
            until: asked_at + Duration::from_millis(lease.valid_ms),
        });
        pool.taken_since += 1;
        let last = lease.first.saturating_add(lease.count.saturating_sub(1));
        pool.highest = pool.highest.max(Some((lease.line, last)));
        (lease.first, lease.line)
    }

    /// How many to ask for: what [`BLOCK_TIME`] used lately, and one for each who waits.
    fn want(&self) -> u64 {
        let mut pool = lock(&self.pool);
        pool.measure(Instant::now());
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped
        let count = (pool.rate * BLOCK_TIME.as_secs_f64()).clamp(1.0, 10_000.0) as u64;
        count.max(self.waiting.load(Ordering::Relaxed)).clamp(1, BLOCK_MAX)
    }

    /// Drops what is used up; what is too old or of another line becomes a gap.
    fn expire(&self, pool: &mut Pool, line: Option<u64>, now: Instant) {
        while let Some(block) = pool.blocks.front() {
            let is_stale = now >= block.until || line.is_some_and(|line| line != block.line);
            if block.next < block.end && !is_stale {
                break;
            }
            if block.next < block.end {
                let gap = Gap {
                    event: self.event.clone(),
                    line: block.line,
                    lane: self.lane,
                    first: block.next,
                    count: block.end - block.next,
                };
                pool.gaps.push(gap);
            }
            pool.blocks.pop_front();
        }
    }
}

impl Pool {
    #[allow(clippy::cast_precision_loss)] // joins in a second
    fn measure(&mut self, now: Instant) {
        let Some(measured_at) = self.measured_at else {
            self.measured_at = Some(now);
            return;
        };
        let elapsed = now.saturating_duration_since(measured_at);
        if elapsed < BLOCK_TIME {
            return;
        }
        let newest = self.taken_since as f64 / elapsed.as_secs_f64();
        let weight = 1.0 - (1.0 - RATE_WEIGHT).powf(elapsed.as_secs_f64());
        self.rate += weight * (newest - self.rate);
        self.taken_since = 0;
        self.measured_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn event() -> EventId {
        "final".parse().unwrap()
    }

    fn lease(first: u64, count: u64, valid_ms: u64) -> Lease {
        Lease { line: 1, first, count, valid_ms }
    }

    #[tokio::test]
    async fn each_number_is_handed_out_once() {
        let numbers = Arc::new(Numbers::default());
        let next = Arc::new(AtomicU64::new(1));
        let mut joins = tokio::task::JoinSet::new();
        for _ in 0..500 {
            let (numbers, next) = (numbers.clone(), next.clone());
            joins.spawn(async move {
                let ask = |_| async {
                    tokio::task::yield_now().await;
                    Ok::<_, Infallible>(lease(next.fetch_add(7, Ordering::Relaxed), 7, 60_000))
                };
                numbers.take(&event(), Lane::Standard, 1, ask).await.unwrap().0
            });
        }
        let mut handed_out = joins.join_all().await;
        handed_out.sort_unstable();
        let expected: Vec<u64> = (1..=500).collect();
        assert_eq!(handed_out, expected);
    }

    #[tokio::test]
    async fn what_is_not_used_in_time_comes_back_as_a_gap() {
        let numbers = Numbers::default();
        let ask = |_| async { Ok::<_, Infallible>(lease(1, 10, 0)) };
        assert_eq!(numbers.take(&event(), Lane::Standard, 1, ask).await, Ok((1, 1)));
        let gaps = numbers.gaps(Instant::now());
        let expected = Gap { event: event(), line: 1, lane: Lane::Standard, first: 2, count: 9 };
        assert_eq!(gaps, [expected]);
        assert_eq!(numbers.gaps(Instant::now()), []);
        let held = HeldNumber { event: event(), line: 1, lane: Lane::Standard, num: 10 };
        assert_eq!(numbers.held(), [held], "it stays the highest that we were given");
    }

    #[test]
    fn a_block_is_for_those_who_began_within_its_life() {
        let numbers = Numbers::default();
        let shelf = numbers.shelf(&event(), Lane::Standard);
        let asked_at = Instant::now();
        let after = |millis| asked_at + Duration::from_millis(millis);
        shelf.put_and_take(&lease(1, 10, 500), asked_at);
        assert_eq!(shelf.take(1, after(499)), Some((2, 1)));
        assert_eq!(shelf.take(1, after(500)), None, "however late the answer came");
    }

    /// What happens in [`joins_further_apart_than_a_block_lives_are_never_swapped`], in microseconds.
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    enum Event {
        Begins { edge: usize },
        Assigned { edge: usize, asked_at: u64, began_at: u64 },
        Answered { edge: usize, asked_at: u64, began_at: u64, first: u64 },
    }

    #[test]
    fn joins_further_apart_than_a_block_lives_are_never_swapped() {
        use std::cmp::Reverse;
        use std::collections::BinaryHeap;
        const LIFE_MS: u64 = 500;
        const COUNT: u64 = 9;
        const JOINS: usize = 1500;
        // A generator of its own, so that a failure can be repeated.
        let mut seed = 7_u64;
        let mut chance = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        // One way in four takes up to longer than a block lives.
        let travel = |chance: &mut dyn FnMut(u64) -> u64| {
            let most = if chance(4) == 0 { 700_000 } else { 20_000 };
            100 + chance(most)
        };
        let zero = Instant::now();
        let at = |micros| zero + Duration::from_micros(micros);
        let edges: [Arc<Shelf>; 3] =
            std::array::from_fn(|_| Numbers::default().shelf(&event(), Lane::Standard));
        let mut waiting: [VecDeque<u64>; 3] = Default::default();
        let mut is_asking = [false; 3];
        let mut events = BinaryHeap::new();
        for _ in 0..JOINS {
            let edge = usize::try_from(chance(3)).unwrap();
            events.push(Reverse((chance(60_000_000), Event::Begins { edge })));
        }
        let (mut next, mut joined) = (1, Vec::new());
        while let Some(Reverse((now, event))) = events.pop() {
            let edge = match event {
                Event::Begins { edge } => {
                    waiting[edge].push_back(now);
                    edge
                }
                Event::Assigned { edge, asked_at, began_at } => {
                    let answered = Event::Answered { edge, asked_at, began_at, first: next };
                    next += COUNT;
                    events.push(Reverse((now + travel(&mut chance), answered)));
                    continue;
                }
                Event::Answered { edge, asked_at, began_at, first } => {
                    let lease = lease(first, COUNT, LIFE_MS);
                    let number = edges[edge].put_and_take(&lease, at(asked_at)).0;
                    joined.push((number, began_at, now));
                    is_asking[edge] = false;
                    edge
                }
            };
            while !is_asking[edge]
                && let Some(began_at) = waiting[edge].pop_front()
            {
                if let Some((number, _)) = edges[edge].take(1, at(began_at)) {
                    joined.push((number, began_at, now));
                } else {
                    is_asking[edge] = true;
                    let assigned = Event::Assigned { edge, asked_at: now, began_at };
                    events.push(Reverse((now + travel(&mut chance), assigned)));
                }
            }
        }
        assert_eq!(joined.len(), JOINS);
        joined.sort_unstable();
        let (mut earliest, mut furthest) = (u64::MAX, 0);
        for (_, began_at, answered_at) in joined.into_iter().rev() {
            // Somebody behind us had their answer before we began.
            furthest = furthest.max(began_at.saturating_sub(earliest));
            earliest = earliest.min(answered_at);
        }
        assert!(furthest < LIFE_MS * 1000, "swapped over {furthest} us");
        assert!(furthest > 0, "nothing was swapped, so nothing was shown");
    }

    #[tokio::test]
    async fn numbers_of_an_older_line_are_not_handed_out() {
        let numbers = Numbers::default();
        let old = |_| async { Ok::<_, Infallible>(lease(1, 10, 60_000)) };
        let new = |_| async { Ok::<_, Infallible>(Lease { line: 2, ..lease(1, 10, 60_000) }) };
        assert_eq!(numbers.take(&event(), Lane::Standard, 1, old).await, Ok((1, 1)));
        assert_eq!(numbers.take(&event(), Lane::Standard, 2, new).await, Ok((1, 2)));
    }

    #[tokio::test]
    async fn a_silent_controller_is_not_asked_once_for_each_who_waits() {
        let numbers = Arc::new(Numbers::default());
        let asked = Arc::new(AtomicU64::new(0));
        let mut joins = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let (numbers, asked) = (numbers.clone(), asked.clone());
            joins.spawn(async move {
                let ask = |_| async {
                    asked.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Err::<Lease, _>("silent")
                };
                numbers.take(&event(), Lane::Standard, 1, ask).await.unwrap_err()
            });
        }
        let told = joins.join_all().await;
        assert_eq!(told.iter().filter(|why| **why == NoNumber::Lately).count(), 99);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        let at_once = |_| async { Ok::<_, &str>(lease(1, 1, 0)) };
        let next = numbers.take(&event(), Lane::Standard, 1, at_once).await;
        assert_eq!(next, Err(NoNumber::Lately), "within a second of the failure");
    }

    #[tokio::test]
    async fn one_lease_is_for_all_who_wait() {
        let numbers = Arc::new(Numbers::default());
        let wants = Arc::new(Mutex::new(Vec::new()));
        let mut joins = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (numbers, wants) = (numbers.clone(), wants.clone());
            joins.spawn(async move {
                let ask = |want| {
                    let first = 1 + lock(&wants).iter().sum::<u64>();
                    lock(&wants).push(want);
                    async move {
                        // All of the others come while the first one asks.
                        for _ in 0..100 {
                            tokio::task::yield_now().await;
                        }
                        Ok::<_, Infallible>(lease(first, want, 60_000))
                    }
                };
                numbers.take(&event(), Lane::Standard, 1, ask).await.unwrap().0
            });
        }
        let mut handed_out = joins.join_all().await;
        handed_out.sort_unstable();
        assert_eq!(handed_out, (1..=20).collect::<Vec<u64>>());
        assert_eq!(*lock(&wants), [1, 19]);
    }

    #[tokio::test]
    async fn an_edge_that_stops_gives_back_everything() {
        let numbers = Numbers::default();
        let ask = |_| async { Ok::<_, Infallible>(lease(1, 10, 60_000)) };
        assert_eq!(numbers.take(&event(), Lane::Standard, 1, ask).await, Ok((1, 1)));
        numbers.give_back(&event(), Lane::Standard, 1, 1);
        assert_eq!(numbers.gaps(Instant::now()).len(), 1);
        let gap =
            |first, count| Gap { event: event(), line: 1, lane: Lane::Standard, first, count };
        assert_eq!(numbers.all_gaps(), [gap(2, 9)]);
    }
}
