//! What every store promises, told once. An implementation passes by handing over a way to open
//! it again, as a controller would after a crash: without closing it first.

use admission_api::{EndReason, Gap, Guard, NoPriority, Reason, RoomSpec, Suspicion};
use keys::{
    Beacon, EventId, Front, Id128, Lane, LaneFront, Owner, Phase, PollHint, Risk, Timestamp,
};

use super::{
    ComeBack, Counted, Deed, DrawRecord, Entry, EntryKind, Given, Grant, JudgedState, Law, LineId,
    NewBatch, PassId, Published, Put, Redeem, RenewTo, Restore, Restorer, Revocation, RoomStatus,
    Store, StoreError, Transfer, Turn,
};
use crate::claims::{Back, Claimed, Lapsed, PassRecord};
use crate::turns::{Mark, Turns};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// Runs all promises; each has an event of its own.
pub(super) async fn keeps_its_promises(open: impl AsyncFn() -> Store) {
    numbers_are_handed_out_once(&open).await;
    rooms_change_by_version(&open).await;
    configuration_counts_once(&open).await;
    a_re_created_room_has_another_line(&open).await;
    fronts_are_kept_while_they_may_be_followed(&open).await;
    gaps_are_kept_above_the_front(&open).await;
    a_claim_counts_once(&open).await;
    parallel_claims_count_once(&open).await;
    passes_slide_up_to_their_maximum(&open).await;
    passes_end_by_themselves(&open).await;
    a_pass_that_is_taken_away_ends_at_once(&open).await;
    all_passes_end_with_their_generation(&open).await;
    a_visitor_comes_back_once(&open).await;
    who_comes_back_stands_behind_who_came_back_before(&open).await;
    a_pass_that_was_forgotten_counts_again(&open).await;
    a_place_is_moved_by_a_code_once(&open).await;
    codes_are_bounded_and_end(&open).await;
    an_access_code_counts_once_for_a_visitor(&open).await;
    access_codes_have_a_time_an_end_and_a_bound(&open).await;
    the_priority_lane_is_for_those_who_were_given_a_number(&open).await;
    used_places_are_remembered_as_long_as_they_live(&open).await;
    suspicions_can_be_taken_back(&open).await;
    suspicions_are_forgotten_with_their_places(&open).await;
    who_is_seen_inside_is_told_of_and_moved_nowhere(&open).await;
    a_number_lets_in_one_visitor(&open).await;
    the_law_goes_on_where_it_was(&open).await;
    decisions_are_kept_in_order(&open).await;
    the_first_secret_of_a_draw_counts(&open).await;
    a_draw_is_opened_once(&open).await;
    a_beacon_is_given_once_and_before_the_opening(&open).await;
    gaps_of_drawn_numbers_are_kept_until_all_are_passed(&open).await;
}

async fn numbers_are_handed_out_once(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let epoch = epoch(&store).await;
    let line = room(&store, "numbers").await;
    assert_eq!(store.lease(line.clone(), Lane::Standard, 10, edge(), NOW).await.unwrap(), Some(1));
    assert_eq!(store.lease(line.clone(), Lane::Standard, 5, edge(), NOW).await.unwrap(), Some(11));
    assert_eq!(store.lease(line.clone(), Lane::Suspect, 5, edge(), NOW).await.unwrap(), Some(1));
    let older = LineId { line: line.line - 1, ..line.clone() };
    assert_eq!(store.lease(older, Lane::Standard, 5, edge(), NOW).await.unwrap(), None);
    drop(store);
    let store = open().await;
    assert!(self::epoch(&store).await > epoch, "each start is an epoch of its own");
    assert_eq!(issued(&store, &line).await, [0, 15, 5]);
    assert_eq!(store.lease(line, Lane::Standard, 1, edge(), NOW).await.unwrap(), Some(16));
}

