//! The admission controller: who may enter now, at what pace, and why?
//!
//! Pure files decide: [`pace`] (how fast), [`noshow`] (how much faster, as not all come), [`front`]
//! (how far), [`claims`] (who). The store keeps
//! what must survive, `control` ties them together twice a second, and `http` is the shell
//! towards edges and people. [`start()`] runs it all.

mod app;
pub mod claims;
mod clock;
mod config;
mod control;
mod drand;
pub mod front;
mod http;
mod metrics;
pub mod noshow;
pub mod pace;
mod signals;
mod start;
pub mod store;

pub use config::{
    ConfigError, ControllerConfig, DrandConfig, OriginConfig, RedisUrl, StoreConfig, Token,
    TokenRole,
};
pub use control::ControlError;
pub use start::{Controller, ControllerParts, StartError, start};
