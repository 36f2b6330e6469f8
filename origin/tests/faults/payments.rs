//! The process is killed in the middle of a payment, and started again. The ledger of the fake
//! gateway says what buyers really paid: each order once, and nobody for a seat that went back.

use std::time::Duration;

use fake_gateway::{Call, Effect, FakeGateway, Script, Totals};
use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use servers::Postgres;

use crate::support::{EVENT, Heard, Node, Visitor, World, eventually};

const KEY: &str = "sk_test_of_the_shop";
const CARD: &str = "pm_card_visa";
/// Stories that are told at once.
const AT_ONCE: usize = 4;
/// What is not reserved, taken or given back is zero.
const NOTHING: Totals = Totals {
    authorised: 0,
    reserved: 0,
    captured: 0,
    voided: 0,
    refunded: 0,
    captured_amount: 0,
    refunded_amount: 0,
};

/// An origin with two gateways that outlive it.
struct Shop<'a> {
    world: &'a World,
    node: Node,
    a: FakeGateway,
    b: FakeGateway,
}

impl<'a> Shop<'a> {
    /// With these gateways, started to die at a place.
    async fn open(world: &'a World, gateways: &[&str], more: &str, dies_at: &str) -> Self {
        let any = "127.0.0.1:0".parse().unwrap();
        let a = FakeGateway::start(any, KEY).await.unwrap();
        let b = FakeGateway::start(any, KEY).await.unwrap();
        let listed = [("a", &a), ("b", &b)].into_iter();
        let listed = listed.filter(|(name, _)| gateways.contains(name)).map(|(name, gateway)| {
            let url = gateway.base_url();
            format!(
                "{{ kind = \"stripe\", name = \"{name}\", base_url = \"{url}\", \
                 secret_key = \"{KEY}\" }}"
            )
        });
        let listed = listed.collect::<Vec<_>>().join(", ");
        let more = format!(
            "payment.gateways = [{listed}]\npayment.absent_after_secs = 0\n\
             payment.timeout_ms = 500\n{more}"
        );
        let mut node = world.node_with(&more);
        node.start_with(world, &format!("ORIGIN_FAILPOINTS={dies_at}:1:kill")).await;
        let visitor = world.visitor();
        eventually("it serves", async || visitor.availability(&node).await.is_done()).await;
        Self { world, node, a, b }
    }

    /// Waits for the end that was asked for, and starts the process again without it.
    async fn dies_and_comes_back(&mut self, place: &str) {
        eventually(&format!("it dies at {place}"), async || self.node.has_ended()).await;
        assert!(self.node.log().contains(&format!("failpoint {place}")), "{}", self.node.log());
        self.node.start(self.world).await;
    }

    /// The buyer asks again with the same key until there is an order.
    async fn sells(&self, buyer: &Visitor<'_>, hold: &str) -> Value {
        let mut order = None;
        eventually("the order is there", async || {
            match buyer.buy(&self.node, hold, "key", CARD).await {
                Heard::Done(body) => {
                    order = Some(body);
                    true
                }
                Heard::No(409 | 503, _) => false,
                other => panic!("{other:?}"),
            }
        })
        .await;
        order.unwrap()
    }

    /// Waits until the ledgers say this, then looks whether anything is still to be done.
    async fn settles(&self, a: Totals, b: Totals) {
        let what = || format!("{a:?} {b:?}, but {:?} {:?}", self.a.totals(), self.b.totals());
        let are_so = async || self.a.totals() == a && self.b.totals() == b;
        let waited = tokio::time::timeout(Duration::from_secs(20), async {
            while !are_so().await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(waited.await.is_ok(), "{}", what());
        // A round that began after this moment has ended once two have.
        let rounds = async || self.metric("origin_payment_rounds_total").await;
        let before = rounds().await;
        eventually("two more rounds", async || rounds().await >= before + 2.0).await;
        for name in [
            "origin_payments_unsettled",
            "origin_payments_voids_due",
            "origin_payments_uncaptured",
            "origin_payments_attention",
            "origin_refunds_due",
        ] {
            let is_none = async || self.metric(name).await == 0.0;
            eventually(&format!("{name} is 0"), is_none).await;
        }
        assert!(are_so().await, "nothing more happens: {}", what());
    }

    async fn metric(&self, name: &str) -> f64 {
        self.node.metric(self.world, name).await.unwrap()
    }

    /// Gives an order back as an operator.
    async fn refund(&self, order: &str) -> Heard {
        let path = format!("/internal/v1/events/{EVENT}/orders/{order}/refund");
        let body = json!({ "tickets": null });
        self.node.operator(self.world, Method::POST, &path, Some((&body, "refund-1"))).await
    }

    async fn is_free(&self, seat: u32) -> bool {
        match self.world.visitor().hold(&self.node, &[seat]).await {
            Heard::Done(_) => true,
            Heard::No(409, code) if code == "seat-taken" => false,
            other => panic!("{other:?}"),
        }
    }
}

fn id<'v>(body: &'v Value, member: &str) -> &'v str {
    body[member].as_str().unwrap()
}

