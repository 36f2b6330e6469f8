//! A payment gateway that does what chance says: calls are lost on their way, answers on theirs,
//! some calls arrive when nobody waits for them any more, and some buyers are asked back by their
//! bank. Its books are the oracle.

use std::collections::BTreeMap;

use keys::{Id128, Timestamp};
use loadtest::history::Charge;
use loadtest::rng::Rng;

/// Longest that a call is on its way, in milliseconds.
pub(super) const CALL_MS_MAX: u64 = 30_000;
/// Of how many calls one is lost, one has a lost answer, and one comes late.
const CHAOS: u64 = 12;
/// Share of payments of which the bank asks the buyer first.
const ASKS_BACK: f64 = 0.15;

/// An order, and which of its authorisations.
pub(super) type Key = (Id128, u32);

/// Where an authorisation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Absent,
    /// The bank asks the buyer first.
    Waiting,
    Authorised,
    Captured,
    Declined,
    Voided,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) amount: u64,
    pub(super) standing: Standing,
    /// By idempotency key.
    refunds: BTreeMap<String, u64>,
    at: Timestamp,
}

impl Entry {
    pub(super) fn refunded(&self) -> u64 {
        self.refunds.values().sum()
    }
}

#[derive(Debug, Clone)]
enum Call {
    Authorise { amount: u64, standing: Standing },
    Capture,
    Void,
    Refund { amount: u64, key: String },
}

/// The gateway.
pub(super) struct Till {
    pub(super) books: BTreeMap<Key, Entry>,
    /// Calls that nobody waits for, and when they arrive.
    late: Vec<(Timestamp, Key, Call)>,
    /// Whether a void closes a key that nobody has used yet.
    closes_unused: bool,
    /// Turned off in the end, so that everything can be settled.
    pub(super) is_chaotic: bool,
}

impl Till {
    pub(super) fn new(closes_unused: bool) -> Self {
        Self { books: BTreeMap::new(), late: Vec::new(), closes_unused, is_chaotic: true }
    }

    /// Reserves money, once a key; `None` if there is no answer.
    pub(super) fn authorise(
        &mut self,
        key: Key,
        amount: u64,
        is_good: bool,
        chance: &mut Rng,
        now: Timestamp,
    ) -> Option<Standing> {
        let standing = match is_good {
            _ if self.is_chaotic && chance.chance(ASKS_BACK) => Standing::Waiting,
            true => Standing::Authorised,
            false => Standing::Declined,
        };
        self.call(key, Call::Authorise { amount, standing }, chance, now)
    }

    /// One of the buyers who are asked back says yes, or no.
    pub(super) fn answer_bank(&mut self, chance: &mut Rng) {
        let waiting = self.books.values_mut().filter(|entry| entry.standing == Standing::Waiting);
        let mut waiting: Vec<&mut Entry> = waiting.collect();
        if waiting.is_empty() {
            return;
        }
        let at = chance.below(waiting.len() as u64) as usize;
        let is_yes = chance.chance(0.8);
        waiting[at].standing = if is_yes { Standing::Authorised } else { Standing::Declined };
    }

    pub(super) fn capture(
        &mut self,
        key: Key,
        chance: &mut Rng,
        now: Timestamp,
    ) -> Option<Standing> {
        self.call(key, Call::Capture, chance, now)
    }

    pub(super) fn void(&mut self, key: Key, chance: &mut Rng, now: Timestamp) -> Option<Standing> {
        self.call(key, Call::Void, chance, now)
    }

    pub(super) fn refund(
        &mut self,
        key: Key,
        amount: u64,
        refund: String,
        chance: &mut Rng,
        now: Timestamp,
    ) -> Option<Standing> {
        self.call(key, Call::Refund { amount, key: refund }, chance, now)
    }

    pub(super) fn lookup(&self, key: Key) -> Standing {
        self.books.get(&key).map_or(Standing::Absent, |entry| entry.standing)
    }

    /// Lets calls arrive that were on their way.
    pub(super) fn arrive(&mut self, now: Timestamp) {
        let (due, late) =
            std::mem::take(&mut self.late).into_iter().partition(|(at, ..)| *at <= now);
        self.late = late;
        let due: Vec<_> = due;
        for (at, key, call) in due {
            self.carry_out(key, &call, at);
        }
    }

    /// Everything that was ever authorised, as a history keeps it.
    pub(super) fn charges(&self) -> Vec<Charge> {
        let charge = |((order, _), entry): (&Key, &Entry)| Charge {
            order: order.to_string(),
            amount: entry.amount,
            is_live: matches!(entry.standing, Standing::Authorised | Standing::Captured),
            refunded: entry.refunded(),
            at: Some(entry.at),
        };
        self.books.iter().map(charge).collect()
    }

    fn call(&mut self, key: Key, call: Call, chance: &mut Rng, now: Timestamp) -> Option<Standing> {
        let fate = if self.is_chaotic { chance.below(CHAOS) } else { CHAOS };
        match fate {
            0 => None,
            1 => {
                let arrives_at =
                    now.plus(std::time::Duration::from_millis(chance.below(CALL_MS_MAX)));
                self.late.push((arrives_at, key, call));
                None
            }
            2 => {
                self.carry_out(key, &call, now);
                None
            }
            _ => Some(self.carry_out(key, &call, now)),
        }
    }

    fn carry_out(&mut self, key: Key, call: &Call, now: Timestamp) -> Standing {
        let fresh =
            |amount, standing| Entry { amount, standing, refunds: BTreeMap::new(), at: now };
        match (self.books.get_mut(&key), call) {
            (None, Call::Authorise { amount, standing }) => {
                self.books.insert(key, fresh(*amount, *standing));
            }
            (None, Call::Void) if self.closes_unused => {
                self.books.insert(key, fresh(0, Standing::Voided));
            }
            (Some(entry), Call::Void)
                if matches!(entry.standing, Standing::Authorised | Standing::Waiting) =>
            {
                entry.standing = Standing::Voided;
            }
            (Some(entry), Call::Capture) if entry.standing == Standing::Authorised => {
                entry.standing = Standing::Captured;
            }
            (Some(entry), Call::Refund { amount, key }) if entry.standing == Standing::Captured => {
                entry.refunds.entry(key.clone()).or_insert(*amount);
            }
            _ => {}
        }
        self.lookup(key)
    }
}
