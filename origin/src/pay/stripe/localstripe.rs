//! Does our gateway speak as somebody else's mock of Stripe expects? The happy path against
//! localstripe, in a process of its own.
//!
//! It is no oracle for more: it ignores idempotency keys, finds no intents by metadata, lists none
//! by date, says nothing of an intent's state when it refuses to capture it again, pays back more
//! than was taken, and accepts most cards that Stripe declines. Those are our fake gateway's, which Stripe's own client drives.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use keys::{Id128, Secret};
use servers::free_port;

use super::*;
use crate::sale::Currency;

/// Its own way to start wants IPv6, and what an earlier run has left in a file.
const SERVE: &str = "\
import sys
from aiohttp import web
from localstripe.server import app
web.run_app(app, host='127.0.0.1', port=int(sys.argv[1]))
";
/// It is up by then, or never.
const TRIES: u32 = 600;

struct Mock {
    process: Child,
    stripe: Stripe,
}

impl Drop for Mock {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Mock {
    async fn start() -> Self {
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/python/bin/python");
        let port = free_port();
        let process = Command::new(&python)
            .args(["-c", SERVE, &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = process
            .unwrap_or_else(|error| panic!("{}: {error}; scripts/install test", python.display()));
        let setup = StripeSetup {
            base_url: format!("http://127.0.0.1:{port}").parse().unwrap(),
            secret_key: Secret::try_from("sk_test_of_the_mock_0123456789".to_owned()).unwrap(),
            webhook_secrets: Vec::new(),
        };
        let mock = Self { process, stripe: Stripe::new(setup, "").unwrap() };
        for _ in 0..TRIES {
            match mock.stripe.lookup(&known("pi_nobody")).await {
                Err(GatewayError::Connection(_)) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                seen => {
                    assert_eq!(seen.unwrap(), Seen::ABSENT);
                    return mock;
                }
            }
        }
        panic!("localstripe never listened on port {port}")
    }

    async fn standing(&self, which: &Authorisation) -> Standing {
        self.stripe.lookup(which).await.unwrap().standing
    }
}

/// An authorisation whose name at the gateway is known.
fn known(reference: &str) -> Authorisation {
    let (event, order) = ("final".parse().unwrap(), Id128::random());
    Authorisation { event, order, number: 0, reference: Some(reference.to_owned()) }
}

#[tokio::test]
async fn what_is_reserved_is_captured_and_paid_back_or_given_back() {
    let mock = Mock::start().await;
    let stripe = &mock.stripe;
    let reserved = async || {
        let authorisation = Authorisation { reference: None, ..known("") };
        let token = "pm_card_visa".to_owned();
        let charge = Charge { authorisation, amount: 500, currency: Currency::USD, token };
        let seen = stripe.authorise(&charge).await.unwrap();
        assert_eq!(seen.standing, Standing::Authorised { amount: 500 });
        Authorisation { reference: seen.reference, ..charge.authorisation }
    };
    let bought = reserved().await;
    assert_eq!(mock.standing(&bought).await, Standing::Authorised { amount: 500 });
    let captured = Standing::Captured { amount: 500 };
    assert_eq!(stripe.capture(&bought, 500).await.unwrap().standing, captured);
    assert_eq!(mock.standing(&bought).await, captured);
    stripe.refund(&bought, 300, "a-refund").await.unwrap();

    let left = reserved().await;
    let given_back = Standing::NotCharged { code: None };
    assert_eq!(stripe.void(&left).await.unwrap().standing, given_back);
    assert_eq!(mock.standing(&left).await, given_back);
}
