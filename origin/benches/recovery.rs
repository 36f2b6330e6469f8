//! How long after a crash is the sale on again, and what does a snapshot cost those who buy while
//! it is taken? A sale of a million commands through the real writer into SQLite, and then starts
//! from what it left. `cargo bench -p origin --bench recovery`
//!
//! Visitors hold seats of a stadium and give most of them back, until it is sold out and after.
//! Five hundred of them ask at once, as many as go into a record.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use keys::{EventId, Id128, Timestamp};
use origin::load::Window;
use origin::log::{Log, SqliteLog};
use origin::metrics::Metrics;
use origin::partition::{EventSetup, Partition, PartitionSetup, Tenure};
use origin::sale::{
    BeginPayment, Command, GatewayName, Outcome, Pick, Plan, PlanRow, Reply, Rules, Seat,
    Settlement, Want, Zone,
};
use origin::shelf::Shelf;
use origin::steady::Reading;

type Failure = Box<dyn std::error::Error>;

const SEATS: Seat = 80_000;
const SEATS_PER_ROW: Seat = 40;
const COMMANDS: u64 = 1_000_000;
const AT_ONCE: usize = 500;
/// Of so many holds one is bought, while there are seats.
const BOUGHT: u64 = 8;
/// As configured by default.
const SNAPSHOT_CHANGES: u64 = 20_000;
const NO_SNAPSHOTS: u64 = u64::MAX / 10;

struct House {
    partition: Partition,
    thread: JoinHandle<()>,
    event: EventId,
}

impl House {
    fn start(folder: &Path, snapshot_changes: u64) -> Result<Self, Failure> {
        let path = folder.join("sale.sqlite");
        let event: EventId = "stadium".parse()?;
        let began = Instant::now();
        let metrics = Arc::new(Metrics::new()?);
        let setup = PartitionSetup {
            partition: 0,
            owner: "bench".parse()?,
            events: vec![EventSetup {
                event: event.clone(),
                plan: plan()?,
                rules: Rules::default(),
                shelf: Arc::new(Shelf::new(SEATS)),
            }],
            tenure: Tenure::Sole,
            log: Log::Sqlite(SqliteLog::open(&path, 1)?),
            clock: Arc::new(move || Reading { wall: Timestamp::now(), elapsed: began.elapsed() }),
            may_cut_damaged_tail: false,
            snapshot_changes,
            window: Arc::new(Window::new(1, began)),
            metrics,
        };
        let (partition, thread) = Partition::start(setup, Log::Sqlite(SqliteLog::open(&path, 1)?))?;
        Ok(Self { partition, thread, event })
    }

    fn stop(self) {
        self.partition.stop();
        drop(self.partition);
        // A writer that panicked has said so.
        let _ = self.thread.join();
    }

    async fn ask(&self, command: Command) -> Result<Reply, Failure> {
        Ok(self.partition.ask(&self.event, command).await?.reply)
    }

    async fn hold(&self, seats: Vec<Seat>) -> Result<(Id128, Id128, bool), Failure> {
        let (hold, sub) = (Id128::random(), Id128::random());
        let want = Want::Pick(Pick::seats(seats));
        let reply = self.ask(Command::Hold { hold, sub, want }).await?;
        Ok((hold, sub, matches!(reply, Reply::Hold(_))))
    }

