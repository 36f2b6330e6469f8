//! Gateways that are down for long.

use super::*;

#[tokio::test]
async fn money_that_cannot_be_captured_for_an_hour_is_captured_once_afterwards() {
    for unheard in [None, Some(Call::Capture)] {
        let market = Market::open().await;
        let orders = [market.sells(0).await, market.sells(1).await, market.sells(2).await];
        down(&market.a, unheard);
        market.pass(3600, 5).await;
        for order in &orders {
            let seen = market.order(order.order).unwrap();
            assert_eq!((seen.stage, seen.seats.len()), (OrderStage::Sold, 1), "it stands");
        }
        assert_eq!(market.work().await.uncaptured_total, 3);
        assert!(market.metrics.uncaptured_age_seconds.get() > 3500, "an alarm can see it");
        assert_eq!(market.findings(), [], "nobody has to look yet");
        let calls = market.a.calls(Call::Capture);
        assert!((3..60).contains(&calls), "it is asked less and less often: {calls}");
        assert_eq!(market.b.totals(), Totals::default(), "only who reserves it can be asked");
        market.a.behave();
        market.pass(700, 5).await;
        market.adds_up(3).await;
        assert_eq!(market.metrics.uncaptured_age_seconds.get(), 0);
    }
}

#[tokio::test]
async fn what_could_not_be_done_for_hours_comes_before_a_person_until_it_is_done() {
    let market = Market::open().await;
    let (kept, back) = (market.sells(0).await, market.sells(1).await);
    let ask = crate::sale::RefundAsk {
        order: back.order,
        tickets: None,
        key: "key".into(),
        body: "body".into(),
    };
    down(&market.a, None);
    market.ask(Command::After(crate::sale::AfterCommand::Refund(ask))).await;
    market.pass(5 * 3600, 60).await;
    assert_eq!(market.findings(), []);
    market.pass(2 * 3600, 60).await;
    let mut expected = [(kept.order, Finding::CaptureLate), (back.order, Finding::VoidLate)];
    expected.sort();
    assert_eq!(market.findings(), expected);
    assert_eq!(market.metrics.payments_attention.get(), 2);
    market.a.behave();
    market.pass(1200, 60).await;
    assert_eq!((market.findings(), market.metrics.payments_attention.get()), (vec![], 0));
    assert_eq!((market.a.totals().captured, market.a.totals().voided), (1, 1));
}

#[tokio::test]
async fn a_refund_that_the_gateway_refuses_or_does_not_hear_comes_before_a_person() {
    //  status  after an hour                  after seven
    check_refund(400, Some(Finding::RefundRefused), Some(Finding::RefundRefused)).await;
    check_refund(429, None, Some(Finding::RefundLate)).await;
}

async fn check_refund(status: u16, early: Option<Finding>, late: Option<Finding>) {
    let market = Market::open().await;
    let order = market.sells(0).await.order;
    market.pass(120, 5).await;
    assert_eq!(market.a.totals().captured, 1);
    market.a.script(Script::failing(Call::Refund, status, fake_gateway::Effect::None));
    let (key, body) = ("key".to_owned(), "body".to_owned());
    let ask = crate::sale::RefundAsk { order, tickets: None, key, body };
    market.ask(Command::After(crate::sale::AfterCommand::Refund(ask))).await;
    let found = || market.findings().first().map(|(_, finding)| *finding);
    market.pass(3600, 60).await;
    assert_eq!(found(), early, "{status}");
    market.pass(6 * 3600, 60).await;
    assert_eq!(found(), late, "{status}");
    market.a.behave();
    market.pass(600, 60).await;
    assert_eq!((found(), market.a.totals().refunded_amount), (None, PRICE), "{status}");
}

/// Whatever the gateways did unheard, seats wait for them until the payment's own end, which is
/// written down with what is to be voided; then others may buy, and the money adds up.
#[tokio::test]
async fn with_both_gateways_down_seats_wait_until_the_cap_and_nobody_pays_for_nothing() {
    for (at_a, at_b) in [
        (None, None),
        (Some(Call::Create), None),
        (Some(Call::Create), Some(Call::Create)),
        (None, Some(Call::Create)),
    ] {
        let market = Market::open().await;
        let ana = market.holds(0).await;
        market.pass(HOLD_SECS - 10, 10).await;
        down(&market.a, at_a);
        down(&market.b, at_b);
        let unknown = market.pays(ana).await;
        assert!(matches!(unknown, Reply::Refused(Refusal::PaymentUnknown { .. })), "{unknown:?}");
        // Her hold ends in ten seconds, her payment in ten minutes.
        for _ in 0..59 {
            market.pass(10, 5).await;
            assert_eq!((market.counts().paying, market.counts().free), (1, u64::from(SEATS) - 1));
        }
        assert!(market.is_taken(0).await);
        market.pass(10, 5).await;
        assert_eq!((market.counts().paying, market.counts().held), (0, 1), "she has ten seconds");
        market.pass(15, 5).await;
        assert!(matches!(market.pays(ana).await, Reply::Refused(Refusal::PaymentDeclined { .. })));
        assert_eq!(market.counts().free, u64::from(SEATS));
        let reserved = |call: Option<Call>| u64::from(call.is_some());
        let [a, b] = market.totals();
        assert_eq!((a.captured, b.captured), (0, 0));
        assert_eq!((a.reserved, b.reserved), (reserved(at_a), reserved(at_b)));
        // The seat is somebody else's before the gateways are back.
        let (ben, cleo) = (market.holds(1).await, market.holds(0).await);
        market.a.behave();
        market.b.behave();
        market.pass(60, 5).await;
        for buyer in [ben, cleo] {
            let sold = market.pays(buyer).await;
            assert!(matches!(sold, Reply::Order(_)), "{sold:?}");
        }
        market.pass(900, 5).await;
        market.adds_up(2).await;
        let [a, b] = market.totals();
        assert_eq!(a.voided + b.voided, reserved(at_a) + reserved(at_b), "Ana's, all of them");
    }
}

#[tokio::test]
async fn a_gateway_that_comes_back_before_the_cap_sells_the_seat_once() {
    let market = Market::open().await;
    let ana = market.holds(0).await;
    down(&market.a, Some(Call::Create));
    down(&market.b, Some(Call::Create));
    market.pays(ana).await;
    market.pass(500, 5).await;
    assert_eq!(market.counts().paying, 1);
    market.a.behave();
    market.b.behave();
    market.pass(60, 5).await;
    assert_eq!((market.counts().paying, market.counts().sold), (0, 1));
    market.pass(120, 5).await;
    market.adds_up(1).await;
    assert_eq!(market.totals().map(|t| t.authorised), [1, 1]);
    assert_eq!(market.totals().map(|t| t.voided), [1, 0], "the first was given up before");
}
