use super::*;

const CLEO: u8 = 203;
const DAN: u8 = 204;
const EVE: u8 = 205;

fn join(entry: u8, sub: u8, zone: Option<&str>, quantity: u32) -> Command {
    let zone = zone.map(str::to_owned);
    Command::Join { entry: id(entry), sub: id(sub), zone, quantity, contact: None }
}

fn join_by_mail(entry: u8, sub: u8) -> Command {
    let contact = Some(contact("zoe@example.net"));
    Command::Join { entry: id(entry), sub: id(sub), zone: None, quantity: 2, contact }
}

fn leave(entry: u8) -> Command {
    Command::Leave { entry: id(entry) }
}

fn accept(entry: u8) -> Command {
    Command::AcceptOffer { entry: id(entry) }
}

fn look(entry: u8) -> Command {
    Command::ViewEntry { entry: id(entry) }
}

/// A house in which the box office holds everything: 1 to 5 are pairs of the near row, and 6 the
/// far row.
fn full_house() -> State {
    let mut state = State::new(plan(), rules());
    for n in 1..=5_u8 {
        let first = u32::from(n - 1) * 2;
        state.apply(&held_elsewhere(n, &[first, first + 1]), NOON);
    }
    state.apply(&held_elsewhere(6, &(10..20).collect::<Vec<_>>()), NOON);
    assert_eq!(state.counts().free, 0);
    state
}

fn held_elsewhere(n: u8, seats: &[Seat]) -> Command {
    let want = Want::Pick(Pick::seats(seats.to_vec()));
    Command::HoldAtBoxOffice { hold: id(n), sub: id(250), want, channel: None }
}

/// Who got an offer of which seats.
fn offers(changes: &[Change]) -> Vec<(Id128, Vec<Seat>)> {
    let held = changes.iter().filter_map(|change| match change {
        Change::Held { hold, seats, .. } => Some((*hold, seats.clone())),
        _ => None,
    });
    held.collect()
}

#[track_caller]
fn stage(state: &mut State, entry: u8, now: Timestamp) -> EntryStage {
    match state.apply(&look(entry), now).1 {
        Reply::Entry(view) => view.stage,
        reply => panic!("{entry}: {reply:?}"),
    }
}

#[track_caller]
fn refused(state: &mut State, command: Command, code: &str) {
    match state.apply(&command, NOON).1 {
        Reply::Refused(refusal) => assert_eq!(refusal.code(), code, "{command:?}"),
        reply => panic!("{command:?} is not refused: {reply:?}"),
    }
}

#[test]
fn freed_seats_are_offered_in_turn_before_anybody_else_can_have_them() {
    let mut state = full_house();
    for (entry, sub) in [(51, ANA), (52, BEN), (53, CLEO)] {
        state.apply(&join(entry, sub, Some("near"), 2), NOON);
    }
    assert_eq!(stage(&mut state, 53, NOON), EntryStage::Waiting { ahead: 2 });
    let (changes, _) = state.apply(&release(1, 250), NOON.plus_secs(5));
    assert_eq!(offers(&changes), [(id(51), vec![0, 1])]);
    assert!(!state.free().contains(0), "in the very same step");
    let EntryStage::Offered(hold) = stage(&mut state, 51, NOON) else { panic!() };
    assert_eq!((hold.until, hold.is_offer), (NOON.plus_secs(605), true));
    let (changes, _) = state.apply(&Command::Expire { hold: id(2) }, NOON.plus_secs(HOLD_SECS));
    assert_eq!(offers(&changes), [(id(52), vec![2, 3])]);
    let (changes, _) = state.apply(&release(6, 250), NOON.plus_secs(9));
    assert_eq!(offers(&changes), [], "the far row is not what the third waits for");
    assert_eq!(stage(&mut state, 53, NOON), EntryStage::Waiting { ahead: 0 });
}

