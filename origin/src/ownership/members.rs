//! Which processes share the store and are alive? Whoever has said so lately, by the store's clock.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::log::LogError;
use crate::store::Database;

/// How long somebody who says nothing any more is remembered, in lease times.
const FORGOTTEN_AFTER: f64 = 100.0;

/// The list of members in the store.
#[derive(Debug)]
pub struct Members {
    database: Arc<Database>,
}

impl Members {
    /// The list in this database.
    #[must_use]
    pub fn new(database: Arc<Database>) -> Self {
        Self { database }
    }

    /// Says that `addr` is alive for `ttl`, and returns everybody who is.
    ///
    /// # Errors
    /// If the store fails.
    pub fn beat(&self, addr: &str, ttl: Duration) -> Result<BTreeSet<String>, LogError> {
        let (addr, secs) = (addr.to_owned(), ttl.as_secs_f64());
        let database = Arc::clone(&self.database);
        let alive = self.database.wait(async move {
            let beat = "INSERT INTO member (addr, until)
                        VALUES ($1, clock_timestamp() + $2 * interval '1 second')
                        ON CONFLICT (addr) DO UPDATE SET until = excluded.until";
            database.execute(beat, &[&addr, &secs]).await?;
            let forget = "DELETE FROM member
                          WHERE until < clock_timestamp() - $1 * interval '1 second'";
            database.execute(forget, &[&(secs * FORGOTTEN_AFTER)]).await?;
            let alive = "SELECT addr FROM member WHERE until > clock_timestamp()";
            let rows = database.query(alive, &[]).await?;
            Ok(rows.iter().map(|row| row.get(0)).collect())
        })?;
        Ok(alive)
    }

    /// Says that `addr` is no more.
    ///
    /// # Errors
    /// If the store fails; it is forgotten by itself then.
    pub fn leave(&self, addr: &str) -> Result<(), LogError> {
        let addr = addr.to_owned();
        let database = Arc::clone(&self.database);
        self.database.wait(async move {
            database.execute("DELETE FROM member WHERE addr = $1", &[&addr]).await
        })?;
        Ok(())
    }
}
