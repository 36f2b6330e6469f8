use proptest::prelude::*;

use super::super::plan::{PlanRow, Zone};
use super::*;

const NOON: Timestamp = Timestamp::from_secs(1_000_000);
const HOLD_SECS: u64 = 600;

/// Two rows of ten: seats 0 to 9 in zone `near` at 200, 10 to 19 in zone `far` at 100.
fn plan() -> Arc<Plan> {
    let rows =
        vec![PlanRow { first: 0, len: 10, zone: 0 }, PlanRow { first: 10, len: 10, zone: 1 }];
    let zone = |id: &str, price| Zone { id: id.into(), price };
    let distances = (0..20).map(|seat| (seat % 10_u64).abs_diff(5) + 100 * (seat / 10)).collect();
    let zones = vec![zone("near", 200), zone("far", 100)];
    Arc::new(Plan::new(rows, zones, distances, "two rows".into()).unwrap())
}

fn rules() -> Rules {
    let hold = Duration::from_secs(HOLD_SECS);
    Rules { hold, seats_per_order_max: 4, seats_per_visitor_max: 6 }
}

fn id(n: u8) -> Id128 {
    Id128::from_bytes([n; 16])
}

const ANA: u8 = 201;
const BEN: u8 = 202;

fn hold(n: u8, sub: u8, seats: &[Seat]) -> Command {
    Command::Hold { hold: id(n), sub: id(sub), want: Want::Seats(seats.to_vec()) }
}

fn best(n: u8, sub: u8, zone: Option<&str>, quantity: u32) -> Command {
    let want = Want::Best { zone: zone.map(str::to_owned), quantity };
    Command::Hold { hold: id(n), sub: id(sub), want }
}

fn pay(n: u8, sub: u8, key: &str, body: &str, order: u8) -> Command {
    Command::BeginPayment(BeginPayment {
        hold: id(n),
        sub: id(sub),
        key: key.into(),
        body: body.into(),
        order: id(order),
        tickets: (0..4).map(|seat| id(order ^ (seat + 1))).collect(),
        name: "Ana".into(),
        email: None,
    })
}

fn settle(order: u8, outcome: Outcome) -> Command {
    Command::Settle { order: id(order), outcome }
}

fn release(n: u8, sub: u8) -> Command {
    Command::Release { hold: id(n), sub: id(sub) }
}

fn view(n: u8, sub: u8) -> Command {
    Command::ViewHold { hold: id(n), sub: id(sub) }
}

/// A house in which 1 is a hold of Ana's (seats 0, 1), 2 one that Ben is paying as order 102
/// (seats 2, 3), and 3 was bought by Ben as order 103 (seat 4) with the key `k3`.
fn house() -> State {
    let mut state = State::new(plan(), rules());
    for command in [
        hold(1, ANA, &[0, 1]),
        hold(2, BEN, &[2, 3]),
        hold(3, BEN, &[4]),
        pay(3, BEN, "k3", "body", 103),
        settle(103, Outcome::Authorised),
        pay(2, BEN, "k2", "body", 102),
    ] {
        let (changes, reply) = state.apply(&command, NOON);
        assert!(!matches!(reply, Reply::Refused(_)), "{command:?} is refused: {reply:?}");
        assert_eq!(changes.len(), 1);
    }
    state
}

