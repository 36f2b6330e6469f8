//! Is a draw announced and opened once?

use super::*;

/// Runs all of these promises.
pub(super) async fn keeps(open: &impl AsyncFn() -> Store) {
    the_first_secret_of_a_draw_counts(open).await;
    a_draw_is_opened_once(open).await;
    a_beacon_is_given_once_and_before_the_opening(open).await;
    gaps_of_drawn_numbers_are_kept_until_all_are_passed(open).await;
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
