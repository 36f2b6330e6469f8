//! What is still to be done at the gateways, and nobody is at? Every second the log is asked, and
//! its answer is worked off: outcomes found out, money captured, authorisations voided.
//!
//! An outcome is found out by asking the same again with the same key, then by looking for the
//! authorisation, and in the end by giving it up: then it is to be voided, and the seats go back.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use keys::{EventId, Id128};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::outcome::{Answered, answered, outcome};
use super::{Checkout, Finding};
use crate::failpoint;
use crate::metrics::Paid;
use crate::pay::{Asked, Authorisation, GatewayError, Seen, Standing};
use crate::sale::{
    AfterCommand, CaptureDue, ChargeView, Command, GatewayName, OrderStage, Outcome, PaymentWork,
    RefundDue, Reply, Settlement, Unsettled, VoidDue,
};

/// How often the log is asked.
const RESOLVE_EVERY: Duration = Duration::from_secs(1);
/// Calls to gateways at once: at 300 ms a call, 200 captures a second.
const AT_ONCE: usize = 64;
/// Longest pause before an open order is asked for again.
const PACE_MAX: Duration = Duration::from_secs(30);

/// When an open order is asked for again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    tries: u32,
    not_before: Duration,
}

impl Checkout {
    /// Works off what is due, at once and then every second, until `stopping` says so.
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
        let mut tasks = Tasks::default();
        let mut seen = Totals::default();
        let mut were_all_asked = true;
        for event in self.sales.events() {
            let Ok(answer) = self.sales.ask(&event, Command::ListPaymentWork).await else {
                were_all_asked = false;
                continue;
            };
            let Reply::PaymentWork(work) = answer.reply else { continue };
            self.work_off(&event, *work, &mut tasks, &mut seen).await;
        }
        let now = self.now();
        let age = seen.uncaptured_since.map_or(Duration::ZERO, |since| now.since(since));
        self.metrics.payments_unsettled.set(clamped(seen.unsettled));
        self.metrics.voids_due.set(clamped(seen.voids));
        self.metrics.refunds_due.set(clamped(seen.refunds));
        self.metrics.uncaptured.set(clamped(seen.uncaptured));
        self.metrics.uncaptured_age_seconds.set(clamped(age.as_secs()));
        self.metrics.breakers(self.gateways.phases());
        tasks.end().await;
        self.metrics.payment_rounds_total.inc_by(u64::from(were_all_asked));
        self.forget_paces();
    }

    async fn work_off(
        self: &Arc<Self>,
        event: &EventId,
        work: PaymentWork,
        tasks: &mut Tasks,
        seen: &mut Totals,
    ) {
        seen.voids += work.voids_total;
        seen.uncaptured += work.uncaptured_total;
        let oldest = [seen.uncaptured_since, work.uncaptured_since];
        seen.uncaptured_since = oldest.into_iter().flatten().min();
        for order in work.lost {
            self.found(event, order, 0, Finding::CaptureLost);
        }
        for due in work.voids {
            let (checkout, event) = (Arc::clone(self), event.clone());
            tasks.add(async move { checkout.void(&event, due).await }).await;
        }
        for due in work.captures {
            let (checkout, event) = (Arc::clone(self), event.clone());
            tasks.add(async move { checkout.capture(&event, due).await }).await;
        }
        seen.refunds += work.refunds_total;
        for due in work.refunds {
            if !self.is_paced(due.order) {
                let (checkout, event) = (Arc::clone(self), event.clone());
                tasks.add(async move { checkout.repay(&event, due).await }).await;
            }
        }
        for open in work.unsettled {
            if self.attended().contains(&open.order) {
                continue;
            }
            // Who has to do something at the gateway takes their time.
            seen.unsettled += u64::from(open.stage != OrderStage::ActionRequired);
            if self.is_paced(open.order) {
                continue;
            }
            let (checkout, event) = (Arc::clone(self), event.clone());
            tasks.add(async move { checkout.resolve_one(&event, open).await }).await;
        }
    }

    async fn resolve_one(&self, event: &EventId, open: Unsettled) {
        let Unsettled { order, number, gateway, amount, .. } = open.clone();
        let authorisation = Authorisation {
            event: event.clone(),
            order,
            number,
            reference: open.reference.clone(),
        };
        let mut answer = Err(GatewayError::NoAnswer);
        if open.stage != OrderStage::ActionRequired && !open.token.is_empty() {
            let charge = ChargeView { order, number, amount, currency: open.currency };
            answer = self.ask_for(event, &charge, &gateway, &open.token).await;
        }
        let mut meaning = answered(&answer);
        if !matches!(meaning, Answered::Known(_)) {
            let found = self.look_up(&gateway, &authorisation).await;
            let is_late = self.now().since(open.asked_at) >= self.rules.absent_after;
            meaning = match &found {
                Ok(Seen { standing: Standing::Absent, .. }) => match meaning {
                    Answered::Refused { code } => {
                        Answered::Known(Outcome::Declined { code: Some(code) })
                    }
                    Answered::UsedUp if is_late => return self.move_on(event, open).await,
                    _ if is_late => Answered::Known(Outcome::GivenUp),
                    _ => return,
                },
                found => answered(found),
            };
            if found.is_ok() {
                answer = found;
            }
        }
        let Answered::Known(outcome) = meaning else { return };
        let reference = answer.ok().and_then(|seen| seen.reference);
        let label = format!("{outcome:?}");
        let told = Settlement { order, number, gateway, reference, outcome, notice: None };
        match self.settle(event, told).await {
            Ok(_) => tracing::info!(%order, outcome = label, "a payment nobody was at is settled"),
            Err(error) => tracing::warn!(%order, %error, "a payment stays unsettled for now"),
        }
    }

    /// Asks again with another key, after one that will never tell.
    async fn move_on(&self, event: &EventId, open: Unsettled) {
        let Unsettled { order, number, token, .. } = open;
        let Ok(next) = self.gateways.choose(&token, &[]) else { return };
        let moving = Command::MovePayment { order, number, gateway: next.clone() };
        let Ok(moved) = self.sales.ask(event, moving).await else { return };
        if let Reply::Charge(charge) = moved.reply
            && let Err(error) = self.authorise(event, charge, next, token).await
        {
            tracing::warn!(%order, %error, "a payment stays unsettled for now");
        }
    }

    async fn look_up(
        &self,
        gateway: &GatewayName,
        authorisation: &Authorisation,
    ) -> Result<Seen, GatewayError> {
        self.gateways.ask(gateway, Asked::Lookup, |gateway| gateway.lookup(authorisation)).await
    }

    async fn capture(&self, event: &EventId, due: CaptureDue) {
        let CaptureDue { order, number, gateway, reference, amount, since } = due;
        let late = || self.found_late(event, (order, number), since, Finding::CaptureLate);
        // Written down first: from here on the order can be refunded, but not voided.
        let begun = self.sales.ask(event, Command::BeginCapture { order }).await;
        if !begun.is_ok_and(|answer| matches!(answer.reply, Reply::Order(_))) {
            return;
        }
        failpoint!("capture-begun");
        let which = Authorisation { event: event.clone(), order, number, reference };
        let asked =
            self.gateways.ask(&gateway, Asked::Capture, |g| g.capture(&which, amount)).await;
        failpoint!("capture-answered");
        let seen = match asked {
            Ok(seen) => seen,
            Err(error) => {
                tracing::warn!(%order, %gateway, %error, "money is not captured yet");
                return match error {
                    GatewayError::Unconfigured { .. } => {
                        self.found(event, order, number, Finding::GatewayGone);
                    }
                    _ => late(),
                };
            }
        };
        let reference = seen.reference;
        let told =
            |outcome| Settlement { order, number, gateway, reference, outcome, notice: None };
        match outcome(&seen.standing) {
            Some(outcome @ (Outcome::Captured { .. } | Outcome::Declined { .. })) => {
                if matches!(outcome, Outcome::Captured { .. }) {
                    self.metrics.paid(Paid::Captured);
                }
                // If it is not written down, the next try hears the same again.
                match self.settle(event, told(outcome)).await {
                    Ok(_) => self.cleared(|of, finding| {
                        *of == (event.clone(), order, number) && finding == Finding::CaptureLate
                    }),
                    Err(error) => {
                        tracing::warn!(%order, %error, "a capture is not written down yet");
                    }
                }
            }
            _ => {
                tracing::warn!(%order, standing = ?seen.standing, "money is not captured yet");
                late();
            }
        }
    }

    /// Pays back what was captured. The key is the refund's own, so a crash before it is written
    /// down asks for the same once more and the gateway pays once.
    async fn repay(&self, event: &EventId, due: RefundDue) {
        let RefundDue { order, refund, number, gateway, reference, amount, since } = due;
        let which = Authorisation { event: event.clone(), order, number, reference };
        let key = format!("{order}:refund:{refund}");
        failpoint!("refund-begun");
        let asked =
            self.gateways.ask(&gateway, Asked::Refund, |g| g.refund(&which, amount, &key)).await;
        failpoint!("refund-answered");
        if let Err(error) = asked {
            tracing::warn!(%order, refund, %gateway, %error, "money is not paid back yet");
            return match error {
                GatewayError::Rejected { .. } => {
                    self.found(event, order, number, Finding::RefundRefused);
                }
                GatewayError::Unconfigured { .. } => {
                    self.found(event, order, number, Finding::GatewayGone);
                }
                _ => self.found_late(event, (order, number), since, Finding::RefundLate),
            };
        }
        let repaid = Command::After(AfterCommand::Repaid { order, refund });
        if self.sales.ask(event, repaid).await.is_ok() {
            self.cleared(|of, _| *of == (event.clone(), order, number));
            self.metrics.paid(Paid::Repaid);
            tracing::info!(%order, refund, amount, %gateway, "a refund is paid back");
        }
    }

    async fn void(&self, event: &EventId, due: VoidDue) {
        let VoidDue { order, number, gateway, reference, since } = due;
        let which = Authorisation { event: event.clone(), order, number, reference };
        failpoint!("void-begun");
        let asked = self.gateways.ask(&gateway, Asked::Void, |g| g.void(&which)).await;
        failpoint!("void-answered");
        let is_late = self.now().since(since) >= self.rules.absent_after;
        match asked.map(|seen| seen.standing) {
            Ok(Standing::NotCharged { .. }) => {}
            Ok(Standing::Absent) if is_late => {}
            Ok(Standing::Captured { .. }) => {
                return self.found(event, order, number, Finding::CapturedForNothing);
            }
            Ok(_) => {
                return self.found_late(event, (order, number), since, Finding::VoidLate);
            }
            Err(GatewayError::Unconfigured { .. }) => {
                return self.found(event, order, number, Finding::GatewayGone);
            }
            Err(error) => {
                tracing::warn!(%order, %gateway, %error, "an authorisation is not voided");
                return self.found_late(event, (order, number), since, Finding::VoidLate);
            }
        }
        if self.sales.ask(event, Command::Voided { order, number }).await.is_ok() {
            self.metrics.paid(Paid::Voided);
            self.cleared(|of, _| *of == (event.clone(), order, number));
            tracing::info!(%order, number, %gateway, "an authorisation is voided");
        }
    }

    /// Whether it is too early to ask for an order again; if not, when the next time is.
    fn is_paced(&self, order: Id128) -> bool {
        let now = self.elapsed();
        let mut paced = self.paced.lock().unwrap_or_else(PoisonError::into_inner);
        let pace = paced.entry(order).or_insert(Pace { tries: 0, not_before: now });
        if pace.not_before > now {
            return true;
        }
        let pause = Duration::from_secs(1 << pace.tries.min(5)).min(PACE_MAX);
        *pace = Pace { tries: pace.tries + 1, not_before: now + pause };
        false
    }

    fn forget_paces(&self) {
        let now = self.elapsed();
        let mut paced = self.paced.lock().unwrap_or_else(PoisonError::into_inner);
        let is_used = |pace: &Pace| pace.not_before + 2 * PACE_MAX > now;
        let kept: BTreeMap<_, _> =
            paced.iter().filter(|(_, pace)| is_used(pace)).map(|(o, p)| (*o, *p)).collect();
        *paced = kept;
    }
}

/// What the events add up to.
#[derive(Debug, Default)]
struct Totals {
    unsettled: u64,
    voids: u64,
    refunds: u64,
    uncaptured: u64,
    uncaptured_since: Option<keys::Timestamp>,
}

/// Calls under way, and never too many.
#[derive(Debug, Default)]
pub(super) struct Tasks(JoinSet<()>);

impl Tasks {
    pub(super) async fn add(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        if self.0.len() >= AT_ONCE {
            self.0.join_next().await;
        }
        self.0.spawn(task);
    }

    pub(super) async fn end(mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

fn clamped(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
