use std::path::PathBuf;
use std::sync::atomic::AtomicU64;

use keys::Id128;

use super::*;
use crate::log::{Fault, MemoryLog, SqliteLog};
use crate::sale::{BeginPayment, Outcome, PlanRow, Want, Zone};

/// A partition with one event of 40 seats in a row, a clock that stands still until it is moved,
/// and a log that outlives it.
struct House {
    partition: Partition,
    thread: Option<JoinHandle<()>>,
    clock_ms: Arc<AtomicU64>,
    shelf: Arc<Shelf>,
}

fn the_final() -> EventId {
    "wc2026-final".parse().unwrap()
}

fn setup(log: Log, clock_ms: &Arc<AtomicU64>, shelf: &Arc<Shelf>) -> PartitionSetup {
    let zones = vec![Zone { id: "cat1".into(), price: 100 }];
    let rows = vec![PlanRow { first: 0, len: 40, zone: 0 }];
    let plan = Plan::new(rows, zones, (0..40).collect(), "a row".into()).unwrap();
    let rules =
        Rules { hold: Duration::from_secs(600), seats_per_order_max: 8, seats_per_visitor_max: 8 };
    let clock_ms = Arc::clone(clock_ms);
    PartitionSetup {
        partition: 0,
        owner: "origin-1".parse().unwrap(),
        events: vec![EventSetup {
            event: the_final(),
            plan: Arc::new(plan),
            rules,
            shelf: Arc::clone(shelf),
        }],
        log,
        clock: Arc::new(move || Timestamp::from_millis(clock_ms.load(Ordering::Relaxed))),
        window: Arc::new(Window::new(1, Instant::now())),
        metrics: Arc::new(Metrics::new().unwrap()),
    }
}

impl House {
    fn open(log: Log) -> Self {
        Self::try_open(log).unwrap()
    }

    fn try_open(log: Log) -> Result<Self, PartitionError> {
        let clock_ms = Arc::new(AtomicU64::new(1_000_000));
        let shelf = Arc::new(Shelf::new(40));
        let (partition, thread) = Partition::start(setup(log, &clock_ms, &shelf))?;
        Ok(Self { partition, thread: Some(thread), clock_ms, shelf })
    }

    async fn ask(&self, command: Command) -> Result<Reply, Unavailable> {
        self.partition.ask(&the_final(), command).await.map(|answer| answer.reply)
    }

    async fn hold(&self, seats: &[u32]) -> Result<Reply, Unavailable> {
        self.ask(hold(seats)).await
    }

    /// Asks until the writer has found its log again.
    async fn hold_once_up(&self, seats: &[u32]) -> Reply {
        loop {
            match self.hold(seats).await {
                Ok(reply) => return reply,
                Err(Unavailable::Down | Unavailable::Busy) => tokio::task::yield_now().await,
            }
        }
    }