#[test]
fn an_offer_that_is_declined_or_lapses_passes_on_and_its_entry_is_gone() {
    for ends in [leave(51), Command::Expire { hold: id(51) }] {
        let mut state = full_house();
        for (entry, sub) in [(51, ANA), (52, BEN)] {
            state.apply(&join(entry, sub, None, 2), NOON);
        }
        state.apply(&release(1, 250), NOON);
        let (changes, _) = state.apply(&ends, NOON.plus_secs(600));
        assert_eq!(offers(&changes), [(id(52), vec![0, 1])], "{ends:?}");
        assert_eq!(stage(&mut state, 51, NOON), EntryStage::Lapsed);
        // The last in line lets it pass, too: then it is anybody's.
        let (changes, _) = state.apply(&leave(52), NOON.plus_secs(601));
        assert_eq!(offers(&changes), []);
        assert!(state.free().contains(0));
    }
}

#[test]
fn an_accepted_offer_is_a_hold_like_any_other_with_all_its_time() {
    let mut state = full_house();
    state.apply(&join(51, ANA, None, 2), NOON);
    refused(&mut state, accept(51), "no-offer");
    state.apply(&release(1, 250), NOON);
    let more = Command::Extend { hold: id(51), sub: id(ANA), by: Extension::MoreTime };
    refused(&mut state, more.clone(), "offer-open");
    refused(&mut state, pay(51, ANA, "k", "b", 119), "offer-open");
    let late = NOON.plus_secs(599);
    let (changes, _) = state.apply(&accept(51), late);
    assert_eq!(changes, [Change::Accepted { hold: id(51), until: late.plus_secs(600) }]);
    assert!(matches!(stage(&mut state, 51, late), EntryStage::Accepted(hold) if !hold.is_offer));
    let (changes, _) = state.apply(&accept(51), late);
    assert!(changes.is_empty(), "accepting again changes nothing");
    assert!(matches!(state.apply(&more, late).1, Reply::Hold(_)));
    let (_, reply) = state.apply(&pay(51, ANA, "k", "b", 120), late);
    assert!(matches!(reply, Reply::Charge { .. }), "{reply:?}");
    state.apply(&settle(120, authorised()), late);
    assert_eq!(stage(&mut state, 51, late), EntryStage::Bought { order: id(120) });
    refused(&mut state, accept(51), "hold-bought");
}

#[test]
fn an_offer_too_late_is_gone_whoever_says_so_first() {
    let mut state = full_house();
    state.apply(&join(51, ANA, None, 2), NOON);
    state.apply(&join(52, BEN, None, 2), NOON);
    state.apply(&release(1, 250), NOON);
    let (changes, reply) = state.apply(&accept(51), NOON.plus_secs(600));
    assert_eq!(reply, Reply::Refused(Refusal::HoldExpired));
    assert_eq!(changes[0], Change::Expired { hold: id(51) });
    assert_eq!(offers(&changes), [(id(52), vec![0, 1])]);
}

#[test]
fn nothing_is_offered_while_the_sale_rests_and_those_who_wait_come_first_when_it_goes_on() {
    let resting = Rules { is_offering: false, ..rules() };
    let mut state = full_house();
    state.apply(&join(51, ANA, None, 2), NOON);
    state.set_rules(resting);
    let (changes, _) = state.apply(&release(1, 250), NOON);
    assert_eq!(offers(&changes), [], "it could run out while nobody may buy");
    assert_eq!(stage(&mut state, 51, NOON), EntryStage::Waiting { ahead: 0 });
    // A restart while it rests makes none either.
    let mut state = State::restore(plan(), resting, state.save()).unwrap();
    assert_eq!(offers(&state.apply(&look(51), NOON).0), []);
    state.set_rules(rules());
    let (changes, reply) = state.apply(&hold(30, BEN, &[0, 1]), NOON.plus_secs(60));
    assert_eq!(offers(&changes), [(id(51), vec![0, 1])], "before whoever asks first");
    assert_eq!(reply, Reply::Refused(Refusal::SeatTaken { seats: vec![0, 1] }));
}

#[test]
fn a_hold_that_was_never_offered_is_no_entry() {
    let mut state = full_house();
    for command in [look(1), accept(1), leave(1)] {
        refused(&mut state, command, "unknown-entry");
    }
}

