//! Load tests: crowds of visitors over real HTTP, and a checker of everything they were told.
//!
//! [`drive`](drive::drive) runs a crowd against an edge and returns a [`Report`](report::Report)
//! whose verdict says which promises were kept. The pure parts are [`arrivals`], [`crowd`],
//! [`page`], [`history`] and [`checker`].

pub mod answers;
pub mod arrivals;
pub mod checker;
pub mod client;
pub mod crowd;
pub mod drive;
pub mod history;
pub mod holds;

pub mod page;
pub mod plot;
pub mod report;
pub mod rng;
pub mod stats;
pub mod visitor;
pub mod world;

pub use checker::{Finding, Promise, Verdict};
pub use drive::{DriveError, DriveOptions, LedgerSource, drive};
pub use report::Report;
