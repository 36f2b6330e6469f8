//! How is a refusal told? One place turns every reason into a status, a code and a few words.

use admission_api::Problem;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use keys::Id128;

use crate::checkout::CheckoutError;
use crate::partition::Unavailable;
use crate::sale::Refusal;

/// No gateway answers.
const PAYMENT_UNAVAILABLE: &str = "payment-unavailable";
/// Nobody knows whether a buyer was charged.
const PAYMENT_UNKNOWN: &str = "payment-unknown";

/// A response that says 5xx because of somebody else: a slower line would not make it better.
#[derive(Debug, Clone, Copy)]
pub struct NotOurs;

/// A problem on its way out.
#[derive(Debug, Clone)]
pub struct Refused {
    problem: Box<Problem>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refused {
    /// A problem with its code and title.
    pub fn new(status: StatusCode, code: &str, title: &str) -> Self {
        let problem = Box::new(Problem::new(status.as_u16(), code, title));
        Self { problem, headers: Vec::new() }
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The problem as JSON, where it is one answer of several.
    pub fn body(&self) -> serde_json::Value {
        serde_json::to_value(&*self.problem).unwrap_or_default()
    }

    /// Adds what is wrong with this request.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.problem.detail = Some(detail.into());
        self
    }

    /// Adds a member.
    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.problem.more.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a header; of two with one name the later counts.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Asks to come back in a second.
    pub fn retry(self) -> Self {
        self.header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// Tells which order it is about, so that its buyer can find out what becomes of it.
    pub fn order(self, order: Id128) -> Self {
        self.with("order", order.to_string()).with("order_url", format!("/orders/{order}"))
    }

    /// No such page, event or document.
    pub fn not_found(code: &str, title: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, title)
    }

    /// A body or header that is not what was expected.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", "Invalid request")
            .detail(detail)
    }

