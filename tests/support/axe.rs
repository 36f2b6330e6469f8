//! What keeps people out of a page, as far as a machine can tell: axe-core looks at the page that a
//! browser shows.

use std::path::PathBuf;

use serde_json::Value;

use super::browser::Browser;

/// WCAG 2.2 AA, and what axe holds for good practice beside it.
const RUN: &str = "
    const done = arguments[arguments.length - 1];
    const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
    window.axe.run(document, { runOnly: tags, resultTypes: ['violations'] }).then(
        ({ violations }) => done(violations.flatMap((one) => one.nodes.map((node) =>
            `${one.id}: ${node.html} ${node.failureSummary.replace(/\\s+/g, ' ')}`))),
        (error) => done([String(error)]));";

/// Panics with everything that axe finds wrong with the page as it is shown now; `what` says which
/// page and state that is.
pub async fn finds_nothing(browser: &Browser, what: &str) {
    if browser.tells("return typeof window.axe").await != "object" {
        browser.client.execute(&source(), vec![]).await.unwrap();
    }
    let found = browser.client.execute_async(RUN, vec![]).await.unwrap();
    let found: Vec<&str> =
        found.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert!(found.is_empty(), "axe finds in {what}:\n{}", found.join("\n"));
}

/// axe-core's script, from the Python package that carries it.
fn source() -> String {
    let lib = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".tools/python/lib");
    let versions = std::fs::read_dir(&lib).expect("`make tools` makes .tools/python");
    let file = versions
        .map(|version| {
            version.unwrap().path().join("site-packages/axe_playwright_python/axe.min.js")
        })
        .find(|file| file.exists());
    std::fs::read_to_string(file.expect("`make tools` installs axe")).unwrap()
}
