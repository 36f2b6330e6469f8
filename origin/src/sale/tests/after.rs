use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn ask(order: u8, key: &str, body: &str, tickets: Option<&[Id128]>) -> Command {
    let (key, body) = (key.into(), body.into());
    let tickets = tickets.map(<[Id128]>::to_vec);
    Command::After(AfterCommand::Refund(RefundAsk { order: id(order), tickets, key, body }))
}

fn refund(order: u8, key: &str) -> Command {
    ask(order, key, "body", None)
}

fn scan(n: u8, order: u8, nth: u8, at: Option<Timestamp>) -> Command {
    let (scan, ticket) = (id(n), ticket(order, nth));
    Command::After(AfterCommand::CheckIn(Scan { scan, ticket, gate: format!("gate {n}"), at }))
}

fn cancel_event() -> Command {
    Command::After(AfterCommand::CancelEvent)
}

fn cancel_next() -> Command {
    Command::After(AfterCommand::CancelNext)
}

fn begin_capture(order: u8) -> Command {
    Command::BeginCapture { order: id(order) }
}

fn captured(order: u8) -> Command {
    told(order, 0, Outcome::Captured { amount: 600 })
}

fn repaid(order: u8, refund: u32) -> Command {
    Command::After(AfterCommand::Repaid { order: id(order), refund })
}

fn work(state: &mut State, now: Timestamp) -> PaymentWork {
    let (_, reply) = state.apply(&Command::ListPaymentWork, now);
    let Reply::PaymentWork(work) = reply else { panic!("{reply:?}") };
    *work
}

/// The house, and Ana has bought seats 5, 6 and 7 as order 104 for 600.
fn sold_house() -> State {
    let mut state = house();
    for command in
        [hold(4, ANA, &[5, 6, 7]), pay(4, ANA, "k4", "body", 104), settle(104, authorised())]
    {
        let (_, reply) = state.apply(&command, NOON);
        assert!(!matches!(reply, Reply::Refused(_)), "{command:?}: {reply:?}");
    }
    state
}

/// What one command after others is answered.
#[track_caller]
fn answered(before: &[Command], command: Command) -> Reply {
    let mut state = sold_house();
    for earlier in before {
        state.apply(earlier, NOON);
    }
    state.apply(&command, NOON).1
}

#[track_caller]
fn refused(before: &[Command], command: Command, code: &str) {
    let Reply::Refused(refusal) = answered(before, command.clone()) else {
        panic!("{command:?} after {before:?} is not refused")
    };
    assert_eq!(refusal.code(), code, "{command:?} after {before:?}");
}

#[track_caller]
fn done(before: &[Command], command: Command) {
    let reply = answered(before, command.clone());
    assert!(!matches!(reply, Reply::Refused(_)), "{command:?} after {before:?}: {reply:?}");
}

#[test]
#[rustfmt::skip] // reads in columns
fn a_ticket_lets_in_once_and_not_at_all_when_it_is_void() {
    let late = Some(NOON.minus_secs(60));
    let mine = [ticket(104, 0)];
    //       before                                  then                       answer
    done(   &[],                                     scan(1, 104, 0, None));
    done(   &[scan(1, 104, 0, None)],                scan(1, 104, 0, None)); // the answer was lost
    done(   &[scan(1, 104, 0, None)],                scan(2, 104, 1, None));
    refused(&[scan(1, 104, 0, None)],                scan(2, 104, 0, None),     "ticket-used");
    refused(&[scan(1, 104, 0, None)],                scan(2, 104, 0, late),     "ticket-used");
    refused(&[ask(104, "r", "", Some(&mine))],       scan(1, 104, 0, None),     "ticket-void");
    done(   &[ask(104, "r", "", Some(&mine))],       scan(1, 104, 1, None));
    refused(&[cancel_event(), cancel_next()],        scan(1, 104, 1, None),     "ticket-void");
    refused(&[],                                     scan(1, 104, 3, None),     "unknown-ticket");
    refused(&[],                                     scan(1, 102, 0, None),     "unknown-ticket"); // not paid yet
}

#[test]
#[rustfmt::skip] // reads in columns
fn tickets_are_given_back_once_and_never_after_they_were_used() {
    let (mine, foreign) = ([ticket(104, 0)], [ticket(103, 0)]);
    let twice = [mine[0], mine[0]];
    //       before                                  then                                  answer
    done(   &[],                                     refund(104, "a"));
    done(   &[refund(104, "a")],                     refund(104, "a"));
    done(   &[],                                     ask(104, "a", "", Some(&twice)));
    refused(&[refund(104, "a")],                     ask(104, "a", "other", None),         "idempotency-mismatch");
    refused(&[refund(104, "a")],                     refund(104, "b"),                     "ticket-void");
    refused(&[ask(104, "a", "", Some(&mine))],       ask(104, "b", "", Some(&mine)),       "ticket-void");
    refused(&[scan(1, 104, 0, None)],                refund(104, "a"),                     "ticket-used");
    refused(&[],                                     ask(104, "a", "", Some(&foreign)),    "unknown-ticket");
    refused(&[],                                     ask(104, "a", "", Some(&[])),         "ticket-void");
    refused(&[],                                     refund(102, "a"),                     "unknown-order"); // not paid yet
    refused(&[],                                     refund(99, "a"),                      "unknown-order");
}

