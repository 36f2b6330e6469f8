//! All that is known of the seats of one event, and how a command changes it.
//!
//! [`State::apply`] decides and [`State::evolve`] carries out; the log holds what was decided and
//! replay is `evolve` alone. `evolve` trusts nobody: a change that does not fit, such as a second
//! owner for a seat, is an error and never a state. This file only says who is asked: each topic
//! (holds, payment) decides and carries out its own commands and changes in a file of its own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use keys::{Id128, Timestamp};

use super::Seat;
use super::after::Aftermath;
use super::best::Score;
use super::command::{Change, Command, Reply};
use super::dues::{Capture, Dues};
use super::holds::Hold;
use super::money::Terms;
use super::payment::{Attempt, Order, PaymentRules};
use super::plan::Plan;
use super::post::{Post, PostRules};
use super::refusal::Refusal;
use super::seats::SeatSet;
use super::stock::Stock;
use super::waitlist::Waitlist;

/// What the operator may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How long a hold stands.
    pub hold: Duration,
    /// Most seats in a hold.
    pub seats_per_order_max: u32,
    /// Most seats that one visitor may hold and buy.
    pub seats_per_visitor_max: u32,
    /// By how much one [`Extension`](super::Extension) makes a hold longer.
    pub extension: Duration,
    /// Longest that a hold can become by them, from its first seat.
    pub hold_max: Duration,
    /// Until then, nobody chooses seats.
    pub best_only_until: Option<Timestamp>,
    /// Whether what comes free is offered to those who wait: not while the sale rests.
    pub is_offering: bool,
    /// How long an offer to somebody who waits stands.
    pub offer: Duration,
    /// Most entries in the waitlist.
    pub waitlist_max: u32,
    /// Fees, taxes and currency.
    pub terms: Terms,
    /// How payments are settled.
    pub payment: PaymentRules,
    /// Who sends messages.
    pub post: PostRules,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(600),
            seats_per_order_max: 8,
            seats_per_visitor_max: 8,
            extension: Duration::from_secs(300),
            hold_max: Duration::from_secs(1200),
            best_only_until: None,
            is_offering: true,
            offer: Duration::from_secs(600),
            waitlist_max: 10_000,
            terms: Terms::default(),
            payment: PaymentRules::default(),
            post: PostRules::default(),
        }
    }
}

/// Seats by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// For whoever takes them.
    pub free: u64,
    /// In holds that are not being paid.
    pub held: u64,
    /// In orders that are being paid.
    pub paying: u64,
    /// Sold.
    pub sold: u64,
    /// Kept out of sale.
    pub blocked: u64,
}

/// A change that does not fit the state: the log and the code disagree, and we must not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// A seat would get a second owner, or does not exist.
    #[error("seat {seat} is not free")]
    SeatNotFree {
        /// Which.
        seat: Seat,
    },
    /// A seat would be unblocked that is not blocked.
    #[error("seat {seat} is not blocked by that channel")]
    SeatNotBlocked {
        /// Which.
        seat: Seat,
    },
    /// A seat would go from a hold that does not have it.
    #[error("seat {seat} is not in hold {id}")]
    SeatNotHeld {
        /// Which hold.
        id: Id128,
        /// Which seat.
        seat: Seat,
    },
    /// Somebody waits in a zone that does not exist.
    #[error("there is no zone {zone}")]
    UnknownZone {
        /// Its name.
        zone: String,
    },
    /// There is no such hold or order in the state that the change starts from.
    #[error("no hold or order {id} in the state that {change} starts from")]
    NotThere {
        /// Which.
        id: Id128,
        /// What was to happen.
        change: &'static str,
    },
    /// An id is used twice.
    #[error("id {id} is used twice")]
    Twice {
        /// Which.
        id: Id128,
    },
    /// Not one price a seat.
    #[error("{prices} prices for {seats} seats")]
    Prices {
        /// How many seats.
        seats: usize,
        /// How many prices.
        prices: usize,
    },
    /// The sale began with another seating.
    #[error("the sale began with the seating {logged} and the venue now has {now}")]
    OtherPlan {
        /// Then.
        logged: String,
        /// Now.
        now: String,
    },
}

/// What a command comes to: what changes, and whether it was refused.
pub(super) type Decided = (Vec<Change>, Result<(), Refusal>);

