//! The tables in an SQLite file beside the log's. A file of its own, so that whoever asks long
//! questions keeps nobody from writing; it can be deleted and is made again from the log.

use std::path::Path;
use std::time::Duration;

use keys::{EventId, Id128};
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::{Mirror, Rows, RowsError, SeatRow, SeatStatus, TicketState};
use crate::log::PartitionId;
use crate::store::StoreError;

/// How long another transaction is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS seats (
        event TEXT NOT NULL, seat INTEGER NOT NULL, partition INTEGER NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('free', 'held', 'paying', 'sold', 'blocked')),
        version INTEGER NOT NULL, hold TEXT, order_id TEXT, price INTEGER,
        PRIMARY KEY (event, seat)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS orders (
        order_id TEXT PRIMARY KEY, event TEXT NOT NULL, partition INTEGER NOT NULL,
        hold TEXT NOT NULL, state TEXT NOT NULL, quantity INTEGER NOT NULL,
        total INTEGER NOT NULL, name TEXT NOT NULL, email TEXT, at TEXT NOT NULL,
        seq INTEGER NOT NULL) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS orders_by_event ON orders (event, state);
    CREATE TABLE IF NOT EXISTS tickets (
        ticket TEXT PRIMARY KEY, event TEXT NOT NULL, seat INTEGER NOT NULL,
        partition INTEGER NOT NULL, order_id TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('pending', 'live', 'void'))) WITHOUT ROWID;
    CREATE UNIQUE INDEX IF NOT EXISTS tickets_live ON tickets (event, seat) WHERE state = 'live';
    CREATE INDEX IF NOT EXISTS tickets_by_order ON tickets (order_id);
    CREATE TABLE IF NOT EXISTS rows_cursor (partition INTEGER PRIMARY KEY, seq INTEGER NOT NULL);";

/// The file.
#[derive(Debug)]
pub struct SqliteRows {
    connection: Connection,
    path: String,
}

