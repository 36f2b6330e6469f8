//! Do the promises hold when processes are killed, frozen and cut off? Real processes, on SQLite
//! and on PostgreSQL; `cargo test -p origin --features planted-bugs --test faults`.
//!
//! In each story visitors hold and buy while something breaks. Afterwards everything that was
//! acknowledged is there, and no seat has two owners.

#![allow(clippy::unwrap_used)] // all of it is a test

mod bugs;
mod clocks;
mod kills;
mod owners;
mod payments;
mod stores;
mod support;
mod verdicts;
