//! Which place is let in, and how often?

use super::*;

#[tokio::test]
async fn a_visitor_comes_in_once_and_leaves() {
    let stage = Stage::with(OPEN).await;
    let lease = stage.lease(Lane::Standard, 3).await;
    assert_eq!((lease.first, lease.count), (1, 3));
    let place = stage.place(&lease, Lane::Standard, 1, Id128::random());
    let first = stage
        .eventually(async || match stage.claim(&place).await {
            ClaimOutcome::Admitted { pass, is_first: true } => Some(pass),
            _ => None,
        })
        .await;
    let ClaimOutcome::Admitted { pass, is_first: false } = stage.claim(&place).await else {
        panic!("a repeated claim is answered like the first");
    };
    assert_eq!(pass.as_str(), first.as_str(), "with the same pass");
    let event = FINAL.parse().unwrap();
    let claims = stage.keyring.open(&pass, &event, Timestamp::now()).unwrap();
    assert_eq!((claims.lane, claims.risk), (Lane::Standard, Risk::Medium));

    let renewal = Renewal { edge: edge(), pass: pass.clone() };
    let renewed: RenewalOutcome = stage.edge("/edge/v1/renew", &renewal).await;
    assert!(matches!(renewed, RenewalOutcome::Renewed { .. }));
    let request = EndRequest { edge: edge(), pass: pass.clone(), reason: EndReason::Finished };
    for _ in 0..2 {
        let (status, _) = stage.post("/edge/v1/end", EDGE, &request).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
    }
    assert_eq!(stage.claim(&place).await, ClaimOutcome::Used);
    let renewed: RenewalOutcome = stage.edge("/edge/v1/renew", &renewal).await;
    assert_eq!(renewed, RenewalOutcome::Ended);
    stage
        .eventually(async || {
            let revoked = stage.sync(&sync(1)).await.revoked;
            revoked.iter().any(|revoked| revoked.jti == claims.jti).then_some(())
        })
        .await;
    stage.end().await;
}

