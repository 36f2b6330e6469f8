//! How do rooms change, and what becomes of what they were?

use super::*;

/// Runs all of these promises.
pub(super) async fn keeps(open: &impl AsyncFn() -> Store) {
    rooms_change_by_version(open).await;
    configuration_counts_once(open).await;
    a_re_created_room_has_another_line(open).await;
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
