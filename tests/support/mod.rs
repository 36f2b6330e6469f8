//! Helpers that read as sentences: they hide ports, cookies, processes and waiting.

pub mod processes;
pub mod stack;
pub mod visitor;

use std::time::Duration;

pub use stack::{TestStack, eventually};
pub use visitor::Page;

/// Longest wait for something that is to happen. Long, because test machines are slow; nothing
/// waits that long when all is well.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The event that the sample puts on sale.
pub const EVENT: &str = "wc2026-final";
