//! Who is to be told by mail that seats are kept for them?
//!
//! An entry of the waitlist may leave an address. Word of its offer is due from the change that
//! makes the offer until it is sent or refused for ever, and no longer than the offer is open: about
//! seats that went on to somebody else nobody wants to hear.

use keys::{Id128, Timestamp};
use serde::{Deserialize, Serialize};

use super::command::Change;
use super::holds::HoldView;
use super::post::{Delivered, DeliveryKey};
use super::state::{Decided, Misfit, State};

/// Where somebody who waits is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contact {
    /// Mail address.
    pub email: String,
    /// In which language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
}

/// Word of an offer that is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Word {
    pub(super) contact: Contact,
    /// Log sequence after the offer was made.
    pub(super) seq: u64,
}

/// Word of an offer that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WordDue {
    /// Its key: as that of a message, with the entry in place of the order.
    pub key: DeliveryKey,
    /// To whom.
    pub contact: Contact,
    /// What is offered.
    pub offer: HoldView,
    /// When it was offered.
    pub since: Timestamp,
}

/// Decisions: they read the state and change nothing.
impl State {
    pub(super) fn words_due(&self, limit: usize) -> Vec<WordDue> {
        if !self.rules.post.mail {
            return Vec::new();
        }
        let due = self.words.iter().filter_map(|(seq, id)| {
            let hold = self.holds.get(id)?;
            let contact = hold.word.as_ref()?.contact.clone();
            let offer = self.hold_view(*id, hold);
            Some(WordDue { key: (*seq, *id, 0), contact, offer, since: hold.since })
        });
        due.take(limit).collect()
    }

    pub(super) fn decide_told(&self, hold: Id128, outcome: &Delivered) -> Decided {
        let is_due = self.holds.get(&hold).is_some_and(|hold| hold.word.is_some());
        let why = match outcome {
            Delivered::Sent => None,
            Delivered::Undeliverable { why } => Some(why.clone()),
        };
        (is_due.then_some(Change::OfferTold { hold, why }).into_iter().collect(), Ok(()))
    }
}

/// Changes: each fits the state, or is an error.
impl State {
    pub(super) fn offer_told(&mut self, id: Id128) -> Result<(), Misfit> {
        let word = self.holds.get_mut(&id).and_then(|hold| hold.word.take());
        let word = word.ok_or(Misfit::NotThere { id, change: "offer_told" })?;
        self.words.remove(&(word.seq, id));
        Ok(())
    }
}
