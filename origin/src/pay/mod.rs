//! Who takes the money? A payment provider that is asked to authorise, looked at, and told to void.
//!
//! We hand over tokens, never card data. An authorisation is keyed by the order's id, so asking
//! twice charges once; and whoever voids an order closes its key, so an authorisation that is
//! still on its way can no longer happen.

mod sandbox;

use keys::Id128;

pub use sandbox::{LedgerEntry, LedgerState, LedgerTotals, Sandbox, SandboxRules};

/// A request to reserve money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// For which order; also the idempotency key.
    pub order: Id128,
    /// In minor units.
    pub amount: u64,
    /// ISO 4217.
    pub currency: &'static str,
    /// The provider's token for the buyer's means of payment.
    pub token: String,
}

/// What the provider says of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The money is reserved.
    Authorised,
    /// It was refused, or reserved and given back.
    NotCharged,
    /// Never heard of it.
    Absent,
}

/// Why nothing is known.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// No answer in time: it may or may not have happened.
    #[error("the payment provider did not answer in time")]
    NoAnswer,
    /// The sandbox's own store failed.
    #[error("the sandbox's ledger failed")]
    Ledger(#[source] rusqlite::Error),
    /// The sandbox's worker went away.
    #[error("the sandbox's worker ended")]
    Worker,
}

/// One of the providers.
#[derive(Debug)]
pub enum Gateway {
    /// Built in, for development, tests and load.
    Sandbox(Sandbox),
}

impl Gateway {
    /// Reserves money, once an order however often it is asked.
    ///
    /// # Errors
    /// If the outcome is not known.
    pub async fn authorise(&self, charge: Charge) -> Result<Standing, GatewayError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.authorise(charge).await,
        }
    }

    /// What became of an order's payment.
    ///
    /// # Errors
    /// If that cannot be learned now.
    pub async fn lookup(&self, order: Id128) -> Result<Standing, GatewayError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.lookup(order).await,
        }
    }

    /// Gives the money back, and refuses any authorisation of this order from now on.
    ///
    /// # Errors
    /// If it is not known whether that happened.
    pub async fn void(&self, order: Id128) -> Result<(), GatewayError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.void(order).await,
        }
    }
}
