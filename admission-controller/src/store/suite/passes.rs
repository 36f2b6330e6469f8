//! Does each visitor count once, for as long as they are inside?

use super::*;

/// Runs all of these promises.
pub(super) async fn keeps(open: &impl AsyncFn() -> Store) {
    a_claim_counts_once(open).await;
    parallel_claims_count_once(open).await;
    passes_slide_up_to_their_maximum(open).await;
    passes_end_by_themselves(open).await;
    a_pass_that_is_taken_away_ends_at_once(open).await;
    all_passes_end_with_their_generation(open).await;
    a_visitor_comes_back_once(open).await;
    who_comes_back_stands_behind_who_came_back_before(open).await;
    a_pass_that_was_forgotten_counts_again(open).await;
    used_places_are_remembered_as_long_as_they_live(open).await;
    a_number_lets_in_one_visitor(open).await;
}

async fn a_claim_counts_once(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let line = busy_room(&store, "claims").await;
    assert_eq!(store.claim(line.clone(), record(1), NOW).await.unwrap(), Counted::First);
    let other = PassRecord { jti: Id128::from_bytes([99; 16]), ..record(1) };
    let repeat = store.claim(line.clone(), other.clone(), NOW).await.unwrap();
    assert_eq!(repeat, Counted::Repeat(record(1)), "the first pass is the pass");
    drop(store);
    let store = open().await;
    let repeat = store.claim(line.clone(), other.clone(), NOW).await.unwrap();
    assert_eq!(repeat, Counted::Repeat(record(1)), "after a crash as well");
    assert_eq!(inside(&store, &line).await, 1);
    let wrong = PassId { sub: other.sub, jti: other.jti };
    assert!(!store.end(line.clone(), wrong, EndReason::Left, NOW).await.unwrap());
    assert!(store.end(line.clone(), pass(1), EndReason::Left, NOW).await.unwrap());
    assert!(!store.end(line.clone(), pass(1), EndReason::Left, NOW).await.unwrap());
    assert_eq!(inside(&store, &line).await, 0);
    assert_eq!(store.claim(line.clone(), record(1), NOW).await.unwrap(), Counted::Ended);
    drop(store);
    let store = open().await;
    assert_eq!(store.claim(line.clone(), record(1), NOW).await.unwrap(), Counted::Ended);
    let (revoked, upto) = store.revoked_after(0, NOW).await.unwrap();
    assert!(revoked.iter().any(|revoked| revoked.jti == record(1).jti));
    let nothing_new = store.revoked_after(upto, NOW).await.unwrap();
    assert_eq!(nothing_new, (vec![], upto));
    let later = store.revoked_after(0, record(1).exp).await.unwrap().0;
    assert!(later.iter().all(|revoked| revoked.jti != record(1).jti));
}

async fn parallel_claims_count_once(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let line = busy_room(&store, "parallel").await;
    let mut claims = tokio::task::JoinSet::new();
    for attempt in 0..100_u8 {
        let (store, line) = (store.clone(), line.clone());
        let record = PassRecord { jti: Id128::from_bytes([attempt; 16]), ..record(1) };
        claims.spawn(async move { store.claim(line, record, NOW).await.unwrap() });
    }
    let outcomes = claims.join_all().await;
    let first = outcomes.iter().filter(|outcome| **outcome == Counted::First).count();
    assert_eq!(first, 1, "one of a hundred counts");
    let passes: std::collections::BTreeSet<Id128> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Counted::Repeat(record) => Some(record.jti),
            _ => None,
        })
        .collect();
    assert_eq!(passes.len(), 1, "and all others get its pass");
    assert_eq!(inside(&store, &line).await, 1);
}

async fn passes_slide_up_to_their_maximum(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let line = busy_room(&store, "renewals").await;
    store.claim(line.clone(), record(1), NOW).await.unwrap();
    let to = RenewTo { idle_secs: 600, max_secs: 900, generation: 1 };
    let renew = async |secs: u64, to: RenewTo| {
        let now = NOW.plus_secs(secs);
        let renewed = store.renew(line.clone(), record(1), to, now).await.unwrap();
        renewed.map(|record| record.exp.since(NOW).as_secs())
    };
    assert_eq!(renew(200, to).await, Some(800));
    assert_eq!(renew(500, to).await, Some(900), "no further than its maximum");
    assert_eq!(renew(400, to).await, Some(900), "and never back");
    assert_eq!(renew(500, RenewTo { generation: 2, ..to }).await, None, "all were revoked");
    drop(store);
    let store = open().await;
    let known = store.known(line.clone(), pass(1).sub, NOW.plus_secs(899)).await.unwrap();
    assert!(matches!(known.claimed, Some(Claimed::Inside(record)) if record.num == 1));
    assert_eq!(store.renew(line, record(1), to, NOW.plus_secs(900)).await.unwrap(), None);
}