/// Killed at a place between the first word to the gateway and the record of the capture.
async fn bought_once(world: &World, place: &str, silent: Option<Call>) {
    let mut shop = Shop::open(world, &["a"], "payment.capture_after_secs = 0", place).await;
    if let Some(call) = silent {
        shop.a.script(Script::silent(call, Effect::Happens).times(1));
    }
    let (buyer, seat) = (world.visitor(), world.fresh_seat());
    let hold = buyer.hold(&shop.node, &[seat]).await.done();
    let heard = buyer.buy(&shop.node, id(&hold, "hold"), "key", CARD).await;
    assert!(heard.is_done() || heard == Heard::Silence, "{heard:?}");
    shop.dies_and_comes_back(place).await;
    let order = shop.sells(&buyer, id(&hold, "hold")).await;
    if let Heard::Done(first) = heard {
        assert_eq!(first["order"], order["order"], "{place}");
    }
    assert_eq!(order["state"], "confirmed");
    assert_eq!(order["tickets"].as_array().unwrap().len(), 1);
    let captured_amount = order["total"].as_u64().unwrap();
    let once = Totals { authorised: 1, captured: 1, captured_amount, ..NOTHING };
    shop.settles(once, NOTHING).await;
    assert!(!shop.is_free(seat).await, "{place}: sold once");
}

/// Killed between gateways: the first has reserved the money and kept silent.
async fn moved_once(world: &World, place: &str) {
    let more = "payment.capture_after_secs = 0";
    let mut shop = Shop::open(world, &["a", "b"], more, place).await;
    shop.a.script(Script::silent(Call::Create, Effect::Happens).times(1));
    let (buyer, seat) = (world.visitor(), world.fresh_seat());
    let hold = buyer.hold(&shop.node, &[seat]).await.done();
    let heard = buyer.buy(&shop.node, id(&hold, "hold"), "key", CARD).await;
    assert!(heard.is_done() || heard == Heard::Silence, "{heard:?}");
    shop.dies_and_comes_back(place).await;
    let order = shop.sells(&buyer, id(&hold, "hold")).await;
    let captured_amount = order["total"].as_u64().unwrap();
    let voided = Totals { authorised: 1, voided: 1, ..NOTHING };
    let once = Totals { authorised: 1, captured: 1, captured_amount, ..NOTHING };
    shop.settles(voided, once).await;
    assert!(!shop.is_free(seat).await, "{place}: sold once");
}

/// Killed while an order is given back, before or after its money was taken.
async fn given_back_once(world: &World, place: &str, is_captured: bool) {
    let wait_secs = if is_captured { 0 } else { 3600 };
    let more = format!("payment.capture_after_secs = {wait_secs}");
    let mut shop = Shop::open(world, &["a"], &more, place).await;
    let (buyer, seat) = (world.visitor(), world.fresh_seat());
    let hold = buyer.hold(&shop.node, &[seat]).await.done();
    let order = shop.sells(&buyer, id(&hold, "hold")).await;
    let amount = order["total"].as_u64().unwrap();
    if is_captured {
        let captured = Totals { authorised: 1, captured: 1, captured_amount: amount, ..NOTHING };
        shop.settles(captured, NOTHING).await;
    }
    let heard = shop.refund(id(&order, "order")).await;
    assert!(heard.is_done() || heard == Heard::Silence, "{heard:?}");
    shop.dies_and_comes_back(place).await;
    // The same key is the same refund.
    let again = shop.refund(id(&order, "order")).await.done();
    assert_eq!((&again["order"], &again["state"]), (&order["order"], &json!("refunded")));
    assert_eq!(again["refunds"].as_array().unwrap().len(), 1, "{again}");
    let given_back = match is_captured {
        false => Totals { authorised: 1, voided: 1, ..NOTHING },
        true => Totals {
            authorised: 1,
            captured: 1,
            captured_amount: amount,
            refunded: 1,
            refunded_amount: amount,
            ..NOTHING
        },
    };
    shop.settles(given_back, NOTHING).await;
    let order = buyer.order(&shop.node, id(&order, "order")).await.done();
    assert_eq!(order["refunds"][0]["money"], "returned", "{order}");
    assert!(shop.is_free(seat).await, "{place}: it went back");
    assert!(!shop.is_free(seat).await, "{place}: once");
}

