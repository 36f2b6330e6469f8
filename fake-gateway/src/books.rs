//! What happened at the gateway? Intents, kept answers, webhooks to send, and the ledger.
//!
//! Everything here is a plain function of the books and a request; the server around it waits,
//! keeps silent and sends.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::Serialize;
use serde_json::{Value, json};

use crate::script::{Call, Script};

/// Longest idempotency key that Stripe takes.
const KEY_BYTES_MAX: usize = 255;
/// Webhooks that wait; older ones are dropped when nobody delivers.
const EVENTS_MAX: usize = 100_000;

/// What happened to money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LineKind {
    /// It was reserved.
    Authorised,
    /// It was refused.
    Declined,
    /// It was taken.
    Captured,
    /// It was given back before.
    Voided,
    /// It was paid back after.
    Refunded,
}

/// A line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What happened.
    pub kind: LineKind,
    /// To which intent.
    pub intent: String,
    /// In minor units.
    pub amount: u64,
    /// In lower case.
    pub currency: String,
    /// What the shop keeps with the intent.
    pub metadata: BTreeMap<String, String>,
}

/// The ledger added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Authorisations ever made.
    pub authorised: u64,
    /// Of these, reserved still.
    pub reserved: u64,
    /// Intents that were captured.
    pub captured: u64,
    /// Intents that were voided after they had been authorised.
    pub voided: u64,
    /// Refunds.
    pub refunded: u64,
    /// Money that was captured, in minor units.
    pub captured_amount: u64,
    /// Money that was paid back, in minor units.
    pub refunded_amount: u64,
}

#[derive(Debug, Clone)]
struct Intent {
    id: String,
    amount: u64,
    currency: String,
    status: &'static str,
    is_manual: bool,
    received: u64,
    refunded: u64,
    created: u64,
    error: Option<Value>,
    metadata: BTreeMap<String, String>,
    /// Where its buyer's bank is, and where the buyer goes from there; only if the shop said so.
    challenge: Option<(String, String)>,
}

#[derive(Debug, Clone)]
struct Kept {
    /// Path and parameters.
    request: String,
    /// Absent while it is under way.
    answer: Option<(u16, Value)>,
}

/// An answer: status, body, and whether it is a kept one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub status: u16,
    pub body: Value,
    pub is_replayed: bool,
}

impl Answer {
    fn new(status: u16, body: Value) -> Self {
        Self { status, body, is_replayed: false }
    }

    fn refused(status: u16, kind: &str, code: &str, message: &str) -> Self {
        let error = json!({"type": kind, "code": code, "message": message});
        Self::new(status, json!({ "error": error }))
    }

    fn invalid(code: &str, message: &str) -> Self {
        Self::refused(400, "invalid_request_error", code, message)
    }
}

/// A request as it was understood.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub path: String,
    pub params: Vec<(String, String)>,
    pub key: Option<String>,
    pub now_secs: u64,
}

impl Asked {
    fn get(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        let named = |(key, value): &(String, String)| {
            let name = key.strip_prefix("metadata[")?.strip_suffix(']')?;
            Some((name.to_owned(), value.clone()))
        };
        self.params.iter().filter_map(named).collect()
    }

    /// The payment method, by which scripts may choose.
    pub fn token(&self) -> Option<&str> {
        self.get("payment_method")
    }
}

/// The books of the gateway.
#[derive(Debug, Default)]
pub struct Books {
    intents: BTreeMap<String, Intent>,
    /// Ids in the order in which they were made.
    made: Vec<String>,
    refunds: Vec<Value>,
    kept: HashMap<String, Kept>,
    ledger: Vec<Line>,
    events: VecDeque<Value>,
    scripts: Vec<Script>,
    calls: BTreeMap<Call, u64>,
    next_id: u64,
    /// Where we are.
    base_url: String,
}

impl Books {
    pub(crate) fn at(base_url: String) -> Self {
        Self { base_url, ..Self::default() }
    }

