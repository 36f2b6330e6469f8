//! How do shops and tests reach the books? Stripe's paths for the one, `/admin/` for the others.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{MethodRouter, get, post};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use crate::Shared;
use crate::books::{Answer, Asked, Books};
use crate::script::{Call, Effect, Script};
use crate::webhooks::Delivery;

/// A silent call ends after this long: whoever waits has given up by then.
const SILENT_FOR: Duration = Duration::from_secs(120);

/// All routes.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/payment_intents", reading(Books::list).post(create))
        .route("/v1/payment_intents/search", reading(Books::search))
        .route("/v1/payment_intents/{id}", get(retrieve))
        .route("/v1/payment_intents/{id}/confirm", post(confirm))
        .route("/v1/payment_intents/{id}/capture", post(capture))
        .route("/v1/payment_intents/{id}/cancel", post(cancel))
        .route("/v1/refunds", reading(Books::refunds).post(refund))
        .route("/bank/{id}", get(challenge).post(challenged))
        .route("/admin/ledger", get(ledger))
        .route("/admin/scripts", post(add_script).delete(clear_scripts))
        .route("/admin/intents/{id}/authenticate", post(authenticate))
        .route("/admin/webhooks", post(set_webhooks))
        .route("/admin/webhooks/deliver", post(deliver))
        .with_state(shared)
}

/// One request to Stripe's paths.
struct Request {
    shared: Arc<Shared>,
    headers: HeaderMap,
    asked: Asked,
}

impl Request {
    fn new(shared: Arc<Shared>, headers: HeaderMap, uri: &Uri, params: &[u8]) -> Self {
        let parsed = form_urlencoded::parse(params);
        let params = parsed.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
        let key = key.map(str::to_owned);
        let asked = Asked { path: uri.path().to_owned(), params, key, now_secs: now.as_secs() };
        Self { shared, headers, asked }
    }

    /// Carries the call out as its script says.
    async fn carry_out(
        self,
        call: Call,
        work: impl FnOnce(&mut Books, &Asked, &Script) -> Answer,
    ) -> Response {
        let Self { shared, headers, asked } = self;
        let shown = headers.get(header::AUTHORIZATION).and_then(|shown| shown.to_str().ok());
        if shown != Some(&format!("Bearer {}", shared.secret_key)) {
            let error = json!({"type": "invalid_request_error", "message": "Invalid API Key"});
            return respond(401, &json!({ "error": error }), false);
        }
        let (script, kept) = shared.with(|books| {
            let script = books.called(call, &asked);
            (script, books.begin(&asked))
        });
        if script.delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(script.delay_ms)).await;
        }
        if let Some(kept) = kept {
            return respond(kept.status, &kept.body, kept.is_replayed);
        }
        let is_disturbed = script.is_silent || script.status.is_some();
        let happens = !is_disturbed || script.effect == Effect::Happens;
        let answer = shared.with(|books| {
            let done = happens.then(|| work(books, &asked, &script));
            let scripted = script.status.map(Books::scripted);
            let answer = scripted.or(done).unwrap_or_else(|| Books::scripted(500));
            if happens || script.status.is_some() {
                books.end(&asked, &answer);
            } else {
                // The request was lost on its way here.
                books.end(&asked, &Books::scripted(429));
            }
            answer
        });
        if script.is_silent {
            tokio::time::sleep(SILENT_FOR).await;
        }
        respond(answer.status, &answer.body, false)
    }
}

fn respond(status: u16, body: &serde_json::Value, is_replayed: bool) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, axum::Json(body)).into_response();
    if is_replayed {
        let yes = HeaderValue::from_static("true");
        response.headers_mut().insert("idempotent-replayed", yes);
    }
    response
}

type Books_ = State<Arc<Shared>>;

async fn create(State(shared): Books_, headers: HeaderMap, uri: Uri, body: Bytes) -> Response {
    let request = Request::new(shared, headers, &uri, &body);
    request.carry_out(Call::Create, Books::create).await
}

async fn confirm(
    State(shared): Books_,
    Path(id): Path<String>,
    headers: HeaderMap,
    uri: Uri,
    body: Bytes,
) -> Response {
    let request = Request::new(shared, headers, &uri, &body);
    request.carry_out(Call::Confirm, |books, asked, script| books.confirm(&id, asked, script)).await
}

