//! What does a room do, and when does its front move?

use super::*;

#[tokio::test]
async fn before_the_opening_places_are_given_and_nobody_enters() {
    let opens_at = Timestamp::now().plus_secs(3600).as_millis();
    let stage = Stage::with(&format!("opens_at = {opens_at}")).await;
    let lease = stage.lease(Lane::Standard, 5).await;
    let place = stage.place(&lease, Lane::Standard, 1, Id128::random());
    assert_eq!(stage.claim(&place).await, ClaimOutcome::NotYet { front: 0 });
    let front = stage.front().await;
    assert_eq!((front.phase, front.at(Lane::Standard, Timestamp::now())), (Phase::Scheduled, 0));
    stage.end().await;
}

#[tokio::test]
async fn a_paused_front_stands_but_who_was_called_may_enter() {
    let stage = Stage::with(OPEN).await;
    let lease = stage.lease(Lane::Standard, 500).await;
    let called = stage.place(&lease, Lane::Standard, 1, Id128::random());
    stage
        .eventually(async || {
            let front = stage.front().await;
            (front.at(Lane::Standard, Timestamp::now()) >= 1).then_some(())
        })
        .await;
    let (status, room) = stage.post(&format!("/api/v1/rooms/{FINAL}/pause"), OPERATOR, &()).await;
    assert_eq!((status, &room["phase"]), (StatusCode::OK, &json!("paused")));
    let front = stage.front().await;
    assert_eq!(front.phase, Phase::Paused);
    assert!(front.lanes.iter().all(|lane| lane.pace_milli == 0));
    assert!(matches!(stage.claim(&called).await, ClaimOutcome::Admitted { .. }));
    let last = stage.place(&lease, Lane::Standard, 500, Id128::random());
    assert!(matches!(stage.claim(&last).await, ClaimOutcome::NotYet { .. }));
    let (_, room) = stage.post(&format!("/api/v1/rooms/{FINAL}/resume"), OPERATOR, &()).await;
    assert_eq!(room["phase"], "open");
    let (_, log) = stage.get(&format!("/api/v1/rooms/{FINAL}/decisions"), OPERATOR).await;
    let deeds: Vec<&str> = log["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["who"] == "olga")
        .filter_map(|entry| entry["reason"].as_str())
        .collect();
    assert_eq!(deeds, ["paused", "resumed"]);
    stage.end().await;
}

#[tokio::test]
async fn rooms_are_created_changed_and_deleted_by_version() {
    let stage = Stage::with(OPEN).await;
    let path = "/api/v1/rooms/derby";
    let spec = json!({"event": "derby", "title": "Derby", "guard": {"paths": ["/derby"]}});
    let put = |spec: &Value, version: Option<&str>| {
        let request = stage.request(Method::PUT, path, OPERATOR).json(spec);
        answer(match version {
            Some(version) => request.header("if-match", version),
            None => request,
        })
    };
    let (status, room) = put(&spec, None).await;
    assert_eq!((status, &room["version"]), (StatusCode::CREATED, &json!(1)));
    assert_eq!(put(&spec, None).await.0.as_u16(), 428);
    let mut changed = spec.clone();
    changed["title"] = json!("The derby");
    let (status, room) = put(&changed, Some("\"1\"")).await;
    assert_eq!((status, &room["version"]), (StatusCode::OK, &json!(2)));
    let (status, problem) = put(&spec, Some("1")).await;
    assert_eq!((status.as_u16(), &problem["version"]), (412, &json!(2)));
    let delete = |path: &str, version: &str| {
        answer(stage.request(Method::DELETE, path, OPERATOR).header("if-match", version))
    };
    let (status, problem) = delete(path, "1").await;
    assert_eq!((status.as_u16(), &problem["version"]), (412, &json!(2)));
    let gone = "/api/v1/rooms/gone";
    assert_eq!(delete(gone, "1").await.0.as_u16(), 412);
    let elsewhere = json!({"event": "gone", "title": "Gone", "guard": {"paths": ["/gone"]}});
    let request = stage.request(Method::PUT, gone, OPERATOR).header("if-match", "1");
    let (status, problem) = answer(request.json(&elsewhere)).await;
    assert_eq!((status.as_u16(), problem["code"].as_str()), (412, Some("version-conflict")));
    let reply = stage.sync(&sync(1)).await;
    assert_eq!((reply.rooms.len(), reply.fronts.len()), (2, 2));
    let (status, _) = delete(path, "2").await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(stage.get(&format!("{path}/state"), OPERATOR).await.0, StatusCode::NOT_FOUND);
    assert_eq!(stage.sync(&sync(2)).await.rooms.len(), 1);
    stage.end().await;
}

#[tokio::test]
async fn the_pace_rises_on_what_edges_see_and_says_why() {
    let stage = Stage::with(OPEN).await;
    stage.lease(Lane::Standard, 5000).await;
    let mut latency = Latency::default();
    latency.record_ms(40.0);
    let seen = OriginSeen { window_ms: 1000, requests_total: 1, latency, ..OriginSeen::default() };
    let room = stage
        .eventually(async || {
            let seq = Timestamp::now().as_millis();
            stage.sync(&Sync { origin: seen.clone(), ..sync(seq) }).await;
            let room = stage.room().await;
            (room["binding"] == "rising").then_some(room)
        })
        .await;
    assert!(room["reason"].as_str().unwrap().contains("rising: p95 42 ms of 250 ms"), "{room}");
    assert!(room["pace_per_sec"].as_f64().unwrap() > 20.0);
    let (_, state) = stage.get(&format!("/api/v1/rooms/{FINAL}/state"), OPERATOR).await;
    assert_eq!(state["signals"][1]["is_fresh"], true);
    assert_eq!(state["pace"]["terms"][0]["target"], 250.0);
    let (_, log) = stage.get(&format!("/api/v1/rooms/{FINAL}/decisions"), OPERATOR).await;
    let bindings: Vec<&Value> =
        log["decisions"].as_array().unwrap().iter().map(|entry| &entry["binding"]).collect();
    assert!(bindings.contains(&&json!("rising")), "{log}");
    stage.end().await;
}

#[tokio::test]
async fn a_restart_takes_a_new_epoch_and_the_front_goes_on() {
    let stage = Stage::with(OPEN).await;
    stage.lease(Lane::Standard, 100_000).await;
    let before = stage
        .eventually(async || {
            let front = stage.front().await;
            (front.at(Lane::Standard, Timestamp::now()) > 10).then_some(front)
        })
        .await;
    let reached = before.at(Lane::Standard, Timestamp::now());
    let pass = stage.admitted_with(5).await;
    let stage = stage.restarted().await;
    let after = stage.front().await;
    assert!(after.epoch > before.epoch);
    assert!(after.at(Lane::Standard, after.t0) >= reached, "{after:?} after {reached}");
    assert_eq!(after.line, before.line);
    let ClaimOutcome::Admitted { pass: again, is_first: false } = stage.claim(&pass.0).await else {
        panic!("the claim was counted before the restart");
    };
    assert_eq!(again.as_str(), pass.1.as_str());
    stage.end().await;
}

#[tokio::test]
async fn the_inside_is_never_fuller_than_allowed() {
    let room = "mode = \"auto\"\npace = { per_sec_min = 1.0, per_sec_max = 500.0, \
         per_sec_start = 500.0, latency_p95_ms = 250.0, db_cpu = 0.8, inside_max = 2 }";
    let stage = Stage::with(room).await;
    let lease = stage.lease(Lane::Standard, 50).await;
    let place = |num| stage.place(&lease, Lane::Standard, num, Id128::from_bytes([num as u8; 16]));
    let (first, second, third) = (place(1), place(2), place(3));
    let enters = async |place: &Sealed<Place>| match stage.claim(place).await {
        ClaimOutcome::Admitted { pass, .. } => Some(pass),
        _ => None,
    };
    let pass = stage.eventually(async || enters(&first).await).await;
    stage.eventually(async || enters(&second).await).await;
    stage.eventually(async || (stage.room().await["binding"] == "inside").then_some(())).await;
    assert_eq!(stage.claim(&third).await, ClaimOutcome::NotYet { front: 2 });
    let request = EndRequest { edge: edge(), pass, reason: EndReason::Left };
    stage.post("/edge/v1/end", EDGE, &request).await;
    stage.eventually(async || enters(&third).await).await;
    let fourth = place(4);
    stage.eventually(async || (stage.room().await["inside"] == 2).then_some(())).await;
    assert_eq!(stage.claim(&fourth).await, ClaimOutcome::NotYet { front: 3 });
    stage.end().await;
}

#[tokio::test]
async fn when_nothing_is_left_the_room_says_so() {
    // An origin that has sold everything but two seats, which are in a hold.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (held, seen) = watch::channel(2_u64);
    let origin = axum::Router::new().route(
        "/internal/v1/load",
        axum::routing::get(move || {
            let held = *seen.borrow();
            async move {
                axum::Json(LoadReport {
                    at: Timestamp::now(),
                    window_ms: 5000,
                    requests_total: 0,
                    errors_total: 0,
                    latency: Latency::default(),
                    queue_delay: Latency::default(),
                    service: Latency::default(),
                    seat_mode_level: 0,
                    db_cpu: Some(0.1),
                    db_cpu_source: "test".into(),
                    stock: vec![Stock {
                        event: FINAL.parse().unwrap(),
                        capacity: 100,
                        free: 0,
                        held,
                        paying: 0,
                        sold: 100 - held,
                        blocked: 0,
                        holds: 1,
                        expected_returns: Vec::new(),
                    }],
                })
            }
        }),
    );
    let serving = tokio::spawn(async move { axum::serve(listener, origin).await });
    let section =
        format!("origin = {{ load_url = \"http://{addr}\", token = \"origin-token-0123456789\" }}");
    let stage = Stage::with_origin(OPEN, &section).await;
    let until = async |phase: &str, band: &str| {
        stage
            .eventually(async || {
                let room = stage.room().await;
                (room["phase"] == phase && room["stock_band"] == band).then_some(room)
            })
            .await
    };
    let room = until("open", "in_holds").await;
    assert_eq!((&room["binding"], &room["pace_per_sec"]), (&json!("stock"), &json!(0.0)));
    held.send(0).unwrap();
    until("sold_out", "none").await;
    let request = LeaseRequest {
        edge: edge(),
        event: FINAL.parse().unwrap(),
        lane: Lane::Standard,
        count: 1,
    };
    let (status, problem) = stage.post("/edge/v1/lease", EDGE, &request).await;
    assert_eq!((status.as_u16(), problem["code"].as_str()), (409, Some("room-shut")));
    serving.abort();
    stage.end().await;
}

/// The public key of drand's quicknet.
const QUICKNET: &str = "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d1064510d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a";

#[tokio::test]
async fn a_draw_is_opened_by_its_round_of_drand_and_stays_as_announced() {
    // What quicknet has signed as its round 123.
    let signature = "b75c69d0b72a5d906e854e808ba7e2accb1542ac355ae486d591aa9d43765482\
                     e26cd02df835d3546d23c4b13e0dfc92";
    let has_happened = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let knows = std::sync::Arc::clone(&has_happened);
    let round = move || async move {
        // Until the round has taken place, the network answers so.
        if !knows.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(StatusCode::NOT_FOUND);
        }
        Ok(axum::Json(json!({"round": 123, "signature": signature})))
    };
    let chain = "a0".repeat(32);
    let router =
        axum::Router::new().route(&format!("/{chain}/public/123"), axum::routing::get(round));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });

    let now = Timestamp::now();
    let draw = format!("{{ source = \"drand\", chain = \"{chain}\", round = 123 }}");
    let room = format!("{OPEN}\nopens_at = {}\ndraw = {draw}", now.as_millis());
    // A network with quicknet's key, whose round 123 comes a second after the opening.
    let genesis_secs = now.as_secs() + 2 - 122 * 3;
    let drand = format!(
        "[drand]\nurl = \"{url}\"\n[[drand.chains]]\nhash = \"{chain}\"\n\
         public_key = \"{QUICKNET}\"\ngenesis_secs = {genesis_secs}\nperiod_secs = 3\n"
    );
    let stage = Stage::with_origin(&room, &drand).await;
    let path = format!("/api/v1/rooms/{FINAL}");
    let reason = "standing: the draw waits for round 123 of drand";
    let waiting = async || {
        let (_, room) = stage.get(&path, OPERATOR).await;
        (room["phase"] == "scheduled" && room["reason"] == reason).then_some(room)
    };
    let room = stage.eventually(waiting).await;
    let (status, refused) =
        stage.post(&format!("{path}/draw"), OPERATOR, &json!({"beacon": "mine"})).await;
    assert_eq!((status.as_u16(), &refused["code"]), (409, &json!("no-operator-beacon")));
    let mut other = room["spec"].clone();
    other["draw"]["round"] = json!(124);
    let change = stage.request(Method::PUT, &path, OPERATOR).json(&other);
    let (status, refused) = answer(change.header("if-match", room["version"].to_string())).await;
    assert_eq!((status.as_u16(), &refused["key"]), (422, &json!("draw")));

    has_happened.store(true, std::sync::atomic::Ordering::Relaxed);
    let opened = async || {
        let (_, document) = stage.get(&format!("{path}/front"), "").await;
        let front: Front = serde_json::from_value(document["front"].clone()).unwrap();
        (front.phase == Phase::Open).then_some(front)
    };
    let front = stage.eventually(opened).await;
    let draw = front.draw.as_ref().unwrap().opened.as_ref().unwrap();
    assert_eq!(draw.beacon, "-497wpvyTbUYceyMefOh5L0FV7wN_O6e0dkk5p0cYNw");
    stage.end().await;
}