#[tokio::test]
async fn a_hundred_parallel_claims_of_one_place_count_once() {
    let stage = Stage::with("mode = \"off\"").await;
    let lease = stage.lease(Lane::Standard, 1).await;
    let place = stage.place(&lease, Lane::Standard, 1, Id128::random());
    let mut claims = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let claim = Claim { edge: edge(), place: place.clone(), score: 90, reasons: Vec::new() };
        let request = stage.request(Method::POST, "/edge/v1/claim", EDGE).json(&claim);
        claims.spawn(
            async move { request.send().await.unwrap().json::<ClaimOutcome>().await.unwrap() },
        );
    }
    let outcomes = claims.join_all().await;
    let firsts = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, ClaimOutcome::Admitted { is_first: true, .. }))
        .count();
    assert_eq!(firsts, 1);
    let passes: std::collections::HashSet<&str> = outcomes
        .iter()
        .map(|outcome| match outcome {
            ClaimOutcome::Admitted { pass, .. } => pass.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(passes.len(), 1);
    stage.end().await;
}

#[tokio::test]
async fn places_that_prove_nothing_are_refused() {
    let stage = Stage::with(OPEN).await;
    let lease = stage.lease(Lane::Standard, 1).await;
    let older = Lease { line: lease.line - 1, ..lease.clone() };
    let forged = Sealed::new(format!(
        "{}x",
        stage.place(&lease, Lane::Standard, 1, Id128::random()).as_str()
    ));
    let pass = Sealed::new(stage.admitted().await.as_str());
    let cases = [
        (forged, "signature"),
        (Sealed::new("x"), "malformed"),
        (pass, "type"),
        (stage.place(&older, Lane::Standard, 1, Id128::random()), "line"),
    ];
    for (place, code) in cases {
        let outcome = stage.claim(&place).await;
        assert!(matches!(outcome, ClaimOutcome::Refused { .. }), "{code}: {outcome:?}");
        if code != "signature" {
            assert_eq!(outcome, ClaimOutcome::Refused { code: code.to_owned() });
        }
    }
    stage.end().await;
}

#[tokio::test]
async fn a_number_is_claimed_by_whom_it_was_given_to() {
    let stage = Stage::with(OPEN).await;
    let lease = stage.lease(Lane::Standard, 1).await;
    let place = |num| stage.place(&lease, Lane::Standard, num, Id128::random());
    stage.admitted_with(1).await;
    let refused = ClaimOutcome::Refused { code: "number".into() };
    assert_eq!(stage.claim(&place(1)).await, refused, "somebody else came in with it");
    assert_eq!(stage.claim(&place(0)).await, refused);
    // The front opens numbers ahead of those that were handed out.
    stage.eventually(async || (stage.claim(&place(10)).await == refused).then_some(())).await;
    stage.end().await;
}

#[tokio::test]
async fn an_edge_that_was_cut_off_may_tell_all_at_once() {
    let stage = Stage::with(OPEN).await;
    let lease = stage.lease(Lane::Standard, 40_000).await;
    let gap = |first| {
        let event = FINAL.parse().unwrap();
        Gap { event, line: lease.line, lane: Lane::Standard, first, count: 1 }
    };
    let gaps: Vec<Gap> = (20_000..40_000).map(gap).collect();
    let told = Sync { gaps, ..sync(1) };
    assert!(serde_json::to_vec(&told).unwrap().len() > 1 << 20);
    stage.sync(&told).await;
    stage.end().await;
}

#[tokio::test]
async fn given_back_numbers_are_passed_and_only_by_whom_they_were_leased_to() {
    let stage = Stage::with(SLOW).await;
    let lease = stage.lease(Lane::Standard, 1000).await;
    let gap = Gap {
        event: FINAL.parse().unwrap(),
        line: lease.line,
        lane: Lane::Standard,
        first: 1,
        count: 999,
    };
    let foreign = Sync { edge: "edge-2".parse().unwrap(), gaps: vec![gap.clone()], ..sync(1) };
    let (status, _) = stage.post("/edge/v1/sync", EDGE_2, &foreign).await;
    assert_eq!(status, StatusCode::OK);
    stage.lease(Lane::Standard, 1).await;
    stage.eventually(async || (stage.room().await["waiting"] == 1001).then_some(())).await;
    stage.sync(&Sync { gaps: vec![gap], ..sync(1) }).await;
    let front = stage
        .eventually(async || {
            let front = stage.front().await.at(Lane::Standard, Timestamp::now());
            (front >= 999).then_some(front)
        })
        .await;
    assert_eq!(front, 999, "and not beyond");
    stage.end().await;
}

#[tokio::test]
async fn a_suspect_has_the_suspect_place_until_somebody_takes_it_back() {
    let stage = Stage::with(OPEN).await;
    let (standard, suspect) =
        (stage.lease(Lane::Standard, 1).await, stage.lease(Lane::Suspect, 1).await);
    let sub = Id128::random();
    let suspicion = Suspicion {
        event: FINAL.parse().unwrap(),
        line: standard.line,
        sub,
        edge: edge(),
        at: Timestamp::now(),
        score: 4,
        reasons: vec![Reason { code: "ua_library".into(), detail: "curl".into(), points: 60 }],
        standard_num: standard.first,
        suspect_num: suspect.first,
        network: "203.0.113.0/24".into(),
        country: None,
        asn: None,
        user_agent: "curl/8".into(),
    };
    let traffic =
        RoomTraffic { event: suspicion.event.clone(), joined_total: 1, bypassed_total: 2 };
    let told = Sync { suspicions: vec![suspicion], rooms: vec![traffic], ..sync(1) };
    for _ in 0..2 {
        stage.sync(&told).await; // a repeated one is not counted twice
    }
    let room = stage.room().await;
    assert_eq!((&room["joined_total"], &room["bypassed_total"]), (&json!(1), &json!(2)));
    let place = stage.place(&standard, Lane::Standard, standard.first, sub);
    assert_eq!(stage.claim(&place).await, ClaimOutcome::Moved { suspect_num: suspect.first });

    let (_, list) = stage.get(&format!("/api/v1/suspicions?event={FINAL}"), SECURITY).await;
    assert_eq!(list["suspicions"][0]["state"], "moved");
    assert_eq!(list["suspicions"][0]["suspicion"]["reasons"][0]["code"], "ua_library");
    let restore = format!("/api/v1/suspicions/{FINAL}/{sub}/restore");
    let (status, _) = stage.post(&restore, SECURITY, &json!({"why": " "})).await;
    assert_eq!(status.as_u16(), 422);
    for _ in 0..2 {
        let (status, entry) = stage.post(&restore, SECURITY, &json!({"why": "a regular"})).await;
        assert_eq!((status, &entry["restored_by"]), (StatusCode::OK, &json!("sam")));
    }
    assert_eq!(stage.sync(&sync(2)).await.restored[0].standard_num, standard.first);
    stage
        .eventually(async || {
            matches!(stage.claim(&place).await, ClaimOutcome::Admitted { .. }).then_some(())
        })
        .await;
    stage.end().await;
}
