//! A primary is lost and its replica takes over, with what it has heard: what counts twice, and what
//! does not?

use admission_api::NoPriority;

use super::super::{Counted, Deed, Grant, LineId, NewBatch, Store, StoreError, suite};
use super::tests::{NOW, PATIENCE, epoch, front, front_at, lease, open, until_settled};
use super::*;

/// A primary and its replica, behind an address that follows the primary.
struct Pair {
    primary: servers::Redis,
    replica: servers::Redis,
    /// By this way the replica hears.
    hearing: servers::Relay,
    address: servers::Relay,
}

impl Pair {
    fn start() -> Self {
        let (primary, replica) = (servers::Redis::start(), servers::Redis::start());
        let hearing = servers::Relay::to(primary.port());
        replica.follow(hearing.port());
        primary.until_followed();
        let address = servers::Relay::to(primary.port());
        Self { primary, replica, hearing, address }
    }

    fn place(&self, replicas_min: u32) -> RedisPlace {
        place_at(&self.address, replicas_min)
    }

    /// The replica becomes the primary, and gets a replica of its own.
    fn promote(&self) -> servers::Redis {
        self.replica.promote();
        let next = servers::Redis::start();
        next.follow(self.replica.port());
        self.replica.until_followed();
        self.address.turn_to(self.replica.port());
        next
    }
}

fn place_at(address: &servers::Relay, replicas_min: u32) -> RedisPlace {
    let urls = vec![format!("redis://127.0.0.1:{}/", address.port())];
    RedisPlace { urls, ca: None, replicas_min, is_cluster: false, prefix: "test".to_owned() }
}

/// A code that is good three times.
const CODE: [u8; 32] = [9; 32];

async fn with_code(store: &Store, event: &str) -> LineId {
    let line = suite::room(store, event).await;
    let batch = NewBatch { label: "fans".to_owned(), uses: 3, valid_from: None, valid_until: None };
    let deed = Deed { who: "olga".to_owned(), what: "codes".to_owned(), at: NOW };
    store.add_codes(line.clone(), batch, vec![CODE], deed).await.unwrap().unwrap();
    line
}

async fn grant(
    store: &Store,
    line: &LineId,
    visitor: u8,
) -> Result<Result<u64, NoPriority>, StoreError> {
    let sub = Id128::from_bytes([visitor; 16]);
    store.grant(line.clone(), Grant { sub, hash: CODE, is_ticket: false, at_most: None }, NOW).await
}

