//! Numbers to hand out: leased from the controller in blocks, so that a join costs no round trip.
//!
//! A block is as large as what the last quarter of a second used, and is given back soon: two
//! joins at different edges that are further apart than a block's life are never swapped.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use admission_api::{Gap, Lease};
use keys::{EventId, Lane};

/// How much of the recent join rate a block covers.
const BLOCK_TIME: Duration = Duration::from_millis(250);
/// Most numbers asked for at once.
const BLOCK_MAX: u64 = 10_000;
/// Weight of the newest second in the join rate.
const RATE_WEIGHT: f64 = 0.5;

/// Numbers of one lane of one event.
#[derive(Debug, Default)]
struct Pool {
    blocks: VecDeque<Block>,
    gaps: Vec<Gap>,
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
    until: Instant,
}

/// Leases blocks and counts what is handed out.
#[derive(Debug, Default)]
pub struct Numbers {
    pools: Mutex<HashMap<(EventId, Lane), Arc<Shelf>>>,
}

/// A pool and the turnstile before its refill: of many joins that find it empty, one asks the
/// controller and the others wait for the answer.
#[derive(Debug)]
struct Shelf {
    event: EventId,
    lane: Lane,
    pool: Mutex<Pool>,
    refill: tokio::sync::Mutex<()>,
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
    /// What `lease` said.
    pub async fn take<E, F>(
        &self,
        event: &EventId,
        lane: Lane,
        line: u64,
        lease: impl Fn(u64) -> F,
    ) -> Result<(u64, u64), E>
    where
        F: Future<Output = Result<Lease, E>>,
    {
        let shelf = self.shelf(event, lane);
        if let Some(number) = shelf.take(line, Instant::now()) {
            return Ok(number);
        }
        let _turn = shelf.refill.lock().await;
        if let Some(number) = shelf.take(line, Instant::now()) {
            return Ok(number);
        }
        let lease = lease(shelf.want()).await?;
        Ok(shelf.put_and_take(&lease, Instant::now()))
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
            })
        }))
    }
}

impl Shelf {
    fn take(&self, line: u64, now: Instant) -> Option<(u64, u64)> {
        let mut pool = lock(&self.pool);
        self.expire(&mut pool, Some(line), now);
        let block = pool.blocks.front_mut()?;
        let number = (block.next, block.line);
        block.next += 1;
        pool.taken_since += 1;
        Some(number)
    }

    fn put_and_take(&self, lease: &Lease, now: Instant) -> (u64, u64) {
        let mut pool = lock(&self.pool);
        pool.blocks.push_back(Block {
            line: lease.line,
            next: lease.first + 1,
            end: lease.first.saturating_add(lease.count),
            until: now + Duration::from_millis(lease.valid_ms),
        });
        pool.taken_since += 1;
        (lease.first, lease.line)
    }

    /// How many to ask for: what [`BLOCK_TIME`] used lately.
    fn want(&self) -> u64 {
        let mut pool = lock(&self.pool);
        pool.measure(Instant::now());
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped
        let count = (pool.rate * BLOCK_TIME.as_secs_f64()).clamp(1.0, 10_000.0) as u64;
        count.clamp(1, BLOCK_MAX)
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
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

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
    }

    #[tokio::test]
    async fn numbers_of_an_older_line_are_not_handed_out() {
        let numbers = Numbers::default();
        let old = |_| async { Ok::<_, Infallible>(lease(1, 10, 60_000)) };
        let new = |_| async { Ok::<_, Infallible>(Lease { line: 2, ..lease(1, 10, 60_000) }) };
        assert_eq!(numbers.take(&event(), Lane::Standard, 1, old).await, Ok((1, 1)));
        assert_eq!(numbers.take(&event(), Lane::Standard, 2, new).await, Ok((1, 2)));
    }
}
