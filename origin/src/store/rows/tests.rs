//! Do the tables say what the log says, and is what does not fit stopped?

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use servers::Postgres;

use super::*;
use crate::log::suite::options;
use crate::log::{
    AppendError, Claimant, Claimed, Lease, Log, MemoryLog, PostgresLog, RowsMode, SqliteLog,
};
use crate::metrics::Metrics;
use crate::record::{FIRST_LINK, encode};
use crate::sale::{GatewayName, Run, Terms};
use crate::store::Database;

const A: Id128 = Id128::from_bytes([1; 16]);
const B: Id128 = Id128::from_bytes([2; 16]);
const C: Id128 = Id128::from_bytes([3; 16]);
const ORDER: Id128 = Id128::from_bytes([10; 16]);
const OTHER: Id128 = Id128::from_bytes([11; 16]);

fn held(hold: Id128, seats: &[Seat]) -> Change {
    let prices = seats.iter().map(|seat| 1000 + u64::from(*seat)).collect();
    let until = Timestamp::from_secs(2000);
    let terms = Terms::default();
    Change::Held { hold, sub: A, seats: seats.to_vec(), prices, terms, until }
}

fn begun(hold: Id128, order: Id128, tickets: u8) -> Change {
    let id = |n| Id128::from_bytes([order.as_bytes()[0] * 10 + n; 16]);
    Change::PaymentBegun(PaymentBegun {
        hold,
        order,
        key: "k".into(),
        body: "b".into(),
        tickets: (0..tickets).map(id).collect(),
        name: "Ann".into(),
        phone: None,
        locale: None,
        email: Some("ann@example.org".into()),
        bill: None,
        gateway: GatewayName::default(),
        token: String::new(),
        give_up_at: None,
    })
}

fn sold(order: Id128) -> Change {
    Change::Sold { order, reference: None, capture_at: None }
}

fn declined(order: Id128) -> Change {
    let (until, code) = (Timestamp::from_secs(3000), None);
    Change::PaymentDeclined { order, until, code, is_void_owed: false }
}

/// Records of these changes, one after the other.
fn records(batches: Vec<Vec<Change>>) -> Vec<Record> {
    let mut seq = 0;
    let record = |batch: Vec<Change>| {
        let event: EventId = "final".parse().unwrap();
        let entries: Vec<_> =
            batch.into_iter().map(|change| Entry { event: event.clone(), change }).collect();
        let record = Record { seq, epoch: 1, at: Timestamp::from_secs(1000 + seq), entries };
        seq += record.entries.len() as u64;
        record
    };
    batches.into_iter().map(record).collect()
}

fn bytes(record: &Record) -> Vec<u8> {
    encode(record, &FIRST_LINK).unwrap().0
}

/// A sale in which everything happens that can; the last batch takes a seat through three states.
fn a_sale() -> Vec<Record> {
    records(vec![
        vec![Change::Opened { plan: "p".into() }, held(A, &[1, 2]), held(B, &[3])],
        vec![begun(A, ORDER, 2), Change::Released { hold: B }],
        vec![Change::PaymentUnknown { order: ORDER }, held(C, &[3, 4])],
        vec![sold(ORDER), begun(C, OTHER, 2)],
        vec![declined(OTHER)],
        vec![Change::Expired { hold: C }, held(B, &[4]), Change::Released { hold: B }],
    ])
}

const SEATS: &str = "SELECT seat, status, version, order_id IS NOT NULL, price FROM seats
                     ORDER BY seat";
const TICKETS: &str = "SELECT seat, state FROM tickets ORDER BY seat, ticket";
const ORDERS: &str = "SELECT state, quantity, total, name, email, seq FROM orders ORDER BY seq";
/// A seat, its status, how often it changed, whether it has an order, its price.
const SOLD: &str = "1|sold|3|1|1001\n2|sold|3|1|1002\n3|free|6|0|\n4|free|6|0|";
const ISSUED: &str = "1|live\n2|live\n3|void\n4|void";
const ORDERED: &str = "sold|2|2003|Ann|ann@example.org|8\ndeclined|2|2007|Ann|ann@example.org|10";

#[track_caller]
fn check(ask: impl Fn(&str) -> String) {
    let plain = |rows: String| rows.replace("|t|", "|1|").replace("|f|", "|0|");
    assert_eq!(plain(ask(SEATS)), SOLD);
    assert_eq!(ask(TICKETS), ISSUED);
    assert_eq!(ask(ORDERS), ORDERED);
}

/// What `psql` would print.
fn ask_sqlite(path: &Path, sql: &str) -> String {
    let connection = rusqlite::Connection::open(path).unwrap();
    let mut select = connection.prepare(sql).unwrap();
    let columns = select.column_count();
    let line = |row: &rusqlite::Row<'_>| {
        let field = |column| match row.get_ref(column).unwrap() {
            rusqlite::types::ValueRef::Null => String::new(),
            rusqlite::types::ValueRef::Integer(number) => number.to_string(),
            other => other.as_str().unwrap().to_owned(),
        };
        Ok((0..columns).map(field).collect::<Vec<_>>().join("|"))
    };
    let lines: Result<Vec<_>, _> = select.query_map([], line).unwrap().collect();
    lines.unwrap().join("\n")
}