#[test]
#[rustfmt::skip] // reads in columns
fn what_is_refused_is_refused_for_one_reason_and_leaves_the_stock_alone() {
    let late = HOLD_SECS * 1000;
    //    command                          after_ms  code
    check(hold(9, ANA, &[5, 1]),                  0, "seat-taken");
    check(hold(9, ANA, &[2]),                     0, "seat-taken");
    check(hold(9, ANA, &[4]),                     0, "seat-taken");
    check(hold(9, ANA, &[20]),                    0, "unknown-seat");
    check(hold(9, ANA, &[u32::MAX]),              0, "unknown-seat");
    check(hold(9, ANA, &[5, 5]),                  0, "duplicate-seat");
    check(hold(9, ANA, &[]),                      0, "no-seats");
    check(hold(9, ANA, &[5, 6, 7, 8, 9]),         0, "too-many-seats");
    check(hold(9, BEN, &[5, 6, 7, 8]),            0, "too-many-seats"); // on top of his three
    check(best(9, ANA, None, 0),                  0, "no-seats");
    check(best(9, ANA, None, 5),                  0, "too-many-seats");
    check(best(9, ANA, Some("roof"), 2),          0, "unknown-zone");
    check(view(9, ANA),                           0, "unknown-hold");
    check(view(1, BEN),                           0, "foreign-hold");
    check(view(3, ANA),                           0, "foreign-hold");
    check(view(3, BEN),                           0, "hold-bought");
    check(release(9, ANA),                        0, "unknown-hold");
    check(release(1, BEN),                        0, "foreign-hold");
    check(release(2, BEN),                        0, "payment-in-progress");
    check(release(3, BEN),                        0, "hold-bought");
    check(pay(9, ANA, "k", "b", 110),             0, "unknown-hold");
    check(pay(1, BEN, "k", "b", 110),             0, "foreign-hold");
    check(pay(2, BEN, "k", "b", 110),             0, "payment-in-progress");
    check(pay(2, BEN, "k2", "body", 110),         0, "payment-in-progress");
    check(pay(2, BEN, "k2", "other", 110),        0, "idempotency-mismatch");
    check(pay(3, BEN, "k3", "other", 110),        0, "idempotency-mismatch");
    check(pay(3, BEN, "k", "b", 110),             0, "hold-bought");
    check(Command::ViewOrder { order: id(9) },    0, "unknown-order");
    // At the last millisecond it still stands, and then it does not.
    check_done(view(1, ANA),               late - 1);
    check_done(pay(1, ANA, "k", "b", 110), late - 1);
    check_done(release(1, ANA),            late - 1);
}

#[track_caller]
fn check(command: Command, after_ms: u64, code: &str) {
    let mut state = house();
    let (before, saved) = (state.counts(), state.save());
    let now = NOON.plus(Duration::from_millis(after_ms));
    let (changes, reply) = state.apply(&command, now);
    let Reply::Refused(refusal) = reply else { panic!("{command:?} is not refused: {reply:?}") };
    assert_eq!(refusal.code(), code, "{command:?}");
    assert_eq!((state.counts(), changes), (before, vec![]), "{command:?}");
    assert_eq!(state.save(), saved, "{command:?}");
}

#[track_caller]
fn check_done(command: Command, after_ms: u64) {
    let mut state = house();
    let (_, reply) = state.apply(&command, NOON.plus(Duration::from_millis(after_ms)));
    assert!(!matches!(reply, Reply::Refused(_)), "{command:?} is refused: {reply:?}");
}

#[test]
fn a_hold_found_overdue_is_freed_and_refused_whoever_comes_first() {
    let late = NOON.plus_secs(HOLD_SECS);
    for command in [view(1, ANA), release(1, ANA), pay(1, ANA, "k", "b", 110)] {
        let mut state = house();
        let (changes, reply) = state.apply(&command, late);
        assert_eq!(changes, [Change::Expired { hold: id(1) }]);
        assert_eq!(reply, Reply::Refused(Refusal::HoldExpired));
        assert!(state.free().contains(0), "its seats are free again");
        let (_, reply) = state.apply(&command, late);
        assert_eq!(reply, Reply::Refused(Refusal::HoldExpired), "and it is still told why");
        let (_, reply) = state.apply(&view(1, BEN), late);
        assert_eq!(reply, Reply::Refused(Refusal::ForeignHold));
    }
}

#[test]
fn time_frees_a_hold_but_never_one_that_is_being_paid() {
    let mut state = house();
    assert_eq!(state.next_deadline(), Some(NOON.plus_secs(HOLD_SECS)));
    let late = NOON.plus_secs(10 * HOLD_SECS);
    assert_eq!(state.due(late).collect::<Vec<_>>(), [id(1)]);
    for hold in [id(1), id(2), id(3)] {
        state.apply(&Command::Expire { hold }, late);
    }
    let counts = Counts { free: 17, held: 0, paying: 2, sold: 1 };
    assert_eq!(state.counts(), counts);
    let (_, reply) = state.apply(&settle(102, Outcome::Authorised), late);
    assert!(matches!(reply, Reply::Order(OrderView { stage: OrderStage::Sold, .. })));
    assert_eq!(state.counts().sold, 3);
}

