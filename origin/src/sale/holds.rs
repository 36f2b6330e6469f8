//! Which seats are out of stock for whom, and until when?

use keys::{Id128, Timestamp};
use serde::{Deserialize, Serialize};

use super::Seat;
use super::best::best;
use super::command::{Change, Reply, Want};
use super::refusal::Refusal;
use super::state::{Decided, Misfit, State};

/// How long we can still tell that a hold expired rather than never was, in seconds.
const EXPIRED_KEPT_SECS: u64 = 3600;
/// How many expired holds we can tell that of: a bound on memory, 5 MB.
const EXPIRED_KEPT_MAX: usize = 100_000;
/// Most seats that a hold can have under any configuration: a hold outlives a restart with a lower
/// `seats_per_order_max`, and must still find a ticket for each seat.
pub const SEATS_PER_ORDER_LIMIT: u32 = 100;

/// A hold as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldView {
    /// Its id.
    pub hold: Id128,
    /// Its seats, each with its price in minor units.
    pub seats: Vec<(Seat, u64)>,
    /// Until when it stands.
    pub until: Timestamp,
    /// Whether it is being paid.
    pub is_paying: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hold {
    pub(super) sub: Id128,
    pub(super) seats: Vec<Seat>,
    #[serde(default)]
    pub(super) prices: Vec<u64>,
    pub(super) until: Timestamp,
    pub(super) attempts: u32,
    pub(super) paying: Option<Id128>,
}

/// Decisions: they read the state and change nothing.
impl State {
    pub(super) fn decide_hold(
        &self,
        hold: Id128,
        sub: Id128,
        want: &Want,
        now: Timestamp,
    ) -> Decided {
        // The answer was lost on its way and somebody asks again: it is the same hold.
        if self.holds.get(&hold).is_some_and(|known| known.sub == sub) {
            return (Vec::new(), Ok(()));
        }
        let found = match want {
            Want::Seats(seats) => self.wanted_seats(sub, seats),
            Want::Best { zone, quantity } => self.best_seats(sub, zone.as_deref(), *quantity),
        };
        match found {
            Err(refusal) => (Vec::new(), Err(refusal)),
            Ok(seats) => {
                let until = now.plus(self.rules.hold);
                let prices = seats.iter().map(|seat| self.plan.price_of(*seat)).collect();
                (vec![Change::Held { hold, sub, seats, prices, until }], Ok(()))
            }
        }
    }

    fn wanted_seats(&self, sub: Id128, seats: &[Seat]) -> Result<Vec<Seat>, Refusal> {
        let asked = u32::try_from(seats.len()).unwrap_or(u32::MAX);
        self.check_quantity(asked)?;
        let last = self.plan.capacity().saturating_sub(1);
        if let Some(seat) = seats.iter().find(|seat| **seat > last) {
            return Err(Refusal::UnknownSeat { seat: *seat, last });
        }
        let mut sorted = seats.to_vec();
        sorted.sort_unstable();
        if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Refusal::DuplicateSeat { seat: twice[0] });
        }
        self.check_visitor(sub, asked)?;
        let taken: Vec<Seat> =
            sorted.iter().copied().filter(|seat| !self.free.contains(*seat)).collect();
        if taken.is_empty() { Ok(sorted) } else { Err(Refusal::SeatTaken { seats: taken }) }
    }

    fn best_seats(
        &self,
        sub: Id128,
        zone: Option<&str>,
        quantity: u32,
    ) -> Result<Vec<Seat>, Refusal> {
        self.check_quantity(quantity)?;
        let zone = match zone {
            None => None,
            Some(id) => Some(self.plan.zone_named(id).ok_or(Refusal::UnknownZone)?),
        };
        self.check_visitor(sub, quantity)?;
        let first = best(&self.plan, &self.free, zone, quantity)
            .ok_or(Refusal::NotEnoughTogether { quantity })?;
        Ok((first..first + quantity).collect())
    }

    fn check_quantity(&self, asked: u32) -> Result<(), Refusal> {
        let max = self.rules.seats_per_order_max;
        match asked {
            0 => Err(Refusal::NoSeats),
            _ if asked > max => Err(Refusal::TooManySeats { asked, max }),
            _ => Ok(()),
        }
    }

    fn check_visitor(&self, sub: Id128, asked: u32) -> Result<(), Refusal> {
        let have = self.seats_by_visitor.get(&sub).copied().unwrap_or(0);
        let max = self.rules.seats_per_visitor_max;
        if have + asked <= max {
            return Ok(());
        }
        // A hold whose answer never arrived is among these: its owner can look at it or free it.
        let first = (sub, Id128::from_bytes([0; 16]));
        let holds = self.holds_by_visitor.range(first..).take_while(|(owner, _)| *owner == sub);
        let holds = holds.take(SEATS_PER_ORDER_LIMIT as usize).map(|(_, hold)| *hold).collect();
        Err(Refusal::VisitorLimit { have, asked, max, holds })
    }

    /// Whether `sub` may use the hold now. One that is found overdue is freed on the spot: whether
    /// the timer or the visitor came first makes no difference.
    pub(super) fn touch(&self, hold: Id128, sub: Id128, now: Timestamp) -> Result<(), Decided> {
        let refuse = |refusal| Err((Vec::new(), Err(refusal)));
        if let Some(found) = self.holds.get(&hold) {
            return match found {
                found if found.sub != sub => refuse(Refusal::ForeignHold),
                found if found.paying.is_none() && found.until <= now => {
                    Err((vec![Change::Expired { hold }], Err(Refusal::HoldExpired)))
                }
                _ => Ok(()),
            };
        }
        if let Some(order) = self.bought.get(&hold) {
            let is_owner = self.orders.get(order).is_some_and(|order| order.sub == sub);
            let bought = Refusal::HoldBought { order: *order };
            return refuse(if is_owner { bought } else { Refusal::ForeignHold });
        }
        match self.expired.get(&hold) {
            Some(owner) if *owner == sub => refuse(Refusal::HoldExpired),
            Some(_) => refuse(Refusal::ForeignHold),
            None => refuse(Refusal::UnknownHold),
        }
    }

    pub(super) fn decide_release(&self, hold: Id128, sub: Id128, now: Timestamp) -> Decided {
        if let Err(refused) = self.touch(hold, sub, now) {
            return refused;
        }
        if let Some(order) = self.holds.get(&hold).and_then(|found| found.paying) {
            return (Vec::new(), Err(Refusal::PaymentInProgress { order }));
        }
        (vec![Change::Released { hold }], Ok(()))
    }

    pub(super) fn decide_expiry(&self, hold: Id128, now: Timestamp) -> Vec<Change> {
        let found = self.holds.get(&hold);
        let is_over = found.is_some_and(|hold| hold.paying.is_none() && hold.until <= now);
        if is_over { vec![Change::Expired { hold }] } else { Vec::new() }
    }

    pub(super) fn view_hold(&self, id: Id128) -> Reply {
        match self.holds.get(&id) {
            None => Reply::Refused(Refusal::UnknownHold),
            Some(hold) => Reply::Hold(HoldView {
                hold: id,
                seats: hold.seats.iter().copied().zip(hold.prices.iter().copied()).collect(),
                until: hold.until,
                is_paying: hold.paying.is_some(),
            }),
        }
    }

    /// Holds whose time is over at `now`, oldest first.
    pub fn due(&self, now: Timestamp) -> impl Iterator<Item = Id128> + '_ {
        self.deadlines.iter().take_while(move |(until, _)| *until <= now).map(|(_, hold)| *hold)
    }

    /// When the next hold's time is over.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(until, _)| *until)
    }
}

