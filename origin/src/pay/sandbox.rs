//! A payment provider for development and load: it does what the token says, and keeps a ledger
//! that outlives us, so that "charged exactly once" can be checked from outside.
//!
//! | token | what happens |
//! | --- | --- |
//! | `tok_ok` | authorised |
//! | `tok_declined`, and any token not listed here | declined |
//! | `tok_timeout` | authorised, but the first call gets no answer |
//! | `tok_lost` | nothing, and the first call gets no answer |
//! | `tok_slow` | authorised after `slow_ms` |

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keys::{Id128, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;

use super::{Charge, GatewayError, Standing};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS ledger (
        order_id TEXT PRIMARY KEY, amount INTEGER NOT NULL, currency TEXT NOT NULL,
        token TEXT NOT NULL, state TEXT NOT NULL, calls INTEGER NOT NULL, at INTEGER NOT NULL);";

/// How slow the sandbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SandboxRules {
    /// How long `tok_timeout` and `tok_lost` are silent before the call ends.
    pub timeout: Duration,
    /// How long `tok_slow` takes.
    pub slow: Duration,
}

/// Where an entry of the ledger is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LedgerState {
    /// The buyer is charged.
    Authorised,
    /// The buyer is not.
    Declined,
    /// The buyer is not any more, or the key was closed before.
    Voided,
}

impl LedgerState {
    const fn label(self) -> &'static str {
        match self {
            Self::Authorised => "authorised",
            Self::Declined => "declined",
            Self::Voided => "voided",
        }
    }

    fn named(label: &str) -> Self {
        [Self::Authorised, Self::Declined]
            .into_iter()
            .find(|state| state.label() == label)
            .unwrap_or(Self::Voided)
    }

    const fn standing(self) -> Standing {
        match self {
            Self::Authorised => Standing::Authorised,
            Self::Declined | Self::Voided => Standing::NotCharged,
        }
    }
}

/// One order in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LedgerEntry {
    /// The order.
    pub order: String,
    /// In minor units.
    pub amount: u64,
    /// ISO 4217.
    pub currency: String,
    /// What was paid with.
    pub token: String,
    /// Where it is.
    pub state: LedgerState,
    /// How often authorisation was asked for; the buyer is charged once at most.
    pub calls: u64,
    /// When the entry was made.
    pub at: Timestamp,
}

/// The ledger added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LedgerTotals {
    /// Orders whose buyers are charged.
    pub authorised: u64,
    /// Orders whose buyers were refused.
    pub declined: u64,
    /// Orders that were given back.
    pub voided: u64,
    /// What all buyers are charged, in minor units.
    pub authorised_amount: u64,
}

/// The built-in provider.
#[derive(Debug, Clone)]
pub struct Sandbox {
    rules: SandboxRules,
    ledger: Arc<Mutex<Connection>>,
}