    pub(crate) fn add_script(&mut self, script: Script) {
        self.scripts.push(script);
    }

    pub(crate) fn clear_scripts(&mut self) {
        self.scripts.clear();
    }

    pub(crate) fn ledger(&self) -> &[Line] {
        &self.ledger
    }

    pub(crate) fn calls(&self, call: Call) -> u64 {
        self.calls.get(&call).copied().unwrap_or(0)
    }

    pub(crate) fn take_events(&mut self) -> Vec<Value> {
        self.events.drain(..).collect()
    }

    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for line in &self.ledger {
            match line.kind {
                LineKind::Authorised => totals.authorised += 1,
                LineKind::Captured => {
                    totals.captured += 1;
                    totals.captured_amount += line.amount;
                }
                LineKind::Voided => totals.voided += 1,
                LineKind::Refunded => {
                    totals.refunded += 1;
                    totals.refunded_amount += line.amount;
                }
                LineKind::Declined => {}
            }
        }
        let reserved = self.intents.values().filter(|i| i.status == "requires_capture");
        totals.reserved = reserved.count() as u64;
        totals
    }

    /// Counts a call and says how it is to go: the script that fits it first.
    pub(crate) fn called(&mut self, call: Call, asked: &Asked) -> Script {
        *self.calls.entry(call).or_default() += 1;
        let token = asked.token();
        self.scripts
            .iter_mut()
            .find_map(|s| s.fits(call, token).then(|| s.clone()))
            .unwrap_or_default()
    }

    /// Takes a key for a request, unless there is an answer to it already.
    pub(crate) fn begin(&mut self, asked: &Asked) -> Option<Answer> {
        let key = asked.key.as_ref()?;
        if key.len() > KEY_BYTES_MAX {
            return Some(Answer::invalid("invalid_idempotency_key", "the key is too long"));
        }
        let mut params = asked.params.clone();
        params.sort();
        let request = format!("{} {params:?}", asked.path);
        match self.kept.get(key) {
            None => {
                self.kept.insert(key.clone(), Kept { request, answer: None });
                None
            }
            Some(kept) if kept.request != request => Some(Answer::refused(
                400,
                "idempotency_error",
                "idempotency_key_reused",
                "keys for idempotent requests can only be used with the same parameters",
            )),
            Some(Kept { answer: None, .. }) => Some(Answer::refused(
                409,
                "idempotency_error",
                "idempotency_key_in_use",
                "a request with this key is under way",
            )),
            Some(Kept { answer: Some((status, body)), .. }) => {
                Some(Answer { status: *status, body: body.clone(), is_replayed: true })
            }
        }
    }

    /// Keeps the answer for the key. What never began is not kept: wrong parameters and 429.
    pub(crate) fn end(&mut self, asked: &Asked, answer: &Answer) {
        let Some(key) = &asked.key else { return };
        if matches!(answer.status, 400 | 404 | 409 | 429) {
            self.kept.remove(key);
        } else if let Some(kept) = self.kept.get_mut(key) {
            kept.answer = Some((answer.status, answer.body.clone()));
        }
    }

    /// An answer that a script made up.
    pub(crate) fn scripted(status: u16) -> Answer {
        let kind = if status == 429 { "rate_limit" } else { "api_error" };
        Answer::refused(status, kind, kind, "as the script says")
    }

    /// Makes an intent and confirms it if that is asked.
    pub(crate) fn create(&mut self, asked: &Asked, script: &Script) -> Answer {
        let Some(amount) = asked.number("amount").filter(|amount| *amount > 0) else {
            return Answer::invalid("parameter_invalid_integer", "amount");
        };
        let Some(currency) = asked.get("currency").filter(|text| text.len() == 3) else {
            return Answer::invalid("parameter_missing", "currency");
        };
        let id = self.new_id("pi");
        let is_manual = asked.get("capture_method") == Some("manual");
        let intent = Intent {
            id: id.clone(),
            amount,
            currency: currency.to_ascii_lowercase(),
            status: "requires_payment_method",
            is_manual,
            received: 0,
            refunded: 0,
            created: asked.now_secs,
            error: None,
            metadata: asked.metadata(),
            challenge: asked
                .get("return_url")
                .map(|back| (format!("{}/bank/{id}", self.base_url), back.to_owned())),
        };
        if let Some(token) = asked.token()
            && !is_method(token)
        {
            let mut answer = Answer::invalid("resource_missing", "no such payment method");
            answer.body["error"]["param"] = "payment_method".into();
            return answer;
        }
        self.intents.insert(id.clone(), intent);
        self.made.push(id.clone());
        self.tell("payment_intent.created", &id, asked.now_secs);
        match (asked.get("confirm"), asked.token()) {
            (Some("true"), Some(_)) => self.confirm(&id, asked, script),
            (Some("true"), None) => Answer::invalid("parameter_missing", "payment_method"),
            (_, Some(_)) => {
                self.turn(&id, "requires_confirmation");
                self.show(&id)
            }
            _ => self.show(&id),
        }
    }

    /// Confirms an intent: the card is asked for the money.
    pub(crate) fn confirm(&mut self, id: &str, asked: &Asked, script: &Script) -> Answer {
        let token = asked.token().unwrap_or("pm_card_visa").to_owned();
        match self.status(id) {
            Some("requires_payment_method" | "requires_confirmation") => {}
            _ => return self.unexpected(id),
        }
        let decline = script.decline.clone().or_else(|| decline_of(&token).map(str::to_owned));
        if let Some(code) = decline {
            return self.decline(id, &code, asked.now_secs);
        }
        if script.asks_challenge || asks_challenge(&token) {
            self.turn(id, "requires_action");
            self.tell("payment_intent.requires_action", id, asked.now_secs);
        } else {
            self.authorise(id, asked.now_secs);
        }
        self.show(id)
    }

    pub(crate) fn retrieve(&self, id: &str) -> Answer {
        self.show(id)
    }

    /// Takes what was reserved.
    pub(crate) fn capture(&mut self, id: &str, asked: &Asked) -> Answer {
        let Some(intent) = self.intents.get(id) else { return missing() };
        if intent.status != "requires_capture" {
            return self.unexpected(id);
        }
        let amount = asked.number("amount_to_capture").unwrap_or(intent.amount);
        if amount == 0 || amount > intent.amount {
            return Answer::invalid("amount_too_large", "amount_to_capture");
        }
        self.take(id, amount, asked.now_secs);
        self.show(id)
    }

    /// Gives back what was reserved, or ends an intent that never came that far.
    pub(crate) fn cancel(&mut self, id: &str, asked: &Asked) -> Answer {
        match self.status(id) {
            None => return missing(),
            Some("succeeded" | "canceled") => return self.unexpected(id),
            Some("requires_capture") => self.enter(LineKind::Voided, id, None),
            Some(_) => {}
        }
        self.turn(id, "canceled");
        self.tell("payment_intent.canceled", id, asked.now_secs);
        self.show(id)
    }

    /// Pays back what was taken.
    pub(crate) fn refund(&mut self, asked: &Asked) -> Answer {
        let id = asked.get("payment_intent").unwrap_or("").to_owned();
        let Some(intent) = self.intents.get_mut(&id) else { return missing() };
        let left = intent.received - intent.refunded;
        let amount = asked.number("amount").unwrap_or(left);
        if amount == 0 || amount > left {
            return Answer::invalid("charge_already_refunded", "amount");
        }
        intent.refunded += amount;
        let refund = json!({
            "id": self.new_id("re"), "object": "refund", "amount": amount, "status": "succeeded",
            "payment_intent": id, "metadata": asked.metadata(), "created": asked.now_secs,
        });
        self.refunds.push(refund.clone());
        self.enter(LineKind::Refunded, &id, Some(amount));
        self.tell("charge.refunded", &id, asked.now_secs);
        Answer::new(200, refund)
    }

    pub(crate) fn refunds(&self, asked: &Asked) -> Answer {
        let of = asked.get("payment_intent");
        let fits = |refund: &&Value| of.is_none_or(|id| refund["payment_intent"] == id);
        let found: Vec<&Value> = self.refunds.iter().rev().filter(fits).collect();
        Answer::new(200, list("/v1/refunds", json!(found), false))
    }

    /// A page of intents, newest first.
    pub(crate) fn list(&self, asked: &Asked) -> Answer {
        let limit = asked.number("limit").unwrap_or(10).clamp(1, 100);
        let limit = usize::try_from(limit).unwrap_or(100);
        let since = asked.number("created[gte]").unwrap_or(0);
        let newest = self.made.iter().rev();
        let after = asked.get("starting_after");
        let rest: Vec<&Intent> = newest
            .skip_while(|id| after.is_some_and(|after| after != id.as_str()))
            .skip(usize::from(after.is_some()))
            .filter_map(|id| self.intents.get(id))
            .filter(|intent| intent.created >= since)
            .collect();
        let page: Value = rest.iter().take(limit).map(|intent| intent.json()).collect();
        Answer::new(200, list("/v1/payment_intents", page, rest.len() > limit))
    }

    /// Intents by one member of their metadata.
    pub(crate) fn search(&self, asked: &Asked) -> Answer {
        let query = asked.get("query").unwrap_or("");
        let parts = query.strip_prefix("metadata['").and_then(|rest| rest.split_once("']:'"));
        let Some((name, value)) = parts.and_then(|(n, v)| Some((n, v.strip_suffix('\'')?))) else {
            return Answer::invalid("invalid_query", "expected metadata['name']:'value'");
        };
        let fits = |i: &&Intent| i.metadata.get(name).is_some_and(|found| found == value);
        let page: Value = self.intents.values().filter(fits).map(Intent::json).collect();
        Answer::new(200, list("/v1/payment_intents/search", page, false))
    }

    /// Where the buyer goes who has answered their bank.
    pub(crate) fn challenged(&mut self, id: &str, is_passed: bool) -> Option<String> {
        let (_, back) = self.intents.get(id)?.challenge.clone()?;
        let status = if is_passed { "succeeded" } else { "failed" };
        let separator = if back.contains('?') { '&' } else { '?' };
        let url = format!("{back}{separator}payment_intent={id}&redirect_status={status}");
        self.authenticate(id, is_passed).then_some(url)
    }

    pub(crate) fn authenticate(&mut self, id: &str, is_passed: bool) -> bool {
        if self.status(id) != Some("requires_action") {
            return false;
        }
        let created = self.intents.get(id).map_or(0, |intent| intent.created);
        if is_passed {
            self.authorise(id, created);
        } else {
            self.decline(id, "payment_intent_authentication_failure", created);
        }
        true
    }

    fn authorise(&mut self, id: &str, now_secs: u64) {
        self.turn(id, "requires_capture");
        self.enter(LineKind::Authorised, id, None);
        let Some(intent) = self.intents.get(id) else { return };
        if intent.is_manual {
            self.tell("payment_intent.amount_capturable_updated", id, now_secs);
        } else {
            let amount = intent.amount;
            self.take(id, amount, now_secs);
        }
    }

    fn take(&mut self, id: &str, amount: u64, now_secs: u64) {
        self.turn(id, "succeeded");
        if let Some(intent) = self.intents.get_mut(id) {
            intent.received = amount;
        }
        self.enter(LineKind::Captured, id, Some(amount));
        self.tell("payment_intent.succeeded", id, now_secs);
    }

    fn decline(&mut self, id: &str, code: &str, now_secs: u64) -> Answer {
        let mut error = json!({
            "type": "card_error", "code": "card_declined", "decline_code": code,
            "message": "Your card was declined.",
        });
        self.turn(id, "requires_payment_method");
        if let Some(intent) = self.intents.get_mut(id) {
            intent.error = Some(error.clone());
            error["payment_intent"] = intent.json();
        }
        self.enter(LineKind::Declined, id, None);
        self.tell("payment_intent.payment_failed", id, now_secs);
        Answer::new(402, json!({ "error": error }))
    }

    fn unexpected(&self, id: &str) -> Answer {
        let Some(intent) = self.intents.get(id) else { return missing() };
        let code = "payment_intent_unexpected_state";
        let mut answer = Answer::invalid(code, "the intent is in another state");
        answer.body["error"]["payment_intent"] = intent.json();
        answer
    }

    fn show(&self, id: &str) -> Answer {
        self.intents.get(id).map_or_else(missing, |intent| Answer::new(200, intent.json()))
    }

    fn status(&self, id: &str) -> Option<&'static str> {
        self.intents.get(id).map(|intent| intent.status)
    }

    fn turn(&mut self, id: &str, status: &'static str) {
        if let Some(intent) = self.intents.get_mut(id) {
            intent.status = status;
        }
    }

    fn enter(&mut self, kind: LineKind, id: &str, amount: Option<u64>) {
        let Some(intent) = self.intents.get(id) else { return };
        self.ledger.push(Line {
            kind,
            intent: id.to_owned(),
            amount: amount.unwrap_or(intent.amount),
            currency: intent.currency.clone(),
            metadata: intent.metadata.clone(),
        });
    }

    fn tell(&mut self, kind: &str, id: &str, now_secs: u64) {
        let event_id = self.new_id("evt");
        let object = self.intents.get(id).map(Intent::json);
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(json!({
            "id": event_id, "object": "event", "api_version": "2024-06-20", "created": now_secs,
            "type": kind, "livemode": false, "pending_webhooks": 1, "request": null,
            "data": {"object": object},
        }));
    }

    fn new_id(&mut self, prefix: &str) -> String {
        self.next_id += 1;
        format!("{prefix}_fake{:08}", self.next_id)
    }
}

