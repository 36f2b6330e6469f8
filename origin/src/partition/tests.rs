use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use keys::{Id128, Timestamp};

use super::book::Book;
use super::claim::Claim;
use super::*;
use crate::log::{AppendError, Fault, LogError, MemoryLog, SqliteLog};
use crate::record::{self, Entry, Record, RecordError};
use crate::sale::{
    BeginPayment, Change, GatewayName, Outcome, Pick, PlanRow, Refusal, Settlement, State, Terms,
    Want, Zone,
};

/// A partition with one event of 40 seats in a row, a clock that stands still until it is moved,
/// and a log that outlives it.
struct House {
    partition: Partition,
    thread: Option<JoinHandle<()>>,
    clocks: Clocks,
    shelf: Arc<Shelf>,
}

/// What has passed, and by how much somebody set the clock ahead.
#[derive(Clone, Default)]
struct Clocks {
    passed_ms: Arc<AtomicU64>,
    set_ms: Arc<AtomicU64>,
}

impl Clocks {
    fn reading(&self) -> Reading {
        let (passed, set) =
            (self.passed_ms.load(Ordering::Relaxed), self.set_ms.load(Ordering::Relaxed));
        let elapsed = Duration::from_millis(passed);
        Reading {
            wall: Timestamp::from_millis(passed.wrapping_add(set).wrapping_add(1_000_000)),
            elapsed,
        }
    }
}

fn the_final() -> EventId {
    "wc2026-final".parse().unwrap()
}

fn setup(log: Log, clocks: &Clocks, shelf: &Arc<Shelf>) -> PartitionSetup {
    let zones = vec![Zone { id: "cat1".into(), price: 100 }];
    let rows = vec![PlanRow { first: 0, len: 40, zone: 0, block: 0 }];
    let plan = Plan::new(rows, zones, (0..40).collect(), "a row".into()).unwrap();
    let rules = Rules::default();
    let clocks = clocks.clone();
    PartitionSetup {
        partition: 0,
        owner: "origin-1".parse().unwrap(),
        events: vec![EventSetup {
            event: the_final(),
            plan: Arc::new(plan),
            rules,
            shelf: Arc::clone(shelf),
        }],
        tenure: Tenure::Sole,
        log,
        clock: Arc::new(move || clocks.reading()),
        may_cut_damaged_tail: false,
        snapshot_changes: 20_000,
        window: Arc::new(Window::new(1, Instant::now())),
        metrics: Arc::new(Metrics::new().unwrap()),
    }
}

/// Another handle to the same store.
fn second(log: &Log) -> Log {
    match log {
        Log::Memory(log) => Log::Memory(log.clone()),
        // No test here writes as much as would be worth a snapshot.
        _ => Log::Memory(MemoryLog::default()),
    }
}

/// What the log adds up to.
fn load(setup: &mut PartitionSetup) -> Book {
    let mut claim = Claim::take(setup).unwrap();
    Book::load(setup, &mut claim).unwrap().0
}

impl House {
    fn open(log: Log) -> Self {
        Self::try_open(log).unwrap()
    }

    fn try_open(log: Log) -> Result<Self, PartitionError> {
        Self::try_open_with(log, false)
    }

    fn try_open_with(log: Log, may_cut_damaged_tail: bool) -> Result<Self, PartitionError> {
        Self::try_open_both(log, may_cut_damaged_tail, Clocks::default())
    }

    fn try_open_at(log: Log, clocks: Clocks) -> Result<Self, PartitionError> {
        Self::try_open_both(log, false, clocks)
    }

