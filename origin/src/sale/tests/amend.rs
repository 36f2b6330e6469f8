use super::*;

/// Ana's hold 1 of seats 0 and 1, held at noon, in a house with a floor for three.
fn ana_holds() -> State {
    let mut state = State::new(plan_with_floor(3), rules());
    state.apply(&hold(1, ANA, &[0, 1]), NOON);
    state.apply(&hold(2, BEN, &[5]), NOON);
    state
}

fn plan_with_floor(len: u32) -> Arc<Plan> {
    let plan = Arc::unwrap_or_clone(plan());
    let floor = Area { id: "floor".into(), first: 20, len, zone: 1 };
    Arc::new(plan.with_areas(vec![floor]).unwrap())
}

fn pick(seats: &[Seat], places: u32) -> Pick {
    let areas = if places == 0 { vec![] } else { vec![floor(places)] };
    Pick { seats: seats.to_vec(), areas }
}

fn amend(n: u8, sub: u8, add: Pick, drop: Pick) -> Command {
    Command::Amend { hold: id(n), sub: id(sub), add, drop }
}

fn extend(n: u8, sub: u8, by: Extension) -> Command {
    Command::Extend { hold: id(n), sub: id(sub), by }
}

#[track_caller]
fn held(reply: Reply) -> HoldView {
    match reply {
        Reply::Hold(hold) => hold,
        reply => panic!("{reply:?}"),
    }
}

#[test]
#[rustfmt::skip] // reads in columns
fn seats_come_and_go_all_or_none() {
    let none = || pick(&[], 0);
    //     add              drop             seats afterwards, or why not
    amends(pick(&[2], 0),   none(),          Ok(&[0, 1, 2]));
    amends(none(),          pick(&[0], 0),   Ok(&[1]));
    amends(pick(&[9, 3], 0), pick(&[0], 0),  Ok(&[1, 3, 9]));
    amends(pick(&[], 2),    none(),          Ok(&[0, 1, 20, 21])); // places on the floor
    amends(pick(&[4], 1),   pick(&[1], 0),   Ok(&[0, 4, 20]));
    amends(pick(&[2, 5], 0), none(),         Err("seat-taken"));   // 2 stays free
    amends(pick(&[2, 3, 4], 0), none(),      Err("too-many-seats"));
    amends(pick(&[2, 3, 4], 0), pick(&[1], 0), Ok(&[0, 2, 3, 4])); // four at most, and it is four
    amends(pick(&[1], 0),   none(),          Err("duplicate-seat"));
    amends(pick(&[1], 0),   pick(&[1], 0),   Err("duplicate-seat"));
    amends(none(),          pick(&[2], 0),   Err("seat-not-held"));
    amends(none(),          pick(&[], 1),    Err("seat-not-held"));
    amends(none(),          pick(&[0, 1], 0), Err("no-seats"));    // that is what releasing is for
    amends(none(),          none(),          Err("no-seats"));
    amends(pick(&[20], 0),  none(),          Err("unknown-seat")); // a place has no number
    amends(pick(&[], 4),    pick(&[0, 1], 0), Err("area-full"));
}

#[track_caller]
fn amends(add: Pick, drop: Pick, expected: Result<&[Seat], &str>) {
    let mut state = ana_holds();
    let (before, saved) = (state.free().clone(), state.save());
    let (_, reply) = state.apply(&amend(1, ANA, add.clone(), drop.clone()), NOON.plus_secs(300));
    match (reply, expected) {
        (Reply::Hold(hold), Ok(seats)) => {
            let found: Vec<Seat> = hold.seats.iter().map(|(seat, _)| *seat).collect();
            assert_eq!(found, seats, "{add:?} for {drop:?}");
            let priced =
                hold.seats.iter().all(|(seat, price)| *price == state.plan.price_of(*seat));
            assert!(priced, "{:?}", hold.seats);
            assert_eq!(hold.until, NOON.plus_secs(HOLD_SECS), "no more time by adding");
            let freed = drop.seats.iter().all(|seat| state.free().contains(*seat));
            assert!(freed && seats.iter().all(|seat| !state.free().contains(*seat)));
        }
        (Reply::Refused(refusal), Err(code)) => {
            assert_eq!(refusal.code(), code, "{add:?} for {drop:?}");
            assert_eq!((state.free(), state.save()), (&before, saved), "nothing happened");
        }
        (reply, expected) => panic!("{add:?} for {drop:?}: {reply:?}, expected {expected:?}"),
    }
}

#[test]
fn each_extension_is_given_once_and_none_beyond_the_cap() {
    let mut state = ana_holds();
    let (_, reply) = state.apply(&view(1, ANA), NOON);
    let seen = held(reply);
    assert_eq!(seen.extensions, [Extension::Checkout, Extension::MoreTime]);
    assert_eq!(seen.until_max, NOON.plus_secs(1200));
    let (_, reply) = state.apply(&extend(1, ANA, Extension::MoreTime), NOON.plus_secs(590));
    let seen = held(reply);
    assert_eq!((seen.until, seen.extensions), (NOON.plus_secs(900), vec![Extension::Checkout]));
    let (_, reply) = state.apply(&extend(1, ANA, Extension::MoreTime), NOON.plus_secs(600));
    assert_eq!(reply, Reply::Refused(Refusal::NoExtensionLeft));
    let (_, reply) = state.apply(&extend(1, ANA, Extension::Checkout), NOON.plus_secs(899));
    let seen = held(reply);
    assert_eq!((seen.until, seen.extensions), (NOON.plus_secs(1200), vec![]));
    assert_eq!(state.next_deadline(), Some(NOON.plus_secs(600)), "Ben's is not longer by it");
    let due: Vec<_> = state.due(NOON.plus_secs(1199)).collect();
    assert_eq!(due, [id(2)]);
    let (changes, _) = state.apply(&Command::Expire { hold: id(1) }, NOON.plus_secs(1200));
    assert_eq!(changes, [Change::Expired { hold: id(1) }]);
}