async fn rooms_change_by_version(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let spec = spec("versions");
    let Put::Done(first) = store.create(spec.clone(), deed()).await.unwrap() else { panic!() };
    assert_eq!(store.create(spec.clone(), deed()).await.unwrap(), Put::Conflict { version: 1 });
    let paused = RoomSpec { is_paused: true, ..spec.clone() };
    let Put::Done(second) = store.change(paused.clone(), 1, deed()).await.unwrap() else {
        panic!()
    };
    assert_eq!((second.version, second.line), (2, first.line), "the line goes on");
    assert_eq!(store.change(spec, 1, deed()).await.unwrap(), Put::Conflict { version: 2 });
    let unknown = RoomSpec { event: event("nowhere"), ..paused.clone() };
    assert_eq!(store.change(unknown, 1, deed()).await.unwrap(), Put::Missing);
    let noted = store.entries(paused.event.clone(), None, 9).await.unwrap();
    let noted: Vec<&str> = noted.iter().map(|entry| entry.entry.reason.as_str()).collect();
    assert_eq!(noted, [&*format!("done, line {}", first.line), "done"], "what was done, only");
    drop(store);
    let status = open().await.status(NOW).await.unwrap().rooms;
    let kept = status.iter().find(|status| status.room.spec.event == paused.event).unwrap();
    assert_eq!(kept.room, *second);
}

async fn configuration_counts_once(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let configured = spec("configured");
    assert!(store.configure(configured.clone(), NOW).await.unwrap().is_some());
    let changed = RoomSpec { title: "by an operator".into(), ..configured.clone() };
    store.change(changed, 1, deed()).await.unwrap();
    drop(store);
    let store = open().await;
    assert_eq!(store.configure(configured.clone(), NOW).await.unwrap(), None, "operators win");
    let newer = RoomSpec { title: "by a new file".into(), ..configured.clone() };
    let room = store.configure(newer, NOW).await.unwrap().unwrap();
    assert_eq!((room.spec.title.as_str(), room.version), ("by a new file", 3));
    store.delete(event("configured"), None, deed()).await.unwrap();
    let noted = store.entries(event("configured"), None, 9).await.unwrap();
    let kinds: Vec<EntryKind> = noted.iter().map(|entry| entry.entry.kind).collect();
    use EntryKind::{Config, Operator};
    assert_eq!(kinds, [Config, Operator, Config, Operator]);
    let again = RoomSpec { title: "by a new file".into(), ..configured };
    assert_eq!(store.configure(again, NOW).await.unwrap(), None, "deleted stays deleted");
}

async fn a_re_created_room_has_another_line(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let generation = async || {
        let status = store.status(NOW).await.unwrap().rooms;
        let lines = status.iter().find(|status| status.room.spec.event == event("lines"));
        lines.unwrap().room.pass_generation
    };
    let old = room(&store, "lines").await;
    let old_generation = generation().await;
    store.claim(old.clone(), record(1), NOW).await.unwrap();
    store.lease(old.clone(), Lane::Standard, 9, edge(), NOW).await.unwrap();
    let delete = async |version| store.delete(old.event.clone(), version, deed()).await.unwrap();
    assert_eq!(delete(Some(9)).await, Put::Conflict { version: 1 });
    let Put::Done(deleted) = delete(Some(1)).await else { panic!() };
    assert_eq!(delete(None).await, Put::Missing);
    assert_eq!(store.claim(old.clone(), record(2), NOW).await.unwrap(), Counted::NoLine);
    let new = room(&store, "lines").await;
    assert!(new.line > old.line);
    let status = store.status(NOW).await.unwrap().rooms;
    let room = &status.iter().find(|status| is_of(status, &new)).unwrap().room;
    assert!(room.pass_generation > deleted.pass_generation, "passes of before are void");
    assert!(generation().await > old_generation, "passes of before do not fit");
    assert_eq!(issued(&store, &new).await, [0; 3]);
    store.lease(new.clone(), Lane::Standard, 9, edge(), NOW).await.unwrap();
    assert_eq!(store.claim(new, record(1), NOW).await.unwrap(), Counted::First);
}

async fn fronts_are_kept_while_they_may_be_followed(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let line = room(&store, "fronts").await;
    let epoch = epoch(&store).await;
    for seq in 1..=3_u64 {
        let front = front(&line, epoch, seq, NOW.plus_secs(seq * 6));
        store.put_fronts(vec![published(front)]).await.unwrap();
    }
    let again = front(&line, epoch, 3, NOW.plus_secs(60));
    let refused = store.put_fronts(vec![published(again)]).await;
    assert!(matches!(refused, Err(StoreError::Superseded { seq: 3, .. })), "{refused:?}");
    let older = front(&line, epoch - 1, 9, NOW.plus_secs(60));
    assert!(
        store.put_fronts(vec![published(older)]).await.is_err(),
        "another controller is leader"
    );
    drop(store);
    let kept = open().await.fronts(line).await.unwrap();
    let seqs: Vec<u64> = kept.iter().map(|published| published.front.seq).collect();
    assert_eq!(seqs, [2, 3], "the first line was over when the third was put");
}

