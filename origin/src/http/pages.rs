//! The shop's pages: files of `origin/pages`, carried in the binary and compressed at the start.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use keys::{EventId, Id128};
use sha2::{Digest as _, Sha256};

use super::App;
use super::problem::Refused;
use crate::squeeze::gzip;
use crate::venue::hex;

/// Name and content of every file in `pages/`, made by `build.rs`.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// What visitors may ask, as OpenAPI.
const DESCRIPTION: &[u8] = include_bytes!("../../openapi.json");
/// What controller, operators, gates and organisers may ask, as OpenAPI.
const INTERNAL_DESCRIPTION: &[u8] = include_bytes!("../../openapi-internal.json");

/// A page for addresses that lead nowhere.
const NOT_FOUND: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
    <title>Not found</title><link rel=\"stylesheet\" href=\"/assets/shop.css\">\
    <main><h1>There is nothing here</h1><p><a href=\"/\">All events</a></p></main></html>";

/// Files by name.
#[derive(Debug)]
pub struct Pages {
    files: BTreeMap<&'static str, File>,
    description: File,
    internal_description: File,
}

#[derive(Debug)]
struct File {
    kind: HeaderValue,
    etag: HeaderValue,
    plain: Bytes,
    gzip: Bytes,
}

impl Pages {
    /// Hashes and compresses all files.
    #[must_use]
    pub fn new() -> Self {
        let files = FILES
            .iter()
            .filter_map(|(name, content)| Some((*name, File::new(kind(name)?, content))));
        let json = |content| File::new(HeaderValue::from_static("application/json"), content);
        let description = json(DESCRIPTION);
        let internal_description = json(INTERNAL_DESCRIPTION);
        Self { files: files.collect(), description, internal_description }
    }

    fn serve(&self, name: &str, asked: &HeaderMap) -> Response {
        match self.files.get(name) {
            Some(file) => file.serve(asked, HeaderValue::from_static("no-cache")),
            None => nothing_here(),
        }
    }
}

impl File {
    fn new(kind: HeaderValue, content: &'static [u8]) -> Self {
        let hash = hex(&Sha256::digest(content)[..12]);
        // Hex in quotes fits every header.
        let etag = HeaderValue::try_from(format!("\"{hash}\""));
        let etag = etag.unwrap_or_else(|_| HeaderValue::from_static("\"\""));
        Self { kind, etag, plain: Bytes::from_static(content), gzip: gzip(content) }
    }

    fn serve(&self, asked: &HeaderMap, cache: HeaderValue) -> Response {
        let mut response = if is_known(asked, &self.etag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            squeezed(asked, &self.plain, &self.gzip)
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, self.kind.clone());
        headers.insert(header::ETAG, self.etag.clone());
        headers.insert(header::CACHE_CONTROL, cache);
        response
    }
}

impl Default for Pages {
    fn default() -> Self {
        Self::new()
    }
}

fn kind(name: &str) -> Option<HeaderValue> {
    let kind = match name.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => return None,
    };
    Some(HeaderValue::from_static(kind))
}

/// Whether the client has what `etag` stands for (RFC 9110: a list, compared weakly, or `*`).
pub fn is_known(asked: &HeaderMap, etag: &HeaderValue) -> bool {
    let lists = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
    // Our tags hold no commas, so a list can be taken apart at them.
    let mut tags = lists.flat_map(|list| list.split(',')).map(str::trim);
    tags.any(|tag| {
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag.as_bytes()
    })
}

/// The compressed bytes for whoever takes them, else the plain ones.
pub fn squeezed(asked: &HeaderMap, plain: &Bytes, gzip: &Bytes) -> Response {
    let accepted = asked.get(header::ACCEPT_ENCODING).and_then(|accepted| accepted.to_str().ok());
    let takes_gzip = accepted.unwrap_or("").split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        is_gzip && !parts.any(|part| matches!(part, "q=0" | "q=0.0"))
    });
    let vary = (header::VARY, HeaderValue::from_static("accept-encoding"));
    if takes_gzip && !gzip.is_empty() {
        let coding = (header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        ([vary, coding], gzip.clone()).into_response()
    } else {
        ([vary], plain.clone()).into_response()
    }
}

