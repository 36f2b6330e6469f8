//! Who goes to the gateway? What the tasks of a process do between the log and the gateway, one
//! call or one command at a time, so that anything can break in between.

use keys::Id128;

use super::crowd::Begun;
use super::till::{Key, Standing};
use super::{ABSENT_AFTER, Simulation};
use crate::sale::{
    Action, AfterCommand, CaptureDue, ChargeView, Command, GatewayName, Outcome, PaymentWork,
    RefundDue, Reply, Settlement, Unsettled, VoidDue,
};

/// Payments that processes are at.
#[derive(Debug, Default)]
pub(super) struct Clerk(Vec<Errand>);

#[derive(Debug, Clone)]
struct Errand {
    node: usize,
    buyer: usize,
    charge: ChargeView,
    /// What is to be told to the writer, once the gateway was asked.
    told: Option<Outcome>,
}

impl Clerk {
    pub(super) fn begin(&mut self, node: usize, begun: Begun) {
        self.0.push(Errand { node, buyer: begun.buyer, charge: begun.charge, told: None });
    }

    /// A process died, and what it was at with it.
    pub(super) fn forget(&mut self, node: usize) {
        self.0.retain(|errand| errand.node != node);
    }

    pub(super) fn is_busy(&self) -> bool {
        !self.0.is_empty()
    }

    fn attends(&self, node: usize, order: Id128) -> bool {
        self.0.iter().any(|errand| errand.node == node && errand.charge.order == order)
    }
}

impl Simulation {
    /// One step of one payment that a process is at.
    pub(super) fn clerk_works(&mut self) {
        if !self.clerk.is_busy() {
            return;
        }
        let at = self.chance.below(self.clerk.0.len() as u64) as usize;
        let mut errand = self.clerk.0.swap_remove(at);
        let Some(outcome) = errand.told.clone() else {
            if self.ask_gateway(&mut errand) {
                self.clerk.0.push(errand);
            }
            return;
        };
        let ChargeView { order, number, .. } = errand.charge;
        let reply = self.tell(errand.node, settlement((order, number), outcome, None));
        if let Some(reply) = reply {
            let now = self.house.now();
            self.buyers[errand.buyer].settled(reply, now, &mut self.history);
        }
    }

    /// Whether there is still something to do.
    fn ask_gateway(&mut self, errand: &mut Errand) -> bool {
        let ChargeView { order, number, amount, .. } = errand.charge;
        let is_good = self.chance.chance(0.8);
        let now = self.house.now();
        let seen = self.till.authorise((order, number), amount, is_good, &mut self.chance, now);
        if let Some(outcome) = seen.and_then(|seen| meaning(seen, amount)) {
            errand.told = Some(outcome);
            return true;
        }
        if self.chance.chance(0.5) {
            errand.told = Some(Outcome::Unknown);
            return true;
        }
        let gateway = GatewayName::default();
        let moving = Command::MovePayment { order, number, gateway };
        match self.tell(errand.node, moving) {
            Some(Reply::Charge(again)) => {
                errand.charge = again;
                true
            }
            _ => false,
        }
    }

    /// Brings a command to a process; `None` if that cannot tell what became of it.
    fn tell(&mut self, node: usize, command: Command) -> Option<Reply> {
        if let Command::Settle(Settlement { order, outcome, .. }) = &command
            && matches!(outcome, Outcome::Declined { .. } | Outcome::GivenUp)
        {
            self.declined.insert(*order);
        }
        let heard = self.house.step(node, &[command], true).pop()?;
        if !self.house.is_up(node) {
            self.clerk.forget(node);
        }
        heard.ok().map(|answer| answer.reply)
    }

    /// A round of the resolver of a process. If it `may_die`, then between a call and the command
    /// that would write it down.
    pub(super) fn resolve(&mut self, node: usize, may_die: bool) {
        let Some(Reply::PaymentWork(work)) = self.tell(node, Command::ListPaymentWork) else {
            return;
        };
        let PaymentWork { unsettled, captures, voids, refunds, .. } = *work;
        let is_skipped = |sim: &mut Self| may_die && sim.chance.chance(0.3);
        for open in unsettled {
            if !self.clerk.attends(node, open.order) && !is_skipped(self) {
                self.settle_open(node, open, may_die);
            }
        }
        for due in captures {
            if !is_skipped(self) {
                self.capture(node, due, may_die);
            }
        }
        for due in voids {
            if !is_skipped(self) {
                self.void(node, due, may_die);
            }
        }
        for due in refunds {
            if !is_skipped(self) {
                self.repay(node, due, may_die);
            }
        }
    }

    /// What was heard of the gateway is written down, unless the process dies before.
    fn write_down(&mut self, node: usize, command: Command, may_die: bool) {
        if may_die && self.chance.chance(0.02) {
            self.crash(node);
        } else {
            self.tell(node, command);
        }
    }

