//! Which seats are out of stock for whom, and until when?

use keys::{Id128, Timestamp};
use serde::{Deserialize, Serialize};

use super::Seat;
use super::best::Score;
use super::command::{Change, Extension, Reply, Want};
use super::money::{Bill, Terms};
use super::refusal::Refusal;
use super::state::{Decided, Misfit, State};
use super::word::Word;

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
    /// What they cost in all.
    pub bill: Bill,
    /// Until when it stands.
    pub until: Timestamp,
    /// Until when it can stand at most.
    pub until_max: Timestamp,
    /// What can still make it longer.
    pub extensions: Vec<Extension>,
    /// Whether it is being paid.
    pub is_paying: bool,
    /// Whether it is an offer that was not accepted yet.
    pub is_offer: bool,
    /// How good the seats are, told once to whoever left the choice to us.
    pub score: Option<Score>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hold {
    pub(super) sub: Id128,
    pub(super) seats: Vec<Seat>,
    #[serde(default)]
    pub(super) prices: Vec<u64>,
    #[serde(default)]
    pub(super) terms: Terms,
    pub(super) until: Timestamp,
    pub(super) attempts: u32,
    pub(super) paying: Option<Id128>,
    /// When its first seat was held. Of holds that are older than this it is the epoch, and such a
    /// hold cannot be extended.
    #[serde(default)]
    pub(super) since: Timestamp,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) extended: Vec<Extension>,
    #[serde(default)]
    pub(super) is_offer: bool,
    /// Whether it is or was an offer: who has its id needs no pass.
    #[serde(default)]
    pub(super) is_entry: bool,
    /// Word of the offer that is to be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) word: Option<Word>,
}

/// Decisions: they read the state and change nothing.
impl State {
    pub(super) fn decide_hold(
        &self,
        hold: Id128,
        sub: Id128,
        want: &Want,
        now: Timestamp,
        score: &mut Option<Score>,
    ) -> Decided {
        // The answer was lost on its way and somebody asks again: it is the same hold.
        if self.holds.get(&hold).is_some_and(|known| known.sub == sub) {
            return (Vec::new(), Ok(()));
        }
        if self.is_cancelled() {
            return (Vec::new(), Err(Refusal::EventCancelled));
        }
        match self.wanted(sub, want, now) {
            Err(refusal) => (Vec::new(), Err(refusal)),
            Ok((seats, found)) => {
                *score = found;
                (vec![self.hold_of(hold, sub, seats, now.plus(self.rules.hold))], Ok(()))
            }
        }
    }

    /// The change that makes these seats a hold, at today's prices.
    pub(super) fn hold_of(
        &self,
        hold: Id128,
        sub: Id128,
        seats: Vec<Seat>,
        until: Timestamp,
    ) -> Change {
        let prices = seats.iter().map(|seat| self.plan.price_of(*seat)).collect();
        let terms = self.rules.terms;
        Change::Held { hold, sub, seats, prices, terms, until }
    }

    /// The holds of a visitor.
    pub(super) fn holds_of(&self, sub: Id128) -> impl Iterator<Item = Id128> + '_ {
        let first = (sub, Id128::from_bytes([0; 16]));
        let holds = self.holds_by_visitor.range(first..);
        holds.take_while(move |(owner, _)| *owner == sub).map(|(_, hold)| *hold)
    }

    /// Whose a hold is or was, as long as we can tell.
    pub(super) fn owner_of(&self, hold: Id128) -> Option<Id128> {
        let held = self.holds.get(&hold).map(|hold| hold.sub);
        let order = || self.bought.get(&hold).and_then(|order| self.orders.get(order));
        let bought = || order().map(|order| order.sub);
        held.or_else(bought).or_else(|| self.expired.get(&hold).copied())
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
        if let Some(order) = found.and_then(|hold| hold.paying) {
            return self.decide_giving_up(order, now);
        }
        let is_over = found.is_some_and(|hold| hold.paying.is_none() && hold.until <= now);
        if is_over { vec![Change::Expired { hold }] } else { Vec::new() }
    }

    pub(super) fn view_hold(&self, id: Id128, score: Option<Score>) -> Reply {
        match self.holds.get(&id) {
            None => Reply::Refused(Refusal::UnknownHold),
            Some(hold) => Reply::Hold(HoldView { score, ..self.hold_view(id, hold) }),
        }
    }

    pub(super) fn hold_view(&self, id: Id128, hold: &Hold) -> HoldView {
        HoldView {
            hold: id,
            seats: hold.seats.iter().copied().zip(hold.prices.iter().copied()).collect(),
            bill: hold.terms.bill(&hold.prices),
            until: hold.until,
            until_max: self.longest(hold),
            extensions: self.extensions(hold).collect(),
            is_paying: hold.paying.is_some(),
            is_offer: hold.is_offer,
            score: None,
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
        (prices, terms): (&[u64], Terms),
        until: Timestamp,
        at: Timestamp,
    ) -> Result<(), Misfit> {
        let entry = self.remove_entry(id);
        let is_offer = entry.is_some();
        let contact = entry.and_then(|entry| entry.contact);
        let new = Hold {
            sub,
            seats: seats.to_vec(),
            prices: self.prices_or(prices.to_vec(), seats)?,
            terms,
            until,
            attempts: 0,
            paying: None,
            since: at,
            extended: Vec::new(),
            is_offer,
            is_entry: is_offer,
            word: contact.map(|contact| Word { contact, seq: self.next_seq }),
        };
        self.add_hold(id, new)
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
        self.stock.take(seats).map_err(|seat| Misfit::SeatNotFree { seat })?;
        self.counts.free -= seats.len() as u64;
        let count = u32::try_from(seats.len()).unwrap_or(u32::MAX);
        *self.seats_by_visitor.entry(sub).or_default() += count;
        Ok(())
    }

    /// Puts seats of a visitor's back into stock; whoever calls knows what they were counted as.
    pub(super) fn return_seats(&mut self, sub: Id128, seats: &[Seat]) {
        self.stock.give(seats);
        self.counts.free += seats.len() as u64;
        let count = u32::try_from(seats.len()).unwrap_or(u32::MAX);
        if let Some(have) = self.seats_by_visitor.get_mut(&sub) {
            *have = have.saturating_sub(count);
            if *have == 0 {
                self.seats_by_visitor.remove(&sub);
            }
        }
    }

    pub(super) fn add_hold(&mut self, id: Id128, hold: Hold) -> Result<(), Misfit> {
        if self.holds.contains_key(&id) || self.bought.contains_key(&id) {
            return Err(Misfit::Twice { id });
        }
        self.take_seats(hold.sub, &hold.seats)?;
        self.counts.held += hold.seats.len() as u64;
        self.deadlines.insert((hold.until, id));
        self.holds_by_visitor.insert((hold.sub, id));
        self.words.extend(hold.word.as_ref().map(|word| (word.seq, id)));
        self.holds.insert(id, hold);
        Ok(())
    }

    pub(super) fn take_hold(&mut self, id: Id128, change: &'static str) -> Result<Hold, Misfit> {
        let is_held = self.holds.get(&id).is_some_and(|hold| hold.paying.is_none());
        let hold = self.holds.remove(&id).filter(|_| is_held);
        let hold = hold.ok_or(Misfit::NotThere { id, change })?;
        self.deadlines.remove(&(hold.until, id));
        self.holds_by_visitor.remove(&(hold.sub, id));
        if let Some(word) = &hold.word {
            self.words.remove(&(word.seq, id));
        }
        self.return_seats(hold.sub, &hold.seats);
        self.counts.held -= hold.seats.len() as u64;
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
