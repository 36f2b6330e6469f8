//! Who is let through which door, and how is a refusal told?

use super::*;

#[tokio::test]
async fn each_role_opens_its_own_doors_only() {
    let stage = Stage::with(OPEN).await;
    let doors = [
        (Method::POST, "/edge/v1/lease", EDGE),
        (Method::POST, "/edge/v1/sync", EDGE),
        (Method::POST, "/edge/v1/claim", EDGE),
        (Method::POST, "/edge/v1/renew", EDGE),
        (Method::POST, "/edge/v1/end", EDGE),
        (Method::GET, "/api/v1/rooms", OPERATOR),
        (Method::PUT, "/api/v1/rooms/other", OPERATOR),
        (Method::DELETE, "/api/v1/rooms/other", OPERATOR),
        (Method::GET, "/api/v1/rooms/wc2026-final/state", OPERATOR),
        (Method::GET, "/api/v1/rooms/wc2026-final/decisions", OPERATOR),
        (Method::POST, "/api/v1/rooms/wc2026-final/pause", OPERATOR),
        (Method::POST, "/api/v1/rooms/wc2026-final/resume", OPERATOR),
        (Method::POST, "/api/v1/rooms/wc2026-final/pace", OPERATOR),
        (Method::GET, "/api/v1/suspicions", SECURITY),
        (Method::POST, "/api/v1/suspicions/wc2026-final/AAAA/restore", SECURITY),
    ];
    for (method, path, role) in doors {
        for token in ["", "wrong-token-0123456789", EDGE, OPERATOR, SECURITY] {
            let (status, problem) = answer(stage.request(method.clone(), path, token)).await;
            let is_refused = matches!(status.as_u16(), 401 | 403);
            assert_eq!(is_refused, token != role, "{method} {path} with {token}: {problem}");
            if is_refused {
                let is_known = [EDGE, OPERATOR, SECURITY].contains(&token);
                assert_eq!(problem["code"], if is_known { "wrong-role" } else { "token-required" });
            }
        }
    }
    stage.end().await;
}

