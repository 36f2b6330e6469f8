//! How a hold becomes an order: seats first, then the money, then the tickets.
//!
//! A payment runs in a task of its own, so a buyer who closes the page does not leave it half
//! done. What a crash, a lost log or a silent gateway leaves behind is in the log, and the
//! resolver ([`resolve`]) works it off; what no log of ours knows of, the reconciler
//! ([`reconcile`]) finds in the gateway's own list.

mod outcome;
mod reconcile;
mod resolve;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use keys::{EventId, Id128, Timestamp};
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::failpoint;
use crate::metrics::Metrics;
use crate::partition::{Answer, Clock, Unavailable};
use crate::pay::webhook::{About, Notice};
use crate::pay::{Asked, Authorisation, Charge, GatewayError, Gateways};
use crate::sale::{
    BeginPayment, ChargeView, Command, GatewayName, OrderView, Outcome, PaymentView, Refusal,
    Reply, Settlement,
};
use crate::sales::Sales;

use outcome::{Answered, answered};

/// Payments at the gateways at once: more than any pace we admit at, small enough for memory.
const PAYMENTS_MAX: usize = 2048;
/// A buyer has waited this long and no other gateway is asked any more: the resolver goes on.
const FAILOVER_WITHIN: Duration = Duration::from_secs(9);
/// How often a known outcome is brought to a busy writer before the resolver takes over.
const SETTLE_TRIES: u32 = 20;
/// Pause between two of these.
const SETTLE_PAUSE: Duration = Duration::from_millis(50);
/// What could not be done at a gateway for this long comes before a person: an outage that ends by
/// itself is over by then, and no reservation has lapsed.
const LATE: Duration = Duration::from_secs(6 * 3600);
/// Findings that are kept; a list that long is no list for a person.
const FINDINGS_MAX: usize = 10_000;

/// Why there is neither order nor refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckoutError {
    /// Nothing was charged; try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// Too many payments are under way; nothing was charged.
    #[error("too many payments are under way")]
    Full,
    /// The gateway was asked and we could not write down what it said.
    #[error("the outcome of the payment could not be written down yet")]
    Unsettled {
        /// The order that it is for.
        order: Id128,
    },
}

/// An answer, and the time that the gateways took of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The order, or why not.
    pub answer: Answer,
    /// What we waited for gateways.
    pub provider_took: Duration,
}

/// What the operator may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckoutRules {
    /// An authorisation that a gateway has not heard of this long after it was asked for is taken
    /// for one that never was.
    pub absent_after: Duration,
    /// How often our orders are compared with the gateways' lists.
    pub reconcile_every: Duration,
}

/// What needs a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// The buyer has tickets, and the gateway reserves nothing for them.
    CaptureLost,
    /// The gateway captured another amount than the order costs.
    AmountDiffers,
    /// Money was captured for an order that is no more: refund it.
    CapturedForNothing,
    /// An authorisation cannot be voided, for its gateway is not configured any more.
    GatewayGone,
    /// Money of an order could not be captured for hours: its reservation lapses after days.
    CaptureLate,
    /// Money that is reserved for nobody could not be given back for hours.
    VoidLate,
    /// A refund could not be paid back for hours.
    RefundLate,
    /// The gateway refuses to pay a refund back.
    RefundRefused,
}

/// Where [`Finding`]s are kept: by event, order and authorisation.
type Findings = BTreeMap<(EventId, Id128, u32), Finding>;

/// Takes payments.
pub struct Checkout {
    sales: Arc<Sales>,
    gateways: Gateways,
    rules: CheckoutRules,
    metrics: Arc<Metrics>,
    clock: Clock,
    places: Arc<Semaphore>,
    /// Orders that a task of ours is at: the resolver leaves them alone.
    attended: Mutex<BTreeSet<Id128>>,
    /// When the resolver asks for an order again.
    paced: Mutex<BTreeMap<Id128, resolve::Pace>>,
    findings: Mutex<Findings>,
}

impl std::fmt::Debug for Checkout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkout").field("gateways", &self.gateways).finish_non_exhaustive()
    }
}

/// An order that a task of ours is at.
struct Attended<'a> {
    checkout: &'a Checkout,
    order: Id128,
}

impl Drop for Attended<'_> {
    fn drop(&mut self) {
        self.checkout.attended().remove(&self.order);
    }
}

