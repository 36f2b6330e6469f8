use super::super::payment::*;
use super::*;

#[test]
fn a_declined_payment_gives_the_hold_back_with_the_time_that_was_left() {
    let mut state = house();
    state.apply(&pay(1, ANA, "k1", "b", 101), NOON.plus_secs(400));
    let (_, reply) = state.apply(&settle(101, declined()), NOON.plus_secs(900));
    let Reply::Refused(declined @ Refusal::PaymentDeclined { .. }) = reply else {
        panic!("{reply:?}")
    };
    let (_, reply) = state.apply(&view(1, ANA), NOON.plus_secs(900));
    let Reply::Hold(hold) = reply else { panic!("{reply:?}") };
    assert_eq!(hold.until, NOON.plus_secs(1100), "200 seconds were left");
    let (_, reply) = state.apply(&pay(1, ANA, "k1", "b", 111), NOON.plus_secs(901));
    assert_eq!(reply, Reply::Refused(declined), "same key, same reply");
    let (_, reply) = state.apply(&pay(1, ANA, "k1b", "b", 112), NOON.plus_secs(901));
    assert_eq!(reply, charge(112, 400));
}

#[test]
fn an_unknown_outcome_keeps_the_seats_until_it_is_known() {
    let mut state = house();
    let (_, reply) = state.apply(&settle(102, Outcome::Unknown), NOON);
    assert_eq!(reply, Reply::Refused(Refusal::PaymentUnknown { order: id(102) }));
    let again = pay(2, BEN, "k2", "body", 110);
    assert_eq!(
        state.apply(&again, NOON).1,
        Reply::Refused(Refusal::PaymentUnknown { order: id(102) })
    );
    assert_eq!(unsettled(&mut state), [id(102)]);
    state.apply(&settle(102, authorised()), NOON);
    let (changes, reply) = state.apply(&again, NOON);
    assert!(changes.is_empty(), "nothing is sold twice");
    let Reply::Order(order) = reply else { panic!("{reply:?}") };
    assert_eq!((order.order, order.bill.total), (id(102), 400));
    assert_eq!(unsettled(&mut state), []);
}

#[test]
fn a_late_word_of_a_settled_order_sells_nothing_and_money_for_nobody_is_to_be_voided() {
    for outcome in [authorised(), declined(), Outcome::Unknown] {
        let mut state = house();
        let (changes, reply) = state.apply(&settle(103, outcome.clone()), NOON);
        assert!(!sells(&changes) && matches!(reply, Reply::Order(_)), "{outcome:?}: {reply:?}");
        state.apply(&settle(102, declined()), NOON);
        let (changes, reply) = state.apply(&settle(102, outcome.clone()), NOON);
        let is_owed = matches!(changes[..], [Change::VoidOwed(_)]);
        assert_eq!(is_owed, outcome == authorised(), "{outcome:?}: {changes:?}");
        assert_eq!(reply, Reply::Refused(Refusal::UnknownOrder), "{outcome:?}");
        let (again, _) = state.apply(&settle(102, outcome.clone()), NOON);
        assert!(again.is_empty(), "told twice, owed once: {outcome:?}");
    }
}

fn sells(changes: &[Change]) -> bool {
    changes.iter().any(|change| matches!(change, Change::Sold { .. }))
}

#[test]
fn a_hold_is_tried_ten_times() {
    let mut state = house();
    for attempt in 0..ATTEMPTS_MAX as u8 {
        let (_, reply) =
            state.apply(&pay(1, ANA, &format!("k{attempt}"), "b", 120 + attempt), NOON);
        assert!(matches!(reply, Reply::Charge(_)), "{attempt}: {reply:?}");
        state.apply(&settle(120 + attempt, declined()), NOON);
    }
    let (_, reply) = state.apply(&pay(1, ANA, "more", "b", 140), NOON);
    assert_eq!(reply, Reply::Refused(Refusal::TooManyAttempts { max: ATTEMPTS_MAX }));
}

#[test]
fn a_visitor_is_tried_thirty_times_however_often_seats_are_held_again() {
    let mut state = house();
    let mut tried = 0;
    for round in 0..4_u8 {
        state.apply(&hold(10 + round, ANA, &[9]), NOON);
        for attempt in 0..10_u8 {
            let order = 120 + 10 * round + attempt;
            let key = format!("k{order}");
            let (_, reply) = state.apply(&pay(10 + round, ANA, &key, "b", order), NOON);
            if reply == Reply::Refused(Refusal::TooManyAttempts { max: 30 }) {
                continue;
            }
            assert!(matches!(reply, Reply::Charge(_)), "{round} {attempt}: {reply:?}");
            state.apply(&settle(order, declined()), NOON);
            tried += 1;
        }
        state.apply(&release(10 + round, ANA), NOON);
    }
    assert_eq!(tried, DECLINED_PER_VISITOR_MAX);
    state.apply(&hold(20, ANA, &[9]), NOON.plus_secs(DECLINED_KEPT_SECS));
    let (_, reply) = state.apply(&pay(20, ANA, "k", "b", 250), NOON.plus_secs(DECLINED_KEPT_SECS));
    assert!(matches!(reply, Reply::Charge(_)), "a day later: {reply:?}");
}

