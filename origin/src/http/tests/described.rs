//! Does the description of the API say what is there and what is answered, and nothing else?

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::*;

const DESCRIPTION: &str = include_str!("../../../openapi.json");
const SCHEMATHESIS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.tools/python/bin/st");
/// Files whose routes are the internal listener's.
const INTERNAL: [&str; 3] = ["internal.rs", "after.rs", "admin"];
/// Codes that only the internal listener tells.
const INTERNAL_CODES: [&str; 11] = [
    "unauthorized",
    "internal-error",
    "no-sandbox",
    "not-blocked",
    "too-many-channels",
    "barcode-refused",
    "ticket-used",
    "elsewhere",
    "never-on-sale",
    "not-in-force",
    "invalid-map",
];

fn description() -> Value {
    serde_json::from_str(DESCRIPTION).unwrap()
}

/// All source files of ours below a folder, but the tests.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        match path.is_dir() {
            true if name != "tests" => sources(&path, found),
            false if name.ends_with(".rs") && name != "tests.rs" => found.push(path),
            _ => {}
        }
    }
}

/// What stands in the brackets after each `call`.
fn calls<'a>(source: &'a str, call: &'a str) -> impl Iterator<Item = &'a str> {
    source.match_indices(call).map(move |(at, _)| {
        let rest = &source[at + call.len()..];
        let mut depth = 1;
        let end = rest.find(|c| {
            depth += match c {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            depth == 0
        });
        &rest[..end.unwrap()]
    })
}

fn quoted(text: &str) -> Option<&str> {
    text.split('"').nth(1)
}

fn http() -> Vec<PathBuf> {
    let mut found = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http"), &mut found);
    found
}

#[test]
fn every_route_of_visitors_is_described_and_nothing_else() {
    let is_internal = |path: &PathBuf| {
        path.components().any(|part| INTERNAL.iter().any(|name| part.as_os_str() == *name))
    };
    let mut routes = BTreeSet::new();
    for path in http().iter().filter(|path| !is_internal(path)) {
        let source = fs::read_to_string(path).unwrap();
        for route in calls(&source, ".route(") {
            let address = quoted(route).unwrap();
            for method in ["get", "put", "post", "patch", "delete"] {
                if route.contains(&format!("{method}(")) {
                    routes.insert((address.to_owned(), method.to_owned()));
                }
            }
        }
    }
    assert!(routes.len() > 20, "{routes:?}");
    let description = description();
    let mut described = BTreeSet::new();
    for (address, operations) in description["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            described.insert((address.clone(), method.clone()));
        }
    }
    assert_eq!(routes, described);
}

#[test]
fn every_code_is_described_and_every_answer_lists_its_codes_in_the_one_order() {
    let mut told = BTreeSet::new();
    for path in http() {
        let source = fs::read_to_string(&path).unwrap();
        for call in ["Refused::new(", "Refused::not_found("] {
            told.extend(calls(&source, call).filter_map(quoted).map(str::to_owned));
        }
        // Where a status of the framework is turned into a code.
        if path.ends_with("guard.rs") {
            let pairs = calls(&source, " => (").filter(|pair| pair.starts_with('"'));
            told.extend(pairs.filter_map(quoted).map(str::to_owned));
        }
    }
    let refusals = include_str!("../../sale/refusal.rs");
    let (_, codes) = refusals.split_once("fn code(").unwrap();
    told.extend(codes.split(" => ").skip(1).filter_map(quoted).map(str::to_owned));
    assert!(told.len() > 50, "{told:?}");

    let description = description();
    let order: Vec<&str> = description["components"]["schemas"]["Code"]["enum"]
        .as_array()
        .unwrap()
        .iter()
        .map(text)
        .collect();
    let missing = told
        .iter()
        .filter(|code| !order.contains(&code.as_str()) && !INTERNAL_CODES.contains(&code.as_str()));
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&String>::new());
    let unknown = order.iter().filter(|code| !told.contains(**code));
    assert_eq!(unknown.collect::<Vec<_>>(), Vec::<&&str>::new());

    let mut listed = BTreeSet::new();
    for operations in description["paths"].as_object().unwrap().values() {
        for operation in operations.as_object().unwrap().values() {
            for answer in operation["responses"].as_object().unwrap().values() {
                let schema = &answer["content"]["application/problem+json"]["schema"];
                let Some(codes) = schema["allOf"][1]["properties"]["code"]["enum"].as_array()
                else {
                    continue;
                };
                let places: Vec<_> = codes
                    .iter()
                    .map(|code| order.iter().position(|known| code == known).unwrap())
                    .collect();
                assert!(places.is_sorted(), "{codes:?} of {}", operation["operationId"]);
                listed.extend(codes.iter().map(text));
            }
        }
    }
    listed.insert("method-not-allowed"); // of no operation
    assert_eq!(listed, order.into_iter().collect());
}

