//! The log in PostgreSQL, for several origin processes that share it.
//!
//! An append is one statement: it locks the owner's row, compares the epoch and inserts, so that
//! no pause of ours can come in between, and a frozen process keeps nothing locked. The sequence
//! number is the primary key, the second guard. Whether a statement whose connection broke was
//! carried out, only reading tells.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::{AppendError, Claimant, Claimed, Holder, Lease, LogError, PartitionId, Stored};
use crate::record;
use crate::store::rows::{self, Columns, Mirror, PostgresRows, Rows, RowsError};
use crate::store::{Database, PostgresError};

const APPEND: &str = "
    WITH mine AS (SELECT 1 FROM owner WHERE partition = $1 AND epoch = $2 FOR SHARE),
    whole AS (SELECT 1 WHERE $5::bigint < 0 OR EXISTS (
        SELECT 1 FROM log WHERE partition = $1 AND seq = $5))
    INSERT INTO log (partition, epoch, seq, bytes) SELECT $1, $2, $3, $4 FROM mine, whole";

/// As the last record that we know of, while we know of none.
const NO_RECORD: i64 = -1;

/// Whether the rows of organisers' tables are written with a record or after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsMode {
    /// In the same transaction: the third guard holds before anybody is answered.
    Strict,
    /// Afterwards, by a follower.
    Fast,
}

/// Most records that are read at a time when rows are behind.
const CATCH_UP_MAX: u32 = 64;

/// One writer's way to the log: a connection of its own, made again when it breaks.
#[derive(Debug)]
pub struct PostgresLog {
    database: Arc<Database>,
    session: Option<Arc<Session>>,
    mode: RowsMode,
    /// What the tables have and up to where, by partition; read again after whatever failed.
    mirrors: HashMap<PartitionId, (u64, Mirror)>,
    /// The last record that we wrote or read, by partition: what is appended needs it to be there.
    /// It is not, if a replica took over that had not everything.
    ends: HashMap<PartitionId, u64>,
}

struct Session {
    client: Client,
    append: Statement,
    append_with_rows: Statement,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

impl PostgresLog {
    /// Checks that the log is laid out for as many partitions.
    ///
    /// # Errors
    /// If the database fails or was laid out for another number.
    pub fn open(
        database: Arc<Database>,
        partitions: u32,
        mode: RowsMode,
    ) -> Result<Self, LogError> {
        let mut log =
            Self { database, session: None, mode, mirrors: HashMap::new(), ends: HashMap::new() };
        let configured = narrow(partitions);
        let rows = log.run(async move |session| {
            // Locked, for several processes may be the first.
            let insert = "LOCK TABLE layout; INSERT INTO layout
                          SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM layout)";
            session.client.batch_execute(insert).await?;
            let update = "UPDATE layout SET partitions = $1 WHERE partitions = 0";
            session.client.execute(update, &[&configured]).await?;
            session.client.query("SELECT partitions FROM layout", &[]).await
        })?;
        let stored = rows.first().map_or(configured, |row| row.get(0));
        if stored != configured {
            let stored = u32::try_from(stored).unwrap_or(0);
            return Err(LogError::Partitions { stored, configured: partitions });
        }
        Ok(log)
    }

    /// Asks something on our connection. Without a clear answer the connection is given up.
    fn run<T, Asked>(&mut self, ask: impl FnOnce(Arc<Session>) -> Asked) -> Result<T, PostgresError>
    where
        T: Send + 'static,
        Asked: Future<Output = Result<T, tokio_postgres::Error>> + Send + 'static,
    {
        let asked = ask(self.session()?);
        let database = Arc::clone(&self.database);
        let done = self.database.wait(async move { database.within(asked).await });
        if done.as_ref().is_err_and(|error| !is_undone(error)) {
            self.session = None;
        }
        done
    }