impl Intent {
    fn json(&self) -> Value {
        let id = &self.id;
        let capturable = if self.status == "requires_capture" { self.amount } else { 0 };
        let next_action = match (self.status, &self.challenge) {
            ("requires_action", Some((url, back))) => json!({
                "type": "redirect_to_url",
                "redirect_to_url": {"url": url, "return_url": back},
            }),
            ("requires_action", None) => json!({
                "type": "use_stripe_sdk",
                "use_stripe_sdk": {"type": "three_d_secure_redirect", "intent": id},
            }),
            _ => Value::Null,
        };
        json!({
            "id": id, "object": "payment_intent", "amount": self.amount,
            "amount_capturable": capturable, "amount_received": self.received,
            "capture_method": if self.is_manual { "manual" } else { "automatic" },
            "client_secret": format!("{id}_secret_fake"), "created": self.created,
            "currency": self.currency, "last_payment_error": self.error, "livemode": false,
            "metadata": self.metadata, "next_action": next_action, "status": self.status,
            "payment_method_types": ["card"],
        })
    }
}

fn list(url: &str, data: Value, has_more: bool) -> Value {
    json!({"object": "list", "url": url, "data": data, "has_more": has_more})
}

fn missing() -> Answer {
    Answer::refused(404, "invalid_request_error", "resource_missing", "no such object")
}

/// The names of Stripe's test cards, and tokens for scripts.
fn is_method(token: &str) -> bool {
    token.starts_with("pm_card_") || token.starts_with("pm_script_")
}

fn decline_of(token: &str) -> Option<&'static str> {
    match token.strip_prefix("pm_card_visa_chargeDeclined")? {
        "" => Some("generic_decline"),
        "InsufficientFunds" => Some("insufficient_funds"),
        "LostCard" => Some("lost_card"),
        "StolenCard" => Some("stolen_card"),
        _ => None,
    }
}

fn asks_challenge(token: &str) -> bool {
    matches!(token, "pm_card_threeDSecure2Required" | "pm_card_authenticationRequired")
}
