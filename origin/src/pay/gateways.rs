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
use crate::partition::Clock;
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

/// How a call went; a label in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    /// There was an answer that we understand; a declined card is one.
    Answered,
    /// There was an answer that helps nobody, and the gateway is well: it refuses our requests, or
    /// we do not understand it.
    Refused,
    /// It is not well: no answer in time, no connection, 5xx or 429. Only these open its breaker.
    Failed,
}

impl Called {
    /// Reads an answer.
    fn of<T>(answer: &Result<T, GatewayError>) -> Self {
        match answer {
            Ok(_) => Self::Answered,
            Err(GatewayError::NoAnswer | GatewayError::Connection(_)) => Self::Failed,
            Err(GatewayError::Failed { status, .. }) if *status >= 500 || *status == 429 => {
                Self::Failed
            }
            // What a 5xx is elsewhere.
            Err(GatewayError::Ledger(_) | GatewayError::Worker) => Self::Failed,
            Err(
                GatewayError::Failed { .. }
                | GatewayError::Rejected { .. }
                | GatewayError::Unreadable { .. }
                | GatewayError::LeftAlone
                | GatewayError::Unconfigured { .. },
            ) => Self::Refused,
        }
    }

    /// Name in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Failed => "failed",
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
pub struct Gateways {
    members: Vec<Member>,
    timeout: Duration,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Gateways {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.members).finish()
    }
}

impl Gateways {
    /// These gateways, each of which must answer within `timeout`.
    #[must_use]
    pub fn new(
        gateways: Vec<(GatewayName, Gateway)>,
        timeout: Duration,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let members = gateways.into_iter().map(|(name, gateway)| Member {
            name,
            gateway,
            breaker: Mutex::default(),
        });
        Self { members: members.collect(), timeout, clock, metrics }
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
        let called = Called::of(&answered);
        self.metrics.asked_gateway(name, asked, called, began.elapsed());
        let (now, is_failed) = (self.now(), called == Called::Failed);
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
        (self.clock)().elapsed
    }
}

#[cfg(test)]
mod tests {
    use fake_gateway::{Call, Effect, FakeGateway, Script};
    use keys::{Id128, Secret, Timestamp};

    use super::*;
    use crate::pay::{Authorisation, Charge, Stripe, StripeSetup};
    use crate::sale::Currency;
    use crate::steady::Reading;

    const KEY: &str = "sk_test_of_the_breaker";

    /// What the shop sees of a gateway, and what that does to its breaker.
    struct Case<'a> {
        what: &'a str,
        script: Script,
        token: &'a str,
        key: &'a str,
        called: Called,
        phase: BreakerPhase,
    }

    #[tokio::test]
    async fn only_a_gateway_that_is_not_well_is_left_alone() {
        use BreakerPhase::{Closed, Open};
        use Called::{Answered, Failed, Refused};
        let fine = Script::default();
        let status = |status| Script::failing(Call::Create, status, Effect::None);
        let silent = Script::silent(Call::Create, Effect::None);
        let declined = "pm_card_visa_chargeDeclined";
        let visa = "pm_card_visa";
        let other = "sk_test_of_another_shop";
        #[rustfmt::skip] // reads in columns
        let cases = [
            ("it authorises",         fine.clone(),  visa,        KEY,       Answered, Closed),
            ("it declines the card",  fine.clone(),  declined,    KEY,       Answered, Closed),
            ("it knows no such card", fine.clone(),  "pm_nobody", KEY,       Answered, Closed),
            ("our key is wrong",      fine.clone(),  visa,        other,     Refused,  Closed),
            ("it refuses the body",   status(400),   visa,        KEY,       Refused,  Closed),
            ("it forbids it",         status(403),   visa,        KEY,       Refused,  Closed),
            ("the key is in use",     status(409),   visa,        KEY,       Refused,  Closed),
            ("it sends us elsewhere", status(302),   visa,        KEY,       Refused,  Closed),
            ("it is too busy",        status(429),   visa,        KEY,       Failed,   Open),
            ("it fails",              status(500),   visa,        KEY,       Failed,   Open),
            ("its proxy fails",       status(502),   visa,        KEY,       Failed,   Open),
            ("it says nothing",       silent,        visa,        KEY,       Failed,   Open),
        ];
        for (what, script, token, key, called, phase) in cases {
            check(Case { what, script, token, key, called, phase }).await;
        }
    }

    async fn check(Case { what, script, token, key, called, phase }: Case<'_>) {
        let fake = FakeGateway::start("127.0.0.1:0".parse().unwrap(), KEY).await.unwrap();
        fake.script(script);
        let (name, gateways) = gateways(&fake.base_url(), key);
        let asked = (0..20).map(|_| authorise(&gateways, &name, token));
        for asked in futures_util::future::join_all(asked).await {
            assert_eq!(Called::of(&asked), called, "{what}: {asked:?}");
        }
        let phases: Vec<BreakerPhase> = gateways.phases().map(|(_, phase)| phase).collect();
        assert_eq!(phases, [phase], "{what}");
    }

    #[tokio::test]
    async fn who_cannot_be_reached_is_left_alone() {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (name, gateways) = gateways(&format!("http://{nobody}"), KEY);
        for _ in 0..20 {
            let asked = authorise(&gateways, &name, "pm_card_visa").await;
            assert!(matches!(asked, Err(GatewayError::Connection(_))), "{asked:?}");
        }
        let asked = authorise(&gateways, &name, "pm_card_visa").await;
        assert!(matches!(asked, Err(GatewayError::LeftAlone)), "{asked:?}");
        assert!(gateways.choose("pm_card_visa", &[]).is_err(), "nobody is chosen");
    }

    fn gateways(base_url: &str, key: &str) -> (GatewayName, Gateways) {
        let setup = StripeSetup {
            base_url: base_url.parse().unwrap(),
            secret_key: Secret::try_from(key.to_owned()).unwrap(),
            webhook_secrets: Vec::new(),
        };
        let name = GatewayName::try_from("a".to_owned()).unwrap();
        let gateway = Gateway::Stripe(Stripe::new(setup, "").unwrap());
        let metrics = Arc::new(Metrics::new().unwrap());
        let timeout = Duration::from_secs(1);
        let elapsed = Duration::from_secs(60);
        let clock = Arc::new(move || Reading { wall: Timestamp::now(), elapsed });
        (name.clone(), Gateways::new(vec![(name, gateway)], timeout, clock, metrics))
    }

    async fn authorise(
        gateways: &Gateways,
        name: &GatewayName,
        token: &str,
    ) -> Result<crate::pay::Seen, GatewayError> {
        let (event, order) = ("final".parse().unwrap(), Id128::random());
        let authorisation = Authorisation { event, order, number: 0, reference: None };
        let token = token.to_owned();
        let charge = Charge { authorisation, amount: 500, currency: Currency::USD, token };
        gateways.ask(name, Asked::Authorise, |gateway| gateway.authorise(&charge)).await
    }
}
