//! The admission controller: who may enter now, at what pace, and why?
//!
//! Pure files decide: [`pace`] (how fast), [`noshow`] (how much faster, as not all come), `lanes` (how
//! much of it for whom), [`front`] (how far), [`turns`] (who has missed their turn), [`claims`] (who
//! enters). The store keeps what must survive, `control` ties them together twice a second, and `http`
//! is the shell towards edges and people. [`start()`] runs it all.

mod app;
pub mod claims;
mod clock;
pub mod codes;
mod config;
mod control;
mod drand;
pub mod front;
pub mod gaps;
mod http;
mod lanes;
mod metrics;
pub mod noshow;
pub mod pace;
mod signals;
mod start;
pub mod store;
pub mod turns;

pub use config::{
    ConfigError, ControllerConfig, DrandConfig, OriginConfig, RedisUrl, StoreConfig, Token,
    TokenRole,
};
pub use control::ControlError;
pub use start::{Controller, ControllerParts, StartError, start};
