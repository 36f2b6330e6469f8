//! Waiting Room in one process: edge, controller and origin on any free ports.
//!
//! Each service also runs by itself from its own configuration; this is the one-command start and
//! the ground on which the end-to-end tests stand.

mod demo;
mod import;
mod stack;
mod verify;

pub use demo::{Demo, DemoError, token_of};
pub use import::{BringError, Listed, bring};
pub use stack::{Stack, StackConfig, StackError, bind};
pub use verify::{Checked, VerifyError, verify_draw};