#[test]
fn a_declined_payment_gives_the_hold_back_with_the_time_that_was_left() {
    let mut state = house();
    state.apply(&pay(1, ANA, "k1", "b", 101), NOON.plus_secs(400));
    let (_, reply) = state.apply(&settle(101, Outcome::Declined), NOON.plus_secs(900));
    let Reply::Refused(declined @ Refusal::PaymentDeclined { .. }) = reply else {
        panic!("{reply:?}")
    };
    let (_, reply) = state.apply(&view(1, ANA), NOON.plus_secs(900));
    let Reply::Hold(hold) = reply else { panic!("{reply:?}") };
    assert_eq!(hold.until, NOON.plus_secs(1100), "200 seconds were left");
    let (_, reply) = state.apply(&pay(1, ANA, "k1", "b", 111), NOON.plus_secs(901));
    assert_eq!(reply, Reply::Refused(declined), "same key, same reply");
    let (_, reply) = state.apply(&pay(1, ANA, "k1b", "b", 112), NOON.plus_secs(901));
    assert_eq!(reply, Reply::Charge { order: id(112), amount: 400 });
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
    assert_eq!(state.apply(&Command::ListPaying, NOON).1, Reply::Paying(vec![id(102)]));
    state.apply(&settle(102, Outcome::Authorised), NOON);
    let (changes, reply) = state.apply(&again, NOON);
    assert!(changes.is_empty(), "nothing is sold twice");
    let Reply::Order(order) = reply else { panic!("{reply:?}") };
    assert_eq!((order.order, order.total), (id(102), 400));
    assert_eq!(state.apply(&Command::ListPaying, NOON).1, Reply::Paying(vec![]));
}

#[test]
fn a_late_word_of_a_settled_order_changes_nothing() {
    for outcome in [Outcome::Authorised, Outcome::Declined, Outcome::Unknown] {
        let mut state = house();
        let (changes, reply) = state.apply(&settle(103, outcome), NOON);
        assert!(changes.is_empty() && matches!(reply, Reply::Order(_)), "{outcome:?}: {reply:?}");
        state.apply(&settle(102, Outcome::Declined), NOON);
        let (changes, reply) = state.apply(&settle(102, outcome), NOON);
        assert!(changes.is_empty(), "{outcome:?}");
        assert_eq!(reply, Reply::Refused(Refusal::UnknownOrder), "{outcome:?}");
    }
}

#[test]
fn a_hold_is_tried_ten_times() {
    let mut state = house();
    for attempt in 0..ATTEMPTS_MAX as u8 {
        let (_, reply) =
            state.apply(&pay(1, ANA, &format!("k{attempt}"), "b", 120 + attempt), NOON);
        assert!(matches!(reply, Reply::Charge { .. }), "{attempt}: {reply:?}");
        state.apply(&settle(120 + attempt, Outcome::Declined), NOON);
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
            assert!(matches!(reply, Reply::Charge { .. }), "{round} {attempt}: {reply:?}");
            state.apply(&settle(order, Outcome::Declined), NOON);
            tried += 1;
        }
        state.apply(&release(10 + round, ANA), NOON);
    }
    assert_eq!(tried, DECLINED_PER_VISITOR_MAX);
    state.apply(&hold(20, ANA, &[9]), NOON.plus_secs(DECLINED_KEPT_SECS));
    let (_, reply) = state.apply(&pay(20, ANA, "k", "b", 250), NOON.plus_secs(DECLINED_KEPT_SECS));
    assert!(matches!(reply, Reply::Charge { .. }), "a day later: {reply:?}");
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
        let rows =
            vec![PlanRow { first: 0, len: 10, zone: 0 }, PlanRow { first: 10, len: 10, zone: 0 }];
        let zones = vec![Zone { id: "near".into(), price: 999 }];
        Arc::new(Plan::new(rows, zones, (0..20).collect(), "two rows".into()).unwrap())
    };
    let mut state = State::restore(dearer(), rules(), house().save()).unwrap();
    let (_, reply) = state.apply(&pay(1, ANA, "k", "b", 110), NOON);
    assert_eq!(reply, Reply::Charge { order: id(110), amount: 400 });
    let (_, reply) = state.apply(&Command::ViewOrder { order: id(103) }, NOON);
    let Reply::Order(order) = reply else { panic!("{reply:?}") };
    assert_eq!((order.total, order.prices), (200, vec![200]));
    // The same from the log alone.
    let (changes, _) = State::new(plan(), rules()).apply(&hold(1, ANA, &[0, 10]), NOON);
    let mut replayed = State::new(dearer(), rules());
    replayed.evolve(&changes[0], NOON).unwrap();
    let (_, reply) = replayed.apply(&pay(1, ANA, "k", "b", 110), NOON);
    assert_eq!(reply, Reply::Charge { order: id(110), amount: 300 });
}