fn nothing_here() -> Response {
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    let cache = HeaderValue::from_static("no-store");
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, cache)];
    (StatusCode::NOT_FOUND, headers, NOT_FOUND).into_response()
}

/// `GET /events/{event}`
pub async fn event(
    State(app): State<Arc<App>>,
    Path(event): Path<String>,
    asked: HeaderMap,
) -> Response {
    let event = event.parse::<EventId>().ok();
    match event.and_then(|event| app.catalogue.event(&event)) {
        Some(_) => app.pages.serve("event.html", &asked),
        None => nothing_here(),
    }
}

/// `GET /orders/{order}`: the page asks for the order itself.
pub async fn order(
    State(app): State<Arc<App>>,
    Path(order): Path<String>,
    asked: HeaderMap,
) -> Response {
    match order.parse::<Id128>() {
        Ok(_) => app.pages.serve("order.html", &asked),
        Err(_) => nothing_here(),
    }
}

/// `GET /offers/{event}/{entry}`: the page asks for the entry itself.
pub async fn waitlist(
    State(app): State<Arc<App>>,
    Path((event, entry)): Path<(String, String)>,
    asked: HeaderMap,
) -> Response {
    match (event.parse::<EventId>(), entry.parse::<Id128>()) {
        (Ok(_), Ok(_)) => app.pages.serve("waitlist.html", &asked),
        _ => nothing_here(),
    }
}

/// `GET /sandbox/bank`: plays the bank of who pays with the sandbox's `tok_action`.
pub async fn bank(State(app): State<Arc<App>>, asked: HeaderMap) -> Response {
    match app.checkout.gateways().sandbox() {
        Some(_) => app.pages.serve("bank.html", &asked),
        None => nothing_here(),
    }
}

/// `GET /api/v1/openapi.json`
pub async fn description(State(app): State<Arc<App>>, asked: HeaderMap) -> Response {
    app.pages.description.serve(&asked, HeaderValue::from_static("public, max-age=300"))
}

/// `GET /internal/v1/openapi.json`
pub async fn internal_description(State(app): State<Arc<App>>, asked: HeaderMap) -> Response {
    app.pages.internal_description.serve(&asked, HeaderValue::from_static("public, max-age=300"))
}

/// `GET /assets/{name}`
pub async fn asset(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    asked: HeaderMap,
) -> Response {
    if name.ends_with(".html") || !app.pages.files.contains_key(name.as_str()) {
        return Refused::not_found("not-found", "No such path").into_response();
    }
    app.pages.serve(&name, &asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_have_words_for_every_code_of_the_api() {
        let description: serde_json::Value = serde_json::from_slice(DESCRIPTION).unwrap();
        let codes = description["components"]["schemas"]["Code"]["enum"].as_array().unwrap();
        let reasons = include_str!("../../pages/reasons.js");
        let without = codes.iter().filter(|code| !reasons.contains(&format!("\n  {code}: ")));
        assert_eq!(without.collect::<Vec<_>>(), Vec::<&serde_json::Value>::new());
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn a_client_that_has_it_already_is_believed_however_it_says_so() {
        check("\"7\"",                  true);
        check("W/\"7\"",                true);
        check("\"5\", W/\"6\" ,\"7\"",  true);
        check("*",                       true);
        check("\"8\"",                  false);
        check("7",                       false);
    }

    #[track_caller]
    fn check(sent: &str, expected: bool) {
        let mut asked = HeaderMap::new();
        asked.insert(header::IF_NONE_MATCH, HeaderValue::try_from(sent).unwrap());
        assert_eq!(is_known(&asked, &HeaderValue::from_static("\"7\"")), expected, "{sent}");
    }
}