#[test]
fn a_seat_that_was_given_back_is_sold_again_and_only_the_new_ticket_lets_in() {
    let mut state = sold_house();
    state.apply(&ask(104, "a", "", Some(&[ticket(104, 0)])), NOON);
    assert!(state.free().contains(5) && !state.free().contains(6));
    for command in [hold(9, BEN, &[5]), pay(9, BEN, "k9", "b", 109), settle(109, authorised())] {
        state.apply(&command, NOON);
    }
    let Reply::Refused(refusal) = state.apply(&scan(1, 104, 0, None), NOON).1 else { panic!() };
    assert_eq!(refusal.code(), "ticket-void");
    let admitted = state.apply(&scan(2, 109, 0, None), NOON).1;
    assert_eq!(admitted, Reply::After(AfterReply::Admitted { seat: 5, at: NOON }));
}

#[test]
fn money_that_was_not_asked_for_is_voided_and_all_else_is_paid_back_once_it_is_ours() {
    let later = NOON.plus_secs(3600);
    let one = [ticket(104, 0)];
    // Nothing was captured: the authorisation goes, and with it what was owed before.
    let mut state = sold_house();
    state.apply(&ask(104, "a", "", Some(&one)), NOON);
    assert_eq!(work(&mut state, later).refunds, []);
    state.apply(&refund(104, "b"), NOON);
    let due = work(&mut state, later);
    assert_eq!((due.voids.len(), due.refunds.len(), due.refunds_total), (1, 0, 0));
    assert!(due.captures.iter().all(|due| due.order != id(104)), "it must not be captured");
    let money = |state: &State| -> Vec<_> {
        let after = state.order(id(104)).unwrap().after;
        after.refunds.iter().map(|refund| (refund.amount, refund.money)).collect()
    };
    assert_eq!(money(&state), [(200, Money::Voiding), (400, Money::Voiding)]);
    state.apply(&Command::Voided { order: id(104), number: 0 }, later);
    assert_eq!(money(&state), [(200, Money::Returned), (400, Money::Returned)]);

    // The gateway was asked to capture: whatever it does, we wait for it and then pay back.
    let mut state = sold_house();
    state.apply(&begin_capture(104), later);
    state.apply(&refund(104, "b"), later);
    let due = work(&mut state, later);
    assert_eq!((due.voids.len(), due.refunds.len(), due.refunds_total), (0, 0, 1));
    state.apply(&captured(104), later);
    let due = work(&mut state, later).refunds;
    assert_eq!((due.len(), due[0].amount, due[0].refund), (1, 600, 0));
    state.apply(&repaid(104, 0), later);
    let (changes, _) = state.apply(&repaid(104, 0), later);
    assert_eq!((money(&state), changes), (vec![(600, Money::Returned)], vec![]));
    assert_eq!(work(&mut state, later).refunds_total, 0);
}

#[test]
fn a_cancelled_event_sells_nothing_more_and_every_order_is_refunded_once() {
    let mut state = sold_house();
    state.apply(&cancel_event(), NOON);
    let Reply::Refused(refusal) = state.apply(&hold(9, ANA, &[15]), NOON).1 else { panic!() };
    assert_eq!(refusal.code(), "event-cancelled");
    // Ben's payment was under way; his seats become an order after all, and that is refunded too.
    state.apply(&settle(102, authorised()), NOON);
    let left = |reply: Reply| match reply {
        Reply::After(AfterReply::Cancelling { left }) => left,
        reply => panic!("{reply:?}"),
    };
    assert_eq!(left(state.apply(&cancel_event(), NOON).1), 3);
    assert_eq!(left(state.apply(&cancel_next(), NOON).1), 0);
    let (changes, _) = state.apply(&cancel_next(), NOON);
    assert_eq!((state.counts().sold, changes), (0, vec![]));
    for order in [102, 103, 104] {
        assert_eq!(state.order(id(order)).unwrap().after.refunds.len(), 1, "{order}");
    }
}

