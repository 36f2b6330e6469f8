//! What is to be sent to whom, and was it? Messages are part of the log, like all that is owed.
//!
//! A message that is due stays due until somebody says that it was sent, or that it never can be:
//! a crash in between sends it again, under the same name, and the receiver's side can tell. Who
//! owns the partition is the only one that can be asked for what is due.

use std::collections::BTreeSet;

use keys::{Id128, Timestamp};
use serde::{Deserialize, Serialize};

use super::command::{Change, Reply};
use super::payment::{Order, OrderStage};
use super::refusal::Refusal;
use super::state::{Decided, Misfit, State};
use super::word::WordDue;

/// Shortest time between two requests to send tickets, in seconds.
const AGAIN_SECS: u64 = 60;
/// Most messages with tickets of one order in a day: a mailbox of somebody else is no toy.
const TICKETS_A_DAY_MAX: usize = 6;

/// Whether there is anybody to send messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PostRules {
    /// By mail.
    pub mail: bool,
    /// By SMS.
    pub sms: bool,
}

/// How it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// By mail.
    Mail,
    /// By SMS.
    Sms,
}

/// What it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// Here are your tickets.
    Tickets,
    /// Tickets were refunded.
    Refund,
    /// The event was cancelled and the tickets were refunded.
    Cancelled,
}

/// Where a message is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// To be sent.
    Due,
    /// Taken over by the next server.
    Sent {
        /// When.
        at: Timestamp,
    },
    /// Refused for ever.
    Undeliverable {
        /// When.
        at: Timestamp,
        /// What the next server said.
        why: String,
    },
}

/// A message to a buyer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// What it says.
    pub message: Message,
    /// How it is sent.
    pub channel: Channel,
    /// Since when it is due.
    pub since: Timestamp,
    /// Log sequence after that was written down.
    pub seq: u64,
    /// Where it is.
    pub state: DeliveryState,
}

/// A message as it is found: when it became due, of which order, which of its messages.
pub type DeliveryKey = (u64, Id128, u32);

/// A message that is to be sent, or that could not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryDue {
    /// Its key.
    pub key: DeliveryKey,
    /// The message.
    pub delivery: Delivery,
    /// The mail address.
    pub email: Option<String>,
    /// The telephone number.
    pub phone: Option<String>,
    /// The buyer's locale.
    pub locale: Option<String>,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivered {
    /// The next server has it.
    Sent,
    /// It was refused for ever.
    Undeliverable {
        /// What the next server said.
        why: String,
    },
}

/// One thing that is asked of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostCommand {
    /// Send the tickets once more.
    SendAgain {
        /// Of which order.
        order: Id128,
    },
    /// Tell what became of a message.
    Delivered {
        /// Of which order.
        order: Id128,
        /// Which of its messages.
        number: u32,
        /// What.
        outcome: Delivered,
    },
    /// Tell what became of word of an offer.
    Told {
        /// The offer.
        hold: Id128,
        /// What.
        outcome: Delivered,
    },
    /// What is to be sent.
    List {
        /// After this one.
        after: Option<DeliveryKey>,
        /// How many.
        limit: usize,
    },
    /// What could not be sent.
    ListUndeliverable {
        /// How many, latest first.
        limit: usize,
    },
}

impl PostCommand {
    /// Name in metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::SendAgain { .. } => "send_again",
            Self::Delivered { .. } => "delivered",
            Self::Told { .. } => "told",
            Self::List { .. } => "list_post",
            Self::ListUndeliverable { .. } => "list_undeliverable",
        }
    }
}

/// What is to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PostWork {
    /// The next messages.
    pub due: Vec<DeliveryDue>,
    /// The first words of offers, in the first list only.
    pub words: Vec<WordDue>,
    /// How many are due in all.
    pub due_total: u64,
    /// Since when the oldest is due.
    pub oldest: Option<Timestamp>,
    /// How many were refused for ever.
    pub undeliverable_total: u64,
    /// How many orders of a cancelled event are still to be refunded.
    pub is_cancelling: bool,
    /// Whether the event was cancelled.
    pub is_cancelled: bool,
}

