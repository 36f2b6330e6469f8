use super::*;
use crate::catalogue::facts::{EventDraft, ZonePrice};

const NOW: Timestamp = Timestamp::from_secs(1_000);

fn slug(text: &str) -> Slug {
    text.parse().unwrap()
}

fn id(text: &str) -> EventId {
    text.parse().unwrap()
}

fn facts(seating: Option<Seating>) -> EventFacts {
    let prices = ["cat1", "cat2", "cat3", "cat4"].map(|zone| (zone, 5_000));
    let prices = if seating.is_some() { prices.to_vec() } else { Vec::new() };
    let draft = EventDraft {
        title: "A – B".into(),
        category: slug("football"),
        competition: None,
        stage: None,
        description: None,
        starts_at_local: "2026-07-19T15:00".into(),
        time_zone: "UTC".into(),
        venue: Some(slug("dome")),
        performers: vec![slug("a")],
        currency: "USD".into(),
        prices: prices
            .into_iter()
            .map(|(zone, amount)| ZonePrice { zone: slug(zone), amount })
            .collect(),
        seating,
        best_only_until: None,
    };
    draft.check().unwrap()
}

fn venue() -> VenueFacts {
    VenueFacts { name: "Dome".into(), city: "Rome".into(), country: "it".into(), capacity: None }
}

fn imported(facts: EventFacts) -> Command {
    Command::Import(vec![
        Item::Venue { id: slug("dome"), facts: venue() },
        Item::Performer { id: slug("a"), facts: PerformerFacts { name: "A".into() } },
        Item::Event { id: id("game"), facts: Box::new(facts) },
    ])
}

/// A catalogue with one event that has seats.
fn state() -> State {
    let mut state = State::default();
    ask(&mut state, &imported(facts(Some(Seating::Bowl(2_000))))).unwrap();
    state
}

fn ask(state: &mut State, command: &Command) -> Result<Reply, Refusal> {
    let (changes, reply) = decide(state, command, NOW)?;
    changes.iter().for_each(|change| state.evolve(change).unwrap());
    Ok(reply)
}

fn set(facts: EventFacts, expect: Expect) -> Command {
    Command::SetEvent { id: id("game"), facts: Box::new(facts), expect, map: None }
}

fn status(status: Status) -> Command {
    Command::SetStatus { id: id("game"), status, expect: None }
}

#[test]
fn an_import_takes_in_what_is_new_once_and_leaves_alone_what_a_person_changed() {
    let mut state = state();
    let counts = |added, changed, unchanged, kept| {
        Ok(Reply::Imported(Imported { added, changed, unchanged, kept }))
    };
    let seated = facts(Some(Seating::Bowl(2_000)));
    assert_eq!(ask(&mut state, &imported(seated.clone())), counts(0, 0, 3, 0));
    let mut moved = seated.clone();
    moved.stage = Some("Final".into());
    assert_eq!(ask(&mut state, &imported(moved.clone())), counts(0, 1, 2, 0));
    let version = state.event(&id("game")).unwrap().version;
    let mut by_hand = moved.clone();
    by_hand.title = "A plays B".into();
    ask(&mut state, &set(by_hand, Expect::Version(version))).unwrap();
    assert_eq!(ask(&mut state, &imported(moved)), counts(0, 0, 3, 0), "as it was imported last");
    assert_eq!(ask(&mut state, &imported(seated)), counts(0, 0, 2, 1));
    assert_eq!(state.event(&id("game")).unwrap().facts.title, "A plays B");
}

#[test]
fn an_import_moves_no_seat_that_is_on_sale() {
    let mut state = state();
    ask(&mut state, &status(Status::OnSale)).unwrap();
    let reply = ask(&mut state, &imported(facts(Some(Seating::Bowl(3_000)))));
    let Ok(Reply::Imported(imported)) = reply else { panic!("{reply:?}") };
    assert_eq!((imported.changed, imported.kept), (0, 1));
}

