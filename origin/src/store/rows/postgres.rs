//! The tables in PostgreSQL: what a batch changes, as arrays for one statement.

use std::sync::Arc;

use keys::Id128;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::{Mirror, NewOrder, Rows, RowsError, SeatRow, SeatStatus, TicketState};
use crate::log::PartitionId;
use crate::sale::Seat;
use crate::store::{Database, PostgresError, StoreError};

/// A row is not what the log says.
const GUARD: &str = "WR001";
/// The rows are elsewhere in the log.
const MOVED: &str = "WR002";

/// The tables in the database of the log.
#[derive(Debug, Clone)]
pub struct PostgresRows {
    database: Arc<Database>,
}

/// The arguments of `project_rows`, column by column.
#[derive(Debug, Default)]
pub struct Columns {
    partition: i32,
    from: i64,
    to: i64,
    seat_event: Vec<String>,
    seat: Vec<i64>,
    seat_was: Vec<&'static str>,
    seat_version: Vec<i64>,
    seat_status: Vec<&'static str>,
    seat_next: Vec<i64>,
    seat_hold: Vec<Option<String>>,
    seat_order: Vec<Option<String>>,
    seat_price: Vec<Option<i64>>,
    ticket: Vec<String>,
    ticket_event: Vec<String>,
    ticket_seat: Vec<i64>,
    ticket_order: Vec<String>,
    ticket_was: Vec<&'static str>,
    ticket_state: Vec<&'static str>,
    order: Vec<String>,
    order_event: Vec<String>,
    order_hold: Vec<Option<String>>,
    order_state: Vec<&'static str>,
    order_quantity: Vec<Option<i32>>,
    order_total: Vec<Option<i64>>,
    order_name: Vec<Option<String>>,
    order_email: Vec<Option<String>>,
    order_at: Vec<f64>,
    order_seq: Vec<i64>,
}

impl Columns {
    /// Of what changes from `from` on in the log.
    #[must_use]
    pub fn new(partition: PartitionId, from: u64, rows: &Rows) -> Self {
        let partition = i32::try_from(partition).unwrap_or(i32::MAX);
        let mut columns =
            Self { partition, from: signed(from), to: signed(rows.to), ..Self::default() };
        for (event, seat, moved) in rows.seats() {
            columns.seat_event.push(event.to_string());
            columns.seat.push(i64::from(seat));
            columns.seat_was.push(moved.was.status.label());
            columns.seat_version.push(signed(moved.was.version));
            columns.seat_status.push(moved.is.status.label());
            columns.seat_next.push(signed(moved.is.version));
            columns.seat_hold.push(moved.is.hold.map(String::from));
            columns.seat_order.push(moved.is.order.map(String::from));
            columns.seat_price.push(moved.is.price.map(signed));
        }
        for (ticket, row) in &rows.tickets {
            columns.ticket.push(ticket.to_string());
            columns.ticket_event.push(row.event.to_string());
            columns.ticket_seat.push(i64::from(row.seat));
            columns.ticket_order.push(row.order.to_string());
            columns.ticket_was.push(row.was.map_or("", TicketState::label));
            columns.ticket_state.push(row.is.label());
        }
        for (order, row) in &rows.orders {
            let new = row.new.as_ref();
            columns.order.push(order.to_string());
            columns.order_event.push(row.event.to_string());
            columns.order_hold.push(new.map(|new| new.hold.to_string()));
            columns.order_state.push(row.state);
            let quantity = |new: &NewOrder| i32::try_from(new.quantity).unwrap_or(i32::MAX);
            columns.order_quantity.push(new.map(quantity));
            columns.order_total.push(new.map(|new| signed(new.total)));
            columns.order_name.push(new.map(|new| new.name.clone()));
            columns.order_email.push(new.and_then(|new| new.email.clone()));
            columns.order_at.push(row.at.as_millis() as f64 / 1000.0);
            columns.order_seq.push(signed(row.seq));
        }
        columns
    }

    /// In the order of the function's arguments.
    #[must_use]
    pub fn values(&self) -> [&(dyn ToSql + Sync); 28] {
        [
            &self.partition,
            &self.from,
            &self.to,
            &self.seat_event,
            &self.seat,
            &self.seat_was,
            &self.seat_version,
            &self.seat_status,
            &self.seat_next,
            &self.seat_hold,
            &self.seat_order,
            &self.seat_price,
            &self.ticket,
            &self.ticket_event,
            &self.ticket_seat,
            &self.ticket_order,
            &self.ticket_was,
            &self.ticket_state,
            &self.order,
            &self.order_event,
            &self.order_hold,
            &self.order_state,
            &self.order_quantity,
            &self.order_total,
            &self.order_name,
            &self.order_email,
            &self.order_at,
            &self.order_seq,
        ]
    }