#[test]
fn word_of_an_offer_is_due_while_it_is_open_and_until_it_was_sent() {
    let told = |hold: u8, outcome| Command::Post(PostCommand::Told { hold: id(hold), outcome });
    let bounced = Delivered::Undeliverable { why: "no such mailbox".into() };
    for (ends, is_written) in [
        (told(51, Delivered::Sent), true),
        (told(51, bounced), true),
        (accept(51), true),
        (leave(51), true),
        (Command::Expire { hold: id(51) }, true),
        (look(51), false),
        (told(52, Delivered::Sent), false),
    ] {
        let mut state = full_house();
        state.apply(&join_by_mail(51, ANA), NOON);
        assert_eq!(words(&mut state), [], "there is no offer yet");
        state.apply(&release(1, 250), NOON.plus_secs(5));
        let due = words(&mut state);
        let [word] = &due[..] else { panic!("{due:?}") };
        assert_eq!((word.offer.hold, word.since), (id(51), NOON.plus_secs(5)));
        assert_eq!(word.contact, contact("zoe@example.net"));
        let mut again = State::restore(plan(), rules(), state.save()).unwrap();
        assert_eq!(words(&mut again), due, "a restart forgets nothing");
        let later = if matches!(ends, Command::Expire { .. }) { 605 } else { 6 };
        again.apply(&ends, NOON.plus_secs(later));
        assert_eq!(words(&mut again), if is_written { Vec::new() } else { due }, "{ends:?}");
    }
    let silent = Rules { post: PostRules::default(), ..rules() };
    let mut state = State::restore(plan(), silent, full_house().save()).unwrap();
    state.apply(&join_by_mail(51, ANA), NOON);
    state.apply(&release(1, 250), NOON);
    assert_eq!(words(&mut state), [], "nobody sends mail here");
}

fn words(state: &mut State) -> Vec<WordDue> {
    let list = Command::Post(PostCommand::List { after: None, limit: 9 });
    match state.apply(&list, NOON).1 {
        Reply::Post(work) => work.words,
        reply => panic!("{reply:?}"),
    }
}

#[test]
fn a_single_seat_passes_by_a_pair_and_the_pair_keeps_its_turn() {
    let mut state = full_house();
    state.apply(&join(51, ANA, Some("near"), 2), NOON);
    state.apply(&join(52, BEN, Some("near"), 1), NOON);
    let drop = |n: u8, seat| Command::Amend {
        hold: id(n),
        sub: id(250),
        add: Pick::default(),
        drop: Pick::seats(vec![seat]),
    };
    let (changes, _) = state.apply(&drop(1, 0), NOON);
    assert_eq!(offers(&changes), [(id(52), vec![0])], "for one it is enough");
    let (changes, _) = state.apply(&drop(2, 3), NOON);
    assert_eq!(offers(&changes), [], "for two it is not, and it is on sale");
    assert!(state.free().contains(3));
    let (changes, _) = state.apply(&drop(4, 6), NOON);
    assert_eq!(offers(&changes), [(id(51), vec![3, 6])], "with what nobody bought it is");
}

#[test]
fn one_release_may_serve_several_in_turn() {
    let mut state = full_house();
    for (entry, sub, quantity) in [(51, ANA, 3), (52, BEN, 4), (53, CLEO, 4), (54, DAN, 2)] {
        state.apply(&join(entry, sub, None, quantity), NOON);
    }
    let (changes, _) = state.apply(&release(6, 250), NOON);
    let to: Vec<(Id128, usize)> =
        offers(&changes).iter().map(|(entry, seats)| (*entry, seats.len())).collect();
    // Three and four of ten, and of the three that are left two to the first whom they suffice for.
    assert_eq!(to, [(id(51), 3), (id(52), 4), (id(54), 2)]);
    assert_eq!(stage(&mut state, 53, NOON), EntryStage::Waiting { ahead: 0 });
}

