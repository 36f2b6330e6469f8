//! Is a code good as often as it may be, for whom it may be?

use super::*;

/// Runs all of these promises.
pub(super) async fn keeps(open: &impl AsyncFn() -> Store) {
    a_place_is_moved_by_a_code_once(open).await;
    codes_are_bounded_and_end(open).await;
    an_access_code_counts_once_for_a_visitor(open).await;
    access_codes_have_a_time_an_end_and_a_bound(open).await;
    the_priority_lane_is_for_those_who_were_given_a_number(open).await;
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

fn batch(uses: u32) -> NewBatch {
    NewBatch { label: "fan club | 2026".into(), uses, valid_from: None, valid_until: None }
}

fn grant(visitor: u8, hash: u8) -> Grant {
    Grant { sub: pass(visitor).sub, hash: [hash; 32], is_ticket: false, at_most: None }
}