impl Checkout {
    /// A checkout over these seats with these gateways.
    #[must_use]
    pub fn new(
        sales: Arc<Sales>,
        gateways: Gateways,
        rules: CheckoutRules,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Self {
        Self {
            sales,
            gateways,
            rules,
            metrics,
            clock,
            places: Arc::new(Semaphore::new(PAYMENTS_MAX)),
            attended: Mutex::default(),
            paced: Mutex::default(),
            findings: Mutex::default(),
        }
    }

    /// The gateways.
    #[must_use]
    pub fn gateways(&self) -> &Gateways {
        &self.gateways
    }

    /// What needs a person.
    #[must_use]
    pub fn findings(&self) -> Vec<((EventId, Id128, u32), Finding)> {
        let findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        findings.iter().map(|(of, finding)| (of.clone(), *finding)).collect()
    }

    /// Pays for a hold and waits for what becomes of it; goes on if the caller does not wait. The
    /// gateway in `begin` is chosen here.
    ///
    /// # Errors
    /// If there is neither order nor refusal.
    pub async fn pay(
        self: &Arc<Self>,
        event: EventId,
        begin: BeginPayment,
    ) -> Result<Checked, CheckoutError> {
        let place =
            Arc::clone(&self.places).try_acquire_owned().map_err(|_| CheckoutError::Full)?;
        let checkout = Arc::clone(self);
        let order = begin.order;
        let task = tokio::spawn(async move {
            let paid = checkout.pay_attended(event, begin).await;
            drop(place);
            paid
        });
        task.await.unwrap_or(Err(CheckoutError::Unsettled { order }))
    }

    async fn pay_attended(
        &self,
        event: EventId,
        mut begin: BeginPayment,
    ) -> Result<Checked, CheckoutError> {
        // Before the order is in the log, lest the resolver finds it unattended.
        self.attended().insert(begin.order);
        let _attended = Attended { checkout: self, order: begin.order };
        let gateway = self.gateways.choose(&begin.token, &[]).ok();
        begin.gateway.clone_from(&gateway);
        let token = begin.token.clone();
        let answer = self.sales.ask(&event, Command::BeginPayment(begin)).await?;
        let (Reply::Charge(charge), Some(gateway)) = (&answer.reply, gateway) else {
            return Ok(Checked { answer, provider_took: Duration::ZERO });
        };
        failpoint!("payment-begun");
        let asked = Instant::now();
        let answer = self.authorise(&event, charge.clone(), gateway, token).await?;
        Ok(Checked { answer, provider_took: asked.elapsed() })
    }

    /// Asks one gateway after the other until there is an outcome, and brings it to the writer.
    ///
    /// An authorisation without an answer is written down as one to be voided before the next
    /// gateway is asked: whatever became of it, the buyer pays once.
    async fn authorise(
        &self,
        event: &EventId,
        mut charge: ChargeView,
        mut gateway: GatewayName,
        token: String,
    ) -> Result<Answer, CheckoutError> {
        let (began, order) = (self.elapsed(), charge.order);
        let mut tried = Vec::new();
        loop {
            let answer = self.ask_for(event, &charge, &gateway, &token).await;
            failpoint!("authorise-answered");
            let meaning = answered(&answer);
            self.metrics.paid(outcome::paid(&meaning));
            if let Err(error) = &answer {
                tracing::warn!(%order, %gateway, %error, "an authorisation has no outcome yet");
            }
            let reference = answer.ok().and_then(|seen| seen.reference);
            let told = |outcome| Settlement {
                order,
                number: charge.number,
                gateway: gateway.clone(),
                reference,
                outcome,
                notice: None,
            };
            if let Answered::Known(outcome) = meaning {
                let settled = self.settle(event, told(outcome)).await;
                failpoint!("payment-settled");
                return settled;
            }
            tried.push(gateway.clone());
            let next = self.gateways.choose(&token, &tried);
            let Some(next) = next.ok().filter(|_| self.elapsed() - began < FAILOVER_WITHIN) else {
                let outcome = match meaning {
                    Answered::Refused { code } => Outcome::Declined { code: Some(code) },
                    _ => Outcome::Unknown,
                };
                return self.settle(event, told(outcome)).await;
            };
            let number = charge.number;
            let moving = Command::MovePayment { order, number, gateway: next.clone() };
            let moved = self.sales.ask(event, moving).await;
            let moved = moved.map_err(|_| CheckoutError::Unsettled { order })?;
            let Reply::Charge(again) = moved.reply else { return Ok(moved) };
            failpoint!("payment-moved");
            tracing::warn!(%order, from = %gateway, to = %next, "another gateway is asked");
            (charge, gateway) = (again, next);
        }
    }

    async fn ask_for(
        &self,
        event: &EventId,
        charge: &ChargeView,
        gateway: &GatewayName,
        token: &str,
    ) -> Result<crate::pay::Seen, GatewayError> {
        let ChargeView { order, number, amount, currency } = *charge;
        let authorisation = Authorisation { event: event.clone(), order, number, reference: None };
        let charge = Charge { authorisation, amount, currency, token: token.to_owned() };
        self.gateways.ask(gateway, Asked::Authorise, |gateway| gateway.authorise(&charge)).await
    }

    /// Brings what is known to the writer.
    async fn settle(&self, event: &EventId, told: Settlement) -> Result<Answer, CheckoutError> {
        let order = told.order;
        for _ in 0..SETTLE_TRIES {
            match self.sales.ask(event, Command::Settle(told.clone())).await {
                Err(Unavailable::Busy) => tokio::time::sleep(SETTLE_PAUSE).await,
                Err(_) => return Err(CheckoutError::Unsettled { order }),
                Ok(Answer { seq, reply: Reply::Refused(Refusal::UnknownOrder) }) => {
                    // The seats have gone back while we were asking. If money was reserved, it is
                    // written down that it must go back, too.
                    let reply = Reply::Refused(Refusal::PaymentDeclined { seq, code: None });
                    return Ok(Answer { seq, reply });
                }
                Ok(answer) => return Ok(answer),
            }
        }
        Err(CheckoutError::Unsettled { order })
    }

    /// Follows a webhook: asks the gateway what happened, and tells the state.
    ///
    /// # Errors
    /// If that is not known yet; whoever sent it should send it again.
    pub async fn noticed(
        &self,
        gateway: &GatewayName,
        notice: Notice,
    ) -> Result<(), CheckoutError> {
        // An event without a writer at the moment is ours all the same: then it is told again.
        let Some(about) = notice.about.filter(|about| self.sales.sells(&about.event)) else {
            self.metrics.webhooks_parked_total.inc();
            tracing::info!(%gateway, notice = notice.id, "a webhook is about nothing of ours");
            return Ok(());
        };
        let About { event, order, number, reference } = about;
        let which = Authorisation { event, order, number, reference: Some(reference) };
        self.look_at(gateway, &which, Some(notice.id)).await
    }

    /// Follows a buyer who says that they have done what was asked of them.
    ///
    /// # Errors
    /// If what became of it is not known yet.
    pub async fn resumed(&self, event: EventId, order: &OrderView) -> Result<(), CheckoutError> {
        let PaymentView { gateway, number, reference, .. } = order.payment.clone();
        let which = Authorisation { event, order: order.order, number, reference };
        self.look_at(&gateway, &which, None).await
    }

    async fn look_at(
        &self,
        gateway: &GatewayName,
        which: &Authorisation,
        notice: Option<String>,
    ) -> Result<(), CheckoutError> {
        let (order, number) = (which.order, which.number);
        let seen = self.gateways.ask(gateway, Asked::Lookup, |gateway| gateway.lookup(which)).await;
        let seen = seen.map_err(|_| CheckoutError::Unsettled { order })?;
        let Some(outcome) = outcome::outcome(&seen.standing) else { return Ok(()) };
        let (gateway, reference) = (gateway.clone(), seen.reference);
        let told = Settlement { order, number, gateway, reference, outcome, notice };
        self.settle(&which.event, told).await.map(|_| ())
    }

    fn found(&self, event: &EventId, order: Id128, number: u32, finding: Finding) {
        let mut findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        if findings.len() < FINDINGS_MAX
            && findings.insert((event.clone(), order, number), finding) != Some(finding)
        {
            tracing::error!(%event, %order, number, ?finding, "a payment needs a person");
        }
        self.metrics.payments_attention.set(i64::try_from(findings.len()).unwrap_or(i64::MAX));
    }

    /// Notes down what could not be done for too long.
    fn found_late(
        &self,
        event: &EventId,
        (order, number): (Id128, u32),
        since: Timestamp,
        finding: Finding,
    ) {
        if self.now().since(since) >= LATE {
            self.found(event, order, number, finding);
        }
    }

    fn cleared(&self, is_over: impl Fn(&(EventId, Id128, u32), Finding) -> bool) {
        let mut findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        findings.retain(|of, finding| !is_over(of, *finding));
        self.metrics.payments_attention.set(i64::try_from(findings.len()).unwrap_or(i64::MAX));
    }

    /// Time of day.
    fn now(&self) -> Timestamp {
        (self.clock)().wall
    }

    /// Time that only runs, for pauses.
    fn elapsed(&self) -> Duration {
        (self.clock)().elapsed
    }

    fn attended(&self) -> MutexGuard<'_, BTreeSet<Id128>> {
        self.attended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