/// The seats, holds and orders of one event.
#[derive(Debug, Clone)]
pub struct State {
    pub(super) plan: Arc<Plan>,
    pub(super) rules: Rules,
    pub(super) opened: Option<String>,
    pub(super) stock: Stock,
    pub(super) counts: Counts,
    pub(super) holds: BTreeMap<Id128, Hold>,
    pub(super) orders: BTreeMap<Id128, Order>,
    /// By visitor and idempotency key.
    pub(super) attempts: BTreeMap<(Id128, String), Attempt>,
    /// Holds that time can free.
    pub(super) deadlines: BTreeSet<(Timestamp, Id128)>,
    /// Orders whose payment is not settled.
    pub(super) paying: BTreeSet<Id128>,
    /// Which order a hold became.
    pub(super) bought: BTreeMap<Id128, Id128>,
    pub(super) seats_by_visitor: BTreeMap<Id128, u32>,
    /// Visitors and their holds.
    pub(super) holds_by_visitor: BTreeSet<(Id128, Id128)>,
    pub(super) declined_by_visitor: BTreeMap<Id128, u32>,
    /// Log sequence of the next change.
    pub(super) next_seq: u64,
    /// Expired holds and whose they were.
    pub(super) expired: BTreeMap<Id128, Id128>,
    pub(super) expired_since: VecDeque<(Timestamp, Id128, Id128)>,
    pub(super) declined_since: VecDeque<(Timestamp, Id128, String)>,
    /// Seats that are kept out of sale, by channel.
    pub(super) blocked: BTreeMap<String, SeatSet>,
    pub(super) waitlist: Waitlist,
    /// Whether other rules may have made offers due: the next command makes them first.
    pub(super) has_new_rules: bool,
    /// Offers of which word is to be sent, by when they were made.
    pub(super) words: BTreeSet<(u64, Id128)>,
    /// What is to be done at the gateways.
    pub(super) dues: Dues,
    /// What became of sold tickets.
    pub(super) aftermath: Aftermath,
    /// What is to be sent.
    pub(super) post: Post,
}

impl State {
    /// All seats free.
    #[must_use]
    pub fn new(plan: Arc<Plan>, rules: Rules) -> Self {
        let stock = Stock::full(Arc::clone(&plan));
        let counts = Counts { free: u64::from(plan.capacity()), ..Counts::default() };
        Self {
            plan,
            rules,
            opened: None,
            stock,
            counts,
            holds: BTreeMap::new(),
            orders: BTreeMap::new(),
            attempts: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            paying: BTreeSet::new(),
            bought: BTreeMap::new(),
            seats_by_visitor: BTreeMap::new(),
            holds_by_visitor: BTreeSet::new(),
            declined_by_visitor: BTreeMap::new(),
            next_seq: 0,
            expired: BTreeMap::new(),
            expired_since: VecDeque::new(),
            declined_since: VecDeque::new(),
            blocked: BTreeMap::new(),
            waitlist: Waitlist::default(),
            has_new_rules: true,
            words: BTreeSet::new(),
            dues: Dues::default(),
            aftermath: Aftermath::default(),
            post: Post::default(),
        }
    }

