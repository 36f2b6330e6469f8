//! The live seat map: who hears of which seats, how soon, and how much of it we can afford.
//!
//! [`frame`], [`mode`] and [`returns`] are plain functions; [`feed`] keeps what was cut, [`hub`]
//! who reads it, [`pins`] what operators have set, [`reader`] writes it to one connection and
//! [`governor`] watches the load. The protocol is described in `LIVE.md`.

pub mod feed;
pub mod frame;
pub mod governor;
pub mod hub;
pub mod mode;
pub mod pins;
pub mod reader;
pub mod returns;

pub use frame::{Plane, encode_snapshot};
pub use hub::{Hub, JoinError, Levels, Limits};
pub use mode::{Mode, Signals};
pub use pins::{Pins, PinsError};
pub use reader::{Reader, Wire};
pub use returns::Returns;