impl SqliteRows {
    /// Opens the file, and makes it if it is new.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let shown = path.display().to_string();
        let failed = |source| StoreError::Sqlite { path: shown.clone(), source };
        let connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        // A power cut may take the last transactions; the log has them.
        connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
        connection.execute_batch(SCHEMA).map_err(failed)?;
        Ok(Self { connection, path: shown })
    }

    pub(super) fn load(&mut self, partition: PartitionId) -> Result<(u64, Mirror), RowsError> {
        let path = self.path.clone();
        let loaded = self.connection.transaction().and_then(|moment| load(&moment, partition));
        loaded.map_err(|source| StoreError::Sqlite { path, source }.into())
    }

    pub(super) fn write(
        &mut self,
        partition: PartitionId,
        from: u64,
        rows: &Rows,
    ) -> Result<(), RowsError> {
        let path = self.path.clone();
        let behavior = TransactionBehavior::Immediate;
        let written = self.connection.transaction_with_behavior(behavior).and_then(|transaction| {
            let judged = write(&transaction, partition, from, rows)?;
            if judged == Judged::Fits {
                transaction.commit()?;
            }
            Ok(judged)
        });
        match written {
            Ok(Judged::Fits) => Ok(()),
            Ok(Judged::Moved) => Err(RowsError::Moved { partition, seq: from }),
            Ok(Judged::Misfit(why)) => Err(RowsError::Guard { partition, seq: from, why }),
            Err(error) if is_unique(&error) => {
                Err(RowsError::Guard { partition, seq: from, why: error.to_string() })
            }
            Err(source) => Err(StoreError::Sqlite { path, source }.into()),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Judged {
    Fits,
    Moved,
    Misfit(String),
}

fn is_unique(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    code.is_some_and(|code| {
        code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE
            || code == rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY
    })
}

fn load(
    moment: &Transaction<'_>,
    partition: PartitionId,
) -> Result<(u64, Mirror), rusqlite::Error> {
    let sql = "SELECT seq FROM rows_cursor WHERE partition = ?1";
    let cursor = moment.query_row(sql, [partition], |row| row.get(0)).optional()?;
    let mut mirror = Mirror::default();
    let sql = "SELECT event, seat, status, version, hold, order_id, price FROM seats
               WHERE partition = ?1 ORDER BY event, seat";
    let mut select = moment.prepare(sql)?;
    let mut rows = select.query([partition])?;
    while let Some(row) = rows.next()? {
        let id = |column| {
            let text: Option<String> = row.get(column)?;
            Ok::<_, rusqlite::Error>(text.and_then(|id| id.parse().ok()))
        };
        let seat = SeatRow {
            status: SeatStatus::parse(&row.get::<_, String>(2)?),
            version: row.get(3)?,
            hold: id(4)?,
            order: id(5)?,
            price: row.get(6)?,
        };
        if let Ok(event) = row.get::<_, String>(0)?.parse::<EventId>() {
            mirror.load_seat(event, row.get(1)?, seat);
        }
    }
    let sql = "SELECT ticket, seat, order_id, state = 'live' FROM tickets
               WHERE partition = ?1 AND state <> 'void' ORDER BY order_id, seat";
    let mut select = moment.prepare(sql)?;
    let mut rows = select.query([partition])?;
    while let Some(row) = rows.next()? {
        let (ticket, order) = (row.get::<_, String>(0)?, row.get::<_, String>(2)?);
        if let (Ok(ticket), Ok(order)) = (ticket.parse::<Id128>(), order.parse::<Id128>()) {
            mirror.load_ticket(ticket, row.get(1)?, order, row.get(3)?);
        }
    }
    Ok((cursor.unwrap_or(0), mirror))
}

fn write(
    transaction: &Transaction<'_>,
    partition: PartitionId,
    from: u64,
    rows: &Rows,
) -> Result<Judged, rusqlite::Error> {
    let sql = "INSERT INTO rows_cursor VALUES (?1, 0) ON CONFLICT DO NOTHING";
    transaction.prepare_cached(sql)?.execute([partition])?;
    let sql = "UPDATE rows_cursor SET seq = ?3 WHERE partition = ?1 AND seq = ?2";
    if transaction.prepare_cached(sql)?.execute(params![partition, from, rows.to])? == 0 {
        return Ok(Judged::Moved);
    }
    for (event, seat, moved) in rows.seats() {
        let (hold, order) = (moved.is.hold.map(String::from), moved.is.order.map(String::from));
        let (status, version) = (moved.is.status.label(), moved.is.version);
        let changed = if moved.was.version == 0 {
            let sql = "INSERT INTO seats VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                       ON CONFLICT DO NOTHING";
            transaction.prepare_cached(sql)?.execute(params![
                event.as_str(),
                seat,
                partition,
                status,
                version,
                hold,
                order,
                moved.is.price
            ])?
        } else {
            let sql = "UPDATE seats SET status = ?3, version = ?4, hold = ?5, order_id = ?6,
                           price = ?7
                       WHERE event = ?1 AND seat = ?2 AND status = ?8 AND version = ?9";
            transaction.prepare_cached(sql)?.execute(params![
                event.as_str(),
                seat,
                status,
                version,
                hold,
                order,
                moved.is.price,
                moved.was.status.label(),
                moved.was.version
            ])?
        };
        if changed == 0 {
            return Ok(Judged::Misfit(format!("seat {seat} of {event} is not what the log says")));
        }
    }
    // What ends comes before what begins: a seat has one live ticket at every moment.
    // What dies makes room for what comes to life on the same seat.
    let mut known: Vec<_> = rows.tickets.iter().filter(|(_, row)| row.was.is_some()).collect();
    known.sort_by_key(|(_, row)| row.is != TicketState::Void);
    for (ticket, row) in known {
        let sql = "UPDATE tickets SET state = ?2 WHERE ticket = ?1 AND state = ?3";
        let was = row.was.map_or("", TicketState::label);
        let values = params![ticket.to_string(), row.is.label(), was];
        if transaction.prepare_cached(sql)?.execute(values)? == 0 {
            return Ok(Judged::Misfit(format!("ticket {ticket} is not what the log says")));
        }
    }
    for (ticket, row) in rows.tickets.iter().filter(|(_, row)| row.was.is_none()) {
        let sql = "INSERT INTO tickets VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let (ticket, order) = (ticket.to_string(), row.order.to_string());
        let (event, state) = (row.event.as_str(), row.is.label());
        let values = params![ticket, event, row.seat, partition, order, state];
        transaction.prepare_cached(sql)?.execute(values)?;
    }
    for (order, row) in &rows.orders {
        let (id, at) = (order.to_string(), row.at.as_millis());
        let changed = if let Some(new) = &row.new {
            let sql = "INSERT INTO orders VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,
                           strftime('%Y-%m-%dT%H:%M:%fZ', ?10 / 1000.0, 'unixepoch'), ?11)
                       ON CONFLICT DO NOTHING";
            transaction.prepare_cached(sql)?.execute(params![
                id,
                row.event.as_str(),
                partition,
                new.hold.to_string(),
                row.state,
                new.quantity,
                new.total,
                new.name,
                new.email,
                at,
                row.seq
            ])?
        } else {
            let sql = "UPDATE orders SET state = ?2, seq = ?4,
                           at = strftime('%Y-%m-%dT%H:%M:%fZ', ?3 / 1000.0, 'unixepoch')
                       WHERE order_id = ?1";
            transaction.prepare_cached(sql)?.execute(params![id, row.state, at, row.seq])?
        };
        if changed == 0 {
            return Ok(Judged::Misfit(format!("order {order} is not what the log says")));
        }
    }
    Ok(Judged::Fits)
}