    /// Decides by other rules from now on. What was decided is in the log and stays.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
        self.has_new_rules = true;
    }

    /// Tells where in the log the next change will be; orders remember it.
    pub fn set_next_seq(&mut self, seq: u64) {
        self.next_seq = seq;
    }

    /// Carries out one command at `now`: what changed, and what to answer.
    ///
    /// # Panics
    /// If a change that was decided on this very state does not fit it, which is a fault in this
    /// file; the partition's thread ends and nothing more is sold.
    pub fn apply(&mut self, command: &Command, now: Timestamp) -> (Vec<Change>, Reply) {
        let mut score = None;
        let mut before = Vec::new();
        // What came free while nothing was offered is theirs who wait, whatever is asked for now.
        if std::mem::take(&mut self.has_new_rules) {
            self.make_offers(&mut before, now);
        }
        let (mut changes, verdict) = match command {
            Command::Hold { hold, sub, want } => {
                self.decide_hold(*hold, *sub, want, now, &mut score)
            }
            Command::HoldAtBoxOffice { hold, sub, want, channel } => {
                let channel = channel.as_deref();
                self.decide_box_office(*hold, *sub, want, channel, now, &mut score)
            }
            Command::ViewHold { hold, sub } => match self.touch(*hold, *sub, now) {
                Ok(()) => (Vec::new(), Ok(())),
                Err(refused) => refused,
            },
            Command::Amend { hold, sub, add, drop } => {
                self.decide_amending(*hold, *sub, add, drop, now)
            }
            Command::Extend { hold, sub, by } => self.decide_extending(*hold, *sub, *by, now),
            Command::Release { hold, sub } => self.decide_release(*hold, *sub, now),
            Command::Block { pick, channel } => self.decide_blocking(pick, channel),
            Command::Unblock { pick, channel } => self.decide_unblocking(pick, channel),
            Command::Join { entry, sub, zone, quantity, contact } => {
                let wish = (zone.as_deref(), *quantity);
                self.decide_joining(*entry, *sub, wish, contact.as_ref())
            }
            Command::ViewEntry { entry } => self.decide_looking(*entry, now),
            Command::AcceptOffer { entry } => self.decide_accepting(*entry, now),
            Command::Leave { entry } => self.decide_leaving(*entry, now),
            Command::BeginPayment(begin) => self.decide_payment(begin, now),
            Command::MovePayment { order, number, gateway } => {
                self.decide_moving(*order, *number, gateway)
            }
            Command::Settle(settlement) => (self.decide_settling(settlement, now), Ok(())),
            Command::KeepReceipt { order, receipt } => self.decide_receipt(*order, receipt),
            Command::BeginCapture { order } => self.decide_capture(*order, now),
            Command::Voided { order, number } => (self.decide_voided(*order, *number), Ok(())),
            Command::Expire { hold } => (self.decide_expiry(*hold, now), Ok(())),
            Command::After(after) => self.decide_after(after, now),
            Command::Post(post) => self.decide_post(post, now),
            Command::ViewOrder { .. } | Command::ListPaymentWork | Command::ListBlocks => {
                (Vec::new(), Ok(()))
            }
        };
        changes = self.with_post(changes);
        let fits = "a change fits the state that it was decided on";
        for change in &changes {
            self.evolve(change, now).expect(fits);
        }
        // Before anybody else is served: what came free is offered to those who wait.
        if !changes.is_empty() {
            self.make_offers(&mut changes, now);
        }
        let reply = match verdict {
            Err(refusal) => Reply::Refused(refusal),
            Ok(()) => self.reply(command, &changes, score, now),
        };
        before.append(&mut changes);
        (before, reply)
    }

    fn make_offers(&mut self, changes: &mut Vec<Change>, now: Timestamp) {
        while let Some(offer) = self.next_offer(now) {
            self.evolve(&offer, now).expect("an offer fits the state that it was decided on");
            changes.push(offer);
        }
    }

    /// Carries out one change that was decided at `at`.
    ///
    /// # Errors
    /// If it does not fit; the state may be half changed then and must be thrown away.
    pub fn evolve(&mut self, change: &Change, at: Timestamp) -> Result<(), Misfit> {
        self.forget_expired(at);
        self.forget_declined(at);
        self.forget_paid(at);
        self.next_seq += 1;
        let seq = self.next_seq;
        match change {
            Change::Opened { plan } => {
                if plan != self.plan.fingerprint() {
                    let now = self.plan.fingerprint().to_owned();
                    return Err(Misfit::OtherPlan { logged: plan.clone(), now });
                }
                self.opened = Some(plan.clone());
            }
            Change::Held { hold, sub, seats, prices, terms, until } => {
                self.held(*hold, *sub, seats, (prices, *terms), *until, at)?;
            }
            Change::Amended { hold, added, prices, dropped } => {
                self.amended(*hold, added, prices, dropped)?;
            }
            Change::Extended { hold, by, until } => self.extended(*hold, *by, *until)?,
            Change::Blocked { channel, runs } => self.block(channel, runs)?,
            Change::Unblocked { channel, runs } => self.unblock(channel, runs)?,
            Change::Joined { entry, sub, zone, quantity, contact } => {
                self.joined(*entry, *sub, (zone.as_deref(), *quantity), contact.as_ref())?;
            }
            Change::Left { entry } => self.left(*entry)?,
            Change::Accepted { hold, until } => self.accepted(*hold, *until, at)?,
            Change::OfferTold { hold, .. } => self.offer_told(*hold)?,
            Change::Released { hold } => {
                self.take_hold(*hold, "released")?;
            }
            Change::Expired { hold } => self.expired(*hold, at)?,
            Change::PaymentBegun(begun) => self.payment_begun(begun, at, seq)?,
            Change::PaymentUnknown { order } => self.payment_unknown(*order, seq)?,
            Change::PaymentMoved { order, gateway } => self.payment_moved(*order, gateway, at)?,
            Change::PaymentAction { order, reference, action } => {
                self.payment_action(*order, reference.as_deref(), action, seq)?;
            }
            Change::PaymentDeclined { order, until, code, is_void_owed } => {
                let until = *until;
                self.payment_declined(*order, until, code.clone(), *is_void_owed, at, seq)?;
            }
            Change::Sold { order, reference, capture_at } => {
                self.sold(*order, reference.as_deref(), *capture_at, at, seq)?;
            }
            Change::ReceiptKept { order, receipt } => self.receipt_kept(*order, receipt)?,
            Change::CaptureBegun { order, again_at } => self.capture_begun(*order, *again_at)?,
            Change::Captured { order, amount } => {
                self.turn_capture(*order, Capture::Captured { amount: *amount })?;
            }
            Change::CaptureLost { order } => self.turn_capture(*order, Capture::Lost)?,
            Change::VoidOwed(due) => self.void_owed(due.clone())?,
            Change::Voided { order, number } => self.voided(*order, *number)?,
            Change::Noticed { id } => self.noticed(id, at),
            Change::After(after) => self.after(after, at, seq)?,
            Change::Post(post) => self.posted(post, at, seq)?,
        }
        Ok(())
    }

    /// Seats by state.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The free seats.
    #[must_use]
    pub fn free(&self) -> &SeatSet {
        self.stock.free()
    }

    /// The change that begins the sale, if it has not begun.
    #[must_use]
    pub fn opening(&self) -> Option<Change> {
        let plan = self.plan.fingerprint().to_owned();
        self.opened.is_none().then_some(Change::Opened { plan })
    }

    /// Name of the seating that the sale began with, once it has.
    #[must_use]
    pub fn seating(&self) -> Option<&str> {
        self.opened.as_deref()
    }

    /// What to answer to a command that was not refused, once it is carried out.
    fn reply(
        &self,
        command: &Command,
        changes: &[Change],
        score: Option<Score>,
        now: Timestamp,
    ) -> Reply {
        match command {
            Command::Hold { hold, .. }
            | Command::HoldAtBoxOffice { hold, .. }
            | Command::ViewHold { hold, .. }
            | Command::Amend { hold, .. }
            | Command::Extend { hold, .. } => self.view_hold(*hold, score),
            Command::Block { .. } | Command::Unblock { .. } | Command::ListBlocks => {
                Reply::Blocks(self.blocks())
            }
            Command::Join { entry, .. }
            | Command::ViewEntry { entry }
            | Command::AcceptOffer { entry } => self.view_entry(*entry),
            Command::Release { .. } | Command::Leave { .. } => Reply::Freed,
            Command::BeginPayment(begin) => self.reply_to_payment(begin, changes.first()),
            Command::MovePayment { order, .. } if changes.is_empty() => self.view_order(*order),
            Command::MovePayment { order, .. } => self.charge(*order),
            Command::Settle(settlement) => {
                self.reply_to_settling(settlement.order, changes.first())
            }
            Command::BeginCapture { .. } | Command::Voided { .. } if changes.is_empty() => {
                Reply::Nothing
            }
            Command::KeepReceipt { order, .. } | Command::BeginCapture { order } => {
                self.view_order(*order)
            }
            Command::Voided { .. } => Reply::Freed,
            Command::Expire { .. } if changes.is_empty() => Reply::Nothing,
            Command::Expire { .. } => Reply::Freed,
            Command::After(after) => self.reply_after(after),
            Command::Post(post) => self.reply_to_post(post),
            Command::ViewOrder { order } => self.view_order(*order),
            Command::ListPaymentWork => self.payment_work(now),
        }
    }
}