impl Sandbox {
    /// Opens the ledger, or a new one; `None` keeps it in memory.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn open(path: Option<&Path>, rules: SandboxRules) -> Result<Self, rusqlite::Error> {
        let connection = match path {
            Some(path) => Connection::open(path)?,
            None => Connection::open_in_memory()?,
        };
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // It stands for somebody else's machine: it must outlive our process, not a power cut.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self { rules, ledger: Arc::new(Mutex::new(connection)) })
    }

    pub(super) async fn authorise(&self, charge: Charge) -> Result<Standing, GatewayError> {
        let known = self.called_again(charge.order).await?;
        if let Some(state) = known {
            return Ok(state.standing());
        }
        match charge.token.as_str() {
            "tok_ok" => self.enter(charge, LedgerState::Authorised).await,
            "tok_slow" => {
                tokio::time::sleep(self.rules.slow).await;
                self.enter(charge, LedgerState::Authorised).await
            }
            "tok_timeout" => {
                self.enter(charge, LedgerState::Authorised).await?;
                tokio::time::sleep(self.rules.timeout).await;
                Err(GatewayError::NoAnswer)
            }
            "tok_lost" => {
                tokio::time::sleep(self.rules.timeout).await;
                Err(GatewayError::NoAnswer)
            }
            _ => self.enter(charge, LedgerState::Declined).await,
        }
    }

    pub(super) async fn lookup(&self, order: Id128) -> Result<Standing, GatewayError> {
        let found = self.with(move |ledger| state_of(ledger, order)).await?;
        Ok(found.map_or(Standing::Absent, LedgerState::standing))
    }

    pub(super) async fn void(&self, order: Id128) -> Result<(), GatewayError> {
        let sql = "INSERT INTO ledger VALUES (?1, 0, '', '', 'voided', 0, ?2)
                   ON CONFLICT (order_id) DO UPDATE SET state = 'voided'";
        let now = Timestamp::now().as_millis();
        self.with(move |ledger| ledger.execute(sql, params![order.to_string(), now])).await?;
        Ok(())
    }

    /// A page of the ledger: up to `limit` entries with ids above `after`.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub async fn entries(
        &self,
        after: String,
        limit: u32,
    ) -> Result<Vec<LedgerEntry>, GatewayError> {
        let sql = "SELECT order_id, amount, currency, token, state, calls, at FROM ledger
                   WHERE order_id > ?1 ORDER BY order_id LIMIT ?2";
        self.with(move |ledger| {
            let mut select = ledger.prepare_cached(sql)?;
            let rows = select.query_map(params![after, limit], |row| {
                Ok(LedgerEntry {
                    order: row.get(0)?,
                    amount: row.get(1)?,
                    currency: row.get(2)?,
                    token: row.get(3)?,
                    state: LedgerState::named(&row.get::<_, String>(4)?),
                    calls: row.get(5)?,
                    at: Timestamp::from_millis(row.get(6)?),
                })
            })?;
            rows.collect()
        })
        .await
    }

    /// The whole ledger, added up.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub async fn totals(&self) -> Result<LedgerTotals, GatewayError> {
        let sql = "SELECT count(*) FILTER (WHERE state = 'authorised'),
                          count(*) FILTER (WHERE state = 'declined'),
                          count(*) FILTER (WHERE state = 'voided'),
                          coalesce(sum(amount) FILTER (WHERE state = 'authorised'), 0) FROM ledger";
        self.with(move |ledger| {
            ledger.query_row(sql, [], |row| {
                Ok(LedgerTotals {
                    authorised: row.get(0)?,
                    declined: row.get(1)?,
                    voided: row.get(2)?,
                    authorised_amount: row.get(3)?,
                })
            })
        })
        .await
    }

    async fn called_again(&self, order: Id128) -> Result<Option<LedgerState>, GatewayError> {
        self.with(move |ledger| {
            let sql = "UPDATE ledger SET calls = calls + 1 WHERE order_id = ?1";
            ledger.execute(sql, [order.to_string()])?;
            state_of(ledger, order)
        })
        .await
    }

    /// Makes the entry unless there is one; what is in the ledger counts.
    async fn enter(&self, charge: Charge, state: LedgerState) -> Result<Standing, GatewayError> {
        let sql = "INSERT INTO ledger VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6) ON CONFLICT DO NOTHING";
        let now = Timestamp::now().as_millis();
        let Charge { order, amount, currency, token } = charge;
        let entered = self.with(move |ledger| {
            let id = order.to_string();
            ledger.execute(sql, params![id, amount, currency, token, state.label(), now])?;
            state_of(ledger, order)
        });
        Ok(entered.await?.map_or(Standing::Absent, LedgerState::standing))
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, GatewayError> {
        let ledger = Arc::clone(&self.ledger);
        let done = tokio::task::spawn_blocking(move || {
            work(&ledger.lock().unwrap_or_else(PoisonError::into_inner))
        });
        done.await.map_err(|_| GatewayError::Worker)?.map_err(GatewayError::Ledger)
    }
}

fn state_of(ledger: &Connection, order: Id128) -> Result<Option<LedgerState>, rusqlite::Error> {
    let mut select = ledger.prepare_cached("SELECT state FROM ledger WHERE order_id = ?1")?;
    let state = select.query_row([order.to_string()], |row| row.get::<_, String>(0)).optional()?;
    Ok(state.map(|label| LedgerState::named(&label)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sandbox() -> Sandbox {
        let at_once = Duration::ZERO;
        Sandbox::open(None, SandboxRules { timeout: at_once, slow: at_once }).unwrap()
    }

    fn charge(token: &str) -> Charge {
        Charge { order: Id128::random(), amount: 500, currency: "USD", token: token.into() }
    }

    #[tokio::test]
    async fn the_token_says_what_happens_and_the_ledger_remembers() {
        use Standing::{Absent, Authorised, NotCharged};
        //    token           first call         looked up    asked again
        check("tok_ok", Some(Authorised), Authorised, Some(Authorised)).await;
        check("tok_slow", Some(Authorised), Authorised, Some(Authorised)).await;
        check("tok_declined", Some(NotCharged), NotCharged, Some(NotCharged)).await;
        check("tok_whatever", Some(NotCharged), NotCharged, Some(NotCharged)).await;
        check("tok_timeout", None, Authorised, Some(Authorised)).await;
        check("tok_lost", None, Absent, None).await;
    }

    async fn check(
        token: &'static str,
        first: Option<Standing>,
        looked_up: Standing,
        again: Option<Standing>,
    ) {
        let (sandbox, charge) = (sandbox(), charge(token));
        let order = charge.order;
        assert_eq!(sandbox.authorise(charge.clone()).await.ok(), first, "{token}");
        assert_eq!(sandbox.lookup(order).await.unwrap(), looked_up, "{token}");
        assert_eq!(sandbox.authorise(charge).await.ok(), again, "{token}");
        assert!(sandbox.totals().await.unwrap().authorised <= 1, "{token}");
    }

    #[tokio::test]
    async fn a_voided_order_can_never_be_charged_again() {
        for token in ["tok_ok", "tok_slow", "tok_timeout"] {
            let (sandbox, charge) = (sandbox(), charge(token));
            sandbox.void(charge.order).await.unwrap();
            assert_eq!(sandbox.authorise(charge).await.unwrap(), Standing::NotCharged, "{token}");
            assert_eq!(sandbox.totals().await.unwrap().authorised_amount, 0);
        }
    }
}