/// What is written to the log of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "post", rename_all = "snake_case", deny_unknown_fields)]
pub enum PostChange {
    /// A message is to be sent.
    Due {
        /// Of which order.
        order: Id128,
        /// What it says.
        message: Message,
        /// How.
        channel: Channel,
    },
    /// It was sent.
    Sent {
        /// Of which order.
        order: Id128,
        /// Which of its messages.
        number: u32,
    },
    /// It never can be.
    Undeliverable {
        /// Of which order.
        order: Id128,
        /// Which of its messages.
        number: u32,
        /// What the next server said.
        why: String,
    },
}

impl PostChange {
    pub(super) const fn order(&self) -> Id128 {
        match self {
            Self::Due { order, .. }
            | Self::Sent { order, .. }
            | Self::Undeliverable { order, .. } => *order,
        }
    }
}

/// Messages by where they are; all of it is in the orders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Post {
    due: BTreeSet<DeliveryKey>,
    undeliverable: BTreeSet<DeliveryKey>,
}

impl Post {
    pub(super) fn follow(&mut self, id: Id128, order: &Order) {
        for (number, delivery) in (0_u32..).zip(&order.after.deliveries) {
            let key = (delivery.seq, id, number);
            match delivery.state {
                DeliveryState::Due => self.due.insert(key),
                DeliveryState::Sent { .. } => self.due.remove(&key),
                DeliveryState::Undeliverable { .. } => {
                    self.due.remove(&key);
                    self.undeliverable.insert(key)
                }
            };
        }
    }
}

/// Decisions: they read the state and change nothing.
impl State {
    /// The messages that changes bring about, behind these.
    pub(super) fn with_post(&self, mut changes: Vec<Change>) -> Vec<Change> {
        let mut due = Vec::new();
        for change in &changes {
            let Some((order, message)) = change.brings_message() else { continue };
            let Some(found) = self.orders.get(&order) else { continue };
            for channel in self.channels(found, message) {
                due.push(Change::Post(PostChange::Due { order, message, channel }));
            }
        }
        changes.append(&mut due);
        changes
    }

    fn channels(&self, order: &Order, message: Message) -> Vec<Channel> {
        let PostRules { mail, sms } = self.rules.post;
        let by_mail = (mail && order.email.is_some()).then_some(Channel::Mail);
        // A refund can wait for the mail; a telephone number alone must do.
        let is_worth = message != Message::Refund || by_mail.is_none();
        let by_sms = (sms && order.phone.is_some() && is_worth).then_some(Channel::Sms);
        by_mail.into_iter().chain(by_sms).collect()
    }

    pub(super) fn decide_post(&self, command: &PostCommand, now: Timestamp) -> Decided {
        match command {
            PostCommand::SendAgain { order } => self.decide_sending_again(*order, now),
            PostCommand::Delivered { order, number, outcome } => {
                let (order, number) = (*order, *number);
                let found = self.orders.get(&order);
                let delivery = found.and_then(|o| o.after.deliveries.get(number as usize));
                if delivery.is_none_or(|delivery| delivery.state != DeliveryState::Due) {
                    return (Vec::new(), Ok(()));
                }
                let change = match outcome {
                    Delivered::Sent => PostChange::Sent { order, number },
                    Delivered::Undeliverable { why } => {
                        PostChange::Undeliverable { order, number, why: why.clone() }
                    }
                };
                (vec![Change::Post(change)], Ok(()))
            }
            PostCommand::Told { hold, outcome } => self.decide_told(*hold, outcome),
            PostCommand::List { .. } | PostCommand::ListUndeliverable { .. } => {
                (Vec::new(), Ok(()))
            }
        }
    }

