//! What does a restart need? All that cannot be computed from the rest.

use std::collections::VecDeque;
use std::sync::Arc;

use keys::{Id128, Timestamp};
use serde::{Deserialize, Serialize};

use super::blocks::Block;
use super::command::Change;
use super::dues::{Dues, SavedDues};
use super::holds::Hold;
use super::payment::{Attempt, Order, OrderStage};
use super::plan::Plan;
use super::state::{Misfit, Rules, State};
use super::waitlist::SavedWaitlist;

/// All that a restart needs; the rest is computed from it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    pub(super) plan: Option<String>,
    pub(super) holds: Vec<(Id128, Hold)>,
    pub(super) orders: Vec<(Id128, Order)>,
    pub(super) attempts: Vec<(Id128, String, Attempt)>,
    pub(super) expired: VecDeque<(Timestamp, Id128, Id128)>,
    pub(super) declined: VecDeque<(Timestamp, Id128, String)>,
    #[serde(default)]
    pub(super) blocked: Vec<Block>,
    #[serde(default)]
    pub(super) waitlist: SavedWaitlist,
    #[serde(default)]
    pub(super) dues: SavedDues,
    #[serde(default)]
    pub(super) cancelled_at: Option<Timestamp>,
}

impl State {
    /// What a restart needs.
    #[must_use]
    pub fn save(&self) -> Saved {
        let attempts = self.attempts.iter();
        Saved {
            plan: self.opened.clone(),
            holds: self.holds.iter().map(|(id, hold)| (*id, hold.clone())).collect(),
            orders: self.orders.iter().map(|(id, order)| (*id, order.clone())).collect(),
            attempts: attempts.map(|((sub, key), a)| (*sub, key.clone(), a.clone())).collect(),
            expired: self.expired_since.clone(),
            declined: self.declined_since.clone(),
            blocked: self.blocks(),
            waitlist: self.waitlist.save(),
            dues: self.dues.save(),
            cancelled_at: self.aftermath.cancelled_at,
        }
    }

    /// The state that was saved.
    ///
    /// # Errors
    /// If what was saved does not fit together or belongs to another seating.
    pub fn restore(plan: Arc<Plan>, rules: Rules, saved: Saved) -> Result<Self, Misfit> {
        let mut state = Self::new(plan, rules);
        if let Some(plan) = saved.plan {
            state.evolve(&Change::Opened { plan }, Timestamp::default())?;
        }
        for (id, hold) in saved.holds {
            let paying = hold.paying;
            let prices = state.prices_or(hold.prices, &hold.seats)?;
            state.add_hold(id, Hold { paying: None, prices, ..hold })?;
            if let (Some(order), Some(known)) = (paying, state.holds.get_mut(&id)) {
                known.paying = Some(order);
                state.deadlines.remove(&(known.until, id));
                state.counts.held -= known.seats.len() as u64;
                state.counts.paying += known.seats.len() as u64;
                state.paying.insert(order);
            }
        }
        for (id, order) in saved.orders {
            let prices = state.prices_or(order.prices.clone(), &order.seats)?;
            let order = Order { prices, ..order };
            if order.stage == OrderStage::Sold {
                let seats: Vec<_> = order.valid().map(|(_, seat, _)| seat).collect();
                if !seats.is_empty() {
                    state.take_seats(order.sub, &seats)?;
                }
                state.counts.sold += seats.len() as u64;
                state.aftermath.sold(id, &order);
                state.post.follow(id, &order);
                state.bought.insert(order.hold, id);
            } else if !state.paying.contains(&id) {
                return Err(Misfit::NotThere { id, change: "a payment" });
            } else if let Some(at) = order.payment.give_up_at {
                state.deadlines.insert((at, order.hold));
            }
            state.orders.insert(id, order);
        }
        if let Some(id) = state.paying.iter().find(|id| !state.orders.contains_key(id)) {
            return Err(Misfit::NotThere { id: *id, change: "a payment" });
        }
        let attempts = saved.attempts.into_iter();
        state.attempts = attempts.map(|(sub, key, attempt)| ((sub, key), attempt)).collect();
        state.expired = saved.expired.iter().map(|(_, hold, sub)| (*hold, *sub)).collect();
        state.expired_since = saved.expired;
        for (_, sub, _) in &saved.declined {
            *state.declined_by_visitor.entry(*sub).or_default() += 1;
        }
        state.declined_since = saved.declined;
        state.aftermath.cancelled_at = saved.cancelled_at;
        for Block { channel, runs } in saved.blocked {
            state.block(&channel, &runs)?;
        }
        state.restore_waitlist(saved.waitlist)?;
        state.dues = Dues::restore(saved.dues, state.orders.iter());
        Ok(state)
    }
}