#[test]
fn a_scanner_that_was_offline_tells_later_and_conflicts_are_kept() {
    let mut state = sold_house();
    let earlier = NOON.minus_secs(300);
    state.apply(&scan(1, 104, 0, Some(earlier)), NOON);
    for _ in 0..2 {
        state.apply(&scan(2, 104, 0, Some(NOON.minus_secs(200))), NOON); // told twice
    }
    state.apply(&scan(3, 104, 0, None), NOON); // asked first, and not let in
    let from_tomorrow = Some(NOON.plus_secs(86_400));
    state.apply(&scan(4, 104, 1, from_tomorrow), NOON);
    let trail = |state: &mut State, after, limit| match state
        .apply(&Command::After(AfterCommand::Trail { after, limit }), NOON)
        .1
    {
        Reply::After(AfterReply::Trail(entries)) => entries,
        reply => panic!("{reply:?}"),
    };
    let seen = trail(&mut state, 0, 100);
    let told: Vec<_> = seen.iter().map(|e| (e.seat, e.what, e.at, e.gate.as_str())).collect();
    let expected = [
        (5, TrailWhat::Used, earlier, "gate 1"),
        (5, TrailWhat::Conflict, NOON.minus_secs(200), "gate 2"),
        (6, TrailWhat::Used, NOON, "gate 4"),
    ];
    assert_eq!(told, expected);
    assert_eq!(trail(&mut state, seen[0].seq, 1), seen[1..2]);
    assert_eq!(trail(&mut state, seen[2].seq, 1), []);
}

#[test]
fn messages_are_due_until_somebody_says_what_became_of_them() {
    let mut state = sold_house();
    let list = |state: &mut State, after, limit| match state
        .apply(&Command::Post(PostCommand::List { after, limit }), NOON)
        .1
    {
        Reply::Post(work) => *work,
        reply => panic!("{reply:?}"),
    };
    // Ben gave no address.
    let first = list(&mut state, None, 10);
    assert_eq!((first.due.len(), first.due_total, first.oldest), (1, 1, Some(NOON)));
    assert_eq!(first.due[0].email.as_deref(), Some("ana@example.org"));
    state.apply(&refund(104, "a"), NOON);
    let next = list(&mut state, Some(first.due[0].key), 10);
    assert_eq!((next.due.len(), next.due_total), (1, 2));
    assert_eq!(next.due[0].delivery.message, Message::Refund);
    let told =
        |number, outcome| Command::Post(PostCommand::Delivered { order: id(104), number, outcome });
    state.apply(&told(0, Delivered::Sent), NOON);
    state.apply(&told(1, Delivered::Undeliverable { why: "550 no".into() }), NOON);
    let (changes, _) = state.apply(&told(1, Delivered::Sent), NOON);
    let work = list(&mut state, None, 10);
    assert_eq!((changes.len(), work.due_total, work.undeliverable_total), (0, 0, 1));
}

#[test]
#[rustfmt::skip] // reads in columns
fn tickets_are_sent_again_now_and_then() {
    //    asked before, in seconds after the sale     then      answer
    check_again(&[],                                  30,       "send-too-soon");
    check_again(&[],                                  60,       "done");
    check_again(&[60],                                61,       "send-too-soon");
    check_again(&[60, 120, 180, 240, 300],            360,      "send-too-soon");
    check_again(&[60, 120, 180, 240, 300],            86_399,   "send-too-soon");
    check_again(&[60, 120, 180, 240, 300],            86_400,   "done");
}

#[track_caller]
fn check_again(asked: &[u64], then: u64, answer: &str) {
    let mut state = sold_house();
    let again = Command::Post(PostCommand::SendAgain { order: id(104) });
    let sent = |number| {
        let outcome = Delivered::Sent;
        Command::Post(PostCommand::Delivered { order: id(104), number, outcome })
    };
    state.apply(&sent(0), NOON);
    for (number, secs) in (1..).zip(asked) {
        let (changes, reply) = state.apply(&again, NOON.plus_secs(*secs));
        assert_eq!(changes.len(), 1, "{reply:?}");
        state.apply(&sent(number), NOON.plus_secs(*secs));
    }
    let code = match state.apply(&again, NOON.plus_secs(then)).1 {
        Reply::Refused(refusal) => refusal.code(),
        _ => "done",
    };
    assert_eq!(code, answer, "after {asked:?} at {then}");
}

