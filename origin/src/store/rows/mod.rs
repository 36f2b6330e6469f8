//! What a record of the log does to the tables that organisers ask, and does it fit them?
//!
//! The third guard against a double sale. It knows nothing of the writer's state: it reads the
//! very bytes that go into the log, follows seats, tickets and orders by itself, and every row is
//! changed only if it still has the status and the version that this reading expects. A seat that
//! would get a second owner stops here even if the writer and its epoch had failed.
//!
//! A seat that was never touched has no row.

mod follow;
mod postgres;
mod sqlite;

pub use follow::{Follower, FollowerSetup};
pub use postgres::{Columns, PostgresRows, judge};
pub use sqlite::SqliteRows;

use std::collections::{BTreeMap, HashMap};

use keys::{EventId, Id128, Timestamp};

use super::StoreError;
use crate::log::{LogError, PartitionId};
use crate::record::{Entry, Record, RecordError};
use crate::sale::{AfterChange, Change, PaymentBegun, Seat};

/// What a seat is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SeatStatus {
    /// For whoever takes it.
    #[default]
    Free,
    /// In a hold.
    Held,
    /// In an order that is being paid.
    Paying,
    /// In an order that was paid.
    Sold,
    /// Kept out of sale.
    Blocked,
    /// Something that we never write: nothing fits it.
    Other,
}

impl SeatStatus {
    /// As it is in the table.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Held => "held",
            Self::Paying => "paying",
            Self::Sold => "sold",
            Self::Blocked => "blocked",
            Self::Other => "other",
        }
    }

    fn parse(label: &str) -> Self {
        let all = [Self::Free, Self::Held, Self::Paying, Self::Sold, Self::Blocked];
        all.into_iter().find(|status| status.label() == label).unwrap_or(Self::Other)
    }
}

/// What a ticket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TicketState {
    /// Its order is being paid.
    Pending,
    /// It lets its owner in.
    Live,
    /// It never will, or no longer.
    Void,
}

impl TicketState {
    /// As it is in the table.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Live => "live",
            Self::Void => "void",
        }
    }
}

/// A row of `seats`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SeatRow {
    /// What it is.
    pub status: SeatStatus,
    /// Grows by one with each change; 0 says that there is no row yet.
    pub version: u64,
    /// In which hold.
    pub hold: Option<Id128>,
    /// In which order.
    pub order: Option<Id128>,
    /// What its hold promised, in minor units.
    pub price: Option<u64>,
}

/// What changes in a row of `tickets`, or all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketRow {
    /// For which event.
    pub event: EventId,
    /// For which seat.
    pub seat: Seat,
    /// Of which order.
    pub order: Id128,
    /// What the table must have; `None` if it must not be there.
    pub was: Option<TicketState>,
    /// What it will be.
    pub is: TicketState,
}

/// What changes in a row of `orders`, or all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRow {
    /// For which event.
    pub event: EventId,
    /// What never changes, if there is no row yet.
    pub new: Option<NewOrder>,
    /// `paying`, `unknown`, `declined`, `sold` or `refunded`.
    pub state: &'static str,
    /// When it came there.
    pub at: Timestamp,
    /// The log sequence after that.
    pub seq: u64,
}

/// What never changes in an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrder {
    /// From which hold.
    pub hold: Id128,
    /// How many seats.
    pub quantity: usize,
    /// In minor units.
    pub total: u64,
    /// The buyer's name.
    pub name: String,
    /// Where the tickets are sent.
    pub email: Option<String>,
}

/// A seat before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// What the table must have.
    pub was: SeatRow,
    /// What it will have.
    pub is: SeatRow,
}

/// Why a record does not fit the rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("change {seq} of {event} ({change}) does not fit the rows: {why}")]
pub struct RowMisfit {
    /// Which event.
    pub event: EventId,
    /// Where in the log.
    pub seq: u64,
    /// What was to be changed.
    pub change: &'static str,
    /// What does not fit.
    pub why: String,
}

