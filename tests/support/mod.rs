//! Helpers that read as sentences: they hide ports, cookies, processes and waiting.

pub mod fleet;
pub mod processes;
pub mod stack;
pub mod visitor;

use std::time::Duration;

pub use stack::{TestStack, eventually};
pub use visitor::Page;

/// Runs a script of `tests/support` with the Python that `make tools` has set up.
pub fn python(script: &str, argument: &std::path::Path) {
    let root = env!("CARGO_MANIFEST_DIR");
    let status = std::process::Command::new(format!("{root}/.tools/python/bin/python3"))
        .arg(format!("{root}/tests/support/{script}"))
        .arg(argument)
        .status();
    assert!(status.is_ok_and(|status| status.success()), "run `make tools` first");
}

/// Longest wait for something that is to happen. Long, because test machines are slow; nothing
/// waits that long when all is well.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The event that the sample puts on sale.
pub const EVENT: &str = "wc2026-final";