#[test]
fn a_hold_larger_than_the_tickets_drawn_is_refused_and_nothing_breaks() {
    let mut state = house();
    let Command::BeginPayment(begin) = pay(1, ANA, "k", "b", 110) else { unreachable!() };
    let short = BeginPayment { tickets: vec![id(7)], ..begin };
    let (changes, reply) = state.apply(&Command::BeginPayment(short), NOON);
    assert_eq!(reply, Reply::Refused(Refusal::TooManySeats { asked: 2, max: 1 }));
    assert!(changes.is_empty());
}

#[test]
fn what_was_promised_is_charged_whatever_seats_cost_after_a_restart() {
    let dearer = || {
        let rows = vec![
            PlanRow { first: 0, len: 10, zone: 0, block: 0 },
            PlanRow { first: 10, len: 10, zone: 0, block: 0 },
        ];
        let zones = vec![Zone { id: "near".into(), price: 999 }];
        Arc::new(Plan::new(rows, zones, (0..20).collect(), "two rows".into()).unwrap())
    };
    let mut state = State::restore(dearer(), rules(), house().save()).unwrap();
    let (_, reply) = state.apply(&pay(1, ANA, "k", "b", 110), NOON);
    assert_eq!(reply, charge(110, 400));
    let (_, reply) = state.apply(&Command::ViewOrder { order: id(103) }, NOON);
    let Reply::Order(order) = reply else { panic!("{reply:?}") };
    assert_eq!((order.bill.total, order.prices), (200, vec![200]));
    // The same from the log alone.
    let (changes, _) = State::new(plan(), rules()).apply(&hold(1, ANA, &[0, 10]), NOON);
    let mut replayed = State::new(dearer(), rules());
    replayed.evolve(&changes[0], NOON).unwrap();
    let (_, reply) = replayed.apply(&pay(1, ANA, "k", "b", 110), NOON);
    assert_eq!(reply, charge(110, 300));
}

fn receipt(title: &str) -> Receipt {
    Told { title: title.into(), barcodes: vec!["a barcode".into()], seq: 7 }.into()
}

fn keep(order: u8, title: &str) -> Command {
    Command::KeepReceipt { order: id(order), receipt: receipt(title) }
}

#[test]
fn the_first_receipt_counts_and_goes_with_the_key() {
    let mut state = house();
    let (_, reply) = state.apply(&keep(102, "unpaid"), NOON);
    assert_eq!(reply, Reply::Refused(Refusal::UnknownOrder));
    let kept = |state: &mut State, title: &str| {
        let (changes, reply) = state.apply(&keep(103, title), NOON);
        let Reply::Order(order) = reply else { panic!("{reply:?}") };
        (changes.len(), order.receipt)
    };
    assert_eq!(kept(&mut state, "first"), (1, Some(receipt("first"))));
    assert_eq!(kept(&mut state, "second"), (0, Some(receipt("first"))));
    let saved = state.save();
    let text = serde_json::to_string(&saved).unwrap();
    let read = serde_json::from_str(&text).unwrap();
    let state = &mut State::restore(plan(), rules(), read).unwrap();
    let again = |state: &mut State, secs| {
        state.apply(&pay(3, BEN, "k3", "body", 110), NOON.plus_secs(secs)).1
    };
    let Reply::Order(order) = again(state, 24 * 3600 - 1) else { panic!("within a day") };
    assert_eq!(order.receipt, Some(receipt("first")));
    state.apply(&hold(9, ANA, &[9]), NOON.plus_secs(24 * 3600));
    assert_eq!(again(state, 24 * 3600), Reply::Refused(Refusal::HoldBought { order: id(103) }));
    assert_eq!(state.order(id(103)).unwrap().receipt, None);
}

#[test]
fn an_order_as_it_was_sold_knows_nothing_of_what_came_later() {
    let mut state = State::new(plan(), rules());
    for command in [hold(1, ANA, &[0, 1]), pay(1, ANA, "k", "b", 101), settle(101, authorised())] {
        state.apply(&command, NOON);
    }
    state.apply(&keep(101, "title"), NOON);
    let told = |state: &State| state.order(id(101)).unwrap().as_sold();
    let first = told(&state);
    assert_eq!(first.after.deliveries.len(), 1, "her tickets are to be sent");
    let later = NOON.plus_secs(3600);
    let sent = PostCommand::Delivered { order: id(101), number: 0, outcome: Delivered::Sent };
    state.apply(&Command::Post(sent), NOON.plus_secs(2));
    state.apply(&Command::Post(PostCommand::SendAgain { order: id(101) }), later);
    let (key, body) = ("r".to_owned(), "b".to_owned());
    let tickets = Some(vec![ticket(101, 0)]);
    let ask = RefundAsk { order: id(101), tickets, key, body };
    let (changes, _) = state.apply(&Command::After(AfterCommand::Refund(ask)), later);
    assert!(!changes.is_empty());
    assert_ne!(state.order(id(101)).unwrap().after, first.after);
    let now = told(&state);
    assert_eq!((now.after, now.seq, now.seats), (first.after, first.seq, first.seats));
}
