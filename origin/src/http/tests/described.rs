//! Does the description of the API say what is there and what is answered, and nothing else?

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::admin::{ANA, ORGANISERS, prepared, recital};
use super::*;

const SCHEMATHESIS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.tools/python/bin/st");
/// Files whose routes are the internal listener's.
const INTERNAL: [&str; 3] = ["internal.rs", "after.rs", "admin"];
const DESCRIPTIONS: [(&str, &str); 2] = [
    ("public", include_str!("../../../openapi.json")),
    ("internal", include_str!("../../../openapi-internal.json")),
];

fn described() -> [(&'static str, Value); 2] {
    DESCRIPTIONS.map(|(listener, text)| (listener, serde_json::from_str(text).unwrap()))
}

/// The codes of a description, in the order in which reasons are looked for.
fn order(description: &Value) -> Vec<&str> {
    description["components"]["schemas"]["Code"]["enum"]
        .as_array()
        .unwrap()
        .iter()
        .map(text)
        .collect()
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
fn every_route_is_described_where_it_is_served_and_nothing_else() {
    for (listener, description) in described() {
        let is_served = |path: &&PathBuf| {
            let is_internal =
                path.components().any(|part| INTERNAL.iter().any(|name| part.as_os_str() == *name));
            is_internal == (listener == "internal")
        };
        let mut routes = BTreeSet::new();
        for path in http().iter().filter(is_served) {
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
        assert!(routes.len() > 20, "{listener}: {routes:?}");
        let mut described = BTreeSet::new();
        for (address, operations) in description["paths"].as_object().unwrap() {
            for method in operations.as_object().unwrap().keys() {
                described.insert((address.clone(), method.clone()));
            }
        }
        assert_eq!(routes, described, "{listener}");
    }
}

#[test]
fn every_code_is_described_somewhere_and_none_that_is_never_told() {
    let mut told = BTreeSet::new();
    for path in http() {
        let source = fs::read_to_string(&path).unwrap();
        for call in ["Refused::new(", "Refused::not_found("] {
            told.extend(calls(&source, call).filter_map(quoted).map(str::to_owned));
        }
        // Where a status of the framework is turned into a code, and a refusal of the catalogue.
        if path.ends_with("guard.rs") {
            let pairs = calls(&source, " => (").filter(|pair| pair.starts_with('"'));
            told.extend(pairs.filter_map(quoted).map(str::to_owned));
        }
        if path.ends_with("admin/mod.rs") {
            told.extend(calls(&source, "(StatusCode::").filter_map(quoted).map(str::to_owned));
        }
    }
    let refusals = include_str!("../../sale/refusal.rs");
    let (_, codes) = refusals.split_once("fn code(").unwrap();
    told.extend(codes.split(" => ").skip(1).filter_map(quoted).map(str::to_owned));
    assert!(told.len() > 50, "{told:?}");
    // What failed on our side is no answer that anybody should expect.
    told.remove("internal-error");
    let descriptions = described();
    let known = descriptions.iter().flat_map(|(_, description)| order(description));
    let known: BTreeSet<String> = known.map(str::to_owned).collect();
    assert_eq!(told, known);
}

#[test]
fn every_answer_lists_its_codes_in_the_one_order_of_its_description() {
    for (listener, description) in described() {
        let order = order(&description);
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
        // Of no operation.
        listed.extend(["not-found", "method-not-allowed"]);
        assert_eq!(listed, order.iter().copied().collect(), "{listener}");
    }
}

/// What is really there, in place of what might be, so that requests get beyond the first look.
fn with_examples(mut description: Value, examples: &[(&str, Value)]) -> Value {
    for (schema, values) in examples {
        let schema = description.pointer_mut(&format!("/components/{schema}")).unwrap();
        *schema = json!({ "enum": values });
    }
    description
}

/// Sends what a description allows and what it does not: no 5xx, and no answer that is not
/// described.
async fn schemathesis(house: &House, base: &str, description: &Value, more: &[&str]) {
    let file = house.folder.join("openapi.json");
    fs::write(&file, description.to_string()).unwrap();
    let mut command = Command::new(SCHEMATHESIS);
    command
        .arg("run")
        .arg(&file)
        .args(["--url", base, "--seed", "1", "--no-color"])
        .args(more)
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
    let mut description = with_examples(served, &examples);
    // It does not end, so no answer to it is ever complete; the tests of the live map read it.
    let paths = description["paths"].as_object_mut().unwrap();
    paths.remove("/api/v1/events/{event}/stream").unwrap();
    let pass = format!("Waiting-Room-Pass: {}", ana.pass);
    schemathesis(&house, &house.base, &description, &["-H", &pass, "--max-examples", "20"]).await;
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

#[tokio::test]
async fn nothing_is_answered_behind_the_shop_that_is_not_described() {
    let house = House::open_with(ORGANISERS).await;
    let map = prepared(&house).await;
    house.put("/events/recital", recital(&map)).await.succeeds(201);
    house.put("/events/recital/status", json!({ "status": "on_sale" })).await.succeeds(200);
    let ana = house.visitor();
    let hold = ana.hold(&[0, 1]).await;
    let order = ana.pay(&hold, "tok_ok", "key-1").await.succeeds(201);
    let served = house.get_internal_text("/internal/v1/openapi.json").await;
    let served: Value = serde_json::from_str(&served).unwrap();
    let nobody = Id128::random().to_string();
    let ticket = order["tickets"][0].clone();
    let examples = [
        (
            "parameters/Event/schema",
            json!([FINAL, "recital", "wc2026-third-place", "nothing-here"]),
        ),
        ("parameters/Order/schema", json!([order["order"], nobody])),
        ("parameters/Venue/schema", json!(["rudolfinum", "nowhere"])),
        ("parameters/Performer/schema", json!(["zofia", "nobody"])),
        ("parameters/Map/schema", json!([map, "0".repeat(64)])),
        ("schemas/Scan/properties/event", json!([FINAL, "recital"])),
        ("schemas/Scan/properties/barcode", json!([ticket["barcode"], "not.a.ticket"])),
        (
            "schemas/StatusAsk/properties/status",
            json!(["announced", "scheduled", "on_sale", "off_sale"]),
        ),
    ];
    let description = with_examples(served, &examples);
    for (token, paths) in [(TOKEN, "^/(internal|api|metrics|health)"), (ANA, "^/admin/")] {
        let shown = format!("Authorization: Bearer {token}");
        let more = ["-H", &shown, "--include-path-regex", paths, "--max-examples", "8"];
        schemathesis(&house, &house.internal, &description, &more).await;
    }
}