#[test]
fn whoever_has_enough_by_then_gets_no_offer_and_does_not_block_the_line() {
    let mut state = full_house();
    state.apply(&join(51, ANA, Some("near"), 4), NOON);
    state.apply(&join(52, BEN, Some("near"), 2), NOON);
    state.apply(&release(6, 250), NOON);
    state.apply(&hold(30, ANA, &[10, 11, 12]), NOON);
    // Four on top of three is more than the six that a visitor may have.
    state.apply(&release(1, 250), NOON);
    let (changes, _) = state.apply(&leave(52), NOON);
    assert_eq!(offers(&changes), []);
    let (changes, _) = state.apply(&release(2, 250), NOON);
    assert_eq!(changes[1..], [Change::Left { entry: id(51) }]);
}

#[test]
fn who_may_not_join_is_told_why() {
    let mut state = full_house();
    state.apply(&join(51, ANA, None, 2), NOON);
    refused(&mut state, join(52, BEN, None, 0), "no-seats");
    refused(&mut state, join(52, BEN, None, 5), "too-many-seats");
    refused(&mut state, join(52, BEN, Some("roof"), 1), "unknown-zone");
    refused(&mut state, join(52, ANA, None, 1), "already-waiting");
    state.apply(&release(1, 250), NOON);
    refused(&mut state, join(52, ANA, None, 1), "already-waiting"); // the offer is open
    state.apply(&release(2, 250), NOON);
    refused(&mut state, join(52, BEN, Some("near"), 2), "seats-available");
    refused(&mut state, join(52, BEN, None, 1), "seats-available");
    refused(&mut state, look(99), "unknown-entry");
    refused(&mut state, leave(99), "unknown-entry");
    let tight = Rules { waitlist_max: 1, ..rules() };
    let mut state = State::restore(plan(), tight, full_house().save()).unwrap();
    state.apply(&join(51, ANA, None, 2), NOON);
    refused(&mut state, join(52, EVE, None, 2), "waitlist-full");
    let (_, reply) = state.apply(&join(51, ANA, None, 2), NOON);
    assert!(matches!(reply, Reply::Entry(_)), "the same entry asked for again: {reply:?}");
}

#[test]
fn a_hundred_releases_serve_the_first_hundred_by_order_and_nobody_else_comes_in_between() {
    let row = PlanRow { first: 0, len: 200, zone: 0, block: 0 };
    let zones = vec![Zone { id: "near".into(), price: 100 }];
    let house = Plan::new(vec![row], zones, (0..200).collect(), "one row".into()).unwrap();
    let mut state = State::new(Arc::new(house), rules());
    let sub = |n: u32| {
        Id128::from_bytes([
            (n / 250) as u8 + 1,
            (n % 250) as u8,
            7,
            7,
            7,
            7,
            7,
            7,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
        ])
    };
    for n in 0..200 {
        let want = Want::Pick(Pick::seats(vec![n]));
        state.apply(&Command::Hold { hold: sub(n), sub: sub(n), want }, NOON);
    }
    let entry = |n: u32| sub(1000 + n);
    for n in 0..150 {
        let (entry, sub) = (entry(n), sub(500 + n));
        let command = Command::Join { entry, sub, zone: None, quantity: 1, contact: None };
        assert!(matches!(state.apply(&command, NOON).1, Reply::Entry(_)));
    }
    for n in 0..100 {
        let (changes, _) =
            state.apply(&Command::Release { hold: sub(n), sub: sub(n) }, NOON.plus_secs(1));
        assert_eq!(offers(&changes), [(entry(n), vec![n])]);
        let (_, reply) = state.apply(&best(9, EVE, None, 1), NOON.plus_secs(1));
        assert!(matches!(reply, Reply::Refused(Refusal::NotEnoughTogether { .. })), "{reply:?}");
    }
    // All hundred lapse at once: the next fifty get one each, the other seats are on sale.
    let late = NOON.plus_secs(601);
    let due: Vec<Id128> = state.due(late).collect();
    let mut offered = Vec::new();
    for hold in due {
        offered.extend(offers(&state.apply(&Command::Expire { hold }, late).0));
    }
    let offered: Vec<Id128> = offered.into_iter().map(|(entry, _)| entry).collect();
    assert_eq!(offered, (100..150).map(entry).collect::<Vec<_>>());
}