/// Why the tables were not changed.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The third guard: a row is not what the log says. Nothing was written.
    #[error("the rows of partition {partition} do not fit its log at {seq}: {why}")]
    Guard {
        /// Which partition.
        partition: PartitionId,
        /// Where in the log.
        seq: u64,
        /// What does not fit.
        why: String,
    },
    /// The rows are elsewhere in the log by now: somebody else brings them up to date.
    #[error("the rows of partition {partition} are not at {seq}")]
    Moved {
        /// Which partition.
        partition: PartitionId,
        /// Where they were expected.
        seq: u64,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A record cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The tables cannot be reached.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What some records that follow the rows of a partition change in them.
///
/// # Errors
/// [`RowsError::Guard`] if they do not fit.
pub fn project(
    partition: PartitionId,
    mirror: &Mirror,
    records: &[Record],
) -> Result<Rows, RowsError> {
    let guarded = |misfit: RowMisfit| RowsError::Guard {
        partition,
        seq: misfit.seq,
        why: misfit.to_string(),
    };
    mirror.project(records).map_err(guarded)
}

/// Where the tables are.
#[derive(Debug)]
pub enum RowStore {
    /// A file beside the log's.
    Sqlite(SqliteRows),
    /// In the database of the log.
    Postgres(PostgresRows),
}

impl RowStore {
    /// What is in the tables of a partition, and up to where in its log.
    ///
    /// # Errors
    /// If the tables cannot be reached.
    pub fn load(&mut self, partition: PartitionId) -> Result<(u64, Mirror), RowsError> {
        match self {
            Self::Sqlite(rows) => rows.load(partition),
            Self::Postgres(rows) => rows.load(partition),
        }
    }

    /// Brings the tables from `from` on in the log to where `rows` goes, or changes nothing.
    ///
    /// # Errors
    /// See [`RowsError`].
    pub fn write(
        &mut self,
        partition: PartitionId,
        from: u64,
        rows: &Rows,
    ) -> Result<(), RowsError> {
        match self {
            Self::Sqlite(store) => store.write(partition, from, rows),
            Self::Postgres(store) => store.write(partition, from, rows),
        }
    }
}

/// The rows of a partition, as far as what comes next depends on them.
#[derive(Debug, Clone, Default)]
pub struct Mirror {
    seats: HashMap<EventId, HashMap<Seat, SeatRow>>,
    holds: HashMap<Id128, Vec<Seat>>,
    /// Tickets of orders that are being paid.
    pending: HashMap<Id128, Vec<(Id128, Seat)>>,
    /// Tickets of orders that were paid, as long as they let somebody in.
    live: HashMap<Id128, Vec<(Id128, Seat)>>,
}

/// What one or more records change in the tables; each row once, however often it was changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    /// Sequence number after the last change.
    pub to: u64,
    /// By event and seat.
    pub seats: BTreeMap<EventId, BTreeMap<Seat, Moved>>,
    /// By ticket.
    pub tickets: BTreeMap<Id128, TicketRow>,
    /// By order.
    pub orders: BTreeMap<Id128, OrderRow>,
    holds: HashMap<Id128, Option<Vec<Seat>>>,
    pending: HashMap<Id128, Option<Vec<(Id128, Seat)>>>,
    live: HashMap<Id128, Option<Vec<(Id128, Seat)>>>,
}

impl Rows {
    /// The seats that move, and of which event each is.
    pub fn seats(&self) -> impl Iterator<Item = (&EventId, Seat, &Moved)> {
        self.seats
            .iter()
            .flat_map(|(event, moved)| moved.iter().map(move |(seat, moved)| (event, *seat, moved)))
    }
}

impl Mirror {
    /// Takes in a seat as the table has it.
    pub fn load_seat(&mut self, event: EventId, seat: Seat, row: SeatRow) {
        if let (Some(hold), SeatStatus::Held | SeatStatus::Paying) = (row.hold, row.status) {
            self.holds.entry(hold).or_default().push(seat);
        }
        self.seats.entry(event).or_default().insert(seat, row);
    }

    /// Takes in a ticket that is not void as the table has it.
    pub fn load_ticket(&mut self, ticket: Id128, seat: Seat, order: Id128, is_live: bool) {
        let tickets = if is_live { &mut self.live } else { &mut self.pending };
        tickets.entry(order).or_default().push((ticket, seat));
    }