    fn decide_sending_again(&self, order: Id128, now: Timestamp) -> Decided {
        let refuse = |refusal| (Vec::new(), Err(refusal));
        let found = self.orders.get(&order).filter(|order| order.stage == OrderStage::Sold);
        let Some(found) = found else { return refuse(Refusal::UnknownOrder) };
        if found.valid().next().is_none() {
            let at = found.after.refunds.last().map_or(now, |refund| refund.at);
            return refuse(Refusal::TicketVoid { at });
        }
        let channels = self.channels(found, Message::Tickets);
        if channels.is_empty() {
            return refuse(Refusal::NoAddress);
        }
        let sent = || found.after.deliveries.iter().filter(|d| d.message == Message::Tickets);
        if sent().any(|delivery| delivery.state == DeliveryState::Due) {
            // They are on their way already.
            return (Vec::new(), Ok(()));
        }
        let mut asked: Vec<Timestamp> = sent().map(|delivery| delivery.since).collect();
        asked.dedup();
        let day = asked.iter().rev().take_while(|since| since.plus_secs(24 * 3600) > now).count();
        let soonest = asked.last().map(|last| last.plus_secs(AGAIN_SECS));
        let next_day =
            asked.len().checked_sub(TICKETS_A_DAY_MAX).filter(|_| day >= TICKETS_A_DAY_MAX);
        let next_day =
            next_day.and_then(|at| asked.get(at)).map(|first| first.plus_secs(24 * 3600));
        if let Some(at) = soonest.max(next_day).filter(|at| *at > now) {
            return refuse(Refusal::SendTooSoon { at });
        }
        let due = |channel| PostChange::Due { order, message: Message::Tickets, channel };
        (channels.into_iter().map(due).map(Change::Post).collect(), Ok(()))
    }

    /// What to answer to a command that was not refused, once it is carried out.
    pub(super) fn reply_to_post(&self, command: &PostCommand) -> Reply {
        match command {
            PostCommand::SendAgain { order } | PostCommand::Delivered { order, .. } => {
                self.view_order(*order)
            }
            PostCommand::Told { .. } => Reply::Nothing,
            PostCommand::List { after, limit } => {
                Reply::Post(Box::new(self.post_work(*after, *limit)))
            }
            PostCommand::ListUndeliverable { limit } => {
                let keys = self.post.undeliverable.iter().rev().take(*limit);
                let due = keys.filter_map(|key| self.delivery(*key)).collect();
                Reply::Post(Box::new(PostWork { due, ..self.post_work(None, 0) }))
            }
        }
    }

    fn post_work(&self, after: Option<DeliveryKey>, limit: usize) -> PostWork {
        let next = self.post.due.iter().filter(|key| after.is_none_or(|after| **key > after));
        let oldest = self.post.due.first().and_then(|key| self.delivery(*key));
        PostWork {
            due: next.take(limit).filter_map(|key| self.delivery(*key)).collect(),
            words: if after.is_none() { self.words_due(limit) } else { Vec::new() },
            due_total: self.post.due.len() as u64,
            oldest: oldest.map(|due| due.delivery.since),
            undeliverable_total: self.post.undeliverable.len() as u64,
            is_cancelling: self.has_to_cancel(),
            is_cancelled: self.is_cancelled(),
        }
    }

    fn delivery(&self, key: DeliveryKey) -> Option<DeliveryDue> {
        let (_, id, number) = key;
        let order = self.orders.get(&id)?;
        Some(DeliveryDue {
            key,
            delivery: order.after.deliveries.get(number as usize)?.clone(),
            email: order.email.clone(),
            phone: order.phone.clone(),
            locale: order.locale.clone(),
        })
    }
}

/// Changes: each fits the state, or is an error.
impl State {
    pub(super) fn posted(
        &mut self,
        change: &PostChange,
        at: Timestamp,
        seq: u64,
    ) -> Result<(), Misfit> {
        let id = change.order();
        let order = self.sold_order_mut(id, "post")?;
        let deliveries = &mut order.after.deliveries;
        let (number, state) = match change {
            PostChange::Due { message, channel, .. } => {
                let (message, channel, since) = (*message, *channel, at);
                let state = DeliveryState::Due;
                deliveries.push(Delivery { message, channel, since, seq, state });
                if let Some(order) = self.orders.get(&id) {
                    self.post.follow(id, order);
                }
                return Ok(());
            }
            PostChange::Sent { number, .. } => (*number, DeliveryState::Sent { at }),
            PostChange::Undeliverable { number, why, .. } => {
                (*number, DeliveryState::Undeliverable { at, why: why.clone() })
            }
        };
        let due = deliveries.get_mut(number as usize).filter(|d| d.state == DeliveryState::Due);
        due.ok_or(Misfit::NotThere { id, change: "post" })?.state = state;
        if let Some(order) = self.orders.get(&id) {
            self.post.follow(id, order);
        }
        Ok(())
    }
}
