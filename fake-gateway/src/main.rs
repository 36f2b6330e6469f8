//! Runs the fake gateway on its own: `fake-gateway --listen 127.0.0.1:8420 --secret-key sk_test_…`.

use std::net::SocketAddr;

use clap::Parser;
use fake_gateway::FakeGateway;

/// A payment gateway for tests, shaped like Stripe's `PaymentIntents`.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to serve; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:8420")]
    listen: SocketAddr,
    /// The key that shops must show.
    #[arg(long, default_value = "sk_test_fake_gateway")]
    secret_key: String,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let Arguments { listen, secret_key } = Arguments::parse();
    let gateway = FakeGateway::start(listen, &secret_key).await?;
    println!("{}", gateway.base_url());
    tokio::signal::ctrl_c().await
}