/// Killed before the gateway was asked, which then takes nothing any more: the seat goes back.
async fn never_bought(world: &World, place: &str) {
    let mut shop = Shop::open(world, &["a"], "", place).await;
    let (buyer, seat) = (world.visitor(), world.fresh_seat());
    let hold = buyer.hold(&shop.node, &[seat]).await.done();
    let heard = buyer.buy(&shop.node, id(&hold, "hold"), "key", CARD).await;
    assert_eq!(heard, Heard::Silence);
    shop.a.script(Script::failing(Call::Create, 503, Effect::None));
    shop.dies_and_comes_back(place).await;
    let told = async || buyer.buy(&shop.node, id(&hold, "hold"), "key", CARD).await;
    let declined = Heard::No(402, "payment-declined".into());
    eventually("it is given up", async || told().await == declined).await;
    shop.settles(NOTHING, NOTHING).await;
    assert!(!shop.is_free(seat).await, "the hold has the time that was left");
    assert!(buyer.release(&shop.node, id(&hold, "hold")).await.is_done());
    assert!(shop.is_free(seat).await);
}

/// Where the process dies, and what its buyer is about.
#[derive(Debug, Clone, Copy)]
enum Story {
    /// Buying; the gateway keeps silent on the first call of this kind.
    Bought(&'static str, Option<Call>),
    /// Buying at the second gateway, after the first kept silent.
    Moved(&'static str),
    /// Giving back an order, before or after its money was taken.
    GivenBack(&'static str, bool),
    /// Buying what no gateway takes money for any more.
    NeverBought(&'static str),
}

impl Story {
    const ALL: [Self; 15] = [
        Self::Bought("payment-begun", None),
        Self::Bought("authorise-answered", None),
        Self::Bought("authorise-answered", Some(Call::Create)),
        Self::Bought("payment-settled", None),
        Self::Bought("capture-begun", None),
        Self::Bought("capture-answered", None),
        Self::Bought("capture-answered", Some(Call::Capture)),
        Self::Moved("payment-moved"),
        Self::Moved("void-begun"),
        Self::Moved("void-answered"),
        Self::GivenBack("void-begun", false),
        Self::GivenBack("void-answered", false),
        Self::GivenBack("refund-begun", true),
        Self::GivenBack("refund-answered", true),
        Self::NeverBought("payment-begun"),
    ];
    /// One of each kind: what a store could do to them, it does to these.
    const FEW: [Self; 4] = [
        Self::Bought("authorise-answered", None),
        Self::Bought("capture-answered", None),
        Self::Moved("void-answered"),
        Self::GivenBack("refund-answered", true),
    ];

    async fn told_in(self, world: World) {
        match self {
            Self::Bought(place, silent) => bought_once(&world, place, silent).await,
            Self::Moved(place) => moved_once(&world, place).await,
            Self::GivenBack(place, is_captured) => {
                given_back_once(&world, place, is_captured).await;
            }
            Self::NeverBought(place) => never_bought(&world, place).await,
        }
        println!("{self:?} ends well");
    }
}

/// Several at once: most of the time they wait for a process to come up.
async fn all(stories: &[Story], world: impl Fn() -> World) {
    let told = futures_util::stream::iter(stories).map(|story| story.told_in(world()));
    told.buffer_unordered(AT_ONCE).collect::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_pays_through_a_kill_pays_once_on_sqlite() {
    all(&Story::ALL, World::sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_pays_through_a_kill_pays_once_on_postgres() {
    all(&Story::FEW, || World::postgres(Postgres::shared().database())).await;
}
