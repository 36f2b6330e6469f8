//! Is the fake gateway like Stripe? Stripe's own client says so.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::path::PathBuf;
use std::process::Stdio;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::post;
use fake_gateway::{Delivery, FakeGateway};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::mpsc;

const KEY: &str = "sk_test_fake_gateway";
const SECRET: &str = "whsec_of_the_fake_gateway";

fn python(script: &str) -> Command {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let python = here.join("../.tools/python/bin/python");
    assert!(python.exists(), "{python:?} is missing; `make tools` makes it");
    let mut command = Command::new(python);
    command.arg(here.join("tests").join(script)).kill_on_drop(true);
    command
}

async fn gateway() -> FakeGateway {
    FakeGateway::start("127.0.0.1:0".parse().unwrap(), KEY).await.unwrap()
}

#[tokio::test]
async fn stripes_own_client_finds_what_it_expects() {
    let gateway = gateway().await;
    let ran = python("sdk.py").args([&gateway.base_url(), KEY]).output().await.unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[tokio::test]
async fn stripes_own_client_believes_our_webhooks_and_no_forged_ones() {
    let gateway = gateway().await;
    // An error means that the process has chosen a provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (heard, mut webhooks) = mpsc::channel(16);
    let hear = move |headers: HeaderMap, body: String| async move {
        let signature = headers["stripe-signature"].to_str().unwrap().to_owned();
        heard.send((signature, body)).await.unwrap();
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let shop = tokio::spawn(async move {
        axum::serve(listener, Router::new().route("/", post(hear))).await.unwrap();
    });
    gateway.webhooks_to(&url, &[SECRET]);
    for (delivery, is_believed) in [
        (Delivery::default(), true),
        (Delivery { is_forged: true, ..Delivery::default() }, false),
        (Delivery { age_secs: 301, ..Delivery::default() }, false),
    ] {
        let form = [("amount", "500"), ("currency", "usd")];
        let url = format!("{}/v1/payment_intents", gateway.base_url());
        let made = reqwest::Client::new().post(url).bearer_auth(KEY).form(&form).send().await;
        assert_eq!(made.unwrap().status(), 200);
        assert_eq!(gateway.deliver(delivery.clone()).await, [200]);
        let (signature, body) = webhooks.recv().await.unwrap();
        let mut command = python("webhook.py");
        command.args([SECRET, &signature]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut checking = command.stderr(Stdio::piped()).spawn().unwrap();
        checking.stdin.take().unwrap().write_all(body.as_bytes()).await.unwrap();
        let checked = checking.wait_with_output().await.unwrap();
        let said = String::from_utf8_lossy(&checked.stdout);
        assert_eq!(checked.status.success(), is_believed, "{delivery:?}: {said}");
        assert_eq!(said.starts_with("payment_intent.created"), is_believed, "{said}");
    }
    shop.abort();
}