async fn passes_end_by_themselves(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let line = busy_room(&store, "expiry").await;
    for visitor in 1..=3 {
        let exp = NOW.plus_secs(u64::from(visitor) * 100);
        store.claim(line.clone(), PassRecord { exp, ..record(visitor) }, NOW).await.unwrap();
    }
    let inside_at = async |secs| {
        let status = store.status(NOW.plus_secs(secs)).await.unwrap().rooms;
        status.iter().find(|status| is_of(status, &line)).unwrap().inside
    };
    assert_eq!(inside_at(99).await, 3);
    let to = RenewTo { idle_secs: 600, max_secs: 900, generation: 1 };
    store.renew(line.clone(), record(1), to, NOW.plus_secs(99)).await.unwrap();
    assert_eq!(inside_at(250).await, 2, "the first was renewed, the second has ended");
    assert_eq!(inside_at(700).await, 0);
    let again = store.claim(line.clone(), record(2), NOW.plus_secs(701)).await.unwrap();
    assert_eq!(again, Counted::Ended);
}

async fn a_pass_that_is_taken_away_ends_at_once(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let line = busy_room(&store, "revoked").await;
    let revoke = async |store: &Store, visitor| {
        let (line, sub) = (line.clone(), pass(visitor).sub);
        store.revoke(line, sub, EntryKind::Security, deed()).await.unwrap()
    };
    store.claim(line.clone(), record(1), NOW).await.unwrap();
    assert_eq!(revoke(&store, 1).await, Revocation::Ended);
    assert_eq!(inside(&store, &line).await, 0);
    assert_eq!(revoke(&store, 1).await, Revocation::EndedBefore);
    assert_eq!(revoke(&store, 2).await, Revocation::Voided, "who has not come in never will");
    let (revoked, _) = store.revoked_after(0, NOW).await.unwrap();
    let revoked = revoked.iter().find(|revoked| revoked.jti == pass(1).jti).unwrap();
    assert_eq!(revoked.from, NOW, "without grace");
    drop(store);
    let store = open().await;
    for visitor in [1, 2] {
        let claim = store.claim(line.clone(), record(visitor), NOW).await.unwrap();
        assert_eq!(claim, Counted::Ended, "{visitor}");
    }
    assert_eq!(store.claim(line.clone(), record(3), NOW).await.unwrap(), Counted::First);
    let older = LineId { line: line.line - 1, ..line.clone() };
    let sub = pass(3).sub;
    let elsewhere = store.revoke(older, sub, EntryKind::Security, deed()).await.unwrap();
    assert_eq!(elsewhere, Revocation::NoLine);
    let noted = store.entries(line.event, None, 9).await.unwrap();
    let noted = noted.iter().filter(|entry| entry.entry.kind == EntryKind::Security).count();
    assert_eq!(noted, 2, "what changed nothing is no deed");
}

async fn all_passes_end_with_their_generation(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let line = busy_room(&store, "generations").await;
    let room = async |store: &Store| {
        let status = store.status(NOW).await.unwrap().rooms;
        status.into_iter().find(|status| is_of(status, &line)).unwrap()
    };
    let generation = room(&store).await.room.pass_generation;
    let of = |visitor, generation| PassRecord { generation, ..record(visitor) };
    store.claim(line.clone(), of(1, generation), NOW).await.unwrap();
    store.claim(line.clone(), of(2, generation), NOW).await.unwrap();
    let revoked = store.revoke_all(line.event.clone(), EntryKind::Operator, deed()).await.unwrap();
    let Put::Done(revoked) = revoked else { panic!("{revoked:?}") };
    assert_eq!((revoked.pass_generation, revoked.version), (generation + 1, 2));
    assert_eq!(inside(&store, &line).await, 0);
    store.claim(line.clone(), of(3, generation + 1), NOW).await.unwrap();
    drop(store);
    let store = open().await;
    let status = room(&store).await;
    assert_eq!((status.room, status.inside), (*revoked, 1));
    let claim = store.claim(line.clone(), of(1, generation + 1), NOW).await.unwrap();
    assert_eq!(claim, Counted::Ended);
    let to = RenewTo { idle_secs: 600, max_secs: 900, generation: generation + 1 };
    let renew = async |visitor| store.renew(line.clone(), record(visitor), to, NOW).await.unwrap();
    assert_eq!((renew(2).await, renew(3).await.is_some()), (None, true));
    let known = store.known(line.clone(), pass(2).sub, NOW).await.unwrap();
    assert_eq!(known.claimed, Some(Claimed::Ended(None)));
    let none = store.revoke_all(event("nowhere"), EntryKind::Operator, deed()).await.unwrap();
    assert_eq!(none, Put::Missing);
}

