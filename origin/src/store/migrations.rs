//! Which steps has the database taken, and which are missing?
//!
//! A step is a file of `origin/migrations/`, written once and never changed; a new need is a new
//! file. The count of steps taken is in the database, so that an older program refuses a newer
//! layout instead of guessing.

use tokio_postgres::Client;

/// The steps, in order.
const STEPS: [&str; 5] = [
    include_str!("../../migrations/0001_log.sql"),
    include_str!("../../migrations/0002_documents.sql"),
    include_str!("../../migrations/0003_members.sql"),
    include_str!("../../migrations/0004_rows.sql"),
    include_str!("../../migrations/0005_rush.sql"),
];

/// Any number, as long as nobody else locks it: processes that start together take turns.
const LOCK: i64 = 0x7761_6974_726f_6f6d;

/// Takes the missing steps, all or none.
///
/// # Errors
/// If a step fails.
pub(super) async fn run(client: &mut Client) -> Result<Migrated, tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    transaction.batch_execute("CREATE TABLE IF NOT EXISTS steps (taken integer NOT NULL)").await?;
    let rows = transaction.query("SELECT taken FROM steps", &[]).await?;
    let taken: i32 = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
    let known = i32::try_from(STEPS.len()).unwrap_or(i32::MAX);
    if taken > known {
        return Ok(Migrated::Newer { taken, known });
    }
    for step in STEPS.iter().skip(usize::try_from(taken).unwrap_or(0)) {
        transaction.batch_execute(step).await?;
    }
    transaction.execute("DELETE FROM steps", &[]).await?;
    transaction.execute("INSERT INTO steps VALUES ($1)", &[&known]).await?;
    transaction.commit().await?;
    Ok(Migrated::UpToDate)
}

/// Where the database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Migrated {
    /// Where we expect it.
    UpToDate,
    /// Beyond what we know.
    Newer { taken: i32, known: i32 },
}
