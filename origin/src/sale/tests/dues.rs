use super::*;

fn other() -> GatewayName {
    GatewayName::try_from("other".to_owned()).unwrap()
}

fn work(state: &mut State, at: Timestamp) -> PaymentWork {
    let (_, reply) = state.apply(&Command::ListPaymentWork, at);
    let Reply::PaymentWork(work) = reply else { panic!("{reply:?}") };
    *work
}

fn owed(state: &mut State) -> Vec<(Id128, u32, String)> {
    let voids = work(state, NOON).voids.into_iter();
    voids.map(|due| (due.order, due.number, due.gateway.to_string())).collect()
}

#[test]
fn an_authorisation_without_an_answer_is_to_be_voided_before_another_gateway_is_asked() {
    let mut state = house();
    let moving = Command::MovePayment { order: id(102), number: 0, gateway: other() };
    let (changes, reply) = state.apply(&moving, NOON);
    assert_eq!(changes, [Change::PaymentMoved { order: id(102), gateway: other() }]);
    assert!(matches!(reply, Reply::Charge(ChargeView { number: 1, .. })), "{reply:?}");
    assert_eq!(owed(&mut state), [(id(102), 0, "sandbox".into())]);
    assert!(state.apply(&moving, NOON).0.is_empty(), "somebody was faster");

    // The first gateway answers after all: too late, it is owed already.
    assert!(state.apply(&told(102, 0, authorised()), NOON).0.is_empty());
    assert_eq!(state.counts().sold, 1);
    let Command::Settle(settlement) = told(102, 1, authorised()) else { unreachable!() };
    let settled = Command::Settle(Settlement { gateway: other(), ..settlement });
    state.apply(&settled, NOON);
    assert_eq!(state.counts().sold, 3);
    assert_eq!(owed(&mut state), [(id(102), 0, "sandbox".into())], "the loser only");
    state.apply(&Command::Voided { order: id(102), number: 0 }, NOON);
    assert_eq!(owed(&mut state), []);
}

#[test]
fn an_order_is_asked_for_four_times_and_no_more() {
    let mut state = house();
    for number in 0..3 {
        let moving = Command::MovePayment { order: id(102), number, gateway: other() };
        assert!(matches!(state.apply(&moving, NOON).1, Reply::Charge(_)), "{number}");
    }
    let moving = Command::MovePayment { order: id(102), number: 3, gateway: other() };
    let refused = Reply::Refused(Refusal::PaymentUnknown { order: id(102) });
    assert_eq!(state.apply(&moving, NOON), (vec![], refused));
}

#[test]
fn seats_wait_for_an_answer_until_it_is_given_up_to_be_voided() {
    let mut state = house();
    state.apply(&told(102, 0, Outcome::Unknown), NOON);
    let early = NOON.plus_secs(GIVE_UP_SECS - 1);
    assert!(state.apply(&Command::Expire { hold: id(2) }, early).0.is_empty());
    assert_eq!(state.counts().paying, 2);
    let late = NOON.plus_secs(GIVE_UP_SECS);
    assert!(state.due(late).any(|hold| hold == id(2)));
    let (changes, _) = state.apply(&Command::Expire { hold: id(2) }, late);
    let expected = Change::PaymentDeclined {
        order: id(102),
        until: late.plus_secs(HOLD_SECS),
        code: Some("not_answered".into()),
        is_void_owed: true,
    };
    assert_eq!(changes, [expected]);
    assert_eq!(owed(&mut state), [(id(102), 0, "sandbox".into())]);
    // It turns out to be authorised: it is owed already, and nothing is sold.
    assert!(state.apply(&told(102, 0, authorised()), late).0.is_empty());
    assert_eq!(state.counts().sold, 1);
}

#[test]
fn less_money_than_was_asked_for_sells_nothing_and_is_to_be_voided() {
    let mut state = house();
    state.apply(&told(102, 0, Outcome::Authorised { amount: 399 }), NOON);
    assert_eq!(state.counts().sold, 1);
    assert_eq!(owed(&mut state).len(), 1);
}