async fn a_visitor_comes_back_once(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let line = busy_room(&store, "back").await;
    store.claim(line.clone(), record(1), NOW).await.unwrap();
    let over = record(1).exp;
    let claimed = async |store: &Store, visitor, now| {
        store.known(line.clone(), pass(visitor).sub, now).await.unwrap().claimed
    };
    let back = async |store: &Store, to| store.come_back(line.clone(), to, over).await.unwrap();
    let PassRecord { lane, num, first_at, exp, .. } = record(1);
    let lapsed = Some(Claimed::Ended(Some(Lapsed { lane, num, first_at, exp })));
    assert_eq!(claimed(&store, 1, over).await, lapsed);
    store.sweep(over).await.unwrap();
    assert_eq!(claimed(&store, 1, over).await, lapsed, "nor is it forgotten when it is counted");
    let with_another = ComeBack { num: 9, ..come_back(1) };
    assert_eq!(back(&store, with_another).await, None, "another number is not theirs");
    assert_eq!(back(&store, come_back(1)).await, Some(20));
    assert_eq!(back(&store, come_back(1)).await, Some(20), "asked again, the same");
    drop(store);
    let store = open().await;
    let at_20 = Back { lane, num, position: 20, had_pass: true };
    assert_eq!(claimed(&store, 1, over).await, Some(Claimed::Back(at_20)));
    assert_eq!(inside(&store, &line).await, 0, "nobody is inside meanwhile");
    let thief = PassRecord { num, ..record(2) };
    assert_eq!(store.claim(line.clone(), thief, over).await.unwrap(), Counted::NotTheirs);
    let exp = over.plus_secs(600);
    let second = PassRecord { exp, first_at: over, has_returned: true, ..record(1) };
    assert_eq!(store.claim(line.clone(), second.clone(), over).await.unwrap(), Counted::First);
    drop(store);
    let store = open().await;
    assert_eq!(claimed(&store, 1, over).await, Some(Claimed::Inside(second)));
    assert_eq!(
        claimed(&store, 1, exp).await,
        Some(Claimed::Ended(None)),
        "there is no second time"
    );
    assert_eq!(store.come_back(line.clone(), come_back(1), exp).await.unwrap(), None);
    // Whoever left, or was thrown out, had their visit.
    for (visitor, reason) in [(3, EndReason::Left), (4, EndReason::Revoked)] {
        store.claim(line.clone(), record(visitor), NOW).await.unwrap();
        store.end(line.clone(), pass(visitor), reason, NOW).await.unwrap();
        assert_eq!(store.come_back(line.clone(), come_back(visitor), NOW).await.unwrap(), None);
    }
    let revoke = async |visitor| {
        let sub = pass(visitor).sub;
        let deed = Deed { at: over, ..deed() };
        store.revoke(line.clone(), sub, EntryKind::Security, deed).await.unwrap()
    };
    store.claim(line.clone(), record(5), NOW).await.unwrap();
    assert_eq!(revoke(5).await, Revocation::Voided, "its way back is taken away");
    assert_eq!(back(&store, come_back(5)).await, None);
    assert_eq!(back(&store, come_back(6)).await, Some(21));
    assert_eq!(revoke(6).await, Revocation::Voided);
    assert_eq!(claimed(&store, 6, over).await, Some(Claimed::Ended(None)));
}

async fn who_comes_back_stands_behind_who_came_back_before(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let line = busy_room(&store, "back-together").await;
    let back = async |store: &Store, to| store.come_back(line.clone(), to, NOW).await.unwrap();
    let mut positions = Vec::new();
    for visitor in 1..=5 {
        positions.push(back(&store, come_back(visitor)).await.unwrap());
    }
    assert_eq!(positions, [20, 21, 22, 23, 24], "one at a position: no crowd enters together");
    drop(store);
    let store = open().await;
    assert_eq!(back(&store, come_back(6)).await, Some(25));
    assert_eq!(back(&store, ComeBack { at_most: 22, ..come_back(7) }).await, Some(22));
    assert_eq!(back(&store, ComeBack { at_least: 50, ..come_back(8) }).await, Some(50));
    let never = ComeBack { num: 101, ..come_back(9) };
    assert_eq!(back(&store, never).await, None, "that number was never handed out");
    store.claim(line.clone(), record(10), NOW).await.unwrap();
    assert_eq!(back(&store, come_back(10)).await, Some(0), "who is inside need not wait");
}

