//! Do our orders and the gateways' lists say the same? Every few minutes each list is read, and
//! what the log does not know yet is told to it: the state decides what it means.
//!
//! So an authorisation that we never heard of is voided, a capture whose answer was lost is
//! written down, and an order whose authorisation is gone comes before a person. Telling the same
//! again changes nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::outcome::outcome;
use super::resolve::Tasks;
use super::{Checkout, Finding};
use crate::pay::{Asked, Authorisation, Listed, Standing};
use crate::sale::{Capture, GatewayName, OrderStage, Reply, Settlement};

/// How far back the lists are read: longer than a gateway keeps an idempotency key, so that what
/// cannot be asked again is still found.
const BACK: Duration = Duration::from_secs(26 * 3600);
/// Pages of one list in one round: 200,000 authorisations at Stripe.
const PAGES_MAX: u32 = 2000;

impl Checkout {
    /// Compares as often as configured, until `stopping` says so.
    pub async fn reconcile_until(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.rules.reconcile_every) => {}
                _ = stopping.wait_for(|is_stopping| *is_stopping) => return,
            }
            tokio::select! {
                () = self.reconcile() => {}
                _ = stopping.wait_for(|is_stopping| *is_stopping) => return,
            }
        }
    }

    /// One comparison with all gateways.
    pub async fn reconcile(self: &Arc<Self>) {
        self.cleared(|_, finding| finding == Finding::AmountDiffers);
        let names: Vec<GatewayName> = self.gateways.names().cloned().collect();
        for gateway in names {
            self.reconcile_with(&gateway).await;
        }
    }

    async fn reconcile_with(self: &Arc<Self>, gateway: &GatewayName) {
        let since_secs = self.now().as_secs().saturating_sub(BACK.as_secs());
        let mut after: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let cursor = after.as_deref();
            let page =
                self.gateways.ask(gateway, Asked::List, |g| g.list(since_secs, cursor)).await;
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%gateway, %error, "a gateway's list cannot be read now");
                    return;
                }
            };
            let mut tasks = Tasks::default();
            for Listed { authorisation, seen } in page.entries {
                let Some(authorisation) = authorisation else { continue };
                let (checkout, gateway) = (Arc::clone(self), gateway.clone());
                tasks
                    .add(async move { checkout.compare(gateway, authorisation, seen.standing).await })
                    .await;
            }
            tasks.end().await;
            after = page.next;
            if after.is_none() {
                self.metrics.reconciled_total.inc();
                return;
            }
        }
        tracing::warn!(%gateway, "a gateway's list is longer than is read in one round");
    }

    async fn compare(&self, gateway: GatewayName, which: Authorisation, standing: Standing) {
        let Authorisation { event, order, number, reference } = which;
        if self.attended().contains(&order) || !self.sales.events().contains(&event) {
            return;
        }
        let Some(outcome) = outcome(&standing) else { return };
        let told = Settlement { order, number, gateway, reference, outcome, notice: None };
        let Ok(answer) = self.settle(&event, told).await else { return };
        let Reply::Order(ours) = answer.reply else { return };
        let is_ours = ours.payment.number == number && ours.stage == OrderStage::Sold;
        if let (Standing::Captured { amount }, true) = (standing, is_ours) {
            let written = Capture::Captured { amount: ours.bill.total };
            if amount != ours.bill.total || ours.payment.capture != written {
                self.found(&event, order, number, Finding::AmountDiffers);
            }
        }
    }
}
