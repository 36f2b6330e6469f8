//! How many of the seats that are held now will come back, and when?
//!
//! A hold that is not paid comes back at its deadline at the latest. Which share does is learned
//! from the holds that ended lately, by seats, beginning with a guess.

use std::collections::BTreeMap;

use keys::{Id128, Timestamp};

use crate::sale::{Change, PaymentBegun};

/// Minutes that are told apart; what is due later counts for the last one.
pub const MINUTES: usize = 20;
/// The share that came back before anything is known, and how many seats that guess counts for.
const SHARE_AT_FIRST: f64 = 0.3;
const GUESS_SEATS: f64 = 50.0;
/// Seats that ended count for less with each that follows: half after about this many.
const HALF_LIFE_SEATS: f64 = 1000.0;

/// Open holds of one event, and what became of those before them.
#[derive(Debug, Default)]
pub struct Returns {
    open: BTreeMap<Id128, Open>,
    /// Orders under way and whose hold they are.
    paying: BTreeMap<Id128, Id128>,
    returned: f64,
    kept: f64,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    seats: u32,
    until: Timestamp,
    is_paying: bool,
}

impl Returns {
    /// Follows one change.
    pub fn follow(&mut self, change: &Change) {
        match change {
            Change::Held { hold, seats, until, .. } => {
                let seats = u32::try_from(seats.len()).unwrap_or(u32::MAX);
                self.open.insert(*hold, Open { seats, until: *until, is_paying: false });
            }
            Change::Released { hold } | Change::Expired { hold } => {
                if let Some(open) = self.open.remove(hold) {
                    self.ended(open.seats, true);
                }
            }
            Change::PaymentBegun(PaymentBegun { hold, order, .. }) => {
                self.paying.insert(*order, *hold);
                if let Some(open) = self.open.get_mut(hold) {
                    open.is_paying = true;
                }
            }
            Change::PaymentDeclined { order, until, .. } => {
                let hold = self.paying.remove(order);
                if let Some(open) = hold.and_then(|hold| self.open.get_mut(&hold)) {
                    (open.is_paying, open.until) = (false, *until);
                }
            }
            Change::Sold { order, .. } => {
                let hold = self.paying.remove(order);
                if let Some(open) = hold.and_then(|hold| self.open.remove(&hold)) {
                    self.ended(open.seats, false);
                }
            }
            Change::Amended { hold, added, dropped, .. } => {
                if let Some(open) = self.open.get_mut(hold) {
                    let count = |seats: &[_]| u32::try_from(seats.len()).unwrap_or(u32::MAX);
                    open.seats = (open.seats + count(added)).saturating_sub(count(dropped));
                }
            }
            Change::Extended { hold, until, .. } | Change::Accepted { hold, until } => {
                if let Some(open) = self.open.get_mut(hold) {
                    open.until = *until;
                }
            }
            Change::Opened { .. }
            | Change::Blocked { .. }
            | Change::Unblocked { .. }
            | Change::Joined { .. }
            | Change::Left { .. }
            | Change::OfferTold { .. }
            | Change::After(_)
            | Change::Post(_)
            | Change::PaymentUnknown { .. }
            | Change::PaymentMoved { .. }
            | Change::PaymentAction { .. }
            | Change::ReceiptKept { .. }
            | Change::CaptureBegun { .. }
            | Change::Captured { .. }
            | Change::CaptureLost { .. }
            | Change::VoidOwed(_)
            | Change::Voided { .. }
            | Change::Noticed { .. } => {}
        }
    }

    /// Takes over the open holds: id, order if it is being paid, seats and deadline. What was
    /// learned stays.
    pub fn restart(&mut self, holds: impl Iterator<Item = (Id128, Option<Id128>, u32, Timestamp)>) {
        self.open.clear();
        self.paying.clear();
        for (hold, order, seats, until) in holds {
            self.open.insert(hold, Open { seats, until, is_paying: order.is_some() });
            self.paying.extend(order.map(|order| (order, hold)));
        }
    }

    /// How many holds are open and not being paid.
    #[must_use]
    pub fn holds(&self) -> u64 {
        self.open.values().filter(|open| !open.is_paying).count() as u64
    }

