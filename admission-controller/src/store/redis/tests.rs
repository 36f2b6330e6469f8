//! The promises on real servers, one and a cluster, and what becomes of them when writes are lost.

use std::time::Instant;

use keys::{Front, Lane, LaneFront};
use prometheus::{Histogram, HistogramOpts};

use super::super::{LineId, Published, Store, StoreError, suite};
use super::*;

pub(super) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
/// Longest wait for something that is to happen.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

fn place(servers: &[servers::Redis], is_cluster: bool) -> RedisPlace {
    let urls = servers.iter().map(servers::Redis::url).collect();
    RedisPlace { urls, ca: None, replicas_min: 0, is_cluster, prefix: "test".to_owned() }
}

/// A controller that has looked around, as it does before it answers anything.
pub(super) async fn open(place: &RedisPlace, name: &str) -> Store {
    let calls = Histogram::with_opts(HistogramOpts::new("calls", "Calls.")).unwrap();
    let store = Store::redis(place, name.parse().unwrap(), calls, NOW).await.unwrap();
    store.status(NOW).await.unwrap();
    store
}

fn edge() -> Owner {
    "edge-1".parse().unwrap()
}

pub(super) async fn lease(
    store: &Store,
    line: &LineId,
    count: u64,
) -> Result<Option<u64>, StoreError> {
    store.lease(line.clone(), Lane::Standard, count, edge(), NOW).await
}

pub(super) async fn epoch(store: &Store) -> Option<u64> {
    match store.lead(NOW).await {
        Ok(Turn::Leads { epoch }) => Some(epoch),
        Ok(Turn::Follows { .. }) | Err(_) => None,
    }
}

/// Looks and settles as the control loop does, until all rooms are known and trusted.
pub(super) async fn until_settled(store: &Store) {
    eventually("the store is trusted again", async || {
        let looked = store.status(NOW).await;
        let is_whole = looked.is_ok_and(|looked| looked.silent.is_empty());
        if is_whole && !store.is_settling() {
            return Some(());
        }
        let leads = epoch(store).await;
        // An error is a server that is still away: the next look finds out.
        let _ = store.settle(leads).await;
        None
    })
    .await;
}

/// Looks again and again until there is something to see.
async fn eventually<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(since.elapsed() < PATIENCE, "it never came that {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(super) fn front(line: &LineId, epoch: u64, seq: u64, f0: u64) -> Published {
    let entry = |lane| LaneFront { lane, f0, pace_milli: 0, limit: f0, issued: 0 };
    let front = Front {
        iss: "c".parse().unwrap(),
        aud: line.event.clone(),
        iat: NOW,
        exp: NOW.plus_secs(60),
        line: line.line,
        epoch,
        seq,
        phase: keys::Phase::Open,
        opens_at: None,
        t0: NOW,
        until: NOW.plus_secs(10),
        lanes: Lane::ALL.map(entry).to_vec(),
        reason: String::new(),
        draw: None,
        stock: None,
        poll: keys::PollHint { near_secs: 1, far_secs: 15 },
        message: None,
    };
    Published { front, sealed: None, told: None }
}