    fn try_open_both(
        log: Log,
        may_cut_damaged_tail: bool,
        clocks: Clocks,
    ) -> Result<Self, PartitionError> {
        let shelf = Arc::new(Shelf::new(40));
        let snapshots = second(&log);
        let setup = setup(log, &clocks, &shelf);
        let (partition, thread) =
            Partition::start(PartitionSetup { may_cut_damaged_tail, ..setup }, snapshots)?;
        Ok(Self { partition, thread: Some(thread), clocks, shelf })
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
    let want = Want::Pick(Pick::seats(seats.to_vec()));
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

fn told(shelf: &Shelf) -> bytes::Bytes {
    shelf.told(crate::shelf::Form::Json, Duration::ZERO).plain
}

#[tokio::test]
async fn who_starts_long_after_the_log_ended_gives_open_holds_their_time_back() {
    const HOUR: u64 = 3_600_000;
    let (_, handle) = memory();
    let house = House::open(handle());
    assert!(matches!(house.hold(&[1]).await, Ok(Reply::Hold(_))));
    house.kill();
    // Hours later, by clocks that may be wrong: the ten minutes begin now, and end.
    for hours in [1, 2] {
        let clocks = Clocks::default();
        clocks.passed_ms.store(hours * HOUR, Ordering::Relaxed);
        let house = House::try_open_at(handle(), clocks).unwrap();
        assert!(matches!(&house.hold(&[1]).await, Ok(reply) if is_taken(reply)), "{hours}");
        house.clocks.passed_ms.fetch_add(599_000, Ordering::Relaxed);
        assert!(matches!(&house.hold(&[1]).await, Ok(reply) if is_taken(reply)), "{hours}");
        if hours == 2 {
            house.clocks.passed_ms.fetch_add(1_000, Ordering::Relaxed);
            assert!(matches!(house.hold(&[1]).await, Ok(Reply::Hold(_))), "and not for ever");
        }
        house.kill();
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
    house.clocks.passed_ms.fetch_add(599_999, Ordering::Relaxed);
    assert!(is_taken(&house.hold(&[5]).await.unwrap()));
    house.clocks.passed_ms.fetch_add(1, Ordering::Relaxed);
    assert!(matches!(house.hold(&[5]).await, Ok(Reply::Hold(_))));
    // A clock that is set back does not set time back.
    house.clocks.set_ms.fetch_sub(900_000, Ordering::Relaxed);
    let reply = house.hold(&[6]).await.unwrap();
    let Reply::Hold(hold) = reply else { panic!("{reply:?}") };
    assert_eq!(hold.until, Timestamp::from_millis(1_000_000 + 600_000 + 600_000));
}

#[tokio::test]
async fn a_restart_finds_every_hold_order_and_key_again() {
    let folder = Folder::new();
    let house = House::open(folder.log());
    let (sub, held, order) = (Id128::random(), Id128::random(), Id128::random());
    let want = Want::Pick(Pick::seats(vec![1, 2]));
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
        phone: None,
        locale: None,
        gateway: Some(GatewayName::default()),
        token: "tok_ok".into(),
    };
    house.ask(Command::BeginPayment(begin.clone())).await.unwrap();
    house.kill();

    let house = House::open(folder.log());
    let Reply::PaymentWork(work) = house.ask(Command::ListPaymentWork).await.unwrap() else {
        panic!("expected the work")
    };
    let open: Vec<_> = work.unsettled.iter().map(|open| (open.order, open.amount)).collect();
    assert_eq!(open, [(order, 200)]);
    let settlement = Settlement {
        order,
        number: 0,
        gateway: GatewayName::default(),
        reference: None,
        outcome: Outcome::Authorised { amount: 200 },
        notice: None,
    };
    house.ask(Command::Settle(settlement)).await.unwrap();
    let before = house.ask(Command::ViewOrder { order }).await.unwrap();
    house.kill();

    let house = House::open(folder.log());
    assert_eq!(house.ask(Command::BeginPayment(begin)).await.unwrap(), before);
    assert_eq!(house.shelf.counts().sold, 2);
    let availability: serde_json::Value = serde_json::from_slice(&told(&house.shelf)).unwrap();
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
    let availability = told(&house.shelf);
    house.kill();
    writer(handle()).snapshot();
    let mut with = setup(handle(), &Clocks::default(), &Arc::new(Shelf::new(40)));
    assert_eq!(with.log.get_snapshot(0).unwrap().unwrap().seq, 31, "everything is in it");
    let from_snapshot = load(&mut with);
    let records = with.log.read(0, 0, 1000).unwrap();
    let mut without =
        setup(Log::Memory(MemoryLog::default()), &Clocks::default(), &Arc::new(Shelf::new(40)));
    let lease = without.log.acquire(0, "a").unwrap();
    for record in records {
        without.log.append(0, lease.epoch, record.seq, &record.bytes).unwrap();
    }
    let from_log = load(&mut without);
    let saved = |book: &Book| book.states.values().map(State::save).collect::<Vec<_>>();
    assert_eq!(saved(&from_snapshot), saved(&from_log));
    assert_eq!((from_snapshot.seq, from_snapshot.link), (from_log.seq, from_log.link));
    assert_eq!(told(&House::open(handle()).shelf), availability);
}

/// A writer without a thread.
fn writer(log: Log) -> Writer {
    let metrics = Arc::new(Metrics::new().unwrap());
    let snapshots = Snapshots::at_once(0, second(&log), metrics);
    Writer::open(setup(log, &Clocks::default(), &Arc::new(Shelf::new(40))), snapshots).unwrap()
}

/// What waits for an answer.
type Waiting = oneshot::Receiver<Result<Answer, Unavailable>>;

fn job(command: Command) -> (Job, Waiting) {
    let (answer, waiting) = oneshot::channel();
    (Job::Ask(Ask { event: the_final(), command, asked_at: Instant::now(), answer }), waiting)
}

#[tokio::test]
async fn a_damaged_last_record_stops_the_start_unless_the_operator_forgets_it() {
    let (log, handle) = memory();
    let house = House::open(handle());
    for seat in 0..3 {
        house.hold(&[seat]).await.unwrap();
    }
    house.kill();
    log.corrupt_last();
    let error = House::try_open(handle()).err().unwrap();
    assert!(matches!(error, PartitionError::DamagedTail { seq: 3, .. }), "{error:?}");
    let told = error.to_string();
    assert!(told.contains("partition 0, at 3") && told.contains("log.cut_damaged_tail"), "{told}");
    let house = House::try_open_with(handle(), true).unwrap();
    assert_eq!(house.shelf.counts().held, 2, "the damaged record is cut");
    assert!(matches!(house.hold(&[2]).await, Ok(Reply::Hold(_))), "and the log goes on");
    house.kill();
    log.corrupt_first();
    let error = House::try_open_with(handle(), true).err().unwrap();
    let damaged =
        matches!(error, PartitionError::Record { source: RecordError::Damaged { seq: 0 }, .. });
    assert!(damaged, "{error:?}");
}

#[tokio::test]
async fn a_snapshot_that_does_not_fit_costs_time_and_no_record() {
    for is_whole in [true, false] {
        let (log, handle) = memory();
        let house = House::open(handle());
        house.hold(&[0]).await.unwrap();
        house.kill();
        let mut writer = writer(handle());
        if is_whole {
            writer.book.link = [7; 32];
        }
        writer.snapshot();
        drop(writer);
        if !is_whole {
            log.corrupt_snapshots();
        }
        let mut store = handle();
        let seq = store.get_snapshot(0).unwrap().unwrap().seq;
        // One more record, which the wrong link makes look damaged.
        let mut book = setup(handle(), &Clocks::default(), &Arc::new(Shelf::new(40)));
        let link = Book::follow_all(&mut book).link;
        let lease = book.log.acquire(0, "b").unwrap();
        let Change::Held { hold, sub, until, .. } = held() else { unreachable!() };
        let change = Change::Held {
            hold,
            sub,
            seats: vec![1],
            prices: vec![100],
            terms: Terms::default(),
            until,
        };
        let entries = vec![Entry { event: the_final(), change }];
        // Long ago: no hold is over, or the next writer would write that down.
        let at = Timestamp::default();
        let record = Record { seq, epoch: lease.epoch, at, entries };
        let (bytes, _) = record::encode(&record, &link).unwrap();
        book.log.append(0, lease.epoch, seq, &bytes).unwrap();
        let house = House::try_open_with(handle(), true).unwrap();
        assert_eq!(house.shelf.counts().held, 2, "whole: {is_whole}");
        house.kill();
        // What the writer adds when it finds the log so old is its own affair.
        let kept = store.read(0, 0, 2).unwrap();
        assert_eq!((kept.len(), kept[1].seq), (2, seq), "no record is put aside");
    }
}

impl Book {
    fn follow_all(setup: &mut PartitionSetup) -> Self {
        let mut book = Self::empty(setup);
        let mut claim = Claim::take(setup).unwrap();
        book.follow(setup, &mut claim).unwrap();
        book
    }
}

fn held() -> Change {
    let until = Timestamp::from_secs(2000);
    let (hold, sub) = (Id128::random(), Id128::random());
    Change::Held { hold, sub, seats: vec![], prices: vec![], terms: Terms::default(), until }
}

#[tokio::test]
async fn a_writer_that_cannot_take_its_epoch_tries_again_until_it_can() {
    for fault in [Fault::Lost, Fault::WrittenUnheard] {
        let (log, handle) = memory();
        let house = House::open(handle());
        log.inject(Fault::Lost);
        log.inject_acquire(fault);
        assert_eq!(house.hold(&[0]).await, Err(Unavailable::Down));
        let up = async { house.hold_once_up(&[0]).await };
        let reply = tokio::time::timeout(Duration::from_secs(10), up).await.unwrap();
        assert!(matches!(reply, Reply::Hold(_)), "{fault:?}: {reply:?}");
    }
}

#[tokio::test]
async fn a_record_that_surely_was_not_written_is_written_again_and_nobody_notices() {
    let (log, handle) = memory();
    let house = House::open(handle());
    log.inject(Fault::NotBegun);
    log.inject(Fault::NotBegun);
    assert!(matches!(house.hold(&[0]).await, Ok(Reply::Hold(_))));
    assert_eq!(log.appends(), 1);
}

#[tokio::test]
async fn a_clock_that_is_set_forward_frees_nobodys_seats() {
    let (_log, handle) = memory();
    let house = House::open(handle());
    house.hold(&[5]).await.unwrap();
    house.clocks.set_ms.fetch_add(3_600_000, Ordering::Relaxed);
    for _ in 0..20 {
        assert!(is_taken(&house.hold(&[5]).await.unwrap()));
    }
    house.clocks.passed_ms.fetch_add(600_000, Ordering::Relaxed);
    assert!(matches!(house.hold(&[5]).await, Ok(Reply::Hold(_))), "its time has passed");
}

#[test]
fn who_has_gone_away_gets_no_seats_and_who_waits_hears_where_they_were_decided() {
    let (log, handle) = memory();
    let mut writer = writer(handle());
    let (ana, hers) = job(hold(&[0]));
    let (gone, his) = job(hold(&[1]));
    drop(his);
    let (ben, late) = job(hold(&[0]));
    let (eve, last) = job(hold(&[2]));
    assert!(writer.serve(&mut vec![ana, gone, ben, eve]));
    let seq = |mut waiting: Waiting| waiting.try_recv().unwrap().unwrap().seq;
    // The sale was opened by change 0.
    assert_eq!((seq(hers), seq(late), seq(last)), (2, 2, 3));
    assert_eq!(log.appends(), 1);
    let (again, answered) = job(hold(&[1]));
    assert!(writer.serve(&mut vec![again]));
    assert_eq!(seq(answered), 4, "the seat of who went away is free");
}

#[tokio::test]
async fn a_stop_takes_no_snapshot_and_a_dead_writer_leaves_no_fresh_shelf() {
    let (_log, handle) = memory();
    let old = House::open(handle());
    old.hold(&[0]).await.unwrap();
    assert!(old.shelf.is_fresh());
    let new = House::open(handle());
    assert_eq!(old.hold(&[1]).await, Err(Unavailable::Down));
    let (partition, shelf) = (old.partition.clone(), Arc::clone(&old.shelf));
    old.kill();
    assert!(!shelf.is_fresh() && new.shelf.is_fresh());
    assert_eq!(partition.ask(&the_final(), hold(&[1])).await, Err(Unavailable::Down));
    new.kill();
    assert_eq!(handle().get_snapshot(0).unwrap(), None);
}

#[tokio::test]
async fn an_event_is_sold_from_the_moment_it_is_opened_and_after_every_restart_with_it() {
    let (_log, handle) = memory();
    let house = House::open(handle());
    let gala: EventId = "gala".parse().unwrap();
    let shelf = Arc::new(Shelf::new(40));
    let seats = |name: &str| {
        let mut of_final = setup(handle(), &Clocks::default(), &shelf).events.remove(0);
        of_final.event = gala.clone();
        let zones = vec![Zone { id: "cat1".into(), price: 100 }];
        let rows = vec![PlanRow { first: 0, len: 40, zone: 0, block: 0 }];
        let plan = Plan::new(rows, zones, (0..40).collect(), name.into()).unwrap();
        EventSetup { plan: Arc::new(plan), ..of_final }
    };
    assert_eq!(house.partition.ask(&gala, hold(&[3])).await, Err(Unavailable::Down));
    house.partition.open(seats("a draft")).await.unwrap();
    // Nothing was sold yet, so the seating may still change.
    house.partition.open(seats("a hall")).await.unwrap();
    assert!(shelf.is_fresh());
    let held = house.partition.ask(&gala, hold(&[3])).await.unwrap().reply;
    assert!(matches!(held, Reply::Hold(_)), "{held:?}");
    assert_eq!((shelf.counts().held, house.shelf.counts().held), (1, 0));
    house.partition.open(seats("a hall")).await.unwrap();
    assert!(is_taken(&house.partition.ask(&gala, hold(&[3])).await.unwrap().reply), "still so");
    let error = house.partition.open(seats("another hall")).await.unwrap_err();
    assert!(matches!(error, OpenError::Seating { .. }), "{error}");
    house.kill();
    assert!(!shelf.is_fresh());
    let error = House::try_open(handle()).err().unwrap();
    assert!(matches!(error, PartitionError::UnknownEvent { .. }), "{error}");
    let with_both = setup(handle(), &Clocks::default(), &Arc::new(Shelf::new(40)));
    let events = [with_both.events, vec![seats("a hall")]].concat();
    let (partition, thread) =
        Partition::start(PartitionSetup { events, ..with_both }, handle()).unwrap();
    assert!(is_taken(&partition.ask(&gala, hold(&[3])).await.unwrap().reply));
    partition.stop();
    thread.join().unwrap();
}

#[tokio::test]
async fn an_event_that_was_opened_outlives_a_failed_write() {
    let (log, handle) = memory();
    let house = House::open(handle());
    let gala: EventId = "gala".parse().unwrap();
    let shelf = Arc::new(Shelf::new(40));
    let of_final = setup(handle(), &Clocks::default(), &shelf).events.remove(0);
    house.partition.open(EventSetup { event: gala.clone(), ..of_final }).await.unwrap();
    log.inject(Fault::Lost);
    assert_eq!(house.partition.ask(&gala, hold(&[1])).await, Err(Unavailable::Down));
    house.hold_once_up(&[1]).await;
    let held = house.partition.ask(&gala, hold(&[1])).await.unwrap().reply;
    assert!(matches!(held, Reply::Hold(_)), "{held:?}");
    assert!(shelf.is_fresh());
    house.kill();
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
    let first = old.acquire(0, "a").unwrap();
    old.append(0, first.epoch, 0, b"a").unwrap();
    let second = new.acquire(0, "a").unwrap();
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
