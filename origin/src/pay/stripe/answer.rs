//! What does an answer of Stripe mean? Reads status and body, and asks nobody.

use serde::Deserialize;
use serde_json::Value;

use crate::pay::webhook::MetadataBody;
use crate::pay::{Authorisation, GatewayError, Listed, Page, Seen, Standing};
use crate::sale::Action;

/// Longest `next_action` that is handed on to the buyer.
const NEXT_ACTION_BYTES_MAX: usize = 4096;
/// Longest code or name that we keep.
const WORD_BYTES_MAX: usize = 128;

/// An answer as it came.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Whether it is the kept answer to an earlier request with this key.
    pub(super) is_replayed: bool,
    pub(super) body: Vec<u8>,
}

#[derive(Debug, Deserialize)]
struct IntentBody {
    id: String,
    status: String,
    #[serde(default)]
    amount: u64,
    amount_capturable: Option<u64>,
    amount_received: Option<u64>,
    client_secret: Option<String>,
    next_action: Option<Value>,
    last_payment_error: Option<ErrorBody>,
    #[serde(default)]
    metadata: MetadataBody,
}

#[derive(Debug, Deserialize)]
struct ErrorBody {
    #[serde(default, rename = "type")]
    kind: String,
    code: Option<String>,
    decline_code: Option<String>,
    param: Option<String>,
    payment_intent: Option<Box<IntentBody>>,
}

#[derive(Debug, Deserialize)]
struct ErrorAnswer {
    error: ErrorBody,
}

#[derive(Debug, Deserialize)]
struct ListBody<T> {
    data: Vec<T>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Debug, Deserialize)]
struct RefundBody {
    #[serde(default)]
    metadata: RefundMetadata,
    #[serde(default)]
    status: String,
}

#[derive(Debug, Default, Deserialize)]
struct RefundMetadata {
    #[serde(default)]
    refund: String,
}

impl Answer {
    /// Reads an intent, or what was said instead of one.
    pub(super) fn intent(&self) -> Result<Seen, GatewayError> {
        if self.is_success() {
            return Ok(self.read::<IntentBody>("an intent")?.seen());
        }
        let error = self.error()?;
        let seen = error.payment_intent.as_ref().map(|intent| intent.seen());
        match (self.status, error.kind.as_str()) {
            (402, _) | (_, "card_error") => Ok(Seen {
                reference: seen.and_then(|seen| seen.reference),
                standing: Standing::NotCharged { code: error.word() },
            }),
            // It had gone that way before, or cannot any more: where it is, is what counts.
            (400, _) if error.code.as_deref() == Some("payment_intent_unexpected_state") => {
                seen.ok_or(GatewayError::Unreadable { what: "the intent in an error" })
            }
            // The buyer's token is none, or was used before.
            (400, _) if error.param.as_deref() == Some("payment_method") => {
                Ok(Seen { reference: None, standing: Standing::NotCharged { code: error.word() } })
            }
            (404, _) => Ok(Seen::ABSENT),
            (status, _) => {
                Err(GatewayError::Rejected { status, code: error.word().unwrap_or(error.kind) })
            }
        }
    }

    /// Reads a page of intents.
    pub(super) fn page(&self) -> Result<Page, GatewayError> {
        self.done()?;
        let ListBody { data, has_more } = self.read::<ListBody<IntentBody>>("a list of intents")?;
        let next = data.last().filter(|_| has_more).map(|intent| intent.id.clone());
        Ok(Page { entries: data.iter().map(IntentBody::listed).collect(), next })
    }

    /// Whether the list has a refund of that key that was not refused.
    pub(super) fn has_refund(&self, key: &str) -> Result<bool, GatewayError> {
        self.done()?;
        let list = self.read::<ListBody<RefundBody>>("a list of refunds")?;
        Ok(list.data.iter().any(|refund| {
            refund.metadata.refund == key
                && !matches!(refund.status.as_str(), "failed" | "canceled")
        }))
    }

    /// Whether it was done.
    pub(super) fn done(&self) -> Result<(), GatewayError> {
        if self.is_success() {
            return Ok(());
        }
        let error = self.error()?;
        let code = error.word().unwrap_or(error.kind);
        Err(GatewayError::Rejected { status: self.status, code })
    }

    /// Whether it is a failure that this key will bring back for ever.
    pub(super) fn is_final_failure(&self) -> bool {
        self.is_replayed && self.status >= 500
    }

    fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The error in the answer, unless it tells nothing of what happened.
    fn error(&self) -> Result<ErrorBody, GatewayError> {
        let failed =
            GatewayError::Failed { status: self.status, is_final: self.is_final_failure() };
        if matches!(self.status, 409 | 429) || self.status >= 500 || self.status < 400 {
            return Err(failed);
        }
        let ErrorAnswer { error } = self.read("an error")?;
        // The key was used for another body: what that became, we do not know.
        if error.kind == "idempotency_error" { Err(failed) } else { Ok(error) }
    }

    fn read<'a, T: Deserialize<'a>>(&'a self, what: &'static str) -> Result<T, GatewayError> {
        serde_json::from_slice(&self.body).map_err(|_| GatewayError::Unreadable { what })
    }
}