    /// Seats that will likely come back in each minute from `now` on: those of holds whose
    /// deadline it is, times the share. What is being paid is not among them.
    #[must_use]
    pub fn expected(&self, now: Timestamp) -> Vec<f64> {
        let mut minutes = vec![0.0; MINUTES];
        for open in self.open.values().filter(|open| !open.is_paying) {
            let minute = open.until.since(now).as_secs() / 60;
            let minute = usize::try_from(minute).unwrap_or(MINUTES).min(MINUTES - 1);
            minutes[minute] += f64::from(open.seats) * self.share();
        }
        while minutes.last() == Some(&0.0) {
            minutes.pop();
        }
        minutes
    }

    /// Of the seats whose hold ended lately, how many came back: 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        let ended = self.returned + self.kept;
        (self.returned + SHARE_AT_FIRST * GUESS_SEATS) / (ended + GUESS_SEATS)
    }

    fn ended(&mut self, seats: u32, came_back: bool) {
        let seats = f64::from(seats);
        let fading = 0.5_f64.powf(seats / HALF_LIFE_SEATS);
        self.returned *= fading;
        self.kept *= fading;
        if came_back { self.returned += seats } else { self.kept += seats }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sale::{GatewayName, Terms};

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn id(number: u8) -> Id128 {
        Id128::from_bytes([number; 16])
    }

    fn held(hold: u8, seats: u32, secs: u64) -> Change {
        let (hold, sub, seats) = (id(hold), id(0), (0..seats).collect());
        let (prices, terms, until) = (Vec::new(), Terms::default(), NOW.plus_secs(secs));
        Change::Held { hold, sub, seats, prices, terms, until }
    }

    fn sold(order: u8) -> Change {
        Change::Sold { order: id(order), reference: None, capture_at: None }
    }

    fn begun(hold: u8, order: u8) -> Change {
        let (key, body, name) = Default::default();
        let (hold, order, tickets) = (id(hold), id(order), Vec::new());
        Change::PaymentBegun(PaymentBegun {
            hold,
            order,
            key,
            body,
            tickets,
            name,
            email: None,
            phone: None,
            locale: None,
            bill: None,
            gateway: GatewayName::default(),
            token: String::new(),
            give_up_at: None,
        })
    }

    #[test]
    fn seats_are_expected_in_the_minute_of_their_deadline() {
        let mut returns = Returns::default();
        for change in [held(1, 4, 30), held(2, 2, 119), held(3, 8, 7200), held(4, 6, 30)] {
            returns.follow(&change);
        }
        returns.follow(&begun(4, 9));
        let expected = returns.expected(NOW);
        assert_eq!((returns.holds(), expected.len()), (3, MINUTES));
        assert_eq!(expected[..2], [4.0 * SHARE_AT_FIRST, 2.0 * SHARE_AT_FIRST]);
        assert_eq!(expected[MINUTES - 1], 8.0 * SHARE_AT_FIRST);
        returns.follow(&Change::PaymentDeclined {
            order: id(9),
            until: NOW.plus_secs(61),
            code: None,
            is_void_owed: false,
        });
        assert_eq!(returns.expected(NOW)[1], 8.0 * SHARE_AT_FIRST);
        for hold in [1, 2, 3, 4] {
            returns.follow(&Change::Expired { hold: id(hold) });
        }
        assert_eq!(returns.expected(NOW), [0.0; 0]);
    }

    #[test]
    fn the_share_is_learned_from_what_becomes_of_holds() {
        let mut returns = Returns::default();
        for _ in 0..500 {
            returns.follow(&held(1, 4, 30));
            returns.follow(&begun(1, 9));
            returns.follow(&sold(9));
        }
        assert!(returns.share() < 0.02, "{}", returns.share());
        for _ in 0..2000 {
            returns.follow(&held(1, 4, 30));
            returns.follow(&Change::Released { hold: id(1) });
        }
        assert!(returns.share() > 0.95, "{}", returns.share());
    }

    #[test]
    fn a_restart_knows_the_open_holds() {
        let mut returns = Returns::default();
        let open = [(id(1), None, 4, NOW.plus_secs(5)), (id(2), Some(id(9)), 2, NOW)];
        returns.restart(open.into_iter());
        returns.follow(&sold(9));
        assert_eq!((returns.holds(), returns.open.len()), (1, 1));
    }
}