    fn session(&mut self) -> Result<Arc<Session>, PostgresError> {
        if let Some(session) = self.session.as_ref().filter(|s| !s.client.is_closed()) {
            return Ok(Arc::clone(session));
        }
        let database = Arc::clone(&self.database);
        let session = self.database.wait(async move {
            let client = database.connect().await?;
            let append = database.within(client.prepare(APPEND)).await?;
            let append_with_rows = database.within(client.prepare(&append_with_rows())).await?;
            Ok(Arc::new(Session { client, append, append_with_rows }))
        })?;
        Ok(Arc::clone(self.session.insert(session)))
    }

    /// Whatever was known before a partition became ours is read again.
    fn forget(&mut self, partition: PartitionId) {
        self.mirrors.remove(&partition);
        self.ends.remove(&partition);
    }

    pub(super) fn acquire(
        &mut self,
        partition: PartitionId,
        owner: &str,
    ) -> Result<Lease, LogError> {
        self.forget(partition);
        let (partition, owner) = (narrow(partition), owner.to_owned());
        let sql = "INSERT INTO owner (partition, epoch, name) VALUES ($1, 1, $2)
                   ON CONFLICT (partition) DO UPDATE
                   SET epoch = owner.epoch + 1, name = $2, addr = '', until = 'epoch'
                   RETURNING epoch";
        let rows = self.run(async move |s| s.client.query(sql, &[&partition, &owner]).await)?;
        lease(&rows).ok_or(LogError::NoRow)
    }

    pub(super) fn renew(
        &mut self,
        partition: PartitionId,
        owner: &str,
    ) -> Result<Option<Lease>, LogError> {
        self.forget(partition);
        let (partition, owner) = (narrow(partition), owner.to_owned());
        let sql = "UPDATE owner SET epoch = epoch + 1 WHERE partition = $1 AND name = $2
                   RETURNING epoch";
        let rows = self.run(async move |s| s.client.query(sql, &[&partition, &owner]).await)?;
        Ok(lease(&rows))
    }

    pub(super) fn claim(
        &mut self,
        partition: PartitionId,
        claimant: &Claimant,
        ttl: Duration,
    ) -> Result<Claimed, LogError> {
        self.forget(partition);
        let id = narrow(partition);
        let (Claimant { owner, addr }, secs) = (claimant.clone(), ttl.as_secs_f64());
        // The clock is read when the row is ours, not when the statement began to wait for it.
        let sql = "INSERT INTO owner (partition, epoch, name, addr, until)
                   VALUES ($1, 1, $2, $3, clock_timestamp() + $4 * interval '1 second')
                   ON CONFLICT (partition) DO UPDATE
                   SET epoch = owner.epoch + 1, name = $2, addr = $3,
                       until = clock_timestamp() + $4 * interval '1 second'
                   WHERE owner.until <= clock_timestamp() OR owner.name = $2
                   RETURNING epoch";
        let rows =
            self.run(async move |s| s.client.query(sql, &[&id, &owner, &addr, &secs]).await)?;
        match lease(&rows) {
            Some(lease) => Ok(Claimed::Ours(lease)),
            None => {
                let holder = self.holder(partition)?;
                holder.map(Claimed::Theirs).ok_or(LogError::NoRow)
            }
        }
    }

    pub(super) fn extend(
        &mut self,
        partition: PartitionId,
        epoch: u64,
        ttl: Duration,
    ) -> Result<bool, LogError> {
        let (partition, epoch, secs) = (narrow(partition), signed(epoch), ttl.as_secs_f64());
        let sql = "UPDATE owner SET until = clock_timestamp() + $3 * interval '1 second'
                   WHERE partition = $1 AND epoch = $2";
        let extended =
            self.run(async move |s| s.client.execute(sql, &[&partition, &epoch, &secs]).await)?;
        Ok(extended > 0)
    }

    pub(super) fn release(&mut self, partition: PartitionId, epoch: u64) -> Result<(), LogError> {
        let (partition, epoch) = (narrow(partition), signed(epoch));
        let sql = "UPDATE owner SET until = 'epoch' WHERE partition = $1 AND epoch = $2";
        self.run(async move |s| s.client.execute(sql, &[&partition, &epoch]).await)?;
        Ok(())
    }

