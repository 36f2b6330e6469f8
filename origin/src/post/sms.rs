//! How does word get to a telephone? Through somebody else's service, by one HTTP request that most
//! of them can be made to understand: `POST {"id","to","text"}`.

use std::time::Duration;

use keys::Secret;
use reqwest::{Client, StatusCode, Url};
use serde_json::json;

use super::NotSent;

/// The service has this long to answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// `[sms]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmsConfig {
    /// Where to send to.
    pub url: Url,
    /// Bearer token of the service.
    pub token: Option<Secret>,
}

/// Sends short messages.
#[derive(Debug)]
pub struct Sms {
    client: Client,
    config: SmsConfig,
}

impl Sms {
    /// A way to the service.
    ///
    /// # Errors
    /// If there is no HTTP client.
    pub fn new(config: SmsConfig) -> Result<Self, reqwest::Error> {
        // An error means that the process has chosen a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().timeout(TIMEOUT).no_proxy().build()?;
        Ok(Self { client, config })
    }

    pub(super) async fn send(&self, id: &str, to: &str, text: &str) -> Result<(), NotSent> {
        let body = json!({ "id": id, "to": to, "text": text });
        let mut request = self.client.post(self.config.url.clone()).json(&body);
        request = request.header("idempotency-key", id);
        if let Some(token) = &self.config.token {
            request = request.bearer_auth(token.expose());
        }
        let answer = request
            .send()
            .await
            .map_err(|error| NotSent::Later(error.without_url().to_string()))?;
        let status = answer.status();
        let why = || format!("the service answered {status}");
        match status {
            _ if status.is_success() => Ok(()),
            // About us, or about now.
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_EARLY
            | StatusCode::TOO_MANY_REQUESTS => Err(NotSent::Later(why())),
            _ if status.is_client_error() => Err(NotSent::Refused(why())),
            _ => Err(NotSent::Later(why())),
        }
    }
}
