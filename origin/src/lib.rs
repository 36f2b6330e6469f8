//! The origin: who has which seat, who paid, and what is their ticket?
//!
//! Start with [`start`], stop by its `shutdown` argument. The seats are kept by a single writer a
//! partition ([`partition`]) that decides with plain functions ([`sale`]) and writes what it
//! decided to a log ([`log`]); everything else is a way to it or a view of it.

pub mod board;
pub mod catalogue;
pub mod checkout;
pub mod config;
pub mod failpoint;
pub mod http;
pub mod live;
pub mod load;
pub mod log;
pub mod metrics;
pub mod ownership;
pub mod partition;
pub mod passes;
pub mod pay;
pub mod post;
pub mod printer;
pub mod record;
pub mod sale;
pub mod sales;
pub mod search;
pub mod shelf;
mod squeeze;
pub mod stand;
mod start;
pub mod steady;
pub mod store;
pub mod ticket;
mod usher;
pub mod venue;

pub use config::{ConfigError, OriginConfig};
pub use start::{Origin, OriginParts, StartError, start};