    /// One visitor: how many commands that was, and how long the hold took.
    async fn visit(&self, nth: u64) -> Result<(u64, Duration), Failure> {
        let first = Seat::try_from(nth * 7_919 % u64::from(SEATS / 2))? * 2;
        let asked = Instant::now();
        let (hold, sub, has_it) = self.hold(vec![first, first + 1]).await?;
        let took = asked.elapsed();
        if !has_it {
            return Ok((1, took));
        }
        if !nth.is_multiple_of(BOUGHT) {
            self.ask(Command::Release { hold, sub }).await?;
            return Ok((2, took));
        }
        let order = Id128::random();
        let begin = BeginPayment {
            hold,
            sub,
            key: order.to_string(),
            body: "0".repeat(64),
            order,
            tickets: vec![Id128::random(), Id128::random()],
            name: "Ana Example".to_owned(),
            email: Some("ana@example.org".to_owned()),
            phone: None,
            locale: Some("en".to_owned()),
            gateway: Some(GatewayName::default()),
            token: "tok_ok".to_owned(),
        };
        self.ask(Command::BeginPayment(begin)).await?;
        let outcome = Outcome::Authorised { amount: 20_000 };
        let gateway = GatewayName::default();
        let told = Settlement { order, number: 0, gateway, reference: None, outcome, notice: None };
        self.ask(Command::Settle(told)).await?;
        Ok((3, took))
    }

    /// A whole sale: how long each hold took.
    async fn sell(&self, commands_max: u64) -> Result<Vec<Duration>, Failure> {
        let (mut commands, mut nth, mut took) = (0, 0, Vec::new());
        while commands < commands_max {
            let visits = (0..AT_ONCE as u64).map(|at| self.visit(nth + at));
            for visit in futures_util::future::join_all(visits).await {
                let (asked, hold_took) = visit?;
                commands += asked;
                took.push(hold_took);
            }
            nth += AT_ONCE as u64;
        }
        Ok(took)
    }
}

fn plan() -> Result<Arc<Plan>, Failure> {
    let row = |first| PlanRow { first, len: SEATS_PER_ROW, zone: 0, block: 0 };
    let rows = (0..SEATS).step_by(SEATS_PER_ROW as usize).map(row).collect();
    let zones = vec![Zone { id: "cat1".to_owned(), price: 10_000 }];
    let distances = (0..SEATS).map(u64::from).collect();
    Ok(Arc::new(Plan::new(rows, zones, distances, "stadium".to_owned())?))
}

fn told(what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |share: usize| took[(took.len() - 1) * share / 1000];
    println!(
        "{what}: {} holds, p50 {:?}, p99 {:?}, p99.9 {:?}, max {:?}",
        took.len(),
        at(500),
        at(990),
        at(999),
        at(1000)
    );
}

/// From nothing in memory to a hold that is answered, and so durable.
async fn recover(what: &str, folder: &Path) -> Result<(), Failure> {
    let began = Instant::now();
    let house = House::start(folder, NO_SNAPSHOTS)?;
    let ready = began.elapsed();
    house.hold(vec![0]).await?;
    println!("{what}: ready after {ready:?}, the first hold answered after {:?}", began.elapsed());
    house.stop();
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    // `cargo test` runs benches, too, and a million commands are none.
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path();
    for (what, snapshot_changes) in
        [("without snapshots", NO_SNAPSHOTS), ("with snapshots", SNAPSHOT_CHANGES)]
    {
        let folder = path.join(what);
        std::fs::create_dir_all(&folder)?;
        let house = House::start(&folder, snapshot_changes)?;
        let began = Instant::now();
        let took = house.sell(COMMANDS).await?;
        println!("{what}: {COMMANDS} commands in {:?}", began.elapsed());
        told(what, took);
        house.stop();
        let mut log = SqliteLog::open(&folder.join("sale.sqlite"), 1).map(Log::Sqlite)?;
        let (mut from, mut records, mut bytes) = (0, 0_u64, 0_u64);
        loop {
            let read = log.read(0, from, 1024)?;
            let Some(last) = read.last() else { break };
            from = last.seq + 1;
            records += read.len() as u64;
            bytes += read.iter().map(|record| record.bytes.len() as u64).sum::<u64>();
        }
        let snapshot = log.get_snapshot(0)?;
        let kept =
            snapshot.map(|kept| format!("{} bytes at change {}", kept.bytes.len(), kept.seq));
        println!("{what}: {records} records of {bytes} bytes, snapshot {kept:?}");
        drop(log);
        for _ in 0..3 {
            recover(what, &folder).await?;
        }
    }
    Ok(())
}
