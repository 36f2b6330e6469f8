//! A payment gateway for tests: speaks Stripe's `PaymentIntents`, misbehaves when told to, and
//! keeps a ledger of all that really happened.
//!
//! The ledger is the oracle: whatever a shop believes, what is authorised, captured, voided and
//! refunded here is what its buyers would have paid. Rules that matter are those that Stripe
//! documents: the first status and body of an idempotency key are kept, 500s included; the same
//! key with another body is an error; webhooks are signed, repeated and come in any order. It is
//! kept honest by Stripe's own SDK, which drives it in `tests/`.

mod books;
mod http;
mod script;
mod webhooks;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use books::{Books, Line, LineKind, Totals};
pub use script::{Call, Effect, Script};
pub use webhooks::{Delivery, Order};

use webhooks::Webhooks;

/// A running gateway; it ends when this is dropped.
#[derive(Debug)]
pub struct FakeGateway {
    addr: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    secret_key: String,
    books: Mutex<Books>,
    webhooks: Webhooks,
}

impl Shared {
    fn with<T>(&self, with: impl FnOnce(&mut Books) -> T) -> T {
        with(&mut self.books.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl FakeGateway {
    /// Serves on `addr` for whoever shows `secret_key`.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn start(addr: SocketAddr, secret_key: &str) -> std::io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            secret_key: secret_key.to_owned(),
            books: Mutex::new(Books::at(format!("http://{addr}"))),
            webhooks: Webhooks::default(),
        });
        let router = http::router(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            // It ends with the task.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { addr, shared, server })
    }

    /// Where it serves.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base of its addresses.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Adds a misbehaviour; the first that fits a call is carried out.
    pub fn script(&self, script: Script) {
        self.shared.with(|books| books.add_script(script));
    }

    /// Takes all misbehaviour back.
    pub fn behave(&self) {
        self.shared.with(Books::clear_scripts);
    }

    /// All that happened, in order.
    #[must_use]
    pub fn ledger(&self) -> Vec<Line> {
        self.shared.with(|books| books.ledger().to_vec())
    }

    /// The ledger added up.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.shared.with(|books| books.totals())
    }

    /// How many calls were made of that kind.
    #[must_use]
    pub fn calls(&self, call: Call) -> u64 {
        self.shared.with(|books| books.calls(call))
    }

    /// The buyer passes the challenge of an intent that asked for one, or fails it.
    #[must_use]
    pub fn authenticate(&self, intent: &str, is_passed: bool) -> bool {
        self.shared.with(|books| books.authenticate(intent, is_passed))
    }

    /// Where webhooks go from now on, signed with the first of these secrets (all of them, while
    /// one is being replaced). They wait until they are delivered.
    pub fn webhooks_to(&self, url: &str, secrets: &[&str]) {
        self.shared.webhooks.send_to(url, secrets);
    }

    /// Delivers all webhooks that wait, as told, and again until each was taken or `tries` are
    /// used up: the statuses that were answered, in order.
    pub async fn deliver(&self, delivery: Delivery) -> Vec<u16> {
        let events = self.shared.with(Books::take_events);
        self.shared.webhooks.deliver(events, &delivery).await
    }
}

impl Drop for FakeGateway {
    fn drop(&mut self) {
        self.server.abort();
    }
}
