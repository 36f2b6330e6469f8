//! What every store must do, case by case. Each case gets a partition that nobody has used, and as
//! many handles to the store as it likes.

use std::time::{Duration, Instant};

use servers::Postgres;

use super::{
    AppendError, Claimant, Claimed, Holder, Lease, Log, LogError, MemoryLog, PartitionId,
    PostgresLog, RowsMode, SqliteLog, Stored,
};
use crate::store::{Database, PostgresOptions};

type Open<'a> = &'a dyn Fn() -> Log;

type Case = (&'static str, fn(Open<'_>, PartitionId));

const CASES: [Case; 12] = [
    ("what was appended is read back in order", what_was_appended_is_read_back),
    ("an epoch grows with every owner", an_epoch_grows),
    ("an old epoch is fenced, however it comes late", an_old_epoch_is_fenced),
    ("a sequence number is given once", a_sequence_number_is_given_once),
    ("only the owner gets a new epoch by asking again", only_the_owner_renews),
    ("a standing lease is nobody else's", a_standing_lease_stands),
    ("a lapsed or released lease is anybody's", a_lapsed_lease_is_anybodys),
    ("a lease is extended by its epoch only", a_lease_is_extended_by_its_epoch),
    ("of many claimants one gets it", of_many_claimants_one_gets_it),
    ("a snapshot is its owner's and never goes back", a_snapshot_never_goes_back),
    ("a cut record is gone", a_cut_record_is_gone),
    ("partitions do not see each other", partitions_are_apart),
];

#[test]
fn memory_keeps_the_contract() {
    let log = MemoryLog::default();
    run(&|| Log::Memory(log.clone()));
}

#[test]
fn sqlite_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sale.sqlite");
    run(&|| Log::Sqlite(SqliteLog::open(&path, 1000).unwrap()));
}

#[test]
fn postgres_keeps_the_contract() {
    let database = Database::open(&options(&Postgres::shared().database())).unwrap();
    run(&|| Log::Postgres(PostgresLog::open(database.clone(), 1000, RowsMode::Fast).unwrap()));
}

/// A replica that takes over may not have what was confirmed before.
#[test]
fn nothing_is_written_behind_a_record_that_is_gone() {
    let url = Postgres::shared().database();
    let database = Database::open(&options(&url)).unwrap();
    let mut log = Log::Postgres(PostgresLog::open(database, 8, RowsMode::Fast).unwrap());
    let Lease { epoch } = log.acquire(3, "a").unwrap();
    log.append(3, epoch, 0, b"first").unwrap();
    log.append(3, epoch, 4, b"second").unwrap();
    Postgres::shared().sql(&url, "DELETE FROM log WHERE seq = 4");
    let error = log.append(3, epoch, 7, b"third").unwrap_err();
    assert!(matches!(error, AppendError::Fenced { .. }), "{error}");
    let seqs = |log: &mut Log| -> Vec<u64> {
        log.read(3, 0, 10).unwrap().iter().map(|stored| stored.seq).collect()
    };
    let Lease { epoch } = log.acquire(3, "a").unwrap();
    assert_eq!(seqs(&mut log), [0], "there is no hole");
    log.append(3, epoch, 4, b"another second").unwrap();
    // What was read is known as well as what was written.
    let Lease { epoch } = log.acquire(3, "a").unwrap();
    assert_eq!(seqs(&mut log), [0, 4]);
    Postgres::shared().sql(&url, "DELETE FROM log WHERE seq = 4");
    let error = log.append(3, epoch, 7, b"third").unwrap_err();
    assert!(matches!(error, AppendError::Fenced { .. }), "{error}");
}

#[test]
fn a_log_of_another_number_of_partitions_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sale.sqlite");
    let database = Database::open(&options(&Postgres::shared().database())).unwrap();
    let sqlite = |partitions| SqliteLog::open(&path, partitions).map(Log::Sqlite);
    let postgres = |partitions| {
        PostgresLog::open(database.clone(), partitions, RowsMode::Fast).map(Log::Postgres)
    };
    for open in [&sqlite as &dyn Fn(u32) -> Result<Log, LogError>, &postgres] {
        open(3).unwrap();
        open(3).unwrap();
        let refused = open(4).unwrap_err();
        assert!(matches!(refused, LogError::Partitions { stored: 3, configured: 4 }), "{refused}");
    }
}

#[test]
fn a_database_of_before_there_were_leases_gets_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sale.sqlite");
    let old = "CREATE TABLE owner (
        partition INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, name TEXT NOT NULL);
        INSERT INTO owner VALUES (0, 7, 'a')";
    rusqlite::Connection::open(&path).unwrap().execute_batch(old).unwrap();
    let mut log = Log::Sqlite(SqliteLog::open(&path, 1).unwrap());
    assert_eq!(log.holder(0).unwrap(), Some(holder("a", "", 7)));
    assert_eq!(claim(&mut log, 0, "b", HOUR), Claimed::Ours(Lease { epoch: 8 }));
}

const HOUR: Duration = Duration::from_secs(3600);