    /// What some records that follow the rows change. Nothing is changed yet.
    ///
    /// # Errors
    /// If a change does not fit the rows: a seat that is not free would be held, say.
    pub fn project(&self, records: &[Record]) -> Result<Rows, RowMisfit> {
        let mut draft = Draft { mirror: self, rows: Rows::default() };
        for record in records {
            let mut seq = record.seq;
            for Entry { event, change } in &record.entries {
                seq += 1;
                draft.apply(event, change, record.at, seq).map_err(|why| RowMisfit {
                    event: event.clone(),
                    seq: seq - 1,
                    change: label(change),
                    why,
                })?;
            }
            draft.rows.to = seq;
        }
        Ok(draft.rows)
    }

    /// Follows what was written to the tables.
    pub fn follow(&mut self, rows: Rows) {
        for (event, moved) in rows.seats {
            let moved = moved.into_iter().map(|(seat, moved)| (seat, moved.is));
            self.seats.entry(event).or_default().extend(moved);
        }
        keep(&mut self.holds, rows.holds);
        keep(&mut self.pending, rows.pending);
        keep(&mut self.live, rows.live);
    }
}

fn keep<T>(kept: &mut HashMap<Id128, T>, changes: HashMap<Id128, Option<T>>) {
    for (id, value) in changes {
        match value {
            Some(value) => kept.insert(id, value),
            None => kept.remove(&id),
        };
    }
}

/// The rows as they will be.
struct Draft<'a> {
    mirror: &'a Mirror,
    rows: Rows,
}

