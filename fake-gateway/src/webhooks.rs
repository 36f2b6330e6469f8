//! How are webhooks sent? Signed as Stripe signs them, and as badly as a test wants them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::Sha256;

/// Pause before a webhook that was not taken is sent again; Stripe waits longer, a test does not.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// A receiver that has not answered by then has not taken it.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// In which order webhooks are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// As things happened.
    #[default]
    AsHappened,
    /// The last first.
    Reversed,
    /// The ones in the middle first: neither.
    Shuffled,
}

/// How webhooks are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delivery {
    /// In which order.
    pub order: Order,
    /// How often each is sent, whatever is answered.
    pub copies: u32,
    /// How often each copy is tried until it is taken.
    pub tries: u32,
    /// How long ago the signature says that it was made.
    pub age_secs: u64,
    /// Sign with a secret that nobody has.
    pub is_forged: bool,
}

impl Default for Delivery {
    fn default() -> Self {
        let order = Order::AsHappened;
        Self { order, copies: 1, tries: 3, age_secs: 0, is_forged: false }
    }
}

#[derive(Debug, Default)]
struct Target {
    url: Option<String>,
    secrets: Vec<String>,
}

/// Where webhooks go.
#[derive(Debug, Default)]
pub(crate) struct Webhooks {
    target: Mutex<Target>,
}

impl Webhooks {
    pub fn send_to(&self, url: &str, secrets: &[&str]) {
        let secrets = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        *self.target() = Target { url: Some(url.to_owned()), secrets };
    }

    pub async fn deliver(&self, mut events: Vec<Value>, delivery: &Delivery) -> Vec<u16> {
        let (url, secrets) = {
            let target = self.target();
            let Some(url) = target.url.clone() else { return Vec::new() };
            (url, target.secrets.clone())
        };
        match delivery.order {
            Order::AsHappened => {}
            Order::Reversed => events.reverse(),
            Order::Shuffled => {
                let half = events.len() / 2;
                events.rotate_left(half);
            }
        }
        // An error means that the process has chosen a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::new();
        let mut statuses = Vec::new();
        for event in &events {
            for _ in 0..delivery.copies {
                for _ in 0..delivery.tries.max(1) {
                    let status = send(&client, &url, &secrets, event, delivery).await;
                    statuses.push(status);
                    if (200..300).contains(&status) {
                        break;
                    }
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
        statuses
    }

    fn target(&self) -> MutexGuard<'_, Target> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends one webhook: the status, 0 if there was none.
async fn send(
    client: &reqwest::Client,
    url: &str,
    secrets: &[String],
    event: &Value,
    delivery: &Delivery,
) -> u16 {
    let body = event.to_string();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let made = now.saturating_sub(delivery.age_secs).to_string();
    let forged = ["whsec_that_nobody_has".to_owned()];
    let secrets = if delivery.is_forged { &forged[..] } else { secrets };
    let signatures = secrets.iter().map(|secret| format!(",v1={}", sign(secret, &made, &body)));
    let header = format!("t={made}{}", signatures.collect::<String>());
    let request = client
        .post(url)
        .header("content-type", "application/json")
        .header("stripe-signature", header)
        .timeout(ANSWER_WITHIN)
        .body(body);
    request.send().await.map_or(0, |response| response.status().as_u16())
}

fn sign(secret: &str, made: &str, body: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes());
    let mut mac = mac.expect("HMAC takes keys of any length");
    mac.update(format!("{made}.{body}").as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