/// What a lease takes, for whoever looks at the output.
async fn time_of_a_lease(store: &Store, line: &LineId) -> Duration {
    let since = std::time::Instant::now();
    for _ in 0..200 {
        store
            .lease(line.clone(), keys::Lane::Suspect, 1, "edge-1".parse().unwrap(), NOW)
            .await
            .unwrap();
    }
    since.elapsed() / 200
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_counted_outlives_the_primary_when_replicas_must_have_it() {
    let mut pair = Pair::start();
    let store = open(&pair.place(1), "a").await;
    let leads = epoch(&store).await.unwrap();
    let line = with_code(&store, "kept").await;
    store.resume(line.clone(), leads).await.unwrap();
    let first = grant(&store, &line, 1).await.unwrap();
    assert_eq!(lease(&store, &line, 100).await.unwrap(), Some(1));
    let counted = store.claim(line.clone(), suite::record(7), NOW).await.unwrap();
    assert_eq!(counted, Counted::First);
    store.put_fronts(vec![front(&line, leads, 1, 40)]).await.unwrap();
    println!("a lease that a replica must have: {:?}", time_of_a_lease(&store, &line).await);
    // From here on the replica hears nothing: nothing may count.
    pair.hearing.cut();
    let unheard = grant(&store, &line, 2).await;
    assert!(matches!(unheard, Err(StoreError::Unreplicated)), "{unheard:?}");
    let unheard = lease(&store, &line, 1).await;
    assert!(matches!(unheard, Err(StoreError::Unreplicated)), "{unheard:?}");
    let unheard = store.claim(line.clone(), suite::record(8), NOW).await;
    assert!(matches!(unheard, Err(StoreError::Unreplicated)), "{unheard:?}");
    let unheard = store.put_fronts(vec![front(&line, leads, 2, 90)]).await;
    assert!(matches!(unheard, Err(StoreError::Unreplicated)), "{unheard:?}");
    let since = std::time::Instant::now();
    store.status(NOW).await.unwrap();
    assert!(since.elapsed() < CALL_TIME_MAX, "reads do not wait behind what waits for replicas");
    pair.primary.stop_immediate();
    let _next = pair.promote();
    until_settled(&store).await;
    // What was told stands, what was not told is free, and both can be asked again.
    assert_eq!(grant(&store, &line, 1).await.unwrap(), first, "the same number");
    let again = store.claim(line.clone(), suite::record(7), NOW).await.unwrap();
    assert!(matches!(again, Counted::Repeat(_)), "{again:?}");
    assert_eq!(store.claim(line.clone(), suite::record(8), NOW).await.unwrap(), Counted::First);
    assert!(lease(&store, &line, 1).await.unwrap().unwrap() > 100);
    assert_eq!(front_at(&store, &line).await, 40, "nobody has seen more");
    for visitor in [2, 3] {
        assert!(grant(&store, &line, visitor).await.unwrap().is_ok());
    }
    assert_eq!(grant(&store, &line, 4).await.unwrap(), Err(NoPriority::CodeUsed), "three uses");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_replicas_what_was_lost_counts_again_and_nothing_else_suffers() {
    let mut pair = Pair::start();
    let store = open(&pair.place(0), "a").await;
    let leads = epoch(&store).await.unwrap();
    let line = with_code(&store, "lost").await;
    store.resume(line.clone(), leads).await.unwrap();
    let before = grant(&store, &line, 1).await.unwrap().unwrap();
    lease(&store, &line, 100).await.unwrap();
    println!("a lease that nobody else must have: {:?}", time_of_a_lease(&store, &line).await);
    // The replica has heard all that, and nothing of what follows.
    pair.primary.until_followed();
    pair.hearing.cut();
    let lost = grant(&store, &line, 2).await.unwrap().unwrap();
    lease(&store, &line, 100).await.unwrap();
    assert_eq!(store.claim(line.clone(), suite::record(150), NOW).await.unwrap(), Counted::First);
    store.put_fronts(vec![front(&line, leads, 1, 180)]).await.unwrap();
    pair.primary.stop_immediate();
    let _next = pair.promote();
    until_settled(&store).await;
    assert!(lease(&store, &line, 1).await.unwrap().unwrap() > 200, "no number is given twice");
    assert_eq!(front_at(&store, &line).await, 180, "no front goes back");
    // The use of the lost moment counts no more: one more than three in all, with another number.
    assert_eq!(grant(&store, &line, 1).await.unwrap(), Ok(before));
    for visitor in [3, 4] {
        let number = grant(&store, &line, visitor).await.unwrap().unwrap();
        assert!(number > lost, "{number} was given before");
    }
    assert_eq!(grant(&store, &line, 5).await.unwrap(), Err(NoPriority::CodeUsed));
    // Whoever claimed then could claim once more, until their pass is renewed.
    assert_eq!(store.claim(line.clone(), suite::record(150), NOW).await.unwrap(), Counted::First);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_was_cut_off_counts_nothing_beside_its_successor() {
    let pair = Pair::start();
    let cut_off = open(&pair.place(1), "a").await;
    let leads = epoch(&cut_off).await.unwrap();
    let line = with_code(&cut_off, "split").await;
    cut_off.resume(line.clone(), leads).await.unwrap();
    assert_eq!(lease(&cut_off, &line, 100).await.unwrap(), Some(1));
    // The primary lives on, with one controller; the rest of the world goes on with the replica.
    pair.hearing.cut();
    pair.replica.promote();
    let next = servers::Redis::start();
    next.follow(pair.replica.port());
    pair.replica.until_followed();
    let there = servers::Relay::to(pair.replica.port());
    let calls = prometheus::HistogramOpts::new("calls", "Calls.");
    let calls = Histogram::with_opts(calls).unwrap();
    let place = place_at(&there, 1);
    let other = Store::redis(&place, "b".parse().unwrap(), calls, NOW).await.unwrap();
    until_settled(&other).await;
    let first = lease(&other, &line, 10).await.unwrap().unwrap();
    assert!(first > 100, "{first} was given before");
    assert!(matches!(lease(&cut_off, &line, 10).await, Err(StoreError::Unreplicated)));
    assert!(matches!(cut_off.lead(NOW).await, Err(StoreError::Unreplicated)), "nor does it lead");
    let old = cut_off.put_fronts(vec![front(&line, leads, 1, 50)]).await;
    assert!(matches!(old, Err(StoreError::Unreplicated)), "{old:?}");
    // Found and demoted, it takes nothing, and its controller finds the new one by the address.
    pair.primary.follow(pair.replica.port());
    pair.address.turn_to(pair.replica.port());
    let since = std::time::Instant::now();
    while lease(&cut_off, &line, 1).await.is_err() {
        let _ = cut_off.status(NOW).await;
        assert!(since.elapsed() < PATIENCE, "it stays with the replica");
    }
    assert!(lease(&cut_off, &line, 1).await.unwrap().unwrap() > first + 9);
}
