//! How is an order made? A hold, a token of the buyer's means of payment, and a key that makes
//! asking again safe.

use std::sync::Arc;

use admission_api::headers;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use keys::Id128;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::body::Json;
use super::guard::ProviderTook;
use super::holds::hold_id;
use super::problem::Refused;
use super::public::{PRIVATE, find_order, unsigned};
use super::shopper::Shopper;
use super::{App, Shop, views};
use crate::checkout::Checked;
use crate::partition::Answer;
use crate::pay::Gateways;
use crate::sale::{
    After, BeginPayment, OrderStage, OrderView, PaymentView, Refusal, Reply, SEATS_PER_ORDER_LIMIT,
};
use crate::venue::hex;

const NAME_CHARS_MAX: usize = 100;
/// RFC 5321.
const EMAIL_BYTES_MAX: usize = 254;
/// RFC 5646 recommends room for this much.
const LOCALE_BYTES_MAX: usize = 35;
const KEY_BYTES_MAX: usize = 255;
const TOKEN_BYTES_MAX: usize = 64;

/// What a buyer sends.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OrderBody {
    hold: String,
    payment_token: String,
    name: String,
    #[serde(default)]
    email: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    phone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    locale: Option<String>,
}

impl OrderBody {
    fn check(&self, gateways: &Gateways) -> Result<(), Refused> {
        let name = self.name.trim();
        if name.is_empty()
            || name.chars().count() > NAME_CHARS_MAX
            || name.chars().any(char::is_control)
        {
            return Err(Refused::invalid("name is not 1 to 100 printable characters"));
        }
        let is_address = |email: &String| {
            let (user, host) = email.split_once('@').unwrap_or(("", ""));
            email.len() <= EMAIL_BYTES_MAX
                && !user.is_empty()
                && !host.is_empty()
                && !email.chars().any(|c| c.is_control() || c.is_whitespace())
        };
        if !self.email.as_ref().is_none_or(is_address) {
            return Err(Refused::invalid("email is not an address like name@example.org"));
        }
        let is_number = |phone: &String| {
            let digits = phone.strip_prefix('+').unwrap_or("");
            (7..=15).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit())
        };
        if !self.phone.as_ref().is_none_or(is_number) {
            return Err(Refused::invalid("phone is not an E.164 number like +15550100100"));
        }
        let is_locale = |locale: &String| {
            (2..=LOCALE_BYTES_MAX).contains(&locale.len())
                && locale.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if !self.locale.as_ref().is_none_or(is_locale) {
            return Err(Refused::invalid("locale is not a language tag like de-AT"));
        }
        let token = &self.payment_token;
        let is_token = token.len() <= TOKEN_BYTES_MAX
            && gateways.take(token)
            && token.bytes().all(|b| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_'));
        if !is_token {
            // The token itself is not repeated: it may be the card number we do not want.
            let detail = "payment_token is not a token like tok_ok; we never take card data";
            return Err(Refused::invalid(detail));
        }
        Ok(())
    }
}

/// Takes an order.
pub async fn make(
    State(app): State<Arc<App>>,
    shopper: Shopper,
    asked: HeaderMap,
    Json(body): Json<OrderBody>,
) -> Result<Response, Refused> {
    let key = idempotency_key(&asked)?;
    body.check(app.checkout.gateways())?;
    let shop = shopper.shop();
    // A digest of what was understood, so that spacing and order of members do not matter.
    let digest = serde_json::to_vec(&body).map_err(|_| Refused::internal())?;
    let order = Id128::random();
    // Money is taken only if tickets can be made.
    check_signing(&app, shop, order)?;
    let begin = BeginPayment {
        hold: hold_id(&body.hold)?,
        sub: shopper.pass.sub,
        key,
        body: hex(&Sha256::digest(&digest)),
        order,
        tickets: (0..SEATS_PER_ORDER_LIMIT).map(|_| Id128::random()).collect(),
        name: body.name.trim().to_owned(),
        email: body.email,
        phone: body.phone,
        locale: body.locale,
        // The checkout chooses.
        gateway: None,
        token: body.payment_token,
    };
    let event = shopper.event().clone();
    let Checked { answer, provider_took } = app.checkout.pay(event, begin).await?;
    let took = ProviderTook(provider_took);
    let Answer { seq, reply } = answer;
    let mut response = match reply {
        Reply::Order(order) => match order.stage {
            OrderStage::Sold => confirmed(&app, shop, &order)?,
            OrderStage::ActionRequired => action_required(&app, shop, &order)?,
            OrderStage::Paying | OrderStage::Unknown => {
                let order = order.order;
                Refused::sale(&Refusal::PaymentInProgress { order }, seq).into_response()
            }
        },
        Reply::Refused(refusal) => Refused::sale(&refusal, seq).into_response(),
        _ => Refused::internal().into_response(),
    };
    response.extensions_mut().insert(took);
    Ok(response)
}

/// The buyer has something to do at the gateway; the seats wait.
fn action_required(app: &App, shop: &Shop, order: &OrderView) -> Result<Response, Refused> {
    let body = views::order(app, shop, order).map_err(|error| unsigned(&error))?;
    let headers = [(header::CACHE_CONTROL, PRIVATE)];
    Ok((StatusCode::ACCEPTED, headers, axum::Json(body)).into_response())
}

/// Goes on with an order whose buyer has done what was asked of them: asks the gateway at once
/// instead of waiting for its webhook.
pub async fn resume(
    State(app): State<Arc<App>>,
    Path(order): Path<String>,
) -> Result<Response, Refused> {
    let (event, found) = find_order(&app, &order)?;
    if found.stage == OrderStage::ActionRequired {
        app.checkout.resumed(event, &found).await?;
    }
    let (event, found) = match find_order(&app, &order) {
        Err(_) => return Err(declined()),
        found => found?,
    };
    let shop = app.shop(&event).ok_or_else(Refused::internal)?;
    let body = views::order(&app, &shop, &found).map_err(|error| unsigned(&error))?;
    Ok(([(header::CACHE_CONTROL, PRIVATE)], axum::Json(body)).into_response())
}

/// The order was there a moment ago; what it learned is that nobody pays for it.
fn declined() -> Refused {
    let status = StatusCode::PAYMENT_REQUIRED;
    Refused::new(status, "payment-declined", "The payment was declined")
        .detail("the payment was declined")
}

fn confirmed(app: &App, shop: &Shop, order: &OrderView) -> Result<Response, Refused> {
    let body = views::order(app, shop, order).map_err(|error| unsigned(&error))?;
    let location = format!("/api/v1/orders/{}", order.order);
    let location = HeaderValue::try_from(location).map_err(|_| Refused::internal())?;
    let headers = [(header::CACHE_CONTROL, PRIVATE), (header::LOCATION, location)];
    let finish = [(headers::COMMAND, headers::COMMAND_FINISH)];
    Ok((StatusCode::CREATED, headers, finish, axum::Json(body)).into_response())
}

fn check_signing(app: &App, shop: &Shop, order: Id128) -> Result<(), Refused> {
    let probe = OrderView {
        order,
        stage: OrderStage::Paying,
        seats: Vec::new(),
        name: String::new(),
        at: keys::Timestamp::now(),
        prices: Vec::new(),
        bill: shop.terms.bill(&[]),
        payment: PaymentView::default(),
        email: None,
        phone: None,
        after: After::default(),
        seq: 0,
    };
    app.printer
        .barcode(&app.passes, shop, &probe, (0, order))
        .map(|_| ())
        .map_err(|error| unsigned(&error))
}

pub(super) fn idempotency_key(asked: &HeaderMap) -> Result<String, Refused> {
    let missing = || {
        let status = StatusCode::BAD_REQUEST;
        Refused::new(status, "idempotency-key-required", "Idempotency-Key is required")
            .detail("expected 1 to 255 printable ASCII characters")
    };
    let key = asked.get("idempotency-key").and_then(|key| key.to_str().ok()).ok_or_else(missing)?;
    if key.is_empty() || key.len() > KEY_BYTES_MAX { Err(missing()) } else { Ok(key.to_owned()) }
}
