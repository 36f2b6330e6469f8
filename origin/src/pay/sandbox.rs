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
//! | `tok_action` | waits for the buyer, who is sent to a page of ours that plays their bank |

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keys::{Id128, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::Serialize;
use serde_json::json;

use super::{Authorisation, Charge, GatewayError, Listed, Page, Seen, Standing};
use crate::sale::Action;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS authorisations (
        key TEXT PRIMARY KEY, event_id TEXT NOT NULL, order_id TEXT NOT NULL,
        number INTEGER NOT NULL, amount INTEGER NOT NULL, currency TEXT NOT NULL,
        token TEXT NOT NULL, state TEXT NOT NULL, captured INTEGER NOT NULL,
        calls INTEGER NOT NULL, at INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS challenges (secret TEXT PRIMARY KEY, key TEXT NOT NULL UNIQUE);
    CREATE TABLE IF NOT EXISTS refunds (
        refund_key TEXT PRIMARY KEY, key TEXT NOT NULL, amount INTEGER NOT NULL);";
/// Entries in a page of the list of authorisations.
const LIST_MAX: usize = 1000;

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
    /// The buyer has not answered their bank yet.
    Waiting,
    /// The buyer's money is reserved.
    Authorised,
    /// The buyer is charged.
    Captured,
    /// The buyer is not.
    Declined,
    /// The buyer is not any more, or the key was closed before.
    Voided,
}

impl LedgerState {
    const fn label(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Authorised => "authorised",
            Self::Captured => "captured",
            Self::Declined => "declined",
            Self::Voided => "voided",
        }
    }

    fn named(label: &str) -> Self {
        [Self::Waiting, Self::Authorised, Self::Captured, Self::Declined]
            .into_iter()
            .find(|state| state.label() == label)
            .unwrap_or(Self::Voided)
    }

    fn standing(self, amount: u64, challenge: Option<(&str, &str)>) -> Standing {
        match self {
            Self::Waiting => {
                challenge.map_or(Standing::Pending, |(secret, order)| action(secret, order))
            }
            Self::Authorised => Standing::Authorised { amount },
            Self::Captured => Standing::Captured { amount },
            Self::Declined => Standing::NotCharged { code: Some("card_declined".to_owned()) },
            Self::Voided => Standing::NotCharged { code: None },
        }
    }
}