#[test]
fn who_has_too_many_seats_is_told_in_which_holds() {
    let mut state = house();
    state.apply(&hold(9, ANA, &[5, 6, 7]), NOON);
    let (_, reply) = state.apply(&hold(10, ANA, &[8, 9]), NOON);
    let holds = vec![id(1), id(9)];
    let limit = Refusal::VisitorLimit { have: 5, asked: 2, max: 6, holds };
    assert_eq!(reply, Reply::Refused(limit));
}

#[test]
fn best_available_holds_seats_together_or_none() {
    let mut state = house();
    let (_, reply) = state.apply(&best(9, ANA, Some("near"), 3), NOON);
    let Reply::Hold(hold) = reply else { panic!("{reply:?}") };
    assert_eq!(hold.seats, [(5, 200), (6, 200), (7, 200)]);
    let (changes, reply) = state.apply(&best(10, 203, Some("near"), 3), NOON);
    assert_eq!(reply, Reply::Refused(Refusal::NotEnoughTogether { quantity: 3 }));
    assert!(changes.is_empty());
}

#[test]
fn a_second_owner_for_a_seat_is_an_error_and_never_a_state() {
    let mut state = house();
    let second =
        Change::Held { hold: id(9), sub: id(ANA), seats: vec![0], prices: vec![], until: NOON };
    assert_eq!(state.evolve(&second, NOON), Err(Misfit::SeatNotFree { seat: 0 }));
    let twice =
        Change::Held { hold: id(1), sub: id(ANA), seats: vec![9], prices: vec![], until: NOON };
    assert_eq!(house().evolve(&twice, NOON), Err(Misfit::Twice { id: id(1) }));
    let other = Change::Opened { plan: "three rows".into() };
    assert!(matches!(house().evolve(&other, NOON), Err(Misfit::OtherPlan { .. })));
    for lost in [
        Change::Released { hold: id(2) },
        Change::Expired { hold: id(3) },
        Change::Sold { order: id(103) },
        Change::PaymentUnknown { order: id(103) },
        Change::PaymentDeclined { order: id(9), until: NOON },
    ] {
        assert!(matches!(house().evolve(&lost, NOON), Err(Misfit::NotThere { .. })), "{lost:?}");
    }
}

#[test]
fn what_expired_or_was_declined_long_ago_is_forgotten() {
    let mut state = house();
    state.apply(&pay(1, ANA, "k1", "b", 101), NOON);
    state.apply(&settle(101, Outcome::Declined), NOON);
    state.apply(&Command::Expire { hold: id(1) }, NOON.plus_secs(HOLD_SECS));
    let saved = state.save();
    assert_eq!((saved.expired.len(), saved.declined.len()), (1, 1));
    state.apply(&hold(9, ANA, &[9]), NOON.plus_secs(2 * 24 * 3600));
    let saved = state.save();
    assert_eq!((saved.expired.len(), saved.declined.len()), (0, 0));
    assert!(saved.attempts.iter().all(|(_, key, _)| key != "k1"));
}