    pub(super) fn halt(&mut self, partition: PartitionId, name: &str) -> Result<(), LogError> {
        let (partition, name) = (narrow(partition), name.to_owned());
        let sql = "INSERT INTO owner (partition, epoch, name, until)
                   VALUES ($1, 1, $2, '9999-12-31')
                   ON CONFLICT (partition) DO UPDATE
                   SET epoch = owner.epoch + 1, name = $2, addr = '', until = '9999-12-31'";
        self.run(async move |s| s.client.execute(sql, &[&partition, &name]).await)?;
        Ok(())
    }

    pub(super) fn holder(&mut self, partition: PartitionId) -> Result<Option<Holder>, LogError> {
        let partition = narrow(partition);
        let sql = "SELECT name, addr, epoch,
                          GREATEST(0, extract(epoch FROM until - clock_timestamp()))::float8
                   FROM owner WHERE partition = $1";
        let rows = self.run(async move |s| s.client.query(sql, &[&partition]).await)?;
        Ok(rows.first().map(|row| Holder {
            owner: row.get(0),
            addr: row.get(1),
            epoch: unsigned(row.get(2)),
            left: Duration::try_from_secs_f64(row.get(3)).unwrap_or(Duration::MAX),
        }))
    }

    pub(super) fn append(
        &mut self,
        partition: PartitionId,
        epoch: u64,
        seq: u64,
        bytes: &[u8],
    ) -> Result<(), AppendError> {
        // What fails before the statement is sent has written nothing.
        if let Err(error) = self.session() {
            return Err(AppendError::NotWritten(error.into()));
        }
        match self.mode {
            RowsMode::Fast => self.append_alone(partition, epoch, seq, bytes),
            RowsMode::Strict => self.append_strictly(partition, epoch, seq, bytes),
        }
    }

    fn append_alone(
        &mut self,
        partition: PartitionId,
        epoch: u64,
        seq: u64,
        bytes: &[u8],
    ) -> Result<(), AppendError> {
        let (id, our_epoch, at) = (narrow(partition), signed(epoch), signed(seq));
        let (bytes, end) = (bytes.to_vec(), self.end(partition));
        let appended = self.run(async move |s| {
            s.client.execute(&s.append, &[&id, &our_epoch, &at, &bytes, &end]).await
        });
        match appended {
            Ok(0) => Err(self.refused(partition, epoch)),
            Ok(_) => {
                self.ends.insert(partition, seq);
                Ok(())
            }
            Err(error) => Err(judge(error, partition, seq)),
        }
    }

    /// Appends a record and what it changes in the tables, or neither.
    fn append_strictly(
        &mut self,
        partition: PartitionId,
        epoch: u64,
        seq: u64,
        bytes: &[u8],
    ) -> Result<(), AppendError> {
        let (mut mirror, rows) = match self.project(partition, seq, bytes) {
            Ok(projected) => projected,
            Err(RowsError::Guard { why, .. }) => {
                return Err(self.guarded(partition, epoch, seq, why));
            }
            Err(error) => return Err(AppendError::NotWritten(LogError::Rows(Box::new(error)))),
        };
        let columns = Columns::new(partition, seq, &rows);
        let (our_epoch, bytes, end) = (signed(epoch), bytes.to_vec(), self.end(partition));
        let appended = self.run(async move |s| {
            let mut values = columns.values().to_vec();
            values.extend([&our_epoch as &(dyn ToSql + Sync), &bytes, &end]);
            s.client.execute(&s.append_with_rows, &values).await
        });
        match appended {
            Ok(0) => Err(self.refused(partition, epoch)),
            Ok(_) => {
                self.ends.insert(partition, seq);
                let to = rows.to;
                mirror.follow(rows);
                self.mirrors.insert(partition, (to, mirror));
                Ok(())
            }
            Err(error) if is_place_taken(&error) => Err(AppendError::Conflict { partition, seq }),
            Err(error) if is_undone(&error) => match rows::judge(error, partition, seq) {
                RowsError::Guard { why, .. } => Err(self.guarded(partition, epoch, seq, why)),
                error => Err(AppendError::NotWritten(LogError::Rows(Box::new(error)))),
            },
            Err(error) => Err(AppendError::Unknown(error.into())),
        }
    }