fn run(open: Open<'_>) {
    for (partition, (name, case)) in (0..).step_by(2).zip(CASES) {
        println!("{name}");
        case(open, partition);
    }
}

pub fn options(url: &str) -> PostgresOptions {
    PostgresOptions {
        url: url.to_owned().try_into().unwrap(),
        ca_file: None,
        pool_max: 4,
        cores: None,
        rows: RowsMode::Strict,
    }
}

fn what_was_appended_is_read_back(open: Open<'_>, partition: PartitionId) {
    let mut log = open();
    let Lease { epoch } = log.acquire(partition, "a").unwrap();
    let big = vec![7; 300_000];
    for (seq, bytes) in [(0, &b"first"[..]), (5, b""), (6, &big)] {
        log.append(partition, epoch, seq, bytes).unwrap();
    }
    let mut other = open();
    let seqs = |from, limit, log: &mut Log| -> Vec<u64> {
        log.read(partition, from, limit).unwrap().iter().map(|stored| stored.seq).collect()
    };
    assert_eq!(seqs(0, 10, &mut other), [0, 5, 6]);
    assert_eq!(seqs(0, 2, &mut other), [0, 5]);
    assert_eq!(seqs(1, 10, &mut other), [5, 6]);
    assert!(seqs(7, 10, &mut other).is_empty());
    assert_eq!(other.read(partition, 6, 1).unwrap(), [Stored { seq: 6, bytes: big }]);
}

fn an_epoch_grows(open: Open<'_>, partition: PartitionId) {
    let (mut a, mut b) = (open(), open());
    assert_eq!(a.holder(partition).unwrap(), None);
    assert_eq!(a.acquire(partition, "a").unwrap(), Lease { epoch: 1 });
    assert_eq!(b.acquire(partition, "b").unwrap(), Lease { epoch: 2 });
    assert_eq!(a.holder(partition).unwrap(), Some(holder("b", "", 2)));
}

fn an_old_epoch_is_fenced(open: Open<'_>, partition: PartitionId) {
    let (mut a, mut b) = (open(), open());
    let old = a.acquire(partition, "a").unwrap().epoch;
    a.append(partition, old, 0, b"a").unwrap();
    let new = b.acquire(partition, "b").unwrap().epoch;
    for (epoch, seq) in [(old, 1), (old, 0), (new + 1, 1), (0, 1)] {
        let error = a.append(partition, epoch, seq, b"late").unwrap_err();
        assert!(matches!(error, AppendError::Fenced { .. }), "epoch {epoch} at {seq}: {error}");
    }
    b.append(partition, new, 1, b"b").unwrap();
    assert_eq!(a.read(partition, 0, 10).unwrap().len(), 2);
}

fn a_sequence_number_is_given_once(open: Open<'_>, partition: PartitionId) {
    let mut log = open();
    let Lease { epoch } = log.acquire(partition, "a").unwrap();
    log.append(partition, epoch, 3, b"first").unwrap();
    let error = log.append(partition, epoch, 3, b"second").unwrap_err();
    assert!(matches!(error, AppendError::Conflict { seq: 3, .. }), "{error}");
    assert_eq!(log.read(partition, 0, 10).unwrap(), [Stored { seq: 3, bytes: b"first".into() }]);
    log.append(partition, epoch, 4, b"next").unwrap();
}

fn only_the_owner_renews(open: Open<'_>, partition: PartitionId) {
    let mut log = open();
    assert_eq!(log.renew(partition, "a").unwrap(), None, "nobody has it");
    assert_eq!(claim(&mut log, partition, "a", HOUR), Claimed::Ours(Lease { epoch: 1 }));
    assert_eq!(log.renew(partition, "b").unwrap(), None);
    assert_eq!(log.renew(partition, "a").unwrap(), Some(Lease { epoch: 2 }));
    let error = log.append(partition, 1, 0, b"late").unwrap_err();
    assert!(matches!(error, AppendError::Fenced { .. }), "{error}");
    let holder = log.holder(partition).unwrap().unwrap();
    assert!(holder.addr == "a.example" && !holder.left.is_zero(), "the lease stands: {holder:?}");
}

fn a_standing_lease_stands(open: Open<'_>, partition: PartitionId) {
    let (mut a, mut b) = (open(), open());
    assert_eq!(claim(&mut a, partition, "a", HOUR), Claimed::Ours(Lease { epoch: 1 }));
    let Claimed::Theirs(Holder { owner, addr, epoch, left }) = claim(&mut b, partition, "b", HOUR)
    else {
        panic!("b got what is a's");
    };
    assert_eq!((owner.as_str(), addr.as_str(), epoch), ("a", "a.example", 1));
    assert!(left <= HOUR && left > HOUR / 2, "{left:?}");
    assert_eq!(claim(&mut a, partition, "a", HOUR), Claimed::Ours(Lease { epoch: 2 }));
    a.append(partition, 2, 0, b"a").unwrap();
}