struct Tables {
    url: String,
    database: Arc<Database>,
}

impl Tables {
    fn new() -> Self {
        let url = Postgres::shared().database();
        let database = Database::open(&options(&url)).unwrap();
        Self { url, database }
    }

    fn log(&self, mode: RowsMode) -> Log {
        Log::Postgres(PostgresLog::open(Arc::clone(&self.database), 1, mode).unwrap())
    }

    fn rows(&self) -> RowStore {
        RowStore::Postgres(PostgresRows::new(Arc::clone(&self.database)))
    }

    fn ask(&self, sql: &str) -> String {
        Postgres::shared().sql(&self.url, sql)
    }
}

fn append_all(log: &mut Log, records: &[Record]) -> Lease {
    let lease = log.acquire(0, "a").unwrap();
    for record in records {
        log.append(0, lease.epoch, record.seq, &bytes(record)).unwrap();
    }
    lease
}

fn follower(log: Log, rows: RowStore) -> Follower {
    let metrics = Arc::new(Metrics::new().unwrap());
    Follower::new(FollowerSetup { partition: 0, log, rows, only_of: None, metrics })
}

#[test]
fn strict_rows_are_there_when_the_append_returns() {
    let tables = Tables::new();
    append_all(&mut tables.log(RowsMode::Strict), &a_sale());
    check(|sql| tables.ask(sql));
    assert_eq!(tables.ask("SELECT seq FROM rows_cursor"), "13");
}

#[test]
fn a_follower_makes_the_same_rows_on_both_stores() {
    let tables = Tables::new();
    append_all(&mut tables.log(RowsMode::Fast), &a_sale());
    assert_eq!(tables.ask("SELECT count(*) FROM seats"), "0");
    follower(tables.log(RowsMode::Fast), tables.rows()).step().unwrap();
    check(|sql| tables.ask(sql));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.sqlite");
    let open = || Log::Sqlite(SqliteLog::open(&folder.path().join("sale.sqlite"), 1).unwrap());
    append_all(&mut open(), &a_sale());
    follower(open(), RowStore::Sqlite(SqliteRows::open(&path).unwrap())).step().unwrap();
    check(|sql| ask_sqlite(&path, sql));
}

#[test]
fn holds_that_are_amended_and_blocked_seats_are_followed() {
    let runs = vec![Run { first: 20, len: 3 }];
    let blocked = Change::Blocked { channel: "press".into(), runs: runs.clone() };
    let unblocked = Change::Unblocked { channel: "press".into(), runs };
    let amended = Change::Amended { hold: A, added: vec![1], prices: vec![500], dropped: vec![3] };
    let sale = records(vec![
        vec![blocked, held(A, &[2, 3])],
        vec![amended, begun(A, ORDER, 2)],
        vec![unblocked.clone(), sold(ORDER), held(B, &[3, 21])],
    ]);
    let tables = Tables::new();
    append_all(&mut tables.log(RowsMode::Strict), &sale);
    let rows = "1|sold|3|t|500\n2|sold|3|t|1002\n3|held|3|f|1003\n\
                20|free|2|f|\n21|held|3|f|1021\n22|free|2|f|";
    assert_eq!(tables.ask(SEATS), rows);
    assert_eq!(tables.ask(TICKETS), "1|live\n2|live");
    let (_, mirror) = tables.rows().load(0).unwrap();
    let again = Record { seq: 9, ..records(vec![vec![unblocked]]).remove(0) };
    mirror.project(&[again]).unwrap_err();
}

#[test]
fn a_follower_that_was_killed_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.sqlite");
    let log = MemoryLog::default();
    let mut writer = Log::Memory(log.clone());
    let Lease { epoch } = writer.acquire(0, "a").unwrap();
    for record in a_sale() {
        writer.append(0, epoch, record.seq, &bytes(&record)).unwrap();
        let rows = RowStore::Sqlite(SqliteRows::open(&path).unwrap());
        let mut follower = follower(Log::Memory(log.clone()), rows);
        assert_eq!(follower.step().unwrap(), 1, "each has the next record only");
        assert_eq!(follower.step().unwrap(), 0);
    }
    check(|sql| ask_sqlite(&path, sql));
}

#[test]
fn a_strict_log_first_makes_up_for_what_was_fast() {
    let tables = Tables::new();
    let sale = a_sale();
    let (early, late) = sale.split_at(3);
    append_all(&mut tables.log(RowsMode::Fast), early);
    append_all(&mut tables.log(RowsMode::Strict), late);
    check(|sql| tables.ask(sql));
}