    fn end(&self, partition: PartitionId) -> i64 {
        self.ends.get(&partition).map_or(NO_RECORD, |seq| signed(*seq))
    }

    /// Why an append wrote nothing: the partition has another owner, or its log went back. In both
    /// cases what is known here is not what is true, and is to be read again.
    fn refused(&mut self, partition: PartitionId, epoch: u64) -> AppendError {
        let end = self.ends.remove(&partition);
        if let (Ok(Some(holder)), Some(end)) = (self.holder(partition), end)
            && holder.epoch == epoch
        {
            tracing::error!(
                partition,
                end,
                "record {end} of partition {partition} is gone, which was there: has a replica \
                 taken over that had not everything? What is there is read again"
            );
        }
        AppendError::Fenced { partition, epoch }
    }

    /// What a record changes in the tables, and what they have now. The mirror is taken out: only
    /// a record that was written puts it back.
    fn project(
        &mut self,
        partition: PartitionId,
        seq: u64,
        bytes: &[u8],
    ) -> Result<(Mirror, Rows), RowsError> {
        let tables = PostgresRows::new(Arc::clone(&self.database));
        let (mut at, mut mirror) = match self.mirrors.remove(&partition) {
            Some(known) => known,
            None => tables.load(partition)?,
        };
        while at < seq {
            let stored = self.read(partition, at, CATCH_UP_MAX)?;
            let before = stored.iter().take_while(|stored| stored.seq < seq);
            let records = before.map(|stored| record::peek(stored.seq, &stored.bytes));
            let records: Vec<_> = records.collect::<Result<_, _>>()?;
            if records.is_empty() {
                return Err(RowsError::Moved { partition, seq });
            }
            let rows = rows::project(partition, &mirror, &records)?;
            tables.write(partition, at, &rows)?;
            at = rows.to;
            mirror.follow(rows);
        }
        if at > seq {
            return Err(RowsError::Moved { partition, seq });
        }
        let rows = rows::project(partition, &mirror, &[record::peek(seq, bytes)?])?;
        Ok((mirror, rows))
    }

    /// The third guard has spoken: nobody writes here until a person has looked. Unless somebody
    /// else owns the partition by now, for then our view is merely old.
    fn guarded(
        &mut self,
        partition: PartitionId,
        epoch: u64,
        seq: u64,
        why: String,
    ) -> AppendError {
        match self.holder(partition) {
            Ok(Some(holder)) if holder.epoch == epoch => {}
            Ok(_) => return AppendError::Fenced { partition, epoch },
            Err(error) => return AppendError::NotWritten(error),
        }
        tracing::error!(
            partition,
            seq,
            why,
            "the tables do not fit record {seq} of partition {partition}: nothing more is sold \
             there until somebody has looked, see origin/TABLES.md"
        );
        if let Err(error) = self.halt(partition, &format!("halted: {why}")) {
            return AppendError::NotWritten(error);
        }
        AppendError::Guard { partition, seq, why }
    }

    pub(super) fn read(
        &mut self,
        partition: PartitionId,
        from: u64,
        limit: u32,
    ) -> Result<Vec<Stored>, LogError> {
        let (id, from, limit) = (narrow(partition), signed(from), i64::from(limit));
        let sql = "SELECT seq, bytes FROM log WHERE partition = $1 AND seq >= $2
                   ORDER BY seq LIMIT $3";
        let rows = self.run(async move |s| s.client.query(sql, &[&id, &from, &limit]).await)?;
        let read: Vec<_> = rows.iter().map(stored).collect();
        if let Some(last) = read.last() {
            let end = self.ends.entry(partition).or_default();
            *end = last.seq.max(*end);
        }
        Ok(read)
    }

