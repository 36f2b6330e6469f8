//! How do gateways reach us, and what do operators see of payments?

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use keys::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::App;
use super::body::Json;
use super::problem::Refused;
use crate::partition::Unavailable;
use crate::pay::webhook;
use crate::sale::GatewayName;

/// A webhook of a gateway. It is a hint: what happened, we ask the gateway. Who sent one that is
/// not believed learns only that.
pub async fn webhook(
    State(app): State<Arc<App>>,
    Path(gateway): Path<String>,
    asked: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    let unknown = || Refused::not_found("unknown-gateway", "No such payment gateway");
    let secrets = app.checkout.gateways().webhook_secrets(&gateway).ok_or_else(unknown)?;
    let gateway = GatewayName::try_from(gateway).map_err(|_| unknown())?;
    let signature = asked.get("stripe-signature").and_then(|value| value.to_str().ok());
    let opened = webhook::open(&body, signature.unwrap_or(""), secrets, Timestamp::now());
    let notice = opened.map_err(|error| {
        app.metrics.webhooks_refused_total.inc();
        tracing::warn!(%gateway, %error, "a webhook is not believed");
        Refused::new(StatusCode::BAD_REQUEST, "invalid-webhook", "The webhook is not believed")
    })?;
    app.checkout.noticed(&gateway, notice).await?;
    Ok(axum::Json(json!({"received": true})).into_response())
}

/// What the buyer tells the page that plays their bank.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeBody {
    client_secret: String,
    is_approved: bool,
}

/// The sandbox's 3-D Secure. Real gateways ask the buyer on pages of their own, so for them there is
/// no such thing. Each process has a sandbox with books of its own: whichever is asked, the one that
/// has asked the buyer is found.
pub async fn challenge(
    State(app): State<Arc<App>>,
    Path(gateway): Path<String>,
    Json(body): Json<ChallengeBody>,
) -> Result<Response, Refused> {
    let unknown = || Refused::not_found("unknown-gateway", "No such payment gateway");
    let sandbox = app.checkout.gateways().sandbox_named(&gateway).ok_or_else(unknown)?;
    let ChallengeBody { client_secret, is_approved } = body;
    let order = sandbox.challenged(client_secret, is_approved).await.map_err(|error| {
        tracing::error!(%error, "the sandbox's ledger failed");
        Refused::from(Unavailable::Down)
    })?;
    let none = || Refused::not_found("unknown-order", "Nobody is asked with this secret");
    let order = order.ok_or_else(none)?;
    Ok(axum::Json(json!({ "order_url": format!("/orders/{order}") })).into_response())
}

/// Payments that need a person, and the processes that did not tell of theirs.
#[derive(Debug, Deserialize, Serialize)]
pub struct Attention {
    payments: Vec<Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    missing: Vec<String>,
}

/// Payments that need a person: of all processes, or of this one.
pub async fn attention(app: &App, is_of_all: bool) -> Attention {
    let findings = app.checkout.findings().into_iter();
    let listed = findings.map(|((event, order, number), finding)| {
        json!({"event": event, "order": order, "authorisation": number, "finding": finding})
    });
    let mut own = Attention { payments: listed.collect(), missing: Vec::new() };
    if let Some(others) = app.others.as_ref().filter(|_| is_of_all) {
        let gathered = others.gather("/internal/v1/payments/attention").await;
        let theirs = gathered.answers.into_iter().flat_map(|theirs: Attention| theirs.payments);
        own.payments.extend(theirs);
        own.missing = gathered.missing;
    }
    own
}