impl ErrorBody {
    fn word(&self) -> Option<String> {
        let word = self.decline_code.as_ref().or(self.code.as_ref());
        word.filter(|word| word.len() <= WORD_BYTES_MAX).cloned()
    }
}

impl IntentBody {
    fn seen(&self) -> Seen {
        let standing = match self.status.as_str() {
            "requires_capture" => {
                Standing::Authorised { amount: self.amount_capturable.unwrap_or(self.amount) }
            }
            "succeeded" => {
                Standing::Captured { amount: self.amount_received.unwrap_or(self.amount) }
            }
            "requires_action" | "requires_source_action" => Standing::ActionRequired(self.action()),
            "requires_payment_method" | "requires_source" | "canceled" => Standing::NotCharged {
                code: self.last_payment_error.as_ref().and_then(ErrorBody::word),
            },
            _ => Standing::Pending,
        };
        let reference = Some(self.id.clone()).filter(|id| is_reference(id));
        Seen { reference, standing }
    }

    fn action(&self) -> Action {
        let next = self.next_action.clone().unwrap_or(Value::Null);
        let is_short = next.to_string().len() <= NEXT_ACTION_BYTES_MAX;
        let client_secret = self.client_secret.clone().unwrap_or_default();
        Action { client_secret, next_action: if is_short { next } else { Value::Null } }
    }

    fn listed(&self) -> Listed {
        let about = self.metadata.about(&self.id);
        let authorisation = about.map(|about| Authorisation {
            event: about.event,
            order: about.order,
            number: about.number,
            reference: Some(about.reference),
        });
        Listed { authorisation, seen: self.seen() }
    }
}

/// Whether an id can be part of a path.
fn is_reference(id: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !id.is_empty() && id.len() <= WORD_BYTES_MAX && id.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Result<Seen, String> {
        let answer = Answer { status, is_replayed: false, body: body.as_bytes().to_vec() };
        answer.intent().map_err(|error| error.to_string())
    }

    #[track_caller]
    fn check(status: u16, body: &str, expected: Standing) {
        assert_eq!(read(status, body).map(|seen| seen.standing), Ok(expected), "{status} {body}");
    }

    #[test]
    fn every_status_and_error_has_one_meaning() {
        let intent = |status: &str| {
            format!(r#"{{"id":"pi_1","status":"{status}","amount":500,"amount_received":400}}"#)
        };
        let not_charged =
            |code: Option<&str>| Standing::NotCharged { code: code.map(str::to_owned) };
        check(200, &intent("requires_capture"), Standing::Authorised { amount: 500 });
        check(200, &intent("succeeded"), Standing::Captured { amount: 400 });
        check(200, &intent("canceled"), not_charged(None));
        check(200, &intent("requires_payment_method"), not_charged(None));
        check(200, &intent("processing"), Standing::Pending);
        check(200, &intent("requires_confirmation"), Standing::Pending);
        check(200, &intent("something_new"), Standing::Pending);
        let declined = r#"{"error":{"type":"card_error","code":"card_declined",
            "decline_code":"insufficient_funds","payment_intent":{"id":"pi_1","status":"requires_payment_method"}}}"#;
        check(402, declined, not_charged(Some("insufficient_funds")));
        let again = r#"{"error":{"type":"invalid_request_error","code":"payment_intent_unexpected_state",
            "payment_intent":{"id":"pi_1","status":"succeeded","amount_received":500}}}"#;
        check(400, again, Standing::Captured { amount: 500 });
        let no_token = r#"{"error":{"type":"invalid_request_error","code":"resource_missing","param":"payment_method"}}"#;
        check(400, no_token, not_charged(Some("resource_missing")));
        check(404, r#"{"error":{"type":"invalid_request_error"}}"#, Standing::Absent);
        let action = r#"{"id":"pi_1","status":"requires_action","client_secret":"pi_1_secret_2",
            "next_action":{"type":"use_stripe_sdk"}}"#;
        let expected = Action {
            client_secret: "pi_1_secret_2".to_owned(),
            next_action: serde_json::json!({"type": "use_stripe_sdk"}),
        };
        check(200, action, Standing::ActionRequired(expected));
    }

    #[test]
    fn what_tells_nothing_of_the_outcome_is_an_error() {
        let error = r#"{"error":{"type":"idempotency_error"}}"#;
        for (status, body) in
            [(409, "{}"), (429, "{}"), (500, "{}"), (503, "<html>"), (302, ""), (400, error)]
        {
            assert!(read(status, body).unwrap_err().contains(&status.to_string()), "{status}");
        }
        assert!(read(200, "<html>").unwrap_err().contains("an intent"));
        assert!(read(401, r#"{"error":{"type":"api_error"}}"#).unwrap_err().contains("refused"));
    }

    #[test]
    fn a_name_that_would_lead_to_another_path_is_none() {
        let seen = read(200, r#"{"id":"../refunds?x","status":"canceled"}"#).unwrap();
        assert_eq!(seen.reference, None);
    }
}