async fn a_pass_that_was_forgotten_counts_again(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let line = busy_room(&store, "forgotten").await;
    let to = RenewTo { idle_secs: 600, max_secs: 900, generation: 1 };
    let later = NOW.plus_secs(500);
    let renew = async |store: &Store, shown: PassRecord| {
        store.renew(line.clone(), shown, to, later).await.unwrap().map(|record| record.exp)
    };
    // What a pass says of itself has no number.
    let shown = PassRecord { num: 0, ..record(1) };
    assert_eq!(renew(&store, shown.clone()).await, Some(NOW.plus_secs(900)));
    assert_eq!(renew(&store, shown.clone()).await, Some(NOW.plus_secs(900)));
    assert_eq!(inside(&store, &line).await, 1, "counted once");
    drop(store);
    let store = open().await;
    assert_eq!(inside(&store, &line).await, 1);
    let claim = store.claim(line.clone(), record(1), later).await.unwrap();
    assert!(matches!(claim, Counted::Repeat(record) if record.jti == shown.jti), "as before");
    let other = PassRecord { jti: Id128::from_bytes([9; 16]), ..shown.clone() };
    assert_eq!(renew(&store, other).await, None, "a second one is none");
    let older = PassRecord { generation: 0, ..record(2) };
    assert_eq!(renew(&store, older).await, None, "all of before were taken away");
    let ended = PassRecord { exp: later, ..record(3) };
    assert_eq!(renew(&store, ended).await, None);
    store.end(line.clone(), pass(1), EndReason::Left, later).await.unwrap();
    assert_eq!(renew(&store, shown).await, None, "one that was ended is known");
}

async fn used_places_are_remembered_as_long_as_they_live(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let line = busy_room(&store, "memory").await;
    store.claim(line.clone(), record(1), NOW).await.unwrap();
    let place_exp = record(1).place_exp;
    let an_hour_on = place_exp.plus_secs(3600);
    store.sweep(an_hour_on.minus_secs(1)).await.unwrap();
    let known = async |store: &Store, visitor, now| {
        store.known(line.clone(), pass(visitor).sub, now).await.unwrap().claimed
    };
    let used = known(&store, 1, an_hour_on.minus_secs(1)).await;
    assert!(matches!(used, Some(Claimed::Ended(_))), "{used:?}");
    store.sweep(an_hour_on).await.unwrap();
    let forgotten = known(&store, 1, an_hour_on).await;
    assert_eq!(forgotten, None, "a place that has ended is refused for that");
    // A pass that was ended early is kept until it would have ended by itself.
    let long = PassRecord { exp: an_hour_on.plus_secs(600), ..record(2) };
    store.claim(line.clone(), long, NOW).await.unwrap();
    store.end(line.clone(), pass(2), EndReason::Left, NOW).await.unwrap();
    store.sweep(an_hour_on).await.unwrap();
    drop(store);
    let store = open().await;
    let (revoked, _) = store.revoked_after(0, an_hour_on).await.unwrap();
    assert!(revoked.iter().any(|revoked| revoked.jti == pass(2).jti), "edges go on to refuse it");
}

async fn a_number_lets_in_one_visitor(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let line = busy_room(&store, "one-each").await;
    let claim = async |store: &Store, visitor, lane, num| {
        let record = PassRecord { lane, num, ..record(visitor) };
        store.claim(line.clone(), record, NOW).await.unwrap()
    };
    use Lane::{Priority, Standard};
    assert_eq!(claim(&store, 1, Standard, 7).await, Counted::First);
    assert_eq!(claim(&store, 2, Standard, 7).await, Counted::NotTheirs, "it is used");
    assert_eq!(claim(&store, 2, Standard, 0).await, Counted::NotTheirs);
    assert_eq!(claim(&store, 2, Standard, 101).await, Counted::NotTheirs, "never handed out");
    assert_eq!(claim(&store, 2, Priority, 7).await, Counted::NotTheirs, "nor in this lane");
    store.end(line.clone(), pass(1), EndReason::Left, NOW).await.unwrap();
    assert_eq!(claim(&store, 2, Standard, 7).await, Counted::NotTheirs, "used is used");
    drop(store);
    let store = open().await;
    assert_eq!(claim(&store, 2, Standard, 7).await, Counted::NotTheirs, "after a crash as well");
    assert_eq!(claim(&store, 2, Standard, 8).await, Counted::First);
    let off = RoomSpec { mode: admission_api::RoomMode::Off, ..spec("one-each") };
    store.change(off, 1, deed()).await.unwrap();
    assert_eq!(claim(&store, 3, Standard, 500).await, Counted::First, "nobody counts");
    assert_eq!(claim(&store, 4, Standard, 0).await, Counted::First);
    assert_eq!(claim(&store, 5, Standard, 0).await, Counted::First);
    assert_eq!(claim(&store, 6, Standard, 8).await, Counted::NotTheirs, "but each once");
}

fn come_back(visitor: u8) -> ComeBack {
    let PassRecord { sub, lane, num, place_exp, .. } = record(visitor);
    ComeBack { sub, lane, num, at_least: 20, at_most: 90, place_exp }
}