impl Draft<'_> {
    fn apply(
        &mut self,
        event: &EventId,
        change: &Change,
        at: Timestamp,
        seq: u64,
    ) -> Result<(), String> {
        match change {
            Change::Opened { .. }
            | Change::Extended { .. }
            | Change::Joined { .. }
            | Change::Left { .. }
            | Change::Accepted { .. }
            | Change::OfferTold { .. }
            // Where the money is, the gateways' books say; the rows say who has which seat.
            | Change::PaymentMoved { .. }
            | Change::PaymentAction { .. }
            | Change::ReceiptKept { .. }
            | Change::CaptureBegun { .. }
            | Change::Captured { .. }
            | Change::CaptureLost { .. }
            | Change::VoidOwed(_)
            | Change::Voided { .. }
            | Change::Noticed { .. }
            | Change::Post(_) => {}
            Change::Held { hold, seats, prices, .. } => {
                self.take(event, *hold, seats, prices)?;
                self.rows.holds.insert(*hold, Some(seats.clone()));
            }
            Change::Amended { hold, added, prices, dropped } => {
                let mut seats = self.hold(*hold)?;
                self.turn_all(event, dropped, SeatStatus::Held, SeatStatus::Free)?;
                self.take(event, *hold, added, prices)?;
                seats.retain(|seat| !dropped.contains(seat));
                seats.extend(added);
                seats.sort_unstable();
                self.rows.holds.insert(*hold, Some(seats));
            }
            Change::Blocked { runs, .. } => {
                let seats: Vec<Seat> = runs.iter().flat_map(|run| run.seats()).collect();
                self.turn_all(event, &seats, SeatStatus::Free, SeatStatus::Blocked)?;
            }
            Change::Unblocked { runs, .. } => {
                let seats: Vec<Seat> = runs.iter().flat_map(|run| run.seats()).collect();
                self.turn_all(event, &seats, SeatStatus::Blocked, SeatStatus::Free)?;
            }
            Change::Released { hold } | Change::Expired { hold } => {
                let seats = self.take_hold(*hold)?;
                self.turn_all(event, &seats, SeatStatus::Held, SeatStatus::Free)?;
            }
            Change::PaymentBegun(PaymentBegun { hold, order, tickets, name, email, bill, .. }) => {
                let seats = self.hold(*hold)?;
                if tickets.len() != seats.len() {
                    return Err(format!("{} tickets for {} seats", tickets.len(), seats.len()));
                }
                let mut total = 0;
                for (ticket, seat) in tickets.iter().zip(&seats) {
                    let row = self.seat(event, *seat);
                    total += row.price.unwrap_or(0);
                    let is = SeatRow { status: SeatStatus::Paying, order: Some(*order), ..row };
                    self.turn(event, *seat, SeatStatus::Held, is)?;
                    let (event, seat, order) = (event.clone(), *seat, *order);
                    let (was, is) = (None, TicketState::Pending);
                    self.rows.tickets.insert(*ticket, TicketRow { event, seat, order, was, is });
                }
                // With fees and taxes, unless the log is older than these.
                total = bill.map_or(total, |bill| bill.total);
                let pending = tickets.iter().copied().zip(seats.iter().copied()).collect();
                self.rows.pending.insert(*order, Some(pending));
                let (name, email, quantity) = (name.clone(), email.clone(), seats.len());
                let new = Some(NewOrder { hold: *hold, quantity, total, name, email });
                let row = OrderRow { event: event.clone(), new, state: "paying", at, seq };
                self.rows.orders.insert(*order, row);
            }
            Change::PaymentUnknown { order } => self.order(event, *order, "unknown", at, seq),
            Change::PaymentDeclined { order, .. } => {
                for (ticket, seat) in self.take_pending(*order)? {
                    self.settle(event, ticket, seat, *order, TicketState::Void);
                    let row = self.seat(event, seat);
                    let is = SeatRow { status: SeatStatus::Held, order: None, ..row };
                    self.turn(event, seat, SeatStatus::Paying, is)?;
                }
                self.order(event, *order, "declined", at, seq);
            }
            Change::After(after) => self.after(event, after, at, seq)?,
            Change::Sold { order, .. } => {
                let tickets = self.take_pending(*order)?;
                self.rows.live.insert(*order, Some(tickets.clone()));
                for (ticket, seat) in tickets {
                    self.settle(event, ticket, seat, *order, TicketState::Live);
                    let row = self.seat(event, seat);
                    if let Some(hold) = row.hold {
                        self.rows.holds.insert(hold, None);
                    }
                    let is = SeatRow { status: SeatStatus::Sold, ..row };
                    self.turn(event, seat, SeatStatus::Paying, is)?;
                }
                self.order(event, *order, "sold", at, seq);
            }
        }
        Ok(())
    }

    /// Of what happens after the sale, the rows know which tickets live and whose the seats are.
    fn after(
        &mut self,
        event: &EventId,
        after: &AfterChange,
        at: Timestamp,
        seq: u64,
    ) -> Result<(), String> {
        let (order, voided) = match after {
            AfterChange::TicketsVoided { order, tickets, .. } => (*order, tickets),
            AfterChange::Repaid { .. }
            | AfterChange::EventCancelled
            | AfterChange::CheckedIn { .. }
            | AfterChange::Conflict { .. } => return Ok(()),
        };
        let drafted = self.rows.live.get(&order).cloned();
        let live = drafted.unwrap_or_else(|| self.mirror.live.get(&order).cloned());
        let mut live = live.ok_or_else(|| format!("order {order} has no live tickets"))?;
        for ticket in voided {
            let found = live.iter().position(|(known, _)| known == ticket);
            let at = found.ok_or_else(|| format!("ticket {ticket} does not live"))?;
            let (_, seat) = live.remove(at);
            let (was, is) = (Some(TicketState::Live), TicketState::Void);
            let row = TicketRow { event: event.clone(), seat, order, was, is };
            self.rows.tickets.entry(*ticket).or_insert(row).is = is;
            self.turn_all(event, &[seat], SeatStatus::Sold, SeatStatus::Free)?;
        }
        let is_over = live.is_empty();
        self.rows.live.insert(order, (!is_over).then_some(live));
        self.order(event, order, if is_over { "refunded" } else { "sold" }, at, seq);
        Ok(())
    }

    fn seat(&self, event: &EventId, seat: Seat) -> SeatRow {
        let drafted = self.rows.seats.get(event).and_then(|moved| moved.get(&seat));
        let drafted = drafted.map(|moved| moved.is);
        let kept = || self.mirror.seats.get(event).and_then(|seats| seats.get(&seat)).copied();
        drafted.or_else(kept).unwrap_or_default()
    }

    /// Gives a seat a new row, of which the version is counted here.
    fn turn(
        &mut self,
        event: &EventId,
        seat: Seat,
        expected: SeatStatus,
        is: SeatRow,
    ) -> Result<(), String> {
        let row = self.seat(event, seat);
        if row.status != expected {
            let (found, expected) = (row.status.label(), expected.label());
            return Err(format!("seat {seat} is {found}, expected {expected}"));
        }
        let is = SeatRow { version: row.version + 1, ..is };
        // An event has many seats that move; its name is copied for the first.
        if !self.rows.seats.contains_key(event) {
            self.rows.seats.insert(event.clone(), BTreeMap::new());
        }
        if let Some(moved) = self.rows.seats.get_mut(event) {
            moved.entry(seat).or_insert(Moved { was: row, is }).is = is;
        }
        Ok(())
    }

    /// Puts free seats into a hold.
    fn take(
        &mut self,
        event: &EventId,
        hold: Id128,
        seats: &[Seat],
        prices: &[u64],
    ) -> Result<(), String> {
        for (index, seat) in seats.iter().enumerate() {
            let (hold, price) = (Some(hold), prices.get(index).copied());
            let is = SeatRow { status: SeatStatus::Held, hold, price, ..SeatRow::default() };
            self.turn(event, *seat, SeatStatus::Free, is)?;
        }
        Ok(())
    }

    /// Gives seats a status in which nobody has them.
    fn turn_all(
        &mut self,
        event: &EventId,
        seats: &[Seat],
        expected: SeatStatus,
        status: SeatStatus,
    ) -> Result<(), String> {
        let is = SeatRow { status, ..SeatRow::default() };
        seats.iter().try_for_each(|seat| self.turn(event, *seat, expected, is))
    }

    fn hold(&self, hold: Id128) -> Result<Vec<Seat>, String> {
        let drafted = self.rows.holds.get(&hold).cloned();
        let seats = drafted.unwrap_or_else(|| self.mirror.holds.get(&hold).cloned());
        seats.ok_or_else(|| format!("there is no hold {hold}"))
    }

    fn take_hold(&mut self, hold: Id128) -> Result<Vec<Seat>, String> {
        let seats = self.hold(hold)?;
        self.rows.holds.insert(hold, None);
        Ok(seats)
    }

    fn take_pending(&mut self, order: Id128) -> Result<Vec<(Id128, Seat)>, String> {
        let drafted = self.rows.pending.insert(order, None);
        let pending = drafted.unwrap_or_else(|| self.mirror.pending.get(&order).cloned());
        pending.ok_or_else(|| format!("order {order} is not being paid"))
    }

    fn settle(
        &mut self,
        event: &EventId,
        ticket: Id128,
        seat: Seat,
        order: Id128,
        is: TicketState,
    ) {
        let was = Some(TicketState::Pending);
        let row = TicketRow { event: event.clone(), seat, order, was, is };
        self.rows.tickets.entry(ticket).or_insert(row).is = is;
    }

    fn order(
        &mut self,
        event: &EventId,
        order: Id128,
        state: &'static str,
        at: Timestamp,
        seq: u64,
    ) {
        let changed = OrderRow { event: event.clone(), new: None, state, at, seq };
        let row = self.rows.orders.entry(order).or_insert(changed);
        (row.state, row.at, row.seq) = (state, at, seq);
    }
}