#[test]
fn a_record_that_sells_a_seat_twice_is_not_written_and_halts_the_partition() {
    let tables = Tables::new();
    let mut log = tables.log(RowsMode::Strict);
    let Lease { epoch } = append_all(&mut log, &a_sale());
    // Seat 1 is sold. Nobody who follows the rules would write this.
    let twice = Record { seq: 13, ..records(vec![vec![held(B, &[5, 1])]]).remove(0) };
    let error = log.append(0, epoch, 13, &bytes(&twice)).unwrap_err();
    assert!(matches!(error, AppendError::Guard { seq: 13, .. }), "{error}");
    assert_eq!(tables.ask("SELECT max(seq) FROM log"), "10", "the record begins at 10");
    check_halted(&mut log, epoch);
    check(|sql| tables.ask(sql));
}

#[test]
fn a_row_that_somebody_changed_halts_the_partition() {
    for tampering in [
        "UPDATE seats SET status = 'held' WHERE seat = 3",
        "UPDATE seats SET version = version + 1 WHERE seat = 3",
        "DELETE FROM seats WHERE seat = 3",
        "UPDATE tickets SET state = 'live' WHERE seat = 3; UPDATE seats SET seat = 9 WHERE seat = 3",
    ] {
        let tables = Tables::new();
        let mut log = tables.log(RowsMode::Strict);
        let Lease { epoch } = append_all(&mut log, &a_sale());
        tables.ask(tampering);
        let next = Record { seq: 13, ..records(vec![vec![held(B, &[3])]]).remove(0) };
        let error = log.append(0, epoch, 13, &bytes(&next)).unwrap_err();
        assert!(matches!(error, AppendError::Guard { .. }), "{tampering}: {error}");
        assert_eq!(tables.ask("SELECT count(*) FROM log"), "6", "{tampering}");
        check_halted(&mut log, epoch);
    }
}

#[test]
fn a_seat_has_one_live_ticket_whatever_is_written() {
    let tables = Tables::new();
    let mut log = tables.log(RowsMode::Strict);
    let Lease { epoch } = append_all(&mut log, &a_sale()[..3]);
    let forged = "INSERT INTO tickets VALUES ('forged', 'final', 1, 0, 'forged', 'live')";
    tables.ask(forged);
    let error = log.append(0, epoch, 7, &bytes(&a_sale()[3])).unwrap_err();
    assert!(matches!(error, AppendError::Guard { .. }), "{error}");
    check_halted(&mut log, epoch);
}

/// Nobody can write, and nobody gets the partition until a person lets it go.
#[track_caller]
fn check_halted(log: &mut Log, epoch: u64) {
    let error = log.append(0, epoch, 99, b"x").unwrap_err();
    assert!(!matches!(error, AppendError::Unknown(_)), "{error}");
    assert_eq!(log.renew(0, "a").unwrap(), None);
    let claimant = Claimant { owner: "b".into(), addr: String::new() };
    let claimed = log.claim(0, &claimant, Duration::from_secs(10)).unwrap();
    let Claimed::Theirs(holder) = claimed else { panic!("somebody got it") };
    assert!(holder.owner.starts_with("halted: "), "{holder:?}");
}

#[test]
fn of_two_who_follow_the_same_log_one_writes_each_row() {
    let tables = Tables::new();
    append_all(&mut tables.log(RowsMode::Fast), &a_sale());
    let mut first = follower(tables.log(RowsMode::Fast), tables.rows());
    let (at, mirror) = tables.rows().load(0).unwrap();
    first.step().unwrap();
    let late = mirror.project(&a_sale()).unwrap();
    let error = tables.rows().write(0, at, &late).unwrap_err();
    assert!(matches!(error, RowsError::Moved { .. }), "{error}");
    check(|sql| tables.ask(sql));
}

#[test]
fn a_follower_halts_a_sale_that_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let log = MemoryLog::default();
    let mut writer = Log::Memory(log.clone());
    let Lease { epoch } = append_all(&mut writer, &a_sale());
    let twice = Record { seq: 13, ..records(vec![vec![held(B, &[1])]]).remove(0) };
    writer.append(0, epoch, 13, &bytes(&twice)).unwrap();
    let rows = SqliteRows::open(&folder.path().join("rows.sqlite")).unwrap();
    let metrics = Arc::new(Metrics::new().unwrap());
    let (log, rows) = (Log::Memory(log), RowStore::Sqlite(rows));
    let counted = Arc::clone(&metrics);
    let setup = FollowerSetup { partition: 0, log, rows, only_of: None, metrics: counted };
    let follower = Follower::new(setup);
    let thread = follower.spawn(Arc::new(AtomicBool::new(false))).unwrap();
    let since = Instant::now();
    while !thread.is_finished() {
        assert!(since.elapsed() < Duration::from_secs(20), "the follower does not end");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    thread.join().unwrap();
    let error = writer.append(0, epoch, 14, b"x").unwrap_err();
    assert!(matches!(error, AppendError::Fenced { .. }), "{error}");
    let counted = metrics.text().unwrap();
    assert!(counted.contains("origin_log_failures_total{kind=\"guard\"} 1"), "{counted}");
}