#[test]
fn what_refers_to_nothing_is_refused() {
    let mut state = State::default();
    let event = Item::Event { id: id("game"), facts: Box::new(facts(None)) };
    let alone = Command::Import(vec![event]);
    assert_eq!(ask(&mut state, &alone), Err(Refusal::UnknownVenue(slug("dome"))));
    assert_eq!(state.seq(), 0, "nothing was changed");
    let new = set(facts(None), Expect::Absent);
    assert_eq!(ask(&mut state, &new), Err(Refusal::UnknownVenue(slug("dome"))));
}

#[test]
fn who_has_not_seen_the_last_version_changes_nothing() {
    let mut state = state();
    let version = state.event(&id("game")).unwrap().version;
    let seated = facts(Some(Seating::Bowl(2_000)));
    let exists = Err(Refusal::Exists("game".into()));
    assert_eq!(ask(&mut state, &set(seated.clone(), Expect::Absent)), exists);
    ask(&mut state, &set(seated.clone(), Expect::Version(version))).unwrap();
    let later = state.event(&id("game")).unwrap().version;
    assert!(later > version);
    let mismatch = Err(Refusal::VersionMismatch { id: "game".into(), version: later });
    assert_eq!(ask(&mut state, &set(seated, Expect::Version(version))), mismatch);
}

#[test]
#[rustfmt::skip] // reads in columns
fn a_sale_needs_seats_and_what_was_sold_does_not_move() {
    use Status::{Announced, Cancelled, OffSale, OnSale, Scheduled};
    let later = Scheduled { opens_at: Timestamp::from_secs(2_000) };
    let over = Scheduled { opens_at: NOW };
    //    before                          then       is
    check(&[],                            OnSale,    "done");
    check(&[],                            later,     "done");
    check(&[],                            over,      "past");
    check(&[later],                       OnSale,    "done");
    check(&[later],                       Announced, "done");
    check(&[OnSale],                      Announced, "began");
    check(&[OnSale],                      OffSale,   "done");
    check(&[OnSale, OffSale],             OnSale,    "done");
    check(&[OnSale],                      Cancelled, "done");
    check(&[Cancelled],                   OnSale,    "cancelled");
    check(&[Cancelled],                   Cancelled, "done");
}

#[track_caller]
fn check(before: &[Status], then: Status, expected: &str) {
    let mut state = state();
    for before in before {
        ask(&mut state, &status(*before)).unwrap();
    }
    let is = match ask(&mut state, &status(then)) {
        Ok(_) => "done",
        Err(Refusal::OpensInThePast) => "past",
        Err(Refusal::SaleBegan { .. }) => "began",
        Err(Refusal::Cancelled(_)) => "cancelled",
        Err(other) => panic!("{other}"),
    };
    assert_eq!(is, expected, "{before:?}, then {then:?}");
}

#[test]
fn seats_and_prices_are_what_they_are_once_a_sale_began() {
    let seated = facts(Some(Seating::Bowl(2_000)));
    let mut dearer = seated.clone();
    dearer.prices[0].amount += 1;
    let mut elsewhere = seated.clone();
    elsewhere.currency = "EUR".into();
    let mut renamed = seated.clone();
    renamed.title = "B – A".into();
    for (changed, what) in [
        (facts(Some(Seating::Bowl(3_000))), Some("seating")),
        (dearer, Some("prices")),
        (elsewhere, Some("currency")),
        (renamed, None),
    ] {
        let mut state = state();
        ask(&mut state, &status(Status::OnSale)).unwrap();
        ask(&mut state, &status(Status::OffSale)).unwrap();
        let version = state.event(&id("game")).unwrap().version;
        let changed = ask(&mut state, &set(changed, Expect::Version(version)));
        let refused = what.map(|what| Refusal::SaleBegan { event: id("game"), what });
        assert_eq!(changed.err(), refused);
    }
}