#[tokio::test]
async fn every_refusal_is_a_problem_with_a_code() {
    let stage = Stage::with(OPEN).await;
    let request = |method, path, token| stage.request(method, path, token);
    let long = vec![b' '; 80 << 10];
    let json = |request: reqwest::RequestBuilder, body: &str| {
        request.header("content-type", "application/json").body(body.to_owned())
    };
    let room = "/api/v1/rooms/wc2026-final";
    let pace = "/api/v1/rooms/wc2026-final/pace";
    let cases = [
        (request(Method::GET, "/nowhere", ""), 404, "not-found"),
        (request(Method::DELETE, "/health", ""), 405, "method-not-allowed"),
        (request(Method::GET, "/edge/v1/lease", EDGE), 405, "method-not-allowed"),
        (request(Method::POST, "/edge/v1/lease", EDGE).body("{}"), 415, "unsupported-media-type"),
        (json(request(Method::POST, "/edge/v1/lease", EDGE), "{"), 400, "malformed-body"),
        (json(request(Method::POST, "/edge/v1/lease", EDGE), "{}"), 422, "unexpected-body"),
        (
            json(request(Method::POST, "/edge/v1/lease", EDGE), &String::from_utf8(long).unwrap()),
            413,
            "body-too-large",
        ),
        (request(Method::GET, "/api/v1/rooms/Nowhere/state", OPERATOR), 404, "unknown-room"),
        (request(Method::POST, "/api/v1/rooms/nowhere/pause", OPERATOR), 404, "unknown-room"),
        (json(request(Method::PUT, room, OPERATOR), "{}"), 422, "unexpected-body"),
        (json(request(Method::POST, pace, OPERATOR), "{}"), 422, "no-change"),
        (json(request(Method::POST, pace, OPERATOR), r#"{"per_sec_max":0}"#), 422, "room-refused"),
        (request(Method::GET, "/api/v1/suspicions?after=x", SECURITY), 400, "malformed-query"),
        (
            json(
                request(
                    Method::POST,
                    "/api/v1/suspicions/wc2026-final/AAAAAAAAAAAAAAAAAAAAAA/restore",
                    SECURITY,
                ),
                r#"{"why":"x"}"#,
            ),
            404,
            "unknown-suspicion",
        ),
    ];
    for (request, status, code) in cases {
        let (got, problem) = answer(request).await;
        assert_eq!((got.as_u16(), problem["code"].as_str()), (status, Some(code)), "{problem}");
        assert_eq!(problem["type"], format!("urn:waiting-room:{code}"));
    }
    stage.end().await;
}

#[tokio::test]
async fn an_edge_speaks_for_itself_only() {
    let stage = Stage::with(OPEN).await;
    let lease = stage.lease(Lane::Standard, 1).await;
    let place = stage.place(&lease, Lane::Standard, 1, Id128::random());
    let pass = stage.admitted().await;
    let event = FINAL.parse().unwrap();
    let lease = LeaseRequest { edge: edge(), event, lane: Lane::Standard, count: 1 };
    let claim = Claim { edge: edge(), place, score: 50, reasons: Vec::new() };
    let renewal = Renewal { edge: edge(), pass: pass.clone() };
    let end = EndRequest { edge: edge(), pass, reason: EndReason::Left };
    let requests = [
        ("/edge/v1/lease", serde_json::to_value(lease)),
        ("/edge/v1/sync", serde_json::to_value(sync(1))),
        ("/edge/v1/claim", serde_json::to_value(claim)),
        ("/edge/v1/renew", serde_json::to_value(renewal)),
        ("/edge/v1/end", serde_json::to_value(end)),
    ];
    for (path, body) in requests {
        let (status, problem) = stage.post(path, EDGE_2, &body.unwrap()).await;
        assert_eq!(
            (status.as_u16(), problem["code"].as_str()),
            (403, Some("wrong-edge")),
            "{path}"
        );
    }
    stage.end().await;
}

#[tokio::test]
async fn a_controller_without_its_store_says_so_to_whoever_watches_it() {
    let stage = Stage::with(OPEN).await;
    assert_eq!(stage.get("/health", "").await.0, StatusCode::OK);
    stage.controller.store().close().await;
    let said = stage
        .eventually(async || {
            let response = stage.request(Method::GET, "/health", "").send().await.unwrap();
            let status = response.status();
            (status == StatusCode::SERVICE_UNAVAILABLE).then_some(response)
        })
        .await;
    let said: Value = said.json().await.unwrap();
    assert_eq!(said["status"], "degraded");
    assert!(said["parts"]["control"].as_str().unwrap().starts_with("no front for"), "{said}");
    stage.end().await;
}

#[tokio::test]
async fn pages_keys_metrics_and_health_are_for_everybody() {
    let stage = Stage::with(OPEN).await;
    let get = async |path| stage.request(Method::GET, path, "").send().await.unwrap();
    let home = get("/").await;
    assert_eq!(home.headers()["location"], "/console");
    for path in ["/console", "/security", "/assets/pages.css", "/assets/console.js"] {
        let page = get(path).await;
        assert_eq!(page.status(), StatusCode::OK, "{path}");
        let policy = page.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'self'"), "{path}");
    }
    let keys = get("/.well-known/waiting-room/jwks.json").await.text().await.unwrap();
    assert!(keys.contains("\"kid\"") && !keys.contains("\"d\""), "public halves only");
    stage.admitted().await;
    let metrics = get("/metrics").await.text().await.unwrap();
    for line in [
        "admission_claims_total{outcome=\"admitted\"} 1",
        "admission_leases_total{lane=\"standard\"} 1",
        "admission_front{event=\"wc2026-final\",lane=\"standard\"}",
        "admission_store_commit_seconds_count",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    let (_, health) = stage.get("/health", "").await;
    assert_eq!(health["status"], "ok", "{health}");
    stage.end().await;
}