fn steps() -> impl Strategy<Value = Vec<(Command, u64)>> {
    let orders = || 100..106_u8;
    let some = prop::option::of(prop::collection::vec((orders(), 0..4_u8), 0..4));
    let command = prop_oneof![
        3 => (1..9_u8, prop::collection::vec(0..20_u32, 1..4)).prop_map(|(n, seats)| hold(n, ANA, &seats)),
        3 => (1..9_u8, orders()).prop_map(|(n, order)| pay(n, ANA, &format!("k{n}{order}"), "b", order)),
        4 => orders().prop_map(|order| settle(order, authorised())),
        1 => orders().prop_map(|order| settle(order, declined())),
        2 => orders().prop_map(begin_capture),
        2 => orders().prop_map(captured),
        1 => orders().prop_map(|order| Command::Voided { order: id(order), number: 0 }),
        3 => (orders(), 0..3_u8, some).prop_map(|(order, key, tickets)| {
            let tickets = tickets.map(|all| all.iter().map(|(o, n)| ticket(*o, *n)).collect::<Vec<_>>());
            ask(order, &format!("r{key}"), "", tickets.as_deref())
        }),
        2 => (orders(), 0..3_u8).prop_map(|(order, nth)| ask(order, &format!("t{nth}"), "", Some(&[ticket(order, nth)]))),
        1 => (orders(), 0..3_u32).prop_map(|(order, refund)| repaid(order, refund)),
        3 => (0..200_u8, orders(), 0..4_u8, prop::bool::ANY).prop_map(|(n, order, nth, is_late)| {
            scan(n, order, nth, is_late.then_some(NOON))
        }),
        1 => Just(cancel_next()),
        1 => (0..20_u8).prop_map(|n| if n == 0 { cancel_event() } else { cancel_next() }),
        1 => (orders(), 0..4_u32).prop_map(|(order, number)| {
            let order = id(order);
            Command::Post(PostCommand::Delivered { order, number, outcome: Delivered::Sent })
        }),
        1 => orders().prop_map(|order| Command::Post(PostCommand::SendAgain { order: id(order) })),
    ];
    prop::collection::vec((command, 0..60_u64), 1..120)
}

proptest! {
    #[test]
    fn a_seat_is_freed_once_has_one_valid_ticket_and_no_void_ticket_ever_lets_in(steps in steps()) {
        let (mut state, mut replayed) = (State::new(plan(), rules()), State::new(plan(), rules()));
        let mut now = NOON;
        let mut used_holds = BTreeSet::new();
        let mut used_orders = BTreeSet::new();
        let (mut let_in, mut void) = (BTreeSet::new(), BTreeSet::new());
        for (command, secs) in steps {
            match &command {
                Command::Hold { hold, .. } if !used_holds.insert(*hold) => continue,
                Command::BeginPayment(begin) if !used_orders.insert(begin.order) => continue,
                _ => {}
            }
            now = now.plus_secs(secs);
            let (changes, reply) = state.apply(&command, now);
            for change in &changes {
                replayed.evolve(change, now).unwrap();
                if let Change::After(AfterChange::TicketsVoided { tickets, .. }) = change {
                    for ticket in tickets {
                        prop_assert!(void.insert(*ticket), "given back twice: {ticket}");
                    }
                }
            }
            if let (Command::After(AfterCommand::CheckIn(scan)), Reply::After(AfterReply::Admitted { .. })) =
                (&command, &reply)
            {
                let is_first = let_in.insert(scan.ticket);
                let used = state.orders.values().find_map(|o| o.after.uses.get(&scan.ticket)).unwrap();
                prop_assert!(is_first || used.scan == scan.scan, "let in twice: {}", scan.ticket);
                prop_assert!(!is_first || !void.contains(&scan.ticket), "let in with a void ticket");
            }
            let mut owners = BTreeMap::new();
            for order in state.orders.values().filter(|order| order.stage == OrderStage::Sold) {
                for (ticket, seat, _) in order.valid() {
                    prop_assert_eq!(owners.insert(seat, ticket), None, "two tickets for seat {}", seat);
                    prop_assert!(!state.free().contains(seat), "a valid ticket for a free seat");
                }
                let given: u64 = order.after.refunds.iter().map(|refund| refund.amount).sum();
                let total = order.bill().total;
                prop_assert!(given <= total, "{given} of {total} given back");
                let is_lost = order.payment.capture == Capture::Lost;
                prop_assert!(is_lost || order.valid().next().is_some() || given == total);
            }
            let Counts { free, held, paying, sold, .. } = state.counts();
            prop_assert_eq!((free + held + paying + sold, sold), (20, owners.len() as u64));
            prop_assert_eq!(free, state.free().count());
        }
        prop_assert_eq!(replayed.save(), state.save());
        let restored = State::restore(plan(), rules(), state.save()).unwrap();
        prop_assert_eq!(restored.save(), state.save());
        prop_assert_eq!(restored.counts(), state.counts());
        prop_assert_eq!(&restored.aftermath, &state.aftermath);
        prop_assert_eq!(&restored.post, &state.post);
        prop_assert_eq!(&restored.seats_by_visitor, &state.seats_by_visitor);
        prop_assert_eq!(restored.free(), state.free());
    }
}
