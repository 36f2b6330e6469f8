//! What was the buyer told when the order was confirmed?
//!
//! Whoever asks again with the same idempotency key hears the same, byte for byte, for a day: also
//! if the keys that sign tickets were rolled meanwhile, the event has another title, or tickets
//! were used. Most of an answer follows from the order; what does not is kept here, in the log,
//! before it is told for the first time. It is a change of its own, behind the sale: an order that
//! a webhook confirmed, and whose buyer never asks, needs none.

use std::sync::Arc;

use keys::Id128;
use serde::{Deserialize, Serialize};

use super::after::After;
use super::command::Change;
use super::payment::{OrderStage, OrderView};
use super::post::{Delivery, DeliveryState, Message};
use super::refusal::Refusal;
use super::state::{Decided, Misfit, State};

/// What the answer said beside what the order itself says. Cheap to copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Told", into = "Told")]
pub struct Receipt(Arc<Told>);

/// What a [`Receipt`] keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// The event's title.
    pub title: String,
    /// The barcode of each ticket, in the order of the order's tickets.
    pub barcodes: Vec<String>,
    /// The order's log sequence.
    pub seq: u64,
}

impl Receipt {
    /// What it keeps.
    #[must_use]
    pub fn told(&self) -> &Told {
        &self.0
    }
}

impl From<Told> for Receipt {
    fn from(told: Told) -> Self {
        Self(Arc::new(told))
    }
}

impl From<Receipt> for Told {
    fn from(Receipt(told): Receipt) -> Self {
        Arc::unwrap_or_clone(told)
    }
}

impl OrderView {
    /// The order as it was when it was sold, whatever became of it since.
    #[must_use]
    pub fn as_sold(mut self) -> Self {
        let at = self.at;
        let is_first = |sent: &Delivery| sent.message == Message::Tickets && sent.since == at;
        let deliveries = std::mem::take(&mut self.after).deliveries.into_iter().filter(is_first);
        let deliveries =
            deliveries.map(|sent| Delivery { state: DeliveryState::Due, ..sent }).collect();
        self.after = After { deliveries, ..After::default() };
        if let Some(receipt) = &self.receipt {
            self.seq = receipt.told().seq;
        }
        self
    }
}

impl State {
    /// The first receipt of an order counts.
    pub(super) fn decide_receipt(&self, order: Id128, receipt: &Receipt) -> Decided {
        let sold = self.orders.get(&order).filter(|order| order.stage == OrderStage::Sold);
        match sold {
            None => (Vec::new(), Err(Refusal::UnknownOrder)),
            Some(sold) if sold.receipt.is_some() => (Vec::new(), Ok(())),
            Some(_) => {
                let receipt = receipt.clone();
                (vec![Change::ReceiptKept { order, receipt }], Ok(()))
            }
        }
    }

    pub(super) fn receipt_kept(&mut self, order: Id128, receipt: &Receipt) -> Result<(), Misfit> {
        self.sold_order_mut(order, "receipt_kept")?.receipt = Some(receipt.clone());
        Ok(())
    }

    /// Its key is forgotten, so nobody can ask again.
    pub(super) fn forget_receipt(&mut self, order: Id128) {
        if let Some(order) = self.orders.get_mut(&order) {
            order.receipt = None;
        }
    }
}
