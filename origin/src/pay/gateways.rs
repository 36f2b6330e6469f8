//! Which gateway is asked? The first in the configured order whose breaker lets calls through.
//!
//! Every call of ours, whatever it is for, goes through the breaker of its gateway: the resolver
//! must not keep hammering one that is down, and its calls show as well as a buyer's that it is
//! back.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Breaker, BreakerPhase, Gateway, GatewayError};
use crate::metrics::Metrics;
use crate::sale::GatewayName;

/// What is asked of a gateway; a label in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// To reserve money.
    Authorise,
    /// What became of it.
    Lookup,
    /// To take it.
    Capture,
    /// To give it back before it was taken.
    Void,
    /// To pay it back.
    Refund,
    /// For a list.
    List,
}

impl Asked {
    /// Name in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Authorise => "authorise",
            Self::Lookup => "lookup",
            Self::Capture => "capture",
            Self::Void => "void",
            Self::Refund => "refund",
            Self::List => "list",
        }
    }
}

/// No gateway takes calls now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no payment gateway answers, try again in {} ms", retry_after.as_millis())]
pub struct NoGateway {
    /// When one of them is tried again.
    pub retry_after: Duration,
}

#[derive(Debug)]
struct Member {
    name: GatewayName,
    gateway: Gateway,
    breaker: Mutex<Breaker>,
}

impl Member {
    fn with_breaker<T>(&self, with: impl FnOnce(&mut Breaker) -> T) -> T {
        with(&mut self.breaker.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// All gateways, in the order in which they are asked.
#[derive(Debug)]
pub struct Gateways {
    members: Vec<Member>,
    timeout: Duration,
    began: Instant,
    metrics: Arc<Metrics>,
}

impl Gateways {
    /// These gateways, each of which must answer within `timeout`.
    #[must_use]
    pub fn new(
        gateways: Vec<(GatewayName, Gateway)>,
        timeout: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        let members = gateways.into_iter().map(|(name, gateway)| Member {
            name,
            gateway,
            breaker: Mutex::default(),
        });
        Self { members: members.collect(), timeout, began: Instant::now(), metrics }
    }

    /// The first that takes `token` and calls, without those in `tried`.
    ///
    /// # Errors
    /// If there is none; when it is worth asking again.
    pub fn choose(&self, token: &str, tried: &[GatewayName]) -> Result<GatewayName, NoGateway> {
        let now = self.now();
        let mut retry_after = Duration::from_secs(5);
        for member in &self.members {
            if tried.contains(&member.name) || !member.gateway.takes(token) {
                continue;
            }
            match member.with_breaker(|breaker| breaker.wait(now)) {
                None => return Ok(member.name.clone()),
                Some(wait) => retry_after = retry_after.min(wait),
            }
        }
        Err(NoGateway { retry_after })
    }

    /// Calls the gateway of that name, for as long as a call may take, and tells its breaker how
    /// it went.
    ///
    /// # Errors
    /// Those of the call; that there was no answer in time; that it is left alone for a while.
    pub async fn ask<'g, T, F>(
        &'g self,
        name: &GatewayName,
        asked: Asked,
        call: impl FnOnce(&'g Gateway) -> F,
    ) -> Result<T, GatewayError>
    where
        F: Future<Output = Result<T, GatewayError>>,
    {
        let member = self.members.iter().find(|member| member.name == *name);
        let Some(member) = member else {
            return Err(GatewayError::Unconfigured { name: name.clone() });
        };
        let now = self.now();
        let leave = member.with_breaker(|breaker| breaker.admit(now));
        let leave = leave.map_err(|_| GatewayError::LeftAlone)?;
        let began = Instant::now();
        let answered = tokio::time::timeout(self.timeout, call(&member.gateway)).await;
        let answered = answered.unwrap_or(Err(GatewayError::NoAnswer));
        let is_failed = answered.is_err();
        self.metrics.asked_gateway(name, asked, is_failed, began.elapsed());
        let now = self.now();
        member.with_breaker(|breaker| breaker.record(leave, is_failed, now));
        answered
    }

    /// Whether any of them gives out tokens like this one.
    #[must_use]
    pub fn take(&self, token: &str) -> bool {
        self.members.iter().any(|member| member.gateway.takes(token))
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &GatewayName> {
        self.members.iter().map(|member| &member.name)
    }

    /// The built-in one, if it is among them.
    #[must_use]
    pub fn sandbox(&self) -> Option<&super::Sandbox> {
        self.members.iter().find_map(|member| match &member.gateway {
            Gateway::Sandbox(sandbox) => Some(sandbox),
            Gateway::Stripe(_) => None,
        })
    }

    /// The built-in one, if it has that name.
    #[must_use]
    pub fn sandbox_named(&self, name: &str) -> Option<&super::Sandbox> {
        let member = self.members.iter().find(|member| member.name.as_str() == name)?;
        match &member.gateway {
            Gateway::Sandbox(sandbox) => Some(sandbox),
            Gateway::Stripe(_) => None,
        }
    }

    /// What may sign webhooks of that gateway; `None` if it sends none.
    #[must_use]
    pub fn webhook_secrets(&self, name: &str) -> Option<&[keys::Secret]> {
        let member = self.members.iter().find(|member| member.name.as_str() == name)?;
        match &member.gateway {
            Gateway::Sandbox(_) => None,
            Gateway::Stripe(stripe) => Some(stripe.webhook_secrets()),
        }
    }

    /// Where each breaker is.
    pub fn phases(&self) -> impl Iterator<Item = (&GatewayName, BreakerPhase)> {
        let now = self.now();
        self.members
            .iter()
            .map(move |member| (&member.name, member.with_breaker(|breaker| breaker.phase(now))))
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}