async fn capture(
    State(shared): Books_,
    Path(id): Path<String>,
    headers: HeaderMap,
    uri: Uri,
    body: Bytes,
) -> Response {
    let request = Request::new(shared, headers, &uri, &body);
    request.carry_out(Call::Capture, |books, asked, _| books.capture(&id, asked)).await
}

async fn cancel(
    State(shared): Books_,
    Path(id): Path<String>,
    headers: HeaderMap,
    uri: Uri,
    body: Bytes,
) -> Response {
    let request = Request::new(shared, headers, &uri, &body);
    request.carry_out(Call::Cancel, |books, asked, _| books.cancel(&id, asked)).await
}

async fn refund(State(shared): Books_, headers: HeaderMap, uri: Uri, body: Bytes) -> Response {
    let request = Request::new(shared, headers, &uri, &body);
    request.carry_out(Call::Refund, |books, asked, _| books.refund(asked)).await
}

async fn retrieve(
    State(shared): Books_,
    Path(id): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let request = Request::new(shared, headers, &uri, b"");
    request.carry_out(Call::Retrieve, |books, _, _| books.retrieve(&id)).await
}

/// A route that only looks: what is asked is in the query.
fn reading(read: fn(&Books, &Asked) -> Answer) -> MethodRouter<Arc<Shared>> {
    get(async move |State(shared): Books_, headers: HeaderMap, uri: Uri| {
        let query = uri.query().unwrap_or_default().as_bytes();
        let request = Request::new(shared, headers, &uri, query);
        request.carry_out(Call::List, |books, asked, _| read(books, asked)).await
    })
}

/// The page of the buyer's bank, where Stripe sends whoever must do something first.
async fn challenge(Path(id): Path<String>) -> Response {
    let answer = |passed: bool, word: &str| {
        format!("<form method=post><button name=is_passed value={passed}>{word}</button></form>")
    };
    let page = format!("<title>{id}</title>{}{}", answer(true, "Yes"), answer(false, "No"));
    Html(page).into_response()
}

async fn challenged(State(shared): Books_, Path(id): Path<String>, body: Bytes) -> Response {
    let is_passed =
        form_urlencoded::parse(&body).any(|said| said == ("is_passed".into(), "true".into()));
    match shared.with(|books| books.challenged(&id, is_passed)) {
        Some(url) => Redirect::to(&url).into_response(),
        None => StatusCode::CONFLICT.into_response(),
    }
}

async fn ledger(State(shared): Books_) -> Response {
    let body = shared.with(|books| json!({"entries": books.ledger(), "totals": books.totals()}));
    axum::Json(body).into_response()
}

async fn add_script(State(shared): Books_, axum::Json(script): axum::Json<Script>) -> StatusCode {
    shared.with(|books| books.add_script(script));
    StatusCode::NO_CONTENT
}

async fn clear_scripts(State(shared): Books_) -> StatusCode {
    shared.with(Books::clear_scripts);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Challenge {
    is_passed: bool,
}

async fn authenticate(
    State(shared): Books_,
    Path(id): Path<String>,
    axum::Json(Challenge { is_passed }): axum::Json<Challenge>,
) -> StatusCode {
    let was_asked = shared.with(|books| books.authenticate(&id, is_passed));
    if was_asked { StatusCode::NO_CONTENT } else { StatusCode::CONFLICT }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    url: String,
    secrets: Vec<String>,
}

async fn set_webhooks(State(shared): Books_, axum::Json(target): axum::Json<Target>) -> StatusCode {
    let secrets: Vec<&str> = target.secrets.iter().map(String::as_str).collect();
    shared.webhooks.send_to(&target.url, &secrets);
    StatusCode::NO_CONTENT
}

/// Delivers what waits and tells what was answered.
async fn deliver(State(shared): Books_, axum::Json(how): axum::Json<Delivery>) -> Response {
    let events = shared.with(Books::take_events);
    let statuses = shared.webhooks.deliver(events, &how).await;
    axum::Json(json!({ "statuses": statuses })).into_response()
}
