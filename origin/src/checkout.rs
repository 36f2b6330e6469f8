//! How a hold becomes an order: seats first, then the money, then the tickets.
//!
//! A payment runs in a task of its own, so a buyer who closes the page does not leave it half
//! done. What a crash, a lost log or a silent provider leaves behind, the resolver finds: it asks
//! the provider about every order that is being paid and that no task of ours is at. An order the
//! provider has never heard of is voided first, so that a request still on its way finds its key
//! closed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use keys::{EventId, Id128};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::metrics::{Metrics, Paid};
use crate::partition::{Answer, Unavailable};
use crate::pay::{Charge, Gateway, GatewayError, Standing};
use crate::sale::{BeginPayment, Command, Outcome, Refusal, Reply};
use crate::sales::Sales;

/// Money is counted in this currency.
pub const CURRENCY: &str = "USD";

/// Payments at the provider at once: more than any pace we admit at, small enough for memory.
const PAYMENTS_MAX: usize = 2048;
/// A provider that has not answered by now is asked later what became of it.
const AUTHORISE_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for looking up and voiding.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the resolver looks for orders that nobody is at.
const RESOLVE_EVERY: Duration = Duration::from_secs(1);
/// Orders that are resolved at once.
const RESOLVED_AT_ONCE: usize = 16;
/// How often a known outcome is brought to a busy writer before the resolver takes over.
const SETTLE_TRIES: u32 = 20;
/// Pause between two of these.
const SETTLE_PAUSE: Duration = Duration::from_millis(50);

/// Why there is neither order nor refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckoutError {
    /// Nothing was charged; try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// Too many payments are under way; nothing was charged.
    #[error("too many payments are under way")]
    Full,
    /// The provider was asked and we could not write down what it said.
    #[error("the outcome of the payment could not be written down yet")]
    Unsettled {
        /// The order that it is for.
        order: Id128,
    },
}

/// An answer, and the time that the provider took of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The order, or why not.
    pub answer: Answer,
    /// What we waited for the provider.
    pub provider_took: Duration,
}

/// Takes payments.
#[derive(Debug)]
pub struct Checkout {
    sales: Arc<Sales>,
    gateway: Gateway,
    metrics: Arc<Metrics>,
    places: Arc<Semaphore>,
    /// Orders that a task of ours is at: the resolver leaves them alone.
    attended: Mutex<BTreeSet<Id128>>,
    /// Payments of orders that are no more, which no log knows of: to be voided until it is done.
    owed: Mutex<BTreeSet<Id128>>,
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
    /// A checkout over these seats with this provider.
    #[must_use]
    pub fn new(sales: Arc<Sales>, gateway: Gateway, metrics: Arc<Metrics>) -> Self {
        let places = Arc::new(Semaphore::new(PAYMENTS_MAX));
        Self { sales, gateway, metrics, places, attended: Mutex::default(), owed: Mutex::default() }
    }

    /// The provider.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Pays for a hold and waits for what becomes of it; goes on if the caller does not wait.
    ///
    /// # Errors
    /// If there is neither order nor refusal.
    pub async fn pay(
        self: &Arc<Self>,
        event: EventId,
        begin: BeginPayment,
        token: String,
    ) -> Result<Checked, CheckoutError> {
        let place =
            Arc::clone(&self.places).try_acquire_owned().map_err(|_| CheckoutError::Full)?;
        let checkout = Arc::clone(self);
        let order = begin.order;
        let task = tokio::spawn(async move {
            let paid = checkout.pay_attended(&event, begin, token).await;
            drop(place);
            paid
        });
        task.await.unwrap_or(Err(CheckoutError::Unsettled { order }))
    }

    async fn pay_attended(
        &self,
        event: &EventId,
        begin: BeginPayment,
        token: String,
    ) -> Result<Checked, CheckoutError> {
        // Before the order is in the log, lest the resolver finds it unattended.
        self.attended().insert(begin.order);
        let _attended = Attended { checkout: self, order: begin.order };
        let answer = self.sales.ask(event, Command::BeginPayment(begin)).await?;
        let Reply::Charge { order, amount } = answer.reply else {
            return Ok(Checked { answer, provider_took: Duration::ZERO });
        };
        let asked = Instant::now();
        let charge = Charge { order, amount, currency: CURRENCY, token };
        let authorising = self.gateway.authorise(charge);
        let standing = tokio::time::timeout(AUTHORISE_TIMEOUT, authorising).await;
        let standing = standing.unwrap_or(Err(GatewayError::NoAnswer));
        let provider_took = asked.elapsed();
        let answer = self.settle(event, order, self.outcome(order, standing)).await?;
        Ok(Checked { answer, provider_took })
    }

    fn outcome(&self, order: Id128, standing: Result<Standing, GatewayError>) -> Outcome {
        let (outcome, paid) = match standing {
            Ok(Standing::Authorised) => (Outcome::Authorised, Paid::Authorised),
            Ok(Standing::NotCharged) => (Outcome::Declined, Paid::Declined),
            Ok(Standing::Absent) => (Outcome::Unknown, Paid::Unknown),
            Err(error) => {
                tracing::warn!(%order, %error, "the outcome of a payment is not known yet");
                (Outcome::Unknown, Paid::Unknown)
            }
        };
        self.metrics.paid(paid);
        outcome
    }

