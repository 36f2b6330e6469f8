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
use super::shopper::Holder;
use super::{App, Shop, contact, views};
use crate::checkout::{Checked, CheckoutError};
use crate::partition::Answer;
use crate::pay::Gateways;
use crate::sale::{
    After, BeginPayment, Command, OrderStage, OrderView, PaymentView, Refusal, Reply,
    SEATS_PER_ORDER_LIMIT, Told,
};
use crate::venue::hex;

const NAME_CHARS_MAX: usize = 100;
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

/// What somebody sends who was offered seats: the offer is the hold.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferOrderBody {
    payment_token: String,
    name: String,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    phone: Option<String>,
    #[serde(default)]
    locale: Option<String>,
}

impl OfferOrderBody {
    /// The same order, of the hold that the offer became.
    pub fn of(self, entry: Id128) -> OrderBody {
        let Self { payment_token, name, email, phone, locale } = self;
        OrderBody { hold: entry.to_string(), payment_token, name, email, phone, locale }
    }
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
        contact::check(self.email.as_deref(), self.phone.as_deref(), self.locale.as_deref())?;
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

/// Takes an order of somebody with a pass.
pub async fn make(
    State(app): State<Arc<App>>,
    Holder(shopper): Holder,
    asked: HeaderMap,
    Json(body): Json<OrderBody>,
) -> Result<Response, Refused> {
    buy(&app, shopper.shop(), &asked, body, async || Ok(shopper.pass.sub)).await
}

/// Takes an order of whoever `owner` says, once it is known that the order itself is sound.
pub async fn buy(
    app: &App,
    shop: &Shop,
    asked: &HeaderMap,
    body: OrderBody,
    owner: impl AsyncFnOnce() -> Result<Id128, Refused>,
) -> Result<Response, Refused> {
    let key = idempotency_key(asked)?;
    body.check(app.checkout.gateways())?;
    // A digest of what was understood, so that spacing and order of members do not matter.
    let digest = serde_json::to_vec(&body).map_err(|_| Refused::internal())?;
    let order = Id128::random();
    // Money is taken only if tickets can be made.
    check_signing(app, shop, order)?;
    let begin = BeginPayment {
        hold: hold_id(&body.hold)?,
        sub: owner().await?,
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
    let event = shop.event.id.clone();
    let Checked { answer, provider_took } = app.checkout.pay(event, begin).await?;
    let took = ProviderTook(provider_took);
    let Answer { seq, reply } = answer;
    let mut response = match reply {
        Reply::Order(order) => match order.stage {
            OrderStage::Sold => confirmed(app, shop, order).await?,
            OrderStage::ActionRequired => action_required(app, shop, &order)?,
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
    let shop = app.shops.get(&event).ok_or_else(Refused::internal)?;
    let body = views::order(&app, &shop, &found).map_err(|error| unsigned(&error))?;
    Ok(([(header::CACHE_CONTROL, PRIVATE)], axum::Json(body)).into_response())
}

/// The order was there a moment ago; what it learned is that nobody pays for it.
fn declined() -> Refused {
    let status = StatusCode::PAYMENT_REQUIRED;
    Refused::new(status, "payment-declined", "The payment was declined")
        .detail("the payment was declined")
}

/// The order as it was sold. What is told for the first time is written down before, so that it is
/// told again in the same bytes.
async fn confirmed(app: &App, shop: &Shop, order: Box<OrderView>) -> Result<Response, Refused> {
    let order = match order.receipt {
        Some(_) => order,
        None => kept(app, shop, &order).await?,
    };
    let receipt = order.receipt.clone().ok_or_else(Refused::internal)?;
    let order = order.as_sold();
    let body = views::receipt(shop, &order, receipt.told());
    let location = format!("/api/v1/orders/{}", order.order);
    let location = HeaderValue::try_from(location).map_err(|_| Refused::internal())?;
    let headers = [(header::CACHE_CONTROL, PRIVATE), (header::LOCATION, location)];
    let finish = [(headers::COMMAND, headers::COMMAND_FINISH)];
    Ok((StatusCode::CREATED, headers, finish, axum::Json(body)).into_response())
}

/// Writes down what the answer to a confirmed order says; of two who do, the first counts.
async fn kept(app: &App, shop: &Shop, order: &OrderView) -> Result<Box<OrderView>, Refused> {
    let id = order.order;
    let sign = |ticket| app.printer.barcode(&app.passes, shop, order, ticket);
    let barcodes = order.seats.iter().map(|ticket| sign(*ticket)).collect::<Result<_, _>>();
    let barcodes = barcodes.map_err(|error| unsigned(&error))?;
    let title = shop.event.facts.title.clone();
    let receipt = Told { title, barcodes, seq: order.seq }.into();
    let keep = Command::KeepReceipt { order: id, receipt };
    let answer = app.sales.ask(&shop.event.id, keep).await;
    match answer.map(|answer| answer.reply) {
        Ok(Reply::Order(order)) => Ok(order),
        // It is paid; what is told of it would not be kept.
        _ => Err(CheckoutError::Unsettled { order: id }.into()),
    }
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
        receipt: None,
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