/// What is really there, in place of what might be, so that requests get beyond the first look.
fn with_examples(mut description: Value, examples: &[(&str, Value)]) -> Value {
    for (schema, values) in examples {
        let schema = description.pointer_mut(&format!("/components/{schema}")).unwrap();
        *schema = json!({ "enum": values });
    }
    // It does not end, so no answer to it is ever complete; the tests of the live map read it.
    let paths = description["paths"].as_object_mut().unwrap();
    paths.remove("/api/v1/events/{event}/stream").unwrap();
    description
}

#[tokio::test]
async fn nothing_is_answered_that_is_not_described() {
    let house = House::open().await;
    let served = house.get("/api/v1/openapi.json").await;
    assert_eq!(served.headers["cache-control"], "public, max-age=300");
    let etag = served.headers["etag"].clone();
    let again = house.client.get(format!("{}/api/v1/openapi.json", house.base));
    assert_eq!(house.send(again.header("if-none-match", etag)).await.status, 304);
    let served = served.succeeds(200);
    assert_eq!(served["openapi"], "3.0.3");

    // One visitor with an order, a hold, and somebody else's hold; nobody's id besides.
    let (ana, bob) = (house.visitor(), house.visitor());
    let bought = ana.hold(&[0, 1]).await;
    let order = ana.pay(&bought, "tok_ok", "key-1").await.succeeds(201);
    let (held, foreign) = (ana.hold(&[2]).await, bob.hold(&[3]).await);
    let nobody = Id128::random().to_string();
    let event = house.get(&format!("/api/v1/events/{FINAL}")).await.succeeds(200);
    let map = text(&event["map_url"]).rsplit('/').next().unwrap().to_owned();
    let examples = [
        ("parameters/Event/schema", json!([FINAL, "nothing-here"])),
        ("parameters/Hold/schema", json!([held, foreign, bought, nobody])),
        ("parameters/Order/schema", json!([order["order"], nobody])),
        ("parameters/Ticket/schema", json!([order["tickets"][0]["ticket"], nobody])),
        ("parameters/Map/schema", json!([map, "0".repeat(32)])),
        ("schemas/Area/properties/quantity", json!([0, 1, u32::MAX])),
        ("schemas/Best/properties/quantity", json!([0, 1, 2, u32::MAX])),
        ("schemas/OrderAsk/properties/hold", json!([held, foreign, bought, nobody])),
        ("schemas/OrderAsk/properties/payment_token", json!(["tok_ok", "tok_declined", "4242"])),
    ];
    let file = house.folder.join("openapi.json");
    fs::write(&file, with_examples(served, &examples).to_string()).unwrap();
    let mut command = Command::new(SCHEMATHESIS);
    command
        .arg("run")
        .arg(&file)
        .args(["--url", &house.base, "--max-examples", "20", "--seed", "1", "--no-color"])
        .args(["-H", &format!("Waiting-Room-Pass: {}", ana.pass)])
        .args(["--phases", "examples,coverage,fuzzing", "--generation-database", "none"])
        // No 500 is described, so the first of these finds it.
        .args(["--checks", "status_code_conformance,content_type_conformance"])
        .args(["--checks", "response_headers_conformance,response_schema_conformance"])
        .args(["--request-timeout", "10"])
        .current_dir(&house.folder)
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let output = output.expect("schemathesis runs: `make tools` installs it");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    // No 5xx, not even one that is described; and they came as far as that.
    let metrics = house.internal("/metrics").await;
    let is_counted = |route: &str, class: &str| {
        let counted = format!("requests_total{{class=\"{class}\",route=\"{route}\"}}");
        text(&metrics).contains(&counted)
    };
    assert!(!text(&metrics).contains("requests_total{class=\"failed\""), "{metrics}");
    for route in ["event", "map", "availability", "zones", "hold", "order", "tickets", "calendar"] {
        assert!(is_counted(route, "ok"), "{route}: {metrics}");
    }
    for route in ["holds", "hold", "orders", "waitlist", "offer", "webhook", "ws"] {
        assert!(is_counted(route, "refused"), "{route}: {metrics}");
    }
}