const fn label(change: &Change) -> &'static str {
    match change {
        Change::Opened { .. } => "opened",
        Change::Held { .. } => "held",
        Change::Amended { .. } => "amended",
        Change::Extended { .. } => "extended",
        Change::Blocked { .. } => "blocked",
        Change::Unblocked { .. } => "unblocked",
        Change::Joined { .. } => "joined",
        Change::Left { .. } => "left",
        Change::Accepted { .. } => "accepted",
        Change::OfferTold { .. } => "offer_told",
        Change::Released { .. } => "released",
        Change::Expired { .. } => "expired",
        Change::PaymentBegun(_) => "payment_begun",
        Change::PaymentUnknown { .. } => "payment_unknown",
        Change::PaymentDeclined { .. } => "payment_declined",
        Change::PaymentMoved { .. } => "payment_moved",
        Change::PaymentAction { .. } => "payment_action",
        Change::Sold { .. } => "sold",
        Change::ReceiptKept { .. } => "receipt_kept",
        Change::CaptureBegun { .. } => "capture_begun",
        Change::Captured { .. } => "captured",
        Change::CaptureLost { .. } => "capture_lost",
        Change::VoidOwed(_) => "void_owed",
        Change::Voided { .. } => "voided",
        Change::Noticed { .. } => "noticed",
        Change::Post(_) => "post",
        Change::After(after) => match after {
            AfterChange::TicketsVoided { .. } => "tickets_voided",
            AfterChange::Repaid { .. } => "repaid",
            AfterChange::EventCancelled => "event_cancelled",
            AfterChange::CheckedIn { .. } => "checked_in",
            AfterChange::Conflict { .. } => "conflict",
        },
    }
}

#[cfg(test)]
mod tests;
