//! Is it kept who was judged, and what was decided?

use super::*;

/// Runs all of these promises.
pub(super) async fn keeps(open: &impl AsyncFn() -> Store) {
    suspicions_can_be_taken_back(open).await;
    suspicions_are_forgotten_with_their_places(open).await;
    who_is_seen_inside_is_told_of_and_moved_nowhere(open).await;
    decisions_are_kept_in_order(open).await;
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
