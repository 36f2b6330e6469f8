//! What is kept beside the log, and the way to a PostgreSQL that keeps it all.
//!
//! Each store is an enum over SQLite, PostgreSQL and memory with a small contract about bytes, and
//! one suite of cases that all three pass: what works embedded works in a fleet.

pub mod blobs;
mod cpu;
pub mod docs;
mod hot;
mod migrations;
mod open;
pub mod postgres;
pub mod rows;
mod sqlite;

pub use blobs::{Blobs, Hash};
pub use cpu::{CpuShare, DatabaseCpu};
pub use docs::{Cursor, Doc, Docs, NewDoc, Put};
pub use hot::{Hot, HotError, HotOptions, Mark};
pub use open::Stores;
pub use postgres::{Database, POOL_DEFAULT, PostgresError, PostgresOptions};

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite said no.
    #[error("SQLite database {path}")]
    Sqlite {
        /// The file.
        path: String,
        /// The cause.
        source: rusqlite::Error,
    },
    /// PostgreSQL said no, or nothing.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// Redis is none that we can use.
    #[error(transparent)]
    Hot(#[from] HotError),
    /// More than we keep.
    #[error("{what} of {found}, at most {max} are kept")]
    TooLarge {
        /// What.
        what: &'static str,
        /// How much.
        found: usize,
        /// The most.
        max: usize,
    },
    /// A name that not every store can keep.
    #[error("{what} has characters that a name may not have")]
    Name {
        /// Of what.
        what: &'static str,
    },
    /// Bytes that are not what their name says.
    #[error("blob {hash} was damaged")]
    Damaged {
        /// Which.
        hash: Hash,
    },
    /// We are stopping.
    #[error("the work was interrupted")]
    Interrupted,
}

fn check_size(what: &'static str, found: usize, max: usize) -> Result<(), StoreError> {
    if found > max { Err(StoreError::TooLarge { what, found, max }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use servers::Postgres;

    use super::*;
    use crate::log::suite::options;

    /// An empty store of each kind.
    pub struct Stores {
        pub docs: Docs,
        pub blobs: Blobs,
    }

    /// Runs a case on each of the stores.
    pub async fn each_store(case: impl AsyncFn(Stores)) {
        println!("memory");
        case(Stores { docs: Docs::memory(), blobs: Blobs::memory() }).await;
        println!("SQLite");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docs.sqlite");
        let (docs, blobs) = (Docs::sqlite(&path).unwrap(), Blobs::sqlite(&path).unwrap());
        case(Stores { docs, blobs }).await;
        println!("PostgreSQL");
        let opened = tokio::task::spawn_blocking(|| {
            Database::open(&options(&Postgres::shared().database())).unwrap()
        });
        let database = opened.await.unwrap();
        let (docs, blobs) = (Docs::Postgres(database.clone()), Blobs::Postgres(database));
        case(Stores { docs, blobs }).await;
    }
}
