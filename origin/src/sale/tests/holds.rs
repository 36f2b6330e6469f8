use super::*;

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
    let counts = Counts { free: 17, held: 0, paying: 2, sold: 1, blocked: 0 };
    assert_eq!(state.counts(), counts);
    let (_, reply) = state.apply(&settle(102, authorised()), late);
    assert!(matches!(reply, Reply::Order(order) if order.stage == OrderStage::Sold));
    assert_eq!(state.counts().sold, 3);
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

fn held(n: u8, seat: Seat) -> Change {
    let (hold, sub, terms) = (id(n), id(ANA), Terms::default());
    Change::Held { hold, sub, seats: vec![seat], prices: vec![], terms, until: NOON }
}

#[test]
fn a_second_owner_for_a_seat_is_an_error_and_never_a_state() {
    let mut state = house();
    let second = held(9, 0);
    assert_eq!(state.evolve(&second, NOON), Err(Misfit::SeatNotFree { seat: 0 }));
    let twice = held(1, 9);
    assert_eq!(house().evolve(&twice, NOON), Err(Misfit::Twice { id: id(1) }));
    let other = Change::Opened { plan: "three rows".into() };
    assert!(matches!(house().evolve(&other, NOON), Err(Misfit::OtherPlan { .. })));
    for lost in [
        Change::Released { hold: id(2) },
        Change::Expired { hold: id(3) },
        Change::Sold { order: id(103), reference: None, capture_at: None },
        Change::PaymentUnknown { order: id(103) },
        Change::PaymentDeclined { order: id(9), until: NOON, code: None, is_void_owed: false },
    ] {
        assert!(matches!(house().evolve(&lost, NOON), Err(Misfit::NotThere { .. })), "{lost:?}");
    }
}

#[test]
fn what_expired_or_was_declined_long_ago_is_forgotten() {
    let mut state = house();
    state.apply(&pay(1, ANA, "k1", "b", 101), NOON);
    state.apply(&settle(101, declined()), NOON);
    state.apply(&Command::Expire { hold: id(1) }, NOON.plus_secs(HOLD_SECS));
    let saved = state.save();
    assert_eq!((saved.expired.len(), saved.declined.len()), (1, 1));
    state.apply(&hold(9, ANA, &[9]), NOON.plus_secs(2 * 24 * 3600));
    let saved = state.save();
    assert_eq!((saved.expired.len(), saved.declined.len()), (0, 0));
    assert!(saved.attempts.iter().all(|(_, key, _)| key != "k1"));
}
