use super::*;

fn block(seats: &[Seat], channel: &str) -> Command {
    Command::Block { pick: Pick::seats(seats.to_vec()), channel: channel.into() }
}

fn unblock(seats: &[Seat], channel: &str) -> Command {
    Command::Unblock { pick: Pick::seats(seats.to_vec()), channel: channel.into() }
}

fn at_box_office(n: u8, seats: &[Seat], channel: Option<&str>) -> Command {
    let want = Want::Pick(Pick::seats(seats.to_vec()));
    let channel = channel.map(str::to_owned);
    Command::HoldAtBoxOffice { hold: id(n), sub: id(250), want, channel }
}

#[track_caller]
fn code(state: &mut State, command: Command) -> &'static str {
    match state.apply(&command, NOON) {
        (changes, Reply::Refused(refusal)) if changes.is_empty() => refusal.code(),
        (_, reply) => panic!("{command:?} is not refused: {reply:?}"),
    }
}

#[test]
fn blocked_seats_are_counted_and_nobodys_until_they_are_put_on_sale() {
    let mut state = house();
    let (_, reply) = state.apply(&block(&[5, 6, 9], "press"), NOON);
    let runs = vec![Run { first: 5, len: 2 }, Run { first: 9, len: 1 }];
    assert_eq!(reply, Reply::Blocks(vec![Block { channel: "press".into(), runs: runs.clone() }]));
    assert_eq!((state.counts().blocked, state.counts().free), (3, 12));
    assert_eq!(code(&mut state, hold(9, ANA, &[5])), "seat-taken");
    let (_, reply) = state.apply(&best(9, ANA, Some("near"), 2), NOON);
    let Reply::Hold(seen) = reply else { panic!("{reply:?}") };
    assert_eq!(seen.seats, [(7, 200), (8, 200)], "the best that is not blocked");
    let (changes, _) = state.apply(&block(&[5], "press"), NOON);
    assert!(changes.is_empty(), "asked again, it is done already");
    assert_eq!(code(&mut state, unblock(&[5, 7], "press")), "not-blocked");
    assert_eq!(code(&mut state, unblock(&[5], "sponsor")), "not-blocked");
    state.apply(&unblock(&[5, 6, 9], "press"), NOON);
    assert_eq!(state.counts().blocked, 0);
    assert_eq!(state.apply(&Command::ListBlocks, NOON).1, Reply::Blocks(vec![]));
}

#[test]
fn what_is_held_or_sold_cannot_be_blocked_and_is_named() {
    let mut state = house();
    let (_, reply) = state.apply(&block(&[0, 2, 4, 5], "press"), NOON);
    assert_eq!(reply, Reply::Refused(Refusal::SeatTaken { seats: vec![0, 2, 4] }));
    assert!(state.free().contains(5), "all or none");
    state.apply(&block(&[5], "press"), NOON);
    assert_eq!(code(&mut state, block(&[5], "sponsor")), "seat-taken");
    assert_eq!(code(&mut state, block(&[], "press")), "no-seats");
    for at in 1..CHANNELS_MAX {
        state.blocked.insert(format!("channel {at}"), SeatSet::empty(20));
    }
    assert_eq!(code(&mut state, block(&[6], "one more")), "too-many-channels");
}

#[test]
fn a_box_office_is_bound_by_no_visitors_limit_and_may_sell_what_its_channel_kept() {
    let only = Rules { best_only_until: Some(NOON.plus_secs(60)), ..rules() };
    let mut state = State::new(plan(), only);
    state.apply(&block(&[0, 1], "press"), NOON);
    let seats: Vec<Seat> = (0..10).collect();
    assert_eq!(code(&mut state, at_box_office(1, &seats, None)), "seat-taken");
    assert_eq!(code(&mut state, at_box_office(1, &seats, Some("sponsor"))), "seat-taken");
    let (changes, reply) = state.apply(&at_box_office(1, &seats, Some("press")), NOON);
    assert!(matches!(reply, Reply::Hold(hold) if hold.seats.len() == 10));
    let kept = vec![Run { first: 0, len: 2 }];
    assert_eq!(changes[0], Change::Unblocked { channel: "press".into(), runs: kept });
    assert_eq!(state.counts(), Counts { free: 10, held: 10, ..Counts::default() });
    let seats: Vec<Seat> = (10..20).collect();
    let (_, reply) = state.apply(&at_box_office(2, &seats, None), NOON);
    assert!(matches!(reply, Reply::Hold(_)), "as often as it likes: {reply:?}");
}

#[test]
fn a_block_that_does_not_fit_is_an_error_and_never_a_state() {
    let run = |first, len| vec![Run { first, len }];
    let blocked = |runs| Change::Blocked { channel: "press".into(), runs };
    let taken = house().evolve(&blocked(run(0, 1)), NOON);
    assert_eq!(taken, Err(Misfit::SeatNotFree { seat: 0 }));
    assert!(house().evolve(&blocked(run(19, 2)), NOON).is_err());
    assert!(house().evolve(&blocked(run(5, u32::MAX)), NOON).is_err());
    let unblocked = Change::Unblocked { channel: "press".into(), runs: run(9, 1) };
    assert_eq!(house().evolve(&unblocked, NOON), Err(Misfit::SeatNotBlocked { seat: 9 }));
}
