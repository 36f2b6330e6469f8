//! What is kept beside the log, and the way to a PostgreSQL that keeps it all.
//!
//! Each store is an enum over SQLite, PostgreSQL and memory with a small contract about bytes, and
//! one suite of cases that all three pass: what works embedded works in a fleet.

mod migrations;
pub mod postgres;

pub use postgres::{Database, PostgresError, PostgresOptions};