#[test]
fn every_zone_with_seats_has_a_price_and_every_price_has_seats() {
    let mut state = state();
    let version = state.event(&id("game")).unwrap().version;
    let mut facts = facts(Some(Seating::Bowl(2_000)));
    facts.prices.pop();
    let reply = ask(&mut state, &set(facts.clone(), Expect::Version(version)));
    assert!(
        matches!(&reply, Err(Refusal::NotSellable { missing, .. }) if missing.contains("cat4"))
    );
    for zone in ["cat4", "moon"] {
        facts.prices.push(ZonePrice { zone: slug(zone), amount: 1 });
    }
    let reply = ask(&mut state, &set(facts.clone(), Expect::Version(version)));
    assert!(
        matches!(&reply, Err(Refusal::NotSellable { missing, .. }) if missing.contains("moon"))
    );
    let hash = "0123456789abcdef".repeat(4);
    facts.seating = Some(Seating::Map(hash.clone()));
    let reply = ask(&mut state, &set(facts, Expect::Version(version)));
    assert_eq!(reply, Err(Refusal::UnknownMap(hash)));
}

#[test]
fn an_event_goes_on_sale_when_its_time_has_come() {
    let mut state = state();
    let opens_at = Timestamp::from_secs(2_000);
    ask(&mut state, &status(Status::Scheduled { opens_at })).unwrap();
    assert_eq!(decide(&state, &Command::OpenDue, NOW).unwrap().0, []);
    let open = Change::StatusSet { event: id("game"), status: Status::OnSale };
    assert_eq!(decide(&state, &Command::OpenDue, opens_at).unwrap().0, vec![open.clone()]);
    state.evolve(&open).unwrap();
    assert_eq!(decide(&state, &Command::OpenDue, opens_at).unwrap().0, []);
}

#[test]
fn the_configuration_opens_what_never_was_on_sale_and_nothing_else() {
    let mut state = state();
    let begin = Command::Begin(vec![id("game")]);
    ask(&mut state, &begin).unwrap();
    assert_eq!(state.event(&id("game")).unwrap().status, Status::OnSale);
    ask(&mut state, &status(Status::OffSale)).unwrap();
    ask(&mut state, &begin).unwrap();
    assert_eq!(state.event(&id("game")).unwrap().status, Status::OffSale, "a person took it off");
    let unknown = Command::Begin(vec![id("other")]);
    assert_eq!(ask(&mut state, &unknown), Err(Refusal::UnknownEvent(id("other"))));
}

#[test]
fn a_venue_that_changes_touches_its_events() {
    let mut state = state();
    let seen = state.seq();
    let facts = VenueFacts { name: "New Dome".into(), ..venue() };
    let version = state.venue(&slug("dome")).unwrap().version;
    let expect = Expect::Version(version);
    ask(&mut state, &Command::SetVenue { id: slug("dome"), facts, expect }).unwrap();
    let touched: Vec<_> = state.touched_since(seen).collect();
    assert_eq!(touched.len(), 1);
    assert_eq!(touched[0].venue.as_ref().unwrap().facts.name, "New Dome");
    assert_eq!(touched[0].version, seen, "its own version stays");
}

#[test]
fn changes_read_back_as_they_were_written() {
    let seated = facts(Some(Seating::Bowl(2_000)));
    let opens_at = Timestamp::from_secs(2_000);
    for change in [
        Change::VenueSet { venue: slug("dome"), facts: venue(), imported: Some("x".into()) },
        Change::EventSet { event: id("game"), facts: Box::new(seated), imported: None },
        Change::StatusSet { event: id("game"), status: Status::Scheduled { opens_at } },
        Change::StatusSet { event: id("game"), status: Status::OnSale },
        Change::Noted { event: id("game"), action: "block".into(), detail: "3".into() },
    ] {
        let entry = crate::catalogue::Entry { by: "ana".into(), change };
        let text = serde_json::to_string(&entry).unwrap();
        assert_eq!(
            serde_json::from_str::<crate::catalogue::Entry>(&text).unwrap(),
            entry,
            "{text}"
        );
    }
}
