//! What every request goes through: a place among those under way, a time limit, counting, and
//! the promise that whatever goes wrong is told as a problem.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use admission_api::Problem;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::live::SEAT_MODE;
use super::problem::{NotOurs, Refused};
use super::shopper::{SawPass, sale_event, shows_pass};
use super::{App, BODY_BYTES_MAX};

/// A request is answered within this time: above what a payment may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// What the payment provider took of a response's time. It is not counted as ours: a slow
/// provider would otherwise slow the line down, which helps nobody.
#[derive(Debug, Clone, Copy)]
pub struct ProviderTook(pub Duration);

/// For the public listener.
pub async fn guard(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let route = label(request.extensions().get::<MatchedPath>());
    let Ok(_place) = app.in_flight.try_acquire() else {
        app.metrics.in_flight_full_total.inc();
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let refused = Refused::new(status, "busy", "Too many requests at once").retry();
        let is_sale = shows_pass(&app, request.uri().path(), request.headers());
        return count(&app, route, is_sale, began, refused.into_response());
    };
    let event = sale_event(request.uri().path());
    let saw_pass = SawPass::default();
    request.extensions_mut().insert(saw_pass.clone());
    DefaultBodyLimit::max(BODY_BYTES_MAX).apply(&mut request);
    let response = match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => as_problem(response),
        Err(_) => {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Refused::new(status, "timeout", "It took too long").retry().into_response()
        }
    };
    let is_sale = saw_pass.0.load(Ordering::Relaxed);
    let mut response = with_headers(response);
    if let Some(event) = event {
        let mode = HeaderValue::from_static(app.hub.mode(&event).label());
        response.headers_mut().insert(SEAT_MODE, mode);
    }
    count(&app, route, is_sale, began, response)
}

/// For the internal listener.
pub async fn internal(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => as_problem(response),
        Err(_) => {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Refused::new(status, "timeout", "It took too long").retry().into_response()
        }
    }
}

fn count(
    app: &App,
    route: &'static str,
    is_sale: bool,
    began: Instant,
    response: Response,
) -> Response {
    let now = Instant::now();
    let provider = response.extensions().get::<ProviderTook>();
    let provider = provider.map_or(Duration::ZERO, |ProviderTook(took)| *took);
    let took = now.saturating_duration_since(began).saturating_sub(provider);
    let status = response.status();
    let class = match status.as_u16() {
        0..400 => "ok",
        400..500 => "refused",
        _ => "failed",
    };
    app.metrics.requests_total.with_label_values(&[route, class]).inc();
    app.metrics.request_seconds.with_label_values(&[route]).observe(took.as_secs_f64());
    // The pace follows those whom it lets in. What anybody may ask for is quick, and a flood of it
    // would flatter the latency; and a silent provider is not helped by a slower line.
    if is_sale {
        let is_ours = response.extensions().get::<NotOurs>().is_none();
        app.window.answered(took, status.is_server_error() && is_ours, now);
    }
    response
}

/// Names of routes in metrics.
fn label(path: Option<&MatchedPath>) -> &'static str {
    let path = path.map_or("", MatchedPath::as_str);
    match path.strip_prefix(super::pass_on::PREFIX).unwrap_or(path) {
        "/api/v1/openapi.json" => "description",
        "/api/v1/events" => "events",
        "/api/v1/events/{event}" | "/api/v1/listings/{event}" => "event",
        "/api/v1/maps/{hash}" => "map",
        "/api/v1/events/{event}/availability" => "availability",
        "/api/v1/events/{event}/zones" => "zones",
        "/api/v1/events/{event}/stream" => "stream",
        "/api/v1/events/{event}/ws" => "ws",
        "/api/v1/events/{event}/holds" => "holds",
        "/api/v1/events/{event}/holds/{hold}" | "/api/v1/events/{event}/holds/{hold}/extend" => {
            "hold"
        }
        "/api/v1/events/{event}/waitlist" => "waitlist",
        "/api/v1/offers/{event}/{entry}"
        | "/api/v1/offers/{event}/{entry}/accept"
        | "/api/v1/offers/{event}/{entry}/extend" => "offer",
        "/api/v1/events/{event}/orders" | "/api/v1/offers/{event}/{entry}/orders" => "orders",
        "/api/v1/orders/{order}" => "order",
        "/api/v1/orders/{order}/tickets/{ticket}/{document}" => "ticket",
        "/api/v1/orders/{order}/tickets.pdf" => "tickets",
        "/api/v1/orders/{order}/event.ics" => "calendar",
        "/api/v1/orders/{order}/send" => "send",
        "/api/v1/orders/{order}/resume" => "resume",
        "/api/v1/payments/{gateway}/webhook" => "webhook",
        "/api/v1/payments/{gateway}/challenge" => "challenge",
        _ => "page",
    }
}

/// Refusals of the framework (no such path, method or media type) say it our way as well.
fn as_problem(response: Response) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_told = kind.is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind.starts_with(Problem::MEDIA_TYPE.as_bytes()) || kind.starts_with(b"text/html")
    });
    if !is_error || is_told {
        return response;
    }
    let (code, title) = match status {
        StatusCode::NOT_FOUND => ("not-found", "No such path"),
        StatusCode::METHOD_NOT_ALLOWED => ("method-not-allowed", "Method not allowed here"),
        StatusCode::PAYLOAD_TOO_LARGE => ("too-large", "The body is too large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ("unsupported-media-type", "Send application/json"),
        status if status.is_server_error() => ("internal-error", "Something failed on our side"),
        _ => ("invalid-request", "Invalid request"),
    };
    let mut refused = Refused::new(status, code, title);
    if let Some(allow) = response.headers().get(header::ALLOW) {
        refused = refused.header(header::ALLOW, allow.clone());
    }
    refused.into_response()
}

/// What browsers are told to refuse, whatever the answer.
fn with_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let policy = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; \
                  form-action 'self'; frame-ancestors 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}