    fn settle_open(&mut self, node: usize, open: Unsettled, may_die: bool) {
        let (key, amount, now) = ((open.order, open.number), open.amount, self.house.now());
        let is_late = self.house.core_now(node).since(open.asked_at) >= ABSENT_AFTER;
        let seen = self.till.authorise(key, amount, true, &mut self.chance, now);
        let outcome = match seen {
            Some(seen) => meaning(seen, amount),
            None => match self.till.lookup(key) {
                Standing::Absent if is_late => Some(Outcome::GivenUp),
                seen => meaning(seen, amount),
            },
        };
        if let Some(outcome) = outcome {
            self.write_down(node, settlement(key, outcome, None), may_die);
        }
    }

    fn capture(&mut self, node: usize, due: CaptureDue, may_die: bool) {
        let CaptureDue { order, number, amount, .. } = due;
        let begun = self.tell(node, Command::BeginCapture { order });
        if !matches!(begun, Some(Reply::Order(_))) {
            return;
        }
        let now = self.house.now();
        let seen = self.till.capture((order, number), &mut self.chance, now);
        let outcome = match seen {
            Some(Standing::Captured) => Outcome::Captured { amount },
            Some(Standing::Declined | Standing::Voided) => Outcome::Declined { code: None },
            Some(Standing::Absent | Standing::Waiting | Standing::Authorised) | None => return,
        };
        self.write_down(node, settlement((order, number), outcome, None), may_die);
    }

    fn void(&mut self, node: usize, due: VoidDue, may_die: bool) {
        let VoidDue { order, number, since, .. } = due;
        let is_late = self.house.core_now(node).since(since) >= ABSENT_AFTER;
        let now = self.house.now();
        match self.till.void((order, number), &mut self.chance, now) {
            Some(Standing::Declined | Standing::Voided) => {}
            Some(Standing::Absent) if is_late => {}
            _ => return,
        }
        self.write_down(node, Command::Voided { order, number }, may_die);
    }

    fn repay(&mut self, node: usize, due: RefundDue, may_die: bool) {
        let RefundDue { order, refund, number, amount, .. } = due;
        let key = format!("{order}:refund:{refund}");
        let now = self.house.now();
        let paid = self.till.refund((order, number), amount, key, &mut self.chance, now);
        if paid.is_some() {
            let repaid = Command::After(AfterCommand::Repaid { order, refund });
            self.write_down(node, repaid, may_die);
        }
    }

    /// The gateway tells of something once more, to whichever process.
    pub(super) fn webhook(&mut self) {
        let many = self.till.books.len() as u64;
        let at = self.chance.below(many) as usize;
        let Some((key, entry)) = self.till.books.iter().nth(at) else { return };
        let (key, seen) = (*key, entry.standing);
        let Some(outcome) = meaning(seen, entry.amount) else { return };
        let notice = Some(format!("{}-{}-{seen:?}", key.0, key.1));
        let node = self.node();
        self.tell(node, settlement(key, outcome, notice));
    }

    /// Everything in the gateway's books is told once more.
    pub(super) fn reconcile(&mut self, node: usize) {
        let books = self.till.books.iter();
        let seen: Vec<_> = books.map(|(key, e)| (*key, meaning(e.standing, e.amount))).collect();
        for (key, outcome) in seen {
            if let Some(outcome) = outcome {
                self.tell(node, settlement(key, outcome, None));
            }
        }
    }

    /// Whether there is nothing left to do at the gateway.
    pub(super) fn is_settled(&mut self) -> bool {
        match self.tell(0, Command::ListPaymentWork) {
            Some(Reply::PaymentWork(work)) => {
                work.unsettled.is_empty()
                    && work.voids_total + work.uncaptured_total + work.refunds_total == 0
            }
            _ => false,
        }
    }
}

fn settlement(key: Key, outcome: Outcome, notice: Option<String>) -> Command {
    let ((order, number), gateway) = (key, GatewayName::default());
    Command::Settle(Settlement { order, number, gateway, reference: None, outcome, notice })
}

/// What a standing means for an order; `None` if it tells nothing yet.
fn meaning(seen: Standing, amount: u64) -> Option<Outcome> {
    match seen {
        Standing::Absent => None,
        Standing::Waiting => {
            let (client_secret, next_action) = ("secret".to_owned(), serde_json::Value::Null);
            Some(Outcome::ActionRequired(Action { client_secret, next_action }))
        }
        Standing::Authorised => Some(Outcome::Authorised { amount }),
        Standing::Captured => Some(Outcome::Captured { amount }),
        Standing::Declined | Standing::Voided => Some(Outcome::Declined { code: None }),
    }
}
