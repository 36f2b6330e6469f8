//! What webhooks do, whenever they come and whatever they are about. A webhook is a hint: what
//! counts is what the gateway says when it is asked.

use super::*;

/// What a case begins with and what the webhook is about.
struct Case {
    market: Market,
    /// The order that was made.
    order: OrderView,
}

impl Case {
    async fn new() -> Self {
        let market = Market::open().await;
        let order = market.sells(0).await;
        Self { market, order }
    }

    fn about(&self) -> About {
        let PaymentView { number, reference, .. } = self.order.payment.clone();
        let order = self.order.order;
        About { event: the_final(), order, number, reference: reference.unwrap() }
    }

    /// Hears it, and tells whether anything was written down.
    async fn hears(&self, gateway: &str, id: &str, about: Option<About>) -> bool {
        let before = self.market.log.appends();
        let notice = Notice { id: id.to_owned(), about };
        self.market.checkout.noticed(&name(gateway), notice).await.unwrap();
        self.market.log.appends() > before
    }

    /// Somebody does something at the gateway's dashboard.
    async fn at_the_dashboard(&self, action: &str, reference: &str) {
        let url = format!("{}/v1/payment_intents/{reference}/{action}", self.market.a.base_url());
        let done = reqwest::Client::new().post(url).bearer_auth(KEY).send().await.unwrap();
        assert_eq!(done.status(), 200, "{action}");
    }

    /// Money that the shop's account reserves for that order and event.
    async fn reserved(&self, event: &str, order: Id128) -> About {
        let url = format!("{}/v1/payment_intents", self.market.a.base_url());
        let payment = format!("{order}:0");
        let form = [
            ("amount", "500"),
            ("currency", "usd"),
            ("capture_method", "manual"),
            ("confirm", "true"),
            ("payment_method", CARD),
            ("metadata[event]", event),
            ("metadata[payment]", &payment),
        ];
        let made = reqwest::Client::new().post(url).bearer_auth(KEY).form(&form).send().await;
        let body: serde_json::Value = made.unwrap().json().await.unwrap();
        let reference = body["id"].as_str().unwrap().to_owned();
        About { event: event.parse().unwrap(), order, number: 0, reference }
    }
}

const THREE_DAYS: u64 = 3 * 24 * 3600;

#[tokio::test]
async fn three_days_late_and_ten_times_it_changes_nothing_that_is_done() {
    let case = Case::new().await;
    case.market.pass(120, 5).await;
    case.market.adds_up(1).await;
    case.market.pass(THREE_DAYS, 3600).await;
    for id in ["evt_1", "evt_1", "evt_2"] {
        for _ in 0..10 {
            assert!(!case.hears("a", id, Some(case.about())).await, "{id}");
        }
    }
    case.market.pass(120, 5).await;
    case.market.adds_up(1).await;
}

#[tokio::test]
async fn what_was_done_at_the_dashboard_is_written_down_once() {
    let case = Case::new().await;
    let about = case.about();
    case.at_the_dashboard("capture", &about.reference).await;
    assert!(case.hears("a", "evt_1", Some(about.clone())).await, "captured");
    assert!(!case.hears("a", "evt_1", Some(about.clone())).await, "the same again");
    assert!(!case.hears("a", "evt_0", Some(about)).await, "and one from before");
    case.market.pass(120, 5).await;
    assert_eq!(case.market.a.calls(Call::Capture), 1, "nobody asks for it any more");
    case.market.adds_up(1).await;

    let case = Case::new().await;
    let about = case.about();
    case.at_the_dashboard("cancel", &about.reference).await;
    assert!(case.hears("a", "evt_1", Some(about)).await, "the money is gone");
    case.market.pass(120, 5).await;
    assert_eq!(case.market.findings(), [(case.order.order, Finding::CaptureLost)]);
}

#[tokio::test]
async fn money_for_an_order_that_nobody_made_goes_back() {
    let case = Case::new().await;
    let nobodys = case.reserved("wc2026-final", Id128::random()).await;
    for _ in 0..10 {
        case.hears("a", "evt_1", Some(nobodys.clone())).await;
    }
    case.market.pass(120, 5).await;
    assert_eq!(case.market.a.totals().voided, 1);
    case.market.adds_up(1).await;
    // Late, it is about nothing.
    case.market.pass(THREE_DAYS, 3600).await;
    assert!(!case.hears("a", "evt_1", Some(nobodys)).await);
}

#[tokio::test]
async fn a_payment_that_was_given_up_is_voided_however_late_and_in_whatever_order_it_is_told() {
    let market = Market::open().await;
    let ana = market.holds(0).await;
    // It reserves hers unheard, and no other.
    market.a.script(Script::failing(Call::Create, 503, fake_gateway::Effect::Happens).times(1));
    down(&market.a, None);
    down(&market.b, None);
    market.pays(ana).await;
    // Nobody can cancel it for three days.
    market.pass(THREE_DAYS, 600).await;
    let order = market.sells_at_b(0).await;
    market.a.behave();
    let line = market.a.ledger()[0].clone();
    let (given_up, number) = line.metadata["payment"].split_once(':').unwrap();
    let about = About {
        event: the_final(),
        order: given_up.parse().unwrap(),
        number: number.parse().unwrap(),
        reference: line.intent.clone(),
    };
    // The gateway may be left alone still: then it is told again.
    market.pass(10, 5).await;
    let case = Case { market, order };
    for id in ["evt_3", "evt_1", "evt_2", "evt_1"] {
        case.hears("a", id, Some(about.clone())).await;
    }
    case.market.pass(300, 5).await;
    assert_eq!(case.market.a.totals().voided, 1);
    case.market.adds_up(1).await;
}

#[tokio::test]
async fn what_is_not_ours_is_left_alone() {
    let case = Case::new().await;
    let about = case.about();
    // Another gateway of ours has not heard of it.
    assert!(!case.hears("b", "evt_1", Some(about.clone())).await);
    // Another shop uses the same account: its metadata is not ours, or its event is not.
    assert!(!case.hears("a", "evt_2", None).await);
    let elsewhere = case.reserved("another-shops-event", Id128::random()).await;
    assert!(!case.hears("a", "evt_3", Some(elsewhere)).await);
    assert_eq!(case.market.metrics.webhooks_parked_total.get(), 2);
    // An authorisation of this order that was never asked for.
    let later = About { number: 7, ..about };
    assert!(!case.hears("a", "evt_4", Some(later)).await);
    case.market.pass(120, 5).await;
    let totals = case.market.a.totals();
    assert_eq!((totals.captured, totals.voided, totals.reserved), (1, 0, 1), "theirs stays");
}

impl Market {
    /// Sells a seat while the first gateway is down.
    async fn sells_at_b(&self, seat: Seat) -> OrderView {
        self.b.behave();
        self.pass(60, 5).await;
        let order = self.sells(seat).await;
        assert_eq!(order.payment.gateway, name("b"));
        order
    }
}