#[derive(Debug, Clone)]
struct Step {
    command: Command,
    after_ms: u64,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let holds = || 1..12_u8;
    let subs = || 200..204_u8;
    let orders = || 100..112_u8;
    let outcome =
        prop_oneof![Just(Outcome::Authorised), Just(Outcome::Declined), Just(Outcome::Unknown)];
    let command = prop_oneof![
        3 => (holds(), subs(), prop::collection::vec(0..22_u32, 0..5))
            .prop_map(|(n, sub, seats)| hold(n, sub, &seats)),
        2 => (holds(), subs(), 0..6_u32, prop::option::of(prop_oneof![Just("near"), Just("far")]))
            .prop_map(|(n, sub, quantity, zone)| best(n, sub, zone, quantity)),
        2 => (holds(), subs()).prop_map(|(n, sub)| release(n, sub)),
        1 => (holds(), subs()).prop_map(|(n, sub)| view(n, sub)),
        3 => (holds(), subs(), 0..4_u8, 0..2_u8, orders())
            .prop_map(|(n, sub, key, body, order)| {
                pay(n, sub, &format!("k{key}"), &format!("b{body}"), order)
            }),
        3 => (orders(), outcome).prop_map(|(order, outcome)| settle(order, outcome)),
        2 => holds().prop_map(|n| Command::Expire { hold: id(n) }),
    ];
    let step = (command, 0..200_000_u64).prop_map(|(command, after_ms)| Step { command, after_ms });
    prop::collection::vec(step, 1..80)
}

/// Who has which seat, told from holds and sold orders alone.
fn owners(state: &State) -> Vec<Seat> {
    let sold = state.orders.values().filter(|order| order.stage == OrderStage::Sold);
    let held = state.holds.values().flat_map(|hold| &hold.seats);
    let mut seats: Vec<Seat> = held.chain(sold.flat_map(|order| &order.seats)).copied().collect();
    seats.sort_unstable();
    seats
}

proptest! {
    #[test]
    fn no_seat_has_two_owners_none_is_lost_and_replay_gives_the_same(steps in steps()) {
        let mut state = State::new(plan(), rules());
        let mut replayed = State::new(plan(), rules());
        let mut now = NOON;
        let (mut used_holds, mut used_orders) = (BTreeSet::new(), BTreeSet::new());
        for Step { command, after_ms } in steps {
            // Ids are random in life; here each is used once.
            match &command {
                Command::Hold { hold, .. } if !used_holds.insert(*hold) => continue,
                Command::BeginPayment(begin) if !used_orders.insert(begin.order) => continue,
                _ => {}
            }
            now = now.plus(Duration::from_millis(after_ms));
            let before = state.counts();
            let (changes, reply) = state.apply(&command, now);
            for change in &changes {
                replayed.evolve(change, now).unwrap();
            }
            let seats = owners(&state);
            prop_assert!(seats.windows(2).all(|pair| pair[0] < pair[1]), "two owners: {seats:?}");
            for seat in 0..20 {
                let is_owned = seats.binary_search(&seat).is_ok();
                prop_assert_eq!(state.free().contains(seat), !is_owned);
            }
            let Counts { free, held, paying, sold } = state.counts();
            prop_assert_eq!(free + held + paying + sold, 20);
            prop_assert_eq!(free, state.free().count());
            let by_visitor: u32 = state.seats_by_visitor.values().sum();
            prop_assert_eq!(u64::from(by_visitor), held + paying + sold);
            prop_assert!(state.seats_by_visitor.values().all(|seats| *seats <= 6));
            if changes.is_empty() && matches!(reply, Reply::Refused(_)) {
                prop_assert_eq!(state.counts(), before, "a refusal changes nothing");
            }
        }
        prop_assert_eq!(replayed.save(), state.save());
        let restored = State::restore(plan(), rules(), state.save()).unwrap();
        prop_assert_eq!(restored.save(), state.save());
        prop_assert_eq!(restored.counts(), state.counts());
        prop_assert_eq!(&restored.deadlines, &state.deadlines);
        prop_assert_eq!(&restored.paying, &state.paying);
        prop_assert_eq!(&restored.bought, &state.bought);
        prop_assert_eq!(&restored.seats_by_visitor, &state.seats_by_visitor);
        prop_assert_eq!(&restored.holds_by_visitor, &state.holds_by_visitor);
        prop_assert_eq!(&restored.declined_by_visitor, &state.declined_by_visitor);
        prop_assert_eq!(&restored.free, &state.free);
    }
}
