//! Stripe: `PaymentIntents` that are captured by hand, over its HTTP interface.
//!
//! We need seven calls, so this is no client for all of Stripe. Creating has an idempotency key,
//! because a lost answer must not reserve twice. Capturing and cancelling have none: an intent
//! goes each way once by itself, and a key would bring a failed answer back for ever, for Stripe
//! keeps the first answer of a key even if it was a 500.

mod answer;
#[cfg(test)]
mod localstripe;

use keys::Secret;
use reqwest::{Client, Method, RequestBuilder, Url};

use super::{Authorisation, Charge, GatewayError, Page, Seen, Standing};
use answer::Answer;

/// The version of the interface that we speak.
const VERSION: &str = "2024-06-20";
/// Longest answer that we read: a page of a hundred intents is below 400 KB.
const ANSWER_BYTES_MAX: usize = 2 << 20;
/// Intents in a page of a list, which is the most that Stripe gives.
const PAGE_MAX: &str = "100";
/// Refunds of one intent that are looked through.
const REFUNDS_MAX: &str = "100";

/// What is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StripeSetup {
    /// Where it is; `https://api.stripe.com`.
    pub base_url: Url,
    /// The secret key.
    pub secret_key: Secret,
    /// What may sign its webhooks; several while one is being replaced.
    pub webhook_secrets: Vec<Secret>,
}

/// A Stripe account.
#[derive(Debug)]
pub struct Stripe {
    client: Client,
    setup: StripeSetup,
    shop_url: String,
}

impl Stripe {
    /// A client of that account. Buyers whose bank asks them something come back to the shop at
    /// `shop_url`; where that is empty, the shop's page has to ask with Stripe's own script.
    ///
    /// # Errors
    /// If the system has no trusted certificates.
    pub fn new(setup: StripeSetup, shop_url: &str) -> Result<Self, reqwest::Error> {
        // An error means that the process has chosen a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { client, setup, shop_url: shop_url.trim_end_matches('/').to_owned() })
    }

    /// What may sign its webhooks.
    #[must_use]
    pub fn webhook_secrets(&self) -> &[Secret] {
        &self.setup.webhook_secrets
    }

    pub(super) async fn authorise(&self, charge: &Charge) -> Result<Seen, GatewayError> {
        let Charge { authorisation, amount, currency, token } = charge;
        let mut form = vec![
            ("amount", amount.to_string()),
            ("currency", currency.code().to_ascii_lowercase()),
            ("capture_method", "manual".to_owned()),
            ("confirm", "true".to_owned()),
            ("payment_method", token.clone()),
            ("payment_method_types[]", "card".to_owned()),
            ("metadata[event]", authorisation.event.to_string()),
            ("metadata[payment]", authorisation.key()),
        ];
        // With it, what the bank asks is `redirect_to_url`, else `use_stripe_sdk`.
        if !self.shop_url.is_empty() {
            let page = format!("{}/orders/{}", self.shop_url, authorisation.order);
            form.push(("return_url", page));
        }
        let request = self.call(Method::POST, "v1/payment_intents").form(&form);
        let key = format!("{}:authorise", authorisation.key());
        send(request.header("idempotency-key", key)).await?.intent()
    }

    pub(super) async fn lookup(&self, authorisation: &Authorisation) -> Result<Seen, GatewayError> {
        if let Some(reference) = &authorisation.reference {
            let path = format!("v1/payment_intents/{reference}");
            return send(self.call(Method::GET, &path)).await?.intent();
        }
        let query = format!("metadata['payment']:'{}'", authorisation.key());
        let request = self.call(Method::GET, "v1/payment_intents/search");
        let found = send(request.query(&[("query", query)])).await?.page()?.entries;
        Ok(found.into_iter().next().map_or(Seen::ABSENT, |listed| listed.seen))
    }

    pub(super) async fn capture(
        &self,
        authorisation: &Authorisation,
        amount: u64,
    ) -> Result<Seen, GatewayError> {
        let Some(reference) = self.reference(authorisation).await? else {
            return Ok(Seen::ABSENT);
        };
        let path = format!("v1/payment_intents/{reference}/capture");
        let form = [("amount_to_capture", amount.to_string())];
        send(self.call(Method::POST, &path).form(&form)).await?.intent()
    }

    pub(super) async fn void(&self, authorisation: &Authorisation) -> Result<Seen, GatewayError> {
        let Some(reference) = self.reference(authorisation).await? else {
            return Ok(Seen::ABSENT);
        };
        let path = format!("v1/payment_intents/{reference}/cancel");
        let cancelled = send(self.call(Method::POST, &path)).await?.intent()?;
        match cancelled.standing {
            // It is in a state that cannot be cancelled, which says nothing of its outcome.
            Standing::Authorised { .. } | Standing::ActionRequired(_) | Standing::Absent => {
                Err(GatewayError::Unreadable { what: "a cancelled intent" })
            }
            _ => Ok(cancelled),
        }
    }

    pub(super) async fn refund(
        &self,
        authorisation: &Authorisation,
        amount: u64,
        key: &str,
    ) -> Result<(), GatewayError> {
        let absent = GatewayError::Unreadable { what: "the intent to refund" };
        let reference = self.reference(authorisation).await?.ok_or(absent)?;
        let refund = |idempotency_key: String| {
            let form = [
                ("payment_intent", reference.clone()),
                ("amount", amount.to_string()),
                ("metadata[refund]", key.to_owned()),
            ];
            let request = self.call(Method::POST, "v1/refunds").form(&form);
            send(request.header("idempotency-key", idempotency_key))
        };
        let answer = refund(key.to_owned()).await?;
        if !answer.is_final_failure() {
            return answer.done();
        }
        // The key is used up by an answer that does not tell; the list of refunds does.
        let query = [("payment_intent", reference.as_str()), ("limit", REFUNDS_MAX)];
        let list = send(self.call(Method::GET, "v1/refunds").query(&query)).await?;
        if list.has_refund(key)? { Ok(()) } else { refund(format!("{key}:2")).await?.done() }
    }

    pub(super) async fn list(
        &self,
        since_secs: u64,
        after: Option<&str>,
    ) -> Result<Page, GatewayError> {
        let since = since_secs.to_string();
        let mut query = vec![("created[gte]", since.as_str()), ("limit", PAGE_MAX)];
        query.extend(after.map(|after| ("starting_after", after)));
        send(self.call(Method::GET, "v1/payment_intents").query(&query)).await?.page()
    }

    /// The name of an intent; found by its key if we never heard it.
    async fn reference(
        &self,
        authorisation: &Authorisation,
    ) -> Result<Option<String>, GatewayError> {
        match &authorisation.reference {
            Some(reference) => Ok(Some(reference.clone())),
            None => Ok(self.lookup(authorisation).await?.reference),
        }
    }

    fn call(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.setup.base_url.clone();
        url.set_path(path);
        let request = self.client.request(method, url);
        request.bearer_auth(self.setup.secret_key.expose()).header("stripe-version", VERSION)
    }
}

async fn send(request: RequestBuilder) -> Result<Answer, GatewayError> {
    // The address of a call has no secret in it, but it is the gateway's name that helps.
    let failed = |error: reqwest::Error| GatewayError::Connection(error.without_url());
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status().as_u16();
    let is_replayed = response.headers().get("idempotent-replayed").is_some();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(GatewayError::Unreadable { what: "an answer below 2 MB" });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, is_replayed, body })
}
