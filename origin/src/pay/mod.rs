//! Who takes the money? A payment provider that is asked to authorise, looked at, and told to
//! capture, void or refund.
//!
//! We hand over tokens, never card data. An authorisation has a key of its own, `order:number`,
//! so asking twice reserves once. It only reserves: no money moves before we capture, so whatever
//! became of an answer that was lost, a void puts it right and nobody has to be refunded.

mod breaker;
mod gateways;
mod sandbox;
mod stripe;
pub mod webhook;

use keys::{EventId, Id128};

use crate::sale::{Action, Currency, GatewayName};

pub use breaker::{Breaker, BreakerPhase};
pub use gateways::{Asked, Called, Gateways, NoGateway};
pub use sandbox::{LedgerEntry, LedgerState, LedgerTotals, Sandbox, SandboxRules};
pub use stripe::{Stripe, StripeSetup};

/// One request to one gateway to reserve the money for one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorisation {
    /// The event.
    pub event: EventId,
    /// The order.
    pub order: Id128,
    /// Counts the requests for this order, from 0: one that is given up is never used again.
    pub number: u32,
    /// The gateway's own name for it, once it is known.
    pub reference: Option<String>,
}

impl Authorisation {
    /// What the gateway knows it by before it has a name for it.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}:{}", self.order, self.number)
    }
}

/// A request to reserve money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// Which.
    pub authorisation: Authorisation,
    /// In minor units.
    pub amount: u64,
    /// ISO 4217.
    pub currency: Currency,
    /// The gateway's token for the buyer's means of payment.
    pub token: String,
}

/// What a gateway says of an authorisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The gateway's own name for it.
    pub reference: Option<String>,
    /// Where it is.
    pub standing: Standing,
}

impl Seen {
    /// Never heard of it.
    pub const ABSENT: Self = Self { reference: None, standing: Standing::Absent };
}

/// Where an authorisation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Never heard of it.
    Absent,
    /// It is not decided yet, and the buyer can do nothing about it.
    Pending,
    /// The buyer has to do something first, such as 3-D Secure.
    ActionRequired(Action),
    /// The money is reserved.
    Authorised {
        /// In minor units.
        amount: u64,
    },
    /// It was refused, or reserved and given back.
    NotCharged {
        /// The gateway's code, if it gave one.
        code: Option<String>,
    },
    /// The money was taken.
    Captured {
        /// In minor units.
        amount: u64,
    },
}

/// One authorisation in a gateway's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Whose it is; absent if it does not look like one of ours.
    pub authorisation: Option<Authorisation>,
    /// What the gateway says of it.
    pub seen: Seen,
}

/// A page of a gateway's list, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Listed>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// Why nothing is known.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// No answer in time: it may or may not have happened.
    #[error("the payment gateway did not answer in time")]
    NoAnswer,
    /// The connection failed: it may or may not have happened.
    #[error("the connection to the payment gateway failed")]
    Connection(#[source] reqwest::Error),
    /// It failed, or was too busy: it may or may not have happened.
    #[error("the payment gateway answered {status}")]
    Failed {
        /// The status.
        status: u16,
        /// Whether it will answer the same for this key for ever.
        is_final: bool,
    },
    /// It does not take our requests, and nothing happened: a wrong key, or a fault of ours.
    #[error("the payment gateway refused our request with {status} {code}")]
    Rejected {
        /// The status.
        status: u16,
        /// Its code.
        code: String,
    },
    /// It answered what we do not understand.
    #[error("the payment gateway answered what we cannot read: {what}")]
    Unreadable {
        /// What is missing.
        what: &'static str,
    },
    /// Too many calls failed lately; it was not asked.
    #[error("the payment gateway is left alone for a while")]
    LeftAlone,
    /// There is no such gateway any more.
    #[error("payment gateway {name} is not configured, and payments of it are open")]
    Unconfigured {
        /// Its name.
        name: GatewayName,
    },
    /// The sandbox's own store failed.
    #[error("the sandbox's ledger failed")]
    Ledger(#[source] rusqlite::Error),
    /// The sandbox's worker went away.
    #[error("the sandbox's worker ended")]
    Worker,
}

/// One of the gateways.
#[derive(Debug)]
pub enum Gateway {
    /// Built in, for development, tests and load.
    Sandbox(Sandbox),
    /// Stripe, or what speaks like it.
    Stripe(Stripe),
}

impl Gateway {
    /// Reserves money, once an authorisation however often it is asked.
    ///
    /// # Errors
    /// If the outcome is not known, or the gateway refused our request.
    pub async fn authorise(&self, charge: &Charge) -> Result<Seen, GatewayError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.authorise(charge.clone()).await,
            Self::Stripe(stripe) => stripe.authorise(charge).await,
        }
    }

    /// What became of an authorisation.
    ///
    /// # Errors
    /// If that cannot be learned now.
    pub async fn lookup(&self, authorisation: &Authorisation) -> Result<Seen, GatewayError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.lookup(authorisation).await,
            Self::Stripe(stripe) => stripe.lookup(authorisation).await,
        }
    }

    /// Takes money that was reserved. Asked again, it says that it was taken.
    ///
    /// # Errors
    /// If it is not known whether that happened.
    pub async fn capture(
        &self,
        authorisation: &Authorisation,
        amount: u64,
    ) -> Result<Seen, GatewayError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.capture(authorisation, amount).await,
            Self::Stripe(stripe) => stripe.capture(authorisation, amount).await,
        }
    }

    /// Gives back what was reserved: what the gateway says of it afterwards. The sandbox also
    /// closes a key that it has not heard of; elsewhere `Absent` may still turn up for a while.
    ///
    /// # Errors
    /// If it is not known whether that happened.
    pub async fn void(&self, authorisation: &Authorisation) -> Result<Seen, GatewayError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.void(authorisation).await,
            Self::Stripe(stripe) => stripe.void(authorisation).await,
        }
    }

    /// Pays back money that was captured, once a `key` however often it is asked.
    ///
    /// # Errors
    /// If it is not known whether that happened, or the gateway refused it.
    pub async fn refund(
        &self,
        authorisation: &Authorisation,
        amount: u64,
        key: &str,
    ) -> Result<(), GatewayError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.refund(authorisation, amount, key).await,
            Self::Stripe(stripe) => stripe.refund(authorisation, amount, key).await,
        }
    }

    /// Authorisations made since `since_secs`, newest first.
    ///
    /// # Errors
    /// If they cannot be listed now.
    pub async fn list(&self, since_secs: u64, after: Option<&str>) -> Result<Page, GatewayError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.list(since_secs, after).await,
            Self::Stripe(stripe) => stripe.list(since_secs, after).await,
        }
    }

    /// Whether this payment token is of a kind that the gateway gives out. What looks like a card
    /// number is none.
    #[must_use]
    pub fn takes(&self, token: &str) -> bool {
        let prefixes: &[&str] = match self {
            Self::Sandbox(_) => &["tok_"],
            Self::Stripe(_) => &["pm_", "tok_"],
        };
        prefixes.iter().any(|prefix| token.starts_with(prefix))
    }
}