    pub(super) fn cut(&mut self, partition: PartitionId, seq: u64) -> Result<(), LogError> {
        self.ends.remove(&partition);
        let (partition, seq) = (narrow(partition), signed(seq));
        let sql = "WITH gone AS (
                       DELETE FROM log WHERE partition = $1 AND seq = $2
                       RETURNING partition, seq, bytes)
                   INSERT INTO cut (partition, seq, bytes) SELECT * FROM gone";
        self.run(async move |s| s.client.execute(sql, &[&partition, &seq]).await)?;
        Ok(())
    }

    pub(super) fn put_snapshot(
        &mut self,
        partition: PartitionId,
        epoch: u64,
        seq: u64,
        bytes: &[u8],
    ) -> Result<(), AppendError> {
        if let Err(error) = self.session() {
            return Err(AppendError::NotWritten(error.into()));
        }
        let (id, our_epoch, at) = (narrow(partition), signed(epoch), signed(seq));
        let bytes = bytes.to_vec();
        let sql = "WITH mine AS (
                       SELECT 1 FROM owner WHERE partition = $1 AND epoch = $2 FOR SHARE),
                   kept AS (
                       INSERT INTO snapshot (partition, seq, bytes) SELECT $1, $3, $4 FROM mine
                       ON CONFLICT (partition) DO UPDATE
                       SET seq = excluded.seq, bytes = excluded.bytes
                       WHERE excluded.seq >= snapshot.seq RETURNING 1)
                   SELECT EXISTS (SELECT 1 FROM mine), EXISTS (SELECT 1 FROM kept)";
        let put =
            self.run(async move |s| s.client.query(sql, &[&id, &our_epoch, &at, &bytes]).await);
        let rows = put.map_err(|error| judge(error, partition, seq))?;
        match rows.first().map(|row| (row.get(0), row.get(1))) {
            Some((true, true)) => Ok(()),
            Some((true, false)) => Err(AppendError::Conflict { partition, seq }),
            _ => Err(AppendError::Fenced { partition, epoch }),
        }
    }

    pub(super) fn get_snapshot(
        &mut self,
        partition: PartitionId,
    ) -> Result<Option<Stored>, LogError> {
        let partition = narrow(partition);
        let sql = "SELECT seq, bytes FROM snapshot WHERE partition = $1";
        let rows = self.run(async move |s| s.client.query(sql, &[&partition]).await)?;
        Ok(rows.first().map(stored))
    }
}

/// The append and `project_rows` in one statement: `$1` is the partition, `$2` the sequence number
/// of the record, `$29` the epoch, `$30` the bytes, `$31` the last record that we know of.
fn append_with_rows() -> String {
    format!(
        "WITH mine AS (SELECT 1 FROM owner WHERE partition = $1 AND epoch = $29 FOR SHARE),
         whole AS (SELECT 1 WHERE $31::bigint < 0 OR EXISTS (
             SELECT 1 FROM log WHERE partition = $1 AND seq = $31)),
         written AS (
             INSERT INTO log (partition, epoch, seq, bytes)
             SELECT $1, $29, $2, $30 FROM mine, whole RETURNING 1)
         SELECT project_rows({}) FROM written",
        Columns::placeholders()
    )
}

fn is_place_taken(error: &PostgresError) -> bool {
    error.constraint() == Some("log_pkey")
}

/// What an error tells about a statement that was sent.
fn judge(error: PostgresError, partition: PartitionId, seq: u64) -> AppendError {
    match error.code() {
        Some(code) if *code == SqlState::UNIQUE_VIOLATION => {
            AppendError::Conflict { partition, seq }
        }
        _ if is_undone(&error) => AppendError::NotWritten(error.into()),
        _ => AppendError::Unknown(error.into()),
    }
}

/// An error that the server reports has undone the statement, unless it is the end of the server
/// or of the connection.
fn is_undone(error: &PostgresError) -> bool {
    error.code().is_some_and(|code| {
        let is_end = code.code().starts_with("57P") || code.code().starts_with("08");
        !is_end && *code != SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN
    })
}

fn lease(rows: &[Row]) -> Option<Lease> {
    rows.first().map(|row| Lease { epoch: unsigned(row.get(0)) })
}