#[test]
fn an_extension_is_cut_at_the_cap_and_of_no_use_beyond_it() {
    let short = Rules { hold_max: Duration::from_secs(700), ..rules() };
    let mut state = State::new(plan(), short);
    state.apply(&hold(1, ANA, &[0]), NOON);
    let (_, reply) = state.apply(&extend(1, ANA, Extension::Checkout), NOON);
    let seen = held(reply);
    assert_eq!((seen.until, seen.extensions), (NOON.plus_secs(700), vec![]));
    let (_, reply) = state.apply(&extend(1, ANA, Extension::MoreTime), NOON);
    assert_eq!(reply, Reply::Refused(Refusal::NoExtensionLeft));
}

#[test]
fn a_hold_ends_at_its_second_and_not_a_moment_before() {
    let mut state = ana_holds();
    let end = NOON.plus_secs(HOLD_SECS);
    let before = Timestamp::from_millis(end.as_millis() - 1);
    assert_eq!(state.due(before).count(), 0);
    let (changes, _) = state.apply(&Command::Expire { hold: id(1) }, before);
    assert!(changes.is_empty(), "the timer may be early, the state is not");
    assert_eq!(state.due(end).collect::<Vec<_>>(), [id(1), id(2)]);
    state.apply(&Command::Expire { hold: id(1) }, end);
    assert!(state.free().contains(0));
}

#[test]
fn a_hold_from_before_extensions_is_read_and_stands_as_it_was_promised() {
    let json = r#"{"plan":null,"holds":[["AQEBAQEBAQEBAQEBAQEBAQ",
        {"sub":"ycnJycnJycnJycnJycnJyQ","seats":[0,1],"prices":[200,200],"until":1000600000,
         "attempts":0,"paying":null}]],"orders":[],"attempts":[],"expired":[],"declined":[]}"#;
    let mut state = State::restore(plan(), rules(), serde_json::from_str(json).unwrap()).unwrap();
    let (_, reply) = state.apply(&view(1, ANA), NOON);
    let seen = held(reply);
    assert_eq!((seen.until, seen.extensions), (NOON.plus_secs(600), vec![]));
    let json = r#"{"change":"held","hold":"AgICAgICAgICAgICAgICAg","sub":"ycnJycnJycnJycnJycnJyQ",
        "seats":[3],"until":1000600000}"#;
    state.evolve(&serde_json::from_str(json).unwrap(), NOON).unwrap();
    assert!(!state.free().contains(3));
}

#[test]
fn until_an_hour_is_over_nobody_chooses_seats() {
    let until = NOON.plus_secs(3600);
    let only = Rules { best_only_until: Some(until), ..rules() };
    let mut state = State::new(plan_with_floor(3), only);
    let refused = Reply::Refused(Refusal::BestAvailableOnly { until });
    assert_eq!(state.apply(&hold(1, ANA, &[0]), NOON).1, refused);
    held(state.apply(&best(2, ANA, None, 1), NOON).1);
    assert_eq!(state.apply(&amend(2, ANA, pick(&[9], 0), pick(&[], 0)), NOON).1, refused);
    held(state.apply(&amend(2, ANA, pick(&[], 1), pick(&[], 0)), NOON).1);
    held(state.apply(&hold(3, BEN, &[9]), until).1);
}

#[test]
fn a_floor_is_sold_by_count_and_never_below_nothing() {
    let mut state = State::new(plan_with_floor(5), rules());
    let places = |n: u8, sub: u8, seats: &[Seat], quantity| Command::Hold {
        hold: id(n),
        sub: id(sub),
        want: Want::Pick(pick(seats, quantity)),
    };
    let seen = held(state.apply(&places(1, ANA, &[3], 2), NOON).1);
    assert_eq!(seen.seats, [(3, 200), (20, 100), (21, 100)]);
    let (_, reply) = state.apply(&places(2, BEN, &[4], 4), NOON);
    assert_eq!(reply, Reply::Refused(Refusal::TooManySeats { asked: 5, max: 4 }));
    let (_, reply) = state.apply(&places(2, BEN, &[], 4), NOON);
    let full = Refusal::AreaFull { area: "floor".into(), asked: 4, left: 3 };
    assert_eq!(reply, Reply::Refused(full));
    held(state.apply(&places(2, BEN, &[], 3), NOON).1);
    state.apply(&Command::Expire { hold: id(1) }, NOON.plus_secs(600));
    let seen = held(state.apply(&places(4, ANA, &[], 1), NOON.plus_secs(600)).1);
    assert_eq!(seen.seats, [(20, 100)], "what came back is sold again");
    let unknown = Want::Pick(Pick {
        seats: vec![],
        areas: vec![AreaPick { area: "roof".into(), quantity: 1 }],
    });
    let (_, reply) = state.apply(&Command::Hold { hold: id(9), sub: id(BEN), want: unknown }, NOON);
    assert_eq!(reply, Reply::Refused(Refusal::UnknownArea));
}