    /// Ends without a word, as a killed process does; only what is in the log remains.
    fn kill(mut self) {
        self.partition.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn hold(seats: &[u32]) -> Command {
    let want = Want::Seats(seats.to_vec());
    Command::Hold { hold: Id128::random(), sub: Id128::random(), want }
}

fn is_taken(reply: &Reply) -> bool {
    matches!(reply, Reply::Refused(Refusal::SeatTaken { .. }))
}

fn memory() -> (MemoryLog, impl Fn() -> Log) {
    let log = MemoryLog::default();
    let handle = log.clone();
    (log, move || Log::Memory(handle.clone()))
}

/// A folder that is gone with the value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("origin-test-{}", Id128::random()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
    fn log(&self) -> Log {
        Log::Sqlite(SqliteLog::open(&self.0.join("sale.sqlite"), 1).unwrap())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hundred_who_want_one_seat_one_gets_it() {
    let folder = Folder::new();
    let house = Arc::new(House::open(folder.log()));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let house = Arc::clone(&house);
        tasks.spawn(async move { house.hold(&[7]).await.unwrap() });
    }
    let replies = tasks.join_all().await;
    assert_eq!(replies.iter().filter(|reply| matches!(reply, Reply::Hold(_))).count(), 1);
    assert_eq!(replies.iter().filter(|reply| is_taken(reply)).count(), 199);
    assert_eq!(house.shelf.counts().held, 1);
}

#[tokio::test]
async fn an_append_that_was_lost_is_no_success_and_has_no_effect() {
    let (log, handle) = memory();
    let house = House::open(handle());
    assert!(matches!(house.hold(&[0]).await, Ok(Reply::Hold(_))));
    log.inject(Fault::Lost);
    assert_eq!(house.hold(&[1]).await, Err(Unavailable::Down));
    let reply = house.hold_once_up(&[1]).await;
    assert!(matches!(reply, Reply::Hold(_)), "the seat is still free: {reply:?}");
    assert!(is_taken(&house.hold_once_up(&[0]).await));
    assert_eq!(log.appends(), 2);
}

#[tokio::test]
async fn an_append_that_was_written_unheard_is_no_success_but_has_its_effect() {
    let (log, handle) = memory();
    let house = House::open(handle());
    log.inject(Fault::WrittenUnheard);
    assert_eq!(house.hold(&[1]).await, Err(Unavailable::Down));
    assert!(is_taken(&house.hold_once_up(&[1]).await), "the log has it, so it is so");
    assert!(matches!(house.hold_once_up(&[2]).await, Reply::Hold(_)));
    house.kill();
    let house = House::open(handle());
    assert_eq!(house.shelf.counts().held, 2);
}

#[tokio::test]
async fn whoever_was_fenced_off_never_serves_again() {
    let (log, handle) = memory();
    let old = House::open(handle());
    assert!(matches!(old.hold(&[0]).await, Ok(Reply::Hold(_))));
    let new = House::open(handle());
    assert_eq!(old.hold(&[1]).await, Err(Unavailable::Down), "a newer owner has the partition");
    assert_eq!(old.hold(&[2]).await, Err(Unavailable::Down));
    assert!(matches!(new.hold(&[1]).await, Ok(Reply::Hold(_))));
    assert!(is_taken(&new.hold(&[0]).await.unwrap()));
    log.inject(Fault::Fenced);
    assert_eq!(new.hold(&[3]).await, Err(Unavailable::Down), "fenced in the middle of an append");
    assert_eq!(log.appends(), 2);
}

#[tokio::test]
async fn refusals_cost_no_log() {
    let (log, handle) = memory();
    let house = House::open(handle());
    house.hold(&[0]).await.unwrap();
    for _ in 0..50 {
        assert!(is_taken(&house.hold(&[0]).await.unwrap()));
    }
    assert_eq!(log.appends(), 1);
}

#[tokio::test]
async fn a_hold_is_free_for_others_the_moment_its_time_is_over() {
    let (_log, handle) = memory();
    let house = House::open(handle());
    house.hold(&[5]).await.unwrap();
    house.clock_ms.fetch_add(599_999, Ordering::Relaxed);
    assert!(is_taken(&house.hold(&[5]).await.unwrap()));
    house.clock_ms.fetch_add(1, Ordering::Relaxed);
    assert!(matches!(house.hold(&[5]).await, Ok(Reply::Hold(_))));
    // A clock that is set back does not set time back.
    house.clock_ms.fetch_sub(900_000, Ordering::Relaxed);
    let reply = house.hold(&[6]).await.unwrap();
    let Reply::Hold(hold) = reply else { panic!("{reply:?}") };
    assert_eq!(hold.until, Timestamp::from_millis(1_000_000 + 600_000 + 600_000));
}

#[tokio::test]
async fn a_restart_finds_every_hold_order_and_key_again() {
    let folder = Folder::new();
    let house = House::open(folder.log());
    let (sub, held, order) = (Id128::random(), Id128::random(), Id128::random());
    let want = Want::Seats(vec![1, 2]);
    house.ask(Command::Hold { hold: held, sub, want }).await.unwrap();
    let begin = BeginPayment {
        hold: held,
        sub,
        key: "key".into(),
        body: "body".into(),
        order,
        tickets: vec![Id128::random(), Id128::random()],
        name: "Ana".into(),
        email: None,
    };
    house.ask(Command::BeginPayment(begin.clone())).await.unwrap();
    house.kill();

    let house = House::open(folder.log());
    assert_eq!(house.ask(Command::ListPaying).await.unwrap(), Reply::Paying(vec![order]));
    house.ask(Command::Settle { order, outcome: Outcome::Authorised }).await.unwrap();
    let before = house.ask(Command::ViewOrder { order }).await.unwrap();
    house.kill();

    let house = House::open(folder.log());
    assert_eq!(house.ask(Command::BeginPayment(begin)).await.unwrap(), before);
    assert_eq!(house.shelf.counts().sold, 2);
    let availability: serde_json::Value =
        serde_json::from_slice(&house.shelf.availability().1).unwrap();
    assert_eq!(availability["taken"], "BgAAAAA=", "seats 1 and 2");
    house.kill();
}

#[tokio::test]
async fn replay_without_the_snapshot_gives_the_same() {
    let (_log, handle) = memory();
    let house = House::open(handle());
    for seat in 0..30 {
        house.hold(&[seat]).await.unwrap();
    }
    let (_, availability) = house.shelf.availability();
    house.kill(); // takes a snapshot at the end
    let mut with = setup(handle(), &Arc::default(), &Arc::new(Shelf::new(40)));
    let (from_snapshot, replayed) = Book::load(&mut with).unwrap();
    assert_eq!(replayed, 0);
    let records = with.log.read(0, 0, 1000).unwrap();
    let mut without =
        setup(Log::Memory(MemoryLog::default()), &Arc::default(), &Arc::new(Shelf::new(40)));
    let lease = without.log.acquire(0, &"origin-1".parse().unwrap()).unwrap();
    for record in records {
        without.log.append(0, lease.epoch, record.seq, &record.bytes).unwrap();
    }
    let (from_log, _) = Book::load(&mut without).unwrap();
    let saved = |book: &Book| book.states.values().map(State::save).collect::<Vec<_>>();
    assert_eq!(saved(&from_snapshot), saved(&from_log));
    assert_eq!((from_snapshot.seq, from_snapshot.link), (from_log.seq, from_log.link));
    assert_eq!(House::open(handle()).shelf.availability().1, availability);
}

#[tokio::test]
async fn a_damaged_last_record_is_put_aside_and_a_damaged_earlier_one_stops_the_start() {
    let (log, handle) = memory();
    let mut book = House::open(handle());
    for seat in 0..3 {
        book.hold(&[seat]).await.unwrap();
    }
    // Killed before the snapshot: the thread is left behind with its own handle.
    book.thread.take();
    log.corrupt_last();
    let house = House::open(handle());
    assert_eq!(house.shelf.counts().held, 2, "the damaged record is cut");
    assert!(matches!(house.hold(&[2]).await, Ok(Reply::Hold(_))), "and the log goes on");
    log.corrupt_first();
    let error = House::try_open(handle()).err().unwrap();
    let damaged =
        matches!(error, PartitionError::Record { source: RecordError::Damaged { seq: 0 }, .. });
    assert!(damaged, "{error:?}");
}

#[test]
fn a_log_for_another_number_of_partitions_is_refused() {
    let folder = Folder::new();
    drop(folder.log());
    let error = SqliteLog::open(&folder.0.join("sale.sqlite"), 2).unwrap_err();
    assert!(matches!(error, LogError::Partitions { stored: 1, configured: 2 }), "{error}");
}

#[test]
fn the_sqlite_log_refuses_old_owners_and_taken_places() {
    let folder = Folder::new();
    let (mut old, mut new) = (folder.log(), folder.log());
    let owner: Owner = "origin-1".parse().unwrap();
    let first = old.acquire(0, &owner).unwrap();
    old.append(0, first.epoch, 0, b"a").unwrap();
    let second = new.acquire(0, &owner).unwrap();
    assert!(second.epoch > first.epoch);
    let fenced = old.append(0, first.epoch, 1, b"b").unwrap_err();
    assert!(matches!(fenced, AppendError::Fenced { .. }), "{fenced}");
    let conflict = new.append(0, second.epoch, 0, b"b").unwrap_err();
    assert!(matches!(conflict, AppendError::Conflict { .. }), "{conflict}");
    new.append(0, second.epoch, 1, b"b").unwrap();
    assert_eq!(new.read(0, 0, 10).unwrap().len(), 2);
}

#[test]
fn adding_a_partition_moves_events_only_to_it() {
    for n in 0..100 {
        let event: EventId = format!("event-{n}").parse().unwrap();
        let (three, four) = (partition_of(&event, 3), partition_of(&event, 4));
        assert!(four == three || four == 3, "{event} went from {three} to {four}");
    }
}