fn stored(row: &Row) -> Stored {
    Stored { seq: unsigned(row.get(0)), bytes: row.get(1) }
}

/// PostgreSQL has no unsigned integers. Ours do not come near the end of the signed ones.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn narrow(partition: PartitionId) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use servers::Postgres;

    use super::super::suite::options;
    use super::*;

    /// Appends until the server is gone: how many were confirmed, and what the next one heard.
    fn append_until_it_fails(log: &mut PostgresLog, epoch: u64, from: u64) -> (u64, AppendError) {
        for seq in from.. {
            if let Err(error) = log.append(0, epoch, seq, b"record") {
                return (seq, error);
            }
        }
        unreachable!("there are not that many numbers")
    }

    #[test]
    fn what_was_confirmed_survives_a_crash_and_the_rest_is_found_by_reading() {
        let mut server = Postgres::start();
        let database = Database::open(&options(&server.database())).unwrap();
        let mut log = PostgresLog::open(database, 1, RowsMode::Fast).unwrap();
        let Lease { mut epoch } = log.acquire(0, "a").unwrap();
        let mut next = 0;
        for _ in 0..3 {
            let writer = std::thread::spawn(move || {
                let ended = append_until_it_fails(&mut log, epoch, next);
                (log, ended)
            });
            let size = "SELECT count(*) FROM log";
            let url = format!("postgres://postgres@127.0.0.1:{}/test_0", server.port());
            while server.sql(&url, size).parse::<u64>().unwrap() < next + 20 {}
            server.stop_immediate();
            let (came_back, (failed_at, error)) = writer.join().unwrap();
            log = came_back;
            assert!(
                matches!(error, AppendError::Unknown(_) | AppendError::NotWritten(_)),
                "{error}"
            );
            let error = log.append(0, epoch, failed_at, b"record").unwrap_err();
            assert!(matches!(error, AppendError::NotWritten(_)), "nobody is there: {error}");
            server.restart();
            epoch = log.renew(0, "a").unwrap().unwrap().epoch;
            let stored = log.read(0, 0, u32::MAX).unwrap();
            let seqs: Vec<u64> = stored.iter().map(|stored| stored.seq).collect();
            next = seqs.len() as u64;
            assert!(seqs.into_iter().eq(0..next), "without a gap");
            assert!(next == failed_at || next == failed_at + 1, "{next} of {failed_at}");
        }
    }

    #[test]
    fn a_writer_whose_connection_was_cut_goes_on() {
        let server = Postgres::shared();
        let url = server.database();
        let database = Database::open(&options(&url)).unwrap();
        let mut log = PostgresLog::open(database, 1, RowsMode::Fast).unwrap();
        let Lease { epoch } = log.acquire(0, "a").unwrap();
        log.append(0, epoch, 0, b"before").unwrap();
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        server.sql(&url, sql);
        // The first may still meet the broken connection; then only reading tells.
        if let Err(error) = log.append(0, epoch, 1, b"after") {
            assert!(matches!(error, AppendError::Unknown(_)), "{error}");
            let is_missing = log.read(0, 1, 1).unwrap().is_empty();
            assert!(is_missing, "it was cut before anything was sent");
            log.append(0, epoch, 1, b"after").unwrap();
        }
        assert_eq!(log.read(0, 0, 9).unwrap().len(), 2);
    }

    #[test]
    fn a_password_is_never_told() {
        let url = "postgres://ann:sesame-open@127.0.0.1:1/shop";
        let mut options = options(url);
        let refused = Database::open(&options).unwrap_err();
        let said = format!("{refused} {refused:?} {options:?}");
        assert!(said.contains("127.0.0.1:1/shop") && !said.contains("sesame"), "{said}");
        options.url = "postgres://ann:sesame-open@host:port/".to_owned().try_into().unwrap();
        let refused = Database::open(&options).unwrap_err();
        let said = format!("{refused} {refused:?}");
        assert!(!said.contains("sesame"), "{said}");
    }
}
