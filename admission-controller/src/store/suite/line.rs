//! Is each number given once, and does the front go on where it was?

use super::*;

/// Runs all of these promises.
pub(super) async fn keeps(open: &impl AsyncFn() -> Store) {
    numbers_are_handed_out_once(open).await;
    fronts_are_kept_while_they_may_be_followed(open).await;
    gaps_are_kept_above_the_front(open).await;
    the_law_goes_on_where_it_was(open).await;
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