    /// `$1` to `$28`, as the function is called.
    #[must_use]
    pub fn placeholders() -> String {
        let all: Vec<String> = (1..=28).map(|n| format!("${n}")).collect();
        all.join(", ")
    }
}

impl PostgresRows {
    /// The tables of a database.
    #[must_use]
    pub fn new(database: Arc<Database>) -> Self {
        Self { database }
    }

    /// What is in the tables of a partition, and up to where in its log.
    ///
    /// # Errors
    /// If the tables cannot be reached.
    pub fn load(&self, partition: PartitionId) -> Result<(u64, Mirror), RowsError> {
        let database = Arc::clone(&self.database);
        let loaded = self.database.wait(async move { load(&database, partition).await });
        Ok(loaded.map_err(StoreError::from)?)
    }

    /// Brings the tables up to where `rows` goes, or changes nothing.
    ///
    /// # Errors
    /// See [`RowsError`].
    pub fn write(&self, partition: PartitionId, from: u64, rows: &Rows) -> Result<(), RowsError> {
        let (database, columns) = (Arc::clone(&self.database), Columns::new(partition, from, rows));
        let written = self.database.wait(async move {
            let sql = format!("SELECT project_rows({})", Columns::placeholders());
            database.execute(&sql, &columns.values()).await
        });
        written.map(|_| ()).map_err(|error| judge(error, partition, from))
    }
}

/// What an error of `project_rows` says.
#[must_use]
pub fn judge(error: PostgresError, partition: PartitionId, seq: u64) -> RowsError {
    match error.code() {
        Some(code) if code.code() == MOVED => RowsError::Moved { partition, seq },
        Some(code) if code.code() == GUARD || *code == SqlState::UNIQUE_VIOLATION => {
            let said = std::error::Error::source(&error).map(ToString::to_string);
            RowsError::Guard { partition, seq, why: said.unwrap_or_default() }
        }
        _ => RowsError::Store(error.into()),
    }
}

async fn load(database: &Database, partition: PartitionId) -> Result<(u64, Mirror), PostgresError> {
    let mut client = database.connect().await?;
    let partition = i32::try_from(partition).unwrap_or(i32::MAX);
    let read = async {
        // One moment for all three tables.
        let builder = client.build_transaction();
        let isolation = tokio_postgres::IsolationLevel::RepeatableRead;
        let transaction = builder.isolation_level(isolation).read_only(true).start().await?;
        let sql = "SELECT seq FROM rows_cursor WHERE partition = $1";
        let cursor = transaction.query(sql, &[&partition]).await?;
        let sql = "SELECT event, seat, status, version, hold, order_id, price FROM seats
                   WHERE partition = $1 ORDER BY event, seat";
        let seats = transaction.query(sql, &[&partition]).await?;
        let sql = "SELECT ticket, seat, order_id, state = 'live' FROM tickets
                   WHERE partition = $1 AND state <> 'void' ORDER BY order_id, seat";
        let tickets = transaction.query(sql, &[&partition]).await?;
        Ok((cursor, seats, tickets))
    };
    let (cursor, seats, tickets) = database.within(read).await?;
    let mut mirror = Mirror::default();
    for row in &seats {
        let event = row.get::<_, &str>(0).parse();
        let (Ok(event), Ok(seat)) = (event, Seat::try_from(row.get::<_, i64>(1))) else {
            continue;
        };
        let id = |column: usize| row.get::<_, Option<&str>>(column).and_then(|id| id.parse().ok());
        let price = row.get::<_, Option<i64>>(6).and_then(|price| u64::try_from(price).ok());
        mirror.load_seat(
            event,
            seat,
            SeatRow {
                status: SeatStatus::parse(row.get(2)),
                version: u64::try_from(row.get::<_, i64>(3)).unwrap_or(0),
                hold: id(4),
                order: id(5),
                price,
            },
        );
    }
    for row in &tickets {
        let ids = (row.get::<_, &str>(0).parse::<Id128>(), row.get::<_, &str>(2).parse::<Id128>());
        if let ((Ok(ticket), Ok(order)), Ok(seat)) = (ids, Seat::try_from(row.get::<_, i64>(1))) {
            mirror.load_ticket(ticket, seat, order, row.get(3));
        }
    }
    let cursor = cursor.first().map_or(0, |row| row.get::<_, i64>(0));
    Ok((u64::try_from(cursor).unwrap_or(0), mirror))
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