pub(super) async fn front_at(store: &Store, line: &LineId) -> u64 {
    let fronts = store.fronts(line.clone()).await.unwrap();
    fronts.last().map_or(0, |published| published.front.at(Lane::Standard, NOW))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_keeps_its_promises() {
    let server = servers::Redis::start();
    let place = place(std::slice::from_ref(&server), false);
    suite::keeps_its_promises(async || open(&place, "c").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_only_the_right_server_and_the_right_password_will_do() {
    let server = servers::Redis::start_tls();
    server.command(&["acl", "setuser", "fleet", "on", ">pass-word", "~*", "&*", "+@all"]);
    let ca = std::fs::read(server.certificate().unwrap()).unwrap();
    let with = |user: &str, ca: Option<Vec<u8>>| RedisPlace {
        urls: vec![server.url().replace("rediss://", &format!("rediss://{user}@"))],
        ca,
        ..place(&[], false)
    };
    let right = with("fleet:pass-word", Some(ca.clone()));
    let store = open(&right, "a").await;
    let line = suite::room(&store, "sealed").await;
    assert_eq!(lease(&store, &line, 10).await.unwrap(), Some(1));
    let other = servers::Redis::start_tls();
    let other = std::fs::read(other.certificate().unwrap()).unwrap();
    for (what, place) in [
        ("the wrong password", with("fleet:guessed-word", Some(ca.clone()))),
        ("a certificate of nobody's", with("fleet:pass-word", None)),
        ("a certificate of somebody else's", with("fleet:pass-word", Some(other))),
    ] {
        let calls = Histogram::with_opts(HistogramOpts::new("calls", "Calls.")).unwrap();
        let opened = Store::redis(&place, "b".parse().unwrap(), calls, NOW).await;
        let error = opened.err().unwrap_or_else(|| panic!("{what} will do"));
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        let said = format!("{place:?} {error} {error:?} {cause:?}");
        assert!(!said.contains("-word") && !said.contains("fleet"), "{what}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_keeps_them_as_well() {
    let cluster = servers::RedisCluster::start(3);
    let place = place(cluster.nodes(), true);
    suite::keeps_its_promises(async || open(&place, "c").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_leads_and_whoever_led_before_publishes_no_more() {
    let server = servers::Redis::start();
    let place = place(std::slice::from_ref(&server), false);
    let (a, b) = (open(&place, "a").await, open(&place, "b").await);
    let first = epoch(&a).await.unwrap();
    assert_eq!(b.lead(NOW).await.unwrap(), Turn::Follows { leader: "a".into() });
    assert_eq!(epoch(&a).await, Some(first), "it keeps the lead");
    let line = suite::room(&a, "led").await;
    a.resume(line.clone(), first).await.unwrap();
    a.put_fronts(vec![front(&line, first, 1, 10)]).await.unwrap();
    // From here on `a` is silent, as a process that was stopped.
    let since = Instant::now();
    let second = eventually("the other leads", async || epoch(&b).await).await;
    assert!(since.elapsed() < Duration::from_secs(3), "took {:?}", since.elapsed());
    assert!(second > first);
    // Between the lead and the first look at a room, the old leader may still publish; the new one
    // finds it then.
    a.put_fronts(vec![front(&line, first, 2, 20)]).await.unwrap();
    let resumed = b.resume(line.clone(), second).await.unwrap();
    assert_eq!(resumed.last().unwrap().front.seq, 2);
    let late = a.put_fronts(vec![front(&line, first, 3, 30)]).await;
    assert!(matches!(late, Err(StoreError::Superseded { .. })), "{late:?}");
    let late = a.new_gaps(line.clone(), first).await;
    assert!(matches!(late, Err(StoreError::Superseded { .. })), "{late:?}");
    assert_eq!(front_at(&a, &line).await, 20);
    b.put_fronts(vec![front(&line, second, 1, 21)]).await.unwrap();
    assert_eq!(front_at(&a, &line).await, 21);
    b.close().await;
    assert!(epoch(&a).await.is_some_and(|third| third > second), "a lead given up is free at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_copy_hands_out_no_number_again_and_takes_no_front_back() {
    let mut server = servers::Redis::start();
    let place = place(std::slice::from_ref(&server), false);
    let (a, b) = (open(&place, "a").await, open(&place, "b").await);
    let epoch = epoch(&a).await.unwrap();
    let line = suite::room(&a, "old").await;
    a.resume(line.clone(), epoch).await.unwrap();
    b.status(NOW).await.unwrap();
    assert_eq!(lease(&a, &line, 100).await.unwrap(), Some(1));
    a.put_fronts(vec![front(&line, epoch, 1, 10)]).await.unwrap();
    server.command(&["save"]);
    // What follows is lost. Of each thing somebody else remembers the newest.
    assert_eq!(lease(&a, &line, 50).await.unwrap(), Some(101));
    assert_eq!(lease(&b, &line, 25).await.unwrap(), Some(151));
    a.put_fronts(vec![front(&line, epoch, 2, 40)]).await.unwrap();
    server.restart();
    let since = Instant::now();
    let refused = loop {
        match lease(&a, &line, 1).await {
            Err(StoreError::Distrusted) => break true,
            Err(_) => assert!(since.elapsed() < PATIENCE),
            Ok(number) => panic!("{number:?} was handed out by a server that has lost numbers"),
        }
    };
    assert!(refused);
    let newer = a.put_fronts(vec![front(&line, epoch, 3, 50)]).await;
    assert!(matches!(newer, Err(StoreError::Distrusted)), "{newer:?}");
    let claim = a.claim(line.clone(), suite::record(120), NOW).await;
    assert!(matches!(claim, Err(StoreError::Distrusted)), "nobody is refused for a lost number");
    tokio::join!(until_settled(&a), until_settled(&b));
    let next = lease(&a, &line, 10).await.unwrap().unwrap();
    assert!(next > 175, "{next} was handed out before");
    assert_eq!(front_at(&b, &line).await, 40);
    // What was skipped is a gap, so that the front spends no pace on it.
    let gaps = a.gaps(line.clone()).await.unwrap();
    assert_eq!(gaps.iter().map(|gap| (gap.first, gap.count)).next(), Some((176, next - 176)));
    let claim = a.claim(line, suite::record(120), NOW).await.unwrap();
    assert_eq!(claim, super::super::Counted::First);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flushed_store_loses_no_room_and_no_number() {
    let server = servers::Redis::start();
    let place = place(std::slice::from_ref(&server), false);
    let store = open(&place, "a").await;
    let epoch = epoch(&store).await.unwrap();
    let line = suite::room(&store, "flushed").await;
    store.resume(line.clone(), epoch).await.unwrap();
    lease(&store, &line, 100).await.unwrap();
    store.announce_draw(line.clone(), keys::Beacon::None, [7; 32]).await.unwrap();
    let drawn = store.open_draw(line.clone(), vec![]).await.unwrap();
    store.put_fronts(vec![front(&line, epoch, 1, 40)]).await.unwrap();
    store.status(NOW).await.unwrap();
    server.command(&["flushall"]);
    let looked = store.status(NOW).await.unwrap();
    assert_eq!((looked.rooms, looked.silent), (vec![], vec![line.event.clone()]), "not deleted");
    until_settled(&store).await;
    assert_eq!(store.status(NOW).await.unwrap().rooms[0].room.line, line.line);
    assert!(lease(&store, &line, 1).await.unwrap().unwrap() > 100);
    assert_eq!(front_at(&store, &line).await, 40);
    assert_eq!(store.draw(line).await.unwrap(), drawn, "nor does anybody's position change");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_edges_hold_is_enough_when_all_controllers_were_lost_too() {
    let mut server = servers::Redis::start();
    let place = place(std::slice::from_ref(&server), false);
    let line = {
        let before = open(&place, "a").await;
        let epoch = epoch(&before).await.unwrap();
        let line = suite::room(&before, "held").await;
        before.resume(line.clone(), epoch).await.unwrap();
        server.command(&["save"]);
        lease(&before, &line, 500).await.unwrap();
        before.put_fronts(vec![front(&line, epoch, 1, 77)]).await.unwrap();
        line
    };
    server.restart();
    let calls = Histogram::with_opts(HistogramOpts::new("calls", "Calls.")).unwrap();
    let store = Store::redis(&place, "b".parse().unwrap(), calls, NOW).await.unwrap();
    // The first look says that the server is not to be trusted; then edges are asked.
    let since = Instant::now();
    while !store.is_settling() {
        let _ = store.status(NOW).await;
        assert!(since.elapsed() < PATIENCE);
    }
    store.settle(None).await.unwrap();
    let mut held = front(&line, NOW.as_secs(), 1, 77);
    held.front.lanes[Lane::Standard.index()].issued = 480;
    store.see_front(held);
    store.see_number(&line, Lane::Standard, 500);
    until_settled(&store).await;
    assert!(lease(&store, &line, 1).await.unwrap().unwrap() > 500);
    assert_eq!(front_at(&store, &line).await, 77);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_a_cluster_that_is_gone_takes_no_room_with_it() {
    let mut cluster = servers::RedisCluster::start(3);
    let place = place(cluster.nodes(), true);
    let store = open(&place, "a").await;
    epoch(&store).await.unwrap();
    // The house is on one node; the first of these events that is on another is what we lose.
    let house = cluster.node_of("{house}").port();
    let names = (0..50).map(|n| format!("sale-{n}"));
    let mut elsewhere =
        names.filter(|name| cluster.node_of(&format!("{{{name}}}")).port() != house);
    let name = elsewhere.next().unwrap();
    let line = suite::room(&store, &name).await;
    lease(&store, &line, 100).await.unwrap();
    store.status(NOW).await.unwrap();
    let key = format!("{{{name}}}");
    cluster.node_of(&key).stop_immediate();
    let looked = store.status(NOW).await.unwrap();
    assert_eq!((looked.rooms, looked.silent), (vec![], vec![line.event.clone()]));
    cluster.node_of(&key).restart();
    cluster.until_all_agree();
    until_settled(&store).await;
    assert!(lease(&store, &line, 1).await.unwrap().unwrap() > 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_given_up_in_time_and_found_again() {
    let server = servers::Redis::start();
    let place = place(std::slice::from_ref(&server), false);
    let store = open(&place, "a").await;
    let line = suite::room(&store, "hanging").await;
    server.pause();
    let since = Instant::now();
    let leased = lease(&store, &line, 1).await;
    assert!(matches!(leased, Err(StoreError::Unanswered)), "{leased:?}");
    assert!(since.elapsed() < 3 * CALL_TIME_MAX, "took {:?}", since.elapsed());
    server.resume();
    let since = Instant::now();
    while lease(&store, &line, 1).await.is_err() {
        assert!(since.elapsed() < PATIENCE, "it is not found again");
    }
}