/// One order in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LedgerEntry {
    /// The order.
    pub order: String,
    /// Which request for it; more than one may be live only for a moment.
    pub number: u32,
    /// In minor units.
    pub amount: u64,
    /// What was paid back of it, in minor units.
    pub refunded: u64,
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
    /// Orders whose buyers are charged, or will be once it is captured.
    pub authorised: u64,
    /// Of these, captured.
    pub captured: u64,
    /// Orders whose buyers were refused.
    pub declined: u64,
    /// Orders that were given back.
    pub voided: u64,
    /// What all buyers are charged or will be, in minor units.
    pub authorised_amount: u64,
    /// What was captured, in minor units.
    pub captured_amount: u64,
    /// What was paid back, in minor units.
    pub refunded_amount: u64,
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

    pub(super) async fn authorise(&self, charge: Charge) -> Result<Seen, GatewayError> {
        if let Some(standing) = self.called_again(&charge.authorisation).await? {
            return Ok(Seen { reference: None, standing });
        }
        match charge.token.as_str() {
            "tok_ok" => self.enter(charge, LedgerState::Authorised).await,
            "tok_slow" => {
                tokio::time::sleep(self.rules.slow).await;
                self.enter(charge, LedgerState::Authorised).await
            }
            "tok_action" => self.enter(charge, LedgerState::Waiting).await,
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

    /// What the buyer answers their bank; the order it was about, or `None` if nothing is asked of
    /// whoever has this secret. The first answer counts.
    ///
    /// # Errors
    /// If the ledger cannot be written.
    pub async fn challenged(
        &self,
        secret: String,
        is_approved: bool,
    ) -> Result<Option<String>, GatewayError> {
        let state = if is_approved { LedgerState::Authorised } else { LedgerState::Declined };
        self.with(move |ledger| {
            let sql = "UPDATE authorisations SET state = ?2 WHERE state = 'waiting'
                       AND key = (SELECT key FROM challenges WHERE secret = ?1)";
            ledger.execute(sql, params![secret, state.label()])?;
            let sql = "SELECT order_id FROM authorisations JOIN challenges USING (key)
                       WHERE secret = ?1";
            ledger.query_row(sql, [secret], |row| row.get(0)).optional()
        })
        .await
    }

    pub(super) async fn lookup(&self, which: &Authorisation) -> Result<Seen, GatewayError> {
        let key = which.key();
        self.with(move |ledger| seen(ledger, &key)).await
    }

    pub(super) async fn capture(
        &self,
        which: &Authorisation,
        amount: u64,
    ) -> Result<Seen, GatewayError> {
        let key = which.key();
        self.with(move |ledger| {
            let sql = "UPDATE authorisations SET state = 'captured', captured = ?2
                       WHERE key = ?1 AND state = 'authorised' AND amount >= ?2";
            ledger.execute(sql, params![key, amount])?;
            seen(ledger, &key)
        })
        .await
    }

    pub(super) async fn void(&self, which: &Authorisation) -> Result<Seen, GatewayError> {
        let sql =
            "INSERT INTO authorisations VALUES (?1, ?2, ?3, ?4, 0, '', '', 'voided', 0, 0, ?5)
                   ON CONFLICT (key) DO UPDATE SET state = 'voided' WHERE state <> 'captured'";
        let now = Timestamp::now().as_millis();
        let which = which.clone();
        self.with(move |ledger| {
            let (key, event, order) = (which.key(), which.event.as_str(), which.order.to_string());
            ledger.execute(sql, params![key, event, order, which.number, now])?;
            seen(ledger, &key)
        })
        .await
    }

    pub(super) async fn refund(
        &self,
        which: &Authorisation,
        amount: u64,
        refund_key: &str,
    ) -> Result<(), GatewayError> {
        // No more than was captured, all refunds together.
        let sql = "INSERT INTO refunds SELECT ?1, ?2, ?3 WHERE ?3 <=
                   (SELECT captured FROM authorisations WHERE key = ?2)
                   - (SELECT coalesce(sum(amount), 0) FROM refunds WHERE key = ?2)
                   ON CONFLICT DO NOTHING";
        let (key, refund_key) = (which.key(), refund_key.to_owned());
        let is_done = self.with(move |ledger| {
            ledger.execute(sql, params![refund_key, key, amount])?;
            let sql = "SELECT count(*) FROM refunds WHERE refund_key = ?1";
            ledger.query_row(sql, [refund_key], |row| row.get::<_, u64>(0))
        });
        if is_done.await? == 1 {
            return Ok(());
        }
        Err(GatewayError::Rejected { status: 400, code: "amount_too_large".to_owned() })
    }

    pub(super) async fn list(
        &self,
        since_secs: u64,
        after: Option<&str>,
    ) -> Result<Page, GatewayError> {
        let sql = "SELECT key, event_id, order_id, number, state, amount, captured, secret
                   FROM authorisations LEFT JOIN challenges USING (key)
                   WHERE at >= ?1 AND key > ?2 ORDER BY key LIMIT ?3";
        let after = after.unwrap_or("").to_owned();
        self.with(move |ledger| {
            let mut select = ledger.prepare_cached(sql)?;
            let since = Timestamp::from_secs(since_secs).as_millis();
            let rows = select.query_map(params![since, after, LIST_MAX], |row| {
                let (event, order): (String, String) = (row.get(1)?, row.get(2)?);
                let (key, number): (String, u32) = (row.get(0)?, row.get(3)?);
                let named = event.parse().ok().zip(order.parse().ok());
                let authorisation = named.map(|(event, order)| Authorisation {
                    event,
                    order,
                    number,
                    reference: None,
                });
                let standing = standing(row, 4, &order)?;
                let seen = Seen { reference: None, standing };
                Ok((key, Listed { authorisation, seen }))
            })?;
            let rows = rows.collect::<Result<Vec<_>, _>>()?;
            let next = rows.last().filter(|_| rows.len() == LIST_MAX).map(|(key, _)| key.clone());
            Ok(Page { entries: rows.into_iter().map(|(_, listed)| listed).collect(), next })
        })
        .await
    }

    /// A page of the ledger: up to `limit` entries with keys above `after`, and the last key.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub async fn entries(
        &self,
        after: String,
        limit: u32,
    ) -> Result<(Vec<LedgerEntry>, Option<String>), GatewayError> {
        let sql = "SELECT order_id, number, amount, currency, token, state, calls, at,
                   (SELECT coalesce(sum(amount), 0) FROM refunds WHERE refunds.key = a.key), key
                   FROM authorisations a WHERE key > ?1 ORDER BY key LIMIT ?2";
        self.with(move |ledger| {
            let mut select = ledger.prepare_cached(sql)?;
            let mut last = None;
            let rows = select.query_map(params![after, limit], |row| {
                last = Some(row.get(9)?);
                Ok(LedgerEntry {
                    order: row.get(0)?,
                    number: row.get(1)?,
                    amount: row.get(2)?,
                    currency: row.get(3)?,
                    token: row.get(4)?,
                    state: LedgerState::named(&row.get::<_, String>(5)?),
                    calls: row.get(6)?,
                    at: Timestamp::from_millis(row.get(7)?),
                    refunded: row.get(8)?,
                })
            })?;
            let rows = rows.collect::<Result<Vec<_>, _>>()?;
            Ok((rows, last))
        })
        .await
    }

    /// The whole ledger, added up.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub async fn totals(&self) -> Result<LedgerTotals, GatewayError> {
        let sql = "SELECT count(*) FILTER (WHERE state IN ('authorised', 'captured')),
                          count(*) FILTER (WHERE state = 'captured'),
                          count(*) FILTER (WHERE state = 'declined'),
                          count(*) FILTER (WHERE state = 'voided'),
                          coalesce(sum(amount) FILTER (WHERE state IN ('authorised', 'captured')), 0),
                          coalesce(sum(captured), 0),
                          (SELECT coalesce(sum(amount), 0) FROM refunds) FROM authorisations";
        self.with(move |ledger| {
            ledger.query_row(sql, [], |row| {
                Ok(LedgerTotals {
                    authorised: row.get(0)?,
                    captured: row.get(1)?,
                    declined: row.get(2)?,
                    voided: row.get(3)?,
                    authorised_amount: row.get(4)?,
                    captured_amount: row.get(5)?,
                    refunded_amount: row.get(6)?,
                })
            })
        })
        .await
    }

    async fn called_again(&self, which: &Authorisation) -> Result<Option<Standing>, GatewayError> {
        let key = which.key();
        let found = self.with(move |ledger| {
            ledger.execute("UPDATE authorisations SET calls = calls + 1 WHERE key = ?1", [&key])?;
            seen(ledger, &key)
        });
        Ok(Some(found.await?.standing).filter(|standing| *standing != Standing::Absent))
    }

    /// Makes the entry unless there is one; what is in the ledger counts.
    async fn enter(&self, charge: Charge, state: LedgerState) -> Result<Seen, GatewayError> {
        let sql = "INSERT INTO authorisations VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, 1, ?9)
                   ON CONFLICT DO NOTHING";
        let now = Timestamp::now().as_millis();
        let Charge { authorisation: which, amount, currency, token } = charge;
        self.with(move |ledger| {
            let (key, event, order) = (which.key(), which.event.as_str(), which.order.to_string());
            let (currency, state) = (currency.code(), state.label());
            let number = which.number;
            let row = params![key, event, order, number, amount, currency, token, state, now];
            ledger.execute(sql, row)?;
            if state == LedgerState::Waiting.label() {
                let sql = "INSERT INTO challenges VALUES (?1, ?2) ON CONFLICT DO NOTHING";
                ledger.execute(sql, params![Id128::random().to_string(), key])?;
            }
            seen(ledger, &key)
        })
        .await
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

fn seen(ledger: &Connection, key: &str) -> Result<Seen, rusqlite::Error> {
    let sql = "SELECT order_id, state, amount, captured, secret
               FROM authorisations LEFT JOIN challenges USING (key) WHERE key = ?1";
    let mut select = ledger.prepare_cached(sql)?;
    let found = select.query_row([key], |row| {
        let order: String = row.get(0)?;
        standing(row, 1, &order)
    });
    let found = found.optional()?;
    Ok(found.map_or(Seen::ABSENT, |standing| Seen { reference: None, standing }))
}

/// From the columns `state, amount, captured, secret`, the first of which is column `at`.
fn standing(row: &Row<'_>, at: usize, order: &str) -> Result<Standing, rusqlite::Error> {
    let state = LedgerState::named(&row.get::<_, String>(at)?);
    let amount = row.get(if state == LedgerState::Captured { at + 2 } else { at + 1 })?;
    let secret: Option<String> = row.get(at + 3)?;
    Ok(state.standing(amount, secret.as_deref().map(|secret| (secret, order))))
}

/// The page that plays the buyer's bank, told in Stripe's words.
fn action(secret: &str, order: &str) -> Standing {
    let url = format!("/sandbox/bank?secret={secret}&order={order}");
    let next_action = json!({ "type": "redirect_to_url", "redirect_to_url": { "url": url } });
    Standing::ActionRequired(Action { client_secret: secret.to_owned(), next_action })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sale::Currency;

    fn sandbox() -> Sandbox {
        let at_once = Duration::ZERO;
        Sandbox::open(None, SandboxRules { timeout: at_once, slow: at_once }).unwrap()
    }

    fn charge(token: &str) -> Charge {
        let (event, order) = ("final".parse().unwrap(), Id128::random());
        let authorisation = Authorisation { event, order, number: 0, reference: None };
        Charge { authorisation, amount: 500, currency: Currency::USD, token: token.into() }
    }

    fn authorised() -> Standing {
        Standing::Authorised { amount: 500 }
    }

    fn declined() -> Standing {
        Standing::NotCharged { code: Some("card_declined".to_owned()) }
    }

    #[tokio::test]
    async fn the_token_says_what_happens_and_the_ledger_remembers() {
        //    token           first call          looked up         asked again
        check("tok_ok", Some(authorised()), authorised(), Some(authorised())).await;
        check("tok_slow", Some(authorised()), authorised(), Some(authorised())).await;
        check("tok_declined", Some(declined()), declined(), Some(declined())).await;
        check("tok_whatever", Some(declined()), declined(), Some(declined())).await;
        check("tok_timeout", None, authorised(), Some(authorised())).await;
        check("tok_lost", None, Standing::Absent, None).await;
    }

    async fn check(
        token: &'static str,
        first: Option<Standing>,
        looked_up: Standing,
        again: Option<Standing>,
    ) {
        let (sandbox, charge) = (sandbox(), charge(token));
        let ask = async || sandbox.authorise(charge.clone()).await.ok().map(|seen| seen.standing);
        assert_eq!(ask().await, first, "{token}");
        let found = sandbox.lookup(&charge.authorisation).await.unwrap();
        assert_eq!(found.standing, looked_up, "{token}");
        assert_eq!(ask().await, again, "{token}");
        assert!(sandbox.totals().await.unwrap().authorised <= 1, "{token}");
    }

    #[tokio::test]
    async fn the_buyer_answers_their_bank_once() {
        for (is_approved, expected) in [(true, authorised()), (false, declined())] {
            let (sandbox, charge) = (sandbox(), charge("tok_action"));
            let asked = sandbox.authorise(charge.clone()).await.unwrap().standing;
            let Standing::ActionRequired(action) = asked else { panic!("{asked:?}") };
            let which = &charge.authorisation;
            let captured = sandbox.capture(which, 500).await.unwrap().standing;
            assert!(matches!(captured, Standing::ActionRequired(_)), "{captured:?}");
            for answer in [is_approved, !is_approved] {
                let order = sandbox.challenged(action.client_secret.clone(), answer).await.unwrap();
                assert_eq!(order, Some(which.order.to_string()));
                assert_eq!(sandbox.lookup(which).await.unwrap().standing, expected);
            }
            assert_eq!(sandbox.challenged("another".to_owned(), true).await.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn a_voided_authorisation_can_never_be_charged_again() {
        for token in ["tok_ok", "tok_slow", "tok_timeout"] {
            let (sandbox, charge) = (sandbox(), charge(token));
            sandbox.void(&charge.authorisation).await.unwrap();
            let asked = sandbox.authorise(charge.clone()).await.unwrap();
            assert_eq!(asked.standing, Standing::NotCharged { code: None }, "{token}");
            let captured = sandbox.capture(&charge.authorisation, 500).await.unwrap();
            assert_eq!(captured.standing, Standing::NotCharged { code: None }, "{token}");
            let totals = sandbox.totals().await.unwrap();
            assert_eq!((totals.authorised_amount, totals.captured_amount), (0, 0));
        }
    }

    #[tokio::test]
    async fn what_was_captured_is_paid_back_once_a_key_and_never_more_than_it() {
        let (sandbox, charge) = (sandbox(), charge("tok_ok"));
        let which = &charge.authorisation;
        sandbox.authorise(charge.clone()).await.unwrap();
        assert!(sandbox.refund(which, 100, "a").await.is_err(), "nothing is captured yet");
        for _ in 0..2 {
            let captured = sandbox.capture(which, 500).await.unwrap();
            assert_eq!(captured.standing, Standing::Captured { amount: 500 });
            let voided = sandbox.void(which).await.unwrap();
            assert_eq!(voided.standing, Standing::Captured { amount: 500 }, "it is too late");
            sandbox.refund(which, 300, "b").await.unwrap();
            assert!(sandbox.refund(which, 201, "c").await.is_err());
        }
        let totals = sandbox.totals().await.unwrap();
        assert_eq!((totals.captured_amount, totals.refunded_amount), (500, 300));
        let listed = sandbox.list(0, None).await.unwrap();
        assert_eq!(listed.entries[0].authorisation.as_ref(), Some(which));
    }
}