#[test]
fn money_is_captured_when_due_and_tried_again_ever_more_rarely() {
    let mut state = house();
    state.apply(&told(102, 0, authorised()), NOON);
    let begin = Command::BeginCapture { order: id(102) };
    assert!(state.apply(&begin, NOON.plus_secs(59)).0.is_empty(), "not yet");
    let mut at = NOON.plus_secs(60);
    let mut pauses = Vec::new();
    for _ in 0..12 {
        assert!(work(&mut state, at).captures.iter().any(|due| due.order == id(102)));
        let (changes, _) = state.apply(&begin, at);
        let [Change::CaptureBegun { again_at, .. }] = changes[..] else { panic!("{changes:?}") };
        assert!(state.apply(&begin, at).0.is_empty(), "one at a time");
        pauses.push(again_at.since(at).as_secs());
        at = again_at;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
    assert_eq!(work(&mut state, at).uncaptured_since, Some(NOON));
    state.apply(&told(102, 0, Outcome::Captured { amount: 400 }), at);
    let done = work(&mut state, at);
    let open = |order| done.captures.iter().any(|due| due.order == order);
    assert!(!open(id(102)));
    assert!(state.apply(&told(102, 0, Outcome::Captured { amount: 400 }), at).0.is_empty());
}

#[test]
fn an_order_whose_money_is_gone_is_told_of() {
    let mut state = house();
    state.apply(&told(102, 0, authorised()), NOON);
    state.apply(&told(102, 0, declined()), NOON);
    assert_eq!(work(&mut state, NOON).lost, [id(102)]);
    assert_eq!(state.counts().sold, 3, "the buyer keeps the tickets until somebody decides");
}

#[test]
fn a_webhook_has_its_effect_once() {
    let mut state = house();
    let Command::Settle(settlement) = told(102, 0, authorised()) else { unreachable!() };
    let noticed = Command::Settle(Settlement { notice: Some("evt_1".into()), ..settlement });
    let (changes, _) = state.apply(&noticed, NOON);
    assert!(matches!(changes[..], [Change::Sold { .. }, Change::Noticed { .. }]), "{changes:?}");
    assert!(state.apply(&noticed, NOON).0.is_empty());
    let restored = State::restore(plan(), rules(), state.save()).unwrap();
    assert_eq!(restored.dues, state.dues);
}

#[test]
fn hints_in_any_order_come_to_the_same() {
    let action = Action { client_secret: "s".into(), next_action: serde_json::Value::Null };
    let hints = [
        Outcome::ActionRequired(action),
        Outcome::Unknown,
        authorised(),
        Outcome::Captured { amount: 400 },
    ];
    let mut ends = Vec::new();
    for first in 0..4 {
        for second in 0..4 {
            let mut state = house();
            let rest = 0..4;
            for at in [first, second].into_iter().chain(rest) {
                state.apply(&told(102, 0, hints[at].clone()), NOON);
            }
            let order = state.order(id(102)).unwrap();
            ends.push((order.stage, order.payment.capture, state.counts()));
        }
    }
    assert!(ends.windows(2).all(|pair| pair[0] == pair[1]), "{ends:?}");
}

#[test]
fn the_key_of_a_paid_order_is_remembered_for_a_day() {
    let mut state = house();
    state.apply(&told(102, 0, authorised()), NOON);
    let again = pay(2, BEN, "k2", "body", 110);
    let day = NOON.plus_secs(24 * 3600 - 1);
    assert!(matches!(state.apply(&again, day).1, Reply::Order(_)));
    // Anything that is written down later lets the day pass.
    state.apply(&hold(9, ANA, &[9]), NOON.plus_secs(24 * 3600));
    let (_, reply) = state.apply(&again, NOON.plus_secs(24 * 3600));
    assert_eq!(reply, Reply::Refused(Refusal::HoldBought { order: id(102) }));
}
