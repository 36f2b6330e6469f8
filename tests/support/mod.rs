//! Helpers that read as sentences: they hide ports, cookies, processes and waiting.

pub mod axe;
pub mod browser;
pub mod fleet;
pub mod mail;
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

/// Sends what an OpenAPI description allows, and what it does not, to the server at `base`: no 5xx
/// but those that are described, and no answer that is not.
pub async fn schemathesis(description: &str, base: &str) {
    let root = env!("CARGO_MANIFEST_DIR");
    let output = tokio::process::Command::new(format!("{root}/.tools/python/bin/st"))
        .args(["run", description, "--url", base, "--max-examples", "25", "--seed", "1"])
        .args(["--phases", "examples,coverage,fuzzing", "--generation-database", "none"])
        .args(["--checks", "not_a_server_error,status_code_conformance"])
        .args(["--checks", "content_type_conformance,response_schema_conformance"])
        .arg("--no-color")
        .output()
        .await
        .expect("schemathesis runs: `make tools` installs it");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Longest wait for something that is to happen. Long, because test machines are slow; nothing
/// waits that long when all is well.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The event that the sample puts on sale.
pub const EVENT: &str = "wc2026-final";