    /// Something of ours failed; the visitor need not know what.
    pub fn internal() -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, "internal-error", "Something failed on our side")
    }

    /// A refusal by the rules, decided at `seq`.
    pub fn sale(refusal: &Refusal, seq: u64) -> Self {
        let (status, title) = match refusal {
            Refusal::SeatTaken { .. } => (StatusCode::CONFLICT, "A seat is taken"),
            Refusal::NotEnoughTogether { .. } => {
                (StatusCode::CONFLICT, "Not enough seats together")
            }
            Refusal::TooManySeats { .. } | Refusal::VisitorLimit { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "Too many seats")
            }
            Refusal::UnknownSeat { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "No such seat"),
            Refusal::DuplicateSeat { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "A seat is listed twice")
            }
            Refusal::NoSeats => (StatusCode::UNPROCESSABLE_ENTITY, "No seats"),
            Refusal::UnknownZone => (StatusCode::UNPROCESSABLE_ENTITY, "No such zone"),
            Refusal::UnknownArea => (StatusCode::UNPROCESSABLE_ENTITY, "No such area"),
            Refusal::AreaFull { .. } => (StatusCode::CONFLICT, "Not enough places in the area"),
            Refusal::SeatNotHeld { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "A seat is not in the hold")
            }
            Refusal::BestAvailableOnly { .. } => {
                (StatusCode::CONFLICT, "Seats cannot be chosen yet")
            }
            Refusal::NoExtensionLeft => (StatusCode::CONFLICT, "No more time for this hold"),
            Refusal::OfferOpen => (StatusCode::CONFLICT, "Accept the offer first"),
            Refusal::NotBlocked { .. } => (StatusCode::CONFLICT, "A seat is not blocked"),
            Refusal::TooManyChannels { .. } => (StatusCode::CONFLICT, "Too many channels"),
            Refusal::UnknownEntry => (StatusCode::NOT_FOUND, "No such entry"),
            Refusal::NoOffer => (StatusCode::CONFLICT, "There is no offer yet"),
            Refusal::WaitlistFull { .. } => (StatusCode::CONFLICT, "The waitlist is full"),
            Refusal::AlreadyWaiting { .. } => (StatusCode::CONFLICT, "Waiting already"),
            Refusal::SeatsAvailable => (StatusCode::CONFLICT, "There is no need to wait"),
            Refusal::UnknownHold => (StatusCode::NOT_FOUND, "No such hold"),
            Refusal::ForeignHold => (StatusCode::FORBIDDEN, "Somebody else's hold"),
            Refusal::HoldExpired => (StatusCode::GONE, "The hold has expired"),
            Refusal::HoldBought { .. } => (StatusCode::CONFLICT, "The hold was bought"),
            Refusal::PaymentInProgress { .. } => (StatusCode::CONFLICT, "A payment is under way"),
            Refusal::PaymentDeclined { .. } => {
                (StatusCode::PAYMENT_REQUIRED, "The payment was declined")
            }
            Refusal::NoGateway => {
                (StatusCode::SERVICE_UNAVAILABLE, "No payment can be taken right now")
            }
            Refusal::PaymentUnknown { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "The payment is not settled yet")
            }
            Refusal::IdempotencyMismatch => {
                (StatusCode::UNPROCESSABLE_ENTITY, "Idempotency key used for another request")
            }
            Refusal::TooManyAttempts { .. } => (StatusCode::CONFLICT, "Too many declined payments"),
            Refusal::UnknownOrder => (StatusCode::NOT_FOUND, "No such order"),
            Refusal::EventCancelled => (StatusCode::CONFLICT, "The event was cancelled"),
            Refusal::UnknownTicket => (StatusCode::NOT_FOUND, "No such ticket"),
            Refusal::TicketUsed { .. } => (StatusCode::CONFLICT, "The ticket was used"),
            Refusal::TicketVoid { .. } => (StatusCode::GONE, "The ticket is void"),
            Refusal::NoAddress => (StatusCode::CONFLICT, "There is no address to send to"),
            Refusal::SendTooSoon { .. } => {
                (StatusCode::TOO_MANY_REQUESTS, "The tickets were sent a moment ago")
            }
        };
        let refused = Self::new(status, refusal.code(), title).detail(refusal.to_string());
        let refused = refused.with("seq", seq);
        match refusal {
            Refusal::SeatTaken { seats }
            | Refusal::SeatNotHeld { seats }
            | Refusal::NotBlocked { seats } => refused.with("seats", seats.clone()),
            Refusal::AreaFull { area, left, .. } => {
                refused.with("area", area.clone()).with("left", *left)
            }
            Refusal::BestAvailableOnly { until } => refused.with("until", until.as_millis()),
            Refusal::AlreadyWaiting { entry } => refused.with("entry", entry.to_string()),
            Refusal::TooManySeats { max, .. } => refused.with("max", *max),
            Refusal::VisitorLimit { have, max, holds, .. } => {
                let holds: Vec<String> = holds.iter().map(ToString::to_string).collect();
                refused.with("max", *max).with("have", *have).with("holds", holds)
            }
            Refusal::HoldBought { order } => refused.order(*order),
            Refusal::PaymentDeclined { seq, code } => {
                let refused = refused.with("seq", *seq);
                match code {
                    Some(code) => refused.with("decline_code", code.clone()),
                    None => refused,
                }
            }
            Refusal::NoGateway => {
                // A breaker tries again after five seconds.
                refused.header(header::RETRY_AFTER, HeaderValue::from_static("5"))
            }
            Refusal::PaymentInProgress { order } | Refusal::PaymentUnknown { order } => {
                refused.order(*order).retry()
            }
            Refusal::TicketUsed { at, gate } => {
                refused.with("used_at", at.as_millis()).with("gate", gate.clone())
            }
            Refusal::TicketVoid { at } => refused.with("void_since", at.as_millis()),
            Refusal::SendTooSoon { at } => refused.with("retry_at", at.as_millis()),
            _ => refused,
        }
    }
}

impl From<Unavailable> for Refused {
    fn from(unavailable: Unavailable) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        match unavailable {
            Unavailable::Busy => Self::new(status, "busy", "Too many requests at once").retry(),
            Unavailable::Down => Self::new(status, "unavailable", "Sales are interrupted").retry(),
        }
    }
}

impl From<CheckoutError> for Refused {
    fn from(error: CheckoutError) -> Self {
        match error {
            CheckoutError::Unavailable(unavailable) => unavailable.into(),
            CheckoutError::Full => Unavailable::Busy.into(),
            CheckoutError::Unsettled { order } => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                let title = "The payment is not settled yet";
                Self::new(status, PAYMENT_UNKNOWN, title).order(order).retry()
            }
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = self.status();
        // A problem is strings and numbers; it can always be written.
        let body = serde_json::to_vec(&*self.problem).unwrap_or_default();
        let mut headers: HeaderMap = self.headers.into_iter().collect();
        let kind = HeaderValue::from_static(Problem::MEDIA_TYPE);
        headers.insert(header::CONTENT_TYPE, kind);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let mut response = (status, headers, body).into_response();
        if [PAYMENT_UNKNOWN, PAYMENT_UNAVAILABLE].contains(&self.problem.code.as_str()) {
            response.extensions_mut().insert(NotOurs);
        }
        response
    }
}