fn a_lapsed_lease_is_anybodys(open: Open<'_>, partition: PartitionId) {
    let (mut a, mut b) = (open(), open());
    let (brief, since) = (Duration::from_millis(50), Instant::now());
    assert_eq!(claim(&mut a, partition, "a", brief), Claimed::Ours(Lease { epoch: 1 }));
    while claim(&mut b, partition, "b", HOUR) != Claimed::Ours(Lease { epoch: 2 }) {
        assert!(since.elapsed() < Duration::from_secs(20), "the lease does not lapse");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    assert!(since.elapsed() >= brief, "it lapsed early");
    b.release(partition, 1).unwrap();
    assert!(matches!(claim(&mut a, partition, "a", HOUR), Claimed::Theirs(_)), "b's is 2");
    b.release(partition, 2).unwrap();
    assert_eq!(claim(&mut a, partition, "a", HOUR), Claimed::Ours(Lease { epoch: 3 }));
}

fn a_lease_is_extended_by_its_epoch(open: Open<'_>, partition: PartitionId) {
    let (mut a, mut b) = (open(), open());
    assert_eq!(claim(&mut a, partition, "a", Duration::ZERO), Claimed::Ours(Lease { epoch: 1 }));
    assert!(a.extend(partition, 1, HOUR).unwrap(), "lapsed, but nobody else took it");
    assert!(matches!(claim(&mut b, partition, "b", HOUR), Claimed::Theirs(_)));
    assert!(!a.extend(partition, 2, HOUR).unwrap());
    assert_eq!(b.acquire(partition, "b").unwrap(), Lease { epoch: 2 }, "by force");
    assert!(!a.extend(partition, 1, HOUR).unwrap(), "taken over");
    assert_eq!(a.holder(partition).unwrap(), Some(holder("b", "", 2)));
}

fn of_many_claimants_one_gets_it(open: Open<'_>, partition: PartitionId) {
    let names: Vec<String> = (0..8).map(|n| n.to_string()).collect();
    let logs: Vec<Log> = names.iter().map(|_| open()).collect();
    let winners = std::thread::scope(|scope| {
        let claim = |(mut log, name): (Log, String)| {
            scope.spawn(move || claim(&mut log, partition, &name, HOUR))
        };
        let claims: Vec<_> = logs.into_iter().zip(names).map(claim).collect();
        let claimed = claims.into_iter().map(|claim| claim.join().unwrap());
        claimed.filter(|claimed| matches!(claimed, Claimed::Ours(_))).count()
    });
    assert_eq!(winners, 1);
}

fn a_snapshot_never_goes_back(open: Open<'_>, partition: PartitionId) {
    let mut log = open();
    assert_eq!(log.get_snapshot(partition).unwrap(), None);
    let old = log.acquire(partition, "a").unwrap().epoch;
    log.put_snapshot(partition, old, 10, b"ten").unwrap();
    let new = log.acquire(partition, "b").unwrap().epoch;
    let fenced = log.put_snapshot(partition, old, 11, b"eleven").unwrap_err();
    assert!(matches!(fenced, AppendError::Fenced { .. }), "{fenced}");
    let older = log.put_snapshot(partition, new, 9, b"nine").unwrap_err();
    assert!(matches!(older, AppendError::Conflict { .. }), "{older}");
    let kept = |seq, bytes: &[u8]| Some(Stored { seq, bytes: bytes.into() });
    assert_eq!(log.get_snapshot(partition).unwrap(), kept(10, b"ten"));
    log.put_snapshot(partition, new, 12, b"twelve").unwrap();
    assert_eq!(open().get_snapshot(partition).unwrap(), kept(12, b"twelve"));
}

fn a_cut_record_is_gone(open: Open<'_>, partition: PartitionId) {
    let mut log = open();
    let Lease { epoch } = log.acquire(partition, "a").unwrap();
    log.append(partition, epoch, 0, b"whole").unwrap();
    log.append(partition, epoch, 1, b"damaged").unwrap();
    log.cut(partition, 1).unwrap();
    assert_eq!(log.read(partition, 0, 10).unwrap().len(), 1);
    log.append(partition, epoch, 1, b"again").unwrap();
}

fn partitions_are_apart(open: Open<'_>, partition: PartitionId) {
    let mut log = open();
    let here = log.acquire(partition, "a").unwrap().epoch;
    let there = log.acquire(partition + 1, "b").unwrap().epoch;
    log.append(partition, here, 0, b"here").unwrap();
    log.append(partition + 1, there, 0, b"there").unwrap();
    assert_eq!(log.read(partition, 0, 9).unwrap(), [Stored { seq: 0, bytes: b"here".into() }]);
}

fn holder(owner: &str, addr: &str, epoch: u64) -> Holder {
    Holder { owner: owner.into(), addr: addr.into(), epoch, left: Duration::ZERO }
}

fn claim(log: &mut Log, partition: PartitionId, owner: &str, ttl: Duration) -> Claimed {
    let claimant = Claimant { owner: owner.into(), addr: format!("{owner}.example") };
    log.claim(partition, &claimant, ttl).unwrap()
}