/// Changes: each fits the state, or is an error.
impl State {
    pub(super) fn held(
        &mut self,
        id: Id128,
        sub: Id128,
        seats: &[Seat],
        prices: &[u64],
        until: Timestamp,
    ) -> Result<(), Misfit> {
        let prices = self.prices_or(prices.to_vec(), seats)?;
        let seats = seats.to_vec();
        self.add_hold(id, Hold { sub, seats, prices, until, attempts: 0, paying: None })
    }

    pub(super) fn expired(&mut self, id: Id128, at: Timestamp) -> Result<(), Misfit> {
        let Hold { sub, .. } = self.take_hold(id, "expired")?;
        self.expired.insert(id, sub);
        self.expired_since.push_back((at, id, sub));
        Ok(())
    }

    /// The prices that were logged, or today's if the log is older than prices in it.
    pub(super) fn prices_or(&self, logged: Vec<u64>, seats: &[Seat]) -> Result<Vec<u64>, Misfit> {
        match logged.len() {
            0 => Ok(seats.iter().map(|seat| self.plan.price_of(*seat)).collect()),
            count if count == seats.len() => Ok(logged),
            _ => Err(Misfit::Prices { seats: seats.len(), prices: logged.len() }),
        }
    }

    pub(super) fn take_seats(&mut self, sub: Id128, seats: &[Seat]) -> Result<(), Misfit> {
        for seat in seats {
            if !self.free.remove(*seat) {
                return Err(Misfit::SeatNotFree { seat: *seat });
            }
        }
        self.counts.free -= seats.len() as u64;
        let count = u32::try_from(seats.len()).unwrap_or(u32::MAX);
        *self.seats_by_visitor.entry(sub).or_default() += count;
        Ok(())
    }

    pub(super) fn add_hold(&mut self, id: Id128, hold: Hold) -> Result<(), Misfit> {
        if self.holds.contains_key(&id) || self.bought.contains_key(&id) {
            return Err(Misfit::Twice { id });
        }
        self.take_seats(hold.sub, &hold.seats)?;
        self.counts.held += hold.seats.len() as u64;
        self.deadlines.insert((hold.until, id));
        self.holds_by_visitor.insert((hold.sub, id));
        self.holds.insert(id, hold);
        Ok(())
    }

    pub(super) fn take_hold(&mut self, id: Id128, change: &'static str) -> Result<Hold, Misfit> {
        let is_held = self.holds.get(&id).is_some_and(|hold| hold.paying.is_none());
        let hold = self.holds.remove(&id).filter(|_| is_held);
        let hold = hold.ok_or(Misfit::NotThere { id, change })?;
        self.deadlines.remove(&(hold.until, id));
        self.holds_by_visitor.remove(&(hold.sub, id));
        for seat in &hold.seats {
            self.free.insert(*seat);
        }
        let count = hold.seats.len();
        self.counts.held -= count as u64;
        self.counts.free += count as u64;
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        if let Some(have) = self.seats_by_visitor.get_mut(&hold.sub) {
            *have = have.saturating_sub(count);
            if *have == 0 {
                self.seats_by_visitor.remove(&hold.sub);
            }
        }
        Ok(hold)
    }

    /// Drops what nobody needs to be told any more. Depends on logged times only.
    pub(super) fn forget_expired(&mut self, at: Timestamp) {
        while let Some((since, hold, _)) = self.expired_since.front() {
            let is_old = since.plus_secs(EXPIRED_KEPT_SECS) <= at;
            if !is_old && self.expired_since.len() <= EXPIRED_KEPT_MAX {
                break;
            }
            self.expired.remove(hold);
            self.expired_since.pop_front();
        }
    }
}