async fn gaps_are_kept_above_the_front(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let line = busy_room(&store, "gaps").await;
    let gap = |first, count| Gap {
        event: line.event.clone(),
        line: line.line,
        lane: Lane::Standard,
        first,
        count,
    };
    store.give_back(edge(), vec![gap(3, 5), gap(50, 10), gap(3, 5)]).await.unwrap();
    // The front below is at 10.
    let at_10 = front(&line, epoch(&store).await, 1, NOW);
    store.put_fronts(vec![published(at_10)]).await.unwrap();
    drop(store);
    assert_eq!(open().await.gaps(line.clone()).await.unwrap(), [gap(50, 10)]);
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

fn come_back(visitor: u8) -> ComeBack {
    let PassRecord { sub, lane, num, place_exp, .. } = record(visitor);
    ComeBack { sub, lane, num, at_least: 20, at_most: 90, place_exp }
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

async fn a_place_is_moved_by_a_code_once(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let line = busy_room(&store, "moved").await;
    let until = NOW.plus_secs(600);
    let transfer =
        |visitor, hash| Transfer { hash: [hash; 32], place: place(&line, visitor), until };
    let opened = async |store: &Store, visitor, hash| {
        store.open_transfer(line.clone(), transfer(visitor, hash), NOW).await.unwrap()
    };
    let redeem_as = async |store: &Store, hash, asker: &str, now| {
        let fresh_jti = Id128::from_bytes([hash; 16]);
        let redeem = Redeem { hash: [hash; 32], asker: asker.to_owned(), fresh_jti };
        store.redeem_transfer(line.clone(), redeem, now).await.unwrap()
    };
    let redeem = async |store: &Store, hash, now| redeem_as(store, hash, "laptop", now).await;
    let moves = async |store: &Store, visitor| {
        store.known(line.clone(), pass(visitor).sub, NOW).await.unwrap().moves
    };
    assert!(opened(&store, 1, 1).await);
    assert_eq!(moves(&store, 1).await, 0, "nothing has happened yet");
    drop(store);
    let store = open().await;
    let moved = redeem(&store, 1, NOW).await.unwrap();
    let expected = keys::Place { moves: 1, ..place(&line, 1) };
    assert_eq!((moved.place, moved.is_inside), (expected, false));
    let stolen = redeem_as(&store, 1, "another", NOW).await;
    assert_eq!(stolen, None, "a code is good once");
    let again = redeem(&store, 1, NOW).await.unwrap();
    assert_eq!(again.place.moves, 1, "whose answer was lost asks again");
    assert!(opened(&store, 1, 2).await);
    assert!(opened(&store, 1, 3).await);
    assert_eq!(redeem(&store, 2, NOW).await, None, "a newer one takes its place");
    assert_eq!(redeem(&store, 3, until).await, None, "its time is over");
    assert_eq!(moves(&store, 1).await, 1);
    // A pass goes on under another id, and the one of before is void.
    store.claim(line.clone(), record(2), NOW).await.unwrap();
    assert!(opened(&store, 2, 4).await);
    assert!(redeem(&store, 4, NOW).await.unwrap().is_inside);
    assert!(redeem(&store, 4, NOW).await.unwrap().is_inside);
    let (revoked, _) = store.revoked_after(0, NOW).await.unwrap();
    assert!(revoked.iter().any(|revoked| revoked.jti == pass(2).jti && revoked.from == NOW));
    drop(store);
    let store = open().await;
    assert_eq!((moves(&store, 1).await, moves(&store, 2).await), (1, 1));
    let jti = Id128::from_bytes([4; 16]);
    let claimed = store.known(line.clone(), pass(2).sub, NOW).await.unwrap().claimed;
    assert_eq!(claimed, Some(Claimed::Inside(PassRecord { jti, ..record(2) })));
    assert_eq!(inside(&store, &line).await, 1);
    let to = RenewTo { idle_secs: 600, max_secs: 900, generation: 1 };
    let renewed = store.renew(line.clone(), record(2), to, NOW.plus_secs(1)).await.unwrap();
    assert_eq!(renewed, None, "the old pass is none");
}

async fn codes_are_bounded_and_end(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let line = busy_room(&store, "codes").await;
    let opened = async |visitor: u8, now: Timestamp| {
        let (place, until) = (place(&line, visitor), now.plus_secs(600));
        let transfer = Transfer { hash: [visitor; 32], place, until };
        store.open_transfer(line.clone(), transfer, now).await.unwrap()
    };
    // In tests a line has room for three.
    for visitor in 1..=3 {
        assert!(opened(visitor, NOW).await);
    }
    assert!(!opened(4, NOW).await);
    assert!(opened(1, NOW).await, "one's own makes room");
    assert!(opened(4, NOW.plus_secs(600)).await, "and those whose time is over");
    let elsewhere = LineId { line: line.line + 1, ..line.clone() };
    let fresh_jti = Id128::from_bytes([1; 16]);
    let redeem = Redeem { hash: [4; 32], asker: "laptop".to_owned(), fresh_jti };
    let none = store.redeem_transfer(elsewhere, redeem, NOW).await.unwrap();
    assert_eq!(none, None);
}

fn batch(uses: u32) -> NewBatch {
    NewBatch { label: "fan club | 2026".into(), uses, valid_from: None, valid_until: None }
}

fn grant(visitor: u8, hash: u8) -> Grant {
    Grant { sub: pass(visitor).sub, hash: [hash; 32], is_ticket: false, at_most: None }
}

async fn an_access_code_counts_once_for_a_visitor(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let line = busy_room(&store, "access").await;
    let granted = async |store: &Store, grant| store.grant(line.clone(), grant, NOW).await.unwrap();
    let hashes = vec![[1; 32], [2; 32], [2; 32]];
    let added = store.add_codes(line.clone(), batch(2), hashes, deed()).await.unwrap().unwrap();
    assert_eq!(added.added, 2, "one was there twice");
    assert_eq!(granted(&store, grant(1, 9)).await, Err(NoPriority::UnknownCode));
    assert_eq!(granted(&store, grant(1, 1)).await, Ok(1));
    assert_eq!(granted(&store, grant(1, 1)).await, Ok(1), "a retry gets the same");
    drop(store);
    let store = open().await;
    assert_eq!(granted(&store, grant(1, 1)).await, Ok(1), "after a crash as well");
    assert_eq!(granted(&store, grant(2, 1)).await, Ok(2), "two may use it");
    assert_eq!(granted(&store, grant(3, 1)).await, Err(NoPriority::CodeUsed));
    assert_eq!(
        granted(&store, Grant { at_most: Some(2), ..grant(3, 2) }).await,
        Err(NoPriority::LaneFull)
    );
    store.claim(line.clone(), record(4), NOW).await.unwrap();
    assert_eq!(granted(&store, grant(4, 2)).await, Err(NoPriority::PlaceUsed));
    // A ticket need not be known, and counts once.
    let ticket = |visitor| Grant { is_ticket: true, ..grant(visitor, 77) };
    assert_eq!(granted(&store, ticket(5)).await, Ok(3));
    assert_eq!(granted(&store, ticket(5)).await, Ok(3));
    assert_eq!(granted(&store, ticket(6)).await, Err(NoPriority::CodeUsed));
    assert_eq!(issued(&store, &line).await, [3, 100, 0]);
    let batches = store.code_batches(line.clone()).await.unwrap();
    let counts: Vec<_> =
        batches.iter().map(|batch| (batch.codes, batch.used, batch.uses)).collect();
    assert_eq!((counts, batches[0].label.as_str()), (vec![(2, 2, 2)], "fan club | 2026"));
    store.delete(line.event.clone(), None, deed()).await.unwrap();
    let new = busy_room(&store, "access").await;
    assert_eq!(store.code_batches(new.clone()).await.unwrap(), []);
    let gone = store.grant(new, grant(7, 2), NOW).await.unwrap();
    assert_eq!(gone, Err(NoPriority::UnknownCode), "codes go with their room");
}

async fn access_codes_have_a_time_an_end_and_a_bound(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let line = busy_room(&store, "access-ends").await;
    let (from, until) = (Some(NOW.plus_secs(10)), Some(NOW.plus_secs(20)));
    let timed = NewBatch { valid_from: from, valid_until: until, ..batch(1) };
    let add = async |batch, hashes: Vec<[u8; 32]>| {
        store.add_codes(line.clone(), batch, hashes, deed()).await.unwrap().unwrap()
    };
    add(timed, vec![[1; 32]]).await;
    let granted =
        async |grant, secs| store.grant(line.clone(), grant, NOW.plus_secs(secs)).await.unwrap();
    assert_eq!(granted(grant(1, 1), 9).await, Err(NoPriority::CodeNotYet));
    assert_eq!(granted(grant(1, 1), 20).await, Err(NoPriority::CodeOver));
    assert_eq!(granted(grant(1, 1), 19).await, Ok(1));
    let second = add(batch(1), vec![[2; 32], [3; 32], [4; 32]]).await.batch;
    let revoked = store.revoke_code(line.clone(), [2; 32], deed()).await.unwrap();
    assert!(revoked && !store.revoke_code(line.clone(), [9; 32], deed()).await.unwrap());
    assert_eq!(granted(grant(2, 2), 0).await, Err(NoPriority::CodeRevoked));
    assert_eq!(granted(grant(2, 3), 0).await, Ok(2));
    assert!(store.revoke_batch(line.clone(), second, deed()).await.unwrap());
    assert!(!store.revoke_batch(line.clone(), 99, deed()).await.unwrap());
    assert_eq!(granted(grant(3, 4), 0).await, Err(NoPriority::CodeRevoked));
    assert_eq!(granted(grant(2, 3), 0).await, Ok(2), "what was given stays");
    // In tests a line has room for ten.
    let many = (10..=30).map(|hash| [hash; 32]).collect();
    assert_eq!(add(batch(1), many).await.added, 6);
    let batches = store.code_batches(line.clone()).await.unwrap();
    let counts: Vec<_> = batches.iter().map(|batch| (batch.codes, batch.is_revoked)).collect();
    assert_eq!(counts, [(1, false), (3, true), (6, false)]);
    assert_eq!((batches[0].valid_from, batches[0].valid_until), (from, until));
    let elsewhere = LineId { line: line.line + 1, ..line.clone() };
    let none = store.add_codes(elsewhere, batch(1), vec![[1; 32]], deed()).await.unwrap();
    assert_eq!(none, None);
}

async fn the_priority_lane_is_for_those_who_were_given_a_number(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let line = busy_room(&store, "by-name").await;
    store.add_codes(line.clone(), batch(9), vec![[1; 32]], deed()).await.unwrap();
    for visitor in [1, 2] {
        store.grant(line.clone(), grant(visitor, 1), NOW).await.unwrap().unwrap();
    }
    let claim = async |visitor, num| {
        let record = PassRecord { lane: Lane::Priority, num, ..record(visitor) };
        store.claim(line.clone(), record, NOW).await.unwrap()
    };
    assert_eq!(claim(3, 1).await, Counted::NotTheirs, "an edge's key alone opens nothing");
    assert_eq!(claim(2, 1).await, Counted::NotTheirs);
    assert_eq!(claim(1, 1).await, Counted::First);
    assert_eq!(claim(2, 2).await, Counted::First);
}

fn place(line: &LineId, visitor: u8) -> keys::Place {
    let PassRecord { sub, lane, num, .. } = record(visitor);
    keys::Place {
        iss: edge(),
        aud: line.event.clone(),
        sub,
        lane,
        num,
        iat: NOW,
        exp: NOW.plus_secs(3600),
        line: line.line,
        fpr: "x".to_owned(),
        back: None,
        moves: 0,
    }
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

async fn suspicions_can_be_taken_back(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let line = busy_room(&store, "suspicions").await;
    store.claim(line.clone(), record(3), NOW).await.unwrap();
    let all = (1..=3).map(|visitor| suspicion(&line, visitor)).collect::<Vec<_>>();
    assert_eq!(store.suspect(all.clone()).await.unwrap().added, 3);
    assert_eq!(store.suspect(all).await.unwrap().added, 0, "a repeated sync changes nothing");
    let why = || Restorer { who: "sam".into(), why: "a regular".into(), at: NOW };
    let restore = async |visitor| store.restore(line.event.clone(), pass(visitor).sub, why()).await;
    assert!(matches!(restore(1).await.unwrap(), Restore::Done(_)));
    assert!(matches!(restore(1).await.unwrap(), Restore::Done(_)), "again: the same answer");
    assert_eq!(restore(3).await.unwrap(), Restore::AdmittedBefore);
    assert_eq!(restore(4).await.unwrap(), Restore::Missing);
    drop(store);
    let store = open().await;
    let page = store.suspicions(Some(line.event.clone()), None, 2).await.unwrap();
    let states: Vec<JudgedState> = page.iter().map(|judged| judged.state).collect();
    assert_eq!(states, [JudgedState::AdmittedBefore, JudgedState::Moved], "newest first");
    let rest = store.suspicions(Some(line.event.clone()), Some(page[1].id), 9).await.unwrap();
    assert_eq!((rest.len(), rest[0].why.as_deref()), (1, Some("a regular")));
    let flags = async |visitor| {
        let known = store.known(line.clone(), pass(visitor).sub, NOW).await.unwrap();
        known.suspicion.map(|flag| flag.is_restored)
    };
    assert_eq!((flags(1).await, flags(2).await, flags(3).await), (Some(true), Some(false), None));
    let restored = store.restored().await.unwrap();
    let of_line: Vec<u64> =
        restored.iter().filter(|r| r.event == line.event).map(|r| r.standard_num).collect();
    assert_eq!(of_line, [1001]);
    let noted = store.entries(line.event, None, 9).await.unwrap();
    let noted = noted.iter().filter(|entry| entry.entry.kind == EntryKind::Security).count();
    assert_eq!(noted, 1, "taking it back again is no deed");
}

async fn suspicions_are_forgotten_with_their_places(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let line = busy_room(&store, "swept").await;
    // In tests a line has room for twenty.
    let all = || (1..=25).map(|visitor| suspicion(&line, visitor)).collect::<Vec<_>>();
    let kept = store.suspect(all()).await.unwrap();
    assert_eq!((kept.added, kept.dropped[&line.event]), (20, 5));
    drop(store);
    let store = open().await;
    assert_eq!(store.suspect(all()).await.unwrap().added, 0, "there is no more room");
    let over = NOW.plus_secs(spec("swept").passes.place_secs);
    store.sweep(over).await.unwrap();
    let known = store.known(line.clone(), pass(1).sub, over).await.unwrap();
    assert_eq!(known.suspicion, None, "the flag goes with the row");
    assert_eq!(store.suspect(all()).await.unwrap().added, 20, "and makes room");
}

async fn who_is_seen_inside_is_told_of_and_moved_nowhere(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let line = busy_room(&store, "seen-inside").await;
    // Also by a store that has forgotten the pass.
    let seen = Suspicion { standard_num: 0, suspect_num: 0, ..suspicion(&line, 1) };
    assert_eq!(store.suspect(vec![seen]).await.unwrap().added, 1);
    drop(store);
    let store = open().await;
    let told = store.suspicions(Some(line.event.clone()), None, 9).await.unwrap();
    assert_eq!(told[0].state, JudgedState::AdmittedBefore);
    let known = store.known(line, pass(1).sub, NOW).await.unwrap();
    assert_eq!(known.suspicion, None);
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

async fn the_law_goes_on_where_it_was(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let line = room(&store, "law").await;
    assert_eq!(store.law(line.clone()).await.unwrap(), None);
    let law = |per_sec| Law {
        event: line.event.clone(),
        line: line.line,
        per_sec,
        called: 12,
        noshow_shares: [0.0, per_sec / 100.0, 1.0],
        marks: marks(),
        at: NOW,
    };
    store.keep_laws(vec![law(36.0)]).await.unwrap();
    store.keep_laws(vec![law(37.8)]).await.unwrap();
    drop(store);
    let store = open().await;
    assert_eq!(store.law(line.clone()).await.unwrap(), Some(law(37.8)));
    store.delete(line.event.clone(), None, deed()).await.unwrap();
    assert_eq!(store.law(line.clone()).await.unwrap(), None);
}

fn marks() -> Vec<Mark> {
    let mut turns = Turns::resumed(vec![], NOW);
    turns.look([1, 2, 3], true, &spec("law").passes, NOW);
    turns.marks()
}

fn deed() -> Deed {
    Deed { who: "olga".into(), at: NOW, what: "done".into() }
}

async fn decisions_are_kept_in_order(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let entry = |reason: &str, of: &str| Entry {
        at: NOW,
        event: event(of),
        kind: EntryKind::Operator,
        who: Some("ops".into()),
        old_per_sec: None,
        new_per_sec: None,
        binding: None,
        reason: reason.into(),
        inputs: None,
    };
    let entries = ["a", "b", "c"].map(|reason| entry(reason, "decisions")).to_vec();
    store.append(entries).await.unwrap();
    store.append(vec![entry("x", "elsewhere")]).await.unwrap();
    drop(store);
    let store = open().await;
    let read = async |since, limit| {
        let entries = store.entries(event("decisions"), since, limit).await.unwrap();
        let reasons: String = entries.iter().map(|entry| entry.entry.reason.as_str()).collect();
        (reasons, entries.last().map(|entry| entry.id))
    };
    let (newest, last) = read(None, 2).await;
    assert_eq!(newest, "bc");
    assert_eq!(read(Some(0), 2).await.0, "ab");
    assert_eq!(read(last, 9).await.0, "");
}

async fn the_first_secret_of_a_draw_counts(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let line = room(&store, "draw-first").await;
    assert_eq!(store.draw(line.clone()).await.unwrap(), None);
    let announce = async |store: &Store, secret| {
        store.announce_draw(line.clone(), Beacon::None, [secret; 32]).await.unwrap()
    };
    let first = DrawRecord { secret: [1; 32], beacon: Beacon::None, value: None, counts: None };
    assert_eq!(announce(&store, 1).await, Some(first.clone()));
    assert_eq!(announce(&store, 2).await, Some(first.clone()));
    drop(store);
    let store = open().await;
    assert_eq!(announce(&store, 3).await, Some(first.clone()));
    assert_eq!(store.draw(line.clone()).await.unwrap(), Some(first));
    store.delete(line.event.clone(), None, deed()).await.unwrap();
    assert_eq!(store.draw(line.clone()).await.unwrap(), None, "deleted with its event");
    assert_eq!(announce(&store, 4).await, None, "there is no such line");
    let new = room(&store, "draw-first").await;
    assert_eq!(store.draw(new).await.unwrap(), None);
}

async fn a_draw_is_opened_once(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let line = busy_room(&store, "draw-open").await;
    let opening = async |store: &Store, value: &[u8]| {
        store.open_draw(line.clone(), value.to_vec()).await.unwrap()
    };
    assert_eq!(opening(&store, b"").await, None, "nothing was announced");
    let beacon = Beacon::Drand { chain: "a0".repeat(32), round: 7 };
    store.announce_draw(line.clone(), beacon.clone(), [1; 32]).await.unwrap();
    store.lease(line.clone(), Lane::Suspect, 3, edge(), NOW).await.unwrap();
    let opened = Some(DrawRecord {
        secret: [1; 32],
        beacon,
        value: Some(b"first".to_vec()),
        counts: Some([0, 100, 3]),
    });
    assert_eq!(opening(&store, b"first").await, opened);
    store.lease(line.clone(), Lane::Standard, 50, edge(), NOW).await.unwrap();
    assert_eq!(opening(&store, b"second").await, opened);
    drop(store);
    let store = open().await;
    assert_eq!(store.draw(line.clone()).await.unwrap(), opened);
    assert_eq!(opening(&store, b"third").await, opened);
}

async fn a_beacon_is_given_once_and_before_the_opening(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let given = async |line: &LineId, value: &str| {
        store.give_beacon(line.clone(), value.into(), deed()).await.unwrap()
    };
    let line = room(&store, "draw-given").await;
    assert_eq!(given(&line, "7 11 13").await, Given::Missing);
    let beacon = Beacon::Operator { of: "the lottery".into() };
    store.announce_draw(line.clone(), beacon, [1; 32]).await.unwrap();
    let noted = store.entries(line.event.clone(), None, 9).await.unwrap().len();
    assert_eq!(given(&line, "7 11 13").await, Given::Done);
    assert_eq!(given(&line, "1 2 3").await, Given::Already);
    let draw = store.open_draw(line.clone(), b"other".to_vec()).await.unwrap().unwrap();
    assert_eq!(draw.value, Some(b"7 11 13".to_vec()));
    assert_eq!(given(&line, "1 2 3").await, Given::Opened);
    let entries = store.entries(line.event.clone(), None, 9).await.unwrap();
    assert_eq!(entries.len(), noted + 1, "what was done is noted, what was refused is not");
    let other = room(&store, "draw-other-kind").await;
    store.announce_draw(other.clone(), Beacon::None, [1; 32]).await.unwrap();
    assert_eq!(given(&other, "7").await, Given::OtherKind);
}

async fn gaps_of_drawn_numbers_are_kept_until_all_are_passed(open: &impl AsyncFn() -> Store) {
    let store = open().await;
    let line = busy_room(&store, "draw-gaps").await;
    let LineId { event, line: generation } = line.clone();
    let gap = Gap { event, line: generation, lane: Lane::Standard, first: 1, count: 5 };
    store.give_back(edge(), vec![gap.clone()]).await.unwrap();
    store.announce_draw(line.clone(), Beacon::None, [1; 32]).await.unwrap();
    let draw = store.open_draw(line.clone(), vec![]).await.unwrap().unwrap();
    let at_10 = front(&line, epoch(&store).await, 1, NOW);
    let at_10 = Front { draw: Some(draw.published()), ..at_10 };
    let mut at_100 = Front { seq: 2, ..at_10.clone() };
    store.put_fronts(vec![published(at_10)]).await.unwrap();
    assert_eq!(store.gaps(line.clone()).await.unwrap(), [gap]);
    at_100.lanes[0].f0 = 100;
    store.put_fronts(vec![published(at_100)]).await.unwrap();
    assert_eq!(store.gaps(line).await.unwrap(), []);
}

fn edge() -> Owner {
    "edge-1".parse().unwrap()
}

fn is_of(status: &RoomStatus, line: &LineId) -> bool {
    status.room.spec.event == line.event && status.room.line == line.line
}

fn published(front: Front) -> Published {
    Published { front, sealed: None, told: None }
}

async fn epoch(store: &Store) -> u64 {
    match store.lead(NOW).await.unwrap() {
        Turn::Leads { epoch } => epoch,
        Turn::Follows { leader } => panic!("{leader} leads"),
    }
}

fn event(name: &str) -> EventId {
    name.parse().unwrap()
}

fn spec(name: &str) -> RoomSpec {
    RoomSpec {
        event: event(name),
        title: name.to_owned(),
        mode: admission_api::RoomMode::Auto,
        guard: Guard { hosts: vec![], paths: vec!["/".into()], bypass: vec![] },
        opens_at: None,
        draw: None,
        is_paused: false,
        pace: admission_api::PaceLimits::default(),
        lanes: admission_api::LaneWeights::default(),
        passes: admission_api::PassRules::default(),
        forward: admission_api::Forward::default(),
        priority_for: vec![],
        message: None,
    }
}

pub(super) async fn room(store: &Store, name: &str) -> LineId {
    match store.create(spec(name), deed()).await.unwrap() {
        Put::Done(room) => LineId { event: room.spec.event, line: room.line },
        other => panic!("{other:?}"),
    }
}

/// With the first hundred numbers handed out.
async fn busy_room(store: &Store, name: &str) -> LineId {
    let line = room(store, name).await;
    store.lease(line.clone(), Lane::Standard, 100, edge(), NOW).await.unwrap();
    line
}

pub(super) fn record(visitor: u8) -> PassRecord {
    PassRecord {
        sub: Id128::from_bytes([visitor; 16]),
        jti: Id128::from_bytes([visitor + 100; 16]),
        lane: Lane::Standard,
        num: u64::from(visitor),
        risk: Risk::Medium,
        generation: 1,
        first_at: NOW,
        renewed_at: NOW,
        exp: NOW.plus_secs(600),
        place_exp: NOW.plus_secs(3600),
        has_returned: false,
    }
}

fn pass(visitor: u8) -> PassId {
    PassId { sub: record(visitor).sub, jti: record(visitor).jti }
}

fn suspicion(line: &LineId, visitor: u8) -> Suspicion {
    Suspicion {
        event: line.event.clone(),
        line: line.line,
        sub: pass(visitor).sub,
        edge: "edge-1".parse().unwrap(),
        at: NOW,
        score: 5,
        reasons: vec![Reason { code: "ua_library".into(), detail: "curl".into(), points: 60 }],
        standard_num: 1000 + u64::from(visitor),
        suspect_num: u64::from(visitor),
        network: "203.0.113.0/24".into(),
        country: None,
        asn: None,
        user_agent: "curl".into(),
    }
}

/// A front that stands at 10 in the standard lane and starts at `t0`.
fn front(line: &LineId, epoch: u64, seq: u64, t0: Timestamp) -> Front {
    let entry = |lane| LaneFront { lane, f0: 10, pace_milli: 0, limit: 10, issued: 50 };
    Front {
        iss: "controller-1".parse().unwrap(),
        aud: line.event.clone(),
        iat: t0,
        exp: t0.plus_secs(60),
        line: line.line,
        epoch,
        seq,
        phase: Phase::Open,
        opens_at: None,
        t0,
        until: t0.plus_secs(10),
        lanes: vec![entry(Lane::Standard)],
        reason: String::new(),
        draw: None,
        stock: None,
        poll: PollHint { near_secs: 1, far_secs: 15 },
        message: None,
    }
}

async fn issued(store: &Store, line: &LineId) -> [u64; 3] {
    let status = store.status(NOW).await.unwrap().rooms;
    status.iter().find(|status| is_of(status, line)).unwrap().issued
}

async fn inside(store: &Store, line: &LineId) -> u64 {
    let status = store.status(NOW).await.unwrap().rooms;
    status.iter().find(|status| is_of(status, line)).unwrap().inside
}