    /// Brings an outcome to the writer.
    async fn settle(
        &self,
        event: &EventId,
        order: Id128,
        outcome: Outcome,
    ) -> Result<Answer, CheckoutError> {
        for _ in 0..SETTLE_TRIES {
            let settled = self.sales.ask(event, Command::Settle { order, outcome }).await;
            match settled {
                Err(Unavailable::Busy) => tokio::time::sleep(SETTLE_PAUSE).await,
                Err(Unavailable::Down) => return Err(CheckoutError::Unsettled { order }),
                Ok(Answer { seq, reply: Reply::Refused(Refusal::UnknownOrder) }) => {
                    // The seats have gone back while we were asking: so must the money.
                    if outcome == Outcome::Authorised {
                        tracing::warn!(%order, "payment of an order that is no more is voided");
                        self.give_back(order).await;
                    }
                    let reply = Reply::Refused(Refusal::PaymentDeclined { seq });
                    return Ok(Answer { seq, reply });
                }
                Ok(answer) => return Ok(answer),
            }
        }
        Err(CheckoutError::Unsettled { order })
    }

    /// Voids the payment of an order that is no more, now or at a later round of the resolver.
    async fn give_back(&self, order: Id128) {
        self.owed().insert(order);
        if self.void(order).await {
            self.owed().remove(&order);
        }
    }

    async fn void(&self, order: Id128) -> bool {
        let voided = tokio::time::timeout(LOOKUP_TIMEOUT, self.gateway.void(order)).await;
        let voided = voided.unwrap_or(Err(GatewayError::NoAnswer));
        match &voided {
            Ok(()) => self.metrics.paid(Paid::Voided),
            Err(error) => tracing::warn!(%order, %error, "a payment could not be voided"),
        }
        voided.is_ok()
    }

    /// Settles what nobody is at, at once and then every second, until `stopping` says so.
    pub async fn resolve_until(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        loop {
            let round = self.resolve();
            tokio::select! {
                () = round => {}
                _ = stopping.wait_for(|is_stopping| *is_stopping) => return,
            }
            tokio::select! {
                () = tokio::time::sleep(RESOLVE_EVERY) => {}
                _ = stopping.wait_for(|is_stopping| *is_stopping) => return,
            }
        }
    }

    /// One round of the resolver.
    pub async fn resolve(self: &Arc<Self>) {
        let mut tasks = JoinSet::new();
        let owed: Vec<Id128> = self.owed().iter().copied().collect();
        let mut unsettled = i64::try_from(owed.len()).unwrap_or(i64::MAX);
        for order in owed {
            if tasks.len() >= RESOLVED_AT_ONCE {
                tasks.join_next().await;
            }
            let checkout = Arc::clone(self);
            tasks.spawn(async move { checkout.give_back(order).await });
        }
        for event in self.sales.events() {
            let Ok(answer) = self.sales.ask(&event, Command::ListPaying).await else { continue };
            let Reply::Paying(orders) = answer.reply else { continue };
            for order in orders {
                if self.attended().contains(&order) {
                    continue;
                }
                unsettled += 1;
                if tasks.len() >= RESOLVED_AT_ONCE {
                    tasks.join_next().await;
                }
                let (checkout, event) = (Arc::clone(self), event.clone());
                tasks.spawn(async move { checkout.resolve_one(&event, order).await });
            }
        }
        self.metrics.payments_unsettled.set(unsettled);
        while tasks.join_next().await.is_some() {}
    }

    async fn resolve_one(&self, event: &EventId, order: Id128) {
        let standing = tokio::time::timeout(LOOKUP_TIMEOUT, self.gateway.lookup(order)).await;
        let outcome = match standing.unwrap_or(Err(GatewayError::NoAnswer)) {
            Ok(Standing::Authorised) => Outcome::Authorised,
            Ok(Standing::NotCharged) => Outcome::Declined,
            Ok(Standing::Absent) if self.void(order).await => Outcome::Declined,
            Ok(Standing::Absent) | Err(_) => return,
        };
        match self.settle(event, order, outcome).await {
            Ok(_) => tracing::info!(%order, ?outcome, "a payment that nobody was at is settled"),
            Err(error) => tracing::warn!(%order, %error, "a payment stays unsettled for now"),
        }
    }

    fn attended(&self) -> MutexGuard<'_, BTreeSet<Id128>> {
        self.attended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn owed(&self) -> MutexGuard<'_, BTreeSet<Id128>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pay::{Sandbox, SandboxRules};

    #[tokio::test]
    async fn money_for_an_order_that_is_no_more_is_given_back_however_often_it_takes() {
        let path = std::env::temp_dir().join(format!("origin-owed-{}", Id128::random()));
        let rules = SandboxRules { timeout: Duration::ZERO, slow: Duration::ZERO };
        let sandbox = Sandbox::open(Some(&path), rules).unwrap();
        let broken = rusqlite::Connection::open(&path).unwrap();
        let sales = Arc::new(Sales::new(1, []));
        let metrics = Arc::new(Metrics::new().unwrap());
        let gateway = Gateway::Sandbox(sandbox.clone());
        let checkout = Arc::new(Checkout::new(sales, gateway, Arc::clone(&metrics)));
        broken.execute_batch("ALTER TABLE ledger RENAME TO away").unwrap();
        checkout.give_back(Id128::random()).await;
        checkout.resolve().await;
        assert_eq!(metrics.payments_unsettled.get(), 1);
        broken.execute_batch("ALTER TABLE away RENAME TO ledger").unwrap();
        checkout.resolve().await;
        assert_eq!(sandbox.totals().await.unwrap().voided, 1);
        checkout.resolve().await;
        assert_eq!(metrics.payments_unsettled.get(), 0);
        std::fs::remove_file(&path).unwrap();
    }
}
